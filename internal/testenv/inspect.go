// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

// EtcdURL is where etcd serves its clients, over plain http.
func (e *Env) EtcdURL() string { return e.control.ControlPlane.Etcd.URL.String() }

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Bad flags are refused before a cluster is looked for, in the words of the flags.
func TestBadFlagsAreRefused(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	cases := map[string]struct {
		args []string
		says string
	}{
		"no namespace":          {nil, "--operator-namespace is needed"},
		"namespace is no name":  {[]string{"--operator-namespace=Not A Name"}, `"Not A Name" is no namespace`},
		"no workers":            {[]string{"--operator-namespace=x", "--max-concurrent-reconciles=0"}, "from 1 to 10000"},
		"workers are no number": {[]string{"--max-concurrent-reconciles=many"}, "max-concurrent-reconciles"},
		"lease too short":       {[]string{"--operator-namespace=x", "--leader-elect-lease-duration=1s"}, "from 3s to 10m"},
		"certificate, no TLS":   {[]string{"--operator-namespace=x", "--metrics-secure=false", "--metrics-cert-dir=/x"}, "needs --metrics-secure"},
		"unknown flag":          {[]string{"--no-such-flag"}, "no-such-flag"},
		"an argument":           {[]string{"--operator-namespace=x", "start"}, `unexpected argument "start"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("manager", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			err := run(t.Context(), flags, c.args)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestOperatorNamespaceDefaultsToThePod(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "phones")
	var o options
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if err := o.validate(); err != nil || o.operatorNamespace != "phones" {
		t.Errorf("the namespace is %q (%v), want that of the pod", o.operatorNamespace, err)
	}
}

// Every lease duration that the flag admits makes an election that client-go admits.
func TestElectionTimes(t *testing.T) {
	for _, lease := range []time.Duration{3 * time.Second, 3500 * time.Millisecond, 15 * time.Second, 10 * time.Minute} {
		o := options{operatorNamespace: "operators", workers: 1, leaseDuration: lease}
		if err := o.validate(); err != nil {
			t.Fatal(err)
		}
		renew, retry := electionTimes(lease)
		_, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:          &resourcelock.LeaseLock{LockConfig: resourcelock.ResourceLockConfig{Identity: "test"}},
			LeaseDuration: lease, RenewDeadline: renew, RetryPeriod: retry,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}},
		})
		if err != nil {
			t.Errorf("%s: %v", lease, err)
		}
	}
}

// A container that replaces a dead one in its pod has the identity of the dead one. Two
// pods, and two processes outside of pods, never have the same.
func TestIdentity(t *testing.T) {
	of := func(pod, uid string) string {
		t.Setenv("POD_NAME", pod)
		t.Setenv("POD_UID", uid)
		return identity()
	}
	if first, again := of("manager-0", "a1"), of("manager-0", "a1"); first != again {
		t.Errorf("one pod has the identities %s and %s", first, again)
	}
	if first, other := of("manager-0", "a1"), of("manager-0", "b2"); first == other {
		t.Errorf("two pods of one name, one after the other, have the identity %s", first)
	}
	if first, other := of("manager-0", ""), of("manager-0", ""); first == other {
		t.Errorf("two processes that do not know their pod have the identity %s", first)
	}
}

// A cluster without the kinds is told how to get them, before anything is started.
func TestMissingKindsAreExplained(t *testing.T) {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"PhoneNumberAddOnAssignment", "TwilioAccount"} {
		err := checkKinds(mapper)
		if err == nil || !strings.Contains(err.Error(), kind+": install the CRDs first") || !strings.Contains(err.Error(), "config/crd") {
			t.Errorf("the error is %v", err)
		}
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	if err := checkKinds(mapper); err != nil {
		t.Error(err)
	}
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package soak tests the whole operator against a model, under faults.
//
// A run is a seeded random sequence of steps: what people and the world do ([world.go]),
// faults of Twilio and of the API server ([faults.go]), and crashes ([crash.go]). The
// manager is the real process, as its ServiceAccount under the shipped RBAC, before a
// real API server; Twilio is internal/twiliosim over HTTP. When the faults have stopped,
// the run waits, within a bound, until everything is as the model ([model.go], pure) says
// that it must be, looks at the state at rest ([check.go]), and then goes through all that
// happened: every write that Twilio processed must have been somebody's right at the time.
//
//	go test ./test/soak                                    a fixed set of seeds, as in make test
//	make soak SEEDS=20 STEPS=60                            as long as asked, with a table
//	make soak SEEDS=3 STEPS=60 FIRST_SEED=400              seeds 400, 401 and 402
//	SOAK_REPLAY=17/60:1,4,9 go test ./test/soak -run TestReplay -v
//
// The last line replays seed 17 of 60 steps, of these only the steps 1, 4 and 9; without
// the list, all. A run that fails prints such a line after its history; make soak then makes
// the history shorter, by leaving steps out and running again, for SOAK_SHORTEN minutes at
// most (10; 0 for not at all). Time and the scheduling of processes are real, so a replay may
// need more than one try. SOAK_KEEP=DIR keeps the logs of the managers in DIR, which must not
// be there yet.
//
// Whether it would notice is asked by hack/mutants.
package soak

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package twiliosim is a stateful Twilio for tests, the demo and the bench: accounts and
// subaccounts, incoming phone numbers, add-on installations, and the assignments between them,
// served over HTTP as api.twilio.com (2010-04-01) and marketplace.twilio.com (v1) serve them.
//
// A test builds a world, serves it, and asks afterwards what the world looks like, which calls
// were made, and what was changed in which order and by whom:
//
//	sim := twiliosim.New(twiliosim.Options{Seed: 1})
//	ac, pn, xe := twiliosim.SID("AC", 1), twiliosim.SID("PN", 1), twiliosim.SID("XE", 1)
//	twiliosim.Must(
//		sim.AddAccount(ac, "secrettoken"),
//		sim.AddNumber(ac, pn, "+14155550100"),
//		sim.InstallAddOn(ac, xe, "caller_name"),
//	)
//	server := httptest.NewServer(sim.Handler())
//	defer server.Close()
//	...
//	sim.Assigned(pn)                              // installed SIDs on the number, sorted
//	sim.Calls().Of(twiliosim.OpCreate, pn).Calls  // POSTs seen for the number
//	sim.Journal()                                 // every change, "api" or "console"
//
// # Changes behind the operator's back
//
// [Sim.Assign], [Sim.Unassign], [Sim.ReleaseNumber], [Sim.MoveNumber], [Sim.UninstallAddOn],
// [Sim.SetAccountStatus] and [Sim.RotateAuthToken] are what a person does in the console. They
// are journalled with the actor [ActorConsole]; what comes in over HTTP with [ActorAPI]. Adding
// accounts, numbers, keys and installations sets the scene and is not journalled.
//
// # What Twilio leaves open
//
// Where Twilio documents no answer, [Behaviour] holds a switch. The defaults are the answers
// thought likeliest. [Sim.UpdateBehaviour] changes them at any time, also under load.
//
// # Faults
//
// A [Fault] makes chosen requests fail in a chosen way: by operation, account and number, with a
// probability or a count, after skipping some. See [FaultKind] for what there is.
//
// # Time and concurrency
//
// Behaviour.Latency passes half before and half after a request is processed; no lock is held
// meanwhile. A request counts as in flight from its arrival until its answer is about to be
// written, so a client that keeps at most N requests open never meets a limit of N. As at
// Twilio, a request that has arrived is processed even if the client no longer waits for it.
package twiliosim

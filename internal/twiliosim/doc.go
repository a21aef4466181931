// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package twiliosim is a stateful simulator of Twilio for tests, the demo, the bench and the
// soak. It keeps accounts, incoming phone numbers, installed add-ons and the assignments between
// them, and serves them over HTTP like api.twilio.com (2010-04-01) and marketplace.twilio.com
// (v1). Command cmd/twiliosim runs it as a process.
//
// A test builds a world, serves it, and then compares the state, the calls and the journal:
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
//	sim.Assigned(pn)                              // SIDs of the add-ons on the number, sorted
//	sim.Calls().Of(twiliosim.OpCreate, pn).Calls  // how many POSTs arrived for the number
//	sim.Journal()                                 // every change, in order, with its actor
//
// # What it must never do
//
//   - It must not share code with internal/twilio. A simulator that shares code with the client
//     shares its mistakes. A depguard rule enforces this.
//   - It must not know Kubernetes.
//   - It must not know what the operator expects. Answers follow Twilio's documentation; where
//     Twilio documents nothing, [Behaviour] has a switch. The tests in hack/openapi compare the
//     answers with Twilio's published OpenAPI.
//   - It must not change an assignment without a journal entry. Tests replay the journal to judge
//     each write. Only Seed and Restore, which set up a world, write no entry.
//
// # How to make Twilio misbehave
//
//   - Change state outside the operator, like a person in the Twilio console: [Sim.Assign],
//     [Sim.Unassign], [Sim.ReleaseNumber], [Sim.MoveNumber], [Sim.UninstallAddOn],
//     [Sim.SetAccountStatus], [Sim.RotateAuthToken]. The journal records the actor
//     [ActorConsole]; requests over HTTP are recorded with [ActorAPI].
//   - Choose an undocumented answer, a limit or a latency: [Behaviour], at any time, with
//     [Sim.UpdateBehaviour]. The defaults are the most likely answers.
//   - Make chosen requests fail: [Fault], with [Sim.AddFault]. A fault selects requests by
//     operation, account, number and add-on, and fires always, a number of times, or with a
//     probability. [FaultKind] lists what can go wrong.
//
// conditions_test.go shows how to provoke the conditions that tests of the operator need most.
//
// # How a request is served
//
//	serve.go       read, count, admit (traffic.go), pick a fault, process, answer
//	operation.go   method and path → operation
//	auth.go        credentials → account, or a refusal
//	process.go     operation → handler
//	assigned.go    handlers: AssignedAddOns; extensions.go: their extensions
//	numbers.go     handlers: IncomingPhoneNumbers
//	accounts.go    handler: the account; installed.go: InstalledAddOns
//	paging.go      pages of a list; answer.go, xml.go: encoding
//
// The other files:
//
//	sim.go         Options, Sim
//	world.go       the state, and the only functions that change assignments
//	console.go     methods that set up the world or act as the console
//	snapshot.go    the state as data: Snapshot, Restore, Seed
//	behaviour.go   switches
//	fault.go       which requests fail; fail.go: how they fail
//	calls.go       counts of requests; requestlog.go: the latest requests
//	journal.go     changes in order
//	admin.go       all of the above over HTTP; adminclient.go: its Go client
//	sid.go         SIDs and Must; random.go: seeded randomness
//
// # How to add a fault
//
// Declare the kind in fault.go and add it to replacements (it answers in place of Twilio) or to
// distortions (it changes Twilio's own answer). Implement it in fail.go, or where the content is
// made if it changes the content, like the faults of a page in paging.go. Reuse the fields of
// [Fault] for details such as a status or a size. Add a case to fault_test.go.
// TestEveryKindHasAnEffect fails for a kind that does nothing.
//
// # Time and concurrency
//
// Half of Behaviour.Latency passes before a request is processed and half after. No lock is held
// while waiting. A request is in flight from its arrival until just before its answer is written,
// so a client with at most N open requests never exceeds a limit of N. As with Twilio, a request
// that has arrived is processed even if the client disconnects.
package twiliosim

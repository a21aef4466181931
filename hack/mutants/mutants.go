// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// mutant is one fault to be planted: a mistake that somebody could make.
type mutant struct {
	name, what string
	file       string
	// old is what the file has exactly once, and replacement what comes in its place.
	old, replacement string
}

// plant returns the file with the fault in it.
func (m *mutant) plant(source string) (string, error) {
	if n := strings.Count(source, m.old); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, and should once: bring the mutant up to date", m.file, m.old, n)
	}
	return strings.Replace(source, m.old, m.replacement, 1), nil
}

// mutants are the faults, in the order of the promises in docs/reconcile.md that they break.
var mutants = []mutant{
	{
		name: "first-page", what: "of a listing only the first page is read",
		file: "internal/twilio/client.go",
		old:  "		if next == \"\" {\n", replacement: "		if next == \"\" || true {\n",
	},
	{
		name: "additive-removes", what: "`Additive` removes what is not listed, whoever assigned it",
		file: "controllers/plan.go",
		old:  "return ownership == v1alpha1.OwnershipCreated\n", replacement: "return true\n",
	},
	{
		name: "observe-writes", what: "`Observe` assigns what is missing",
		file: "controllers/assignment_controller.go",
		old:  "if a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {\n		cl = cl.ReadOnly()\n",
		replacement: "if a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {\n" +
			"		for _, sid := range a.Spec.AddOnSIDs {\n			_, _ = cl.AssignAddOn(ctx, string(a.Spec.PhoneNumberSID), string(sid))\n		}\n",
	},
	{
		name: "suspend-ignored", what: "`suspend` is not heeded",
		file: "controllers/assignment_controller.go",
		old:  "	if a.Spec.Suspend {\n", replacement: "	if a.Spec.Suspend && a.Status.ObservedGeneration == 0 {\n",
	},
	{
		name: "stale", what: "the object's version is not checked before Twilio is written to",
		file:        "controllers/claim.go",
		old:         "	current := &metav1.PartialObjectMetadata{}\n",
		replacement: "	if a.UID != \"\" {\n		return nil\n	}\n	current := &metav1.PartialObjectMetadata{}\n",
	},
	{
		name: "no-owner", what: "of several objects for a number, each acts",
		file: "controllers/ownership.go",
		old:  "	if !r.index.contested(a.Spec.PhoneNumberSID) {\n		return nil\n	}\n", replacement: "	if true {\n		return nil\n	}\n",
	},
	{
		name: "everybody-admitted", what: "the account's allowed namespaces are not heeded",
		file: "controllers/connect.go",
		old:  "return selector.Matches(labels.Set(ns.Labels)), nil", replacement: "return selector.Matches(labels.Set(ns.Labels)) || true, nil",
	},
	{
		name: "no-finalizer", what: "Twilio is written to without the finalizer",
		file: "controllers/claim.go",
		old:  "	controllerutil.AddFinalizer(a, v1alpha1.FinalizerUnassign)\n", replacement: "",
	},
	{
		name: "released-uncleaned", what: "the finalizer is released before everything is unassigned",
		file:        "controllers/finalize.go",
		old:         "	if err != nil {\n		return f, blocked(r.refused(conn, account, err))\n	}\n",
		replacement: "	if err != nil && verdictOf(err) == nil {\n		return f, blocked(r.refused(conn, account, err))\n	}\n",
	},
	{
		name: "404-believed", what: "a removal believes the first 404",
		file: "controllers/apply.go",
		old:  "			doubtful = append(doubtful, it)\n", replacement: "			it.gone()\n",
	},
	{
		name: "retain-ignored", what: "`deletionPolicy: Retain` is not heeded",
		file: "controllers/finalize.go",
		old:  "return spec.DeletionPolicy == v1alpha1.DeletionRetain || ", replacement: "return ",
	},
	{
		name: "account-let-go", what: "a TwilioAccount is let go while objects refer to it",
		file:        "controllers/account_controller.go",
		old:         "	if deleting && r.assignments.index.references(account.Name) > 0 {\n",
		replacement: "	if deleting && r.assignments.index.references(account.Name) > 99 {\n",
	},
	{
		name: "no-intent", what: "what is assigned is recorded only afterwards",
		file: "controllers/plan.go",
		old:  "		it.intended = v1alpha1.OwnershipCreated\n", replacement: "		if it != nil {\n			continue\n		}\n",
	},
	{
		name: "list-believed", what: "what the object created is forgotten when a list does not show it yet",
		file: "controllers/plan.go",
		old:  "		if created && !desired && !there &&", replacement: "		if created && !desired && !there && spec == nil &&",
	},
	{
		name: "lost-answer", what: "an assignment whose answer was lost is not looked up, and taken for refused",
		file: "controllers/apply.go",
		old:  "	unknown := twilio.OutcomeUnknown(err) && !twilio.IsConflict(err)\n", replacement: "	unknown := twilio.OutcomeUnknown(err) && err == nil\n",
	},
	{
		name: "other-sid", what: "a returned SID that differs from the posted one is forgotten",
		file: "controllers/plan.go",
		old:  "		i.AssignedSID = v1alpha1.AddOnSID(found.SID)\n", replacement: "		i.AssignedSID = \"\"\n",
	},
	{
		name: "no-handover", what: "a departing owner removes what the next one lists",
		file: "controllers/ownership.go",
		old:  "	return successor.object.Spec.AddOnSIDs, nil\n", replacement: "	return nil, nil\n",
	},
	{
		name: "no-drift", what: "a settled number is never read again",
		file: "controllers/report.go",
		old:  "		r.index.checkAt(key, nextPhase(a.UID, resyncInterval(f.account), r.index.checkedAt(key)))\n", replacement: "",
	},
	{
		name: "restless", what: "status is written at each check",
		file:        "controllers/verdict.go",
		old:         "	message := lasting(next.Conditions, a.Generation, v)\n",
		replacement: "	message := lasting(next.Conditions, a.Generation, v) + now.String()\n",
	},
	{
		name: "no-backoff", what: "what failed is tried again at once, for ever",
		file: "controllers/schedule.go",
		old:  "	wait := longestBackoff\n	if failuresBefore < 10 {\n", replacement: "	wait := time.Millisecond\n	if failuresBefore < 0 {\n",
	},
	{
		name: "401-repeated", what: "every object tries the refused credential again",
		file: "controllers/assignment_controller.go",
		old:  "		conn.reject(err)\n", replacement: "",
	},
	{
		name: "rotation-unseen", what: "a new credential in the Secret is not taken up",
		file: "controllers/connect.go",
		old:  " && conn.secret == version {", replacement: " && version != \"\" {",
	},
	{
		name: "stalled-unsaid", what: "what somebody has to mend is not `Stalled`",
		file:        "controllers/verdict.go",
		old:         "	c.keep(v1alpha1.ConditionStalled, stalled(v.reason), v.reason, message)\n	switch {\n",
		replacement: "	switch {\n",
	},
	{
		name: "leak-goroutines", what: "each pass leaves a goroutine behind",
		file: "controllers/assignment_controller.go",
		old:  "	f, err := r.pass(ctx, &a)\n", replacement: "	go func() { select {} }()\n	f, err := r.pass(ctx, &a)\n",
	},
	{
		name: "credential-logged", what: "the credential is in a line of the log",
		file:        "controllers/connect.go",
		old:         "	governor := c.Governors.For(string(account.Spec.AccountSID))\n",
		replacement: "	fmt.Println(\"connecting\", credentials.Password)\n	governor := c.Governors.For(string(account.Spec.AccountSID))\n",
	},
}

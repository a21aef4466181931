// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// scene is what is there once the faults have stopped: what people want and what Twilio is
// like, from which follows what must be so; and what the operator made of it.
type scene struct {
	objects  []v1alpha1.PhoneNumberAddOnAssignment
	accounts map[string]*v1alpha1.TwilioAccount
	allowed  map[string]bool // by namespace
	sites    map[string]*siteState
	// managers are the names of those that must serve the accounts.
	managers map[string]string
}

// siteState is what a Twilio account is like.
type siteState struct {
	// credential says what comes of using the account: "" for well, or a Ready reason.
	credential string
	// secretWrong: the Secret itself is missing or holds what Twilio does not accept.
	secretWrong bool
	// secretThere, secretGoing, secretHeld: the Secret is there, is being deleted, has the
	// finalizer.
	secretThere, secretGoing, secretHeld bool
	numbers                              map[string][]string // what each number carries; nil if it is not there
	installed                            map[string]bool
	// otherSIDs: assignments have SIDs of their own.
	otherSIDs bool
}

// gone stands for the reason of an object that must have gone.
const gone = "(gone)"

// check says what is not as it must be; nil once everything is.
func (s *scene) check() error {
	var wrong []error
	for i := range s.objects {
		a := &s.objects[i]
		if err := s.checkObject(a); err != nil {
			wrong = append(wrong, fmt.Errorf("%s/%s (%s): %w", a.Namespace, a.Name, describeSpec(a), err))
		}
	}
	for name, account := range s.accounts {
		if s.sites[name] == nil {
			wrong = append(wrong, fmt.Errorf("TwilioAccount %s must be gone by now", name))
			continue
		}
		if err := s.checkAccount(account); err != nil {
			wrong = append(wrong, fmt.Errorf("TwilioAccount %s: %w", name, err))
		}
		if err := s.checkSecret(account); err != nil {
			wrong = append(wrong, fmt.Errorf("the Secret of TwilioAccount %s: %w", name, err))
		}
	}
	return errors.Join(append(wrong, s.checkClaims()...)...)
}

// checkClaims checks that each number has one holder at most, and that it may act.
func (s *scene) checkClaims() []error {
	var wrong []error
	holders := map[string]string{}
	for i := range s.objects {
		a := &s.objects[i]
		if a.Status.Claim != v1alpha1.ClaimHeld {
			continue
		}
		number, key := strings.ToLower(string(a.Spec.PhoneNumberSID)), a.Namespace+"/"+a.Name
		if other := holders[number]; other != "" {
			wrong = append(wrong, fmt.Errorf("both %s and %s hold %s", other, key, short(string(a.Spec.PhoneNumberSID))))
		}
		holders[number] = key
		if s.admission(a) != "" {
			wrong = append(wrong, fmt.Errorf("%s holds %s and may not use its account", key, short(string(a.Spec.PhoneNumberSID))))
		}
	}
	return wrong
}

func (s *scene) checkObject(a *v1alpha1.PhoneNumberAddOnAssignment) error {
	want := s.reasonFor(a)
	ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case want == gone:
		return fmt.Errorf("it must be gone by now; it says %s", sayReady(ready))
	case ready == nil:
		return errors.New("it has no Ready condition")
	case ready.Reason != want || a.Status.ObservedGeneration != a.Generation || ready.ObservedGeneration != a.Generation:
		return fmt.Errorf("it says %s for generation %d, and should say %s for %d", sayReady(ready), a.Status.ObservedGeneration, want, a.Generation)
	}
	return errors.Join(checkConditions(a, want), checkKstatus(a, want), s.checkNumber(a, want))
}

func sayReady(c *metav1.Condition) string {
	if c == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s (%s)", c.Reason, c.Message)
}

// reasonFor is the reason of Ready that an object must have, or gone.
func (s *scene) reasonFor(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	deleting := !a.DeletionTimestamp.IsZero()
	alone := a.Spec.Suspend || a.Spec.ManagementPolicy == v1alpha1.ManagementObserve || a.Spec.DeletionPolicy == v1alpha1.DeletionRetain
	switch {
	case deleting && (alone || !s.hasToClean(a) || s.obstacle(a) == ""):
		return gone
	case deleting:
		return v1alpha1.ReasonDeletionBlocked
	case a.Spec.Suspend:
		return v1alpha1.ReasonSuspended
	}
	if reason := s.admission(a); reason != "" {
		return reason
	}
	me, others := s.claims(a)
	switch {
	case takesOver(me, others):
		return v1alpha1.ReasonProgressing // for as long as the deletion of the owner is blocked
	case !mayAct(me, others):
		return v1alpha1.ReasonPhoneNumberConflict
	}
	if reason := s.obstacle(a); reason != "" {
		return reason
	}
	return s.outcome(a)
}

// hasToClean says whether the deletion of an object has to remove anything that no other
// object answers for.
func (s *scene) hasToClean(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	me, others := s.claims(a)
	var addOns []string
	for i := range a.Status.AddOns {
		if answers(a.Spec.ManagementPolicy, a.Status.AddOns[i]) {
			addOns = append(addOns, string(a.Status.AddOns[i].SID))
		}
	}
	if mayClean(me, others) && a.Spec.ManagementPolicy == v1alpha1.ManagementAuthoritative {
		addOns = append(addOns, me.version.AddOns...)
	}
	return slices.ContainsFunc(addOns, func(addOn string) bool {
		next := heir(me, others)
		exact := next != nil && next.held && next.version.Exact && !next.version.lists(addOn)
		return keeper(me.version, others, addOn) == nil && !exact
	})
}

// takesOver says whether an object waits for a departing owner that leaves add-ons to it.
func takesOver(c claim, others []claim) bool {
	owner := winner(append(slices.Clone(others), c))
	if owner == nil || !owner.version.Deleting || owner.life.UID == c.life.UID || !c.version.active() || !owner.version.active() ||
		owner.version.Deletion == v1alpha1.DeletionRetain {
		return false
	}
	next := successor(append(slices.Clone(others), c), owner)
	return next != nil && next.life.UID == c.life.UID && slices.ContainsFunc(owner.version.Records, func(r v1alpha1.AddOnStatus) bool {
		return (r.Ownership != "" || r.State == v1alpha1.AddOnUnassigning) && c.version.lists(string(r.SID))
	})
}

// outcome is what comes of reading and writing the number.
func (s *scene) outcome(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	site := s.sites[a.Spec.AccountRef.Name]
	switch {
	case site.numbers[string(a.Spec.PhoneNumberSID)] == nil:
		return v1alpha1.ReasonPhoneNumberNotFound
	case a.Spec.ManagementPolicy == v1alpha1.ManagementObserve:
		return v1alpha1.ReasonObserved
	case slices.ContainsFunc(a.Spec.AddOnSIDs, func(sid v1alpha1.AddOnSID) bool { return !site.installed[string(sid)] }):
		return v1alpha1.ReasonAddOnRejected
	}
	return v1alpha1.ReasonSynced
}

// admission is why an object may not use its account at all.
func (s *scene) admission(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	switch {
	case s.accounts[a.Spec.AccountRef.Name] == nil:
		return v1alpha1.ReasonAccountNotFound
	case !s.allowed[a.Namespace]:
		return v1alpha1.ReasonNamespaceNotAllowed
	}
	return ""
}

// obstacle is why Twilio cannot be used for an object.
func (s *scene) obstacle(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	if reason := s.admission(a); reason != "" {
		return reason
	}
	return s.sites[a.Spec.AccountRef.Name].credential
}

// claims are the claim of an object and those of the others that name its number.
func (s *scene) claims(a *v1alpha1.PhoneNumberAddOnAssignment) (me claim, others []claim) {
	for i := range s.objects {
		other := &s.objects[i]
		v := versionOf(other)
		c := claimOf(lifeOf(other), &v, s.admission(other) == "")
		switch {
		case other.UID == a.UID:
			me = c
		case sameSID(v.Number, string(a.Spec.PhoneNumberSID)):
			others = append(others, c)
		}
	}
	return me, others
}

// owns says whether an object owns its number.
func (s *scene) owns(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	me, others := s.claims(a)
	w := winner(append(others, me))
	return w != nil && w.life.UID == me.life.UID
}

func lifeOf(a *v1alpha1.PhoneNumberAddOnAssignment) *life {
	return &life{UID: string(a.UID), Key: a.Namespace + "/" + a.Name, Created: a.CreationTimestamp.Time}
}

// checkConditions checks that the conditions agree with the reason and with each other.
func checkConditions(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	is := func(kind string) bool { return meta.IsStatusConditionTrue(a.Status.Conditions, kind) }
	var wrong []error
	well, works := wellReason(reason), reason == v1alpha1.ReasonProgressing
	if is(v1alpha1.ConditionReady) != (well && !unread(a, reason)) || is(v1alpha1.ConditionStalled) != (!well && !works) {
		wrong = append(wrong, fmt.Errorf("its Ready is %t and Stalled %t with the reason %s", is(v1alpha1.ConditionReady), is(v1alpha1.ConditionStalled), reason))
	}
	if is(v1alpha1.ConditionReconciling) != works {
		wrong = append(wrong, fmt.Errorf("its Reconciling is %t at rest with the reason %s", !works, reason))
	}
	return errors.Join(wrong...)
}

// unread: an object is suspended whose number was never read, so whether it is as it should
// be is unknown.
func unread(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) bool {
	return reason == v1alpha1.ReasonSuspended && a.Status.AccountSID == ""
}

func wellReason(reason string) bool {
	return reason == v1alpha1.ReasonSynced || reason == v1alpha1.ReasonObserved || reason == v1alpha1.ReasonSuspended
}

// checkKstatus checks what everybody computes who knows nothing of the kind.
func checkKstatus(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	want := status.FailedStatus
	switch {
	case !a.DeletionTimestamp.IsZero():
		want = status.TerminatingStatus
	case reason == v1alpha1.ReasonProgressing, unread(a, reason):
		want = status.InProgressStatus
	case wellReason(reason):
		want = status.CurrentStatus
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(a)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: fields}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Kind: "PhoneNumberAddOnAssignment"})
	got, err := status.Compute(object)
	if err != nil {
		return fmt.Errorf("kstatus: %w", err)
	}
	if got.Status != want {
		return fmt.Errorf("kstatus computes %s (%s), not %s", got.Status, got.Message, want)
	}
	return nil
}

// differences are the installed add-ons that a number lacks, and those that it carries
// without being asked to.
func differences(a *v1alpha1.PhoneNumberAddOnAssignment, site *siteState, on []string) (missing, extra []string) {
	for _, sid := range a.Spec.AddOnSIDs {
		if site.installed[string(sid)] && !slices.Contains(on, string(sid)) {
			missing = append(missing, string(sid))
		}
	}
	for _, sid := range on {
		if !slices.Contains(a.Spec.AddOnSIDs, v1alpha1.AddOnSID(sid)) {
			extra = append(extra, sid)
		}
	}
	return missing, extra
}

// checkNumber checks that a number carries what its owner asks, and that status says so.
func (s *scene) checkNumber(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	if reason != v1alpha1.ReasonSynced && reason != v1alpha1.ReasonObserved && reason != v1alpha1.ReasonAddOnRejected {
		return nil
	}
	site := s.sites[a.Spec.AccountRef.Name]
	on := site.numbers[string(a.Spec.PhoneNumberSID)]
	missing, extra := differences(a, site, on)
	finalizer := slices.Contains(a.Finalizers, v1alpha1.FinalizerUnassign)
	switch policy := a.Spec.ManagementPolicy; {
	case policy != v1alpha1.ManagementObserve && !finalizer:
		return errors.New("it owns its number and has no finalizer")
	case policy != v1alpha1.ManagementObserve && len(missing) > 0:
		return fmt.Errorf("the number lacks %s", shorts(missing))
	case policy == v1alpha1.ManagementAuthoritative && reason == v1alpha1.ReasonSynced && len(extra) > 0:
		return fmt.Errorf("the number still carries %s", shorts(extra))
	}
	return checkRecord(a, site, on, len(extra))
}

// checkRecord checks that status says of each add-on what is so. While one is rejected,
// those that are to be removed stay.
func checkRecord(a *v1alpha1.PhoneNumberAddOnAssignment, site *siteState, on []string, extra int) error {
	if site.otherSIDs && a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return nil // who never wrote cannot know which assignment is of which add-on
	}
	var wrong []error
	rejected := slices.ContainsFunc(a.Spec.AddOnSIDs, func(sid v1alpha1.AddOnSID) bool { return !site.installed[string(sid)] })
	unmanaged, assigned := 0, 0
	for i := range a.Status.AddOns {
		s := &a.Status.AddOns[i]
		listed := slices.Contains(a.Spec.AddOnSIDs, s.SID)
		there := slices.Contains(on, string(s.SID))
		switch {
		case !listed && (s.State == v1alpha1.AddOnUnmanaged || (rejected && s.State == v1alpha1.AddOnUnassigning)):
			unmanaged++
		case !listed:
			wrong = append(wrong, fmt.Errorf("status says that %s, which is not listed, is %s", short(string(s.SID)), s.State))
		case there != (s.State == v1alpha1.AddOnAssigned):
			wrong = append(wrong, fmt.Errorf("status says that %s is %s; on the number: %t", short(string(s.SID)), s.State, there))
		case there:
			assigned++
		}
	}
	if unmanaged != extra {
		wrong = append(wrong, fmt.Errorf("status tells of %d add-ons that are not listed, the number carries %d", unmanaged, extra))
	}
	if want := fmt.Sprintf("%d/%d", assigned, len(a.Spec.AddOnSIDs)); a.Status.Synced != want {
		wrong = append(wrong, fmt.Errorf("status.synced is %q, not %q", a.Status.Synced, want))
	}
	inSync := assigned == len(a.Spec.AddOnSIDs) && extra == 0
	if got := meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionInSync); got != inSync {
		wrong = append(wrong, fmt.Errorf("InSync is %t", got))
	}
	return errors.Join(wrong...)
}

// checkSecret checks that the Secret of an account is held while objects refer to the
// account, and not for nothing.
func (s *scene) checkSecret(account *v1alpha1.TwilioAccount) error {
	used, site := s.used(account), s.sites[account.Name]
	switch {
	case !site.secretThere, site.secretGoing:
		return nil // on an object that is being deleted no finalizer can be put
	case used && !site.secretHeld:
		return errors.New("objects need it, and it has no finalizer")
	case !used && site.secretHeld:
		return errors.New("no object needs it, and it has a finalizer")
	}
	return nil
}

func (s *scene) used(account *v1alpha1.TwilioAccount) bool {
	return slices.ContainsFunc(s.objects, func(a v1alpha1.PhoneNumberAddOnAssignment) bool { return a.Spec.AccountRef.Name == account.Name })
}

// checkAccount checks the condition of a TwilioAccount, and that it is not held for nothing.
func (s *scene) checkAccount(account *v1alpha1.TwilioAccount) error {
	used := s.used(account)
	ready := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady)
	site := s.sites[account.Name]
	switch {
	case !account.DeletionTimestamp.IsZero() && !used:
		return errors.New("it is being deleted, nothing refers to it, and it is still there")
	case ready == nil:
		return errors.New("it has no Ready condition")
	case account.Status.Manager != s.managers[account.Name]:
		return fmt.Errorf("it names the manager %q, and its label is of %q", account.Status.Manager, s.managers[account.Name])
	case site.secretWrong && ready.Reason != v1alpha1.ReasonCredentialsInvalid:
		return fmt.Errorf("it says %s, and its credential is not valid", sayReady(ready))
	case site.credential == "" && ready.Reason != v1alpha1.ReasonCredentialsAccepted:
		return fmt.Errorf("it says %s, and its credential is valid", sayReady(ready))
	}
	return nil
}

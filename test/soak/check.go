// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"slices"

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
}

// siteState is what a Twilio account is like.
type siteState struct {
	// credential says what comes of using the account: "" for well, or a Ready reason.
	credential string
	// secretWrong: the Secret itself is missing or holds what Twilio does not accept.
	secretWrong bool
	numbers     map[string][]string // what each number carries; nil if it is not there
	installed   map[string]bool
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
		if err := s.checkAccount(account); err != nil {
			wrong = append(wrong, fmt.Errorf("TwilioAccount %s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
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
	owned := s.ownedByAnother(a)
	switch {
	case deleting && (alone || owned):
		return gone
	case deleting:
		if s.obstacle(a) == "" {
			return gone
		}
		return v1alpha1.ReasonDeletionBlocked
	case a.Spec.Suspend:
		return v1alpha1.ReasonSuspended
	}
	if reason := s.admission(a); reason != "" {
		return reason
	}
	if owned {
		return v1alpha1.ReasonPhoneNumberConflict
	}
	if reason := s.obstacle(a); reason != "" {
		return reason
	}
	return s.outcome(a)
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

// ownedByAnother says whether another object keeps this one from its number.
func (s *scene) ownedByAnother(a *v1alpha1.PhoneNumberAddOnAssignment) bool {
	all, _ := s.claims(string(a.Spec.PhoneNumberSID))
	others := slices.DeleteFunc(slices.Clone(all), func(c claim) bool { return c.life.UID == string(a.UID) })
	if len(others) == len(all) { // it claims nothing
		return winner(others) != nil
	}
	v := versionOf(a)
	return !mayAct(claimOf(lifeOf(a), &v), others)
}

// owner is the object that owns a number; nil if none that names it is admitted, or the
// account of none has it.
func (s *scene) owner(number string) *v1alpha1.PhoneNumberAddOnAssignment {
	claims, objects := s.claims(number)
	if w := winner(claims); w != nil {
		return objects[w.life.UID]
	}
	return nil
}

func lifeOf(a *v1alpha1.PhoneNumberAddOnAssignment) *life {
	return &life{UID: string(a.UID), Key: a.Namespace + "/" + a.Name, Created: a.CreationTimestamp.Time}
}

// claims are the claims to a number of the objects that are admitted, and these by UID.
func (s *scene) claims(number string) (claims []claim, objects map[string]*v1alpha1.PhoneNumberAddOnAssignment) {
	objects = map[string]*v1alpha1.PhoneNumberAddOnAssignment{}
	for i := range s.objects {
		a := &s.objects[i]
		v := versionOf(a)
		if !sameSID(v.Number, number) || s.admission(a) != "" || (v.Deleting && !v.Finalizer) {
			continue
		}
		l := lifeOf(a)
		objects[l.UID] = a
		claims = append(claims, claimOf(l, &v))
	}
	return claims, objects
}

// checkConditions checks that the conditions agree with the reason and with each other.
func checkConditions(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	is := func(kind string) bool { return meta.IsStatusConditionTrue(a.Status.Conditions, kind) }
	var wrong []error
	if well := wellReason(reason); is(v1alpha1.ConditionReady) != well || is(v1alpha1.ConditionStalled) == well {
		wrong = append(wrong, fmt.Errorf("its Ready is %t and Stalled %t with the reason %s", is(v1alpha1.ConditionReady), is(v1alpha1.ConditionStalled), reason))
	}
	if is(v1alpha1.ConditionReconciling) {
		wrong = append(wrong, errors.New("it is Reconciling at rest"))
	}
	return errors.Join(wrong...)
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

// checkNumber checks that a number carries what its owner asks, and that status says so.
func (s *scene) checkNumber(a *v1alpha1.PhoneNumberAddOnAssignment, reason string) error {
	if reason != v1alpha1.ReasonSynced && reason != v1alpha1.ReasonObserved && reason != v1alpha1.ReasonAddOnRejected {
		return nil
	}
	site := s.sites[a.Spec.AccountRef.Name]
	on := site.numbers[string(a.Spec.PhoneNumberSID)]
	var missing, extra []string
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
	switch policy := a.Spec.ManagementPolicy; {
	case policy != v1alpha1.ManagementObserve && len(missing) > 0:
		return fmt.Errorf("the number lacks %s", shorts(missing))
	case policy == v1alpha1.ManagementAuthoritative && len(extra) > 0:
		return fmt.Errorf("the number still carries %s", shorts(extra))
	}
	return checkRecord(a, site, on, len(extra))
}

// checkRecord checks that status says of each add-on what is so.
func checkRecord(a *v1alpha1.PhoneNumberAddOnAssignment, site *siteState, on []string, extra int) error {
	if site.otherSIDs && a.Spec.ManagementPolicy == v1alpha1.ManagementObserve {
		return nil // who never wrote cannot know which assignment is of which add-on
	}
	var wrong []error
	unmanaged, assigned := 0, 0
	for i := range a.Status.AddOns {
		s := &a.Status.AddOns[i]
		listed := slices.Contains(a.Spec.AddOnSIDs, s.SID)
		there := slices.Contains(on, string(s.SID))
		switch {
		case !listed && s.State == v1alpha1.AddOnUnmanaged:
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

// checkAccount checks the condition of a TwilioAccount, and that it is not held for nothing.
func (s *scene) checkAccount(account *v1alpha1.TwilioAccount) error {
	used := slices.ContainsFunc(s.objects, func(a v1alpha1.PhoneNumberAddOnAssignment) bool { return a.Spec.AccountRef.Name == account.Name })
	ready := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionReady)
	site := s.sites[account.Name]
	switch {
	case !account.DeletionTimestamp.IsZero() && !used:
		return errors.New("it is being deleted, nothing refers to it, and it is still there")
	case ready == nil:
		return errors.New("it has no Ready condition")
	case site.secretWrong && ready.Reason != v1alpha1.ReasonCredentialsInvalid:
		return fmt.Errorf("it says %s, and its credential is not valid", sayReady(ready))
	case site.credential == "" && ready.Reason != v1alpha1.ReasonCredentialsAccepted:
		return fmt.Errorf("it says %s, and its credential is valid", sayReady(ready))
	}
	return nil
}

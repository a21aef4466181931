// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// resync is the interval of the accounts: the shortest that is allowed, so that what is done
// once an interval is done often.
const resync = time.Second

// site is one Twilio account with its numbers and add-ons, and the TwilioAccount for it.
type site struct {
	name, sid, secret string
	numbers, addOns   []string
	// key is the SID of its API key; without one the auth token is the credential.
	key string
}

// sites are the two accounts of every run. Nothing is shared between them.
var sites = []site{
	{name: "main", sid: twiliosim.SID("AC", 1), secret: "twilio-main", numbers: sids("PN", 1, 5), addOns: sids("XE", 1, 5)},
	{name: "other", sid: twiliosim.SID("AC", 2), secret: "twilio-other", numbers: sids("PN", 11, 2), addOns: sids("XE", 11, 3), key: twiliosim.SID("SK", 1)},
}

func sids(prefix string, first, count int) []string {
	out := make([]string, 0, count)
	for i := range count {
		out = append(out, twiliosim.SID(prefix, first+i))
	}
	return out
}

// teams are the namespaces of the objects; whether they may use the accounts is a label.
var teams = []string{"team-a", "team-b"}

const allowedLabel = "twilio"

// slot is a name that objects come and go under.
type slot struct {
	key  types.NamespacedName
	site site
	// home is the number that objects of this name mostly are for. Some share one.
	home string
}

var slots = []slot{
	newSlot(0, sites[0], 0), newSlot(1, sites[0], 1), newSlot(2, sites[0], 2), newSlot(3, sites[0], 3),
	newSlot(4, sites[0], 4), newSlot(5, sites[0], 0), newSlot(6, sites[1], 0), newSlot(7, sites[1], 1),
	newSlot(8, sites[1], 0), newSlot(9, sites[0], 0), newSlot(10, sites[0], 1),
}

// pairs are the slots that share a number.
var pairs = [][2]slot{{slots[0], slots[5]}, {slots[6], slots[8]}, {slots[1], slots[10]}}

func newSlot(n int, s site, number int) slot {
	return slot{key: types.NamespacedName{Namespace: teams[n%2], Name: fmt.Sprintf("line-%d", n)}, site: s, home: s.numbers[number]}
}

// short makes a SID readable: PN…01.
func short(sid string) string {
	if len(sid) < 34 {
		return sid
	}
	return sid[:2] + "…" + sid[32:]
}

func shorts(all []string) string {
	out := make([]string, 0, len(all))
	for _, sid := range all {
		out = append(out, short(sid))
	}
	return "[" + strings.Join(out, " ") + "]"
}

// people is what people do to objects; the first action creates one.
func people() []action {
	return []action{
		{"create", 12, makeCreate},
		{"edit", 22, makeEdit},
		{"policy", 6, makePolicy},
		{"deletion-policy", 3, makeDeletionPolicy},
		{"suspend", 3, makeSuspend},
		{"delete", 7, makeDelete},
		{"force-delete", 2, makeForceDelete},
		{"recreate", 2, makeRecreate},
		{"succession", 3, makeSuccession},
		{"second-thoughts", 3, makeSecondThoughts},
		{"request", 2, makeRequest},
	}
}

// world is what happens in Twilio's console, and to accounts, credentials and namespaces.
func world() []action {
	return []action{
		{"console-assign", 12, makeConsoleAssign},
		{"console-unassign", 8, makeConsoleUnassign},
		{"release", 1, makeRelease},
		{"uninstall", 1, makeUninstall},
		{"repair", 4, makeRepair},
		{"secret-removed", 1, makeSecretRemoved},
		{"secret-wrong", 1, makeSecretWrong},
		{"rotate", 1, makeRotate},
		{"secret-restored", 6, makeSecretRestored},
		{"account-removed", 1, makeAccountRemoved},
		{"account-restored", 4, makeAccountRestored},
		{"namespace", 3, makeNamespace},
		{"twilio-suspends", 1, makeTwilioSuspends},
	}
}

// busy are the slots that every run begins with, and that most of its steps are about.
var busy = []int{0, 1, 2, 5, 6, 7}

func anySlot(random *rand.Rand) slot {
	if random.IntN(10) < 7 {
		return slots[busy[random.IntN(len(busy))]]
	}
	return slots[random.IntN(len(slots))]
}

// someAddOns chooses at most four.
func someAddOns(random *rand.Rand, s site) []string {
	all := slices.Clone(s.addOns)
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	chosen := all[:random.IntN(min(len(all), 4)+1)]
	slices.Sort(chosen)
	return chosen
}

func somePolicy(random *rand.Rand) v1alpha1.ManagementPolicy {
	return []v1alpha1.ManagementPolicy{
		v1alpha1.ManagementAuthoritative, v1alpha1.ManagementAuthoritative, v1alpha1.ManagementAuthoritative,
		v1alpha1.ManagementAdditive, v1alpha1.ManagementAdditive, v1alpha1.ManagementObserve,
	}[random.IntN(6)]
}

func someDeletion(random *rand.Rand) v1alpha1.DeletionPolicy {
	if random.IntN(5) == 0 {
		return v1alpha1.DeletionRetain
	}
	return v1alpha1.DeletionDelete
}

// newObject is an object for a slot, for the slot's own number or another of its account.
func newObject(random *rand.Rand, s slot) *v1alpha1.PhoneNumberAddOnAssignment {
	number := s.home
	if random.IntN(6) == 0 {
		number = s.site.numbers[random.IntN(len(s.site.numbers))]
	}
	a := &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: s.key.Name},
		Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
			PhoneNumberSID:   v1alpha1.PhoneNumberSID(number),
			AddOnSIDs:        addOnSIDs(someAddOns(random, s.site)),
			AccountRef:       v1alpha1.AccountReference{Name: s.site.name},
			ManagementPolicy: somePolicy(random),
			DeletionPolicy:   someDeletion(random),
		},
	}
	return a
}

func addOnSIDs(list []string) []v1alpha1.AddOnSID {
	out := make([]v1alpha1.AddOnSID, 0, len(list))
	for _, sid := range list {
		out = append(out, v1alpha1.AddOnSID(sid))
	}
	return out
}

func describeSpec(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	list := make([]string, 0, len(a.Spec.AddOnSIDs))
	for _, sid := range a.Spec.AddOnSIDs {
		list = append(list, string(sid))
	}
	return fmt.Sprintf("%s %s, %s, %s", short(string(a.Spec.PhoneNumberSID)), shorts(list), a.Spec.ManagementPolicy, a.Spec.DeletionPolicy)
}

func makeCreate(random *rand.Rand) (string, func(context.Context, *run) error) {
	return create(newObject(random, anySlot(random)))
}

func create(a *v1alpha1.PhoneNumberAddOnAssignment) (string, func(context.Context, *run) error) {
	return fmt.Sprintf("create %s: %s", client.ObjectKeyFromObject(a), describeSpec(a)), func(ctx context.Context, r *run) error {
		return r.create(ctx, a)
	}
}

func makeEdit(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySlot(random)
	list := someAddOns(random, s.site)
	return fmt.Sprintf("edit %s: list %s", s.key, shorts(list)), edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.AddOnSIDs = addOnSIDs(list)
	})
}

func makePolicy(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, policy := anySlot(random), somePolicy(random)
	return fmt.Sprintf("edit %s: managementPolicy %s", s.key, policy), edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.ManagementPolicy = policy
	})
}

func makeDeletionPolicy(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, policy := anySlot(random), someDeletion(random)
	return fmt.Sprintf("edit %s: deletionPolicy %s", s.key, policy), edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.DeletionPolicy = policy
	})
}

func makeSuspend(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, suspend := anySlot(random), random.IntN(3) == 0
	return fmt.Sprintf("edit %s: suspend %t", s.key, suspend), edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.Suspend = suspend
	})
}

func makeRequest(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, value := anySlot(random), random.Uint64()
	return fmt.Sprintf("request a pass over %s", s.key), edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, fmt.Sprint(value))
	})
}

func makeDelete(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySlot(random)
	return fmt.Sprintf("delete %s", s.key), func(ctx context.Context, r *run) error { return r.delete(ctx, s.key) }
}

func makeForceDelete(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySlot(random)
	return fmt.Sprintf("delete %s by force, its finalizers removed by hand", s.key), func(ctx context.Context, r *run) error {
		return r.forceDelete(ctx, s.key)
	}
}

func makeRecreate(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySlot(random)
	a := newObject(random, s)
	return fmt.Sprintf("delete %s by force and create it again: %s", s.key, describeSpec(a)), func(ctx context.Context, r *run) error {
		if err := r.forceDelete(ctx, s.key); err != nil {
			return err
		}
		return r.create(ctx, a)
	}
}

// makeSuccession has one object wait for the number of another, for the same add-ons, and
// then deletes the owner: what both want is to stay on the number.
func makeSuccession(random *rand.Rand) (string, func(context.Context, *run) error) {
	pair := pairs[random.IntN(len(pairs))]
	if random.IntN(2) == 0 {
		pair[0], pair[1] = pair[1], pair[0]
	}
	next := newObject(random, pair[1])
	next.Spec.PhoneNumberSID = v1alpha1.PhoneNumberSID(pair[0].home)
	words := fmt.Sprintf("create %s: %s; when it waits for the number, or after 2s, delete %s", pair[1].key, describeSpec(next), pair[0].key)
	return words, func(ctx context.Context, r *run) error {
		if err := r.create(ctx, next); err != nil {
			return err
		}
		_ = testenv.Wait(ctx, 2*time.Second, "it waits", func() error { // under faults it may never
			var a v1alpha1.PhoneNumberAddOnAssignment
			if err := r.env.Client.Get(ctx, pair[1].key, &a); err != nil {
				return err
			}
			if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Reason != v1alpha1.ReasonPhoneNumberConflict {
				return errors.New("it does not wait")
			}
			return nil
		})
		time.Sleep(lag) // what the model grants an event before it holds a manager to it
		return r.delete(ctx, pair[0].key)
	}
}

// makeSecondThoughts has an object list one more add-on under Additive, and no more once it
// is assigned, while Twilio shows writes to readers late: what the object created is to go,
// though no list shows it yet.
func makeSecondThoughts(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySlot(random)
	first := random.IntN(len(s.site.addOns))
	words := fmt.Sprintf("Twilio shows writes to readers a second late; edit %s, or the next one that is well: Additive, list one more add-on, and when it is assigned, or after 2s, no more", s.key)
	return words, func(ctx context.Context, r *run) error {
		if err := r.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.ReadLag = twiliosim.Duration(time.Second) }); err != nil {
			return err
		}
		at := slices.IndexFunc(slots, func(other slot) bool { return other.key == s.key })
		for i := range slots {
			if done, err := r.thinkTwice(ctx, slots[(at+i)%len(slots)], first); done || err != nil {
				return err
			}
		}
		return nil
	}
}

// thinkTwice has an object that is well list an add-on, from one of its account's on, and
// then no more. False: it is not well, or has them all.
func (r *run) thinkTwice(ctx context.Context, s slot, first int) (bool, error) {
	var a v1alpha1.PhoneNumberAddOnAssignment
	if err := r.env.Client.Get(ctx, s.key, &a); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	number := string(a.Spec.PhoneNumberSID)
	there, all := r.sim.Assigned(number), s.site.addOns
	all = slices.Concat(all[first%len(all):], all[:first%len(all)])
	at := slices.IndexFunc(all, func(sid string) bool {
		return !slices.Contains(there, sid) && !slices.Contains(a.Spec.AddOnSIDs, v1alpha1.AddOnSID(sid))
	})
	if at < 0 || !a.DeletionTimestamp.IsZero() || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
		return false, nil
	}
	addOn := all[at]
	r.remark(fmt.Sprintf("%s, %s", s.key, short(addOn)))
	err := edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.AddOnSIDs = append(a.Spec.AddOnSIDs, v1alpha1.AddOnSID(addOn))
		a.Spec.ManagementPolicy, a.Spec.Suspend = v1alpha1.ManagementAdditive, false
	})(ctx, r)
	if err != nil {
		return true, err
	}
	_ = testenv.Wait(ctx, 2*time.Second, "it is assigned", func() error { // under faults it may never be
		if !slices.Contains(r.sim.Assigned(number), addOn) {
			return errors.New("it is not")
		}
		return nil
	})
	return true, edit(s, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.AddOnSIDs = slices.DeleteFunc(a.Spec.AddOnSIDs, func(sid v1alpha1.AddOnSID) bool { return sid == v1alpha1.AddOnSID(addOn) })
	})(ctx, r)
}

// anyPair is a number, mostly one that objects name, and an add-on of its account.
func anyPair(random *rand.Rand) (number, addOn string) {
	s := anySlot(random)
	number = s.home
	if random.IntN(5) == 0 {
		number = s.site.numbers[random.IntN(len(s.site.numbers))]
	}
	return number, s.site.addOns[random.IntN(len(s.site.addOns))]
}

func makeConsoleAssign(random *rand.Rand) (string, func(context.Context, *run) error) {
	number, addOn := anyPair(random)
	return fmt.Sprintf("console: assign %s to %s", short(addOn), short(number)), func(_ context.Context, r *run) error {
		r.noted(r.sim.Assign(number, addOn))
		return nil
	}
}

func makeConsoleUnassign(random *rand.Rand) (string, func(context.Context, *run) error) {
	number, addOn := anyPair(random)
	return fmt.Sprintf("console: unassign %s from %s, or whatever is on it", short(addOn), short(number)), func(_ context.Context, r *run) error {
		if on := r.sim.Assigned(number); len(on) > 0 && !slices.Contains(on, addOn) {
			addOn = on[0]
		}
		r.noted(r.sim.Unassign(number, addOn))
		return nil
	}
}

func makeRelease(random *rand.Rand) (string, func(context.Context, *run) error) {
	number, _ := anyPair(random)
	return mended(random, fmt.Sprintf("console: release %s", short(number)), func(_ context.Context, r *run) error {
		r.noted(r.sim.ReleaseNumber(number))
		return nil
	}, repairAll)
}

func makeUninstall(random *rand.Rand) (string, func(context.Context, *run) error) {
	_, addOn := anyPair(random)
	return mended(random, fmt.Sprintf("console: uninstall %s", short(addOn)), func(_ context.Context, r *run) error {
		r.noted(r.sim.UninstallAddOn(addOn))
		return nil
	}, repairAll)
}

func makeRepair(*rand.Rand) (string, func(context.Context, *run) error) {
	return "console: buy back what was released, install what was uninstalled, reactivate accounts", repairAll
}

// repair adds the numbers and add-ons of an account that are not there.
func (r *run) repair(s *site) {
	for i, number := range s.numbers {
		if r.sim.Assigned(number) == nil {
			r.noted(r.sim.AddNumber(s.sid, number, fmt.Sprintf("+1415%s%03d", s.sid[31:], i)+"0000"))
		}
	}
	for _, addOn := range s.addOns {
		_ = r.sim.InstallAddOn(s.sid, addOn, "addon_"+addOn[30:]) // an error says that it is there
	}
	r.noted(r.sim.SetAccountStatus(s.sid, twiliosim.AccountActive))
}

func makeTwilioSuspends(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := sites[random.IntN(len(sites))]
	outcome := []twiliosim.Outcome{"401-20003", "403-20003", "403-20005"}[random.IntN(3)]
	return mended(random, fmt.Sprintf("Twilio suspends the account of %s (%s)", s.name, outcome), func(_ context.Context, r *run) error {
		r.noted(r.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.Suspended = outcome }))
		r.noted(r.sim.SetAccountStatus(s.sid, twiliosim.AccountSuspended))
		return nil
	}, repairAll)
}

// mended wraps a calamity: after a few seconds somebody mends it, if anybody does.
func mended(random *rand.Rand, words string, breaks, mend func(context.Context, *run) error) (string, func(context.Context, *run) error) {
	if random.IntN(4) == 0 {
		return words, breaks
	}
	wait := time.Duration(1+random.IntN(5)) * time.Second
	return fmt.Sprintf("%s; mended after %s", words, wait), func(ctx context.Context, r *run) error {
		r.chores = append(r.chores, chore{due: time.Now().Add(wait), do: mend})
		return breaks(ctx, r)
	}
}

// chore is something that is to be done at a time, or after the step that then is under way.
type chore struct {
	due time.Time
	do  func(context.Context, *run) error
}

// doChores does what is due.
func (r *run) doChores(ctx context.Context) error {
	var left, due []chore
	for _, c := range r.chores {
		if time.Now().Before(c.due) {
			left = append(left, c)
		} else {
			due = append(due, c)
		}
	}
	r.chores = left
	for _, c := range due {
		if err := c.do(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// repairAll mends what is wrong with the Twilio accounts.
func repairAll(_ context.Context, r *run) error {
	for i := range sites {
		r.repair(&sites[i])
	}
	return nil
}

// restoreSecrets puts the valid credentials into the Secrets.
func restoreSecrets(ctx context.Context, r *run) error {
	var err error
	for _, s := range sites {
		err = errors.Join(err, r.writeSecret(ctx, s, r.valid[s.name]))
	}
	return err
}

// restoreAccounts creates the TwilioAccounts that are gone.
func restoreAccounts(ctx context.Context, r *run) error {
	return errors.Join(r.createAccount(ctx, sites[0]), r.createAccount(ctx, sites[1]))
}

func anySite(random *rand.Rand) site { return sites[random.IntN(len(sites))] }

func makeSecretRemoved(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return mended(random, fmt.Sprintf("remove the Secret of %s", s.name), func(ctx context.Context, r *run) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.secret, Namespace: testenv.Namespace}}
		return client.IgnoreNotFound(r.env.Client.Delete(ctx, secret))
	}, restoreSecrets)
}

func makeSecretWrong(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return mended(random, fmt.Sprintf("put a wrong credential into the Secret of %s", s.name), func(ctx context.Context, r *run) error {
		return r.writeSecret(ctx, s, r.newSecret("wrong"))
	}, restoreSecrets)
}

func makeRotate(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return mended(random, fmt.Sprintf("Twilio gets a new credential for %s, the Secret not yet", s.name), func(_ context.Context, r *run) error {
		r.rotate(s)
		return nil
	}, restoreSecrets)
}

func makeSecretRestored(*rand.Rand) (string, func(context.Context, *run) error) {
	return "put the valid credentials into the Secrets", restoreSecrets
}

// newSecret makes up a password, and remembers it for the search for leaks.
func (r *run) newSecret(word string) string {
	text := fmt.Sprintf("soak%s%08x%04d", word, r.plan.seed, len(r.passwords))
	r.passwords = append(r.passwords, text)
	return text
}

// rotate makes a new credential the only valid one of an account.
func (r *run) rotate(s site) {
	password := r.newSecret("valid")
	r.valid[s.name] = password
	if s.key == "" {
		r.noted(r.sim.RotateAuthToken(s.sid, password))
		return
	}
	_ = r.sim.DeleteAPIKey(s.key)
	r.noted(r.sim.AddAPIKey(s.sid, s.key, password, twiliosim.KeyStandard))
}

// writeSecret creates or changes the Secret of an account.
func (r *run) writeSecret(ctx context.Context, s site, password string) error {
	data := map[string][]byte{v1alpha1.SecretKeyAuthToken: []byte(password)}
	if s.key != "" {
		data = map[string][]byte{v1alpha1.SecretKeyAPIKeySID: []byte(s.key), v1alpha1.SecretKeyAPIKeySecret: []byte(password)}
	}
	gone := func(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }
	return retry.OnError(retry.DefaultRetry, gone, func() error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.secret, Namespace: testenv.Namespace}}
		err := r.env.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		secret.Data = data
		if apierrors.IsNotFound(err) {
			return r.env.Client.Create(ctx, secret)
		} else if err != nil {
			return err
		}
		return r.env.Client.Update(ctx, secret) // one that is being deleted may be gone by now
	})
}

func makeAccountRemoved(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, force := anySite(random), random.IntN(2) == 0
	words := fmt.Sprintf("delete TwilioAccount %s", s.name)
	if force {
		words += " by force"
	}
	return mended(random, words, func(ctx context.Context, r *run) error {
		account := &v1alpha1.TwilioAccount{}
		if err := r.env.Client.Get(ctx, client.ObjectKey{Name: s.name}, account); err != nil {
			return client.IgnoreNotFound(err)
		}
		if err := r.env.Client.Delete(ctx, account); err != nil || !force {
			return client.IgnoreNotFound(err)
		}
		r.events.forced(account.UID)
		return client.IgnoreNotFound(r.env.Client.Patch(ctx, account, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	}, restoreAccounts)
}

func makeAccountRestored(*rand.Rand) (string, func(context.Context, *run) error) {
	return "create the TwilioAccounts that are gone", restoreAccounts
}

func (r *run) createAccount(ctx context.Context, s site) error {
	return ignoreExists(r.env.Client.Create(ctx, r.accountOf(s)))
}

// accountOf is the TwilioAccount of a site, as it is at first.
func (r *run) accountOf(s site) *v1alpha1.TwilioAccount {
	account := &v1alpha1.TwilioAccount{
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: map[string]string{shardLabel: r.labels[s.name]}},
		Spec: v1alpha1.TwilioAccountSpec{
			AccountSID:           v1alpha1.AccountSID(s.sid),
			CredentialsSecretRef: v1alpha1.SecretReference{Name: s.secret},
			AllowedNamespaces: v1alpha1.AllowedNamespaces{
				From:     v1alpha1.NamespacesFromSelector,
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{allowedLabel: "allowed"}},
			},
			APIBaseURL:            r.twilioURL,
			MaxConcurrentRequests: 4,
			ResyncInterval:        metav1.Duration{Duration: resync},
		},
	}
	if r.plan.tight {
		account.Spec.RemovalBudget = budget(tightLimit)
	}
	return account
}

func makeNamespace(random *rand.Rand) (string, func(context.Context, *run) error) {
	team := teams[random.IntN(len(teams))]
	allow := func(allowed bool) func(context.Context, *run) error {
		return func(ctx context.Context, r *run) error { return r.allow(ctx, team, allowed) }
	}
	if random.IntN(3) == 0 {
		return fmt.Sprintf("namespace %s may use the accounts", team), allow(true)
	}
	return mended(random, fmt.Sprintf("namespace %s may not use the accounts", team), allow(false), allow(true))
}

// allow sets the label by which the accounts admit a namespace.
func (r *run) allow(ctx context.Context, team string, allowed bool) error {
	value := `"no"`
	if allowed {
		value = `"allowed"`
	}
	r.events.namespace(team, allowed)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"`+allowedLabel+`":`+value+`}}}`))
	return r.env.Client.Patch(ctx, ns, patch)
}

// create creates an object, unless one of that name is there.
func (r *run) create(ctx context.Context, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	began, a := time.Now(), a.DeepCopy()
	err := r.env.Client.Create(ctx, a)
	if err == nil {
		r.events.wrote(a, began)
	}
	return ignoreExists(err)
}

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// edit changes the object of a slot, if there is one.
func edit(s slot, change func(*v1alpha1.PhoneNumberAddOnAssignment)) func(context.Context, *run) error {
	return func(ctx context.Context, r *run) error {
		for {
			var a v1alpha1.PhoneNumberAddOnAssignment
			if err := r.env.Client.Get(ctx, s.key, &a); err != nil {
				return client.IgnoreNotFound(err)
			}
			began := time.Now()
			change(&a)
			err := r.env.Client.Update(ctx, &a)
			if err == nil {
				r.events.wrote(&a, began)
			}
			if !apierrors.IsConflict(err) {
				return client.IgnoreNotFound(err)
			}
		}
	}
}

func (r *run) delete(ctx context.Context, key types.NamespacedName) error {
	_, err := r.markDeleted(ctx, key)
	return err
}

// markDeleted deletes an object, and returns it; nil if there is none. While it has a
// finalizer it stays, as a version of its own.
func (r *run) markDeleted(ctx context.Context, key types.NamespacedName) (*v1alpha1.PhoneNumberAddOnAssignment, error) {
	var a, left v1alpha1.PhoneNumberAddOnAssignment
	if err := r.env.Client.Get(ctx, key, &a); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	began := time.Now()
	if err := r.env.Client.Delete(ctx, &a); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	err := r.env.Client.Get(ctx, key, &left)
	if err == nil && left.UID == a.UID {
		r.events.wrote(&left, began)
	}
	return &a, client.IgnoreNotFound(err)
}

// forceDelete deletes an object and removes its finalizers by hand, as people do when a
// deletion hangs.
func (r *run) forceDelete(ctx context.Context, key types.NamespacedName) error {
	a, err := r.markDeleted(ctx, key)
	if err != nil || a == nil {
		return err
	}
	r.events.forced(a.UID)
	// Once it is deleted, nobody can add a finalizer any more.
	return client.IgnoreNotFound(r.env.Client.Patch(ctx, a, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
}

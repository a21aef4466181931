// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the manager as a process: as its own ServiceAccount, stopped,
// killed and started again while it works.
package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const patience = 90 * time.Second

var (
	env *testenv.Env
	sim *testenv.Simulator

	account = twiliosim.SID("AC", 1)
	token   = "e2etoken"
	addOns  = []string{twiliosim.SID("XE", 1), twiliosim.SID("XE", 2), twiliosim.SID("XE", 3)}
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testenv.Exit(testenv.Within(context.Background(), func(e *testenv.Env, s *testenv.Simulator) (int, error) {
		env, sim = e, s
		if err := setTheScene(context.Background()); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}))
}

func setTheScene(ctx context.Context) error {
	err := sim.Admin.AddAccount(ctx, account, token)
	for i, xe := range addOns {
		err = errors.Join(err, sim.Admin.InstallAddOn(ctx, account, xe, fmt.Sprintf("addon_%d", i)))
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "twilio", Namespace: testenv.Namespace},
		StringData: map[string]string{v1alpha1.SecretKeyAuthToken: token},
	}
	twilioAccount := &v1alpha1.TwilioAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v1alpha1.TwilioAccountSpec{
			AccountSID:           v1alpha1.AccountSID(account),
			CredentialsSecretRef: v1alpha1.SecretReference{Name: "twilio"},
			AllowedNamespaces:    v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll},
			APIBaseURL:           sim.URL,
			ResyncInterval:       metav1.Duration{Duration: time.Hour},
			RemovalBudget:        v1alpha1.RemovalBudget{MaxNumbers: new(intstr.FromString("100%"))},
		},
	}
	return errors.Join(err, env.Client.Create(ctx, secret), env.Client.Create(ctx, twilioAccount))
}

// startManager starts a manager that is stopped at the end of the test, if it still runs.
// Whatever it printed must not hold the credential.
func startManager(t *testing.T, args ...string) *testenv.Process {
	t.Helper()
	manager, err := env.StartManager(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = manager.Kill()
		if log, err := os.ReadFile(manager.Log); err != nil || bytes.Contains(log, []byte(token)) {
			t.Errorf("the manager printed the credential (or: %v)", err)
		}
	})
	return manager
}

func stop(t *testing.T, manager *testenv.Process) {
	t.Helper()
	if err := manager.Stop(); err != nil {
		log, _ := os.ReadFile(manager.Log)
		t.Errorf("the manager ended with %v; its log ends:\n%s", err, log[max(0, len(log)-4000):])
	}
}

// listing has an object list these add-ons.
func listing(sids ...string) func(*v1alpha1.PhoneNumberAddOnAssignment) {
	return func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		for _, sid := range sids {
			a.Spec.AddOnSIDs = append(a.Spec.AddOnSIDs, v1alpha1.AddOnSID(sid))
		}
	}
}

// assign creates an object for a new number.
func assign(t *testing.T, n int, changes ...func(*v1alpha1.PhoneNumberAddOnAssignment)) (*v1alpha1.PhoneNumberAddOnAssignment, string) {
	t.Helper()
	pn := twiliosim.SID("PN", n)
	if err := sim.Admin.AddNumber(t.Context(), account, pn, fmt.Sprintf("+1415555%04d", n)); err != nil {
		t.Fatal(err)
	}
	a := &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("line-%d", n), Namespace: "default"},
		Spec:       v1alpha1.PhoneNumberAddOnAssignmentSpec{PhoneNumberSID: v1alpha1.PhoneNumberSID(pn), AddOnSIDs: []v1alpha1.AddOnSID{}},
	}
	for _, change := range changes {
		change(a)
	}
	if err := env.Client.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a, pn
}

func wait(t *testing.T, what string, holds func() error) {
	t.Helper()
	if err := testenv.Wait(t.Context(), patience, what, holds); err != nil {
		t.Fatal(err)
	}
}

func synced(t *testing.T, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	t.Helper()
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
		return err
	}
	ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
	// Ready is Unknown for a suspended object whose number was never read.
	settled := ready != nil && (ready.Status == metav1.ConditionTrue || ready.Reason == v1alpha1.ReasonSuspended)
	if a.Status.ObservedGeneration != a.Generation || !settled {
		return fmt.Errorf("status is %+v", a.Status)
	}
	return nil
}

// posted waits until Twilio has processed a create whose answer is still under way.
func posted(t *testing.T, pn string) {
	t.Helper()
	wait(t, "Twilio has made an assignment", func() error {
		got, err := sim.Admin.Assigned(t.Context(), pn)
		if err == nil && len(got) == 0 {
			err = errors.New("it has none")
		}
		return err
	})
}

// slowly has every call take a while, so that a test can act in the midst of one.
func slowly(t *testing.T) {
	t.Helper()
	behave(t, func(b *twiliosim.Behaviour) { b.Latency = twiliosim.Duration(2 * time.Second) })
}

// behave changes how Twilio behaves until the end of the test.
func behave(t *testing.T, change func(*twiliosim.Behaviour)) {
	t.Helper()
	before, err := sim.Admin.Behaviour(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Admin.UpdateBehaviour(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Admin.SetBehaviour(context.WithoutCancel(t.Context()), before); err != nil {
			t.Error(err)
		}
	})
}

// A manager that is asked to stop finishes the write to Twilio that it has begun, and
// records it.
func TestGracefulStopRecordsWhatWasDone(t *testing.T) {
	manager := startManager(t)
	slowly(t)
	a, pn := assign(t, 1, listing(addOns[0], addOns[1]))
	posted(t, pn)
	stop(t, manager)
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(a), a); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(a.Status.AddOns, func(s v1alpha1.AddOnStatus) bool { return string(s.SID) == addOns[0] })
	if i < 0 || a.Status.AddOns[i].State != v1alpha1.AddOnAssigned || a.Status.AddOns[i].Ownership != v1alpha1.OwnershipCreated {
		t.Errorf("what was assigned is not recorded: %+v", a.Status)
	}
}

// A manager that is killed in the midst of its work is followed by one that finishes it,
// without doing anything twice.
func TestKilledManagerIsFollowedByOneThatFinishes(t *testing.T) {
	manager := startManager(t, "--leader-elect=false")
	slowly(t)
	a, pn := assign(t, 2, listing(addOns...))
	posted(t, pn)
	if err := manager.Kill(); err == nil {
		t.Log("the manager was killed")
	}
	next := startManager(t, "--leader-elect=false")
	defer stop(t, next)
	wait(t, "the next manager has finished", func() error { return synced(t, a) })
	if got, err := sim.Admin.Assigned(t.Context(), pn); err != nil || len(got) != 3 {
		t.Errorf("assigned are %v (%v), want all three", got, err)
	}
	calls, err := sim.Admin.Calls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := calls.Of(twiliosim.OpCreate, pn).Calls; n != 3 {
		t.Errorf("%d POSTs, want 3: what the killed manager assigned is not assigned again", n)
	}
	if err := env.Client.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	wait(t, "the object is gone", func() error { return gone(t, a) })
	if got, err := sim.Admin.Assigned(t.Context(), pn); err != nil || len(got) != 0 {
		t.Errorf("assigned are %v (%v), want none", got, err)
	}
}

// A container that the kubelet starts in place of a dead one in the same pod works at once:
// the lease that its predecessor left, which is valid for minutes yet, is its own.
func TestContainerThatFollowsADeadOneLeadsAtOnce(t *testing.T) {
	env.Environ = []string{"POD_NAME=manager-0", "POD_UID=58a4"}
	t.Cleanup(func() { env.Environ = nil })
	const longerThanThisTest = "--leader-elect-lease-duration=10m"
	first := startManager(t, longerThanThisTest)
	before, pn := assign(t, 10, listing(addOns[0]))
	wait(t, "the first manager leads", func() error { return synced(t, before) })
	if err := first.Kill(); err == nil {
		t.Log("the manager was killed")
	}
	next := startManager(t, longerThanThisTest)
	defer stop(t, next)
	edit(t, before, addOns[1])
	wait(t, "the next container leads", func() error { return carries(t, pn, addOns[1]) })
}

// What a manager assigned under Additive just before it was killed is the object's own
// for its successor, in the first pass of an object and in a later one, and where status
// had something else to tell before the first: it goes when the object no longer lists it.
func TestAdditiveKnowsItsOwnAfterAKill(t *testing.T) {
	for n, suspended := range map[int]bool{4: false, 5: true} {
		t.Run(fmt.Sprintf("suspended at first: %t", suspended), func(t *testing.T) { additiveKnowsItsOwn(t, n, suspended) })
	}
}

func additiveKnowsItsOwn(t *testing.T, n int, suspended bool) {
	t.Helper()
	manager := startManager(t, "--leader-elect=false")
	slowly(t)
	a, pn := assign(t, n, listing(addOns[0]), func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		a.Spec.ManagementPolicy, a.Spec.Suspend = v1alpha1.ManagementAdditive, suspended
	})
	if suspended {
		wait(t, "it says that it is suspended", func() error { return synced(t, a) })
	}
	for _, sid := range []string{addOns[0], addOns[1]} {
		change(t, a, fmt.Sprintf(`{"spec":{"suspend":false,"addOnSIDs":[%q]}}`, sid))
		wait(t, "Twilio has made the assignment", func() error { return carries(t, pn, sid) })
		_ = manager.Kill()
		manager = startManager(t, "--leader-elect=false")
		wait(t, "the next manager has finished", func() error { return synced(t, a) })
		edit(t, a)
		wait(t, "the number is bare", func() error { return carries(t, pn) })
		wait(t, "that is recorded", func() error { return synced(t, a) })
	}
	stop(t, manager)
}

// What an object assigned a moment ago goes with it, or when it is taken off the list,
// though Twilio's lists do not show it yet and the first DELETE is answered with a stray 404.
func TestStray404WhileReadsLagLeavesNothing(t *testing.T) {
	manager := startManager(t, "--leader-elect=false")
	defer stop(t, manager)
	behave(t, func(b *twiliosim.Behaviour) { b.ReadLag = twiliosim.Duration(3 * time.Second) })
	for n, deleted := range map[int]bool{8: false, 9: true} {
		t.Run(fmt.Sprintf("deleted: %t", deleted), func(t *testing.T) {
			additive := func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive }
			a, pn := assign(t, n, listing(addOns[0]), additive)
			wait(t, "Twilio has made the assignment", func() error { return carries(t, pn, addOns[0]) })
			wait(t, "that is recorded", func() error { return synced(t, a) })
			stray := twiliosim.Fault{Operation: twiliosim.OpDelete, Number: pn, Kind: twiliosim.FaultError, Status: 404, Code: 20404, Count: 1}
			if err := sim.Admin.AddFault(t.Context(), stray); err != nil {
				t.Fatal(err)
			}
			if deleted {
				if err := env.Client.Delete(t.Context(), a); err != nil {
					t.Fatal(err)
				}
				wait(t, "the object is gone", func() error { return gone(t, a) })
			} else {
				edit(t, a)
				wait(t, "the object is as it should be", func() error { return synced(t, a) })
			}
			if err := carries(t, pn); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a manager assigned just before it was killed goes with its object, though nobody
// lists it any more: it was taken out of the list, and the object deleted, before there was
// a manager again.
func TestNothingIsLeftAfterAKillAnEditAndADeletion(t *testing.T) {
	for n, before := range map[int][]string{6: nil, 7: {addOns[0]}} {
		t.Run(fmt.Sprintf("%d add-ons before", len(before)), func(t *testing.T) { nothingIsLeft(t, n, before) })
	}
}

func nothingIsLeft(t *testing.T, n int, before []string) {
	t.Helper()
	manager := startManager(t, "--leader-elect=false")
	a, pn := assign(t, n, listing(before...), func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.Suspend = len(before) == 0 })
	wait(t, "the object is as it should be at first", func() error { return synced(t, a) })
	slowly(t)
	change(t, a, fmt.Sprintf(`{"spec":{"suspend":false,"addOnSIDs":[%s]}}`, quoted(append(before, addOns[1]))))
	wait(t, "Twilio has made the assignment", func() error { return carries(t, pn, append(before, addOns[1])...) })
	_ = manager.Kill()
	edit(t, a, before...)
	if err := env.Client.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	manager = startManager(t, "--leader-elect=false")
	defer stop(t, manager)
	wait(t, "the object is gone", func() error { return gone(t, a) })
	if err := carries(t, pn); err != nil {
		t.Error(err)
	}
}

// gone is nil if the object is.
func gone(t *testing.T, a *v1alpha1.PhoneNumberAddOnAssignment) error {
	t.Helper()
	err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(a), a)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return errors.Join(errors.New("it is still there"), err)
}

// edit has the object list these add-ons.
func edit(t *testing.T, a *v1alpha1.PhoneNumberAddOnAssignment, sids ...string) {
	t.Helper()
	change(t, a, fmt.Sprintf(`{"spec":{"addOnSIDs":[%s]}}`, quoted(sids)))
}

// change merges a patch into the object.
func change(t *testing.T, a *v1alpha1.PhoneNumberAddOnAssignment, patch string) {
	t.Helper()
	if err := env.Client.Patch(t.Context(), a, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

func quoted(words []string) string {
	var out []string
	for _, word := range words {
		out = append(out, strconv.Quote(word))
	}
	return strings.Join(out, ",")
}

// carries is nil if the number carries exactly these add-ons.
func carries(t *testing.T, pn string, want ...string) error {
	t.Helper()
	got, err := sim.Admin.Assigned(t.Context(), pn)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("it carries %v, want %v", got, want)
	}
	return err
}

// Metrics are for those whom the API server authorizes, and hold what is promised.
func TestMetricsNeedAuthorization(t *testing.T) {
	address, err := testenv.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	manager := startManager(t, "--metrics-bind-address="+address, "--leader-elect=false")
	defer stop(t, manager)
	a, _ := assign(t, 3, listing(addOns[0]))
	wait(t, "the object is synced", func() error { return synced(t, a) })

	// The metrics are served from a little after the manager is ready.
	metrics := func(want int, token string) error {
		return answered(t, want, http.MethodGet, address, "/metrics", token, "")
	}
	wait(t, "who has no token is refused", func() error { return metrics(http.StatusUnauthorized, "") })
	token := serviceAccount(t, "scraper")
	if err := metrics(http.StatusForbidden, token); err != nil {
		t.Error("whose token may not is not refused:", err)
	}
	bind(t, "scraper", "metrics-reader")
	wait(t, "who may read the metrics can", func() error { return metrics(http.StatusOK, token) })
	_, body, err := request(t, http.MethodGet, address, "/metrics", token, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range []string{
		`twilio_addon_operator_assignments{account="default",reason="Synced"}`,
		`twilio_addon_operator_addons_assigned_total{account="` + account + `",cause="Spec"}`,
		`twilio_addon_operator_account_ready{account="default",reason="CredentialsAccepted"} 1`,
		`twilio_addon_operator_removals_held{account="default"} 0`,
		`twilio_addon_operator_build_info{version="`,
		`twilio_addon_operator_twilio_requests_total{account="` + account + `"`,
		"controller_runtime_reconcile_total", "workqueue_depth",
	} {
		if !strings.Contains(body, series) {
			t.Errorf("the metrics lack %s", series)
		}
	}
}

// The log level of a running manager changes for who may change it, and for nobody else.
func TestLogLevelChangesWhileItRuns(t *testing.T) {
	address, err := testenv.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	manager := startManager(t, "--metrics-bind-address="+address, "--leader-elect=false")
	defer stop(t, manager)
	const debug = `{"level":"debug"}`
	wait(t, "who has no token is refused", func() error {
		return answered(t, http.StatusUnauthorized, http.MethodPut, address, "/log-level", "", debug)
	})
	token := serviceAccount(t, "debugger")
	if err := answered(t, http.StatusForbidden, http.MethodPut, address, "/log-level", token, debug); err != nil {
		t.Error("whose token may not is not refused:", err)
	}
	a, _ := assign(t, 11, listing(addOns[0]))
	wait(t, "the object is synced", func() error { return synced(t, a) })
	if err := says(manager, `"level":"debug"`); err == nil {
		t.Error("the manager logs details though nobody asked for them")
	}
	bind(t, "debugger", "log-level-editor")
	wait(t, "who may change the level can", func() error {
		return answered(t, http.StatusOK, http.MethodPut, address, "/log-level", token, debug)
	})
	edit(t, a, addOns[1])
	wait(t, "the log has details", func() error { return says(manager, `"level":"debug"`) })
	if err := answered(t, http.StatusBadRequest, http.MethodPut, address, "/log-level", token, `{"level":"loud"}`); err != nil {
		t.Error("a level that is none is taken:", err)
	}
}

// says is nil if the log of a manager has a text.
func says(manager *testenv.Process, text string) error {
	log, err := os.ReadFile(manager.Log)
	if err == nil && !strings.Contains(string(log), text) {
		err = fmt.Errorf("the log lacks %s", text)
	}
	return err
}

// serviceAccount makes a ServiceAccount, and returns a token of it.
func serviceAccount(t *testing.T, name string) (token string) {
	t.Helper()
	err := env.Client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testenv.Namespace}})
	if err == nil {
		token, err = env.Token(t.Context(), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// bind gives a ServiceAccount a ClusterRole.
func bind(t *testing.T, name, role string) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: testenv.Namespace}},
	}
	if err := env.Client.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}

// answered is nil if a request to the manager's metrics server is answered with a status.
func answered(t *testing.T, want int, method, address, path, token, body string) error {
	t.Helper()
	status, _, err := request(t, method, address, path, token, body)
	if err == nil && status != want {
		err = fmt.Errorf("the answer is %d, want %d", status, want)
	}
	return err
}

func request(t *testing.T, method, address, path, token, text string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+address+path, strings.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// The manager's certificate is its own; who it is is not what is tested.
	cl := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, err := cl.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}

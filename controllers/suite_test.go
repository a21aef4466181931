// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	operatorNamespace = "twilio-addon-operator-system"
	serviceAccount    = "system:serviceaccount:" + operatorNamespace + ":controller-manager"

	// patience bounds every wait; nothing waits longer than it has to.
	patience = 2 * time.Minute
)

// suite is the real API server, the simulated Twilio behind real HTTP, and the
// controllers, which act as the ServiceAccount of the manifests under their RBAC.
type suite struct {
	config *rest.Config
	client client.Client
	sim    *twiliosim.Sim
	url    string
	writes *writeCounter

	stopManager func()
	logs        *lockedBuffer
	limiters    *twilio.Limiters
	// ends stop what was started, the last first.
	ends []func() error
}

// s is the suite that newWorld starts, nil before.
var (
	s         *suite
	needSuite = sync.OnceValue(startSuite)
)

// TestMain starts nothing: tests of what is pure need no control plane.
func TestMain(m *testing.M) {
	// The tests mostly wait, for the operator and for times that have to pass.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		testenv.Exit(1, err)
	}
	testenv.Exit(endSuite(m.Run()))
}

// startSuite starts the control plane, the simulator and the controllers.
func startSuite() error {
	ctx := context.Background()
	env, err := testenv.ControlPlane(ctx)
	if err != nil {
		return err
	}
	cfg, err := env.Start()
	if err != nil {
		return fmt.Errorf("starting the control plane: %w", err)
	}
	s = &suite{config: cfg, logs: &lockedBuffer{}, writes: &writeCounter{}, ends: []func() error{env.Stop}}
	if s.client, err = client.New(cfg, client.Options{Scheme: testScheme()}); err != nil {
		return err
	}
	if err := s.applyRBAC(ctx); err != nil {
		return err
	}
	s.sim = twiliosim.New(twiliosim.Options{Seed: 1})
	server := httptest.NewServer(s.sim.Handler())
	s.ends = append(s.ends, func() error { server.Close(); return nil })
	s.url = server.URL
	if err := s.startManager(); err != nil {
		return err
	}
	s.ends = append(s.ends, func() error { s.stopManager(); return nil })
	return nil
}

// endSuite stops what a test has started, and searches the log.
func endSuite(code int) (int, error) {
	if s == nil {
		return code, nil
	}
	var err error
	for _, end := range slices.Backward(s.ends) {
		err = errors.Join(err, end())
	}
	if leaked := s.leakedSecrets(); leaked != "" {
		err = errors.Join(err, fmt.Errorf("the log holds a credential or a configuration: %s", leaked))
	}
	return code, err
}

func testScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		panic(err)
	}
	return scheme
}

// applyRBAC binds the generated roles to the ServiceAccount, so that a missing rule
// fails a test.
func (s *suite) applyRBAC(ctx context.Context) error {
	if err := s.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}); err != nil {
		return err
	}
	manifests, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	if err != nil {
		return err
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		role := &unstructured.Unstructured{}
		if err := decoder.Decode(role); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.client.Create(ctx, role); err != nil {
			return err
		}
		if err := s.client.Create(ctx, bindingFor(role)); err != nil {
			return err
		}
	}
}

func bindingFor(role *unstructured.Unstructured) client.Object {
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: role.GetKind(), Name: role.GetName()}
	subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: serviceAccount}}
	if role.GetKind() == "Role" {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "manager", Namespace: role.GetNamespace()}, RoleRef: ref, Subjects: subjects}
	}
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "manager"}, RoleRef: ref, Subjects: subjects}
}

// startManager starts the controllers; stopManager of the suite stops them.
func (s *suite) startManager() error {
	cfg := rest.CopyConfig(s.config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: serviceAccount}
	cfg.QPS = -1
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			s.writes.note(req)
			return next.RoundTrip(req)
		})
	})
	ctrl.SetLogger(zap.New(zap.WriteTo(s.logs), zap.UseDevMode(true)))
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:     testScheme(),
		Cache:      fleet.CacheOptions(operatorNamespace),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		return err
	}
	s.limiters = twilio.NewLimiters(nil)
	if err := Setup(mgr, Options{
		Namespace: operatorNamespace,
		Workers:   16,
		Transport: twilio.NewTransport(16),
		Limiters:  s.limiters,
		Metrics:   NewMetrics(prometheus.NewRegistry(), "test"),
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := mgr.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "manager:", err)
		}
	}()
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		cancel()
		return errors.New("the manager's cache did not sync")
	}
	s.stopManager = func() { cancel(); <-done }
	return nil
}

// leakedSecrets searches the whole log for what must never be in it.
func (s *suite) leakedSecrets() string {
	for line := range strings.Lines(s.logs.String()) {
		for _, secret := range []string{secretMark, twiliosim.ConfigurationSecret} {
			if strings.Contains(line, secret) {
				return line
			}
		}
	}
	return ""
}

// secretMark is in every credential of the tests.
const secretMark = "hushhush"

// world is what one test acts on: a Twilio account of its own, its TwilioAccount and
// Secret, and a namespace.
type world struct {
	t         *testing.T
	account   string // SID
	name      string // of the TwilioAccount, the Secret and the namespace
	addOns    []string
	numbers   atomic.Int32
	firstSeed int
}

var worlds atomic.Int32

// newWorld starts the suite if no test has done so, and makes a world with four installed add-ons. The interval is short enough
// for a drift check to be waited for, and long enough not to hide a missing wake-up.
func newWorld(t *testing.T, changes ...func(*v1alpha1.TwilioAccount)) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a control plane; run without -short")
	}
	if err := needSuite(); err != nil {
		t.Fatal(err)
	}
	n := int(worlds.Add(1))
	w := &world{t: t, account: twiliosim.SID("AC", n), name: fmt.Sprintf("world-%d", n), firstSeed: n * 1000}
	twiliosim.Must(s.sim.AddAccount(w.account, w.token()))
	for i := range 4 {
		xe := twiliosim.SID("XE", w.firstSeed+i)
		w.addOns = append(w.addOns, xe)
		twiliosim.Must(s.sim.InstallAddOn(w.account, xe, fmt.Sprintf("addon_%d", i)))
	}
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name}})
	w.create(w.secret())
	account := &v1alpha1.TwilioAccount{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec: v1alpha1.TwilioAccountSpec{
			AccountSID:           v1alpha1.AccountSID(w.account),
			CredentialsSecretRef: v1alpha1.SecretReference{Name: w.name},
			AllowedNamespaces:    v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll},
			APIBaseURL:           s.url,
			ResyncInterval:       metav1.Duration{Duration: time.Hour},
		},
	}
	for _, change := range changes {
		change(account)
	}
	w.create(account)
	// Accounts and objects are watched apart: one that came first would report no account.
	eventually(t, "the account has reported", func() (bool, string) {
		get(t, account)
		return len(account.Status.Conditions) > 0, fmt.Sprint(account.Status)
	})
	return w
}

func (w *world) token() string { return secretMark + w.account[2:] }

func (w *world) secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: w.name, Namespace: operatorNamespace},
		StringData: map[string]string{v1alpha1.SecretKeyAuthToken: w.token() + "\n"},
	}
}

// number adds a phone number to the account.
func (w *world) number() string {
	n := int(w.numbers.Add(1))
	pn := twiliosim.SID("PN", w.firstSeed+n)
	twiliosim.Must(s.sim.AddNumber(w.account, pn, fmt.Sprintf("+1415%07d", w.firstSeed+n)))
	return pn
}

// assignment creates an object that wants the add-ons of these indexes.
func (w *world) assignment(name, pn string, addOns []int, changes ...func(*assignment)) *assignment {
	w.t.Helper()
	a := &assignment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.name},
		Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
			PhoneNumberSID: v1alpha1.PhoneNumberSID(pn),
			AddOnSIDs:      w.sids(addOns...),
			AccountRef:     v1alpha1.AccountReference{Name: w.name},
		},
	}
	for _, change := range changes {
		change(a)
	}
	w.create(a)
	return a
}

func (w *world) sids(addOns ...int) []v1alpha1.AddOnSID {
	sids := []v1alpha1.AddOnSID{}
	for _, i := range addOns {
		sids = append(sids, v1alpha1.AddOnSID(w.addOns[i]))
	}
	return sids
}

// assigned is what the number carries, as indexes of the world's add-ons.
func (w *world) assigned(pn string) []int {
	found := []int{}
	for i, xe := range w.addOns {
		for _, sid := range s.sim.Assigned(pn) {
			if sid == xe {
				found = append(found, i)
			}
		}
	}
	return found
}

func (w *world) create(object client.Object) {
	w.t.Helper()
	if err := s.client.Create(w.t.Context(), object); err != nil {
		w.t.Fatalf("creating %T %s: %v", object, object.GetName(), err)
	}
}

// update changes an object by a function, however often it takes.
func update[T client.Object](t *testing.T, object T, change func(T)) {
	t.Helper()
	for {
		get(t, object)
		change(object)
		err := s.client.Update(t.Context(), object)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatalf("updating %T %s: %v", object, object.GetName(), err)
		}
	}
}

func get[T client.Object](t *testing.T, object T) {
	t.Helper()
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatalf("reading %T %s: %v", object, object.GetName(), err)
	}
}

func remove(t *testing.T, object client.Object) {
	t.Helper()
	if err := s.client.Delete(t.Context(), object); err != nil {
		t.Fatalf("deleting %T %s: %v", object, object.GetName(), err)
	}
}

// eventually waits until a condition holds; the last state tells why it did not.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, state := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s; last: %s", what, state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kstatusOf is what kstatus makes of each Ready reason.
func kstatusOf(reason string) status.Status {
	switch {
	case isReady(reason), reason == v1alpha1.ReasonCredentialsAccepted:
		return status.CurrentStatus
	case isStalled(reason):
		return status.FailedStatus
	default:
		return status.InProgressStatus
	}
}

// awaitReason waits until the object reports the reason for its current spec, and
// checks what kstatus makes of it.
func awaitReason(t *testing.T, a *assignment, reason string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s reports %s", a.Name, reason), func() (bool, string) {
		get(t, a)
		r := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		if r == nil {
			return false, "no Ready condition"
		}
		return r.Reason == reason && r.ObservedGeneration == a.Generation, fmt.Sprintf("%s: %s", r.Reason, r.Message)
	})
	want := kstatusOf(reason)
	if reason == v1alpha1.ReasonSuspended && a.Status.AccountSID == "" {
		want = status.InProgressStatus // nobody knows what the number carries
	}
	if !a.DeletionTimestamp.IsZero() {
		want = status.TerminatingStatus
	}
	checkKstatus(t, a, want)
	checkConditions(t, a.Status.Conditions, reason)
}

func checkKstatus(t *testing.T, object client.Object, want status.Status) {
	t.Helper()
	object.GetObjectKind().SetGroupVersionKind(gvkOf(t, object))
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	got, err := status.Compute(&unstructured.Unstructured{Object: fields})
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != want {
		t.Errorf("kstatus computes %s (%s) for %s, want %s", got.Status, got.Message, object.GetName(), want)
	}
}

// checkConditions checks that abnormal-true conditions are there only while true.
func checkConditions(t *testing.T, conditions []metav1.Condition, reason string) {
	t.Helper()
	for kind, want := range map[string]bool{
		v1alpha1.ConditionStalled:     isStalled(reason),
		v1alpha1.ConditionReconciling: kstatusOf(reason) == status.InProgressStatus,
	} {
		c := meta.FindStatusCondition(conditions, kind)
		if want != (c != nil) || (c != nil && c.Status != metav1.ConditionTrue) {
			t.Errorf("with reason %s the condition %s is %+v, want present and True: %t", reason, kind, c, want)
		}
	}
}

func awaitGone(t *testing.T, object client.Object) {
	t.Helper()
	eventually(t, object.GetName()+" is gone", func() (bool, string) {
		err := s.client.Get(t.Context(), client.ObjectKeyFromObject(object), object)
		return apierrors.IsNotFound(err), fmt.Sprintf("%v, finalizers %v", err, object.GetFinalizers())
	})
}

// awaitAssigned waits until the number carries exactly these add-ons.
func (w *world) awaitAssigned(pn string, want ...int) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%s carries %v", pn, want), func() (bool, string) {
		got := w.assigned(pn)
		return fmt.Sprint(got) == fmt.Sprint(append([]int{}, want...)), fmt.Sprint(got)
	})
}

// request asks for a pass now, as a person would with kubectl annotate, and waits for it.
func request(t *testing.T, a *assignment) {
	t.Helper()
	stamp := time.Now().Format(time.RFC3339Nano)
	update(t, a, func(a *assignment) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileRequestedAt, stamp)
	})
	eventually(t, "the requested pass is made", func() (bool, string) {
		get(t, a)
		return a.Status.LastHandledReconcileAt == stamp, a.Status.LastHandledReconcileAt
	})
}

// writeCounter counts what the manager writes to the API server, events aside, by object.
type writeCounter struct {
	mu     sync.Mutex
	byPath map[string]int
}

func (c *writeCounter) note(req *http.Request) {
	if req.Method == http.MethodGet || strings.Contains(req.URL.Path, "/events") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPath == nil {
		c.byPath = map[string]int{}
	}
	c.byPath[strings.TrimSuffix(req.URL.Path, "/status")]++
}

// of counts the writes to objects whose path ends like this.
func (c *writeCounter) of(suffix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for path, count := range c.byPath {
		if strings.HasSuffix(path, suffix) {
			n += count
		}
	}
	return n
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func gvkOf(t *testing.T, object client.Object) schema.GroupVersionKind {
	t.Helper()
	gvk, err := apiutil.GVKForObject(object, testScheme())
	if err != nil {
		t.Fatal(err)
	}
	return gvk
}

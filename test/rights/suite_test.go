// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rights tests who may do what: that the manager is granted exactly what it uses,
// as the API server's audit log shows it, and that a tenant can do nothing beyond its own
// objects, with the cluster or with the credential.
package rights

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	patience = time.Minute
	manager  = "system:serviceaccount:" + testenv.Namespace + ":controller-manager"
	// stranger is a ServiceAccount to which nothing is granted.
	stranger = "stranger"
)

var (
	env *testenv.Env
	sim *testenv.Simulator
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testenv.Exit(testenv.Within(context.Background(), func(e *testenv.Env, s *testenv.Simulator) (int, error) {
		env, sim = e, s
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: stranger, Namespace: testenv.Namespace}}
		if err := env.Client.Create(context.Background(), account); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}, audited))
}

// auditLog is where the API server writes what the manager asks of it.
func auditLog() string { return filepath.Join(env.Dir, "audit.log") }

// audited has the API server log every request of the manager before it answers.
func audited(e *testenv.Env, control *envtest.Environment) {
	policy := `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["` + manager + `"]
- level: None
`
	file := filepath.Join(e.Dir, "audit-policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		panic(err)
	}
	control.ControlPlane.GetAPIServer().Configure().
		Set("audit-policy-file", file).
		Set("audit-log-path", filepath.Join(e.Dir, "audit.log")).
		Set("audit-log-mode", "blocking")
}

// world is a Twilio account of a test's own with a Secret, a TwilioAccount and a
// namespace, all of one name.
type world struct {
	name    string
	account string // SID
	addOns  []string
	seed    int
}

var worlds atomic.Int32

func newWorld(ctx context.Context, changes ...func(*v1alpha1.TwilioAccount)) (*world, error) {
	n := int(worlds.Add(1))
	w := &world{name: fmt.Sprintf("world-%d", n), account: twiliosim.SID("AC", n), seed: n * 100}
	err := sim.Admin.AddAccount(ctx, w.account, w.token())
	for i := range 3 {
		xe := twiliosim.SID("XE", w.seed+i)
		w.addOns = append(w.addOns, xe)
		err = errors.Join(err, sim.Admin.InstallAddOn(ctx, w.account, xe, fmt.Sprintf("addon_%d", i)))
	}
	account := w.twilioAccount()
	for _, change := range changes {
		change(account)
	}
	return w, errors.Join(err,
		env.Client.Create(ctx, w.secret()),
		env.Client.Create(ctx, account),
		env.Client.Create(ctx, w.namespace(w.name)),
	)
}

func (w *world) token() string { return "token" + w.account[2:] }

func (w *world) tenancy() testenv.Tenancy {
	return testenv.Tenancy{Name: w.name, AccountSID: w.account, AuthToken: w.token(), URL: sim.URL}
}

func (w *world) secret() *corev1.Secret                  { return w.tenancy().Secret() }
func (w *world) namespace(name string) *corev1.Namespace { return w.tenancy().Namespace(name) }
func (w *world) twilioAccount() *v1alpha1.TwilioAccount  { return w.tenancy().Account() }

type assignment = v1alpha1.PhoneNumberAddOnAssignment

// number adds a phone number to the account.
func (w *world) number(ctx context.Context) (string, error) {
	w.seed++
	pn := twiliosim.SID("PN", w.seed)
	return pn, sim.Admin.AddNumber(ctx, w.account, pn, fmt.Sprintf("+1415%07d", w.seed))
}

// assignment is an object that wants the first add-ons of the world.
func (w *world) assignment(namespace, name, pn string, addOns int) *assignment {
	return &assignment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
			PhoneNumberSID: v1alpha1.PhoneNumberSID(pn),
			AddOnSIDs:      w.first(addOns),
			AccountRef:     v1alpha1.AccountReference{Name: w.name},
		},
	}
}

func (w *world) first(addOns int) []v1alpha1.AddOnSID {
	sids := []v1alpha1.AddOnSID{}
	for _, sid := range w.addOns[:addOns] {
		sids = append(sids, v1alpha1.AddOnSID(sid))
	}
	return sids
}

// says waits until the object is reported to be in a state, by the reason of Ready.
func says(ctx context.Context, a *assignment, reason string, hints ...string) error {
	return testenv.Wait(ctx, patience, a.Name+" says "+reason, func() error {
		if err := env.Client.Get(ctx, client.ObjectKeyFromObject(a), a); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason || a.Status.ObservedGeneration != a.Generation {
			return fmt.Errorf("it says %+v", ready)
		}
		for _, hint := range hints {
			if !strings.Contains(ready.Message, hint) {
				return fmt.Errorf("the message lacks %q: %s", hint, ready.Message)
			}
		}
		return nil
	})
}

// gone waits until the object is.
func gone(ctx context.Context, object client.Object) error {
	return testenv.Wait(ctx, patience, object.GetName()+" is gone", func() error {
		err := env.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

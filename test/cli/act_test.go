// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// create makes an object of a number of the world that lists these add-ons.
func (w *world) create(name string, number int, addOns ...string) {
	w.Helper()
	o := &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1alpha1.PhoneNumberAddOnAssignmentSpec{PhoneNumberSID: v1alpha1.PhoneNumberSID(w.sid("PN", number)), AddOnSIDs: []v1alpha1.AddOnSID{}},
	}
	for _, sid := range addOns {
		o.Spec.AddOnSIDs = append(o.Spec.AddOnSIDs, v1alpha1.AddOnSID(sid))
	}
	w.must(env.Client.Create(w.Context(), o))
}

// A command that cannot do all of what it is told does none of it and says why; what has
// nothing to do says so; and a dry run changes nothing.
func TestActions(t *testing.T) {
	w := newWorld(t, 2, 1)
	w.create("one", 1)
	w.create("two", 2)
	cases := []struct {
		command string
		code    int
		says    string
	}{
		{"suspend", 1, "say what to act on"},
		{"suspend one --all", 1, "one of them"},
		{"suspend one three -n telephony", 1, "there is no PhoneNumberAddOnAssignment telephony/three"},
		{"suspend --account nobody", 1, `twilioaccounts.addons.twilio-operator.dev "nobody" not found`},
		{"suspend one -n telephony --dry-run", 0, "telephony/one suspended (dry run: nothing was changed)\n"},
		{"reconcile --account default --dry-run", 0, "telephony/two reconcile requested (dry run: nothing was changed)\n"},
		{"reconcile --all -n telephony --dry-run --wait", 1, "--wait needs a reconcile"},
		{"release one -n telephony", 0, "telephony/one: not being deleted: nothing to release\n"},
		{"release -A", 0, ""},
		{"resume two -n telephony", 0, "telephony/two: resumed already\n"},
		{"approve default", 1, "nothing is held on the TwilioAccount default"},
		{"suspend --all -n elsewhere", 0, "no objects to act on"},
	}
	before := w.objects(t.Context())
	for _, c := range cases {
		code, out, errOut := w.run("kubectl twilio-addons " + c.command)
		if code != c.code || !strings.Contains(out+errOut, c.says) || (c.code == 1 && (out != "" || strings.Count(errOut, "\n") != 1)) {
			t.Errorf("%s: exit %d: %s%s", c.command, code, out, errOut)
		}
	}
	if diff := cmp.Diff(before, w.objects(t.Context())); diff != "" {
		t.Errorf("something was changed: %s", diff)
	}
	// Here no manager runs that would reconcile.
	code, out, errOut := w.run("kubectl twilio-addons reconcile one -n telephony --wait --timeout 1s")
	if code != 1 || !strings.Contains(errOut, "1 of 1 object not reconciled within 1s, the first is telephony/one: is the operator running?") {
		t.Errorf("without an operator: exit %d: %s%s", code, out, errOut)
	}
}

// The inventory needs the cluster and Twilio, and is whole or an error in one sentence.
func TestInventoryFailsWholly(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.assign(1, 1)
	cases := map[string]struct {
		env, args, says string
		fault           *twiliosim.Fault
	}{
		"no cluster":         {args: "--kubeconfig /nonexistent", says: "/nonexistent"},
		"no rights":          {args: "--as somebody", says: `User "somebody" cannot list`},
		"no rights to read":  {args: "--as somebody --account default", says: `User "somebody" cannot get`},
		"no such account":    {args: "--account nobody", says: `"nobody" not found`},
		"no credential":      {env: "TWILIO_AUTH_TOKEN=", says: "TWILIO_AUTH_TOKEN"},
		"wrong token":        {env: "TWILIO_AUTH_TOKEN=other", says: "does not accept the credential"},
		"no Twilio":          {env: "TWILIO_API_BASE_URL=http://127.0.0.1:1", says: "connection refused"},
		"half a listing":     {says: "cannot be read from Twilio", fault: &twiliosim.Fault{Operation: twiliosim.OpList, Kind: twiliosim.FaultTruncated, Skip: 1}},
		"throttled for long": {says: "throttles", fault: &twiliosim.Fault{Kind: twiliosim.FaultError, Status: 429}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.fault != nil {
				c.fault.Account = w.account
				w.must(sim.Admin.AddFault(t.Context(), *c.fault))
				t.Cleanup(func() { w.must(sim.Admin.ClearFaults(context.Background())) })
			}
			code, out, errOut := w.run(c.env + " kubectl twilio-addons inventory " + c.args)
			if code != 1 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, c.says) {
				t.Errorf("exit %d, output %q, and on the error stream, where one sentence with %q belongs: %q", code, out, c.says, errOut)
			}
		})
	}
	if code, out, errOut := w.run("kubectl twilio-addons inventory"); code != 2 || !strings.Contains(out, "+1415") {
		t.Errorf("without a fault: exit %d: %s%s", code, out, errOut)
	}
}

// The doctor says which right the manager's ServiceAccount lacks.
func TestDoctorFindsMissingRights(t *testing.T) {
	w := newWorld(t, 1, 1)
	ctx := t.Context()
	labels := map[string]string{"control-plane": "controller-manager"}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "controller-manager", Namespace: testenv.Namespace}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			ServiceAccountName: "controller-manager", Containers: []corev1.Container{{Name: "manager", Image: "manager"}},
		}},
	}}
	w.must(env.Client.Create(ctx, deployment))
	_, out, errOut := w.run("kubectl twilio-addons doctor")
	if !strings.Contains(out, "ok           rights: system:serviceaccount:"+testenv.Namespace+":controller-manager") {
		t.Errorf("%s%s", out, errOut)
	}
	role := &rbacv1.Role{}
	w.must(env.Client.Get(ctx, client.ObjectKey{Name: "manager-role", Namespace: testenv.Namespace}, role), env.Client.Delete(ctx, role))
	t.Cleanup(func() { // the tests that follow run a manager
		role.ResourceVersion = ""
		w.must(env.Client.Create(context.Background(), role))
	})
	w.eventually("the right is missing", func() error {
		_, out, _ = w.run("kubectl twilio-addons doctor")
		if !strings.Contains(out, "may not get secrets, list secrets, patch secrets, watch secrets") {
			return textError(out)
		}
		return nil
	})
	w.must(env.Client.Delete(ctx, deployment))
}

type textError string

func (e textError) Error() string { return string(e) }

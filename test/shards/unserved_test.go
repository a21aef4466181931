// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package shards

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// TestSelectedByNobody says so on the account and on its objects, until a manager selects
// it.
func TestSelectedByNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "nobody")
	line := w.assign(0)
	w.awaitAccount(w.Name, v1alpha1.ReasonNotSelected)
	w.awaitReason(line, v1alpha1.ReasonNotSelected)
	w.checkWrites(line)
	w.label(w.Name, "b")
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.awaitAccount(w.Name, v1alpha1.ReasonCredentialsAccepted)
	w.checkWrites(line, "assign 0")
	// One that was served says so too, and nothing is done for it.
	w.label(w.Name, "nobody")
	w.awaitReason(line, v1alpha1.ReasonNotSelected)
	edit(w, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = w.addOns[:2] })
	w.awaitReason(line, v1alpha1.ReasonNotSelected)
	w.checkWrites(line, "assign 0")
	w.label(w.Name, "a")
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.checkWrites(line, "assign 0", "assign 1")
}

// TestDeletedWhileNobodyServes deletes an account, its Secret and its object while no manager
// selects the account. The object waits, because its add-ons cannot be unassigned. Once it is
// released, so are the account and the Secret.
func TestDeletedWhileNobodyServes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	line := w.assign(0)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.label(w.Name, "nobody")
	w.awaitReason(line, v1alpha1.ReasonNotSelected)
	account, err := w.account(w.Name)
	w.must(err)
	secret := w.Secret()
	for _, object := range []client.Object{account, secret, line} {
		w.must(env.Client.Delete(t.Context(), object))
	}
	w.eventually("the deletion is blocked", func() error {
		err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(line), line)
		return errors.Join(err, testenv.Says(line.Status.Conditions, v1alpha1.ReasonDeletionBlocked, v1alpha1.ReasonNotSelected, w.Name))
	})
	w.must(env.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
	if !slices.Contains(secret.Finalizers, v1alpha1.FinalizerInUse) {
		t.Errorf("the Secret has the finalizers %v while an object needs it", secret.Finalizers)
	}
	edit(w, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	for _, object := range []client.Object{line, account, secret} {
		w.eventually(fmt.Sprintf("%T is gone", object), func() error {
			err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(err, fmt.Errorf("it has the finalizers %v", object.GetFinalizers()))
		})
	}
	w.checkWrites(line, "assign 0")
}

// TestSharedSecret holds a Secret while objects of another manager's account need it, though
// that other manager's own account, which names the Secret too, has none.
func TestSharedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	line := w.assign(0)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	idle := newWorld(t, "b")
	account, err := idle.account(idle.Name)
	w.must(err)
	secret := &corev1.Secret{}
	w.eventually("the Secret is held", func() error {
		err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(w.Secret()), secret)
		if err == nil && !slices.Contains(secret.Finalizers, v1alpha1.FinalizerInUse) {
			err = fmt.Errorf("it has the finalizers %v", secret.Finalizers)
		}
		return err
	})
	// The manager of the idle account looks at every Secret, and lets go of those not in use.
	edit(idle, account, func(a *v1alpha1.TwilioAccount) { a.Spec.CredentialsSecretRef.Name = w.Name })
	idle.awaitAccount(idle.Name, v1alpha1.ReasonCredentialsInvalid)
	held := secret.ResourceVersion
	w.must(env.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
	if secret.ResourceVersion != held {
		t.Errorf("somebody changed the Secret, which has the finalizers %v", secret.Finalizers)
	}
	w.must(env.Client.Delete(t.Context(), secret))
	w.must(env.Client.Delete(t.Context(), line))
	w.awaitBare(line)
}

// TestObjectMovesWithinTheShare moves an object back and forth between two accounts of one
// manager, while another object lists an add-on for the same number. The number is never
// taken for free on the way.
func TestObjectMovesWithinTheShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	second := w.Name + "-second"
	w.createAccount(second, "a")
	line := w.assign(0)
	w.awaitReason(line, v1alpha1.ReasonSynced)
	rival := line.DeepCopy()
	rival.Name, rival.ResourceVersion, rival.Finalizers = "rival", "", nil
	rival.Spec.AddOnSIDs = w.addOns[1:2]
	w.must(env.Client.Create(t.Context(), rival))
	w.awaitReason(rival, v1alpha1.ReasonPhoneNumberConflict)
	w.awaitManager(second, selectorA)
	for round := range 20 {
		edit(w, line, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
			a.Spec.AccountRef.Name = []string{second, w.Name}[round%2]
		})
		edit(w, rival, func(a *v1alpha1.PhoneNumberAddOnAssignment) {
			a.Spec.AddOnSIDs = w.addOns[1 : 2+round%2]
		})
	}
	w.awaitReason(line, v1alpha1.ReasonSynced)
	w.awaitReason(rival, v1alpha1.ReasonPhoneNumberConflict)
	w.checkWrites(line, "assign 0")
	// It is still known: the account that it has now is in use, and its deletion cleans up.
	w.must(env.Client.Delete(t.Context(), line))
	w.awaitReason(rival, v1alpha1.ReasonSynced)
	w.checkWrites(line, "assign 0", "unassign 0", "assign 1", "assign 2")
}

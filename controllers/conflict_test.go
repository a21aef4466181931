// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// An account that somebody writes to all the time holds up no removal: the brake decides
// again on what the API server has.
func TestRemovalsFromAnAccountThatChangesAllTheTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.fleetOf(5)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && ctx.Err() == nil; i++ {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"written":"%d"}}}`, i)
			err = s.client.Patch(t.Context(), w.twilioAccount(), client.RawPatch("application/merge-patch+json", patch))
		}
		written <- err
	}()
	for _, a := range all {
		update(t, a, empty)
		w.awaitAssigned(string(a.Spec.PhoneNumberSID))
		awaitReason(t, a, v1alpha1.ReasonSynced)
	}
	stop()
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A receipt tells of the answer, whether the call succeeded or not, and of none that never
// came.
func TestReceipt(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		want   Receipt
	}{
		"success": {http.StatusCreated, assignment(testNumber, testAddOn), Receipt{http.StatusCreated, testRequest}},
		"refusal": {http.StatusBadRequest, twilioError(400, 20422, "Invalid Parameter"), Receipt{http.StatusBadRequest, testRequest}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, cl := serve(t, answer(c.status, c.body, "Twilio-Request-Id", testRequest))
			var got Receipt
			_, _ = cl.AssignAddOn(WithReceipt(t.Context(), &got), testNumber, testAddOn)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the receipt (-want +got):\n%s", diff)
			}
		})
	}
	var got Receipt
	cl := newClient(t, "http://127.0.0.1:1", Options{})
	if _, err := cl.AssignAddOn(WithReceipt(t.Context(), &got), testNumber, testAddOn); err == nil || got != (Receipt{}) {
		t.Errorf("without an answer the error is %v and the receipt %+v", err, got)
	}
}

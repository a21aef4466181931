// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// Says returns nil if the Ready condition has the reason and its message has each hint.
func Says(conditions []metav1.Condition, reason string, hints ...string) error {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != reason {
		return fmt.Errorf("the Ready condition is %+v", ready)
	}
	for _, hint := range hints {
		if !strings.Contains(ready.Message, hint) {
			return fmt.Errorf("the message lacks %q: %s", hint, ready.Message)
		}
	}
	return nil
}

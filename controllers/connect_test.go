// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// secretReader is where Secrets are read from: as metadata, or as a whole, which it counts.
type secretReader struct {
	client.Reader
	version atomic.Value // of every Secret, a string
	data    map[string]map[string][]byte
	reads   atomic.Int32
	// slow is the name of a Secret that is not given before open is closed; begun is closed
	// when somebody reads it.
	slow        string
	begun, open chan struct{}
}

func (r *secretReader) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	into.SetName(key.Name)
	into.SetResourceVersion(r.version.Load().(string))
	if secret, whole := into.(*corev1.Secret); whole {
		r.reads.Add(1)
		if key.Name == r.slow {
			close(r.begun)
			<-r.open
		}
		secret.Data = r.data[key.Name]
	}
	return nil
}

func newSecretReader() *secretReader {
	r := &secretReader{
		data: map[string]map[string][]byte{
			"well":      {v1alpha1.SecretKeyAuthToken: []byte("token")},
			"malformed": {"token": []byte("token")},
		},
		begun: make(chan struct{}), open: make(chan struct{}),
	}
	r.version.Store("1")
	return r
}

func (r *secretReader) connections() *connections {
	return &connections{
		cached: r, live: r, limiters: twilio.NewLimiters(nil), transport: twilio.NewTransport(1),
		byAccount: map[string]*slot{}, held: map[string]string{},
	}
}

// accountOfSecret is a TwilioAccount of the name of its Secret.
func accountOfSecret(name string) *v1alpha1.TwilioAccount {
	return &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TwilioAccountSpec{
		AccountSID: v1alpha1.AccountSID(twiliosim.SID("AC", 1)), CredentialsSecretRef: v1alpha1.SecretReference{Name: name},
	}}
}

// A malformed Secret is read once for each of its versions, however many objects ask.
func TestMalformedSecretIsReadOnce(t *testing.T) {
	t.Parallel()
	r := newSecretReader()
	c, account := r.connections(), accountOfSecret("malformed")
	for i, version := range []string{"1", "2"} {
		r.version.Store(version)
		var objects sync.WaitGroup
		for range 100 {
			objects.Go(func() {
				if _, err := c.to(t.Context(), account); asOutcome(err) == nil {
					t.Errorf("the malformed Secret is accepted: %v", err)
				}
			})
		}
		objects.Wait()
		if got := int(r.reads.Load()); got != i+1 {
			t.Errorf("after version %s there were %d reads, want %d", version, got, i+1)
		}
	}
}

// A Secret that takes long to read holds up nobody who needs another one.
func TestSlowSecretHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	r := newSecretReader()
	r.slow = "malformed"
	c := r.connections()
	var slow sync.WaitGroup
	slow.Go(func() { _, _ = c.to(t.Context(), accountOfSecret(r.slow)) })
	<-r.begun
	if _, err := c.to(t.Context(), accountOfSecret("well")); err != nil {
		t.Error(err)
	}
	close(r.open)
	slow.Wait()
}

// An object that waits for a permit says so after a while, but not one of many: a roll-out of
// 1,000 objects would write 1,000 statuses at once.
func TestTellOfQueue(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		queued  time.Duration
		waiting int
		tells   bool
		again   time.Duration
	}{
		"has just begun to wait":          {0, 1, false, tellQueuedAfter},
		"has waited for some time":        {tellQueuedAfter - time.Second, tellQueuedUpTo, false, time.Second},
		"has waited for long":             {tellQueuedAfter, tellQueuedUpTo, true, 0},
		"is one of many":                  {0, tellQueuedUpTo + 1, false, 0},
		"is one of many, for a long time": {time.Hour, tellQueuedUpTo + 1, false, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := queuedByLimiter("default", twilio.Busy)
			o.tellOfQueue(c.queued, c.waiting)
			if o.skipStatus == c.tells || o.after != c.again || (o.kind == kindRetry) != (c.again > 0) {
				t.Errorf("skips status: %t, kind %v, again after %s; want that it tells: %t, again after %s", o.skipStatus, o.kind, o.after, c.tells, c.again)
			}
		})
	}
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
)

// clusterOfAccounts is an API server with accounts and the Leases of running managers.
type clusterOfAccounts struct {
	client.Client
	accounts []v1alpha1.TwilioAccount
	managers []string
	// written is called with each manager that is named, before the write counts.
	written func(manager string)
}

func (s *clusterOfAccounts) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch list := into.(type) {
	case *v1alpha1.TwilioAccountList:
		list.Items = slices.Clone(s.accounts)
	case *coordinationv1.LeaseList:
		for _, manager := range s.managers {
			list.Items = append(list.Items, coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: manager},
				Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("a pod"), LeaseDurationSeconds: new(int32(15))},
			})
		}
	}
	return nil
}

func (s *clusterOfAccounts) Status() client.SubResourceWriter { return statusOfAccounts{cluster: s} }

type statusOfAccounts struct {
	client.SubResourceWriter
	cluster *clusterOfAccounts
}

func (w statusOfAccounts) Patch(_ context.Context, object client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	account, ok := object.(*v1alpha1.TwilioAccount)
	if !ok {
		return nil
	}
	w.cluster.written(account.Status.Manager)
	for i := range w.cluster.accounts {
		if w.cluster.accounts[i].UID == account.UID {
			w.cluster.accounts[i].Status.Manager = account.Status.Manager
		}
	}
	return nil
}

// TestClaimLooksAgain has something happen between the first look of a claim and its write.
// The claim is given back.
func TestClaimLooksAgain(t *testing.T) {
	const other = shard.Lease + "-other"
	me := shard.New(labels.SelectorFromSet(labels.Set{"shard": "mine"}))
	account := func(name, label, manager string, age int64) v1alpha1.TwilioAccount {
		a := v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Labels: map[string]string{"shard": label}, CreationTimestamp: metav1.NewTime(time.Unix(1000-age, 0)),
		}}
		a.Spec.AccountSID, a.Status.Manager = "AC1", manager
		return a
	}
	for name, c := range map[string]struct {
		// before is the manager that the account names, meanwhile what happens.
		before    string
		meanwhile func(s *clusterOfAccounts)
		serves    bool
		after     string
	}{
		"nothing happens": {meanwhile: func(*clusterOfAccounts) {}, serves: true, after: me.Name},
		"another manager claims an older account of the SID": {meanwhile: func(s *clusterOfAccounts) {
			s.accounts = append(s.accounts, account("older", "theirs", other, 1))
		}},
		"an older account of the SID comes, for another manager": {meanwhile: func(s *clusterOfAccounts) {
			s.accounts = append(s.accounts, account("older", "theirs", "", 1))
		}},
		"the former manager ended": {before: other, meanwhile: func(*clusterOfAccounts) {}, serves: true, after: me.Name},
		"the former manager is back": {before: other, after: other, meanwhile: func(s *clusterOfAccounts) {
			s.managers = append(s.managers, other)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := &clusterOfAccounts{accounts: []v1alpha1.TwilioAccount{account("main", "mine", c.before, 0)}, managers: []string{me.Name}}
			first := true
			cluster.written = func(string) {
				if first {
					c.meanwhile(cluster)
				}
				first = false
			}
			s := &shards{
				Client: cluster, live: cluster, manager: me, leases: &leases{live: cluster}, wake: func(string) {},
				served: map[string]claimed{}, inFlight: map[string]int{}, stopping: sets.New[string](), unclaimed: map[types.UID]time.Time{},
			}
			serves, _, err := s.claim(t.Context(), &cluster.accounts[0])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{c.serves, c.after}, []any{serves, cluster.accounts[0].Status.Manager}); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

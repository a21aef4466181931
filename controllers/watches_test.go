// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// listing is a source whose initial listing ends when it is told to.
type listing struct{ end chan error }

func (listing) Start(context.Context, requests) error { return nil }

func (l listing) WaitForSync(context.Context) error { return <-l.end }

// The account controller starts its work when the index knows every object, and not
// before: an account that is in use would be released.
func TestAccountsWaitForTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &AssignmentReconciler{index: newIndex()}
		objects := listing{make(chan error)}
		filling := r.filling(objects)
		started := make(chan error, 1)
		go func() { started <- whenFilled{r.index}.WaitForSync(t.Context()) }()

		failure := errors.New("the cache did not sync")
		go func() { objects.end <- failure }()
		if err := filling.WaitForSync(t.Context()); !errors.Is(err, failure) {
			t.Errorf("the error is %v, want that of the listing", err)
		}
		synctest.Wait()
		select {
		case err := <-started:
			t.Fatalf("the account controller starts (%v) though the listing failed", err)
		default:
		}

		go func() { objects.end <- nil }()
		if err := filling.WaitForSync(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case err := <-started:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Fatal("the account controller still waits")
		}
	})
}

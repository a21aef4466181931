// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// carried is how many add-ons each number of a preset carries, as listed.
const carried = 3

func storeKey(name string) string {
	return "/registry/" + v1alpha1.GroupVersion.Group + "/phonenumberaddonassignments/" + objectsIn + "/" + name
}

// uidOf is the UID of the preset object for a number: any that is its own.
func uidOf(number int) types.UID {
	x := uint64(number) * 0x9e3779b97f4a7c15 // spreads the bits
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], x)
	binary.BigEndian.PutUint64(b[8:], x^uint64(number))
	return types.UID(fmt.Sprintf("%x-%x-4%x-8%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])[:36])
}

// preset is an account with numbers in Twilio and synced objects for them in the API
// server. One object is converged by the operator itself; the others are copies of it,
// written straight into etcd.
func (w *world) preset(ctx context.Context, account, count, limit int, resync time.Duration) error {
	if err := w.seed(ctx, account, count, carried); err != nil {
		return err
	}
	if err := w.applyAccount(ctx, account, limit, resync); err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.create(ctx, account, 1); err != nil {
		return err
	}
	first := numbersOf(account)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := w.track.done(waiting, objectName(first), 1); err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	model, err := w.etcd.get(ctx, storeKey(objectName(first)))
	if err != nil {
		return err
	}
	w.say("%d synced objects, written to etcd", count)
	return w.copies(ctx, model, account, count)
}

// copies writes an object for each number of the account, the first included.
func (w *world) copies(ctx context.Context, model []byte, account, count int) error {
	dates, err := w.dates(ctx, account, 0, count-1)
	if err != nil {
		return err
	}
	err = inParallel(ctx, count, inFlight, func(i int) error {
		n := numbersOf(account) + i
		value, err := copyFor(model, n, dates[i])
		if err != nil {
			return err
		}
		return w.etcd.put(ctx, pair{Key: []byte(storeKey(objectName(n))), Value: value})
	})
	if err != nil {
		return err
	}
	// The API server is behind; those written last are seen last.
	last := min(count, 2*inFlight)
	return w.until(ctx, "last objects seen by the API server", last, func() (int, error) {
		seen := 0
		for i := range last {
			if w.api.knows(ctx, objectName(numbersOf(account)+count-1-i)) {
				seen++
			}
		}
		return seen, nil
	})
}

// copyFor is the model as the object for another number.
func copyFor(model []byte, number int, dates []string) ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal(model, &object); err != nil {
		return nil, err
	}
	part := func(of any, name string) map[string]any {
		m, _ := of.(map[string]any)
		inner, _ := m[name].(map[string]any)
		return inner
	}
	metadata, status := part(object, "metadata"), part(object, "status")
	metadata["name"], metadata["uid"] = objectName(number), uidOf(number)
	part(object, "spec")["phoneNumberSID"] = numberSID(number)
	status["phoneNumber"] = twiliosim.PhoneNumber(number)
	recorded, _ := status["addOns"].([]any)
	if len(recorded) != len(dates) {
		return nil, fmt.Errorf("the model has %d add-ons in status, Twilio %d", len(recorded), len(dates))
	}
	for i, addOn := range recorded {
		if m, ok := addOn.(map[string]any); ok {
			m["dateUpdated"] = dates[i]
		}
	}
	return json.Marshal(object)
}

// dates are when the assignments of numbers from one to another were made, as status
// has it. Numbers are seeded in order, so what lies between two of the same second is of
// that second too.
func (w *world) dates(ctx context.Context, account, from, to int) ([][]string, error) {
	first, err := w.datesOf(ctx, account, numbersOf(account)+from)
	if err != nil || from == to {
		return [][]string{first}, err
	}
	last, err := w.datesOf(ctx, account, numbersOf(account)+to)
	if err != nil {
		return nil, err
	}
	if slices.Equal(first, last) && first[0] == last[len(last)-1] {
		return slices.Repeat([][]string{first}, to-from+1), nil
	}
	middle := (from + to) / 2
	lower, err := w.dates(ctx, account, from, middle)
	if err != nil {
		return nil, err
	}
	upper, err := w.dates(ctx, account, middle+1, to)
	return append(lower, upper...), err
}

func (w *world) datesOf(ctx context.Context, account, number int) ([]string, error) {
	url := fmt.Sprintf("%s/2010-04-01/Accounts/%s/IncomingPhoneNumbers/%s/AssignedAddOns.json", w.sim.URL, accountSID(account), numberSID(number))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(accountSID(account), authToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var page struct {
		AddOns []struct {
			Updated string `json:"date_updated"`
		} `json:"assigned_add_ons"`
	}
	if err := json.Unmarshal(body, &page); err != nil || len(page.AddOns) == 0 {
		return nil, fmt.Errorf("listing number %d: %s: %w", number, res.Status, err)
	}
	dates := make([]string, 0, len(page.AddOns))
	for _, addOn := range page.AddOns {
		t, err := time.Parse(time.RFC1123Z, addOn.Updated)
		if err != nil {
			return nil, err
		}
		dates = append(dates, t.UTC().Format(time.RFC3339))
	}
	return dates, nil
}

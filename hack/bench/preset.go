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

// addOnsPerNumber is how many add-ons each object lists.
const addOnsPerNumber = 3

func storeKey(name string) string {
	return "/registry/" + v1alpha1.GroupVersion.Group + "/phonenumberaddonassignments/" + namespace + "/" + name
}

// uidOf derives a unique UID for the object of a number.
func uidOf(number int) types.UID {
	x := uint64(number) * 0x9e3779b97f4a7c15 // distributes the bits
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], x)
	binary.BigEndian.PutUint64(b[8:], x^uint64(number))
	return types.UID(fmt.Sprintf("%x-%x-4%x-8%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])[:36])
}

// createPreset creates an account, numbers in Twilio and synced objects for them. The operator
// syncs the first object. The others are copies of it, written straight to etcd.
func (w *world) createPreset(ctx context.Context, account, count, limit int, resync time.Duration) error {
	if err := w.seed(ctx, account, count, addOnsPerNumber); err != nil {
		return err
	}
	if err := w.applyAccount(ctx, account, limit, resync); err != nil {
		return err
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	if err := w.createObjects(ctx, account, 1); err != nil {
		return err
	}
	first := firstNumber(account)
	waitCtx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	if _, err := w.track.waitDone(waitCtx, objectName(first), 1); err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	model, err := w.etcd.get(ctx, storeKey(objectName(first)))
	if err != nil {
		return err
	}
	w.progress("writing %d synced objects to etcd", count)
	return w.writeCopies(ctx, model, account, count)
}

// writeCopies writes an object for each number of the account, including the first.
func (w *world) writeCopies(ctx context.Context, model []byte, account, count int) error {
	dates, err := w.assignmentDates(ctx, account, 0, count-1)
	if err != nil {
		return err
	}
	err = inParallel(ctx, count, etcdConcurrency, func(i int) error {
		n := firstNumber(account) + i
		value, err := copyFor(model, n, dates[i])
		if err != nil {
			return err
		}
		return w.etcd.put(ctx, keyValue{Key: []byte(storeKey(objectName(n))), Value: value})
	})
	if err != nil {
		return err
	}
	// The API server lags behind etcd, and sees the last writes last.
	last := min(count, 2*etcdConcurrency)
	return w.waitCount(ctx, "last objects known to the API server", last, func() (int, error) {
		seen := 0
		for i := range last {
			if w.api.hasObject(ctx, objectName(firstNumber(account)+count-1-i)) {
				seen++
			}
		}
		return seen, nil
	})
}

// copyFor returns the model changed into the object of another number.
func copyFor(model []byte, number int, dates []string) ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal(model, &object); err != nil {
		return nil, err
	}
	field := func(name string) map[string]any {
		m, _ := object[name].(map[string]any)
		return m
	}
	metadata, status := field("metadata"), field("status")
	metadata["name"], metadata["uid"] = objectName(number), uidOf(number)
	field("spec")["phoneNumberSID"] = numberSID(number)
	status["phoneNumber"] = twiliosim.PhoneNumber(number)
	recorded, _ := status["addOns"].([]any)
	if len(recorded) != len(dates) {
		return nil, fmt.Errorf("the status of the model has %d add-ons, Twilio has %d", len(recorded), len(dates))
	}
	for i, addOn := range recorded {
		if m, ok := addOn.(map[string]any); ok {
			m["dateUpdated"] = dates[i]
		}
	}
	return json.Marshal(object)
}

// assignmentDates returns the dates of the assignments of each number in a range, in the format
// of the status. Numbers are seeded in order. If the first and last number of a range have the
// same date, all numbers between them have it too, so that few numbers need to be read.
func (w *world) assignmentDates(ctx context.Context, account, from, to int) ([][]string, error) {
	first, err := w.readDates(ctx, account, firstNumber(account)+from)
	if err != nil || from == to {
		return [][]string{first}, err
	}
	last, err := w.readDates(ctx, account, firstNumber(account)+to)
	if err != nil {
		return nil, err
	}
	if slices.Equal(first, last) && first[0] == last[len(last)-1] {
		return slices.Repeat([][]string{first}, to-from+1), nil
	}
	middle := (from + to) / 2
	lower, err := w.assignmentDates(ctx, account, from, middle)
	if err != nil {
		return nil, err
	}
	upper, err := w.assignmentDates(ctx, account, middle+1, to)
	return append(lower, upper...), err
}

// readDates lists the add-ons of a number and returns their dates.
func (w *world) readDates(ctx context.Context, account, number int) ([]string, error) {
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

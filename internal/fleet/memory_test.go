// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/schedule"
)

// syncedObject is an object as the API server sends it, with three add-ons on its number.
const syncedObject = `{
"apiVersion":"addons.twilio-operator.dev/v1alpha1","kind":"PhoneNumberAddOnAssignment",
"metadata":{"name":"line-%07[1]d","namespace":"default","uid":"%08[1]x-79b9-4b97-8f4a-7c1500000000",
 "resourceVersion":"%[1]d","generation":1,"creationTimestamp":"2026-11-24T16:00:00Z",
 "finalizers":["addons.twilio-operator.dev/unassign"],"labels":{"app":"telephony"},
 "annotations":{"argocd.argoproj.io/tracking-id":"telephony:line-%07[1]d"},
 "managedFields":[{"manager":"twilio-addon-operator","operation":"Update","apiVersion":"addons.twilio-operator.dev/v1alpha1",
  "time":"2026-11-24T16:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:addOns":{},"f:conditions":{}}}}]},
"spec":{"phoneNumberSID":"PN%032[1]x","accountRef":{"name":"default"},"managementPolicy":"Authoritative","deletionPolicy":"Delete",
 "addOnSIDs":["XE00000000000000000000000000000065","XE00000000000000000000000000000066","XE00000000000000000000000000000067"]},
"status":{"observedGeneration":1,"accountSID":"AC00000000000000000000000000000001","claim":"Held","phoneNumber":"+1%010[1]d","synced":"3/3",
 "conditions":[
  {"type":"Ready","status":"True","reason":"Synced","message":"All 3 listed add-ons are assigned.","observedGeneration":1,"lastTransitionTime":"2026-11-24T16:00:00Z"},
  {"type":"InSync","status":"True","reason":"Matches","message":"The number carries exactly the listed add-ons.","observedGeneration":1,"lastTransitionTime":"2026-11-24T16:00:00Z"}],
 "addOns":[
  {"sid":"XE00000000000000000000000000000065","state":"Assigned","ownership":"Created","uniqueName":"add_on_101","friendlyName":"Add-on 101","description":"Does what it says.","dateUpdated":"2026-11-24T16:00:00Z"},
  {"sid":"XE00000000000000000000000000000066","state":"Assigned","ownership":"Created","uniqueName":"add_on_102","friendlyName":"Add-on 102","description":"Does what it says.","dateUpdated":"2026-11-24T16:00:00Z"},
  {"sid":"XE00000000000000000000000000000067","state":"Assigned","ownership":"Created","uniqueName":"add_on_103","friendlyName":"Add-on 103","description":"Does what it says.","dateUpdated":"2026-11-24T16:00:00Z"}]}}`

// An object costs no more than a small container can bear 100,000 of: in the cache and,
// waiting for its next check, in the indef.
func TestMemoryOfAnObject(t *testing.T) {
	const objects, bound = 20_000, 1.7 * 1024
	store, f := cache.NewStore(cache.MetaNamespaceKeyFunc), New()
	before := liveHeap()
	for i := range objects {
		a := &v1alpha1.PhoneNumberAddOnAssignment{}
		if err := json.Unmarshal(fmt.Appendf(nil, syncedObject, i), a); err != nil {
			t.Fatal(err)
		}
		stripped, err := stripAssignment(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Add(stripped); err != nil {
			t.Fatal(err)
		}
		f.Upsert(a)
		f.ScheduleNext(keyOf(a), schedule.NextPhase(a.UID, time.Hour, f.Clock().Now()))
	}
	each := float64(liveHeap()-before) / objects
	t.Logf("%.0f bytes an object", each)
	if each > bound {
		t.Errorf("an object takes %.0f bytes, more than %.0f", each, bound)
	}
	runtime.KeepAlive(store)
	runtime.KeepAlive(f)
}

// liveHeap is what is in use after a collection. Interned strings and buffers that
// nobody uses go in the second.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

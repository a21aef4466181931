// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// once makes a request with one fault active. It uses a new connection, because net/http retries
// a request that fails on a reused one.
func once(t *testing.T, sim *twiliosim.Sim, f twiliosim.Fault, c call) (reply, error) {
	t.Helper()
	twiliosim.Must(sim.AddFault(f))
	server := newServer(t, sim)
	server.client.Transport.(*http.Transport).DisableKeepAlives = true
	return server.try(c)
}

func TestFaultsThatReplaceTheAnswer(t *testing.T) {
	type fault = twiliosim.Fault
	html := func(size int) func(reply) bool {
		return func(r reply) bool {
			return strings.HasPrefix(r.body, "<html>") && strings.HasSuffix(r.body, "</html>") && len(r.body) == size &&
				r.header.Get("Content-Type") == "text/html"
		}
	}
	retryAfter := func(want string) func(reply) bool {
		return func(r reply) bool { return r.header.Get("Retry-After") == want }
	}
	body := func(want string) func(reply) bool { return func(r reply) bool { return r.body == want } }
	location := func(want string) func(reply) bool {
		return func(r reply) bool { return r.header.Get("Location") == want }
	}
	cases := []struct {
		name         string
		fault        fault
		call         call
		status, code int
		check        func(reply) bool
	}{
		{"500", fault{Kind: twiliosim.FaultError}, list(pn), 500, 20500, retryAfter("")},
		{"503", fault{Kind: twiliosim.FaultError, Status: 503}, list(pn), 503, 20503, retryAfter("")},
		{"503 with seconds", fault{Kind: twiliosim.FaultError, Status: 503, RetryAfter: "7"}, list(pn), 503, 20503, retryAfter("7")},
		{"503 with a huge delay", fault{Kind: twiliosim.FaultError, Status: 503, RetryAfter: "999999999"}, list(pn), 503, 20503, retryAfter("999999999")},
		{"503 with a negative delay", fault{Kind: twiliosim.FaultError, Status: 503, RetryAfter: "-5"}, list(pn), 503, 20503, retryAfter("-5")},
		{"503 with an invalid delay", fault{Kind: twiliosim.FaultError, Status: 503, RetryAfter: "soon"}, list(pn), 503, 20503, retryAfter("soon")},
		{"503 with a date", fault{Kind: twiliosim.FaultError, Status: 503, RetryAfter: "date+1h"}, list(pn), 503, 20503, func(r reply) bool {
			date, err := http.ParseTime(r.header.Get("Retry-After"))
			ahead := time.Until(date)
			return err == nil && ahead > 59*time.Minute && ahead <= time.Hour
		}},
		{"429", fault{Kind: twiliosim.FaultError, Status: 429}, create(pn, xe), 429, 20429, nil},
		{"401", fault{Kind: twiliosim.FaultError, Status: 401}, create(pn, xe), 401, 20003, nil},
		{"403 with a code", fault{Kind: twiliosim.FaultError, Status: 403, Code: 70051}, create(pn, xe), 403, 70051, nil},
		{"404 for an existing number", fault{Kind: twiliosim.FaultError, Status: 404}, list(pn), 404, 20404, nil},
		{"chunked 404", fault{Kind: twiliosim.FaultChunkedError}, list(pn), 404, 20404, func(r reply) bool {
			return r.header.Get("Content-Length") == ""
		}},
		{"502 from a gateway", fault{Kind: twiliosim.FaultHTML}, list(pn), 502, 0, html(150)},
		{"503 of 60 KB", fault{Kind: twiliosim.FaultHTML, Status: 503, Bytes: 60 << 10}, list(pn), 503, 0, html(60 << 10)},
		{"alien list", fault{Kind: twiliosim.FaultAlien}, list(pn), 200, 0, body(`{"greeting":"hello","items":[1,2,3]}`)},
		{"alien create", fault{Kind: twiliosim.FaultAlien}, create(pn, xe), 201, 0, nil},
		{"empty object", fault{Kind: twiliosim.FaultEmptyObject}, list(pn), 200, 0, body("{}")},
		{"empty body", fault{Kind: twiliosim.FaultEmptyBody}, create(pn, xe), 201, 0, body("")},
		{"redirect to the same host", fault{Kind: twiliosim.FaultRedirect}, list(pn), 307, 0, location(list(pn).path + "?Redirected=true")},
		{"redirect to another host", fault{Kind: twiliosim.FaultRedirect, Status: 302, Location: "https://elsewhere.invalid"}, list(pn), 302, 0,
			location("https://elsewhere.invalid" + list(pn).path)},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sim := newWorld(t)
			r, err := once(t, sim, tc.fault, tc.call)
			if err != nil {
				t.Fatal(err)
			}
			if r.status != tc.status {
				t.Errorf("status is %d, want %d", r.status, tc.status)
			}
			if tc.code != 0 && r.code(t) != tc.code {
				t.Errorf("body is %s, want code %d", r.body, tc.code)
			}
			if tc.check != nil && !tc.check(r) {
				t.Errorf("unexpected answer: %v %s", r.header, r.body[:min(len(r.body), 300)])
			}
			if n := len(sim.Journal()); n != 0 {
				t.Errorf("the request was processed")
			}
		})
	}
}

func TestFaultsAfterProcessing(t *testing.T) {
	for _, kind := range []twiliosim.FaultKind{
		twiliosim.FaultError, twiliosim.FaultHTML, twiliosim.FaultReset, twiliosim.FaultEmptyBody, twiliosim.FaultRedirect,
	} {
		sim := newWorld(t)
		r, err := once(t, sim, twiliosim.Fault{Kind: kind, Processed: true}, create(pn, xe))
		if diff := cmp.Diff([]string{xe}, sim.Assigned(pn)); diff != "" {
			t.Errorf("%s: the request was not processed (-want +got):\n%s", kind, diff)
		}
		if (kind == twiliosim.FaultReset) != (err != nil) || strings.Contains(r.body, xe) {
			t.Errorf("%s: got %v, %v", kind, r, err)
		}
	}
}

func TestResetReachesTheClient(t *testing.T) {
	for _, processed := range []bool{false, true} {
		sim := newWorld(t)
		_, err := once(t, sim, twiliosim.Fault{Kind: twiliosim.FaultReset, Processed: processed}, create(pn, xe))
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("processed %v: error is %v, want a reset", processed, err)
		}
		if got := len(sim.Journal()) == 1; got != processed {
			t.Errorf("processed is %v, want %v", got, processed)
		}
	}
}

func TestHangLastsUntilTheClientDisconnects(t *testing.T) {
	for _, processed := range []bool{false, true} {
		sim := newWorld(t)
		twiliosim.Must(sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultHang, Processed: processed}))
		server := newServer(t, sim)
		ctx, cancel := context.WithCancel(t.Context())
		req := create(pn, xe).request(t, server.URL).WithContext(ctx)
		go func() {
			for len(sim.Faults()) > 0 && sim.Faults()[0].Fired == 0 || processed && len(sim.Journal()) == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		res, err := server.client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want context.Canceled", err)
		}
		for sim.Calls().Total.Broken == 0 {
			time.Sleep(time.Millisecond)
		}
		if got := len(sim.Journal()) == 1; got != processed {
			t.Errorf("processed is %v, want %v", got, processed)
		}
	}
}

func TestHangAnswersAfterItsDelay(t *testing.T) {
	sim := newWorld(t)
	r, err := once(t, sim, twiliosim.Fault{Kind: twiliosim.FaultHang, Delay: twiliosim.Duration(time.Millisecond)}, create(pn, xe))
	if err != nil || r.status != 201 || r.field(t, "sid") != xe {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestFaultsThatDistortTheAnswer(t *testing.T) {
	type fault = twiliosim.Fault
	correct := newServer(t, newWorld(t)).do(list(pn))
	cases := []struct {
		name  string
		fault fault
		call  call
		check func(r reply, err error) bool
	}{
		{"slow body is complete", fault{Kind: twiliosim.FaultSlowBody, Delay: twiliosim.Duration(10 * time.Millisecond)}, list(pn),
			func(r reply, err error) bool {
				return err == nil && cmp.Equal(r.object(t), correct.object(t))
			}},
		{"truncated body ends in the middle", fault{Kind: twiliosim.FaultTruncated}, list(pn),
			func(r reply, err error) bool {
				return err == nil && r.status == 200 && len(r.body) == len(correct.body)/2 && !json.Valid([]byte(r.body))
			}},
		{"cut body ends unexpectedly", fault{Kind: twiliosim.FaultCutBody}, list(pn),
			func(_ reply, err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"oversized body is valid JSON", fault{Kind: twiliosim.FaultOversized, Bytes: 3 << 20}, list(pn),
			func(r reply, err error) bool {
				o := r.object(t)
				delete(o, "padding")
				return err == nil && len(r.body) > 3<<20 && cmp.Equal(o, correct.object(t))
			}},
		{"wrong number in a create", fault{Kind: twiliosim.FaultWrongNumber}, create(pn, xe),
			func(r reply, err error) bool {
				sid, _ := r.field(t, "resource_sid").(string)
				return err == nil && r.status == 201 && twiliosim.IsSID("PN", sid) && sid != pn && !strings.Contains(r.body, pn)
			}},
		{"wrong SID in a create", fault{Kind: twiliosim.FaultWrongSID}, create(pn, xe),
			func(r reply, err error) bool {
				sid, _ := r.field(t, "sid").(string)
				return err == nil && r.status == 201 && twiliosim.IsSID("XE", sid) && sid != xe && r.field(t, "resource_sid") == pn
			}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sim := newWorld(t)
			r, err := once(t, sim, tc.fault, tc.call)
			if !tc.check(r, err) {
				t.Errorf("got %d %s, %v", r.status, r.body[:min(len(r.body), 500)], err)
			}
			if created := len(sim.Assigned(pn)) == 1; created != (tc.call.method == http.MethodPost) {
				t.Errorf("processed is %v, want %v", created, !created)
			}
		})
	}
}

func TestFaultsOfPages(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(sim.Assign(pn, xe), sim.Assign(pn, xe2),
		sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.MaxPageSize = 1 }))
	first := list(pn)
	second := first
	second.path += "?PageSize=1&Page=1&PageToken=PA" + xe
	cases := []struct {
		name  string
		fault twiliosim.Fault
		call  call
		items []string
		next  any
	}{
		{"none", twiliosim.Fault{Operation: twiliosim.OpFetch, Kind: twiliosim.FaultError}, first, []string{xe}, second.path},
		{"duplicate on the first page", twiliosim.Fault{Kind: twiliosim.FaultDuplicateItems}, first, []string{xe, xe}, second.path},
		{"duplicate of the page before", twiliosim.Fault{Kind: twiliosim.FaultDuplicateItems}, second, []string{xe, xe2}, nil},
		{"next page is the page itself", twiliosim.Fault{Kind: twiliosim.FaultNextPageSelf}, second, []string{xe2}, second.path},
		{"next page elsewhere", twiliosim.Fault{Kind: twiliosim.FaultNextPageElsewhere}, first, []string{xe}, "https://elsewhere.invalid" + second.path},
		{"next page on a given host", twiliosim.Fault{Kind: twiliosim.FaultNextPageElsewhere, Location: "http://127.0.0.1:9"}, first, []string{xe},
			"http://127.0.0.1:9" + second.path},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sim.ClearFaults()
			r, err := once(t, sim, tc.fault, tc.call)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.items, r.items(t, "assigned_add_ons")); diff != "" {
				t.Errorf("items (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.next, r.field(t, "next_page_uri")); diff != "" {
				t.Errorf("next page (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFaultSelectsRequests(t *testing.T) {
	type fault = twiliosim.Fault
	number := call{path: numberPath(ac, pn, ".json")}
	subNumber := call{path: numberPath(sub, pn3, ".json")}
	calls := []call{create(pn, xe), list(pn), list(pn2), list(pn), number, remove(pn, xe), list(pn), subNumber}
	cases := []struct {
		name  string
		fault fault
		fail  string // One character per call; x means that it fails.
	}{
		{"everything", fault{}, "xxxxxxxx"},
		{"wildcards", fault{Operation: "*", Account: "*", Number: "*"}, "xxxxxxxx"},
		{"an operation", fault{Operation: twiliosim.OpList}, ".xxx..x."},
		{"a number", fault{Number: pn}, "xx.xxxx."},
		{"an account", fault{Account: sub}, ".......x"},
		{"an operation on a number", fault{Operation: twiliosim.OpList, Number: pn2}, "..x....."},
		{"the first two", fault{Operation: twiliosim.OpList, Count: 2}, ".xx....."},
		{"the second and third", fault{Operation: twiliosim.OpList, Skip: 1, Count: 2}, "..xx...."},
		{"the number resource", fault{Operation: twiliosim.OpNumber, Number: pn}, "....x..."},
		{"no request", fault{Operation: twiliosim.OpCreate, Number: pn2}, "........"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sim := newWorld(t)
			tc.fault.Kind, tc.fault.Status = twiliosim.FaultError, 500
			twiliosim.Must(sim.AddFault(tc.fault))
			got := ""
			for _, c := range calls {
				if direct(t, sim, c).status == 500 {
					got += "x"
				} else {
					got += "."
				}
			}
			if got != tc.fail {
				t.Errorf("failed calls are %s, want %s", got, tc.fail)
			}
			if n := sim.Injected()["error-500"]; n != strings.Count(tc.fail, "x") {
				t.Errorf("Injected counts %d, want %d", n, strings.Count(tc.fail, "x"))
			}
		})
	}
}

func TestProbabilityDependsOnTheSeed(t *testing.T) {
	run := func(seed uint64) (pattern string) {
		sim := twiliosim.New(twiliosim.Options{Seed: seed})
		twiliosim.Must(sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultError, Probability: 0.3}))
		for range 1000 {
			if direct(t, sim, list(pn)).status == 500 {
				pattern += "x"
			} else {
				pattern += "."
			}
		}
		return pattern
	}
	first := run(1)
	if run(1) != first {
		t.Error("the same seed gives different choices")
	}
	if run(2) == first {
		t.Error("another seed gives the same choices")
	}
	if n := strings.Count(first, "x"); n < 200 || n > 400 {
		t.Errorf("%d of 1000 requests fail, want about 300", n)
	}
}

func TestFaultsApplyInOrder(t *testing.T) {
	sim := newWorld(t)
	twiliosim.Must(
		sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultError, Status: 503, Count: 1}),
		sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultError, Status: 500}),
	)
	var got []int
	for range 2 {
		got = append(got, direct(t, sim, list(pn)).status)
	}
	if !sim.RemoveFault(2) || sim.RemoveFault(2) {
		t.Error("RemoveFault does not report whether the fault existed")
	}
	got = append(got, direct(t, sim, list(pn)).status)
	if diff := cmp.Diff([]int{503, 500, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	sim.ClearFaults()
	if n := len(sim.Faults()); n != 0 {
		t.Errorf("ClearFaults left %d faults", n)
	}
	if diff := cmp.Diff(map[string]int{"error-503": 1, "error-500": 1}, sim.Injected()); diff != "" {
		t.Errorf("injected (-want +got):\n%s", diff)
	}
}

func TestAddFaultRefusesInvalidFaults(t *testing.T) {
	for _, f := range []twiliosim.Fault{
		{},
		{Kind: "unheard-of"},
		{Kind: twiliosim.FaultError, Probability: 1.5},
		{Kind: twiliosim.FaultError, Count: -1},
		{Kind: twiliosim.FaultError, Status: 100},
		{Kind: twiliosim.FaultMissingNumber},
		{Kind: twiliosim.FaultMissingNumber, Number: "*"},
		{Kind: twiliosim.FaultError, RetryAfter: "date+soon"},
	} {
		sim := newWorld(t)
		if err := sim.AddFault(f); err == nil || len(sim.Faults()) != 0 {
			t.Errorf("AddFault accepted %+v (error %v)", f, err)
		}
	}
}

// A kind that is declared but has no effect would hide failures in the soak.
func TestEveryKindHasAnEffect(t *testing.T) {
	for _, kind := range twiliosim.FaultKinds() {
		t.Run(string(kind), func(t *testing.T) {
			results := map[bool]string{}
			for _, faulty := range []bool{false, true} {
				sim := newWorld(t)
				twiliosim.Must(sim.Assign(pn, xe), sim.Assign(pn, xe2))
				f := twiliosim.Fault{Kind: kind, Number: pn, Operation: twiliosim.OpFetch, Bytes: 1000, Delay: twiliosim.Duration(time.Millisecond)}
				if faulty {
					f.Operation = twiliosim.OpList
				}
				r, err := once(t, sim, f, list(pn))
				results[faulty] = summary(r, err)
			}
			same := results[false] == results[true]
			slow := kind == twiliosim.FaultSlowBody || kind == twiliosim.FaultHang
			if same != slow {
				t.Errorf("the answers are the same: %v, want %v; with the fault: %s", same, slow, results[true])
			}
		})
	}
}

// summary returns what a client sees of an answer, except for times.
func summary(r reply, err error) string {
	if err != nil {
		var u *url.Error
		return "error " + map[bool]string{true: "of connection", false: "of body"}[errors.As(err, &u)]
	}
	return http.StatusText(r.status) + r.header.Get("Location") + strconv.Itoa(len(r.body)) +
		anyDate.ReplaceAllString(r.body, "date")
}

var anyDate = regexp.MustCompile(`"\w{3}, \d\d [^"]*"`)

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// twilioFaults are what Twilio, and what lies before it, does to requests.
func twilioFaults() []action {
	return []action{
		{"twilio-fault", 34, makeTwilioFault},
		{"twilio-switch", 5, makeSwitch},
		{"twilio-clear", 1, makeClear},
		{"number-outage", 2, makeNumberOutage},
	}
}

// menu is every fault of the simulator in the forms that a client can be asked to bear. Left
// out are lies that nobody could tell from the truth: a 4xx to what was processed, another
// SID in a list or in the answer to a create (differentSIDs is that, told consistently),
// and a Retry-After that silences an account for longer than a run lasts.
func menu() []twiliosim.Fault {
	const second = twiliosim.Duration(time.Second)
	every, list, create, remove, fetch, number := twiliosim.OpAny, twiliosim.OpList, twiliosim.OpCreate, twiliosim.OpDelete, twiliosim.OpFetch, twiliosim.OpNumber
	return []twiliosim.Fault{
		{Kind: twiliosim.FaultError, Operation: every},
		{Kind: twiliosim.FaultError, Operation: create, Processed: true},
		{Kind: twiliosim.FaultError, Operation: remove, Processed: true},
		{Kind: twiliosim.FaultError, Operation: every, Status: 503, RetryAfter: "1"},
		{Kind: twiliosim.FaultError, Operation: every, Status: 503, RetryAfter: "date+2s"},
		{Kind: twiliosim.FaultError, Operation: every, Status: 503, RetryAfter: "-5"},
		{Kind: twiliosim.FaultError, Operation: every, Status: 503, RetryAfter: "soon"},
		{Kind: twiliosim.FaultError, Operation: every, Status: 429},
		{Kind: twiliosim.FaultError, Operation: every, Status: 429, RetryAfter: "1"},
		{Kind: twiliosim.FaultError, Operation: every, Status: 401},
		{Kind: twiliosim.FaultError, Operation: every, Status: 403},
		{Kind: twiliosim.FaultError, Operation: every, Status: 404},
		{Kind: twiliosim.FaultError, Operation: remove, Status: 404},
		{Kind: twiliosim.FaultError, Operation: create, Status: 404},
		{Kind: twiliosim.FaultError, Operation: create, Status: 400},
		{Kind: twiliosim.FaultError, Operation: create, Status: 409},
		{Kind: twiliosim.FaultChunkedError, Operation: every, Status: 404},
		{Kind: twiliosim.FaultHTML, Operation: every},
		{Kind: twiliosim.FaultHTML, Operation: every, Status: 503, Bytes: 60 << 10},
		{Kind: twiliosim.FaultHTML, Operation: create, Processed: true},
		{Kind: twiliosim.FaultHTML, Operation: every, Status: 200},
		{Kind: twiliosim.FaultReset, Operation: every},
		{Kind: twiliosim.FaultReset, Operation: create, Processed: true},
		{Kind: twiliosim.FaultReset, Operation: remove, Processed: true},
		{Kind: twiliosim.FaultHang, Operation: every, Delay: 2 * second},
		{Kind: twiliosim.FaultHang, Operation: create, Count: 1, Processed: true},
		{Kind: twiliosim.FaultHang, Operation: remove, Count: 1},
		{Kind: twiliosim.FaultAlien, Operation: every},
		{Kind: twiliosim.FaultAlien, Operation: create, Processed: true},
		{Kind: twiliosim.FaultEmptyObject, Operation: every},
		{Kind: twiliosim.FaultEmptyBody, Operation: every},
		{Kind: twiliosim.FaultRedirect, Operation: every},
		{Kind: twiliosim.FaultRedirect, Operation: every, Status: 302, Location: "https://elsewhere.invalid"},
		{Kind: twiliosim.FaultRedirect, Operation: remove, Status: 301},
		{Kind: twiliosim.FaultSlowBody, Operation: every},
		{Kind: twiliosim.FaultTruncated, Operation: every},
		{Kind: twiliosim.FaultCutBody, Operation: every},
		{Kind: twiliosim.FaultOversized, Operation: list, Count: 1},
		{Kind: twiliosim.FaultOversized, Operation: create, Count: 1},
		{Kind: twiliosim.FaultWrongNumber, Operation: every},
		{Kind: twiliosim.FaultWrongSID, Operation: fetch},
		{Kind: twiliosim.FaultWrongSID, Operation: number},
		{Kind: twiliosim.FaultDuplicateItems, Operation: list},
		{Kind: twiliosim.FaultNextPageSelf, Operation: list},
		{Kind: twiliosim.FaultNextPageElsewhere, Operation: list},
	}
}

func makeTwilioFault(random *rand.Rand) (string, func(context.Context, *run) error) {
	all := menu()
	f := all[random.IntN(len(all))]
	if random.IntN(4) == 0 {
		f.Number, _ = anyPair(random)
	}
	if f.Count == 0 {
		f.Count = 1 + random.IntN(8)
		if random.IntN(3) > 0 {
			f.Probability = float64(2+random.IntN(6)) / 10
		}
	}
	return "Twilio: " + describeFault(f), func(_ context.Context, r *run) error { return r.sim.AddFault(f) }
}

func describeFault(f twiliosim.Fault) string {
	words := []string{f.Label(), "on", string(f.Operation)}
	if f.Operation == twiliosim.OpAny {
		words[2] = "any operation"
	}
	if f.Number != "" {
		words = append(words, "of", short(f.Number))
	}
	if f.Probability > 0 {
		words = append(words, fmt.Sprintf("with probability %.1f", f.Probability))
	}
	if f.RetryAfter != "" {
		words = append(words, "Retry-After", f.RetryAfter)
	}
	return strings.Join(append(words, fmt.Sprintf("at most %d times", f.Count)), " ")
}

// outage is for how long everything about a number fails while nothing else happens, and
// outageCalls how many calls about it that may cost: the back-off leaves time for three
// tries, and a manager that begins in the meantime for as many. A try that removes asks for
// each add-on on the number: one that Twilio does not answer about must not hold up the rest.
const (
	outage      = 4 * time.Second
	outageTries = 3
	outageCalls = 10
)

func makeNumberOutage(random *rand.Rand) (string, func(context.Context, *run) error) {
	number := anySlot(random).home
	return fmt.Sprintf("Twilio: error-500 on whatever is about %s, for %s, in which nothing else happens", short(number), outage), func(_ context.Context, r *run) error {
		if err := r.sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultError, Operation: twiliosim.OpAny, Number: number}); err != nil {
			return err
		}
		faults, allowed := r.sim.Faults(), outageCalls+outageTries*max(len(r.sim.Assigned(number))-1, 0)
		before, began := r.sim.Calls().Of(twiliosim.OpAny, number).Calls, time.Now()
		time.Sleep(outage) // this is the time in which it may not be hammered, not a wait for something
		calls := r.sim.Calls().Of(twiliosim.OpAny, number).Calls - before
		r.sim.RemoveFault(faults[len(faults)-1].ID)
		if calls > allowed {
			r.found(wrongAt(began, "in an outage of %s there were %d calls about it, and %d are allowed", outage, calls, allowed))
		}
		return nil
	}
}

func makeClear(*rand.Rand) (string, func(context.Context, *run) error) {
	return "Twilio: no faults for now, no lag and no limits", func(_ context.Context, r *run) error { return r.calmTwilio() }
}

// calmTwilio takes away every fault, lag and limit; what the answers are like stays.
func (r *run) calmTwilio() error {
	r.sim.ClearFaults()
	return r.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
		b.ReadLag, b.ConcurrencyLimit, b.RateLimit = 0, 0, 0
	})
}

// toggle is one of the switches for what Twilio leaves open, or one of its limits.
type toggle struct {
	words string
	set   func(*twiliosim.Behaviour)
}

var toggles = []toggle{
	{"answers a repeated create with 201", func(b *twiliosim.Behaviour) { b.DuplicateCreate = twiliosim.DuplicateSame }},
	{"answers a repeated create with 409", func(b *twiliosim.Behaviour) { b.DuplicateCreate = "409-20409" }},
	{"answers a repeated create with 400", func(b *twiliosim.Behaviour) { b.DuplicateCreate = "400" }},
	{"answers a create of an unknown add-on with 404", func(b *twiliosim.Behaviour) { b.UnknownAddOn = "404-20404" }},
	{"answers a create of an unknown add-on with 400", func(b *twiliosim.Behaviour) { b.UnknownAddOn = "400-20422" }},
	{"shows writes to readers a second late", func(b *twiliosim.Behaviour) { b.ReadLag = twiliosim.Duration(time.Second) }},
	{"takes 2 requests at a time", func(b *twiliosim.Behaviour) { b.ConcurrencyLimit = 2 }},
	{"takes 1 request at a time and says Retry-After", func(b *twiliosim.Behaviour) {
		b.ConcurrencyLimit, b.RetryAfter = 1, twiliosim.RetryAfterSeconds
	}},
	{"takes 5 requests a second", func(b *twiliosim.Behaviour) { b.RateLimit = 5 }},
	{"has pages of 1", func(b *twiliosim.Behaviour) { b.MaxPageSize = 1 }},
	{"has pages of 1000", func(b *twiliosim.Behaviour) { b.MaxPageSize = 0 }},
}

func makeSwitch(random *rand.Rand) (string, func(context.Context, *run) error) {
	t := toggles[random.IntN(len(toggles))]
	return "Twilio " + t.words, func(_ context.Context, r *run) error {
		return r.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
			t.set(b)
			if r.plan.differentSIDs {
				// A create of what the console assigned, refused under a SID that nobody was
				// told, could not be told from an add-on too much.
				b.DuplicateCreate = twiliosim.DuplicateSame
			}
		})
	}
}

// apiFaults are what happens between the manager and the API server.
func apiFaults() []action {
	return []action{
		{"api-writes-fail", 5, makeAPIWritesFail},
		{"api-everything-fails", 2, makeAPIFails},
		{"watches-drop", 3, makeWatchesDrop},
		{"watches-lag", 4, makeWatchesLag},
	}
}

func makeAPIWritesFail(random *rand.Rand) (string, func(context.Context, *run) error) {
	kinds := []testenv.APIFault{testenv.APIConflict, testenv.APIError, testenv.APIUnavailable, testenv.APIThrottled, testenv.APIReset, testenv.APILost, testenv.APISlow}
	kind, share, seed := kinds[random.IntN(len(kinds))], 3+random.IntN(6), random.Uint64()
	length := time.Duration(1+random.IntN(4)) * time.Second
	return fmt.Sprintf("API server: %d in 10 writes to assignments and accounts meet %s, for %s", share, kind, length), func(_ context.Context, r *run) error {
		chance := newChance(seed, float64(share)/10)
		r.failAPI(length, func(req testenv.APIRequest) testenv.APIFault {
			ours := strings.HasPrefix(req.Resource, "phonenumberaddonassignments") || strings.HasPrefix(req.Resource, "twilioaccounts")
			if ours && req.Writes() && chance.falls() {
				return kind
			}
			return testenv.APIFine
		})
		return nil
	}
}

func makeAPIFails(random *rand.Rand) (string, func(context.Context, *run) error) {
	seed, share := random.Uint64(), 3+random.IntN(8)
	length := time.Duration(500+random.IntN(2500)) * time.Millisecond
	return fmt.Sprintf("API server: %d in 10 requests of any kind cannot be made, for %s", share, length), func(_ context.Context, r *run) error {
		chance := newChance(seed, float64(share)/10)
		r.failAPI(length, func(testenv.APIRequest) testenv.APIFault {
			if chance.falls() {
				return testenv.APIReset
			}
			return testenv.APIFine
		})
		return nil
	}
}

func makeWatchesDrop(*rand.Rand) (string, func(context.Context, *run) error) {
	return "API server: every watch drops", func(_ context.Context, r *run) error {
		r.proxy.DropWatches()
		r.count("watches dropped")
		return nil
	}
}

func makeWatchesLag(random *rand.Rand) (string, func(context.Context, *run) error) {
	length := time.Duration(300+random.IntN(2200)) * time.Millisecond
	return fmt.Sprintf("API server: no watch gets an event for %s", length), func(_ context.Context, r *run) error {
		r.proxy.HoldWatches()
		r.count("watches held")
		began := time.Now()
		r.later(length, func() {
			r.proxy.PassWatches()
			r.events.stale(began, time.Now())
		})
		return nil
	}
}

// failAPI has requests to the API server go wrong for a while; of several faults the last
// one counts.
func (r *run) failAPI(length time.Duration, decide func(testenv.APIRequest) testenv.APIFault) {
	r.proxy.SetFaults(decide)
	turn := r.apiFaults.Add(1)
	r.later(length, func() {
		if turn == r.apiFaults.Load() {
			r.proxy.SetFaults(nil)
		}
	})
}

// chance falls with a probability, in an order that a seed decides.
type chance struct {
	mu     sync.Mutex
	random *rand.Rand
	share  float64
}

func newChance(seed uint64, share float64) *chance {
	return &chance{random: rand.New(rand.NewPCG(seed, 1)), share: share}
}

func (c *chance) falls() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.Float64() < c.share
}

// tap notes the requests that matter to the model as they come to Twilio.
func (r *run) tap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		began := time.Now()
		parts := strings.Split(strings.TrimSuffix(req.URL.Path, ".json"), "/")
		addOn := ""
		if req.Method == http.MethodPost {
			_ = req.ParseForm() // the simulator reads the same form again
			addOn = req.PostForm.Get("InstalledAddOnSid")
		}
		aboutNumber := len(parts) > 5 && parts[4] == "IncomingPhoneNumbers"
		r.underWay(began, 1)
		defer func() {
			r.underWay(began, -1)
			if aboutNumber {
				r.events.called(call{ID: w.Header().Get("Twilio-Request-Id"), Method: req.Method, Number: parts[5], Of: strings.Join(parts[6:], "/"), AddOn: addOn, At: began})
			}
		}()
		next.ServeHTTP(w, req)
		if do := r.atWrite.Load(); do != nil && req.Method != http.MethodGet && aboutNumber {
			(*do)(parts[5])
		}
	})
}

// underWay counts the requests to Twilio that are being answered, by when they began.
func (r *run) underWay(began time.Time, delta int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inFlight[began] += delta; r.inFlight[began] == 0 {
		delete(r.inFlight, began)
	}
}

// hanging is how many requests that began before a time are still under way: a fault that
// has reached them is not over.
func (r *run) hanging(before time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for began, count := range r.inFlight {
		if began.Before(before) {
			n += count
		}
	}
	return n
}

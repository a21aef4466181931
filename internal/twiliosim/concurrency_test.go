// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// Tests of the operator rely on the journal and the counts. Under concurrent use, replaying the
// journal must give the state, and the outcomes must add up to the calls.
func TestJournalExplainsTheStateUnderConcurrentUse(t *testing.T) {
	const numbers, addOns, workers, steps = 20, 5, 8, 300
	sim := twiliosim.New(twiliosim.Options{Seed: 1, RequestLog: 10})
	twiliosim.Must(
		sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: numbers, AddOns: addOns}),
		sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultError, Probability: 0.1}),
		sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultHTML, Probability: 0.1, Processed: true}),
		sim.AddFault(twiliosim.Fault{Kind: twiliosim.FaultReset, Probability: 0.05, Processed: true}),
	)
	server := newServer(t, sim)
	var wg sync.WaitGroup
	for worker := range workers {
		random := rand.New(rand.NewPCG(1, uint64(worker)))
		wg.Go(func() {
			for range steps {
				step(sim, server, random, twiliosim.SID("PN", 1+random.IntN(numbers)), twiliosim.SID("XE", 1+random.IntN(addOns)))
			}
		})
	}
	wg.Wait()

	want := replay(t, sim.Journal())
	for i := range numbers {
		number := twiliosim.SID("PN", 1+i)
		if diff := cmp.Diff(want[number], sim.Assigned(number), cmp.Comparer(equalSets)); diff != "" {
			t.Errorf("%s: journal and state differ (-journal +state):\n%s", number, diff)
		}
	}
	calls := sim.Calls()
	n := calls.Total
	if sum := n.Succeeded + n.Redirected + n.Throttled + n.Rejected + n.Failed + n.Broken; sum != n.Calls || n.Broken == 0 {
		t.Errorf("the outcomes add up to %d, want the calls of %+v and at least one broken", sum, n)
	}
	if got := calls.Of(twiliosim.OpAny, ""); got != n {
		t.Errorf("the operations add up to %+v, want the total %+v", got, n)
	}
}

// step does one random action, as a client or in the console.
func step(sim *twiliosim.Sim, server server, random *rand.Rand, number, addOn string) {
	calls := []call{create(number, addOn), remove(number, addOn), list(number), fetch(number, addOn)}
	switch k := random.IntN(10); k {
	case 0:
		_ = sim.Assign(number, addOn) // Fails if it is assigned.
	case 1:
		_ = sim.Unassign(number, addOn) // Fails if it is not assigned.
	case 2:
		twiliosim.Must(sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.ConcurrencyLimit = random.IntN(6) }))
	case 3:
		sim.Snapshot()
		sim.CallTotals()
	default:
		_, _ = server.try(calls[k%len(calls)]) // A fault resets some connections.
	}
}

// replay applies a journal to an empty state and returns the assignments of each number.
func replay(t *testing.T, journal []twiliosim.Mutation) map[string][]string {
	t.Helper()
	state := map[string][]string{}
	for i, m := range journal {
		at := slices.Index(state[m.Number], m.AddOn)
		switch {
		case m.Seq != int64(i+1):
			t.Fatalf("entry %d has Seq %d, want %d", i, m.Seq, i+1)
		case m.Change == twiliosim.ChangeAssign && at < 0:
			state[m.Number] = append(state[m.Number], m.AddOn)
		case m.Change == twiliosim.ChangeUnassign && at >= 0:
			state[m.Number] = slices.Delete(state[m.Number], at, at+1)
		default:
			t.Fatalf("entry %d contradicts the entries before it: %+v", i, m)
		}
	}
	return state
}

func equalSets(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// BenchmarkList measures a list request without a network, with few and with many numbers.
func BenchmarkList(b *testing.B) {
	for _, numbers := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(numbers), func(b *testing.B) {
			sim := twiliosim.New(twiliosim.Options{})
			twiliosim.Must(sim.Seed(twiliosim.Seed{Account: ac, AuthToken: token, Numbers: numbers, AddOns: 3, Assigned: 3}))
			handler := sim.Handler()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for n := 0; pb.Next(); n++ {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, list(twiliosim.SID("PN", 1+n%numbers)).path, http.NoBody)
					if err != nil {
						b.Error(err)
						return
					}
					req.SetBasicAuth(ac, token)
					handler.ServeHTTP(discard{http.Header{}}, req)
				}
			})
		})
	}
}

// discard is a ResponseWriter that ignores the answer.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return len(p), nil }

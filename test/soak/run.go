// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// run is one seed's: a Twilio and objects of its own, on an API server that all runs share.
type run struct {
	env   *testenv.Env
	plan  plan
	sim   *twiliosim.Sim
	proxy *testenv.Proxy
	// crews are the managers: one, or one for each shard.
	crews []*crew
	// turn is whose turn it is to be the manager that something happens to.
	turn int
	// labels are those by which the managers select the account of each site.
	labels map[string]string

	twilioURL string
	server    *httptest.Server
	events    *recorder
	// valid is the password that Twilio accepts for each site; passwords are all that there
	// ever were.
	valid     map[string]string
	passwords []string

	mu      sync.Mutex
	counts  map[string]int
	pending []*time.Timer
	// inFlight are the requests to Twilio under way, by when they began.
	inFlight map[time.Time]int
	undo     []func()
	notes    []string // what became of each step
	started  []time.Time
	wrong    []error // what was found during the steps
	// apiFaults counts the faults of the API server; the last one set is the one that counts.
	apiFaults atomic.Int64
	chores    []chore
	// atWrite is called when Twilio has processed a write about a number, before it answers.
	atWrite atomic.Pointer[func(number string)]
	began   time.Time
	// first is what the first manager used when it was ready.
	first usage
}

// outcome is what came of a run.
type outcome struct {
	plan plan
	// violations are what must not be.
	violations []error
	notes      []string
	started    []time.Time // each step
	counts     map[string]int
	injected   map[string]int
	calls      int // to Twilio
	changes    int // that the operator made in Twilio
	writes     int // to the API server, for our kinds
	took       time.Duration
	settled    time.Duration
	growth     growth
	// rejected is for how long objects had an add-on that Twilio rejects.
	rejected time.Duration
}

// events are the things that happened to which the operator may answer with calls and
// writes: each step, fault, and start of a manager.
func (o *outcome) events() int {
	n := len(o.plan.steps) + o.counts["managers that ended by themselves"] + 2*o.counts["overlaps"] + o.counts[moreEvents] + 1
	for _, injected := range o.injected {
		n += injected
	}
	return n
}

// How much the operator may do in a run: so many calls to Twilio and writes to the API server
// for each event, and so many calls for each name that objects have and each interval: the
// listing of its number, and what a stalled object tries again.
const (
	callsPerEvent, writesPerEvent = 4, 3
	callsPerInterval              = 2
	// Once an interval, a rejected add-on costs a POST, the look whether it is there after
	// all, and a write of status before and after.
	callsPerRetry, writesPerRetry = 2, 2
	// moreEvents counts what a step does beyond the first thing.
	moreEvents = "more events"
)

// checkCost checks that the run did not cost more than it may.
func (o *outcome) checkCost() []error {
	var wrong []error
	events, intervals, retries := o.events(), int(o.took/resync)+1, int(o.rejected/resync)*11/10+1
	if most := callsPerEvent*events + callsPerInterval*len(slots)*intervals + callsPerRetry*len(sites[0].addOns)*retries; o.calls > most {
		wrong = append(wrong, fmt.Errorf("%d calls to Twilio for %d events in %d intervals, and %d are allowed", o.calls, events, intervals, most))
	}
	if most := writesPerEvent*events + writesPerRetry*retries; o.writes > most {
		wrong = append(wrong, fmt.Errorf("%d writes to the API server for %d events, and %d are allowed", o.writes, events, most))
	}
	return wrong
}

// failed says whether anything was that must not be.
func (o *outcome) failed() bool { return len(o.violations) > 0 }

// execute runs a plan. The error is of the test itself, not of what it tests.
func execute(ctx context.Context, env *testenv.Env, p plan) (*outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := prepare(ctx, env, p)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.steps(ctx); err != nil {
		return nil, err
	}
	return r.conclude(ctx)
}

// prepare sets the scene: an empty cluster, a new Twilio, and a manager.
func prepare(ctx context.Context, env *testenv.Env, p plan) (*run, error) {
	r := &run{
		env: env, plan: p, events: newRecorder(), counts: map[string]int{}, valid: map[string]string{}, began: time.Now(), inFlight: map[time.Time]int{},
		labels: map[string]string{sites[0].name: shardA, sites[1].name: shardB},
		sim:    twiliosim.New(twiliosim.Options{Seed: p.seed}),
	}
	if err := clean(ctx, env); err != nil {
		return nil, err
	}
	var err error
	if r.proxy, err = env.NewProxy(); err != nil {
		return nil, err
	}
	r.server = httptest.NewServer(r.tap(r.sim.Handler()))
	r.server.Config.ErrorLog = nil
	r.twilioURL = r.server.URL
	if err := errors.Join(r.setTwilio(), r.setCluster(ctx)); err != nil {
		r.server.Close()
		return nil, fmt.Errorf("setting the scene: %w", err)
	}
	if err := r.hire(ctx); err != nil {
		r.close()
		return nil, err
	}
	r.first = usageOf(ctx, r.crews[0].current)
	return r, nil
}

func (r *run) setTwilio() error {
	err := r.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
		b.Latency, b.LatencyJitter = twiliosim.Duration(20*time.Millisecond), twiliosim.Duration(120*time.Millisecond)
		if r.plan.differentSIDs {
			b.AssignmentSID = twiliosim.AssignmentSIDDifferent
		}
		if r.plan.shortPages {
			b.MaxPageSize = 2
		}
	})
	for i := range sites {
		s := &sites[i]
		err = errors.Join(err, r.sim.AddAccount(s.sid, r.newSecret("valid")))
		r.valid[s.name] = r.passwords[len(r.passwords)-1]
		if s.key != "" {
			r.valid[s.name] = r.newSecret("valid")
			err = errors.Join(err, r.sim.AddAPIKey(s.sid, s.key, r.valid[s.name], twiliosim.KeyStandard))
		}
		r.repair(s)
	}
	return err
}

func (r *run) setCluster(ctx context.Context) error {
	for _, team := range teams {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}}
		if err := ignoreExists(r.env.Client.Create(ctx, ns)); err != nil {
			return err
		}
		if err := r.allow(ctx, team, true); err != nil {
			return err
		}
	}
	if err := r.events.follow(ctx, r.env, time.Time{}); err != nil {
		return err
	}
	for _, s := range sites {
		if err := errors.Join(r.writeSecret(ctx, s, r.valid[s.name]), r.createAccount(ctx, s)); err != nil {
			return err
		}
	}
	return nil
}

// clean removes what an earlier run left, by force.
func clean(ctx context.Context, env *testenv.Env) error {
	bare := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	var objects v1alpha1.PhoneNumberAddOnAssignmentList
	var accounts v1alpha1.TwilioAccountList
	if err := errors.Join(env.Client.List(ctx, &objects), env.Client.List(ctx, &accounts)); err != nil {
		return err
	}
	var all []client.Object
	for i := range objects.Items {
		all = append(all, &objects.Items[i])
	}
	for i := range accounts.Items {
		all = append(all, &accounts.Items[i])
	}
	for _, site := range sites {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: site.secret}}
		all = append(all, secret)
	}
	for _, o := range all {
		err := errors.Join(client.IgnoreNotFound(env.Client.Delete(ctx, o)), client.IgnoreNotFound(env.Client.Patch(ctx, o, bare)))
		if err != nil {
			return fmt.Errorf("clearing the cluster: %w", err)
		}
	}
	for _, namespace := range append([]string{testenv.Namespace, "default"}, teams...) {
		if err := env.Client.DeleteAllOf(ctx, &eventsv1.Event{}, client.InNamespace(namespace)); err != nil {
			return fmt.Errorf("clearing the events: %w", err)
		}
	}
	return nil
}

// close ends what the run started.
func (r *run) close() {
	r.flush()
	r.dismiss()
	r.server.CloseClientConnections()
	r.server.Close()
}

// count counts something that happened.
func (r *run) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

// noted is for what may fail because there is nothing to do: the history says so.
func (r *run) noted(err error) {
	if err != nil {
		r.remark(err.Error())
	}
}

// remark adds to what the history says of the step under way.
func (r *run) remark(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes[len(r.notes)-1] += "  (" + text + ")"
}

// found is for what a step finds that must not be.
func (r *run) found(wrong error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, wrong)
}

// later does something after a while, or when the faults stop, whichever comes first.
func (r *run) later(wait time.Duration, do func()) {
	once := sync.OnceFunc(do)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.undo = append(r.undo, once)
	r.pending = append(r.pending, time.AfterFunc(wait, once))
}

// flush does now what was to be done later.
func (r *run) flush() {
	r.mu.Lock()
	pending, undo := r.pending, r.undo
	r.pending, r.undo = nil, nil
	r.mu.Unlock()
	for _, timer := range pending {
		timer.Stop()
	}
	for _, do := range undo {
		do()
	}
}

// steps does the steps of the plan.
func (r *run) steps(ctx context.Context) error {
	for _, s := range r.plan.steps {
		now := time.Now()
		r.mu.Lock()
		r.notes = append(r.notes, fmt.Sprintf("%3d. %s  %s", s.number, now.Format(clock), s.words))
		r.started = append(r.started, now)
		r.mu.Unlock()
		if err := errors.Join(r.doChores(ctx), s.do(ctx, r)); err != nil {
			return fmt.Errorf("step %d (%s): %w", s.number, s.words, err)
		}
		r.count("step " + s.kind)
		time.Sleep(s.pause)
	}
	return r.broken()
}

// patience is how long after the end of the faults everything must be right: the back-off
// of an object has by then grown to about as long as the faults lasted, an account may be
// left alone for a minute, and what is to be forgotten must be absent for a minute, anew
// after each start of a manager.
func (r *run) patience(stepsTook time.Duration) time.Duration {
	return min(135*time.Second+stepsTook, 5*time.Minute)
}

// conclude ends the faults, waits for the end state, looks at it at rest, and judges.
func (r *run) conclude(ctx context.Context) (*outcome, error) {
	stepsTook := time.Since(r.began)
	r.flush()
	r.proxy.SetFaults(nil)
	if err := errors.Join(r.calmTwilio(), r.relax(ctx), r.settleShards(ctx)); err != nil {
		return nil, err
	}
	out := &outcome{plan: r.plan, violations: r.wrong}
	ready := usageOf(ctx, r.crews[0].current)
	if ready.manager == r.first.manager {
		ready = r.first // the same process over the whole run
	}
	healed := time.Now()
	if err := testenv.Wait(ctx, r.patience(stepsTook), "everything is as the model says", func() error { return r.look(ctx, healed) }); err != nil {
		out.violations = append(out.violations, err)
	} else {
		out.settled = time.Since(healed)
		out.violations = append(out.violations, r.comeToRest(ctx)...)
	}
	out.growth = growth{before: ready, after: usageOf(ctx, r.crews[0].current)}
	out.violations = append(out.violations, out.growth.check()...)
	leaks, err := r.leaks(ctx)
	if err != nil {
		return nil, err
	}
	out.violations = append(out.violations, leaks...)
	r.dismiss()
	journal := r.sim.Journal()
	untold, err := r.changeLog(journal)
	if err != nil {
		return nil, err
	}
	out.violations = append(out.violations, untold...)
	h := r.events.history(journal, r.proxy.Requests(), r.members())
	h.OtherSIDs, h.Sharded = r.plan.differentSIDs, r.plan.sharded
	if h.Writers, err = r.writers(); err != nil {
		return nil, err
	}
	out.violations = append(out.violations, h.judge()...)
	out.rejected = h.rejected(time.Now())
	for _, m := range journal {
		if m.Actor == twiliosim.ActorAPI {
			out.changes++
			r.count("by the operator: " + string(m.Change))
		}
	}
	r.tally(out)
	out.violations = append(out.violations, out.checkCost()...)
	return out, nil
}

// tally adds up what the run did.
func (r *run) tally(out *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out.notes, out.started, out.counts, out.injected = r.notes, r.started, r.counts, r.sim.Injected()
	out.took = time.Since(r.began)
	out.calls = r.sim.CallTotals().Total.Calls
	for _, q := range r.proxy.Requests() {
		if q.Fault != testenv.APIFine {
			out.injected["api-"+string(q.Fault)]++
		}
		if ours(q) && q.Writes() {
			out.writes++
		}
	}
}

func ours(q testenv.APIRequest) bool {
	return strings.HasPrefix(q.Resource, "phonenumberaddonassignments") || strings.HasPrefix(q.Resource, "twilioaccounts")
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	crew  *crew

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
	// apiFaults counts the faults of the API server; the last one set is the one that counts.
	apiFaults atomic.Int64
	began     time.Time
	// first is what the first manager used when it was ready.
	first usage
}

// outcome is what came of a run.
type outcome struct {
	plan plan
	// violations are what must not be.
	violations []error
	notes      []string
	counts     map[string]int
	injected   map[string]int
	calls      int // to Twilio
	writes     int // to the API server, for our kinds
	took       time.Duration
	settled    time.Duration
	growth     growth
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
		sim: twiliosim.New(twiliosim.Options{Seed: p.seed}),
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
	r.crew = &crew{env: env, proxy: r.proxy, count: r.count}
	r.crew.mu.Lock()
	r.crew.start()
	r.crew.mu.Unlock()
	if r.crew.broken != nil {
		return nil, r.crew.broken
	}
	if err := r.crew.current.process.Ready(ctx, r.crew.current.probes, time.Minute); err != nil {
		r.close()
		return nil, err
	}
	r.first = usageOf(ctx, r.crew.current)
	return r, nil
}

func (r *run) setTwilio() error {
	err := r.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
		b.Latency, b.LatencyJitter = twiliosim.Duration(20*time.Millisecond), twiliosim.Duration(120*time.Millisecond)
		if r.plan.differentSIDs {
			b.AssignmentSID = twiliosim.AssignmentSIDDifferent
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
	if err := r.events.follow(ctx, r.env); err != nil {
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
	r.crew.close()
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
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes[len(r.notes)-1] += fmt.Sprintf("  (%v)", err)
	}
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
		r.mu.Lock()
		r.notes = append(r.notes, fmt.Sprintf("%3d. %s  %s", s.number, time.Now().Format(clock), s.words))
		r.mu.Unlock()
		if err := s.do(ctx, r); err != nil {
			return fmt.Errorf("step %d (%s): %w", s.number, s.words, err)
		}
		r.count("step " + s.kind)
		time.Sleep(s.pause)
	}
	return r.crew.broken
}

// patience is how long after the end of the faults everything must be right: the back-off
// of an object has by then grown to about as long as the faults lasted, and an account
// may be left alone for a minute.
func (r *run) patience(stepsTook time.Duration) time.Duration {
	return min(75*time.Second+stepsTook, 4*time.Minute)
}

// conclude ends the faults, waits for the end state, looks at it at rest, and judges.
func (r *run) conclude(ctx context.Context) (*outcome, error) {
	stepsTook := time.Since(r.began)
	r.flush()
	r.proxy.SetFaults(nil)
	if err := errors.Join(r.calmTwilio(), r.crew.settle(ctx)); err != nil {
		return nil, err
	}
	out := &outcome{plan: r.plan}
	ready := usageOf(ctx, r.crew.current)
	if ready.manager == r.first.manager {
		ready = r.first // the same process over the whole run
	}
	healed := time.Now()
	if err := testenv.Wait(ctx, r.patience(stepsTook), "everything is as the model says", func() error { return r.look(ctx, healed) }); err != nil {
		out.violations = append(out.violations, err)
	} else {
		out.settled = time.Since(healed)
		out.violations = append(out.violations, r.rest(ctx)...)
	}
	out.growth = growth{before: ready, after: usageOf(ctx, r.crew.current)}
	out.violations = append(out.violations, out.growth.check()...)
	leaks, err := r.leaks(ctx)
	if err != nil {
		return nil, err
	}
	out.violations = append(out.violations, leaks...)
	r.crew.close()
	out.violations = append(out.violations, r.events.history(r.sim.Journal(), r.proxy.Requests(), r.crew).judge()...)
	r.tally(out)
	return out, nil
}

// tally adds up what the run did.
func (r *run) tally(out *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out.notes, out.counts, out.injected = r.notes, r.counts, r.sim.Injected()
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

// look compares what is there with what must be.
func (r *run) look(ctx context.Context, healed time.Time) error {
	if n := r.hanging(healed); n > 0 {
		return fmt.Errorf("%d requests hang that faults have reached", n)
	}
	s, err := r.scene(ctx)
	if err != nil {
		return err
	}
	return s.check()
}

// scene reads what is there.
func (r *run) scene(ctx context.Context) (*scene, error) {
	var objects v1alpha1.PhoneNumberAddOnAssignmentList
	var accounts v1alpha1.TwilioAccountList
	var namespaces corev1.NamespaceList
	if err := errors.Join(r.env.Client.List(ctx, &objects), r.env.Client.List(ctx, &accounts), r.env.Client.List(ctx, &namespaces)); err != nil {
		return nil, err
	}
	s := &scene{objects: objects.Items, accounts: map[string]*v1alpha1.TwilioAccount{}, allowed: map[string]bool{}, sites: map[string]*siteState{}}
	for i := range accounts.Items {
		s.accounts[accounts.Items[i].Name] = &accounts.Items[i]
	}
	for i := range namespaces.Items {
		s.allowed[namespaces.Items[i].Name] = namespaces.Items[i].Labels[allowedLabel] == "allowed"
	}
	var err error
	for i := range sites {
		if s.sites[sites[i].name], err = r.siteState(ctx, &sites[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (r *run) siteState(ctx context.Context, s *site) (*siteState, error) {
	state := &siteState{numbers: map[string][]string{}, installed: map[string]bool{}, otherSIDs: r.plan.differentSIDs}
	for _, number := range s.numbers {
		state.numbers[number] = r.sim.Assigned(number)
	}
	var status twiliosim.AccountStatus
	for _, account := range r.sim.Snapshot().Accounts {
		if account.SID == s.sid {
			status = account.Status
			for _, addOn := range account.AddOns {
				state.installed[addOn.SID] = true
			}
		}
	}
	var secret corev1.Secret
	err := r.env.Client.Get(ctx, client.ObjectKey{Namespace: testenv.Namespace, Name: s.secret}, &secret)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	password := secret.Data[v1alpha1.SecretKeyAuthToken]
	if s.key != "" {
		password = secret.Data[v1alpha1.SecretKeyAPIKeySecret]
	}
	switch {
	case apierrors.IsNotFound(err), string(password) != r.valid[s.name]:
		state.secretWrong = apierrors.IsNotFound(err) || strings.Contains(string(password), "wrong")
		state.credential = v1alpha1.ReasonCredentialsInvalid
	case status == twiliosim.AccountSuspended && strings.HasPrefix(string(r.sim.Behaviour().Suspended), "403"):
		state.credential = v1alpha1.ReasonPermissionDenied
	case status == twiliosim.AccountSuspended:
		state.credential = v1alpha1.ReasonCredentialsInvalid
	}
	return state, nil
}

// rest looks at two intervals in which nothing happens: nothing may change, and each number
// is listed once an interval.
func (r *run) rest(ctx context.Context) []error {
	before, err := r.scene(ctx)
	if err != nil {
		return []error{err}
	}
	calls := r.sim.Calls()
	began := time.Now()
	time.Sleep(2 * resync) // this is the time in which nothing may happen, not a wait for something
	took := time.Since(began)
	after, err := r.scene(ctx)
	if err != nil {
		return []error{err}
	}
	return append(r.changed(before, after), r.called(before, calls, r.sim.Calls(), took)...)
}

func (r *run) changed(before, after *scene) []error {
	var wrong []error
	versions := map[types.UID]*v1alpha1.PhoneNumberAddOnAssignment{}
	for i := range after.objects {
		versions[after.objects[i].UID] = &after.objects[i]
	}
	for i := range before.objects {
		a := &before.objects[i]
		b := versions[a.UID]
		if b == nil || b.ResourceVersion != a.ResourceVersion {
			wrong = append(wrong, fmt.Errorf("at rest %s/%s was written to: its status was %s and is %s", a.Namespace, a.Name, inJSON(a), inJSON(b)))
		}
	}
	return wrong
}

func inJSON(a *v1alpha1.PhoneNumberAddOnAssignment) string {
	if a == nil {
		return "gone"
	}
	text, _ := json.Marshal(a.Status) // a status can always be encoded
	return string(text)
}

// called checks the calls at rest: for a settled number its list and nothing else.
func (r *run) called(s *scene, before, after twiliosim.Calls, took time.Duration) []error {
	var wrong []error
	most := int(took/resync) + 2
	for i := range s.objects {
		a := &s.objects[i]
		number := string(a.Spec.PhoneNumberSID)
		owner := s.owner(number)
		reason := s.reasonFor(a)
		if owner == nil || owner.UID != a.UID || (reason != v1alpha1.ReasonSynced && reason != v1alpha1.ReasonObserved) {
			continue
		}
		delta := func(op twiliosim.Operation) int { return after.Of(op, number).Calls - before.Of(op, number).Calls }
		lists, all := delta(twiliosim.OpList), delta(twiliosim.OpAny)
		pages := 1
		if size := r.sim.Behaviour().MaxPageSize; size > 0 {
			pages = max(1, len(s.sites[a.Spec.AccountRef.Name].numbers[number])/size)
		}
		if lists < pages || lists > most*pages || all != lists {
			wrong = append(wrong, fmt.Errorf("at rest %s was listed %d times in %s and called %d times in all", short(number), lists, took.Round(time.Millisecond), all))
		}
	}
	return wrong
}

// leaks searches for credentials wherever the operator writes, and for panics.
func (r *run) leaks(ctx context.Context) ([]error, error) {
	texts := map[string]string{}
	for _, m := range r.crew.members {
		log, err := os.ReadFile(m.process.Log)
		if err != nil {
			return nil, err
		}
		texts["the log of "+m.name] = string(log)
	}
	var events eventsv1.EventList
	var objects v1alpha1.PhoneNumberAddOnAssignmentList
	var accounts v1alpha1.TwilioAccountList
	if err := errors.Join(r.env.Client.List(ctx, &events), r.env.Client.List(ctx, &objects), r.env.Client.List(ctx, &accounts)); err != nil {
		return nil, err
	}
	for name, list := range map[string]any{"the events": events, "the assignments": objects, "the accounts": accounts} {
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		texts[name] = string(text)
	}
	if text, err := scrape(ctx, r.crew.current.metrics); err == nil {
		texts["the metrics"] = text
	}
	var wrong []error
	for where, text := range texts {
		for _, word := range append([]string{twiliosim.ConfigurationSecret, "panic:", "Observed a panic"}, r.passwords...) {
			if at := strings.Index(text, word); at >= 0 {
				wrong = append(wrong, fmt.Errorf("%s has %q: …%s…", where, word, text[max(0, at-100):min(len(text), at+200)]))
			}
		}
	}
	return wrong, nil
}

func scrape(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

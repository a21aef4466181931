// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// lease is how long a leader that died holds its place: the shortest that is allowed.
const lease = 3 * time.Second

// crashes are what happens to processes.
func crashes() []action {
	return []action{
		{"kill", 5, makeKill},
		{"kill-at-write", 4, makeKillAtWrite},
		{"kill-in-handover", 3, makeKillInHandover},
		{"restart", 2, makeRestart},
		{"overlap", 2, makeOverlap},
		{"api-server-restart", 1, makeAPIServerRestart},
	}
}

func makeKill(random *rand.Rand) (string, func(context.Context, *run) error) {
	down := time.Duration(random.IntN(1500)) * time.Millisecond
	return fmt.Sprintf("kill the manager (SIGKILL) and start it again after %s", down), func(_ context.Context, r *run) error {
		return r.nextCrew().kill(down, func() error { return nil })
	}
}

// change is what somebody does to an object while there is no manager.
type change struct {
	words  string
	edit   func(*v1alpha1.PhoneNumberAddOnAssignment)
	delete bool
}

var changes = []change{
	{words: "nothing is changed"},
	{words: "its list is emptied", edit: emptyList},
	{words: "it is deleted", delete: true},
	{words: "its list is emptied and it is deleted", edit: emptyList, delete: true},
	{words: "its policy becomes Additive and its list is emptied", edit: func(a *v1alpha1.PhoneNumberAddOnAssignment) {
		emptyList(a)
		a.Spec.ManagementPolicy = v1alpha1.ManagementAdditive
	}},
	{words: "it is suspended", edit: func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.Suspend = true }},
}

func emptyList(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = addOnSIDs(nil) }

// apply makes the change to every object that names a number.
func (c *change) apply(ctx context.Context, r *run, number string) error {
	for _, s := range slots {
		var a v1alpha1.PhoneNumberAddOnAssignment
		if err := r.env.Client.Get(ctx, s.key, &a); client.IgnoreNotFound(err) != nil {
			return err
		} else if err != nil || !sameSID(string(a.Spec.PhoneNumberSID), number) {
			continue
		}
		if c.edit != nil {
			if err := edit(s, c.edit)(ctx, r); err != nil {
				return err
			}
		}
		if c.delete {
			if err := r.delete(ctx, s.key); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeKillAtWrite kills the manager at the worst moment: Twilio has done what it was asked,
// and nobody has written it down. Before there is a manager again, somebody changes the
// object that it was done for.
func makeKillAtWrite(random *rand.Rand) (string, func(context.Context, *run) error) {
	down, answered := time.Duration(random.IntN(1500))*time.Millisecond, random.IntN(2) == 0
	words := "kill the manager (SIGKILL) at its next write to Twilio, before it has the answer"
	if answered {
		words = "kill the manager (SIGKILL) at its next write to Twilio, as it gets the answer"
	}
	c := changes[random.IntN(len(changes))]
	return fmt.Sprintf("%s, and start it again after %s; of the object that it wrote for, %s meanwhile", words, down, c.words), func(ctx context.Context, r *run) error {
		written, killed := make(chan string, 1), make(chan struct{})
		defer close(killed)
		var once sync.Once
		r.atWrite.Store(new(func(number string) {
			once.Do(func() {
				written <- number
				if !answered {
					<-killed
				}
			})
		}))
		defer r.atWrite.Store(nil)
		select {
		case number := <-written:
			r.count("kills at a write")
			return r.crewOf(siteOf(number)).kill(down, func() error { return c.apply(ctx, r, number) })
		case <-time.After(3 * time.Second): // there may be nothing to write
			return nil
		}
	}
}

func makeRestart(*rand.Rand) (string, func(context.Context, *run) error) {
	return "stop the manager (SIGTERM) and start it again", func(_ context.Context, r *run) error {
		r.nextCrew().restart()
		return nil
	}
}

func makeOverlap(random *rand.Rand) (string, func(context.Context, *run) error) {
	wait := time.Duration(random.IntN(600)) * time.Millisecond
	return fmt.Sprintf("the leader stands still (SIGSTOP) until a standby has taken its lease, goes on %s later", wait), func(ctx context.Context, r *run) error {
		return r.nextCrew().overlap(ctx, wait)
	}
}

func makeAPIServerRestart(*rand.Rand) (string, func(context.Context, *run) error) {
	return "the API server restarts", func(ctx context.Context, r *run) error {
		began := time.Now()
		err := errors.Join(r.env.RestartAPIServer(ctx), r.events.follow(ctx, r.env, began))
		r.count("API server restarts")
		r.events.stale(began, time.Now())
		return err
	}
}

// crew keeps one manager running, as a kubelet would, and another one for a change of
// leader.
type crew struct {
	// name is the shard's, lease the name of its Lease, selector that of its accounts: "" for
	// all.
	name, lease, selector string

	env   *testenv.Env
	proxy *testenv.Proxy
	// count is told of what happened to managers.
	count func(what string)

	mu      sync.Mutex
	members []*member // every one there ever was
	current *member
	closed  bool
	// backoff is how long it was waited before the last manager that ended was replaced.
	backoff time.Duration
	// broken is the first error by which no manager could be started.
	broken error
	watch  sync.WaitGroup
}

// member is one process of the manager.
type member struct {
	name, probes, metrics, lease string
	process                      *testenv.Process
	hangUp                       func()
	began, ended                 time.Time
	// expected: its end is our doing, so nobody starts another one for it.
	expected bool
	pauses   []span
}

// start starts another manager and makes it the current one. The caller holds the lock.
func (c *crew) start() {
	m, err := c.launch(fmt.Sprintf("manager-%s%d", c.name, len(c.members)+1))
	if err != nil {
		c.broken = errors.Join(c.broken, err)
		return
	}
	c.members = append(c.members, m)
	c.current = m
	c.watch.Go(func() { c.replace(m) })
}

// launch starts a process of the manager, before the proxy.
func (c *crew) launch(name string) (*member, error) {
	ctx := context.Background()
	url, hangUp, err := c.proxy.Listen(ctx, name)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := c.env.ManagerKubeconfigFor(name, url)
	if err != nil {
		return nil, err
	}
	m := &member{name: name, lease: c.lease, hangUp: hangUp, began: time.Now()}
	if m.probes, err = testenv.FreeAddress(ctx); err != nil {
		return nil, err
	}
	if m.metrics, err = testenv.FreeAddress(ctx); err != nil {
		return nil, err
	}
	m.process, err = c.env.RunAs(name, "manager",
		"--kubeconfig="+kubeconfig, "--operator-namespace="+testenv.Namespace,
		"--health-probe-bind-address="+m.probes,
		"--metrics-bind-address="+m.metrics, "--metrics-secure=false",
		"--leader-elect", "--leader-elect-lease-duration="+lease.String(), "--account-selector="+c.selector,
		"--max-concurrent-reconciles=16", "--zap-log-level=debug")
	return m, err
}

// replace waits for a member's end, and starts another if nobody meant it to end.
func (c *crew) replace(m *member) {
	<-m.process.Done()
	m.hangUp()
	c.mu.Lock()
	defer c.mu.Unlock()
	m.ended = time.Now()
	if m.expected || c.closed || c.current != m {
		return
	}
	c.count("managers that ended by themselves")
	c.backoff = min(2*c.backoff+200*time.Millisecond, 3*time.Second)
	if m.ended.Sub(m.began) > 5*time.Second {
		c.backoff = 200 * time.Millisecond
	}
	wait := c.backoff
	c.mu.Unlock()
	time.Sleep(wait) // as a kubelet waits, but less
	c.mu.Lock()
	if !c.closed && c.current == m {
		c.start()
	}
}

// kill ends the current manager at once, and starts another after a while, in which
// something else happens.
func (c *crew) kill(down time.Duration, meanwhile func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.expected = true
	_ = c.current.process.Kill()
	c.count("kills")
	c.mu.Unlock()
	err := meanwhile()
	time.Sleep(down)
	c.mu.Lock()
	c.start()
	return err
}

// restart stops the current manager as a rollout does, and starts another.
func (c *crew) restart() {
	c.mu.Lock()
	m := c.current
	m.expected = true
	c.mu.Unlock()
	_ = m.process.Stop() // it may have ended by itself, or not in grace: either is allowed here
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count("restarts")
	c.start()
}

// overlap has the current manager stand still until another has taken its lease.
func (c *crew) overlap(ctx context.Context, wait time.Duration) error {
	c.mu.Lock()
	old := c.current
	old.expected = true
	c.start()
	standby := c.current
	c.mu.Unlock()
	if old == standby {
		return c.broken
	}
	_ = standby.process.Ready(ctx, standby.probes, 10*time.Second) // under faults it may never be
	before := c.holder(ctx)
	began := time.Now()
	if err := old.process.Pause(); err != nil {
		return nil //nolint:nilerr // it ended by itself meanwhile
	}
	_ = testenv.Wait(ctx, 5*lease, "the lease changes hands", func() error {
		if c.holder(ctx) == before {
			return errors.New("it has not")
		}
		return nil
	})
	time.Sleep(wait)
	err := old.process.Continue()
	c.mu.Lock()
	defer c.mu.Unlock()
	old.pauses = append(old.pauses, span{began, time.Now()})
	c.count("overlaps")
	return err
}

func (c *crew) holder(ctx context.Context) string {
	var l coordinationv1.Lease
	if err := c.env.Client.Get(ctx, client.ObjectKey{Namespace: testenv.Namespace, Name: c.lease}, &l); err != nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// settle stops every manager but the current one, and waits until that is ready, or the
// one that replaced it.
func (c *crew) settle(ctx context.Context) error {
	c.mu.Lock()
	others := c.members[:len(c.members)-1]
	c.mu.Unlock()
	for _, m := range others {
		_ = m.process.Kill()
	}
	return testenv.Wait(ctx, time.Minute, "a manager is ready", func() error {
		c.mu.Lock()
		current, broken := c.current, c.broken
		c.mu.Unlock()
		return errors.Join(broken, current.process.Ready(ctx, current.probes, time.Second))
	})
}

// close ends every manager.
func (c *crew) close() {
	c.mu.Lock()
	c.closed = true
	members := c.members
	c.mu.Unlock()
	for _, m := range members {
		m.expected = true
		_ = m.process.Kill()
	}
	c.watch.Wait()
}

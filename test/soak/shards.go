// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// The managers of a sharded run select accounts by this label. One with the third value is
// selected by nobody.
const (
	shardLabel = "shard"
	shardA     = "a"
	shardB     = "b"
	shardNone  = "none"
)

// moves are what happens to the labels of accounts.
func moves() []action {
	return []action{
		{"relabel", 20, makeRelabel},
		{"relabel-amidst", 15, makeRelabelAmidst},
		{"relabel-back", 8, makeRelabelBack},
		{"select-nobody", 4, makeSelectNobody},
	}
}

func makeRelabel(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return fmt.Sprintf("move %s to the other manager", s.name), func(ctx context.Context, r *run) error {
		return r.label(ctx, s, otherShard(r.labels[s.name]))
	}
}

// makeRelabelAmidst edits every object of an account and moves it while their calls are under
// way.
func makeRelabelAmidst(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, wait := anySite(random), time.Duration(random.IntN(700))*time.Millisecond
	var edits []func(context.Context, *run) error
	for _, slot := range slots {
		if slot.site.name != s.name {
			continue
		}
		list := addOnSIDs(someAddOns(random, s))
		edits = append(edits, edit(slot, func(a *v1alpha1.PhoneNumberAddOnAssignment) { a.Spec.AddOnSIDs = list }))
	}
	words := fmt.Sprintf("edit all objects of %s, and move it to the other manager after %s", s.name, wait)
	return words, func(ctx context.Context, r *run) error {
		for _, edit := range edits {
			r.count(moreEvents)
			if err := edit(ctx, r); err != nil {
				return err
			}
		}
		time.Sleep(wait)
		return r.label(ctx, s, otherShard(r.labels[s.name]))
	}
}

// makeRelabelBack moves an account away and back before anybody can have finished.
func makeRelabelBack(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, wait := anySite(random), time.Duration(random.IntN(300))*time.Millisecond
	return fmt.Sprintf("move %s to the other manager, and back after %s", s.name, wait), func(ctx context.Context, r *run) error {
		before := r.labels[s.name]
		if err := r.label(ctx, s, otherShard(before)); err != nil {
			return err
		}
		time.Sleep(wait)
		return r.label(ctx, s, before)
	}
}

func makeSelectNobody(random *rand.Rand) (string, func(context.Context, *run) error) {
	s := anySite(random)
	return mended(random, fmt.Sprintf("give %s a label that no manager selects", s.name), func(ctx context.Context, r *run) error {
		return r.label(ctx, s, shardNone)
	}, func(ctx context.Context, r *run) error { return r.restoreLabels(ctx) })
}

// outages are what happens to one of several managers.
func outages() []action { return []action{{"shard-down", 8, makeShardDown}} }

// makeShardDown kills a manager for longer than its Lease lasts, and mostly gives its account
// to the other one meanwhile, which takes over without being let in.
func makeShardDown(random *rand.Rand) (string, func(context.Context, *run) error) {
	s, down, moves := anySite(random), lease+time.Duration(500+random.IntN(4000))*time.Millisecond, random.IntN(4) > 0
	words := fmt.Sprintf("kill the manager of %s (SIGKILL) and start it again after %s", s.name, down)
	if moves {
		words += "; meanwhile the account moves to the other manager"
	}
	return words, func(ctx context.Context, r *run) error {
		r.count("managers down for longer than their Lease")
		return r.crewOf(s).kill(down, func() error {
			if !moves {
				return nil
			}
			return r.label(ctx, s, otherShard(r.labels[s.name]))
		})
	}
}

func otherShard(label string) string {
	if label == shardA {
		return shardB
	}
	return shardA
}

// label gives the accounts of a site a label. To change hands costs an account writes of its
// own: the old name goes, the new one comes, and the new manager may have more to say.
func (r *run) label(ctx context.Context, s site, label string) error {
	r.labels[s.name] = label
	r.count(moreEvents)
	r.count(moreEvents)
	change := map[string]any{"metadata": map[string]any{"labels": map[string]string{shardLabel: label}}}
	return errors.Join(r.patch(ctx, s.name, change), r.patch(ctx, second(s), change))
}

// restoreLabels has some manager select each account.
func (r *run) restoreLabels(ctx context.Context) error {
	var wrong error
	for _, s := range sites {
		if r.labels[s.name] == shardNone {
			wrong = errors.Join(wrong, r.label(ctx, s, shardA))
		}
	}
	return wrong
}

// hire starts the managers.
func (r *run) hire(ctx context.Context) error {
	selectors := map[string]string{"": ""}
	if r.plan.sharded {
		selectors = map[string]string{shardA: shardLabel + "=" + shardA, shardB: shardLabel + "=" + shardB}
	}
	if err := r.grant(ctx); err != nil {
		return err
	}
	for _, name := range []string{"", shardA, shardB} {
		text, wanted := selectors[name]
		if !wanted {
			continue
		}
		selector, err := labels.Parse(text)
		if err != nil {
			return err
		}
		c := &crew{name: name, selector: text, lease: shard.New(selector).Name, env: r.env, proxy: r.proxy, count: r.count}
		r.crews = append(r.crews, c)
		c.mu.Lock()
		c.start()
		c.mu.Unlock()
		if c.broken != nil {
			return c.broken
		}
		if err := c.current.process.Ready(ctx, c.current.probes, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// grant gives the managers the rights of shards, or takes them.
func (r *run) grant(ctx context.Context) error {
	if r.plan.sharded {
		return r.env.GrantShards(ctx)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: "shards-rolebinding"}}
	return client.IgnoreNotFound(r.env.Client.Delete(ctx, binding))
}

// dismiss ends the managers.
func (r *run) dismiss() {
	for _, c := range r.crews {
		c.close()
	}
}

func (r *run) broken() error {
	var broken error
	for _, c := range r.crews {
		broken = errors.Join(broken, c.broken)
	}
	return broken
}

func (r *run) settleShards(ctx context.Context) error {
	for _, c := range r.crews {
		if err := c.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// members are the processes that there ever were.
func (r *run) members() []*member {
	var all []*member
	for _, c := range r.crews {
		all = append(all, c.members...)
	}
	return all
}

// nextCrew is each crew in turn.
func (r *run) nextCrew() *crew {
	r.turn++
	return r.crews[r.turn%len(r.crews)]
}

// crewOf is the crew that is to serve the account of a site.
func (r *run) crewOf(s site) *crew {
	for _, c := range r.crews {
		if c.name == r.labels[s.name] {
			return c
		}
	}
	return r.crews[0]
}

// siteOf is the site of a number.
func siteOf(number string) site {
	for _, s := range sites {
		if slices.ContainsFunc(s.numbers, func(n string) bool { return sameSID(n, number) }) {
			return s
		}
	}
	return sites[0]
}

// tenure is a time in which a TwilioAccount named a manager: from the earliest moment at
// which it may have, until the latest.
type tenure struct {
	Account, SID, Manager string
	From, Until           time.Time
	// Gone: it ended with the TwilioAccount, which was deleted by force.
	Gone bool
}

// tenures are those that the accounts' versions tell of.
func (e *recorder) tenures(writes map[string]time.Time) []tenure {
	var all []tenure
	last := map[types.UID]int{} // where an account's latest tenure is, if it is not over
	for _, s := range e.ordered() {
		if s.account == nil {
			continue
		}
		manager := s.account.Status.Manager
		if at, ok := last[s.account.UID]; ok {
			if !s.gone && all[at].Manager == manager {
				continue
			}
			all[at].Until, all[at].Gone = s.at, s.gone
			delete(last, s.account.UID)
		}
		if !s.gone && manager != "" {
			last[s.account.UID] = len(all)
			all = append(all, tenure{
				Account: s.account.Name, SID: string(s.account.Spec.AccountSID), Manager: manager, From: s.written(writes), Until: forever,
			})
		}
	}
	return all
}

// mayServe says whether an account named a manager at some time of a window.
func (h *history) mayServe(manager, account string, from, until time.Time) bool {
	return slices.ContainsFunc(h.Tenures, func(t tenure) bool {
		return t.Manager == manager && t.Account == account && (span{t.From, t.Until}).meets(from, until)
	})
}

// judgeTenures returns the writes to Twilio that a manager made in an account while no
// TwilioAccount of that SID named it. That one was deleted by force, a manager learns late.
func (h *history) judgeTenures() []error {
	var wrong []error
	for i := range h.Journal {
		m := &h.Journal[i]
		writer, told := h.Writers[m.RequestID]
		if !told || m.Actor != twiliosim.ActorAPI || h.stoodStill(writer, m.Time) {
			continue
		}
		known := h.asOf(m.Time)
		if !slices.ContainsFunc(h.Tenures, func(t tenure) bool {
			since := m.Time
			if t.Gone {
				since = known
			}
			return t.Manager == writer && sameSID(t.SID, m.Account) && (span{t.From, t.Until}).meets(since, m.Time)
		}) {
			wrong = append(wrong, wrongAt(m.Time, "manager %s did %s %s on %s while no TwilioAccount of the SID named it", writer, m.Change, short(m.AddOn), short(m.Number)))
		}
	}
	return wrong
}

// stoodStill says whether a manager of a name had just stood still: what it had begun before
// that, nobody can stop.
func (h *history) stoodStill(lease string, t time.Time) bool {
	return slices.ContainsFunc(h.Managers, func(m manager) bool {
		return m.Lease == lease && slices.ContainsFunc(m.Paused, func(s span) bool { return s.meets(t.Add(-lag), t) })
	})
}

// writers are the managers that tell of a request to Twilio, by the request's ID.
func (r *run) writers() (map[string]string, error) {
	writers := map[string]string{}
	for _, m := range r.members() {
		log, err := m.process.Output()
		if err != nil {
			return nil, fmt.Errorf("reading the log of %s: %w", m.name, err)
		}
		for _, l := range changeLines(log) {
			if l.RequestID != "" {
				writers[l.RequestID] = m.lease
			}
		}
	}
	return writers, nil
}

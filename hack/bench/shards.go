// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

const (
	// shardAccounts is how many accounts the managers of the scenario divide.
	shardAccounts = 10
	// shardLimit is the limit of each account.
	shardLimit = 2
	// editedAccounts is how many accounts have edits at once, an equal number of each manager.
	// Edits of all of them are more writes than an API server takes that shares two processors.
	editedAccounts = 4
)

// divided is what one of several managers uses.
type divided struct {
	live, peak float64 // bytes
	cpu        float64 // seconds
}

// shards has accounts with synced objects served by one manager, by two and by four. It edits
// objects of some accounts with each, and moves accounts while objects of all of them change.
func shards(ctx context.Context, w *world) (outcome, error) {
	objects, edits := pick(w.bench, 4000, 12), pick(w.bench, 100, 3)
	out := outcome{Title: fmt.Sprintf("%d accounts × %s synced objects on several managers, %s, limit %d each",
		shardAccounts, thousands(objects), latency, shardLimit)}
	if err := w.presetAccounts(ctx, objects); err != nil {
		return outcome{}, err
	}
	empty, err := w.measureEmpty(ctx)
	if err != nil {
		return outcome{}, err
	}
	var alone divided
	for round, managers := range []int{1, 2, 4} {
		crew, err := w.startShards(ctx, managers, objects)
		if err != nil {
			return outcome{}, errors.Join(err, crew.stop())
		}
		used, err := w.measureDivided(ctx, crew)
		if err != nil {
			return outcome{}, errors.Join(err, crew.stop())
		}
		edit, err := w.editAccounts(ctx, editedAccounts, round*edits, edits, nil)
		if err != nil {
			return outcome{}, errors.Join(err, crew.stop())
		}
		if managers == 1 {
			alone = used[0]
		}
		out.Figures = append(out.Figures, figuresOf(managers, used, alone, empty, edit)...)
		if managers == 2 {
			moved, err := w.editAccounts(ctx, shardAccounts, 3*edits, edits, w.moveToAndFro)
			if err != nil {
				return outcome{}, errors.Join(err, crew.stop())
			}
			out.Figures = append(out.Figures, moved.counts("2 managers, accounts moved to and fro meanwhile: ")...)
		}
		if err := crew.stop(); err != nil {
			return outcome{}, err
		}
	}
	return out, nil
}

// figuresOf compares each of several managers with its share of what one alone uses beyond a
// manager without objects. The worst one counts.
func figuresOf(managers int, used []divided, alone, empty divided, edit edited) []figure {
	prefix := fmt.Sprintf("%d managers: ", managers)
	if managers == 1 {
		prefix = "1 manager: "
	}
	worst := func(of func(divided) float64) float64 {
		all := make([]float64, 0, len(used))
		for n, u := range used {
			all = append(all, (of(u)-of(empty))/shareOf(n, managers))
		}
		return slices.Max(all) / (of(alone) - of(empty))
	}
	peak := 0.0
	for _, u := range used {
		peak = max(peak, u.peak)
	}
	figures := []figure{{Name: prefix + "peak resident memory of each, at most", Value: peak / 1e6, Unit: " MB"}}
	if managers > 1 {
		figures = append(figures,
			ratio(prefix+"live heap of each ÷ its share", worst(func(d divided) float64 { return d.live })).withGoal("≤", 1.3),
			ratio(prefix+"processor time of each ÷ its share", worst(func(d divided) float64 { return d.cpu })).withGoal("≤", 1.3))
	}
	figures = append(figures, ratio(fmt.Sprintf("%sedits in %d accounts: time until synced ÷ (calls × latency ÷ limit)", prefix, editedAccounts), edit.took).withGoal("≤", 1.25))
	return append(figures, edit.counts(prefix)...)
}

// presetAccounts creates the accounts and their synced objects.
func (w *world) presetAccounts(ctx context.Context, objects int) error {
	for account := 1; account <= shardAccounts; account++ {
		if err := w.seed(ctx, account, objects, addOnsPerNumber); err != nil {
			return err
		}
		if err := w.applyAccount(ctx, account, shardLimit, shardInterval(w.bench)); err != nil {
			return err
		}
	}
	if err := w.start(ctx); err != nil {
		return err
	}
	for account := 1; account <= shardAccounts; account++ {
		if err := w.createObjects(ctx, account, 1); err != nil {
			return err
		}
	}
	if err := w.waitSynced(ctx, shardAccounts); err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	w.progress("writing %d synced objects to etcd", shardAccounts*objects)
	for account := 1; account <= shardAccounts; account++ {
		model, err := w.etcd.get(ctx, storeKey(objectName(firstNumber(account))))
		if err != nil {
			return err
		}
		if err := w.writeCopies(ctx, model, account, objects); err != nil {
			return err
		}
	}
	if err := w.env.GrantShards(ctx); err != nil {
		return err
	}
	return w.setTwilioLimits(ctx, latency, shardLimit)
}

// shardInterval is so long that the checks take half of what the limits allow.
func shardInterval(b *bench) time.Duration { return pick(b, 7*time.Minute, 10*time.Second) }

// crew is several managers.
type crew []*manager

func (c crew) stop() error {
	var wrong error
	for _, m := range c {
		wrong = errors.Join(wrong, m.Stop())
	}
	return wrong
}

// shardOf is the label of the accounts of the n-th of several managers.
func shardOf(n, managers int) string { return fmt.Sprintf("%d-of-%d", n, managers) }

// shareOf is the part of the accounts that the n-th of several managers serves.
func shareOf(n, managers int) float64 {
	served := 0
	for account := 1; account <= shardAccounts; account++ {
		if account%managers == n {
			served++
		}
	}
	return float64(served) / shardAccounts
}

// startShards labels the accounts evenly, starts the managers, and waits until each serves
// its accounts and knows their objects. No manager runs before it.
func (w *world) startShards(ctx context.Context, managers, objects int) (crew, error) {
	former, err := w.managersNamed(ctx)
	if err != nil {
		return nil, err
	}
	for account := 1; account <= shardAccounts; account++ {
		if err := w.labelAccount(ctx, account, shardOf(account%managers, managers)); err != nil {
			return nil, err
		}
	}
	var all crew
	for n := range managers {
		m, err := w.launch(ctx, "--account-selector=shard="+shardOf(n, managers))
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
	for account := 1; account <= shardAccounts; account++ {
		err := w.waitAccount(ctx, account, "accounts that count their objects", func(status *v1alpha1.TwilioAccountStatus) bool {
			return status.Assignments != nil && int(*status.Assignments) == objects && !former[status.Manager]
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// managersNamed are the managers that accounts name.
func (w *world) managersNamed(ctx context.Context) (map[string]bool, error) {
	var accounts v1alpha1.TwilioAccountList
	if err := w.env.Client.List(ctx, &accounts); err != nil {
		return nil, err
	}
	named := map[string]bool{"": true}
	for i := range accounts.Items {
		named[accounts.Items[i].Status.Manager] = true
	}
	return named, nil
}

func (w *world) labelAccount(ctx context.Context, account int, label string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{"shard": label}}})
	if err != nil {
		return err
	}
	a := &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: accountName(account)}}
	return w.env.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", patch))
}

// measureEmpty measures a manager that serves nothing.
func (w *world) measureEmpty(ctx context.Context) (divided, error) {
	m, err := w.launch(ctx, "--account-selector=shard=nobody")
	if err != nil {
		return divided{}, err
	}
	used, err := w.measureDivided(ctx, crew{m})
	return used[0], errors.Join(err, m.Stop())
}

// measureDivided measures managers while they check their objects, for as long as it takes
// until the processor time of each is more than noise.
func (w *world) measureDivided(ctx context.Context, c crew) ([]divided, error) {
	used := make([]divided, len(c))
	for i, m := range c {
		s, err := m.scrape(ctx)
		if err != nil {
			return used, err
		}
		used[i].cpu = -s.cpuSeconds()
	}
	time.Sleep(pick(w.bench, 2*time.Minute, time.Second))
	for i, m := range c {
		s, err := m.scrape(ctx)
		if err != nil {
			return used, err
		}
		used[i].cpu += s.cpuSeconds()
	}
	for i, m := range c {
		if err := m.collectGarbage(ctx); err != nil {
			return used, err
		}
		s, err := m.scrape(ctx)
		if err != nil {
			return used, err
		}
		used[i].live, used[i].peak = s.sum("go_gc_heap_live_bytes"), m.peakMemory()
	}
	return used, nil
}

// edited is what edits of some objects came to.
type edited struct {
	// took is how long it took, ÷ what the calls take at least.
	took float64
	// writes are those to Twilio ÷ the only ones needed; lost are edits that are not synced.
	writes, lost float64
}

func (e edited) counts(prefix string) []figure {
	return []figure{
		count(prefix+"writes to Twilio ÷ minimum", e.writes, 1, 2),
		count(prefix+"objects that are not synced at the end", e.lost, 0, 0),
	}
}

// editAccounts replaces an add-on of some objects of the first accounts, from an object on,
// and does something meanwhile.
func (w *world) editAccounts(ctx context.Context, accounts, from, edits int, meanwhile func(context.Context) error) (edited, error) {
	before, err := w.changesInTwilio(ctx)
	if err != nil {
		return edited{}, err
	}
	total := accounts * edits
	objects := make([]*assignment, total)
	start := time.Now()
	busy := make(chan error, 1)
	go func() {
		if meanwhile == nil {
			busy <- nil
			return
		}
		busy <- meanwhile(ctx)
	}()
	err = inParallel(ctx, total, writeConcurrency, func(i int) error {
		account := 1 + i%accounts
		patch, err := swap(account)
		if err != nil {
			return err
		}
		a := &assignment{ObjectMeta: metav1.ObjectMeta{Name: objectName(firstNumber(account) + from + i/accounts), Namespace: namespace}}
		objects[i] = a
		return w.env.Client.Patch(ctx, a, client.RawPatch("application/merge-patch+json", patch))
	})
	if err := errors.Join(err, <-busy); err != nil {
		return edited{}, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	last, lost := start, 0
	for _, a := range objects {
		at, err := w.track.waitDone(waitCtx, a.Name, a.Generation)
		if err != nil {
			lost++
			continue
		}
		if at.After(last) {
			last = at
		}
	}
	after, err := w.changesInTwilio(ctx)
	ideal := time.Duration(edits*callsOfAnEdit) * latency / shardLimit
	return edited{took: last.Sub(start).Seconds() / ideal.Seconds(), writes: float64(after-before) / float64(2*total), lost: float64(lost)}, err
}

func (w *world) changesInTwilio(ctx context.Context) (int, error) {
	calls, err := w.sim.Admin.CallTotals(ctx)
	return calls.Of(twiliosim.OpCreate, "").Calls + calls.Of(twiliosim.OpDelete, "").Calls, err
}

// moveToAndFro gives the first manager's accounts to the second, one after the other, and
// takes them back.
func (w *world) moveToAndFro(ctx context.Context) error {
	for _, label := range []string{shardOf(1, 2), shardOf(0, 2)} {
		for account := 2; account <= shardAccounts; account += 2 {
			if err := w.labelAccount(ctx, account, label); err != nil {
				return err
			}
			time.Sleep(latency) // so that the moves are spread over the edits
		}
	}
	return nil
}

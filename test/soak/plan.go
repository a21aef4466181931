// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// step is one thing that happens in a run, decided before the run begins.
type step struct {
	// number is the step's place in the plan, from 1; it stays when others are left out.
	number int
	kind   string
	words  string
	// pause is how long the run waits after it.
	pause time.Duration
	do    func(context.Context, *run) error
}

// action is a kind of step: how often it is chosen, and how one is made.
type action struct {
	kind   string
	weight int
	make   func(*rand.Rand) (words string, do func(context.Context, *run) error)
}

// plan is what a run does. It follows from the seed and the number of steps alone.
type plan struct {
	seed  uint64
	steps []step
	// total is how many steps there were before some were left out.
	total int
	// differentSIDs: Twilio gives assignments SIDs of their own in this run.
	differentSIDs bool
	// shortPages: Twilio begins with pages of two, so that most listings have several.
	shortPages bool
	// calm: no manager is killed, so that growth can be seen over the whole run.
	calm bool
	// tight: removal budgets are so small that they hold removals.
	tight bool
	// sharded: two managers serve the accounts, each those with a label of its own.
	sharded bool
}

// newPlan makes the plan of a seed. It begins with a few objects, so that there is
// something to go wrong.
func newPlan(seed uint64, steps int) plan {
	random := rand.New(rand.NewPCG(seed, 0x50a4))
	p := plan{seed: seed, total: steps, differentSIDs: seed%5 == 3, shortPages: seed%3 == 1, calm: seed%4 == 0, tight: seed%4 == 2, sharded: seed%5 == 1}
	all := slices.Concat(people(), world(), contention(), twilioFaults(), apiFaults())
	if !p.calm {
		all = append(all, crashes()...)
	}
	if p.tight {
		all = append(all, masses()...)
	}
	if p.sharded {
		all = append(all, moves()...)
	}
	if p.sharded && !p.calm {
		all = append(all, outages()...)
	}
	for i := range steps {
		a := choose(random, all)
		s := step{number: i + 1, kind: a.kind, pause: pauses[random.IntN(len(pauses))]}
		s.words, s.do = a.make(random)
		if i < len(busy) {
			s.kind = "create"
			s.words, s.do = create(newObject(random, slots[busy[i]]))
		}
		p.steps = append(p.steps, s)
	}
	return p
}

// pauses are between steps: some at once, so that they meet a pass under way.
var pauses = []time.Duration{
	0, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond,
	800 * time.Millisecond,
}

func choose(random *rand.Rand, all []action) action {
	total := 0
	for _, a := range all {
		total += a.weight
	}
	at := random.IntN(total)
	for _, a := range all {
		if at -= a.weight; at < 0 {
			return a
		}
	}
	return all[len(all)-1]
}

// only is the plan with nothing but the steps of these numbers.
func (p plan) only(numbers []int) plan {
	left := p
	left.steps = slices.DeleteFunc(slices.Clone(p.steps), func(s step) bool { return !slices.Contains(numbers, s.number) })
	return left
}

// traits are what Twilio is like in the whole run, in words.
func (p plan) traits() string {
	words := ""
	if p.differentSIDs {
		words += "; assignments have SIDs of their own"
	}
	if p.shortPages {
		words += "; lists begin with pages of 2"
	}
	if p.tight {
		words += fmt.Sprintf("; %d numbers of an account may lose add-ons in %s", tightLimit, window)
	}
	if p.sharded {
		words += "; two managers"
	}
	return words
}

func (p plan) numbers() []int {
	numbers := make([]int, 0, len(p.steps))
	for _, s := range p.steps {
		numbers = append(numbers, s.number)
	}
	return numbers
}

// replay is the plan as SOAK_REPLAY takes it.
func (p plan) replay() string {
	text := fmt.Sprintf("%d/%d", p.seed, p.total)
	if len(p.steps) == p.total {
		return text
	}
	numbers := make([]string, 0, len(p.steps))
	for _, n := range p.numbers() {
		numbers = append(numbers, strconv.Itoa(n))
	}
	return text + ":" + strings.Join(numbers, ",")
}

// parseReplay reads SEED/STEPS[:NUMBER,NUMBER...].
func parseReplay(text string) (plan, error) {
	head, list, listed := strings.Cut(text, ":")
	first, second, ok := strings.Cut(head, "/")
	seed, seedErr := strconv.ParseUint(first, 10, 64)
	steps, stepsErr := strconv.Atoi(second)
	if !ok || seedErr != nil || stepsErr != nil || steps < 1 {
		return plan{}, fmt.Errorf("%q is not SEED/STEPS[:NUMBER,NUMBER...]", text)
	}
	p := newPlan(seed, steps)
	if !listed {
		return p, nil
	}
	var numbers []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > steps {
			return plan{}, fmt.Errorf("%q is no step of %d", word, steps)
		}
		numbers = append(numbers, n)
	}
	return p.only(numbers), nil
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live reads what an account carries in Twilio, for commands that compare or
// export it. It makes GETs only, and returns everything or an error, never a part.
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

// Reader is what a scan asks of Twilio. Each list is complete, or an error.
type Reader interface {
	ListPhoneNumbers(ctx context.Context) ([]twilio.PhoneNumber, error)
	ListAssignedAddOns(ctx context.Context, pn string) ([]twilio.AssignedAddOn, error)
	ListInstalledAddOns(ctx context.Context) ([]twilio.InstalledAddOn, error)
}

// Number is a phone number of the account with the add-ons assigned to it, by SID.
type Number struct {
	twilio.PhoneNumber
	AddOns []twilio.AssignedAddOn
}

// Account is one account as Twilio shows it. Numbers are sorted by E.164, then SID.
type Account struct {
	SID     string
	Numbers []Number
	// Suspended: the TwilioAccount has suspend set, and the operator makes no call.
	Suspended bool
	// Installed are the add-ons installed in the account, by SID in lower case. It is
	// nil when they were not read; NotChecked then says why.
	Installed  map[string]twilio.InstalledAddOn
	NotChecked string

	bySID map[string]int // place in Numbers by SID in lower case
}

// Number returns the number with that SID, whatever its letter case, if it was read.
func (a *Account) Number(sid string) (Number, bool) {
	at, ok := a.bySID[strings.ToLower(sid)]
	if !ok {
		return Number{}, false
	}
	return a.Numbers[at], true
}

// Options say how to scan.
type Options struct {
	// Concurrency is how many numbers are read at once; at least 1.
	Concurrency int
	// Only limits the numbers whose add-ons are read to these SIDs, in lower case;
	// nil means every number.
	Only map[string]bool
	// Progress is told how many of how many numbers are read; it may be nil.
	Progress func(done, total int)
	// Patience bounds a wait before a read is repeated. Default DefaultPatience.
	Patience time.Duration
	// Acquire waits for the right to make one call; the function it returns gives the
	// right back. It may be nil.
	Acquire func(ctx context.Context) (release func(), err error)
}

// Scan reads the account's numbers and their add-ons.
func Scan(ctx context.Context, r Reader, accountSID string, o Options) (*Account, error) {
	s := scanner{reader: r, options: o}
	numbers, err := retry(ctx, &s, func() ([]twilio.PhoneNumber, error) { return r.ListPhoneNumbers(ctx) })
	if err != nil {
		return nil, err
	}
	account := &Account{SID: accountSID, bySID: make(map[string]int, len(numbers))}
	for _, n := range numbers {
		if o.Only == nil || o.Only[strings.ToLower(n.SID)] {
			account.Numbers = append(account.Numbers, Number{PhoneNumber: n})
		}
	}
	slices.SortFunc(account.Numbers, func(a, b Number) int {
		return cmp.Or(cmp.Compare(a.PhoneNumber.PhoneNumber, b.PhoneNumber.PhoneNumber), cmp.Compare(a.SID, b.SID))
	})
	for i := range account.Numbers {
		account.bySID[strings.ToLower(account.Numbers[i].SID)] = i
	}
	if err := s.readAddOns(ctx, account.Numbers); err != nil {
		return nil, err
	}
	return account, nil
}

// ReadInstalled adds the installed add-ons to the account. Where the credential cannot
// list them, NotChecked says so and there is no error: the rest of a plan holds without.
func ReadInstalled(ctx context.Context, r Reader, account *Account, o Options) error {
	s := scanner{reader: r, options: o}
	installed, err := retry(ctx, &s, func() ([]twilio.InstalledAddOn, error) { return r.ListInstalledAddOns(ctx) })
	switch {
	case errors.Is(err, twilio.ErrOtherAccount), twilio.IsUnauthorized(err), twilio.IsPermissionDenied(err), twilio.IsNotFound(err):
		account.NotChecked = "the credential cannot list the installed add-ons of " + account.SID
		return nil
	case err != nil:
		return err
	}
	account.Installed = make(map[string]twilio.InstalledAddOn, len(installed))
	for _, addOn := range installed {
		account.Installed[strings.ToLower(addOn.SID)] = addOn
	}
	return nil
}

type scanner struct {
	reader  Reader
	options Options
}

// readAddOns fills in the add-ons of each number, several numbers at once. The first
// error ends it.
func (s *scanner) readAddOns(ctx context.Context, numbers []Number) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		workers    sync.WaitGroup
		next, done atomic.Int64
		progress   sync.Mutex
	)
	for range min(max(s.options.Concurrency, 1), len(numbers)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(numbers) || ctx.Err() != nil {
					return
				}
				if err := s.read(ctx, &numbers[i]); err != nil {
					cancel(err)
					return
				}
				if s.options.Progress != nil {
					progress.Lock()
					s.options.Progress(int(done.Add(1)), len(numbers))
					progress.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (s *scanner) read(ctx context.Context, n *Number) error {
	addOns, err := retry(ctx, s, func() ([]twilio.AssignedAddOn, error) {
		return s.reader.ListAssignedAddOns(ctx, n.SID)
	})
	if err != nil {
		return fmt.Errorf("%s (%s): %w", n.PhoneNumber.PhoneNumber, n.SID, err)
	}
	slices.SortFunc(addOns, func(a, b twilio.AssignedAddOn) int { return cmp.Compare(a.SID, b.SID) })
	n.AddOns = addOns
	return nil
}

// ErrPaused is what Acquire returns when calls to the account are paused for longer than
// somebody at a terminal would wait. The error that led to the pause is told in its place.
var ErrPaused = errors.New("calls to the account are paused")

// DefaultPatience is how long somebody at a terminal waits without a word.
const DefaultPatience = 10 * time.Second

const maxAttempts = 4

// retry repeats a read after a failure that may pass. Reading is harmless.
func retry[T any](ctx context.Context, s *scanner, read func() (T, error)) (T, error) {
	var last error
	for attempt := 1; ; attempt++ {
		value, err := once(ctx, s, read)
		if errors.Is(err, ErrPaused) && last != nil {
			return value, last
		}
		last = err
		wait, again := s.again(attempt, err)
		if !again || ctx.Err() != nil {
			return value, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return value, err
		}
	}
}

// again says whether to repeat a read after the attempt that ended with err, and when. A
// 404 is repeated once: Twilio gives stray ones.
func (s *scanner) again(attempt int, err error) (wait time.Duration, again bool) {
	stray := twilio.IsNotFound(err) && attempt == 1
	if attempt == maxAttempts || (!twilio.IsThrottled(err) && !twilio.IsTransient(err) && !stray) {
		return 0, false
	}
	patience := cmp.Or(s.options.Patience, DefaultPatience)
	wait = patience / 40 << attempt
	if asked, ok := twilio.RetryAfter(err); ok {
		wait = max(wait, asked)
	}
	return wait, wait <= patience
}

func once[T any](ctx context.Context, s *scanner, read func() (T, error)) (T, error) {
	if s.options.Acquire != nil {
		release, err := s.options.Acquire(ctx)
		if err != nil {
			var none T
			return none, err
		}
		defer release()
	}
	return read()
}

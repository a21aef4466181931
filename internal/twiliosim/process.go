// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"time"
)

// process authorizes the request, executes it, and returns the answer.
func (x *exchange) process() answer {
	x.sim.mu.Lock()
	defer x.sim.mu.Unlock()
	a, refusal := x.authorize()
	if refusal != nil {
		return *refusal
	}
	if !x.route.known {
		return x.notFound()
	}
	handle, ok := handlers[x.route.op]
	if !ok {
		return failure(http.StatusMethodNotAllowed, 20004, "Method not allowed")
	}
	if x.route.number == "" {
		return handle(x, a, nil)
	}
	n := a.numbers[x.route.number]
	if n == nil || x.isMissing(n) {
		return x.notFound()
	}
	return handle(x, a, n)
}

// isMissing reports whether a fault makes the request behave as if the number did not exist.
func (x *exchange) isMissing(n *number) bool {
	return x.fault.Kind == FaultMissingNumber && x.fault.Number == n.sid
}

// handlers maps operations to their implementation. The number is nil if the path has none;
// otherwise it belongs to the account.
var handlers = map[Operation]func(*exchange, *account, *number) answer{
	OpCreate:              (*exchange).createAssigned,
	OpFetch:               (*exchange).fetchAssigned,
	OpList:                (*exchange).listAssigned,
	OpDelete:              (*exchange).deleteAssigned,
	OpExtensions:          (*exchange).listExtensions,
	OpExtension:           (*exchange).fetchExtension,
	OpNumber:              (*exchange).fetchNumber,
	OpNumbers:             (*exchange).listNumbers,
	OpBuyNumber:           (*exchange).buyNumber,
	OpUpdateNumber:        (*exchange).updateNumber,
	OpReleaseNumber:       (*exchange).releaseNumber,
	OpAccount:             (*exchange).fetchAccount,
	OpInstalledAddOns:     (*exchange).listInstalled,
	OpInstalledAddOn:      (*exchange).fetchInstalled,
	OpUninstall:           (*exchange).uninstall,
	OpInstalledExtensions: (*exchange).listInstalledExtensions,
	OpInstalledExtension:  (*exchange).fetchInstalledExtension,
}

// origin identifies this request in journal entries.
func (x *exchange) origin() origin { return origin{actor: ActorAPI, requestID: x.requestID} }

// visibleFrom returns when reads show a change that is made now.
func (x *exchange) visibleFrom(now time.Time) time.Time {
	if x.behaviour.ReadLag <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(x.behaviour.ReadLag))
}

// rfc2822 formats a time as the 2010 API does, rfc3339 as the marketplace does.
func rfc2822(t time.Time) string {
	return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 +0000")
}

func rfc3339(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

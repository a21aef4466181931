// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"slices"
)

// caller is an authenticated account; key is nil if it used its auth token.
type caller struct {
	account *account
	key     *apiKey
}

// authorize returns the account that the request addresses, or the answer that refuses the
// request. The caller holds Sim.mu.
func (x *exchange) authorize() (*account, *answer) {
	if !x.hasCredentials {
		return nil, new(unauthorized(20003, "Authentication Error - No credentials provided",
			"Your AccountSid or AuthToken was incorrect."))
	}
	c, ok := x.sim.authenticate(x.user, x.password)
	if !ok {
		return nil, new(unauthorized(20003, "Authenticate", ""))
	}
	target := c.account
	if !x.route.marketplace {
		if target = x.sim.accounts[x.route.account]; target == nil {
			return nil, new(x.notFound())
		}
	}
	if refusal := x.checkAccess(c, target); refusal != nil {
		return nil, refusal
	}
	return target, nil
}

// authenticate returns the caller that the credentials belong to.
func (s *Sim) authenticate(user, password string) (caller, bool) {
	if password == "" {
		return caller{}, false
	}
	if k := s.keys[user]; k != nil {
		return caller{account: k.account, key: k}, k.secret == password
	}
	a := s.accounts[user]
	return caller{account: a}, a != nil && (a.token == password || a.secondary == password)
}

// checkAccess returns the answer that refuses the operation on the account, or nil if the caller
// may do it.
func (x *exchange) checkAccess(c caller, target *account) *answer {
	foreign := target != c.account
	if foreign && (target.parent != c.account.sid || c.key != nil) {
		return new(unauthorized(20003, "Authenticate", ""))
	}
	parentReads := foreign && x.route.op == OpAccount // A parent may read a suspended subaccount.
	if x.sim.effectiveStatus(c.account) != AccountActive ||
		x.sim.effectiveStatus(target) != AccountActive && !parentReads {
		return new(outcome(x.behaviour.Suspended, "Account not active"))
	}
	if c.key == nil {
		return nil
	}
	switch {
	case c.key.kind == KeyRestricted && !slices.Contains(c.key.allowed, x.route.op):
		return new(outcome(x.behaviour.RestrictedKey, "Authorization Failed"))
	case c.key.kind == KeyStandard && x.route.op == OpAccount:
		return new(unauthorized(20003, "Authenticate", ""))
	}
	return nil
}

// notFound returns the answer for a resource that does not exist.
func (x *exchange) notFound() answer {
	return failure(http.StatusNotFound, 20404,
		"The requested resource "+x.r.URL.EscapedPath()+" was not found")
}

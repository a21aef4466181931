// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter limits the wait that an answer can ask for: an absurd header must not
// stop an account for good.
const maxRetryAfter = 15 * time.Minute

// parseRetryAfter reads a Retry-After header: seconds or an HTTP date. A date is
// compared with the answer's own Date, so that neither clock has to be right. Any other
// value is ignored.
func parseRetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if wait, ok := parseSeconds(text); ok {
		return wait, true
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return clampRetryAfter(date.Sub(now)), true
}

func parseSeconds(text string) (time.Duration, bool) {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	seconds, err := strconv.ParseUint(text, 10, 63)
	if err != nil || seconds > uint64(maxRetryAfter/time.Second) {
		return maxRetryAfter, true // digits only: too large, not malformed
	}
	return time.Duration(seconds) * time.Second, true
}

func clampRetryAfter(d time.Duration) time.Duration {
	return min(max(d, 0), maxRetryAfter)
}

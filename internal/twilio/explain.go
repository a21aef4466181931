// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// The longest texts from outside, in runes.
const (
	maxExplained = 200
	maxMessage   = 500
)

// Explain describes the error for a status message: the same words each time the same
// thing happens. It leaves out request ids, times, addresses that Twilio names, and
// credentials. The text is one printable line; "" for nil.
func Explain(err error) string {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return Operation("").words() + ": " + explainCause(err)
	}
	return strings.TrimSuffix(e.Operation.words()+": "+explainAnswer(e), ": ")
}

// ExplainAnswer is Explain without the operation that failed, for trouble that meets
// one operation now and another one later.
func ExplainAnswer(err error) string {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return Explain(err)
	}
	return explainAnswer(e)
}

func explainAnswer(e *Error) string {
	var parts []string
	if e.HTTPStatus != 0 {
		status := fmt.Sprintf("HTTP %d", e.HTTPStatus)
		if e.Code != 0 {
			status += fmt.Sprintf(", Twilio error %d", e.Code)
		}
		parts = append(parts, status)
	}
	if e.Operation == OpVerify && e.HTTPStatus == http.StatusNotFound {
		return strings.Join(append(parts, noSuchAccount), ": ")
	}
	if message := stable(e.Message); message != "" {
		parts = append(parts, message)
	}
	if e.Err != nil {
		parts = append(parts, explainCause(e.Err))
	}
	return strings.Join(parts, ": ")
}

// explainCause describes an error that is not Twilio's own refusal.
func explainCause(err error) string {
	if e, ok := errors.AsType[inputError](err); ok {
		return string(e)
	}
	if e, ok := errors.AsType[answerError](err); ok {
		return string(e)
	}
	switch {
	case errors.Is(err, ErrReadOnly):
		return ErrReadOnly.Error()
	case errors.Is(err, ErrOtherAccount):
		return ErrOtherAccount.Error()
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	if e, ok := errors.AsType[*wayError](err); ok {
		return bounded(e.where+": "+explainFailure(e.err), maxExplained)
	}
	return explainFailure(err)
}

// The parts of a message that differ each time Twilio refuses for the same reason.
var (
	requestIDPattern = regexp.MustCompile(`\bRQ[0-9a-fA-F]{32}\b`)
	uuidPattern      = regexp.MustCompile(`(?i)\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	linkPattern      = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]*://[^\s"'<>]+`)
	isoTimePattern   = regexp.MustCompile(`/?\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|GMT)|[+-]\d\d:?\d\d)?)?`)
	mailTimePattern  = regexp.MustCompile(`\b(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d( ?(GMT|UTC|[+-]\d{4}))?`)
	clockPattern     = regexp.MustCompile(`\b\d{1,2}:\d\d:\d\d(\.\d+)?\b`)
	addressPattern   = regexp.MustCompile(`(?i)(\b\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]|\blocalhost)(:\d{1,5})?\b`)
)

// stable replaces what changes from one request to the next in a text of Twilio's.
func stable(message string) string {
	message = oneLine(message)
	message = linkPattern.ReplaceAllStringFunc(message, stableLink)
	message = requestIDPattern.ReplaceAllString(message, "[request]")
	message = uuidPattern.ReplaceAllString(message, "[id]")
	message = isoTimePattern.ReplaceAllStringFunc(message, stableTime)
	message = mailTimePattern.ReplaceAllString(message, "[time]")
	message = clockPattern.ReplaceAllString(message, "[time]")
	return bounded(addressPattern.ReplaceAllStringFunc(message, stableAddress), maxExplained)
}

// stableTime keeps a date that is a segment of a path: it is the API version.
func stableTime(text string) string {
	const date = len("/2010-04-01")
	if rest, ok := strings.CutPrefix(text, "/"); ok {
		if len(text) == date {
			return text
		}
		return "/" + stableTime(rest)
	}
	return "[time]"
}

// stableLink keeps links into Twilio's documentation.
func stableLink(link string) string {
	if u, err := url.Parse(link); err == nil && u.Host == "www.twilio.com" && u.User == nil {
		return link
	}
	return "[address]"
}

// stableAddress keeps brackets without an address in them, and version numbers.
func stableAddress(text string) string {
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		host = strings.Trim(text, "[]")
	}
	if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
		return text
	}
	return "[address]"
}

// oneLine removes characters that cannot be printed, and joins lines.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// bounded shortens s to n runes.
func bounded(s string, n int) string {
	count := 0
	for i := range s {
		if count == n {
			return strings.TrimSpace(s[:i]) + "…"
		}
		count++
	}
	return s
}

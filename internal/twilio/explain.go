// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"unicode"
)

// The bounds, in runes, of texts that come from outside.
const (
	maxExplained = 200
	maxMessage   = 500
)

// Explain says what went wrong in words fit for a status message: the same words
// each time the same thing happens. It leaves out request ids, times, addresses
// and credentials, and is one printable line. "" for nil.
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

// ExplainAnswer is Explain without the words for the operation that failed, where the
// same trouble meets now this operation and now that one.
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

// noSuchAccount is what a 404 to Verify means, whoever sent it.
const noSuchAccount = "the address answers, but knows no such account: check apiBaseURL and accountSID"

// explainCause names the kind of failure. The text of an unknown error is not
// used: it may hold ports, times and addresses.
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
	case isTimeout(err):
		return "timed out"
	}
	if text := explainTLS(err); text != "" {
		return text
	}
	return explainNetwork(err)
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func explainNetwork(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "network unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before the answer was complete"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "no such host"
		}
		return "name resolution failed"
	}
	return "the connection failed"
}

func explainTLS(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "TLS verification failed: certificate signed by unknown authority"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "TLS verification failed: certificate is not valid for the host"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "TLS verification failed: certificate has expired or is not yet valid"
		}
		return "TLS verification failed: certificate is not valid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS verification failed"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "TLS handshake failed: the server does not speak TLS"
	}
	// crypto/tls gives an alert's type no name: its operation tells it apart.
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return "TLS handshake failed"
	}
	return ""
}

// What differs between two refusals for the same reason.
var (
	requestIDPattern = regexp.MustCompile(`\bRQ[0-9a-fA-F]{32}\b`)
	uuidPattern      = regexp.MustCompile(`(?i)\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	linkPattern      = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]*://[^\s"'<>]+`)
	isoTimePattern   = regexp.MustCompile(`/?\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|GMT)|[+-]\d\d:?\d\d)?)?`)
	mailTimePattern  = regexp.MustCompile(`\b(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d( ?(GMT|UTC|[+-]\d{4}))?`)
	clockPattern     = regexp.MustCompile(`\b\d{1,2}:\d\d:\d\d(\.\d+)?\b`)
	addressPattern   = regexp.MustCompile(`(?i)(\b\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]|\blocalhost)(:\d{1,5})?\b`)
)

// stable makes a text of Twilio's the same each time its meaning is.
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

// stableTime leaves a date alone that is a segment of a path: the API's version.
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

// stableAddress leaves brackets alone that hold no address, and version numbers
// that are none.
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

// oneLine drops what cannot be printed and joins lines.
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

// bounded cuts s after n runes.
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

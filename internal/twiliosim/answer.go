// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// answer is an HTTP response before encoding.
type answer struct {
	status int
	// body is encoded as JSON or XML; nil means no body.
	body   any
	header http.Header
}

// errorBody is the body of every error answer.
type errorBody struct {
	Code     int     `json:"code"`
	Detail   *string `json:"detail,omitempty"`
	Message  string  `json:"message"`
	MoreInfo string  `json:"more_info"`
	Status   int     `json:"status"`
}

// failure returns an error answer.
func failure(status, code int, message string) answer {
	return answer{status: status, body: &errorBody{
		Code: code, Message: message, Status: status,
		MoreInfo: fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code),
	}}
}

// outcome returns the error answer that a switch configures.
func outcome(o Outcome, message string) answer {
	status, code, err := o.parse()
	if err != nil {
		status, code = http.StatusInternalServerError, defaultCode(http.StatusInternalServerError)
	}
	if status == http.StatusUnauthorized {
		return unauthorized(code, message, "")
	}
	return failure(status, code, message)
}

func unauthorized(code int, message, detail string) answer {
	a := failure(http.StatusUnauthorized, code, message)
	a.body.(*errorBody).Detail = &detail
	a.header = http.Header{"Www-Authenticate": {`Basic realm="Twilio API"`}}
	return a
}

// defaultCode returns Twilio's general error code for a status.
func defaultCode(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 20422
	case http.StatusUnauthorized:
		return 20003
	case http.StatusMethodNotAllowed:
		return 20004
	}
	return 20000 + status
}

func (a *answer) setRetryAfter(value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set("Retry-After", value)
}

// encode returns the encoded body, or nil if there is none.
func (a answer) encode(asJSON bool) []byte {
	if a.body == nil {
		return nil
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(a.body); err != nil {
		panic(fmt.Sprintf("twiliosim: encode answer: %v", err)) // Only types of this package are encoded.
	}
	body := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if !asJSON {
		return toXML(body)
	}
	return body
}

func contentType(asJSON bool) string {
	if asJSON {
		return "application/json"
	}
	return "application/xml"
}

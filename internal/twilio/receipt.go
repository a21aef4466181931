// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import "context"

// Receipt says how Twilio answered the last HTTP request of a call, for logs. It is empty
// if there was no answer.
type Receipt struct {
	HTTPStatus int
	RequestID  string
}

type receiptKey struct{}

// WithReceipt returns a context under which a call fills in the receipt.
func WithReceipt(ctx context.Context, receipt *Receipt) context.Context {
	return context.WithValue(ctx, receiptKey{}, receipt)
}

// fillReceipt fills in the receipt of the context, if it has one.
func (c *call) fillReceipt() {
	if receipt, ok := c.ctx.Value(receiptKey{}).(*Receipt); ok {
		*receipt = Receipt{HTTPStatus: c.status, RequestID: requestID(c.header)}
	}
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"regexp"
	"slices"
	"strings"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"
)

// HasPhoneNumber reports whether the account's own list of numbers contains the number
// with the SID pn. e164 is the number itself, if known, and shortens the list; without
// it the whole list is read. false is proof that the account does not have the number:
// anything short of proof is an error.
func (c *Client) HasPhoneNumber(ctx context.Context, pn, e164 string) (bool, error) {
	if err := checkNumber(pn); err != nil {
		return false, refused(OpListPhoneNumbers, err)
	}
	if !e164Pattern.MatchString(e164) {
		e164 = ""
	}
	found := false
	err := c.readNumbers(ctx, pn, e164, func(numbers []PhoneNumber) (enough bool) {
		found = slices.ContainsFunc(numbers, func(n PhoneNumber) bool { return strings.EqualFold(n.SID, pn) })
		return found
	})
	return found && err == nil, err
}

// ListPhoneNumbers returns all numbers of the account, or an error. It never returns a
// partial list.
func (c *Client) ListPhoneNumbers(ctx context.Context) ([]PhoneNumber, error) {
	all := newCollection[PhoneNumber]()
	err := c.readNumbers(ctx, "", "", func(numbers []PhoneNumber) (enough bool) {
		for _, n := range numbers {
			all.add(n.SID, n)
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	return all.items, nil
}

// readNumbers calls visit for each page of the account's list of numbers until visit has
// enough. With e164 the list has only the numbers that Twilio finds similar. about is
// the SID of the number that is looked for, or "".
func (c *Client) readNumbers(ctx context.Context, about, e164 string, visit func([]PhoneNumber) (enough bool)) error {
	pages := newPaging(c.base, phoneNumbersPath(c.account), maxNumberPages)
	params := openapi.ListIncomingPhoneNumberParams{PageSize: new(pageSize)}
	if e164 != "" {
		params.PhoneNumber = &e164
	}
	return pages.read(func(query string) (next string, err error) {
		err = c.do(ctx, OpListPhoneNumbers, about, func(api *openapi.ApiService, over *call) error {
			over.query = query
			wire, err := api.PageIncomingPhoneNumber(&params, "", "")
			if err != nil {
				return err
			}
			numbers, err := c.toListedNumbers(wire.IncomingPhoneNumbers, over)
			if err != nil {
				return err
			}
			if next, err = pages.follow(over.page.next); err == nil && visit(numbers) {
				next = ""
			}
			return err
		})
		return next, err
	})
}

// toListedNumbers checks that a page and all its items are of this account, and converts
// the items.
func (c *Client) toListedNumbers(wire []openapi.ApiV2010IncomingPhoneNumber, over *call) ([]PhoneNumber, error) {
	if err := checkSelf(over.page.self, c.base, phoneNumbersPath(c.account)); err != nil {
		return nil, err
	}
	numbers := make([]PhoneNumber, len(wire))
	for i := range wire {
		number, err := toListedNumber(&wire[i], c.account)
		if err != nil {
			return nil, err
		}
		numbers[i] = number
	}
	return numbers, nil
}

// e164Pattern accepts whole numbers only: Twilio's filter also matches parts of numbers
// and takes * for any digit.
var e164Pattern = regexp.MustCompile(`^\+[1-9]\d{6,14}$`)

func phoneNumbersPath(account string) string {
	return accountPath(account) + "/IncomingPhoneNumbers.json"
}

func accountPath(account string) string { return "/" + apiVersion + "/Accounts/" + account }

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"
)

// OpListInstalled is ListInstalledAddOns.
const OpListInstalled Operation = "list_installed_add_ons"

const (
	marketplaceHost = "marketplace.twilio.com"
	installedPath   = "/v1/InstalledAddOns"
)

// ErrOtherAccount is the answer for a credential whose installed add-ons are not those of
// the client's account: the Marketplace API shows the account of the credential, and a
// parent's credential may not ask it for a subaccount.
var ErrOtherAccount = errors.New("the credential is of another account, whose installed add-ons would be listed")

// InstalledAddOn is an add-on installed in the account. Its configuration, which may hold
// secrets, is never read.
type InstalledAddOn struct {
	SID          string
	UniqueName   string
	FriendlyName string
	Description  string
}

// ListInstalledAddOns returns all add-ons installed in the account, from the Marketplace
// API, or an error: never a part of them. It is ErrOtherAccount with a credential of
// another account than the client's.
func (c *Client) ListInstalledAddOns(ctx context.Context) ([]InstalledAddOn, error) {
	if strings.HasPrefix(c.credentials.Username, "AC") && !strings.EqualFold(c.credentials.Username, c.account) {
		return nil, &Error{Operation: OpListInstalled, Err: ErrOtherAccount}
	}
	all := newCollection[InstalledAddOn]()
	pages := newPaging(c.marketplaceBase(), installedPath, maxPages)
	err := pages.read(func(query string) (next string, err error) {
		err = c.do(ctx, OpListInstalled, "", func(_ *openapi.ApiService, over *call) error {
			over.query = query
			page, err := over.installedPage()
			if err != nil {
				return err
			}
			for i := range page {
				addOn, err := page[i].checked(c.account)
				if err != nil {
					return err
				}
				all.add(addOn.SID, addOn)
			}
			next, err = pages.follow(ownHost(over.page.next))
			return err
		})
		return next, err
	})
	if err != nil {
		return nil, err
	}
	return all.items, nil
}

// installedPage reads one page. The generated code for the Marketplace API would only
// paste this one path together.
func (c *call) installedPage() ([]installedWire, error) {
	first := url.Values{"PageSize": {strconv.Itoa(pageSize)}}
	res, err := c.SendRequest(http.MethodGet, "https://"+marketplaceHost+installedPath, first, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := checkSelf(ownHost(c.page.self), c.client.marketplaceBase(), installedPath); err != nil {
		return nil, err
	}
	var page struct {
		Items []installedWire `json:"installed_add_ons"`
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return nil, answerError("an answer with fields of the wrong type")
	}
	return page.Items, nil
}

// ownHost drops Twilio's own host from a link: behind a proxy the base URL has another.
// Of a link no more than the query is used.
func ownHost(link string) string { return strings.TrimPrefix(link, "https://"+marketplaceHost) }

type installedWire struct {
	SID          *string `json:"sid"`
	AccountSID   *string `json:"account_sid"`
	UniqueName   *string `json:"unique_name"`
	FriendlyName *string `json:"friendly_name"`
	Description  *string `json:"description"`
}

func (w *installedWire) checked(account string) (InstalledAddOn, error) {
	switch {
	case !addOnSIDPattern.MatchString(text(w.SID)):
		return InstalledAddOn{}, answerError("an installed add-on without a SID")
	case text(w.AccountSID) != "" && !strings.EqualFold(text(w.AccountSID), account):
		return InstalledAddOn{}, ErrOtherAccount
	}
	return InstalledAddOn{
		SID:          *w.SID,
		UniqueName:   bounded(oneLine(text(w.UniqueName)), maxName),
		FriendlyName: bounded(oneLine(text(w.FriendlyName)), maxName),
		Description:  bounded(oneLine(text(w.Description)), maxDescription),
	}, nil
}

// marketplaceBase is the base URL of the Marketplace API: api.twilio.com has it beside
// itself; a simulator or a proxy serves both.
func (c *Client) marketplaceBase() *url.URL {
	base := *c.base
	host := strings.ToLower(base.Hostname())
	if strings.HasPrefix(host, "api.") && strings.HasSuffix(host, ".twilio.com") {
		base.Host = "marketplace." + base.Host[len("api."):]
	}
	return &base
}

// baseFor is the base URL for a request that the generated code addressed to a host.
func (c *Client) baseFor(host string) *url.URL {
	if host == marketplaceHost {
		return c.marketplaceBase()
	}
	return c.base
}

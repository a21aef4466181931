// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

const (
	defaultPageSize = 50
	maxPageSize     = 1000
)

// pageURIs holds the paging fields of a list of the 2010 API.
type pageURIs struct {
	End             int     `json:"end"`
	FirstPageURI    string  `json:"first_page_uri"`
	NextPageURI     *string `json:"next_page_uri"`
	Page            int     `json:"page"`
	PageSize        int     `json:"page_size"`
	PreviousPageURI *string `json:"previous_page_uri"`
	Start           int     `json:"start"`
	URI             string  `json:"uri"`
}

// pageMeta holds the paging fields of a list of the marketplace API.
type pageMeta struct {
	Page            int     `json:"page"`
	PageSize        int     `json:"page_size"`
	FirstPageURL    string  `json:"first_page_url"`
	PreviousPageURL *string `json:"previous_page_url"`
	URL             string  `json:"url"`
	NextPageURL     *string `json:"next_page_url"`
	Key             string  `json:"key"`
}

// page is one page of a list whose items are sorted by SID.
type page struct {
	x          *exchange
	number     int
	size       int
	token      string
	query      url.Values
	items      []int // Indices into the list.
	next, prev *string
}

// paginate returns the requested page, or the answer to invalid paging parameters. prefix is the
// prefix of the SIDs of the items.
func (x *exchange) paginate(prefix string, count int, sid func(int) string) (page, *answer) {
	p := page{x: x, query: x.r.URL.Query(), size: defaultPageSize}
	if refusal := p.parse(prefix); refusal != nil {
		return p, refusal
	}
	from, to := p.bounds(count, sid)
	for i := from; i < to; i++ {
		p.items = append(p.items, i)
	}
	if to < count && to > from {
		p.next = new(p.link(p.number+1, "PA"+sid(to-1)))
	}
	if from > 0 && to > from {
		p.prev = new(p.link(max(p.number-1, 0), "PB"+sid(from)))
	}
	p.applyFault(from)
	return p, nil
}

// parse reads the paging parameters and returns an answer if one is invalid.
func (p *page) parse(prefix string) *answer {
	var err error
	if v := p.query.Get("PageSize"); v != "" {
		if p.size, err = strconv.Atoi(v); err != nil || p.size < 1 {
			return new(failure(http.StatusBadRequest, 20422, "Invalid Parameter: PageSize"))
		}
		if p.size > maxPageSize {
			return new(failure(http.StatusBadRequest, 20007, "Page size too large"))
		}
	}
	if limit := p.x.behaviour.MaxPageSize; limit > 0 {
		p.size = min(p.size, limit)
	}
	if v := p.query.Get("Page"); v != "" {
		if p.number, err = strconv.Atoi(v); err != nil || p.number < 0 {
			return new(failure(http.StatusBadRequest, 20422, "Invalid Parameter: Page"))
		}
	}
	p.token = p.query.Get("PageToken")
	if p.token == "" {
		return nil
	}
	direction, sid := p.token[:min(2, len(p.token))], p.token[min(2, len(p.token)):]
	if direction != "PA" && direction != "PB" || !IsSID(prefix, sid) {
		return new(failure(http.StatusBadRequest, 21481, "Invalid PageToken"))
	}
	return nil
}

// bounds returns the half-open range of the items on the page.
func (p *page) bounds(count int, sid func(int) string) (from, to int) {
	if p.token == "" {
		return 0, min(p.size, count)
	}
	at := p.token[2:]
	if p.token[:2] == "PB" {
		to = sort.Search(count, func(i int) bool { return sid(i) >= at })
		return max(0, to-p.size), to
	}
	from = sort.Search(count, func(i int) bool { return sid(i) > at })
	return from, min(from+p.size, count)
}

// applyFault applies a fault of the page itself.
func (p *page) applyFault(from int) {
	switch p.x.fault.Kind {
	case FaultDuplicateItems:
		if from > 0 {
			p.items = append([]int{from - 1}, p.items...)
		} else if n := len(p.items); n > 0 {
			p.items = append(p.items, p.items[n-1])
		}
	case FaultNextPageSelf:
		p.next = new(p.link(p.number, p.token))
	case FaultNextPageElsewhere:
		link := p.link(p.number+1, p.token)
		if p.next != nil {
			link = *p.next
		}
		p.next = new(p.x.fault.location("https://elsewhere.invalid") + link)
	}
}

// link returns the path and query of a page. Like Twilio, it repeats the filters of the request.
func (p *page) link(number int, token string) string {
	var q strings.Builder
	for pair := range strings.SplitSeq(p.x.r.URL.RawQuery, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if pair != "" && key != "PageSize" && key != "Page" && key != "PageToken" {
			q.WriteString(pair + "&")
		}
	}
	q.WriteString("PageSize=" + strconv.Itoa(p.size) + "&Page=" + strconv.Itoa(number))
	if token != "" {
		q.WriteString("&PageToken=" + url.QueryEscape(token))
	}
	return p.x.r.URL.EscapedPath() + "?" + q.String()
}

// uris returns the paging fields of the 2010 API, which uses relative URIs.
func (p *page) uris() pageURIs {
	start := p.number * p.size
	return pageURIs{
		Start: start, End: start + max(len(p.items)-1, 0), Page: p.number, PageSize: p.size,
		URI: p.link(p.number, p.token), FirstPageURI: p.link(0, ""),
		NextPageURI: p.next, PreviousPageURI: p.prev,
	}
}

// meta returns the paging fields of the marketplace API, which uses absolute URLs.
func (p *page) meta(key string) pageMeta {
	m := pageMeta{
		Page: p.number, PageSize: p.size, Key: key,
		URL: p.x.absolute(p.link(p.number, p.token)), FirstPageURL: p.x.absolute(p.link(0, "")),
	}
	if p.next != nil {
		m.NextPageURL = new(p.x.absolute(*p.next))
	}
	if p.prev != nil {
		m.PreviousPageURL = new(p.x.absolute(*p.prev))
	}
	return m
}

// absolute returns the URL of a path on the host of the request. It returns an absolute URL
// unchanged.
func (x *exchange) absolute(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return path
	case x.r.TLS != nil:
		return "https://" + x.r.Host + path
	}
	return "http://" + x.r.Host + path
}

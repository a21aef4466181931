// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

import (
	"net/url"
	"strings"
)

const (
	pageSize = 1000 // the largest that Twilio accepts; also the most items a page may have
	// maxPages bounds the list of a number's add-ons, maxNumberPages that of an
	// account's numbers.
	maxPages       = 100
	maxNumberPages = 1000
)

// paging follows the pages of one list to the end, or fails.
type paging struct {
	base     *url.URL
	path     string // of the list, in every page's link
	maxPages int
	followed map[string]bool // by query
}

func newPaging(base *url.URL, path string, maxPages int) *paging {
	return &paging{base: base, path: path, maxPages: maxPages, followed: map[string]bool{}}
}

// read calls page for each page: with "" for the first, and with what the previous
// one returned until that is "".
func (p *paging) read(page func(query string) (next string, err error)) error {
	for query := ""; ; {
		next, err := page(query)
		if err != nil || next == "" {
			return err
		}
		query = next
	}
}

// follow returns the query of the page that link leads to, "" if there is none.
func (p *paging) follow(link string) (string, error) {
	if link == "" {
		return "", nil
	}
	query, err := nextQuery(link, p.base, p.path)
	switch {
	case err != nil:
		return "", err
	case p.followed[query]:
		return "", errPageLoop
	case len(p.followed) == p.maxPages-1:
		return "", errTooManyPages
	}
	p.followed[query] = true
	return query, nil
}

// collection keeps the items of a list once each: an item may come twice when the list
// changes between pages.
type collection[T any] struct {
	items []T // not nil
	sids  map[string]bool
}

func newCollection[T any]() *collection[T] {
	return &collection[T]{items: []T{}, sids: map[string]bool{}}
}

func (c *collection[T]) add(sid string, item T) {
	if key := strings.ToLower(sid); !c.sids[key] {
		c.sids[key] = true
		c.items = append(c.items, item)
	}
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// etcd writes straight into the API server's store, through the JSON gateway of etcd:
// objects that are there already, synced, are what a scenario starts from and not what
// it measures, and the API server takes fewer than 200 writes a second on two cores.
//
// Every key is written by itself. Those of one transaction would share a revision, and
// who begins to watch in the midst of its events misses the rest.
type etcd struct {
	url  string
	http *http.Client
}

func newEtcd(url string) etcd {
	return etcd{url: url, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}}
}

// inFlight is how many requests to etcd there are at a time.
const inFlight = 16

// pair is a key and its value; JSON has both in base64, as the gateway wants them.
type pair struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value,omitempty"`
}

func (e etcd) put(ctx context.Context, p pair) error { return e.do(ctx, "/v3/kv/put", p, nil) }

// found is the answer to a range.
type found struct {
	KVs []pair `json:"kvs"`
}

// get reads one value.
func (e etcd) get(ctx context.Context, key string) ([]byte, error) {
	var f found
	if err := e.do(ctx, "/v3/kv/range", pair{Key: []byte(key)}, &f); err != nil {
		return nil, err
	}
	if len(f.KVs) != 1 {
		return nil, fmt.Errorf("etcd has no %s", key)
	}
	return f.KVs[0].Value, nil
}

// clear removes everything below a prefix, which ends in a slash.
func (e etcd) clear(ctx context.Context, prefix string) error {
	end := []byte(prefix)
	end[len(end)-1]++
	var f found
	err := e.do(ctx, "/v3/kv/range", map[string]any{"key": []byte(prefix), "rangeEnd": end, "keysOnly": true}, &f)
	if err != nil {
		return err
	}
	return inParallel(ctx, len(f.KVs), inFlight, func(i int) error {
		return e.do(ctx, "/v3/kv/deleterange", pair{Key: f.KVs[i].Key}, nil)
	})
}

func (e etcd) do(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := e.http.Do(req)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd: %s answers %s", path, res.Status)
	}
	if out == nil {
		out = &struct{}{}
	}
	return json.NewDecoder(res.Body).Decode(out)
}

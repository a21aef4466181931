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

// etcd writes to the store of the API server through etcd's JSON gateway. Presets use it
// because the API server accepts fewer than 200 writes per second on two cores.
//
// Each key is written on its own. The keys of a transaction share a revision, and a watch
// that starts between their events misses the rest.
type etcd struct {
	url  string
	http *http.Client
}

func newEtcd(url string) etcd {
	return etcd{url: url, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: etcdConcurrency}}}
}

// etcdConcurrency is how many requests to etcd are in flight at once.
const etcdConcurrency = 16

// keyValue is a key with its value. In JSON both are base64, as the gateway requires.
type keyValue struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value,omitempty"`
}

func (e etcd) put(ctx context.Context, p keyValue) error { return e.do(ctx, "/v3/kv/put", p, nil) }

// rangeResponse is the answer to a range request.
type rangeResponse struct {
	KVs []keyValue `json:"kvs"`
}

// get returns the value of a key.
func (e etcd) get(ctx context.Context, key string) ([]byte, error) {
	var f rangeResponse
	if err := e.do(ctx, "/v3/kv/range", keyValue{Key: []byte(key)}, &f); err != nil {
		return nil, err
	}
	if len(f.KVs) != 1 {
		return nil, fmt.Errorf("etcd has no %s", key)
	}
	return f.KVs[0].Value, nil
}

// deletePrefix removes all keys with a prefix, which must end in a slash.
func (e etcd) deletePrefix(ctx context.Context, prefix string) error {
	end := []byte(prefix)
	end[len(end)-1]++
	var f rangeResponse
	err := e.do(ctx, "/v3/kv/range", map[string]any{"key": []byte(prefix), "rangeEnd": end, "keysOnly": true}, &f)
	if err != nil {
		return err
	}
	return inParallel(ctx, len(f.KVs), etcdConcurrency, func(i int) error {
		return e.do(ctx, "/v3/kv/deleterange", keyValue{Key: f.KVs[i].Key}, nil)
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

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// apiServer asks the API server for what no typed client asks for.
type apiServer struct {
	host string
	http *http.Client
}

func newAPIServer(config *rest.Config) (*apiServer, error) {
	cl, err := rest.HTTPClientFor(config)
	return &apiServer{host: strings.TrimRight(config.Host, "/"), http: cl}, err
}

func (s *apiServer) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.host+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("API server: %s answers %s", path, res.Status)
	}
	return io.ReadAll(res.Body)
}

// patches is how often objects were patched, status included.
func (s *apiServer) patches(ctx context.Context) (float64, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	return parseSeries(string(body)).sum("apiserver_request_total",
		`resource="phonenumberaddonassignments"`, `verb="PATCH"`, `code="200"`), nil
}

// listAll is how long it takes to read every object once, in pages as kubectl does, and
// do nothing with them.
func (s *apiServer) listAll(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	for next := ""; ; {
		query := url.Values{"limit": {"500"}, "continue": {next}}
		body, err := s.get(ctx, "/apis/"+v1alpha1.GroupVersion.String()+"/phonenumberaddonassignments?"+query.Encode())
		if err != nil {
			return 0, err
		}
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return 0, err
		}
		if next = page.Metadata.Continue; next == "" {
			return time.Since(start), nil
		}
	}
}

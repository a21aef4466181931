// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// apiServer makes requests to the API server that a typed client cannot make.
type apiServer struct {
	host string
	http *http.Client
}

func newAPIServer(config *rest.Config) (*apiServer, error) {
	cl, err := rest.HTTPClientFor(config)
	return &apiServer{host: strings.TrimRight(config.Host, "/"), http: cl}, err
}

func (s *apiServer) get(ctx context.Context, path string) ([]byte, error) {
	body, err := s.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(body)
}

func (s *apiServer) open(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.host+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("API server: %s answers %s", path, res.Status), res.Body.Close())
	}
	return res.Body, nil
}

// countPatches returns how often objects were patched, including their status.
func (s *apiServer) countPatches(ctx context.Context) (float64, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	return parseSeries(string(body)).sum("apiserver_request_total",
		`resource="phonenumberaddonassignments"`, `verb="PATCH"`, `code="200"`), nil
}

// cachedPath returns the path of the list of objects, or of one object if name is "/NAME".
// resourceVersion=0 makes the API server answer from its watch cache.
func cachedPath(name string) string {
	return "/apis/" + v1alpha1.GroupVersion.String() + "/namespaces/" + namespace + "/phonenumberaddonassignments" + name + "?resourceVersion=0"
}

// hasObject reports whether the watch cache of the API server has an object.
func (s *apiServer) hasObject(ctx context.Context, name string) bool {
	_, err := s.get(ctx, cachedPath("/"+name))
	return err == nil
}

// timeList measures a list of all objects in one answer from the watch cache, without decoding.
func (s *apiServer) timeList(ctx context.Context, want int) (time.Duration, error) {
	start := time.Now()
	n, err := s.countListed(ctx)
	if err == nil && n != want {
		err = fmt.Errorf("the API server lists %d of %d objects", n, want)
	}
	return time.Since(start), err
}

// countListed counts the objects in a list by a field that each object has once in its spec.
func (s *apiServer) countListed(ctx context.Context) (int, error) {
	body, err := s.open(ctx, cachedPath(""))
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	field := []byte(`"phoneNumberSID":`)
	n, kept, buffer := 0, 0, make([]byte, 1<<20)
	for {
		got, err := body.Read(buffer[kept:])
		seen := buffer[:kept+got]
		n += bytes.Count(seen, field)
		// The end of the buffer may cut the field. Keep it for the next read.
		kept = copy(buffer, seen[max(0, len(seen)-len(field)+1):])
		if errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return 0, err
		}
	}
}

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

// patches is how often objects were patched, status included.
func (s *apiServer) patches(ctx context.Context) (float64, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	return parseSeries(string(body)).sum("apiserver_request_total",
		`resource="phonenumberaddonassignments"`, `verb="PATCH"`, `code="200"`), nil
}

// objects is the path of the objects, as the API server's memory has them: what it has
// not seen yet is not there.
func objects(name string) string {
	return "/apis/" + v1alpha1.GroupVersion.String() + "/namespaces/" + objectsIn + "/phonenumberaddonassignments" + name + "?resourceVersion=0"
}

// knows says whether an object is in the API server's memory.
func (s *apiServer) knows(ctx context.Context, name string) bool {
	_, err := s.get(ctx, objects("/"+name))
	return err == nil
}

// listAll is how long it takes to read every object once, all in one answer from the API
// server's memory, and do nothing with them.
func (s *apiServer) listAll(ctx context.Context, want int) (time.Duration, error) {
	start := time.Now()
	n, err := s.countListed(ctx)
	if err == nil && n != want {
		err = fmt.Errorf("the API server lists %d of %d objects", n, want)
	}
	return time.Since(start), err
}

func (s *apiServer) countListed(ctx context.Context) (int, error) {
	body, err := s.open(ctx, objects(""))
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	each := []byte(`"phoneNumberSID":`)
	n, kept, buffer := 0, 0, make([]byte, 1<<20)
	for {
		got, err := body.Read(buffer[kept:])
		seen := buffer[:kept+got]
		n += bytes.Count(seen, each)
		// A name that the end of the buffer cuts is counted with what follows.
		kept = copy(buffer, seen[max(0, len(seen)-len(each)+1):])
		if errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return 0, err
		}
	}
}

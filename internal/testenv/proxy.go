// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Proxy stands between managers and the API server. It forwards every request unchanged,
// credentials included, records it, and injects faults into chosen ones.
type Proxy struct {
	forward     *httputil.ReverseProxy
	certificate tls.Certificate

	// decide chooses the fault of a request; it may be replaced at any time.
	decide atomic.Pointer[func(APIRequest) APIFault]

	mu      sync.Mutex
	log     []APIRequest
	watches map[*watch]bool
	// open is closed while watch events pass, and open while they are held back.
	open chan struct{}
}

// APIRequest is a request that a manager made to the API server.
type APIRequest struct {
	// By is the name that the manager has in Listen.
	By     string
	Method string
	// Resource is the plural name, with the subresource after a slash. It is empty for
	// requests that concern no resource, such as discovery.
	Resource        string
	Namespace, Name string
	Watch           bool
	// Selector is the field selector, "" if there is none.
	Selector   string
	Start, End time.Time
	// Status is the HTTP status of the answer; 0 if there was none.
	Status int
	Fault  APIFault
	// Version is the resourceVersion of the object in the answer to a write, also if the
	// answer was lost; "" if there was none.
	Version string
}

// Writes says whether the request may change anything.
func (r APIRequest) Writes() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// APIFault is a fault that a Proxy injects into a request.
type APIFault string

// The faults of the API server.
const (
	APIFine APIFault = ""
	// APIConflict answers 409; the request is not forwarded.
	APIConflict APIFault = "conflict"
	// APIError answers 500, APIUnavailable 503, APIThrottled 429 with a Retry-After of a
	// second; the request is not forwarded.
	APIError       APIFault = "error"
	APIUnavailable APIFault = "unavailable"
	APIThrottled   APIFault = "throttled"
	// APIReset breaks the connection; the request is not forwarded.
	APIReset APIFault = "reset"
	// APILost forwards the request and breaks the connection instead of answering.
	APILost APIFault = "answer-lost"
	// APISlow forwards the request after half a second.
	APISlow APIFault = "slow"
)

// watch is an open watch.
type watch struct{ cancel context.CancelFunc }

// NewProxy returns a proxy in front of the API server. Listen gives each manager an address
// of its own.
func (e *Env) NewProxy() (*Proxy, error) {
	target, err := url.Parse(e.Config.Host)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(e.Config.CAData) {
		return nil, errors.New("the API server's certificate authority cannot be read")
	}
	certificate, err := selfSigned()
	if err != nil {
		return nil, err
	}
	p := &Proxy{certificate: certificate, watches: map[*watch]bool{}, open: make(chan struct{})}
	close(p.open)
	p.SetFaults(nil)
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 100,
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(nowhere{}, "", 0),
	}
	return p, nil
}

// selfSigned makes a certificate that nobody verifies. It is there because a client sends
// its token only over TLS.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// nowhere discards what a server logs about connections that were broken on purpose.
type nowhere struct{}

func (nowhere) Write(text []byte) (int, error) { return len(text), nil }

// SetFaults sets the function that chooses the fault of each request from now on; nil means
// no faults. The function is called concurrently.
func (p *Proxy) SetFaults(decide func(APIRequest) APIFault) {
	if decide == nil {
		decide = func(APIRequest) APIFault { return APIFine }
	}
	p.decide.Store(&decide)
}

// Listen serves the manager of that name. It returns the URL to give to the manager, and a
// function that stops serving.
func (p *Proxy) Listen(ctx context.Context, name string) (address string, stop func(), err error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(name, w, r) }),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(nowhere{}, "", 0),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{p.certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	return "https://" + l.Addr().String(), func() { _ = server.Close() }, nil
}

// DropWatches breaks every open watch.
func (p *Proxy) DropWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.watches {
		w.cancel()
	}
}

// HoldWatches holds back the events of all watches until PassWatches.
func (p *Proxy) HoldWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default:
	}
}

// PassWatches delivers the events that were held back, and those that follow.
func (p *Proxy) PassWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// Requests returns all completed requests in the order of their completion.
func (p *Proxy) Requests() []APIRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// serve forwards one request or injects its fault.
func (p *Proxy) serve(by string, w http.ResponseWriter, r *http.Request) {
	req := describe(by, r)
	answer := &counted{ResponseWriter: w}
	if req.Writes() {
		answer.body = &bytes.Buffer{}
	}
	req.Fault = (*p.decide.Load())(req)
	defer func() {
		req.End, req.Status, req.Version = time.Now(), answer.status, answer.version()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.log = append(p.log, req)
	}()
	switch req.Fault {
	case APIConflict:
		refuse(answer, http.StatusConflict, metav1.StatusReasonConflict)
		return
	case APIError:
		refuse(answer, http.StatusInternalServerError, metav1.StatusReasonInternalError)
		return
	case APIUnavailable:
		refuse(answer, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
		return
	case APIThrottled:
		answer.Header().Set("Retry-After", "1")
		refuse(answer, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)
		return
	case APIReset:
		panic(http.ErrAbortHandler)
	case APILost:
		// The request is carried out even if the manager is gone by now.
		lost := &counted{ResponseWriter: &discarded{header: http.Header{}}, body: answer.body}
		p.forward.ServeHTTP(lost, r.WithContext(context.WithoutCancel(r.Context())))
		panic(http.ErrAbortHandler)
	case APISlow:
		time.Sleep(500 * time.Millisecond)
	case APIFine:
	}
	if req.Watch {
		p.watch(answer, r)
		return
	}
	p.forward.ServeHTTP(answer, r)
}

// watch forwards a watch until it ends or is dropped.
func (p *Proxy) watch(answer *counted, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	self := &watch{cancel: cancel}
	p.mu.Lock()
	p.watches[self] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, self)
	}()
	answer.hold = func() {
		p.mu.Lock()
		open := p.open
		p.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
		}
	}
	p.forward.ServeHTTP(answer, r.WithContext(ctx))
}

// describe derives what a request is about from its method and path:
// /apis/GROUP/VERSION/[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]], or
// /api/VERSION/… for the core.
func describe(by string, r *http.Request) APIRequest {
	req := APIRequest{By: by, Method: r.Method, Start: time.Now(), Watch: r.URL.Query().Get("watch") == "true", Selector: r.URL.Query().Get("fieldSelector")}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	default:
		return req
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		req.Namespace, parts = parts[1], parts[2:]
	}
	req.Resource = parts[0]
	if len(parts) > 1 {
		req.Name = parts[1]
	}
	if len(parts) > 2 {
		req.Resource += "/" + parts[2]
	}
	return req
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: "injected: " + string(reason),
	})
}

// counted records the status of an answer, keeps the body if there is somewhere to keep it,
// and holds it back while hold blocks.
type counted struct {
	http.ResponseWriter
	status int
	body   *bytes.Buffer
	hold   func()
}

func (c *counted) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counted) Write(body []byte) (int, error) {
	if c.hold != nil {
		c.hold()
	}
	if c.body != nil {
		c.body.Write(body)
	}
	return c.ResponseWriter.Write(body)
}

// version is the resourceVersion of the object that was answered; "" if it was none.
func (c *counted) version() string {
	var object metav1.PartialObjectMetadata
	if c.body == nil || json.Unmarshal(c.body.Bytes(), &object) != nil {
		return ""
	}
	return object.ResourceVersion
}

// Unwrap makes the answer flushable.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// discarded discards an answer.
type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header            { return d.header }
func (d *discarded) Write(body []byte) (int, error) { return len(body), nil }
func (d *discarded) WriteHeader(int)                {}

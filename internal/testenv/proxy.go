// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
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

// Proxy stands between managers and the API server. It passes everything on as it is,
// credentials included, counts it, and makes chosen requests go wrong.
type Proxy struct {
	forward     *httputil.ReverseProxy
	certificate tls.Certificate

	// decide says what goes wrong with a request; it may be replaced at any time.
	decide atomic.Pointer[func(APIRequest) APIFault]

	mu      sync.Mutex
	log     []APIRequest
	watches map[*watch]bool
	// open is closed while events of watches pass, and not while they are held back.
	open chan struct{}
}

// APIRequest is a request of a manager to the API server.
type APIRequest struct {
	// By is the name under which the manager listens to the proxy.
	By     string
	Method string
	// Resource is the plural name, with the subresource after a slash; empty for what is no
	// resource, such as discovery.
	Resource        string
	Namespace, Name string
	Watch           bool
	Start, End      time.Time
	// Status is that of the answer, 0 if none was given.
	Status int
	Fault  APIFault
}

// Writes says whether the request changes anything.
func (r APIRequest) Writes() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// APIFault is a way in which a request to the API server goes wrong.
type APIFault string

// The faults of the API server.
const (
	APIFine APIFault = ""
	// APIConflict answers 409 and does nothing.
	APIConflict APIFault = "conflict"
	// APIError answers 500, APIUnavailable 503, APIThrottled 429 for a second; they do nothing.
	APIError       APIFault = "error"
	APIUnavailable APIFault = "unavailable"
	APIThrottled   APIFault = "throttled"
	// APIReset breaks the connection before the request is passed on.
	APIReset APIFault = "reset"
	// APILost has the request done, and breaks the connection in place of the answer.
	APILost APIFault = "answer-lost"
	// APISlow passes the request on after half a second.
	APISlow APIFault = "slow"
)

// watch is a watch under way.
type watch struct{ cancel context.CancelFunc }

// NewProxy returns a proxy before the API server of an Env. Every manager gets an
// address of its own by Listen.
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

// selfSigned makes a certificate that nobody needs to trust: a client sends its token only
// over TLS, and knows the proxy by its address.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// nowhere takes the words of a server about connections that were broken on purpose.
type nowhere struct{}

func (nowhere) Write(text []byte) (int, error) { return len(text), nil }

// SetFaults says from now on what goes wrong; nil is nothing. The function is called on
// many goroutines.
func (p *Proxy) SetFaults(decide func(APIRequest) APIFault) {
	if decide == nil {
		decide = func(APIRequest) APIFault { return APIFine }
	}
	p.decide.Store(&decide)
}

// Listen serves a manager of that name, and returns the URL for it, and what ends it.
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

// DropWatches breaks every watch under way.
func (p *Proxy) DropWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.watches {
		w.cancel()
	}
}

// HoldWatches holds back every event of every watch from now on, until PassWatches.
func (p *Proxy) HoldWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default:
	}
}

// PassWatches lets the events that were held back go, and those that follow.
func (p *Proxy) PassWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// Requests returns every request that has ended, in the order in which they did.
func (p *Proxy) Requests() []APIRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// serve passes one request on, or makes it go wrong.
func (p *Proxy) serve(by string, w http.ResponseWriter, r *http.Request) {
	req := describe(by, r)
	answer := &counted{ResponseWriter: w}
	req.Fault = (*p.decide.Load())(req)
	defer func() {
		req.End, req.Status = time.Now(), answer.status
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
		// What was asked is done, even if the manager is gone meanwhile.
		p.forward.ServeHTTP(&discarded{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
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

// watch passes a watch on until it ends or is dropped.
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

// describe reads what a request asks for from its method and path:
// /apis/GROUP/VERSION/[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]], or
// /api/VERSION/… for the core.
func describe(by string, r *http.Request) APIRequest {
	req := APIRequest{By: by, Method: r.Method, Start: time.Now(), Watch: r.URL.Query().Get("watch") == "true"}
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

// counted notes the status of an answer, and holds back its body while it is told to.
type counted struct {
	http.ResponseWriter
	status int
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
	return c.ResponseWriter.Write(body)
}

// Unwrap lets the answer be flushed.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// discarded takes an answer that nobody gets.
type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header            { return d.header }
func (d *discarded) Write(body []byte) (int, error) { return len(body), nil }
func (d *discarded) WriteHeader(int)                {}

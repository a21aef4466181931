// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const metricsHost = "metrics.example.com"

// writeCertificate writes a certificate for metricsHost as cert-manager does, and returns
// the pool that trusts it.
func writeCertificate(t *testing.T, folder string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{metricsHost}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	err = errors.Join(
		os.WriteFile(filepath.Join(folder, "tls.crt"), certPEM, 0o600),
		os.WriteFile(filepath.Join(folder, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

// Who scrapes the metrics can verify the certificate that the manager was given.
func TestMetricsCertificate(t *testing.T) {
	folder := t.TempDir()
	trusted := writeCertificate(t, folder)
	address := freeAddress(t)
	serving := metricsOptions(&options{metricsAddress: address, secureMetrics: true, metricsCertDir: folder})
	serving.FilterProvider = nil // it asks an API server, and this is about the certificate
	ctx := startMetrics(t, serving)
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: trusted, ServerName: metricsHost, MinVersion: tls.VersionTLS12}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			if err := connection.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok || time.Now().After(deadline) {
			t.Fatalf("connecting: %v (%v)", err, unverified)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// startMetrics serves metrics until the test ends, or the returned context.
func startMetrics(t *testing.T, serving metricsserver.Options) context.Context {
	t.Helper()
	server, err := metricsserver.NewServer(serving, &rest.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ctx
}

// Only the format of OpenMetrics has exemplars. Who does not ask for it gets the older one.
func TestMetricsFormats(t *testing.T) {
	address := freeAddress(t)
	ctx := startMetrics(t, metricsOptions(&options{metricsAddress: address}))
	for accept, want := range map[string]string{"application/openmetrics-text; version=1.0.0": "application/openmetrics-text", "": "text/plain"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			answer, err := http.DefaultClient.Do(request)
			if err == nil {
				if got := answer.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
					t.Errorf("the answer to %q is of type %q, want %s", accept, got, want)
				}
				if err := answer.Body.Close(); err != nil {
					t.Error(err)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// The proxy records which version each write made, also when nobody got the answer.
func TestProxyRecordsVersions(t *testing.T) {
	t.Parallel()
	const object = `{"kind":"TwilioAccount","metadata":{"name":"main","resourceVersion":"7"}}`
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/other") {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"kind":"Status","status":"Failure"}`)
			return
		}
		_, _ = io.WriteString(w, object)
	}))
	t.Cleanup(api.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	env := &Env{Config: &rest.Config{Host: api.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}}
	cases := map[string]struct {
		method, name  string
		fault         APIFault
		answer, wants string
	}{
		"write":          {http.MethodPatch, "main", APIFine, object, "7"},
		"lost answer":    {http.MethodPatch, "main", APILost, "", "7"},
		"not forwarded":  {http.MethodPatch, "main", APIReset, "", ""},
		"injected error": {http.MethodPatch, "main", APIConflict, "injected", ""},
		"refused":        {http.MethodPatch, "other", APIFine, "Failure", ""},
		"read":           {http.MethodGet, "main", APIFine, object, ""},
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, err := env.NewProxy()
			if err != nil {
				t.Fatal(err)
			}
			address, stop, err := proxy.Listen(t.Context(), "manager")
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			proxy.SetFaults(func(APIRequest) APIFault { return c.fault })
			request, err := http.NewRequestWithContext(t.Context(), c.method, address+"/apis/addons.twilio-operator.dev/v1alpha1/twilioaccounts/"+c.name, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			var body []byte
			if answer, err := client.Do(request); err == nil {
				body, _ = io.ReadAll(answer.Body)
				_ = answer.Body.Close()
			}
			if !strings.Contains(string(body), c.answer) || (c.answer == "" && len(body) > 0) {
				t.Errorf("the manager got %q, want %q", body, c.answer)
			}
			if err := Wait(t.Context(), 10*time.Second, "the request is recorded", func() error {
				if len(proxy.Requests()) != 1 {
					return errors.New("it is not")
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if q := proxy.Requests()[0]; q.Version != c.wants {
				t.Errorf("the write made version %q, want %q", q.Version, c.wants)
			}
		})
	}
}

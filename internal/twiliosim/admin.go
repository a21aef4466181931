// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// maxAdminBody is the size limit of a request to the admin API, in bytes. A state with 100,000
// numbers fits.
const maxAdminBody = 256 << 20

// AdminHandler serves the admin API: JSON over HTTP. It has no authentication, so it should listen
// on loopback only. [AdminClient] is its client. An error is {"error": "..."} with status 400, or
// 404 for something that does not exist.
//
//	GET    /healthz
//	GET    /state                     everything; PUT replaces it
//	POST   /seed                      adds many numbers
//	POST   /accounts                  {sid, parent, authToken}
//	POST   /accounts/{sid}/rotate     {authToken}; also /secondary
//	POST   /accounts/{sid}/status     {status}
//	POST   /accounts/{sid}/api-keys   {sid, secret, kind, allowed}
//	DELETE /api-keys/{sid}
//	POST   /accounts/{sid}/add-ons    {sid, uniqueName, ...}
//	DELETE /add-ons/{sid}             uninstalls
//	POST   /accounts/{sid}/numbers    {sid, phoneNumber}
//	DELETE /numbers/{sid}             releases
//	POST   /numbers/{sid}/move        {account}
//	GET    /numbers/{sid}/assigned    the SIDs of the installations, sorted
//	PUT    /numbers/{sid}/assigned/{addOn}; also DELETE
//	GET    /calls[?totals=true]       DELETE resets them to zero
//	GET    /journal[?after=SEQ]
//	GET    /requests                  the latest ones, if the log is enabled
//	GET    /behaviour                 PUT replaces it (absent fields get defaults), PATCH merges
//	GET    /faults                    POST adds one, DELETE removes all
//	DELETE /faults/{id}
//	GET    /faults/injected           how often each kind has fired
func (s *Sim) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	for pattern, handle := range s.adminRoutes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
			out, err := handle(r)
			writeAdmin(w, out, err)
		})
	}
	return mux
}

// adminHandler executes a request. Its result is sent as JSON.
type adminHandler func(r *http.Request) (any, error)

func (s *Sim) adminRoutes() map[string]adminHandler {
	return map[string]adminHandler{
		"GET /healthz": func(*http.Request) (any, error) { return map[string]string{"status": "ok"}, nil },

		"GET /state": func(*http.Request) (any, error) { return s.Snapshot(), nil },
		"PUT /state": withBody(func(_ *http.Request, v State) error { return s.Restore(v) }),
		"POST /seed": withBody(func(_ *http.Request, v Seed) error { return s.Seed(v) }),

		"POST /accounts": withBody(s.adminAddAccount),
		"POST /accounts/{sid}/rotate": withBody(func(r *http.Request, v AccountState) error {
			return s.RotateAuthToken(r.PathValue("sid"), v.AuthToken)
		}),
		"POST /accounts/{sid}/secondary": withBody(func(r *http.Request, v AccountState) error {
			return s.SetSecondaryAuthToken(r.PathValue("sid"), v.AuthToken)
		}),
		"POST /accounts/{sid}/status": withBody(func(r *http.Request, v AccountState) error {
			return s.SetAccountStatus(r.PathValue("sid"), v.Status)
		}),
		"POST /accounts/{sid}/api-keys": withBody(func(r *http.Request, v KeyState) error {
			return s.AddAPIKey(r.PathValue("sid"), v.SID, v.Secret, v.Kind, v.Allowed...)
		}),
		"DELETE /api-keys/{sid}": withSID(s.DeleteAPIKey),

		"POST /accounts/{sid}/add-ons": withBody(func(r *http.Request, v AddOn) error {
			return s.Install(r.PathValue("sid"), v)
		}),
		"DELETE /add-ons/{sid}": withSID(s.UninstallAddOn),

		"POST /accounts/{sid}/numbers": withBody(func(r *http.Request, v NumberState) error {
			return s.AddNumber(r.PathValue("sid"), v.SID, v.PhoneNumber)
		}),
		"DELETE /numbers/{sid}": withSID(s.ReleaseNumber),
		"POST /numbers/{sid}/move": withBody(func(r *http.Request, v moveRequest) error {
			return s.MoveNumber(r.PathValue("sid"), v.Account)
		}),
		"GET /numbers/{sid}/assigned":            s.adminAssigned,
		"PUT /numbers/{sid}/assigned/{addOn}":    withNumberAndAddOn(s.Assign),
		"DELETE /numbers/{sid}/assigned/{addOn}": withNumberAndAddOn(s.Unassign),

		"GET /calls":    s.adminCalls,
		"DELETE /calls": func(*http.Request) (any, error) { s.ResetCalls(); return nil, nil },
		"GET /journal":  s.adminJournal,
		"GET /requests": func(*http.Request) (any, error) { return s.Requests(), nil },

		"GET /behaviour":   func(*http.Request) (any, error) { return s.Behaviour(), nil },
		"PUT /behaviour":   s.adminPutBehaviour,
		"PATCH /behaviour": s.adminPatchBehaviour,

		"GET /faults":          func(*http.Request) (any, error) { return s.Faults(), nil },
		"POST /faults":         withBody(func(_ *http.Request, v Fault) error { return s.AddFault(v) }),
		"DELETE /faults":       func(*http.Request) (any, error) { s.ClearFaults(); return nil, nil },
		"DELETE /faults/{id}":  s.adminRemoveFault,
		"GET /faults/injected": func(*http.Request) (any, error) { return s.Injected(), nil },
	}
}

type moveRequest struct {
	Account string `json:"account"`
}

// withBody returns a handler that decodes the body and calls do with it.
func withBody[T any](do func(*http.Request, T) error) adminHandler {
	return func(r *http.Request) (any, error) {
		var v T
		if err := decodeAdmin(r, &v); err != nil {
			return nil, err
		}
		return nil, do(r, v)
	}
}

// withSID returns a handler that calls do with the SID in the path.
func withSID(do func(sid string) error) adminHandler {
	return func(r *http.Request) (any, error) { return nil, do(r.PathValue("sid")) }
}

// withNumberAndAddOn returns a handler that calls do with the two SIDs in the path.
func withNumberAndAddOn(do func(number, addOn string) error) adminHandler {
	return func(r *http.Request) (any, error) { return nil, do(r.PathValue("sid"), r.PathValue("addOn")) }
}

func (s *Sim) adminAddAccount(_ *http.Request, v AccountState) error {
	return s.addAccount(v.SID, v.Parent, v.AuthToken)
}

func (s *Sim) adminAssigned(r *http.Request) (any, error) {
	sids := s.Assigned(r.PathValue("sid"))
	if sids == nil {
		return nil, ErrNotFound
	}
	return sids, nil
}

func (s *Sim) adminCalls(r *http.Request) (any, error) {
	if r.URL.Query().Get("totals") == "true" {
		return s.CallTotals(), nil
	}
	return s.Calls(), nil
}

func (s *Sim) adminJournal(r *http.Request) (any, error) {
	after, err := strconv.ParseInt(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("after: %w", err)
	}
	return s.JournalAfter(after), nil
}

func (s *Sim) adminPutBehaviour(r *http.Request) (any, error) {
	b := DefaultBehaviour()
	if err := decodeAdmin(r, &b); err != nil {
		return nil, err
	}
	return nil, s.SetBehaviour(b)
}

func (s *Sim) adminPatchBehaviour(r *http.Request) (any, error) {
	var patch json.RawMessage
	if err := decodeAdmin(r, &patch); err != nil {
		return nil, err
	}
	if err := strictUnmarshal(patch, new(Behaviour)); err != nil {
		return nil, err
	}
	return nil, s.UpdateBehaviour(func(b *Behaviour) { _ = json.Unmarshal(patch, b) }) // Checked above.
}

func (s *Sim) adminRemoveFault(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || !s.RemoveFault(id) {
		return nil, ErrNotFound
	}
	return nil, nil
}

// decodeAdmin decodes a JSON body. An unknown field is an error, so that a typo is noticed.
func decodeAdmin(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return strictUnmarshal(body, v)
}

func strictUnmarshal(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode body: %w", err)
	}
	return nil
}

// adminError is the body of an error of the admin API.
type adminError struct {
	Error string `json:"error"`
}

func writeAdmin(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case errors.Is(err, ErrNotFound):
		w.WriteHeader(http.StatusNotFound)
		out = adminError{err.Error()}
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
		out = adminError{err.Error()}
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(w).Encode(out) // The client may have disconnected.
}

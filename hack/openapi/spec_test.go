// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

const dirVariable = "TWILIO_OPENAPI_DIR"

// howToGet explains how to get the specification.
const howToGet = dirVariable + ` must be a folder with twilio_api_v2010.json and twilio_marketplace_v1.json
(or stricter versions named *.strict.json). Twilio publishes them in https://github.com/twilio/twilio-oai:

    git clone --depth 1 https://github.com/twilio/twilio-oai /tmp/twilio-oai
    export ` + dirVariable + `=/tmp/twilio-oai/spec/json`

const rfc2822 = `^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} \+0000$`

// loadSpec reads a file of Twilio's specification and tightens it. It drops the paths that keep
// does not select.
func loadSpec(t *testing.T, name string, keep func(path string) bool) *openapi3.T {
	t.Helper()
	dir := os.Getenv(dirVariable)
	if dir == "" {
		t.Fatal(howToGet)
	}
	file := filepath.Join(dir, name+".strict.json")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		file = filepath.Join(dir, name+".json")
	}
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, howToGet)
	}
	for path, item := range doc.Paths.Map() {
		if !keep(path) {
			doc.Paths.Delete(path)
			continue
		}
		item.Servers = nil
		tightenPath(item)
	}
	for schema, ref := range doc.Components.Schemas {
		tighten(ref.Value, schema, map[*openapi3.Schema]bool{})
	}
	return doc
}

// required lists the fields that Twilio's examples always have, by the suffix of the schema name.
var required = map[string][]string{
	".incoming_phone_number": {"sid", "account_sid", "phone_number", "friendly_name", "capabilities", "status", "uri"},
	".incoming_phone_number_assigned_add_on": {"sid", "account_sid", "resource_sid", "friendly_name", "description",
		"configuration", "unique_name", "date_created", "date_updated", "uri", "subresource_uris"},
	".incoming_phone_number_assigned_add_on_extension": {"sid", "account_sid", "resource_sid", "assigned_add_on_sid",
		"friendly_name", "product_name", "unique_name", "enabled", "uri"},
	".installed_add_on": {"sid", "account_sid", "friendly_name", "description", "configuration", "unique_name",
		"date_created", "date_updated", "url", "links"},
	".installed_add_on_extension": {"sid", "installed_add_on_sid", "friendly_name", "product_name", "unique_name",
		"enabled", "url"},
}

// tighten adds what Twilio's examples show to a schema and its nested schemas.
func tighten(s *openapi3.Schema, name string, seen map[*openapi3.Schema]bool) {
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	for suffix, fields := range required {
		if strings.HasSuffix(name, suffix) {
			s.Required = fields
		}
	}
	if s.Format == "date-time-rfc-2822" {
		s.Format, s.Pattern = "", rfc2822
	}
	for field, ref := range s.Properties {
		loosenEmptySID(ref.Value, name, field)
		tighten(ref.Value, name+"/"+field, seen)
	}
	if s.Items != nil {
		tighten(s.Items.Value, name+"[]", seen)
	}
}

// loosenEmptySID allows "" for SIDs that a number may not have, as in Twilio's examples.
func loosenEmptySID(s *openapi3.Schema, schema, field string) {
	own := field == "sid" || field == "account_sid"
	if !strings.HasSuffix(schema, ".incoming_phone_number") || own || s.MinLength != 34 {
		return
	}
	s.MinLength, s.Pattern = 0, "^("+strings.Trim(s.Pattern, "^$")+")?$"
}

// tightenPath requires every paging field of a list, and adds the error answers.
func tightenPath(item *openapi3.PathItem) {
	for _, op := range item.Operations() {
		for _, ref := range op.Responses.Map() {
			requireEnvelope(ref.Value)
		}
		for _, status := range []int{400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504} {
			if op.Responses.Status(status) == nil {
				op.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Value: errorResponse()})
			}
		}
		if body := op.RequestBody; body != nil && op.OperationID == "CreateIncomingPhoneNumberAssignedAddOn" {
			body.Value.Required = true
		}
	}
}

func requireEnvelope(r *openapi3.Response) {
	media := r.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		return
	}
	s := media.Schema.Value
	_, api := s.Properties["next_page_uri"]
	meta, marketplace := s.Properties["meta"]
	if api || marketplace {
		s.Required = sortedKeys(s.Properties)
	}
	if marketplace {
		meta.Value.Required = sortedKeys(meta.Value.Properties)
	}
	tighten(s, "", map[*openapi3.Schema]bool{})
}

// errorResponse describes the body of an error, which the published specification lacks.
func errorResponse() *openapi3.Response {
	s := openapi3.NewObjectSchema().
		WithProperty("code", openapi3.NewIntegerSchema().WithMin(10000).WithMax(99999)).
		WithProperty("message", openapi3.NewStringSchema().WithMinLength(1)).
		WithProperty("more_info", openapi3.NewStringSchema().WithPattern("^https://www.twilio.com/docs/errors/[0-9]{5}$")).
		WithProperty("status", openapi3.NewIntegerSchema().WithMin(400).WithMax(599))
	s.Required = []string{"code", "message", "more_info", "status"}
	return openapi3.NewResponse().WithDescription("error").WithJSONSchema(s)
}

func sortedKeys(m openapi3.Schemas) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

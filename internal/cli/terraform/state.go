// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package terraform reads the assignments that Terraform manages from its state, and
// writes the blocks that let Terraform forget them without removing them. It is pure.
//
// Two forms of state are read: the file itself (version 4: terraform.tfstate, or what
// "terraform state pull" prints) and the output of "terraform show -json".
package terraform

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ResourceType is the type of an assignment in the official provider.
const ResourceType = "twilio_api_accounts_incoming_phone_numbers_assigned_add_ons"

// Assignment is one instance in the state.
type Assignment struct {
	// Address is the instance's, with the keys of count and for_each.
	Address string
	// Resource is the address without any key.
	Resource string
	// NumberSID and AddOnSID are what is assigned to what.
	NumberSID, AddOnSID string
	// AccountSID is "" where the state leaves it to the provider's configuration.
	AccountSID string
}

// attributes are those of the resource that matter here. After an import the provider
// leaves installed_add_on_sid null; sid has the same value then.
type attributes struct {
	ID                string  `json:"id"`
	SID               *string `json:"sid"`
	ResourceSID       *string `json:"resource_sid"`
	InstalledAddOnSID *string `json:"installed_add_on_sid"`
	PathAccountSID    *string `json:"path_account_sid"`
}

// Read returns the assignments in a state of either form, by address. A state without
// any is not an error. The text of an error shows no value of the state, which may hold
// secrets.
func Read(data []byte) ([]Assignment, error) {
	var form struct {
		Version       *int            `json:"version"`
		FormatVersion *string         `json:"format_version"`
		Values        json.RawMessage `json:"values"`
		Resources     json.RawMessage `json:"resources"`
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, errors.New("the file is no JSON: give a state file of version 4 or the output of \"terraform show -json\"")
	}
	var found []Assignment
	var err error
	switch {
	case form.FormatVersion != nil:
		if !strings.HasPrefix(*form.FormatVersion, "0.") && !strings.HasPrefix(*form.FormatVersion, "1.") {
			return nil, errors.New("the output of \"terraform show -json\" has a format that is not known: format_version is neither 0.x nor 1.x")
		}
		found, err = readShown(form.Values)
	case form.Version != nil && *form.Version == 4:
		found, err = readRaw(form.Resources)
	case form.Version != nil:
		return nil, fmt.Errorf("the state has version %d: \"terraform state pull\" with Terraform 0.12 or newer prints version 4", *form.Version)
	default:
		return nil, errors.New("the file is neither a state file nor the output of \"terraform show -json\"")
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Assignment) int { return cmp.Compare(a.Address, b.Address) })
	return found, nil
}

type rawResource struct {
	Module    string `json:"module"`
	Mode      string `json:"mode"`
	Type      string `json:"type"`
	Name      string `json:"name"`
	Instances []struct {
		IndexKey   json.RawMessage `json:"index_key"`
		Deposed    string          `json:"deposed"`
		Attributes json.RawMessage `json:"attributes"`
	} `json:"instances"`
}

// readRaw reads the resources of a state file. A deposed instance is one that Terraform
// has replaced and is about to destroy: it is not the resource any more.
func readRaw(data json.RawMessage) ([]Assignment, error) {
	var resources []rawResource
	if len(data) > 0 {
		if err := json.Unmarshal(data, &resources); err != nil {
			return nil, errors.New("the state's resources have a form that is not known")
		}
	}
	var found []Assignment
	for _, r := range resources {
		if r.Mode != "managed" || r.Type != ResourceType {
			continue
		}
		address := join(r.Module, r.Type+"."+r.Name)
		for _, instance := range r.Instances {
			if instance.Deposed != "" {
				continue
			}
			a, err := parse(address+key(instance.IndexKey), instance.Attributes)
			if err != nil {
				return nil, err
			}
			found = append(found, a)
		}
	}
	return found, nil
}

type shownModule struct {
	Resources []struct {
		Address    string          `json:"address"`
		Mode       string          `json:"mode"`
		Type       string          `json:"type"`
		DeposedKey string          `json:"deposed_key"`
		Values     json.RawMessage `json:"values"`
	} `json:"resources"`
	ChildModules []shownModule `json:"child_modules"`
}

func readShown(data json.RawMessage) ([]Assignment, error) {
	var values struct {
		RootModule shownModule `json:"root_module"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &values); err != nil {
			return nil, errors.New("the values of \"terraform show -json\" have a form that is not known")
		}
	}
	return values.RootModule.assignments()
}

func (m *shownModule) assignments() ([]Assignment, error) {
	var found []Assignment
	for _, r := range m.Resources {
		if r.Mode != "managed" || r.Type != ResourceType || r.DeposedKey != "" {
			continue
		}
		a, err := parse(r.Address, r.Values)
		if err != nil {
			return nil, err
		}
		found = append(found, a)
	}
	for i := range m.ChildModules {
		below, err := m.ChildModules[i].assignments()
		if err != nil {
			return nil, err
		}
		found = append(found, below...)
	}
	return found, nil
}

// key is an instance's key as an address has it: [0], ["blue"], or nothing.
func key(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	return "[" + string(raw) + "]"
}

func join(module, resource string) string {
	if module == "" {
		return resource
	}
	return module + "." + resource
}

var (
	numberSID  = regexp.MustCompile(`^PN[0-9a-fA-F]{32}$`)
	addOnSID   = regexp.MustCompile(`^XE[0-9a-fA-F]{32}$`)
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
)

// parse takes each SID from the attribute that is meant to have it, or from the id, which
// is the number's SID and the add-on's with a slash between them.
func parse(address string, data json.RawMessage) (Assignment, error) {
	var a attributes
	if err := json.Unmarshal(data, &a); err != nil {
		return Assignment{}, fmt.Errorf("%s has attributes of a form that is not known", address)
	}
	idNumber, idAddOn, _ := strings.Cut(a.ID, "/")
	out := Assignment{
		Address:    address,
		Resource:   withoutKeys(address),
		NumberSID:  cmp.Or(text(a.ResourceSID), idNumber),
		AddOnSID:   cmp.Or(text(a.InstalledAddOnSID), text(a.SID), idAddOn),
		AccountSID: text(a.PathAccountSID),
	}
	switch {
	case !numberSID.MatchString(out.NumberSID):
		return Assignment{}, fmt.Errorf("%s names no phone number: neither resource_sid nor id has a SID that begins with PN", address)
	case !addOnSID.MatchString(out.AddOnSID):
		return Assignment{}, fmt.Errorf("%s names no add-on: none of installed_add_on_sid, sid and id has a SID that begins with XE", address)
	case out.AccountSID != "" && !accountSID.MatchString(out.AccountSID):
		return Assignment{}, fmt.Errorf("%s has a path_account_sid that is no account SID", address)
	}
	return out, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// withoutKeys drops the keys of count and for_each from an address. A key in quotes may
// itself hold brackets, dots and escaped quotes.
func withoutKeys(address string) string {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(address); i++ {
		c := address[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			depth++
		case c == ']':
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

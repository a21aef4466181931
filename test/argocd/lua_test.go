// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argocd runs the health checks and actions of config/argocd on Argo CD's Lua engine, with
// the same restrictions.
package argocd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

const (
	root = "../.."
	pack = root + "/config/argocd"
	// group is the folder of the operator's kinds in Argo CD's layout.
	group = pack + "/resource_customizations/addons.twilio-operator.dev"
)

// run runs a script as Argo CD runs one from argocd-cm. The object is the global obj. The libraries
// are base, table, package, and of os only date and time. The script must end within a second.
func run(ctx context.Context, script string, object map[string]any) (lua.LValue, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	open := func(name string, library lua.LGFunction) error {
		return l.CallByParam(lua.P{Fn: l.NewFunction(library), Protect: true}, lua.LString(name))
	}
	for name, library := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := open(name, library); err != nil {
			return nil, err
		}
	}
	l.PreloadModule(lua.OsLibName, safeOS)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", toLua(l, object))
	if err := l.DoString(script); err != nil {
		return nil, err
	}
	return l.Get(-1), nil
}

// safeOS is the part of the library os that Argo CD allows.
func safeOS(l *lua.LState) int {
	scratch := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer scratch.Close()
	if err := scratch.CallByParam(lua.P{Fn: scratch.NewFunction(lua.OpenOs), Protect: true}, lua.LString(lua.OsLibName)); err != nil {
		l.RaiseError("opening os: %v", err)
	}
	module := l.NewTable()
	for _, name := range []string{"date", "time"} {
		function, ok := scratch.GetField(scratch.GetGlobal(lua.OsLibName), name).(*lua.LFunction)
		if !ok {
			l.RaiseError("os has no %s", name)
		}
		module.RawSetString(name, l.NewFunction(function.GFunction))
	}
	l.Push(module)
	return 1
}

// toLua converts a value decoded from JSON or YAML.
func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		table := l.CreateTable(len(v), 0)
		for _, item := range v {
			table.Append(toLua(l, item))
		}
		return table
	case map[string]any:
		table := l.CreateTable(0, len(v))
		for key, item := range v {
			table.RawSetString(key, toLua(l, item))
		}
		return table
	}
	return lua.LNil
}

// fromLua converts back. Like Argo CD's encoder, it makes an empty table an empty list.
func fromLua(value lua.LValue) (any, error) {
	switch v := value.(type) {
	case lua.LBool:
		return bool(v), nil
	case lua.LNumber:
		return float64(v), nil
	case lua.LString:
		return string(v), nil
	case *lua.LNilType:
		return nil, nil
	case *lua.LTable:
		return fromTable(v)
	}
	return nil, fmt.Errorf("a %s cannot be encoded", value.Type())
}

func fromTable(table *lua.LTable) (any, error) {
	list, object := []any{}, map[string]any{}
	var err error
	table.ForEach(func(key, value lua.LValue) {
		item, itemErr := fromLua(value)
		if itemErr != nil {
			err = itemErr
		}
		switch k := key.(type) {
		case lua.LNumber:
			list = append(list, item)
		case lua.LString:
			object[string(k)] = item
		default:
			err = fmt.Errorf("a %s is no key", key.Type())
		}
	})
	switch {
	case err != nil:
		return nil, err
	case len(list) > 0 && len(object) > 0:
		return nil, fmt.Errorf("a table is both a list and an object: %v", object)
	case len(object) > 0:
		return object, nil
	}
	return list, nil
}

// runFile runs a script on an object in a file. The script returns a table.
func runFile(t *testing.T, script, object string) any {
	t.Helper()
	value, err := run(t.Context(), read(t, script), readObject(t, object))
	if err != nil {
		t.Fatalf("%s on %s: %v", script, object, err)
	}
	if value.Type() != lua.LTTable {
		t.Fatalf("%s on %s returns a %s", script, object, value.Type())
	}
	result, err := fromLua(value)
	if err != nil {
		t.Fatalf("%s on %s: %v", script, object, err)
	}
	return result
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func readObject(t *testing.T, path string) map[string]any {
	t.Helper()
	var object map[string]any
	readYAML(t, path, &object)
	return object
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// readLoosely reads a file and ignores fields that the target lacks.
func readLoosely(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// kinds returns the folders of the operator's kinds.
func kinds(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob(group + "/*")
	if err != nil || len(folders) != 2 {
		t.Fatalf("%s has the folders %v, want one for each kind: %v", group, folders, err)
	}
	return folders
}

// The sandbox allows no more than Argo CD's.
func TestRestrictions(t *testing.T) {
	for _, script := range []string{
		`return {string.format("%s", "x")}`, `return {("x"):upper()}`, `return {math.floor(1.5)}`, `return {io.open("/etc/passwd")}`,
		`return {os.date()}`, `return {require("os").getenv("HOME")}`, `return {require("os").exit()}`, `while true do end`,
	} {
		if value, err := run(t.Context(), script, nil); err == nil {
			t.Errorf("%s is admitted, and returns a %s", script, value.Type())
		}
	}
	if _, err := run(t.Context(), `return {require("os").date("!%Y"), require("os").time(), table.concat({"a"})}`, nil); err != nil {
		t.Error(err)
	}
}

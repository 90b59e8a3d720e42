// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gateway/hook"
)

// TestDoctorMissesNoEntryOfAnyHost changes each entry of each host's file in each way that lets calls pass.
func TestDoctorMissesNoEntryOfAnyHost(t *testing.T) {
	const want = "/opt/sallyport/bin/sallyport --data /var/sallyport hook "
	each := func(list any, fn func(handler map[string]any)) any {
		for _, e := range list.([]any) {
			e := e.(map[string]any)
			if inner, ok := e["hooks"].([]any); ok {
				fn(inner[0].(map[string]any))
			} else {
				fn(e)
			}
		}
		return list
	}
	put := func(name string, v any) func(*hostFile, map[string]any, string) bool {
		return func(_ *hostFile, hooks map[string]any, event string) bool {
			hooks[event] = each(hooks[event], func(h map[string]any) { h[name] = v })
			return true
		}
	}
	command := func(old, now string) func(*hostFile, map[string]any, string) bool {
		return func(_ *hostFile, hooks map[string]any, event string) bool {
			hooks[event] = each(hooks[event], func(h map[string]any) { h["command"] = strings.Replace(h["command"].(string), old, now, 1) })
			return true
		}
	}
	changes := map[string]func(f *hostFile, hooks map[string]any, event string) bool{ // false: the host has no such thing
		"removed":       func(_ *hostFile, hooks map[string]any, event string) bool { delete(hooks, event); return true },
		"an empty list": func(_ *hostFile, hooks map[string]any, event string) bool { hooks[event] = []any{}; return true },
		"no list":       func(_ *hostFile, hooks map[string]any, event string) bool { hooks[event] = "x"; return true },
		"mistyped event": func(_ *hostFile, h map[string]any, event string) bool {
			h[event+"s"] = h[event]
			delete(h, event)
			return true
		},
		"another case": func(_ *hostFile, h map[string]any, event string) bool {
			h[strings.ToUpper(event)] = h[event]
			delete(h, event)
			return true
		},
		"mistyped program":          command("/sallyport --data", "/salyport --data"),
		"mistyped host":             command("hook ", "hook x"),
		"continues when it fails":   command("|| exit 2", "|| true"),
		"continues when it is gone": command(" || exit 2", ""),
		"another data directory":    command("/var/sallyport", "/tmp/other"),
		"never run":                 put("if", "Bash(never)"),
		"beside the call":           put("async", true),
		"a matcher for some": func(_ *hostFile, hooks map[string]any, event string) bool {
			for _, e := range hooks[event].([]any) {
				e.(map[string]any)["matcher"] = "Write"
			}
			return true
		},
		"a type that nobody knows": func(f *hostFile, hooks map[string]any, event string) bool {
			return f.host != hook.Cursor && put("type", "prompt")(f, hooks, event)
		},
		"too short a time": func(f *hostFile, hooks map[string]any, event string) bool {
			return f.host != hook.Cursor && put("timeout", 1)(f, hooks, event)
		},
		"the host's own switch": func(f *hostFile, hooks map[string]any, event string) bool {
			switch {
			case f.host == hook.ClaudeCode && mustBlock(f.host, event):
				return put("onFailure", "continue")(f, hooks, event)
			case f.host == hook.Cursor && mustBlock(f.host, event):
				return put("failClosed", false)(f, hooks, event)
			}
			return false
		},
	}
	for _, f := range hostFiles {
		line := want + string(f.host) + " || exit 2"
		whole, err := f.with(nil, line)
		if err != nil {
			t.Fatal(err)
		}
		if bad := badOf(f, whole, line); len(bad) > 0 {
			t.Fatalf("%s: as installed: %v", f.host, bad)
		}
		tried := 0
		for _, event := range f.events {
			for name, change := range changes {
				var doc map[string]any
				if err := json.Unmarshal(whole, &doc); err != nil {
					t.Fatal(err)
				}
				if !change(f, doc["hooks"].(map[string]any), event) {
					continue
				}
				b, err := json.Marshal(doc, json.Deterministic(true))
				if err != nil {
					t.Fatal(err)
				}
				tried++
				if bad := badOf(f, b, line); len(bad) == 0 {
					t.Errorf("%s: %s, %s: the doctor finds nothing", f.host, event, name)
				} else if !strings.Contains(strings.Join(bad, "\n"), event) {
					t.Errorf("%s: %s, %s: the doctor names other things: %v", f.host, event, name, bad)
				}
			}
		}
		if tried < 12*len(f.events) {
			t.Errorf("%s: %d changes were tried", f.host, tried)
		}
	}
}

// badOf is what the doctor finds in a file.
func badOf(f *hostFile, b []byte, line string) (bad []string) {
	d := &hookDiagnosis{Host: f.host, Path: "/nowhere/settings.json"}
	f.look(d, b, line)
	for _, x := range d.Findings {
		if !x.OK {
			bad = append(bad, fmt.Sprintf("%s: %s", x.Check, x.Why))
		}
	}
	return bad
}

// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

// clients are the providers' own, as test/llm/install.sh leaves them.
func clients(t *testing.T) map[string][]string {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(root, ".cache")
	node, modules := filepath.Join(cache, "node", "node_modules", "node", "bin", "node"), filepath.Join(cache, "llm", "node_modules")
	python, packages := filepath.Join(cache, "sdk-python", "venv", "bin", "python"), filepath.Join(cache, "llm", "python")
	for _, f := range []string{node, filepath.Join(modules, "openai"), python, filepath.Join(packages, "anthropic")} {
		if _, err := os.Stat(f); err != nil {
			t.Skip("the providers' clients are not installed; test/llm/install.sh does it")
		}
	}
	here := filepath.Join(root, "test", "llm")
	return map[string][]string{
		"node":   {"PATH=" + os.Getenv("PATH"), node, filepath.Join(here, "client.mjs"), modules},
		"python": {"PYTHONPATH=" + packages, python, filepath.Join(here, "client.py"), ""},
	}
}

// ours is what stands behind the provider's id of a call that we let through.
var ours = regexp.MustCompile(`_sp[A-Z2-7]{26}`)

// TestProvidersClientsUnderstand has the official clients read answers out of which calls were taken.
func TestProvidersClientsUnderstand(t *testing.T) {
	b := start(t, func(cfg *enforce.Config) {
		cfg.Decider = enforcetest.Policy(func(q *action.Query) (action.Decision, error) {
			if q.Action.Name == "llm/feature" {
				return enforcetest.Rule(action.Deny, "test.deny"), nil
			}
			return names(q)
		})
	})
	all := []string{"chat", "chat stream", "responses", "responses stream", "messages", "messages stream"}
	for name, cmd := range clients(t) {
		for _, c := range []struct {
			name  string
			parts []part
			forms []string
			want  map[string]string // by the first word of the form; "" is for all
		}{
			{"text alone", []part{{text: "The answer is B."}}, all, map[string]string{
				"chat": `"The answer is B." stop []`, "responses": `"The answer is B." completed []`, "messages": `"The answer is B." end_turn []`}},
			{"permitted calls", []part{{text: "Hm."}, {id: "c1", name: "read_it", args: `{"a":"ü"}`}, {id: "c2", name: "read_it", args: `{}`}}, all, map[string]string{
				"chat": `"Hm." tool_calls [["c1","read_it",{"a":"ü"}],["c2","read_it",{}]]`, "responses": `"Hm." completed [["c1","read_it",{"a":"ü"}],["c2","read_it",{}]]`,
				"messages": `"Hm." tool_use [["c1","read_it",{"a":"ü"}],["c2","read_it",{}]]`}},
			{"all calls refused", []part{{id: "c1", name: "deny_it", args: `{"a":1}`}}, all, map[string]string{
				"chat": `"[sallyport] The call of deny_it was not permitted. This call is not permitted." stop []`, "responses": `"[sallyport] The call of deny_it was not permitted. This call is not permitted." completed []`,
				"messages": `"[sallyport] The call of deny_it was not permitted. This call is not permitted." end_turn []`}},
			{"one refused, one changed, one kept", []part{{id: "c1", name: "deny_it", args: `{"a":1}`}, {id: "c2", name: "change_it", args: `{"a":"x"}`}, {id: "c3", name: "read_it", args: `{"a":2}`}}, all, map[string]string{
				"": `"[sallyport] The call of deny_it was not permitted. This call is not permitted." * [["c2","change_it",{"a":"changed"}],["c3","read_it",{"a":2}]]`}},
			{"a request that may not leave", []part{{text: "x"}}, []string{"feature chat", "feature responses", "feature messages"}, map[string]string{"": `PermissionDeniedError 403`}},
		} {
			b.up.say(c.parts...)
			for form, got := range heardBy(t, cmd, b.URL, c.forms) {
				got = ours.ReplaceAllString(got, "")
				first, _, _ := strings.Cut(form, " ")
				want := c.want[first]
				if want == "" {
					want = c.want[""]
				}
				before, after, star := strings.Cut(want, " * ")
				if got != want && !(star && strings.HasPrefix(got, before) && strings.HasSuffix(got, after)) {
					t.Errorf("%s, %s, %s: %s instead of %s", name, c.name, form, got, want)
				}
			}
		}
	}
}

func heardBy(t *testing.T, cmd []string, url string, forms []string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := []string{cmd[2], url, "agent"}
	if cmd[3] != "" {
		args = append(args, cmd[3])
	}
	run := exec.CommandContext(ctx, cmd[1], append(args, forms...)...)
	run.Env = []string{cmd[0], "HOME=" + t.TempDir(), "LANG=C.UTF-8"}
	var faults bytes.Buffer
	run.Stderr = &faults
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", run.Args, err, faults.String())
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		var v struct {
			Form, Text, Finish, Error string
			Status                    int
			Calls                     []any
		}
		if err := json.Unmarshal([]byte(line), &v, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err, line)
		}
		got[v.Form] = js(v.Text) + " " + v.Finish + " " + js(v.Calls)
		if v.Error != "" {
			got[v.Form] = v.Error + " " + js(v.Status)
		}
	}
	if len(got) != len(forms) {
		t.Fatalf("%s\n%s", out, faults.String())
	}
	return got
}

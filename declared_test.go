// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	policybundle "github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/tools"
)

const chains = `version: 1
rules:
  - {id: chain.notes, title: Two notes in an hour., within: 1h, steps: [{tool: [notes/read_note], count: 2}]}
`

// What a bundle says of tools and of chains of actions holds from its activation, is recorded with it, survives a restart, and
// ends with the next bundle that does not say it. No restart is needed for any of it.
func TestToolsAndChainsOfABundleHoldFromItsActivation(t *testing.T) {
	h := guarded(t, "")
	running(t, h)
	h.server("notes", readTool, strings.Replace(readTool, "read_note", "read_log", 1))
	put := func(sequence int, more map[string]string) {
		t.Helper()
		f := swapFiles(sequence)
		maps.Copy(f, more)
		if _, err := h.ActivatePolicy(t.Context(), signed(t, f, both...), "test", "ann", false); err != nil {
			t.Fatal(err)
		}
	}
	sub, sess := h.agent("bot", "/work")
	try := func(tool string) action.Verdict {
		t.Helper()
		got, _, err := h.Enforcer.Do(t.Context(), attempt(sub, sess, "notes", tool, `{"name":"n"}`),
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"a note"`)}, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return got.Verdict
	}
	alerts := func() []string {
		t.Helper()
		return h.stated(sub, sess, "notes/read_note", h.Ledger.Now().UnixMilli()).Alerts
	}
	if got := try("read_note"); got != action.Allow {
		t.Fatalf("a read is %s", got)
	}
	with := map[string]string{
		"tools/notes.yaml":        "name: our-notes\ndescription: Ours.\ntransport: stdio\ntools: {read_log: {effect: destroy, pins: [" + shape(t, strings.Replace(readTool, "read_note", "read_log", 1)) + "]}}\n",
		"monitor/chains.yaml":     chains,
		"flow/notes.yaml":         "version: 1\noutputs: [{server: notes, tool: read_note, fields: [{pointer: /id, class: own_record}]}]\n",
		policybundle.ManifestFile: "version: 1\nname: swap\nsequence: 4\nexpires: 2090-01-01T00:00:00Z\ntools:\n- {tool: notes/read_note, effect: write}\n",
	}
	put(4, with)
	// Sequence 4 allows writes and denies what destroys.
	if got := try("read_log"); got != action.Deny {
		t.Errorf("a tool that the bundle's pack says destroys is %s", got)
	}
	if p, err := h.Tools.Get("default", "notes", "read_note"); err != nil || p.Effect != action.EffectWrite || p.Source != action.EffectDeclared {
		t.Errorf("%v: the manifest's tool has the effect %s (%s)", err, p.Effect, p.Source)
	}
	try("read_note")
	if got := alerts(); !slices.Contains(got, "chain.notes") {
		t.Errorf("the chain is not found: %q", got)
	}
	h.stop()
	h.start()
	running(t, h)
	if p, err := h.Tools.Get("default", "notes", "read_note"); err != nil || p.Effect != action.EffectWrite {
		t.Errorf("%v: after a restart it has the effect %s", err, p.Effect)
	}
	if got := alerts(); !slices.Contains(got, "chain.notes") {
		t.Errorf("after a restart the chain is not found: %q", got)
	}
	put(6, nil)
	if got := try("read_log"); got != action.Allow {
		t.Errorf("after the bundle without packs the tool is %s", got)
	}
	if got := alerts(); slices.Contains(got, "chain.notes") {
		t.Errorf("after the bundle without chains: %q", got)
	}
	h.chainsOnRecord(t)
}

// chainsOnRecord looks for what the two activations said of chains.
func (h *house) chainsOnRecord(t *testing.T) {
	t.Helper()
	var said []string
	err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind != action.KindPolicy || e.Leaf.Codes[0] != "policy.activated" {
			return nil
		}
		detail, err := e.Open(action.PartDetail)
		if _, rest, ok := strings.Cut(string(detail), `"chains":`); ok {
			text, _, _ := strings.Cut(rest, "}")
			said = append(said, text)
		}
		return err
	})
	if err != nil || len(said) != 2 || !strings.Contains(said[0], `"anew":["chain.notes"]`) || !strings.Contains(said[1], `"ended":["chain.notes"]`) {
		t.Errorf("%v: on record are %q", err, said)
	}
}

// shape is what a pack pins a definition by.
func shape(t *testing.T, raw string) string {
	t.Helper()
	d, err := tools.ReadDefinition([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return d.Shape()
}

// A start holds Cedar policies against the tools that it knows, wherever they come from.
func TestStartRefusesCedarThatErrsOnAnApprovedTool(t *testing.T) {
	dir := t.TempDir()
	write := func(condition string) {
		t.Helper()
		for name, text := range map[string]string{
			policybundle.ManifestFile: "version: 1\nname: typed\nsequence: 1\n",
			"typed.cedar": `@id("all") @code("c") @reason("R.") permit (principal, action, resource);
@id("notes") @code("c") @reason("R.") forbid (principal, action, resource == Tool::"notes/read_note") when { ` + condition + ` };
`,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	const good = `context.action.arguments has name && context.action.arguments.name == "secret"`
	write(good)
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = dir })
	h.server("notes", readTool)
	h.stop()
	for name, c := range map[string]struct{ condition, want string }{
		"an argument that need not be there": {`context.action.arguments.name == "secret"`, "safe form: context.action.arguments has name && ..."},
		"an argument of another type":        {`context.action.arguments has name && context.action.arguments.name > 3`, "notes/read_note"},
	} {
		write(c.condition)
		if s, err := sallyport.Open(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "typed.notes") {
			t.Errorf("%s: %v %v", name, s, err)
		}
	}
	write(good)
	h.start()
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/rego"
)

const (
	regoHead    = "package sallyport.p\n\nimport rego.v2\n\n"
	regoAllow   = regoHead + "allow contains {\"id\": \"ok\"} if input.phase == \"before\"\n"
	regoAsk     = regoHead + "ask contains {\"id\": \"who\", \"code\": \"c\", \"reason\": \"r\"} if input.phase == \"before\"\n"
	regoDeny    = regoHead + "deny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"r\"} if input.phase == \"before\"\n"
	regoSilent  = regoHead + "allow contains {\"id\": \"ok\"} if input.phase == \"after\"\n"
	cedarAllow  = "@id(\"ok\") permit (principal, action, resource);\n"
	cedarAsk    = cedarAllow + "@id(\"who\") @ask(\"operator\") @code(\"c\") @reason(\"r\") forbid (principal, action, resource);\n"
	cedarDeny   = cedarAllow + "@id(\"no\") @code(\"c\") @reason(\"r\") forbid (principal, action, resource);\n"
	cedarBroken = cedarAllow + "@id(\"bad\") @code(\"c\") @reason(\"r\") forbid (principal, action, resource) when { context.history.counters.day.value > 1 };\n"
	cedarSilent = "@id(\"no\") @code(\"c\") @reason(\"r\") forbid (principal, action, resource) when { false };\n"
)

// pack is a bundle of the given name and sequence.
func pack(name string, sequence int, files map[string]string) fstest.MapFS {
	out := fstest.MapFS{"sallyport-bundle.yaml": {Data: fmt.Appendf(nil, "version: 1\nname: %s\nsequence: %d\n", name, sequence)}}
	for n, data := range files {
		out[n] = &fstest.MapFile{Data: []byte(data)}
	}
	return out
}

func mustLoad(t *testing.T, fsys fstest.MapFS) *Compiled {
	t.Helper()
	c, err := LoadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecideTakesTheMostRestrictiveOfBothEngines(t *testing.T) {
	for _, c := range []struct {
		name, rego, cedar string
		want              action.Verdict
		by                string
	}{
		{"both allow", regoAllow, cedarAllow, action.Allow, "c.ok p.ok"},
		{"rego asks", regoAsk, cedarAllow, action.Ask, "p.who"},
		{"cedar asks", regoAllow, cedarAsk, action.Ask, "c.who"},
		{"both ask", regoAsk, cedarAsk, action.Ask, "c.who p.who"},
		{"rego denies", regoDeny, cedarAllow, action.Deny, "p.no"},
		{"cedar denies", regoAllow, cedarDeny, action.Deny, "c.no"},
		{"rego has nothing to say", regoSilent, cedarAllow, action.Deny, "default.rego"},
		{"cedar has nothing to say", regoAllow, cedarSilent, action.Deny, "default.cedar"},
		{"cedar errs", regoAllow, cedarBroken, action.Deny, "c.bad"},
		{"rego asks and cedar has nothing to say", regoAsk, cedarSilent, action.Deny, "default.cedar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := mustLoad(t, pack("x", 1, map[string]string{"p.rego": c.rego, "c.cedar": c.cedar})).Decide(context.Background(), action.NewQuery(action.Before))
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, m := range d.Deciding() {
				ids = append(ids, m.ID)
			}
			if by := strings.Join(ids, " "); d.Verdict != c.want || by != c.by || len(d.Engines) != 2 {
				t.Errorf("%s by %s of %d engines; want %s by %s", d.Verdict, by, len(d.Engines), c.want, c.by)
			}
		})
	}
}

// engine is an evaluator of a test's own making.
type engine func() (action.Decision, error)

func (e engine) Decide(context.Context, *action.Query) (action.Decision, error) { return e() }
func (e engine) Engine() action.Engine                                          { return action.Engine{Name: "own", Version: "1"} }
func (e engine) Rules() []string                                                { return nil }

func TestDecideDeniesForAnEngineThatFails(t *testing.T) {
	allow := engine(func() (action.Decision, error) { return action.Decision{Verdict: action.Allow}, nil })
	for name, c := range map[string]struct {
		engine engine
		err    bool
	}{
		"it panics":                    {func() (action.Decision, error) { panic("lost") }, false},
		"it errs":                      {func() (action.Decision, error) { return action.Decision{Verdict: action.Allow}, errors.New("lost") }, true},
		"it answers nothing":           {func() (action.Decision, error) { return action.Decision{}, nil }, false},
		"it answers something strange": {func() (action.Decision, error) { return action.Decision{Verdict: "ALLOW"}, nil }, false},
	} {
		for _, order := range [][]Evaluator{{c.engine}, {allow, c.engine}, {c.engine, allow}} {
			b := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoAllow}))
			under := &Compiled{source: b.source, bundle: b.bundle, evaluators: order}
			if d, err := under.Decide(context.Background(), action.NewQuery(action.Before)); d.Verdict != action.Deny || (err != nil) != c.err {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		}
	}
}

func TestDecideOfSeveralPacksUnitesThem(t *testing.T) {
	c := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoAllow,
		"q.rego": strings.ReplaceAll(regoDeny, "sallyport.p", "sallyport.q")}))
	d, err := c.Decide(context.Background(), action.NewQuery(action.Before))
	if err != nil || d.Verdict != action.Deny || len(d.Matches) != 2 || d.Matches[1].ID != "q.no" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestLoadRefusesTheWholeBundleForOneFile(t *testing.T) {
	good := map[string]string{"p.rego": regoAllow, "c.cedar": cedarAllow}
	for name, bad := range map[string][2]string{
		"a syntax error in Rego":      {"bad.rego", "package"},
		"a syntax error in Cedar":     {"bad.cedar", "permit"},
		"a parameter that is no such": {"params.yaml", "hsts: []"},
		"a file of no known kind":     {"bad.json", "{}"},
		"a built-in of the network":   {"bad.rego", regoHead + "allow contains {\"id\": \"z\"} if http.send({})"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &PDP{}
			old := mustLoad(t, pack("x", 1, good))
			p.active.Store(old)
			files := map[string]string{bad[0]: bad[1]}
			for n, d := range good {
				files[n] = d
			}
			c, err := LoadFS(pack("x", 2, files))
			if err == nil || c != nil || p.Activate(c) == nil {
				t.Fatalf("loaded: %v", err)
			}
			if p.Active() != old {
				t.Error("the last good bundle is gone")
			}
		})
	}
	if _, err := LoadFS(pack("x", 1, nil)); err == nil {
		t.Error("a bundle without a rule loads")
	}
	if _, err := Load(Config{Pack: "nothing"}); err == nil {
		t.Error("a pack that does not exist loads")
	}
	if _, err := Open(Config{Dir: filepath.Join(t.TempDir(), "nothing")}); err == nil {
		t.Error("a folder that does not exist loads")
	}
}

func TestActivateRefusesAnOlderSequence(t *testing.T) {
	p := &PDP{}
	p.active.Store(mustLoad(t, pack("x", 5, map[string]string{"p.rego": regoAllow})))
	if err := p.Activate(mustLoad(t, pack("x", 4, map[string]string{"p.rego": regoAllow}))); !errors.Is(err, ErrRollback) {
		t.Errorf("an older bundle: %v", err)
	}
	if err := p.Activate(nil); err == nil {
		t.Error("no bundle becomes active")
	}
	if got := p.Active().Bundle().Sequence; got != 5 {
		t.Errorf("sequence %d is active", got)
	}
	for _, c := range []*Compiled{mustLoad(t, pack("x", 6, map[string]string{"p.rego": regoDeny})), mustLoad(t, pack("y", 1, map[string]string{"p.rego": regoAllow}))} {
		if err := p.Activate(c); err != nil || p.Active() != c {
			t.Errorf("bundle %+v: %v", c.Bundle(), err)
		}
	}
}

// TestActivateUnderLoadNeverMixesBundles swaps two bundles of opposite verdict while others decide.
func TestActivateUnderLoadNeverMixesBundles(t *testing.T) {
	allow := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoAllow}))
	deny := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoDeny}))
	p := &PDP{}
	p.active.Store(allow)
	want := map[string]action.Verdict{allow.Bundle().Digest: action.Allow, deny.Bundle().Digest: action.Deny}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 300 {
				d, err := p.Decide(context.Background(), action.NewQuery(action.Before))
				if err != nil || want[d.Bundle.Digest] != d.Verdict {
					t.Errorf("%s under %q: %v", d.Verdict, d.Bundle.Digest, err)
					return
				}
			}
		})
	}
	for i := range 200 {
		if err := p.Activate([]*Compiled{allow, deny}[i%2]); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestDecideCarriesBundleAndMode(t *testing.T) {
	fsys := pack("x", 7, map[string]string{"p.rego": regoDeny})
	fsys["sallyport-bundle.yaml"].Data = append(fsys["sallyport-bundle.yaml"].Data, `expires: 2030-01-01T00:00:00Z
observe:
  - {agent: ci, tool: "*", until: 2029-01-01T00:00:00Z, reason: trial}
`...)
	c := mustLoad(t, fsys)
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Context.Time.UnixMilli = "ci", 1790000000000
	d, err := c.Decide(context.Background(), q)
	if err != nil || d.Mode != action.Observe || d.Verdict != action.Deny {
		t.Errorf("%+v, %v", d, err)
	}
	if b := d.Bundle; b.Name != "x" || b.Sequence != 7 || b.Expires != 1893456000000 || b != c.Bundle() {
		t.Errorf("bundle %+v", b)
	}
	q.Context.Time.UnixMilli = 1890000000000
	if d, _ := c.Decide(context.Background(), q); d.Mode != action.Enforce {
		t.Error("observing goes on after its end")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := c.Decide(ctx, q); err == nil || d.Verdict != action.Deny || d.Mode != action.Enforce || len(d.Matches) > 0 {
		t.Errorf("an ended context: %+v, %v", d, err)
	}
	if d, err := c.Decide(context.Background(), nil); err == nil || d.Verdict != action.Deny || d.Mode != action.Enforce {
		t.Errorf("no query: %+v, %v", d, err)
	}
}

func TestRedecideGivesTheSameDecision(t *testing.T) {
	c, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range benchQueries() {
		want, err := c.Decide(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		recorded, err := action.Canonical(q)
		if err != nil {
			t.Fatal(err)
		}
		back, err := action.ReadQuery(recorded)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.Redecide(context.Background(), back)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := action.Canonical(want)
		b, _ := action.Canonical(got)
		if string(a) != string(b) {
			t.Errorf("decided\n%s\nthen\n%s", a, b)
		}
	}
	q := action.NewQuery(action.Before)
	q.Version = "agent.v9"
	if d, err := c.Redecide(context.Background(), q); err == nil || d.Verdict != action.Deny {
		t.Errorf("an unknown version: %+v, %v", d, err)
	}
}

func TestParamsOfTheConfigReplaceThoseOfThePack(t *testing.T) {
	base, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(Config{Params: []byte("commands: [just]\n")})
	if err != nil {
		t.Fatal(err)
	}
	if c.Bundle().Digest == base.Bundle().Digest {
		t.Error("other parameters have the same digest")
	}
	q := benchQueries()[2]
	q.Action.Commands[0].Name, q.Action.Commands[0].Reviewed = "just", action.No
	q.Action.Arguments = []byte(`{"command":"just test ./..."}`)
	for want, c := range map[action.Verdict]*Compiled{action.Allow: c, action.Ask: base} {
		if d, err := c.Decide(context.Background(), q); err != nil || d.Verdict != want {
			t.Errorf("%s, %v; want %s", d.Verdict, err, want)
		}
	}
	if _, err := Load(Config{Params: []byte("comands: [just]\n")}); err == nil || !strings.Contains(err.Error(), `params.yaml:1: unknown key "comands" (nearest: "commands")`) {
		t.Errorf("a misspelt parameter: %v", err)
	}
}

func TestExplainTellsPeopleEverythingAndTheAgentLittle(t *testing.T) {
	c, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	q := benchQueries()[1]
	q.Action.Paths[0].Inside, q.Action.Paths[0].Resolved = action.No, "/etc/passwd"
	e, err := c.Explain(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"deny \"files/write\"", "baseline.write.outside", "[writes-outside, high]", "Writes or deletes outside every root", c.Bundle().Digest, "the agent is told: Write inside /w/app;"} {
		if !strings.Contains(e.Text, want) {
			t.Errorf("no %q in\n%s", want, e.Text)
		}
	}
	if h := e.Decision.Hint(); strings.Contains(h, "baseline") || strings.Contains(h, "write.outside") {
		t.Errorf("the hint names a rule: %q", h)
	}
}

func TestEvaluateDocumentIsApartFromDecisions(t *testing.T) {
	c := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoAllow, "d.rego": "package document.appraisal\nimport rego.v2\n\nlevel := 3 if input.ok\n"}))
	p := &PDP{}
	p.active.Store(c)
	if out, err := p.EvaluateDocument(context.Background(), "appraisal", map[string]bool{"ok": true}); err != nil || string(out) != `{"level":3}` {
		t.Errorf("%s, %v", out, err)
	}
	cedarOnly := mustLoad(t, pack("x", 1, map[string]string{"c.cedar": cedarAllow}))
	if _, err := cedarOnly.EvaluateDocument(context.Background(), "appraisal", nil); !errors.Is(err, rego.ErrNoDocument) {
		t.Errorf("a bundle without documents: %v", err)
	}
}

func TestTestDirRunsABundleOnDisk(t *testing.T) {
	for _, name := range policies.Names() {
		r, err := TestDir(context.Background(), filepath.Join("..", "policies", name))
		if err != nil || !r.Passed() || r.Cases == 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		embedded, err := Load(Config{Pack: name})
		if err != nil {
			t.Fatal(err)
		}
		if r.Bundle.Digest != embedded.Bundle().Digest {
			t.Errorf("%s: the embedded pack is %s, the one on disk %s", name, embedded.Bundle().Digest, r.Bundle.Digest)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sallyport-bundle.yaml"), []byte("version: 1\nname: x\nsequence: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := TestDir(context.Background(), dir); err == nil {
		t.Error("a bundle without a rule passes")
	}
}

func TestEveryPolicyIsADecider(t *testing.T) {
	onlyReads := "@id(\"reads\") permit (principal, action == Action::\"read\", resource);\n"
	read, payment := action.NewQuery(action.Before), action.NewQuery(action.Before)
	read.Action.Effect, payment.Action.Effect = action.EffectRead, action.EffectSpend
	open := func(cfg Config) *Compiled {
		c, err := Load(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, d := range map[string]enforce.Decider{
		"the embedded policy": open(Config{Pack: "baseline"}),
		"Cedar":               mustLoad(t, pack("x", 1, map[string]string{"c.cedar": onlyReads})),
		"both engines": mustLoad(t, pack("x", 1, map[string]string{"c.cedar": onlyReads,
			"p.rego": regoHead + "allow contains {\"id\": \"ok\"} if input.action.effect == \"read\"\n"})),
		"a policy written for OPA": open(Config{Dir: "testdata/opa/envoy"}),
		"what permits nothing":     mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoDeny})),
	} {
		t.Run(name, func(t *testing.T) { enforcetest.TestDecider(t, d, read, payment) })
	}
}

// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	policybundle "github.com/sallyport/sallyport/policy/bundle"
)

// doorFiles are a bundle for a door that answers everything with verdict.
func doorFiles(door, name, verdict string) map[string]string {
	at := "doors/" + door + "/"
	return map[string]string{
		at + policybundle.ManifestFile: "version: 1\nname: " + name + "\nsequence: 1\n",
		at + "door.rego": fmt.Sprintf("package sallyport.door\nimport rego.v2\n%s contains {\"id\": \"any\", \"code\": \"c\", \"reason\": \"R.\"} if input.phase == \"before\"\n"+
			"allow contains {\"id\": \"after\"} if input.phase == \"after\"\n", verdict),
		at + "tests/cases.yaml": "cases:\n  - name: before\n    expect: " + verdict + "\n    query: {phase: before}\n  - name: after\n    expect: allow\n    query: {phase: after}\n" +
			"  - name: neither\n    expect: deny\n    query: {phase: unknown}\n",
	}
}

func TestOtherPartsOfTheBundleAreActivatedWithIt(t *testing.T) {
	h := guarded(t, "")
	running(t, h)
	host := action.NewQuery(action.Before)
	host.Resource.Type, host.Subject.ID, host.Action.Effect = "host", "bot", action.EffectRead
	decided := func() action.Bundle {
		t.Helper()
		d, err := sallyport.DecideForTest(h.Sallyport, host)
		if err != nil {
			t.Fatal(err)
		}
		return d.Bundle
	}
	if got := decided(); got.Name != "egress" {
		t.Fatalf("before there is a bundle for the proxy, %v decides there", got)
	}
	put := func(sequence int, more ...map[string]string) error {
		f := swapFiles(sequence)
		for _, m := range more {
			for name, text := range m {
				f[name] = text
			}
		}
		_, err := h.ActivatePolicy(t.Context(), signed(t, f, both...), "test", "ann", false)
		return err
	}
	if err := put(4, doorFiles("egress", "proxy", "ask"), map[string]string{
		"flow/servers.yaml": "version: 1\nservers: [{server: crm, secrecy: secret, untrusted: \"yes\"}]\n"}); err != nil {
		t.Fatal(err)
	}
	if got := decided(); got.Name != "proxy" {
		t.Errorf("%v decides at the proxy", got)
	}
	if got := sallyport.DeclaredForTest(h.Sallyport, "crm"); got.Secrecy != action.SecrecySecret || got.Untrusted != action.Yes {
		t.Errorf("results of crm carry %+v", got)
	}
	if got := h.policyRecords(); !slices.Equal(got[len(got)-2:], []string{"policy.activated", "policy.activated"}) {
		t.Errorf("on record are %q", got)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a case of a door that fails":        {map[string]string{"doors/egress/tests/cases.yaml": "cases:\n  - name: x\n    expect: allow\n    query: {phase: before}\n  - name: y\n    expect: deny\n    query: {phase: unknown}\n"}, "cases fail"},
		"a rule of a door without a case":    {map[string]string{"doors/egress/more.rego": "package sallyport.more\nimport rego.v2\ndeny contains {\"id\": \"x\", \"code\": \"c\", \"reason\": \"R.\"} if input.subject.id == \"nobody\"\n"}, "fire in a case"},
		"a door that nobody knows":           {doorFiles("window", "view", "ask"), "there are policies of"},
		"a door with the bundle's own name":  {map[string]string{"doors/egress/" + policybundle.ManifestFile: "version: 1\nname: swap\nsequence: 1\n"}, "has the name"},
		"a door with an end of its own":      {map[string]string{"doors/egress/" + policybundle.ManifestFile: "version: 1\nname: proxy\nsequence: 1\nexpires: 2090-01-01T00:00:00Z\n"}, "stand in the bundle"},
		"labels that cannot be read":         {map[string]string{"flow/servers.yaml": "version: 1\nserver: []\n"}, "flow/servers.yaml"},
		"outputs with a mistyped class":      {map[string]string{"flow/out.yaml": "version: 1\noutputs: [{server: crm, tool: get, fields: [{pointer: /a, class: mine}]}]\n"}, "or no class"},
		"a tool pack that cannot be read":    {map[string]string{"tools/crm.yaml": "name: crm\n"}, "tools/crm.yaml"},
		"a pack for a host that is none":     {map[string]string{"tools/crm.yaml": "name: crm\ntransport: host\ntools: {a: {effect: read}}\n"}, "has the host's"},
		"a tool that stands twice":           {map[string]string{policybundle.ManifestFile: "version: 1\nname: swap\nsequence: 6\nexpires: 2090-01-01T00:00:00Z\ntools: [{tool: a/b, effect: read}, {tool: a/b, effect: write}]\n"}, "stands twice"},
		"tools of a door":                    {map[string]string{"doors/egress/" + policybundle.ManifestFile: "version: 1\nname: proxy\nsequence: 1\ntools: [{tool: a/b, effect: read}]\n"}, "stand in the bundle"},
		"labels with a mistyped class":       {map[string]string{"flow/servers.yaml": "version: 1\nservers: [{server: crm, secrecy: scret}]\n"}, "is no class"},
		"chains that cannot be read":         {map[string]string{"monitor/chains.yaml": "version: 2\n"}, "version 2"},
		"a constitution that cannot be read": {map[string]string{"constitution/house.yaml": "version: 1\n"}, "a name and 1 to"},
	} {
		if err := put(6, doorFiles("egress", "proxy", "ask"), c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := put(8); err != nil {
		t.Fatal(err)
	}
	if got := decided(); got.Name != "egress" {
		t.Errorf("after the bundle without one, %v decides at the proxy", got)
	}
	if got := sallyport.DeclaredForTest(h.Sallyport, "crm"); got.Secrecy != "" || got.Untrusted != "" {
		t.Errorf("results of crm carry %+v", got)
	}
}

func TestTrustRefusesWhatDecidesUnsigned(t *testing.T) {
	for key, change := range map[string]func(c *sallyport.Config){
		"egress.policy":   func(c *sallyport.Config) { c.Egress.Policy = "/x" },
		"postgres.policy": func(c *sallyport.Config) { c.Postgres.Policy = "/x" },
		"monitor.rules":   func(c *sallyport.Config) { c.Monitor.Rules = "trust.yaml" },
		"flow.outputs": func(c *sallyport.Config) {
			c.Flow.Outputs = []sallyport.FlowOutput{{Server: "crm", Tool: "t", Fields: []sallyport.FlowField{{Class: "label"}}}}
		},
		"flow.servers": func(c *sallyport.Config) { c.Flow.Servers = []sallyport.FlowServer{{Server: "crm"}} },
		"approval.judges": func(c *sallyport.Config) {
			c.Approval.Judges = []sallyport.JudgeConfig{{Name: "j", Constitution: "trust.yaml"}}
		},
	} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("trust.yaml", []byte(trustText("anna", "ben", "")), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := sallyport.DefaultConfig()
		cfg.Data, cfg.Policy.Trust = filepath.Join(t.TempDir(), "data"), "trust.yaml"
		change(&cfg)
		if s, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), key+" would decide unsigned") {
			t.Errorf("%s: %v %v", key, s, err)
		}
	}
}

// TestChangedSettingsDoNotStartUnderABundleThatNamesOthers changes the configuration behind the back of those who signed.
func TestChangedSettingsDoNotStartUnderABundleThatNamesOthers(t *testing.T) {
	dir := t.TempDir()
	trust := filepath.Join(dir, "trust.yaml")
	if err := os.WriteFile(trust, []byte(strings.Replace(trustText("anna", "ben", ""), "settings: any\n", "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Policy.Trust, cfg.Gateway.Listen, cfg.Admin.Listen = filepath.Join(dir, "data"), trust, "none", "none"
	start := func(change func(c *sallyport.Config), sequence int, named bool) error {
		t.Helper()
		c := cfg
		if change != nil {
			change(&c)
		}
		digest, err := c.SettingsDigest()
		if err != nil {
			t.Fatal(err)
		}
		f := swapFiles(sequence)
		if named {
			f[policybundle.ManifestFile] += "settings: " + digest + "\n"
		}
		c.Policy.Dir = filepath.Join(t.TempDir(), "swap")
		if err := signed(t, f, both...).Write(c.Policy.Dir); err != nil {
			t.Fatal(err)
		}
		s, err := sallyport.Open(t.Context(), c)
		if err != nil {
			return err
		}
		return s.Close()
	}
	alone := func(c *sallyport.Config) { c.Identity.SingleOperator = true }
	if err := start(nil, 2, false); err == nil || !strings.Contains(err.Error(), "asks each bundle to name them") {
		t.Errorf("a bundle that names no settings: %v", err)
	}
	if err := start(nil, 2, true); err != nil {
		t.Fatal(err)
	}
	if err := start(alone, 2, true); err == nil || !strings.Contains(err.Error(), "approved for other settings") {
		t.Errorf("a setting that was changed alone: %v", err)
	}
	if err := start(alone, 4, true); err != nil {
		t.Errorf("a setting that was changed with a newer bundle: %v", err)
	}
	if err := start(nil, 4, true); err == nil {
		t.Error("the old settings hold again without a bundle for them")
	}
}

// What an activation, a dry run of it and "policy diff" tell of recorded decisions covers those of the doors.
func TestDifferenceCoversDoors(t *testing.T) {
	h := guarded(t, "")
	running(t, h)
	files := func(sequence int, verdict string) map[string]string {
		f := swapFiles(sequence)
		if verdict != "" {
			maps.Copy(f, doorFiles("egress", "proxy", verdict))
		}
		return f
	}
	put := func(sequence int, verdict string, dry bool) sallyport.PolicyDiff {
		t.Helper()
		out, err := h.ActivatePolicy(t.Context(), signed(t, files(sequence, verdict), both...), "test", "ann", dry)
		if err != nil {
			t.Fatal(err)
		}
		if !dry { // the difference is attached to the record
			e, err := h.Ledger.Read(out.Record)
			if err != nil {
				t.Fatal(err)
			}
			detail, err := e.Open(action.PartDetail)
			if want, _ := action.Canonical(out.Difference); err != nil || !strings.Contains(string(detail), `"difference":`+string(want)) {
				t.Errorf("record %d holds %s (%v)", out.Record, detail, err)
			}
		}
		return out.Difference
	}
	put(4, "ask", false)
	sub, sess := h.agent("bot", "/work")
	a := attempt(sub, sess, "api.example:443", "GET", `{"path":"/"}`)
	a.Type, a.Name = "host", "http.request"
	if got, err := h.Enforcer.Before(t.Context(), a); err != nil || got.Verdict != action.Ask {
		t.Fatalf("%+v %v", got, err)
	}
	for name, c := range map[string]struct {
		verdict string
		want    string
	}{
		"a door that denies":        {"deny", "ask -> deny"},
		"the same door":             {"ask", ""},
		"no door: the embedded one": {"", "ask -> deny"},
	} {
		d := put(6, c.verdict, true)
		got := ""
		for _, g := range d.Groups {
			got += g.From + " -> " + g.To
		}
		if got != c.want || d.Elsewhere != 0 || d.Decisions != 1 {
			t.Errorf("%s: %q, not %q (%+v)", name, got, c.want, d)
		}
	}
}

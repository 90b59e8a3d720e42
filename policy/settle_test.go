// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
)

const (
	general = `package sallyport.general

import rego.v2

ask contains {"id": "send", "code": "c", "reason": "r"} if { input.action.effect == "send" }
ask contains {"id": "alarm", "code": "c", "reason": "r", "always": true} if { input.action.effect == "spend" }
ask contains {"id": "burdened", "code": "c", "reason": "r"} if { input.context.flow.session.secrecy == "confidential" }
deny contains {"id": "secret", "code": "c", "reason": "r"} if { input.context.flow.session.secrecy == "secret" }
allow contains {"id": "read"} if { input.action.effect == "read" }
`
	special = `package sallyport.special

import rego.v2

allow contains {"id": "desk"} if {
	input.action.effect in {"send", "spend"}
	input.resource.server == "desk"
}

ask contains {"id": "loud", "code": "c", "reason": "r"} if { input.resource.name == "loud" }
`
	settles = "settles: [{rule: special.desk, asks: [general.send, general.alarm, general.secret, elsewhere.ask]}]\n"
)

func composed(manifest string) fstest.MapFS {
	out := pack("x", 1, map[string]string{"general/a.rego": general, "special/a.rego": special})
	out[bundle.ManifestFile].Data = append(out[bundle.ManifestFile].Data, manifest...)
	return out
}

func TestAnAllowSettlesOnlyTheAsksThatTheManifestNames(t *testing.T) {
	c := mustLoad(t, composed(settles))
	for _, k := range []struct {
		name, effect, server, tool, secrecy string
		want                                action.Verdict
		by                                  string
	}{
		{"the ask is settled where the rule allows", "send", "desk", "say", "internal", action.Allow, "special.desk"},
		{"elsewhere the ask stands", "send", "shop", "say", "internal", action.Ask, "general.send"},
		{"another ask stands", "send", "desk", "say", "confidential", action.Ask, "general.burdened"},
		{"the pack's own ask stands", "send", "desk", "loud", "internal", action.Ask, "special.loud"},
		{"an ask that always holds stands", "spend", "desk", "say", "internal", action.Ask, "general.alarm"},
		{"a deny stands, named or not", "send", "desk", "say", "secret", action.Deny, "general.secret"},
		{"what nobody asks about passes as before", "read", "shop", "say", "internal", action.Allow, "general.read"},
		{"what nobody allows is denied as before", "write", "desk", "say", "internal", action.Deny, "default.rego"},
	} {
		t.Run(k.name, func(t *testing.T) {
			q := action.NewQuery(action.Before)
			q.Action.Effect, q.Resource.Server, q.Resource.Name = action.Effect(k.effect), k.server, k.tool
			q.Context.Flow.Session.Secrecy = action.Secrecy(k.secrecy)
			d, err := c.Decide(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			var by []string
			for _, m := range d.Deciding() {
				by = append(by, m.ID)
			}
			if d.Verdict != k.want || strings.Join(by, " ") != k.by {
				t.Errorf("%s by %v, want %s by %s", d.Verdict, by, k.want, k.by)
			}
		})
	}
}

func TestASettlementThatNamesNoRuleIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a rule that is not there": {"settles: [{rule: special.dsek, asks: [general.send]}]\n", `"special.dsek"`},
		"an ask that is not there": {"settles: [{rule: special.desk, asks: [general.sned]}]\n", `"general.sned"`},
		"no rule":                  {"settles: [{asks: [general.send]}]\n", "settles 1"},
		"no asks":                  {"settles: [{rule: special.desk}]\n", "settles 1"},
		"an empty ask":             {"settles: [{rule: special.desk, asks: [\"\"]}]\n", "settles 1"},
		"a key that means nothing": {"settles: [{rule: special.desk, denies: [general.secret]}]\n", "denies"},
	} {
		if _, err := LoadFS(composed(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestASuiteMayBeAboutOnePack: its cases see that pack alone, without settlements.
func TestASuiteMayBeAboutOnePack(t *testing.T) {
	const query = "{phase: before, action: {effect: send}, resource: {server: desk, name: loud}}"
	suite := func(pack, expect, rule string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(pack + "cases:\n- {name: a, expect: " + expect + ", rules: [" + rule + "], query: " + query + "}\n" +
			"- {name: b, expect: allow, query: {phase: before, action: {effect: spend}, resource: {server: desk, name: x}}}\n")}
	}
	fsys := composed(settles)
	fsys["tests/a.yaml"] = suite("pack: general\n", "ask", "send")
	fsys["tests/b.yaml"] = suite("pack: special\n", "ask", "loud")
	fsys["tests/c.yaml"] = suite("", "ask", "loud")
	r, err := mustLoad(t, fsys).Test(context.Background())
	if err != nil || len(r.Failures) != 2 || r.Failures[0].File != "tests/a.yaml" || r.Failures[1].File != "tests/c.yaml" {
		t.Errorf("%v %+v", err, r.Failures)
	}
	fsys["tests/d.yaml"] = suite("pack: spec\n", "ask", "loud")
	if _, err := mustLoad(t, fsys).Test(context.Background()); err == nil || !strings.Contains(err.Error(), `no policy in folder "spec"`) {
		t.Error(err)
	}
}

// TestPacksSettleWhatThereIs: each ask that a pack names is a rule of another pack.
func TestPacksSettleWhatThereIs(t *testing.T) {
	rules := map[string]bool{}
	for _, name := range policies.Names() {
		c, err := Load(Config{Pack: name, unproved: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range c.Rules() {
			rules[r] = true
		}
	}
	for _, name := range policies.Names() {
		fsys, err := policies.Pack(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := fs.ReadFile(fsys, bundle.ManifestFile)
		if err != nil {
			t.Fatal(err)
		}
		m, err := bundle.ReadManifest(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Settles {
			for _, ask := range s.Asks {
				if !rules[ask] {
					t.Errorf("%s settles %q, which no pack has", name, ask)
				}
			}
		}
	}
}

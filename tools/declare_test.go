// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

const lister = `{"name":"get_rows","description":"Get rows.","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}`

func declared(t testing.TB, single []Declaration, packs ...string) *Declared {
	t.Helper()
	var files []File
	for i, p := range packs {
		files = append(files, File{fmt.Sprintf("tools/%d.yaml", i), []byte(p)})
	}
	d, err := ReadDeclared(files, single)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What a bundle says of a tool counts from its activation on, and no longer once the next bundle does not say it.
func TestDeclareChangesWhatToolsAreAtOnce(t *testing.T) {
	up := Upstream{Server: "crm", Transport: Stdio, Command: []string{"crm-server"}}
	def := define(t, lister)
	digest, err := def.digest("crm")
	if err != nil {
		t.Fatal(err)
	}
	pack := func(pin string) string {
		return "name: our-crm\ndescription: Ours.\ntransport: stdio\ntools:\n  get_rows:\n    effect: spend\n    pins: [" + pin + "]\n    arguments:\n      /path: path\n"
	}
	for name, c := range map[string]struct {
		single   []Declaration
		packs    []string
		effect   action.Effect
		state    action.DefinitionState
		by, pack string
		zone     action.Zone
	}{
		"a pack that pins the definition": {nil, []string{pack(def.Shape())}, action.EffectSpend, action.DefinitionApproved, "pack:our-crm", "our-crm", action.ZoneInside},
		"a pack that pins another one":    {nil, []string{pack("sha256:" + strings.Repeat("0", 64))}, action.EffectRead, action.DefinitionPending, "", "", action.ZoneInside},
		"a declaration of the digest": {[]Declaration{{Server: "crm", Tool: "get_rows", Digest: digest, Effect: action.EffectWrite, Reversible: action.Yes, Zone: action.ZoneOutside}}, nil,
			action.EffectWrite, action.DefinitionApproved, "bundle", "bundle", action.ZoneOutside},
		"a declaration of the name": {[]Declaration{{Server: "crm", Tool: "get_rows", Effect: action.EffectDestroy}}, nil, action.EffectDestroy, action.DefinitionPending, "", "bundle", action.ZoneInside},
		"one of another digest":     {[]Declaration{{Server: "crm", Tool: "get_rows", Digest: "sha256:" + strings.Repeat("0", 64), Effect: action.EffectDestroy}}, nil, action.EffectRead, action.DefinitionPending, "", "", action.ZoneInside},
		"of the digest before one of the name": {[]Declaration{{Server: "crm", Tool: "get_rows", Effect: action.EffectDestroy}, {Server: "crm", Tool: "get_rows", Digest: digest, Effect: action.EffectWrite}}, nil,
			action.EffectWrite, action.DefinitionApproved, "bundle", "bundle", action.ZoneInside},
		"of another server": {[]Declaration{{Server: "erp", Tool: "get_rows", Effect: action.EffectDestroy}}, nil, action.EffectRead, action.DefinitionPending, "", "", action.ZoneInside},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, l := testConfig(), &log{}
			cfg.Record = l.append
			r := open(t, cfg)
			if _, err := r.Observe(t.Context(), up, []Definition{def}); err != nil {
				t.Fatal(err)
			}
			was, before := r.Digest("default"), len(l.records)
			check := func(r *Registry) {
				t.Helper()
				p, err := r.Get("default", "crm", "get_rows")
				f, _ := r.Lookup("default", "crm", "get_rows")
				if err != nil || p.Effect != c.effect || p.State != c.state || p.ApprovedBy != c.by || p.Pack != c.pack || f.Zone != c.zone {
					t.Errorf("%v: %s %s by %q pack %q zone %s", err, p.Effect, p.State, p.ApprovedBy, p.Pack, f.Zone)
				}
			}
			d := declared(t, c.single, c.packs...)
			if err := r.Declare(t.Context(), d, "ann"); err != nil {
				t.Fatal(err)
			}
			check(r)
			if c.pack != "" && r.Digest("default") == was {
				t.Error("the digest of the registry did not change")
			}
			if n := len(l.records) - before; (n == 1) != (c.state == action.DefinitionApproved) {
				t.Errorf("%d records", n)
			}
			again := cfg
			again.Declared = d
			check(open(t, again)) // after a restart
			if err := r.Declare(t.Context(), nil, "ann"); err != nil {
				t.Fatal(err)
			}
			p, _ := r.Get("default", "crm", "get_rows")
			if p.Effect != action.EffectRead || p.State != action.DefinitionPending || p.Source != action.EffectInferred || r.Digest("default") != was {
				t.Errorf("after it was taken back: %s %s %s", p.Effect, p.State, p.Source)
			}
			if p, _ := open(t, cfg).Get("default", "crm", "get_rows"); p.State != action.DefinitionPending {
				t.Errorf("after it was taken back and a restart: %s", p.State)
			}
		})
	}
}

// A person's approval is not touched by what bundles say, and a definition that changed needs its digest named.
func TestDeclareLeavesPeoplesApprovals(t *testing.T) {
	up := Upstream{Server: "crm", Transport: Stdio, Command: []string{"crm-server"}}
	r := open(t, testConfig())
	def, next := define(t, lister), define(t, strings.Replace(lister, "Get rows.", "Get all rows.", 1))
	digest, err := next.digest("crm")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := r.Observe(t.Context(), up, []Definition{def})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Approve(t.Context(), "default", "crm", "get_rows", seen[0].Digest, "ann"); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		p, _ := r.Get("default", "crm", "get_rows")
		return string(p.State) + " " + p.ApprovedBy
	}
	byName := declared(t, []Declaration{{Server: "crm", Tool: "get_rows", Effect: action.EffectRead}})
	if err := r.Declare(t.Context(), byName, "ann"); err != nil || state() != "approved operator:ann" {
		t.Fatalf("%v %s", err, state())
	}
	if _, err := r.Observe(t.Context(), up, []Definition{next}); err != nil || state() != "changed operator:ann" {
		t.Fatalf("%v %s", err, state())
	}
	if p, _ := r.Get("default", "crm", "get_rows"); p.Pack == "bundle" {
		t.Error("a declaration of a name holds for a definition that changed")
	}
	of := []Declaration{{Server: "crm", Tool: "get_rows", Digest: digest, Effect: action.EffectRead}}
	if err := r.Declare(t.Context(), declared(t, of), "ann"); err != nil || state() != "approved bundle" {
		t.Fatalf("%v %s", err, state())
	}
	moved := up
	moved.Command = []string{"other-server"}
	if _, err := r.Observe(t.Context(), moved, []Definition{next}); err != nil || !strings.HasPrefix(state(), "changed") {
		t.Fatalf("the same definition from another server: %v %s", err, state())
	}
}

func TestDeclaredRefusesWhatCannotBeMeant(t *testing.T) {
	const good = "name: x\ndescription: X.\ntransport: stdio\ntools:\n  a:\n    effect: read\n"
	for name, c := range map[string]struct {
		packs  []string
		single []Declaration
		want   string
	}{
		"a pack that cannot be read":   {[]string{"name: x\n"}, nil, "tools/0.yaml"},
		"two packs of a name":          {[]string{good, good}, nil, `second pack "x"`},
		"a host that nobody knows":     {[]string{strings.Replace(good, "stdio", "host", 1)}, nil, "this build has the host's"},
		"a server with a host's name":  {[]string{strings.Replace(good, "name: x", "name: codex", 1)}, nil, "this build has the host's"},
		"a tool twice":                 {nil, []Declaration{{Server: "a", Tool: "b"}, {Server: "a", Tool: "b"}}, "stands twice"},
		"a tool that is called inside": {nil, []Declaration{{Server: "a", Tool: "b", Zone: action.ZoneInside}}, "gateway.servers"},
	} {
		t.Run(name, func(t *testing.T) {
			var files []File
			for i, p := range c.packs {
				files = append(files, File{fmt.Sprintf("tools/%d.yaml", i), []byte(p)})
			}
			if _, err := ReadDeclared(files, c.single); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	host := declared(t, nil, "name: codex\ndescription: X.\ntransport: host\ntools:\n  shell:\n    effect: destroy\n")
	r := open(t, testConfig())
	if err := r.Declare(t.Context(), host, "ann"); err != nil {
		t.Fatal(err)
	}
	if f, ok := r.Lookup("default", "codex", "shell"); !ok || f.Effect != action.EffectDestroy {
		t.Errorf("%v %+v", ok, f)
	}
}

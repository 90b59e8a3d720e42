// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/sallyport/sallyport/action"
)

func fuzzRegistry(f *testing.F) *Registry {
	r, err := Open(f.Context(), testConfig())
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// FuzzCommand: no text makes the facts invalid or exceeds their bounds, and what names the program rm
// in plain sight at the start of a line never passes.
func FuzzCommand(f *testing.F) {
	r := fuzzRegistry(f)
	for _, s := range []string{"ls", "cd x && (ls | xargs -0 rm)", "env -S 'a b' c", "a=$(b) c > d 2>&1 << E\nE", "sh -c 'sh -c \"ls\"'", "find . -exec a {} +", "{a,b}{c..d}", "case x in a) b;; esac", "f() { f; }; f", "[[ a =~ b ]]", "((1+1))", "git -C x -c y=z log", "go build -o x ./..."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args, err := json.Marshal(map[string]string{"command": s})
		if err != nil {
			return
		}
		part, err := r.Inform(t.Context(), ask("claude-code", "Bash", string(args)))
		if err != nil {
			t.Fatal(err)
		}
		if err := action.ValidatePart(part); err != nil {
			t.Fatal(err)
		}
		facts := part.(action.ToolFacts)
		if len(facts.Commands) > maxFacts || len(facts.Paths) > maxFacts || len(facts.URLs) > maxFacts {
			t.Fatalf("%d commands, %d paths, %d URLs", len(facts.Commands), len(facts.Paths), len(facts.URLs))
		}
		if line, _, _ := strings.Cut(s, "\n"); strings.HasPrefix(line, "rm -rf /;") && passes(facts) {
			t.Fatalf("%q passes", s)
		}
		part, err = r.Inform(t.Context(), ask("claude-code", "Bash", `{"command":`+quote(t, s+"\nrm -rf src")+`}`))
		if err != nil || passes(part.(action.ToolFacts)) && !strings.Contains(s, "<<") && !strings.HasSuffix(strings.TrimRight(s, " \t"), "\\") && !strings.Contains(s, "#") && !inQuote(s) {
			t.Fatalf("%q with a deletion behind it passes: %v", s, err)
		}
	})
}

func quote(t *testing.T, s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		t.Skip()
	}
	return string(b)
}

func inQuote(s string) bool { return strings.ContainsAny(s, "'\"`") }

// FuzzPath: a path that counts as inside resolves to a clean path below its root, and resolving it again
// leads to the same place.
func FuzzPath(f *testing.F) {
	r := fuzzRegistry(f)
	for _, s := range []string{"a.go", "../x", "out/../a", "in/b.go", "~/x", "file:///srv/repo/%2e%2e/x", "keys/../..", "/link/out/x", "loop/x", "．．/x"} {
		f.Add(s)
	}
	at := around{"/srv/repo", []string{"/srv/repo"}}
	f.Fuzz(func(t *testing.T, s string) {
		p := r.path("/p", s, action.EffectRead, at, false)
		if p.Inside == action.Yes && (path.Clean(p.Resolved) != p.Resolved || !within(p.Resolved, "/srv/repo") || p.Root != "/srv/repo") {
			t.Fatalf("%q: %+v", s, p)
		}
		if p.Resolved != "" && !strings.ContainsAny(p.Resolved, "%\\~$`") {
			if again := r.path("/p", p.Resolved, action.EffectRead, at, false); again.Resolved != "" && again.Resolved != p.Resolved {
				t.Fatalf("%q -> %q -> %q", s, p.Resolved, again.Resolved)
			}
		}
	})
}

// FuzzURL: a canonical URL is stable, and where net/url reads a host without tricks the two agree.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://a.example/x?y", "http://0x7f.1", "//a", "a:80", "http://[::1]:80/", "https://a@b.example", "http://a.example.:443", "https://bücher.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := canonicalURL(s)
		if !c.ok {
			return
		}
		if c.host == "" || strings.ToLower(c.host) != c.host || strings.HasSuffix(c.host, ".") || strings.ContainsAny(c.host, " /\\@%?#") {
			t.Fatalf("%q: host %q", s, c.host)
		}
		if c.scheme == "" {
			return
		}
		again := canonicalURL(c.origin() + "/")
		if !again.ok || again.host != c.host || again.port != c.port {
			t.Fatalf("%q -> %q -> %+v", s, c.origin(), again)
		}
		if u, err := url.Parse(s); err == nil && c.plain && !c.addr.IsValid() && hostLike(strings.ToLower(u.Hostname())) &&
			strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") != c.host {
			t.Fatalf("%q: %q, net/url reads %q", s, c.host, u.Hostname())
		}
	})
}

// FuzzDefinition: what is read has a digest that does not depend on spelling, and can be read again.
func FuzzDefinition(f *testing.F) {
	r := fuzzRegistry(f)
	f.Add([]byte(toolA))
	f.Add([]byte(`{"name":"x","inputSchema":{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a","anyOf":[{"items":{"format":"uri"}}]}}},"annotations":{"destructiveHint":true}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := ReadDefinition(raw)
		if err != nil {
			return
		}
		again, err := ReadDefinition(d.Complete)
		if err != nil || again.Shape() != d.Shape() {
			t.Fatalf("read again: %v", err)
		}
		pin := Pin{Server: "s", Name: d.Name, Transport: Stdio, Zone: action.ZoneInside, State: action.DefinitionPending}
		e := r.entry(pin, &d)
		if e.plan.source != action.EffectInferred && e.plan.pack == "" {
			t.Fatalf("source %s", e.plan.source)
		}
		_ = d.text()
	})
}

// FuzzArguments: any JSON object gives valid facts.
func FuzzArguments(f *testing.F) {
	r := fuzzRegistry(f)
	for _, s := range []string{`{"path":"a","to":["a@b.example"],"amount":1.5,"currency":"EUR","url":"http://0/"}`, `{"command":["a","b"],"cwd":"/x"}`, `{"a":{"b":[{"c":[[]]}]}}`, `{"sql":"x","code":"y"}`} {
		f.Add("x", s)
		f.Add("send_money", s)
	}
	f.Fuzz(func(t *testing.T, tool, args string) {
		if action.Check([]byte(args), action.Limits{}) != nil {
			return
		}
		part, err := r.Inform(t.Context(), ask("s", tool, args))
		if err != nil {
			return
		}
		if err := action.ValidatePart(part); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzValues: recipients and amounts.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"a@b.example", "A <a@b.example>", "DE89370400440532013000", "1,234.50 EUR", "1e9", "€5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if rc, ok := recipientFacts("", s, roleRecipient, []string{"b.example"}); ok && rc.Kind == "email" {
			again, ok := recipientFacts("", rc.Value, roleRecipient, []string{"b.example"})
			if !ok || again.Value != rc.Value || again.Outside != rc.Outside {
				t.Fatalf("%q -> %+v -> %+v", s, rc, again)
			}
		}
		if a, ok := amountFacts("", s); ok && (a.Minor > action.MaxNumber || a.Minor < -action.MaxNumber || a.Exponent < 0 || a.Exponent > 18) {
			t.Fatalf("%q: %+v", s, a)
		}
	})
}

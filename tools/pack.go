// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
	"go.yaml.in/yaml/v3"
)

//go:embed packs/*.yaml
var packFiles embed.FS

// pack speaks for the tools of one kind of server. It is data: what it says was reviewed by people.
type pack struct {
	Name        string              `yaml:"name"`
	Description string              `yaml:"description"`
	Transport   Transport           `yaml:"transport"` // stdio, host or api
	Tools       map[string]packTool `yaml:"tools"`
}

// packTool is one tool of a pack. Reversible is "yes", "no", "unknown", or "new": only if every path that
// is written does not exist yet. Pins are the shapes of the definitions that the pack was written for.
type packTool struct {
	Effect     action.Effect     `yaml:"effect"`
	Reversible string            `yaml:"reversible"`
	Idempotent action.Tri        `yaml:"idempotent"`
	Zone       action.Zone       `yaml:"zone"` // "" leaves the server's
	Pins       []string          `yaml:"pins"`
	Arguments  map[string]role   `yaml:"arguments"` // JSON pointer, "*" for every element of an array, "**" at its end for everything below
	Output     map[string]string `yaml:"output"`    // by patterns of JSON pointers, "*" for every element: what a field of the result may vouch for
}

// vouching are the classes of output fields, in the words of flow.
var vouching = set(`free_text counterparty label party own_record`)

var embeddedPacks = sync.OnceValues(func() ([]*pack, error) {
	entries, err := packFiles.ReadDir("packs")
	if err != nil {
		return nil, err
	}
	var out []*pack
	for _, e := range entries {
		b, err := packFiles.ReadFile(path.Join("packs", e.Name()))
		if err != nil {
			return nil, err
		}
		p, err := readPack(b)
		if err != nil {
			return nil, fmt.Errorf("tools: pack %q: %w", e.Name(), err)
		}
		if slices.ContainsFunc(out, func(q *pack) bool { return q.Name == p.Name }) {
			return nil, fmt.Errorf("tools: pack %q: a second one of that name", p.Name)
		}
		out = append(out, p)
	}
	return out, nil
})

// readPack reads a pack strictly: an unknown key, word or role is an error.
func readPack(data []byte) (*pack, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var p pack
	if err := dec.Decode(&p); err != nil {
		return nil, err
	}
	if err := dec.Decode(new(any)); err != io.EOF {
		return nil, fmt.Errorf("more than one document")
	}
	if !validName(p.Name) || (p.Transport != Stdio && p.Transport != Host && p.Transport != API) || len(p.Tools) == 0 {
		return nil, fmt.Errorf("name %q, transport %q, %d tools", p.Name, p.Transport, len(p.Tools))
	}
	for name, t := range p.Tools {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("tool %q: %w", name, err)
		}
	}
	return &p, nil
}

func (t *packTool) check() error {
	if t.Effect == action.EffectUnknown || !slices.Contains(t.Effect.Values(), string(t.Effect)) {
		return fmt.Errorf("effect %q", t.Effect)
	}
	if !slices.Contains([]string{"", "yes", "no", "unknown", "new"}, t.Reversible) {
		return fmt.Errorf("reversible %q", t.Reversible)
	}
	if !slices.Contains([]string{"", "yes", "no", "unknown"}, string(t.Idempotent)) {
		return fmt.Errorf("idempotent %q", t.Idempotent)
	}
	if !slices.Contains([]string{"", "inside", "outside", "unknown"}, string(t.Zone)) {
		return fmt.Errorf("zone %q", t.Zone)
	}
	for at, r := range t.Arguments {
		if !strings.HasPrefix(at, "/") || !declarable[string(r)] {
			return fmt.Errorf("argument %q has role %q", at, r)
		}
	}
	for at, c := range t.Output {
		if at != "" && !strings.HasPrefix(at, "/") || !vouching[c] {
			return fmt.Errorf("output field %q is %q", at, c)
		}
	}
	for _, pin := range t.Pins {
		if len(pin) != len("sha256:")+64 || !strings.HasPrefix(pin, "sha256:") {
			return fmt.Errorf("pin %q", pin)
		}
	}
	return nil
}

func (r *Registry) pack(name string) *pack {
	for _, p := range r.knownPacks() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// hostPack returns the pack of a host's built-in tools whose reserved server name is name.
func (r *Registry) hostPack(name string) *pack {
	if p := r.pack(name); p != nil && p.Transport == Host {
		return p
	}
	return nil
}

// speaker returns the pack that may speak for a tool, or nil. There are three ways, and no fourth: the
// server is the host whose name is reserved; the operator declared the server to be of the pack's kind;
// or the server is a local process and the complete definition is one that the pack pins. A tool's name
// alone is never enough.
func (r *Registry) speaker(pin *Pin, d *Definition) *pack {
	if pin.Transport == Host {
		return withTool(r.hostPack(pin.Server), d.Name)
	}
	if pin.Kind != "" {
		return withTool(r.pack(pin.Kind), d.Name)
	}
	if pin.Transport != Stdio {
		return nil
	}
	for _, p := range r.knownPacks() {
		if p.Transport == Stdio && slices.Contains(p.Tools[d.Name].Pins, d.Shape()) {
			return p
		}
	}
	return nil
}

func withTool(p *pack, name string) *pack {
	if p == nil {
		return nil
	}
	if _, ok := p.Tools[name]; !ok {
		return nil
	}
	return p
}

// approves reports whether the pack, which speaks for the tool, also approves the digest: it pins it, it
// is the host's own, or it is the first sight of a server whose kind the operator declared.
func (p *pack) approves(pin *Pin, d *Definition) bool {
	return p.Transport == Host || slices.Contains(p.Tools[d.Name].Pins, d.Shape()) || (pin.Kind == p.Name && pin.Approved == "")
}

// reserve registers the built-in tools of hosts, which no server lists, under their reserved names.
func (r *Registry) reserve(tenant string, next *snapshot) {
	for _, p := range r.knownPacks() {
		if p.Transport != Host {
			continue
		}
		for name := range p.Tools {
			d := hostDefinition(p.Name, name)
			digest, err := d.digest(p.Name)
			if err != nil {
				continue // unreachable: the definition is built from two plain strings
			}
			pin := Pin{Server: p.Name, Name: name, Transport: Host, Digest: digest, Upstream: "host:" + p.Name,
				Zone: action.ZoneInside, Definition: d.Complete, Poisoned: action.No}
			r.judge(&pin, &d)
			next.tools[key{tenant, p.Name, name}] = r.entry(pin, &d)
		}
	}
}

// hostDefinition stands for a built-in tool: the host's name and its own are all that can be pinned.
func hostDefinition(host, name string) Definition {
	raw, err := action.Canonical(map[string]string{"host": host, "name": name})
	if err != nil {
		panic(err) // two strings from embedded data, which the tests read
	}
	return Definition{Name: name, Complete: raw}
}

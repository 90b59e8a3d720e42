// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Manifest is sallyport-bundle.yaml.
type Manifest struct {
	Version     int       `yaml:"version"` // 1
	Name        string    `yaml:"name"`    // lower-case letters, digits, dashes
	Sequence    int64     `yaml:"sequence"`
	Expires     time.Time `yaml:"expires"`    // absent: does not expire
	NotBefore   time.Time `yaml:"not_before"` // of a signed bundle; absent: holds at once
	Parent      string    `yaml:"parent"`     // digest of the bundle before, for readers; absent: none
	Settings    string    `yaml:"settings"`   // digest of the owner's settings that it was approved for; absent: any
	Rollback    string    `yaml:"rollback"`   // digest of the bundle whose rules it brings back; absent: none
	Description string    `yaml:"description"`
	Owner       string    `yaml:"owner"`
	Observe     []Observe `yaml:"observe"`
	Tools       []Tool    `yaml:"tools"`
	Settles     []Settle  `yaml:"settles"`
	OPA         OPA       `yaml:"opa"`
	Waivers     []Waiver  `yaml:"waivers"`
	Packs       []Copied  `yaml:"packs"`
}

// Copied says which embedded pack a folder of the bundle was copied from, for lint to compare. It decides nothing.
type Copied struct {
	Pack     string `yaml:"pack"`     // name, and the folder that the copy stands in
	Sequence int64  `yaml:"sequence"` // of the pack's manifest
	Rules    string `yaml:"rules"`    // digest of the pack's policies, "sha256:..."
}

// Settle says that where a rule that allows fires, some rules of other packs have nothing left to ask. It
// lifts no deny and no quarantine, and no ask that is marked always.
type Settle struct {
	Rule string   `yaml:"rule"` // "pack.rule", a rule that allows
	Asks []string `yaml:"asks"` // "pack.rule" each, rules that ask
}

// Observe lifts enforcement for some agents and tools until a day: their denials and asks are recorded
// but not carried out. Matches marked always, quarantine and the kernel enforce regardless.
type Observe struct {
	Tenant string    `yaml:"tenant"` // "" is "default"
	Agent  string    `yaml:"agent"`  // an id, or "*"
	Tool   string    `yaml:"tool"`   // "server/name", "server/*" or "*"
	Until  time.Time `yaml:"until"`  // required
	Reason string    `yaml:"reason"` // required
}

// Tool declares what a tool does, for the registry. A declaration without a digest holds for any
// definition that has not changed since it was pinned.
type Tool struct {
	Tool       string        `yaml:"tool"` // "server/name"
	Digest     string        `yaml:"digest"`
	Effect     action.Effect `yaml:"effect"`
	Reversible action.Tri    `yaml:"reversible"`
	Idempotent action.Tri    `yaml:"idempotent"`
	Zone       action.Zone   `yaml:"zone"`
}

// ReadManifest reads and checks a manifest.
func ReadManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := strictyaml.Decode(ManifestFile, data, &m); err != nil {
		return Manifest{}, err
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	return m, nil
}

func (m *Manifest) check() error {
	switch {
	case m.Version != 1:
		return fmt.Errorf("version %d is not 1", m.Version)
	case !word(m.Name):
		return fmt.Errorf("name %q: lower-case letters, digits and dashes are wanted", action.Clip(m.Name, 64))
	case m.Sequence < 1 || m.Sequence > action.MaxNumber:
		return fmt.Errorf("sequence %d is not positive", m.Sequence)
	case !m.Expires.IsZero() && m.Expires.UnixMilli() <= 0:
		return fmt.Errorf("expires %q is before 1970", m.Expires)
	case !m.NotBefore.IsZero() && m.NotBefore.UnixMilli() <= 0:
		return fmt.Errorf("not_before %q is before 1970", m.NotBefore)
	}
	for key, value := range map[string]string{"parent": m.Parent, "settings": m.Settings, "rollback": m.Rollback} {
		if value != "" && !isDigest(value) {
			return fmt.Errorf("%s %q is no digest", key, action.Clip(value, 80))
		}
	}
	for i, o := range m.Observe {
		switch {
		case o.Agent == "" || o.Tool == "":
			return fmt.Errorf("observe %d: agent and tool are required", i+1)
		case o.Until.UnixMilli() <= 0:
			return fmt.Errorf("observe %d: until is required", i+1)
		case o.Reason == "":
			return fmt.Errorf("observe %d: reason is required", i+1)
		case strings.Contains(strings.TrimSuffix(o.Tool, "/*"), "*") && o.Tool != "*":
			return fmt.Errorf("observe %d: tool %q is neither a name, \"server/*\" nor \"*\"", i+1, action.Clip(o.Tool, 64))
		}
	}
	for i, s := range m.Settles {
		if s.Rule == "" || len(s.Asks) == 0 || slices.Contains(s.Asks, "") {
			return fmt.Errorf("settles %d: a rule and the asks that it settles are required", i+1)
		}
	}
	if err := m.OPA.check(); err != nil {
		return err
	}
	if err := checkWaivers(m.Waivers); err != nil {
		return err
	}
	for i, p := range m.Packs {
		if !word(p.Pack) || p.Sequence < 1 || !isDigest(p.Rules) {
			return fmt.Errorf("packs %d: the name of a pack, its sequence and the digest of its rules are required", i+1)
		}
	}
	return m.checkTools()
}

func (m *Manifest) checkTools() error {
	for i, t := range m.Tools {
		server, name := action.SplitToolKey(t.Tool)
		if server == "" || name == "" {
			return fmt.Errorf("tool %d: %q is not \"server/name\"", i+1, action.Clip(t.Tool, 64))
		}
		for _, v := range []struct {
			what, value string
			allowed     []string
		}{
			{"effect", string(t.Effect), t.Effect.Values()},
			{"reversible", action.Word(t.Reversible), t.Reversible.Values()},
			{"idempotent", action.Word(t.Idempotent), t.Idempotent.Values()},
			{"zone", action.Word(t.Zone), t.Zone.Values()},
		} {
			if !slices.Contains(v.allowed, v.value) {
				return fmt.Errorf("tool %q: %s %q is not one of %s", action.Clip(t.Tool, 64), v.what,
					action.Clip(v.value, 32), strings.Join(v.allowed, ", "))
			}
		}
	}
	return nil
}

// ModeAt returns observe if an entry covers the query's agent and tool and has not ended at the query's
// own time. A query without a time enforces.
func (m *Manifest) ModeAt(q *action.Query) action.Mode {
	now := q.Context.Time.UnixMilli
	for i := range m.Observe {
		o := &m.Observe[i]
		tenant := o.Tenant
		if tenant == "" {
			tenant = "default"
		}
		if now <= 0 || now >= o.Until.UnixMilli() || tenant != q.Subject.Tenant {
			continue
		}
		if o.Agent != "*" && o.Agent != q.Subject.ID {
			continue
		}
		server, every := strings.CutSuffix(o.Tool, "/*")
		if o.Tool == "*" || o.Tool == q.Resource.ID || every && server == q.Resource.Server {
			return action.Observe
		}
	}
	return action.Enforce
}

// The modes of an agent as a whole. Its decisions each have one of the first two.
const (
	ModeEnforce = "enforce"
	ModeObserve = "observe"
	ModePartly  = "partly" // some tools are observed
)

// ModeOf says whether an agent's decisions are carried out at a time: all of them, those on some tools not, or none.
func (m *Manifest) ModeOf(tenant, agent string, now time.Time) string {
	mode := ModeEnforce
	for _, o := range m.Observed(now) {
		switch {
		case o.Tenant != tenant || o.Agent != "*" && o.Agent != agent:
		case o.Tool == "*":
			return ModeObserve
		default:
			mode = ModePartly
		}
	}
	return mode
}

// Observed lists the entries of observe that hold at a time, with their tenant.
func (m *Manifest) Observed(now time.Time) (out []Observe) {
	for _, o := range m.Observe {
		if o.Tenant == "" {
			o.Tenant = "default"
		}
		if now.Before(o.Until) {
			out = append(out, o)
		}
	}
	return out
}

// isDigest reports whether s is "sha256:" and 64 hexadecimal digits.
func isDigest(s string) bool {
	rest, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(rest) == 64 && strings.Trim(rest, "0123456789abcdef") == ""
}

// word reports whether s is 1 to 64 lower-case letters, digits and dashes.
func word(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}

// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
)

// OPAFolder holds the policies of the profile opa, with their data.json and data.yaml.
const OPAFolder = "opa"

// OPA says how policies that were written for OPA decide; see package policy/rego/opa. Its zero value means that there
// are none.
type OPA struct {
	Entrypoint string       `yaml:"entrypoint"` // of the document that permits if it is true
	Refusals   string       `yaml:"refusals"`   // of the set, list or object that permits if it is empty
	Rego       string       `yaml:"rego"`       // "v1" or "v0"; "" means v1
	Lenient    bool         `yaml:"lenient"`    // a built-in's error is undefined, not a denial
	Inputs     []OPAMapping `yaml:"inputs"`     // none: agent.v1 itself is the input
}

// OPAMapping says what the policy reads as its input for some tools. A text "$action.arguments.url" in Input stands
// for that fact.
type OPAMapping struct {
	Tool  string    `yaml:"tool"` // "server/name", "server/*" or "*"
	Input yaml.Node `yaml:"input"`
}

// Decides reports whether the profile is in use.
func (o *OPA) Decides() bool { return o.Entrypoint != "" || o.Refusals != "" }

func (o *OPA) check() error {
	switch {
	case o.Rego != "" && o.Rego != "v0" && o.Rego != "v1":
		return fmt.Errorf("opa: rego %q is neither v0 nor v1", action.Clip(o.Rego, 32))
	case !o.Decides() && (o.Rego != "" || o.Lenient || len(o.Inputs) > 0):
		return fmt.Errorf("opa: an entrypoint or refusals must be named")
	}
	return nil
}

// Waiver lets one kind of finding stand in one rule, until a day.
type Waiver struct {
	Lint   string    `yaml:"lint,omitempty"`   // either this, or Agent and Tool
	Rule   string    `yaml:"rule"`             // as the finding names it, or "pack.rule"; required: nothing is waived for a whole bundle
	Tenant string    `yaml:"tenant,omitempty"` // "" is "default"
	Agent  string    `yaml:"agent,omitempty"`  // one agent, for which Rule neither denies nor asks
	Tool   string    `yaml:"tool,omitempty"`   // "server/name", one tool
	Reason string    `yaml:"reason"`           // required
	Owner  string    `yaml:"owner"`            // required: who answers for it
	Ticket string    `yaml:"ticket"`           // required for an agent
	Until  time.Time `yaml:"until"`            // required; afterwards it waives nothing
}

// Holds reports whether a waiver for an agent is about q, at a time in Unix milliseconds; never at 0.
func (w *Waiver) Holds(q *action.Query, at int64) bool {
	return at > 0 && at < w.Until.UnixMilli() && w.about(q.Subject.Tenant, q.Subject.ID, q.Resource.ID)
}

func (w *Waiver) about(tenant, agent, tool string) bool {
	return w.Lint == "" && w.Agent == agent && w.Tool == tool && (w.Tenant == tenant || w.Tenant == "" && tenant == "default")
}

// WaivesSome reports whether, now or at another time, some rule is waived for an agent's calls of a tool.
func (m *Manifest) WaivesSome(tenant, agent, tool string) bool {
	return slices.ContainsFunc(m.Waivers, func(w Waiver) bool { return w.about(tenant, agent, tool) })
}

func checkWaivers(list []Waiver) error {
	for i, w := range list {
		for _, need := range []struct{ name, value string }{{"rule", w.Rule}, {"reason", w.Reason}, {"owner", w.Owner}} {
			if strings.TrimSpace(need.value) == "" {
				return fmt.Errorf("waiver %d: %s is required", i+1, need.name)
			}
		}
		server, tool := action.SplitToolKey(w.Tool)
		switch {
		case (w.Lint == "") == (w.Agent == "" && w.Tool == ""):
			return fmt.Errorf("waiver %d: either lint, or agent and tool, are required", i+1)
		case w.Lint == "" && (w.Agent == "" || strings.Contains(w.Agent, "*") || server == "" || tool == "" || strings.Contains(w.Tool, "*")):
			return fmt.Errorf("waiver %d: one agent and one tool, \"server/name\", are required", i+1)
		case w.Lint == "" && strings.TrimSpace(w.Ticket) == "":
			return fmt.Errorf("waiver %d: ticket is required", i+1)
		case w.Lint != "" && w.Tenant != "":
			return fmt.Errorf("waiver %d: a finding of lint has no tenant", i+1)
		case w.Until.UnixMilli() <= 0:
			return fmt.Errorf("waiver %d: until is required", i+1)
		case strings.Contains(w.Rule, "*"):
			return fmt.Errorf("waiver %d: rule %q must be one rule", i+1, action.Clip(w.Rule, 64))
		}
	}
	return nil
}

// Waived returns the waiver for a finding of lint in rule, whether it has ended or not.
func (m *Manifest) Waived(lint, rule string) (Waiver, bool) {
	i := slices.IndexFunc(m.Waivers, func(w Waiver) bool { return w.Lint == lint && w.Rule == rule })
	if i < 0 || rule == "" {
		return Waiver{}, false
	}
	return m.Waivers[i], true
}

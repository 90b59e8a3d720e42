// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
)

// RightsConfig says where it stands what users may do by themselves, and which tools need it.
type RightsConfig struct {
	ACL     string        `yaml:"acl" doc:"file with a snapshot of access lists, for the source acl"`
	OpenFGA OpenFGAConfig `yaml:"openfga"`
	Groups  []RightsGroup `yaml:"groups" doc:"groups and roles of the user's token that have a relation, for the source groups"`
	Rules   []RightsRule  `yaml:"rules" doc:"tools that need a right of the user's own"`
}

// OpenFGAConfig names an OpenFGA server.
type OpenFGAConfig struct {
	URL       string `yaml:"url" doc:"address of an OpenFGA server, for the source openfga"`
	Store     string `yaml:"store" doc:"id of its store"`
	Model     string `yaml:"model" doc:"id of the authorization model; default: the newest"`
	TokenFile string `yaml:"token_file" doc:"file with its API token"`
}

// RightsGroup gives a relation to groups.
type RightsGroup struct {
	Relation string   `yaml:"relation" doc:"what it allows"`
	Groups   []string `yaml:"groups" doc:"groups or roles that have it"`
}

// RightsRule is one tool, or all of a server.
type RightsRule struct {
	Server   string `yaml:"server" doc:"our name of the server"`
	Tool     string `yaml:"tool" doc:"its tool; default all of them"`
	Source   string `yaml:"source" doc:"acl, openfga or groups"`
	Relation string `yaml:"relation" doc:"what the user must be allowed"`
	Object   string `yaml:"object" doc:"what the call is about, with a pointer into its arguments: document:{/id}"`
	Results  string `yaml:"results" doc:"what its result holds, checked again: document:{/structuredContent/items/*/id}"`
}

// identityFacts states agent records and, where rules are configured, the user's own rights.
func (s *Sallyport) identityFacts() (enforce.Source, error) {
	c := &s.Config.Rights
	plain := enforce.Source{Name: "identity", Informer: s.Tokens.Facts(), Deadline: enforce.Inline}
	if len(c.Rules) == 0 {
		return plain, nil
	}
	r := identity.Rights{Facts: plain.Informer, Sources: map[string]identity.RightsSource{}, GroupsKnown: s.groupsKnown}
	if c.ACL != "" {
		r.Sources["acl"] = &identity.ACL{Path: c.ACL}
	}
	if c.OpenFGA.URL != "" {
		if c.OpenFGA.Store == "" || !strings.HasPrefix(c.OpenFGA.URL, "http") {
			return plain, errors.New("rights: openfga: an http address and a store are required")
		}
		r.Sources["openfga"] = &identity.FGA{URL: c.OpenFGA.URL, Store: c.OpenFGA.Store, Model: c.OpenFGA.Model, TokenFile: c.OpenFGA.TokenFile}
	}
	groups := identity.GroupRights{}
	for _, g := range c.Groups {
		groups[g.Relation] = append(groups[g.Relation], g.Groups...)
	}
	r.Sources["groups"] = groups
	for _, x := range c.Rules {
		rule := identity.RightsRule{Server: x.Server, Tool: x.Tool, Source: x.Source, Relation: x.Relation, Object: x.Object, Results: x.Results}
		if rule.Tool == "" {
			rule.Tool = "*"
		}
		r.Rules = append(r.Rules, rule)
	}
	checked, err := identity.NewRights(r)
	if err != nil {
		return plain, fmt.Errorf("rights: %w", err)
	}
	return enforce.Source{Name: "identity", Informer: checked, Deadline: 2 * time.Second}, nil
}

// groupsKnown reports whether the groups of a subject's user are whole.
func (s *Sallyport) groupsKnown(sub *action.Subject) bool {
	if strings.HasPrefix(sub.Channel.CredID, oauthPrefix) {
		return s.federation.accesses.get(sub.Channel.CredID).GroupsKnow == action.Yes
	}
	d, ok := s.federation.delegations.Get(sub.Channel.CredID)
	return ok && d.GroupsKnown
}

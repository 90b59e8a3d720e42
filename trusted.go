// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval/judge"
	"github.com/sallyport/sallyport/internal/strictyaml"
	"github.com/sallyport/sallyport/monitor"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

// What decides beside the policies stands in the bundle, too, or may: policies of doors, chains of actions, what servers' results
// carry and may vouch for, what tools are, constitutions. With policy.trust it may stand nowhere else. All of it changes with an
// activation.

// The doors that a bundle may have a policy for.
const (
	doorEgress    = "egress"
	doorDatabases = "databases"
)

// inBundle is how the configuration names a file of the bundle: bundle:constitution/house.yaml.
const inBundle = "bundle:"

// loose refuses, with policy.trust, every file and list outside of the bundle that the bundle has a place for.
func (c *Config) loose() error {
	var errs []error
	for key, set := range map[string]struct {
		is bool
		to string
	}{
		"egress.policy":   {c.Egress.Policy != "", "the folder doors/egress"},
		"postgres.policy": {c.Postgres.Policy != "", "the folder doors/databases"},
		"monitor.rules":   {c.Monitor.Rules != "", "the folder monitor"},
		"flow.servers":    {len(c.Flow.Servers) > 0, "the folder flow"},
		"flow.outputs":    {len(c.Flow.Outputs) > 0, "the folder flow"},
		"approval.judges": {slices.ContainsFunc(c.Approval.Judges, func(j JudgeConfig) bool {
			return j.Constitution != "" && !strings.HasPrefix(j.Constitution, inBundle)
		}), "the folder constitution, and name it bundle:constitution/FILE here"},
	} {
		if set.is {
			errs = append(errs, fmt.Errorf("policy.trust: %s would decide unsigned; put it into %s of the bundle and sign it", key, set.to))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// ReadableBundle refuses a bundle of which a part beside its policies could not be used by any owner.
func ReadableBundle(b *bundle.Bundle) error {
	for _, door := range b.Doors() {
		if door != doorEgress && door != doorDatabases {
			return fmt.Errorf("doors/%s: there are policies of %s and %s", action.Clip(door, 64), doorEgress, doorDatabases)
		}
	}
	if _, err := readLabels(b); err != nil {
		return err
	}
	if _, err := readChains(b); err != nil {
		return err
	}
	if _, err := readDeclared(b); err != nil {
		return err
	}
	for _, f := range slices.Concat(b.Files(bundle.ConstitutionFolder, ".yaml"), b.Files(bundle.ConstitutionFolder, ".md")) {
		if _, err := judge.ReadConstitution(f.Name, f.Data); err != nil {
			return err
		}
	}
	return nil
}

// readable refuses a bundle of which some part could not be used here.
func (s *Sallyport) readable(b *bundle.Bundle) error {
	if err := ReadableBundle(b); err != nil {
		return err
	}
	for _, j := range s.Config.Approval.Judges {
		if name, in := strings.CutPrefix(j.Constitution, inBundle); in {
			if _, ok := b.File(name); !ok {
				return fmt.Errorf("%q is missing, and the judge %q goes by it", name, j.Name)
			}
		}
	}
	return nil
}

// readFile reads a file of the configuration, or one of the bundle in force.
func (s *Sallyport) readFile(name string) ([]byte, error) {
	inner, in := strings.CutPrefix(name, inBundle)
	if !in {
		return os.ReadFile(name)
	}
	data, ok := s.Policy.File(inner)
	if !ok {
		return nil, fmt.Errorf("the bundle in force has no %q", inner)
	}
	return data, nil
}

// labels are what a bundle says of servers' results.
type labels struct {
	of      string // digest of the bundle
	servers map[string]action.Labels
	flow    FlowConfig // the same, and what fields of results may vouch for
}

// labelsFile is flow/*.yaml.
type labelsFile struct {
	Version int          `yaml:"version"`
	Servers []FlowServer `yaml:"servers"`
	Outputs []FlowOutput `yaml:"outputs"`
}

// readLabels reads flow/*.yaml. No server may stand twice, and no field of a tool's results.
func readLabels(b *bundle.Bundle) (*labels, error) {
	all := &labels{servers: map[string]action.Labels{}}
	out := all.servers
	for _, f := range b.Files(bundle.FlowFolder, ".yaml") {
		var in labelsFile
		if err := strictyaml.Decode(f.Name, f.Data, &in); err != nil {
			return nil, err
		}
		if in.Version != 1 {
			return nil, fmt.Errorf("%s: version %d is not 1", f.Name, in.Version)
		}
		for _, x := range in.Servers {
			_, twice := out[x.Server]
			switch {
			case x.Server == "" || twice:
				return nil, fmt.Errorf("%s: server %q has no name or stands twice", f.Name, action.Clip(x.Server, 64))
			case x.Untrusted != "" && x.Untrusted != "yes" && x.Untrusted != "no":
				return nil, fmt.Errorf("%s: untrusted %q of %q is neither yes nor no", f.Name, action.Clip(x.Untrusted, 32), x.Server)
			case x.Secrecy != "" && !slices.Contains(action.SecrecyUnknown.Values(), x.Secrecy):
				return nil, fmt.Errorf("%s: secrecy %q of %q is no class", f.Name, action.Clip(x.Secrecy, 32), x.Server)
			}
			out[x.Server] = x.labels()
		}
		all.flow.Outputs = append(all.flow.Outputs, in.Outputs...)
	}
	if err := all.flow.checkOutputs(); err != nil {
		return nil, fmt.Errorf("%s/: %w", bundle.FlowFolder, err)
	}
	return all, nil
}

func (f *FlowServer) labels() action.Labels {
	return action.Labels{Untrusted: action.Tri(f.Untrusted), Secrecy: action.Secrecy(f.Secrecy)}
}

// declared are the labels that results of a server carry at worst, as the configuration says, and otherwise the bundle in force.
func (s *Sallyport) declared(server, _ string) action.Labels {
	for _, f := range s.Config.Flow.Servers {
		if f.Server == server {
			return f.labels()
		}
	}
	known, err := s.bundleLabels()
	if err != nil { // it was readable when it was put in force
		return action.Labels{Untrusted: action.Yes, Secrecy: action.SecrecySecret}
	}
	return known.servers[server]
}

// bundleLabels is what flow/*.yaml of the bundle in force says.
func (s *Sallyport) bundleLabels() (*labels, error) {
	active := s.Policy.Active()
	known := s.labels.Load()
	if known == nil || known.of != active.Bundle().Digest {
		read, err := readLabels(active.Source())
		if err != nil {
			return nil, err
		}
		read.of, known = active.Bundle().Digest, read
		s.labels.Store(known)
	}
	return known, nil
}

// chainsOf are the chains of actions that a bundle brings, or the embedded ones.
func chainsOf(b *bundle.Bundle) (*monitor.Rules, error) {
	r, err := readChains(b)
	if err == nil && r == nil {
		return monitor.DefaultRules()
	}
	return r, err
}

// readChains reads the one file of monitor/*.yaml; nil without one.
func readChains(b *bundle.Bundle) (*monitor.Rules, error) {
	files := b.Files(bundle.MonitorFolder, ".yaml")
	switch len(files) {
	case 0:
		return nil, nil
	case 1:
		return monitor.ReadRules(files[0].Name, files[0].Data)
	}
	return nil, fmt.Errorf("%s and %s: one file of chains is wanted", files[0].Name, files[1].Name)
}

// doorPolicy opens what decides at a door: the bundle's own, where policy.trust or the bundle has one, else cfg's.
func (s *Sallyport) doorPolicy(door string, cfg policy.Config) (*policy.PDP, error) {
	if c, ok := s.Policy.Active().Door(door); ok {
		if cfg.Dir != "" {
			return nil, fmt.Errorf("policy: %q and doors/%s of the bundle would both decide", cfg.Dir, door)
		}
		return policy.New(c), nil
	}
	return policy.Open(cfg)
}

// nextDoor is a door with what decides there from now on.
type nextDoor struct {
	pdp  *policy.PDP
	next *policy.Compiled
}

// doorPolicies is a door with what decides there now, and what does where the bundle in force has nothing for it.
type doorPolicies struct {
	pdp      *policy.PDP // nil: it is not configured
	loose    string      // folder that the configuration names
	embedded func() (*policy.PDP, error)
}

func (d *doorPolicies) without() (*policy.Compiled, error) {
	if d.loose != "" {
		return policy.Load(policy.Config{Dir: d.loose})
	}
	p, err := d.embedded()
	if err != nil {
		return nil, err
	}
	return p.Active(), nil
}

func (s *Sallyport) doors() map[string]doorPolicies {
	return map[string]doorPolicies{
		doorEgress:    {s.egressPolicy, s.Config.Egress.Policy, s.embeddedEgress},
		doorDatabases: {s.databasePolicy, s.Config.Postgres.Policy, s.embeddedDatabases},
	}
}

// doorOf is the door whose policy decides on q, "" if none of its own does.
func doorOf(q *action.Query) string {
	switch {
	case q == nil:
	case q.Resource.Type == "host":
		return doorEgress
	case atDatabase(q):
		return doorDatabases
	}
	return ""
}

// nextDoors are the doors for which c brings another policy. Where it has none, the embedded one comes back.
func (s *Sallyport) nextDoors(c *policy.Compiled) (out []nextDoor, err error) {
	all := s.doors()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		door := all[name]
		if door.pdp == nil {
			continue
		}
		next, ok := c.Door(name)
		if !ok {
			if next, err = door.without(); err != nil {
				return nil, err
			}
		}
		if next.Bundle() != door.pdp.Active().Bundle() {
			out = append(out, nextDoor{door.pdp, next})
		}
	}
	return out, nil
}

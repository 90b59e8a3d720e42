// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval/judge"
)

// JudgeChain says which second systems answer for some rules, and how. Whatever they say, they answer only where a
// rule names the channel judge, and a person may answer all the same.
type JudgeChain struct {
	Rules  []string `yaml:"rules" doc:"rules that it answers for, as \"pack.rule\", or \"*\" for all that no other chain names"`
	Judges []string `yaml:"judges" doc:"names of approval.judges, in the order in which they are asked"`
	Mode   string   `yaml:"mode" doc:"first: the first that is sure answers; all: every one has to confirm, and one refusal refuses; default first"`
}

// checkChains refuses chains that name nothing or what is not there. A rule has one chain.
func (c *Config) checkChains() error {
	known, seen := map[string]bool{}, map[string]bool{}
	for _, j := range c.Approval.Judges {
		known[j.Name] = true
	}
	for i, ch := range c.Approval.Chains {
		if len(ch.Rules) == 0 || len(ch.Judges) == 0 || ch.Mode != "" && ch.Mode != "first" && ch.Mode != "all" {
			return fmt.Errorf("config: approval.chains: number %d needs rules, judges, and the mode first or all", i+1)
		}
		for _, name := range ch.Judges {
			if !known[name] {
				return fmt.Errorf("config: approval.chains: there is no judge %q", action.Clip(name, 64))
			}
		}
		for _, r := range ch.Rules {
			if seen[r] {
				return fmt.Errorf("config: approval.chains: rule %q stands in two chains", action.Clip(r, 100))
			}
			seen[r] = true
		}
	}
	return nil
}

// chains are the configured ones, by rule.
type chains struct {
	by   map[string]int // rule -> number of its chain
	list []judge.Judge
	all  judge.Judge // of every judge in turn, where no chain is configured at all
}

func (s *Sallyport) openChains(byName map[string]judge.Judge, all judge.First) (chains, error) {
	c := chains{by: map[string]int{}}
	if err := s.Config.checkChains(); err != nil {
		return c, err
	}
	for i, ch := range s.Config.Approval.Chains {
		var js []judge.Judge
		for _, name := range ch.Judges {
			js = append(js, byName[name])
		}
		if ch.Mode == "all" {
			c.list = append(c.list, judge.All(js))
		} else {
			c.list = append(c.list, judge.First(js))
		}
		for _, r := range ch.Rules {
			c.by[r] = i
		}
	}
	if len(c.list) == 0 && len(all) > 0 {
		c.all = all
	}
	return c, nil
}

// of returns who answers for rules, those of a request that name the channel judge. Where they have several chains,
// all of these have to confirm; a rule that has none is left to people, and so is the request.
func (c *chains) of(rules []string) judge.Judge {
	if len(rules) == 0 {
		return nil
	}
	if c.all != nil {
		return c.all
	}
	var use []int
	for _, r := range rules {
		i, ok := c.by[r]
		if !ok {
			i, ok = c.by["*"]
		}
		if !ok {
			return nil
		}
		if !slices.Contains(use, i) {
			use = append(use, i)
		}
	}
	slices.Sort(use)
	if len(use) == 1 {
		return c.list[use[0]]
	}
	var all judge.All
	for _, i := range use {
		all = append(all, c.list[i])
	}
	return all
}

// judgedRules are the rules of a decision that ask the second system.
func judgedRules(d *action.Decision) []string {
	var out []string
	for _, m := range d.Matches {
		if m.Verdict == action.Ask && m.Approver.Need() == action.RankJudge {
			out = append(out, m.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// fromBundle is a model that judges by the constitution of the bundle in force, at each use. Without one it is unsure.
type fromBundle struct {
	cfg  judge.ModelConfig
	file string
	read func(name string) ([]byte, bool)

	mu    sync.Mutex // guards below
	text  string
	model judge.Judge
}

// Name is the judge's.
func (b *fromBundle) Name() string { return b.cfg.Name }

// Judge asks the model under what is in force now.
func (b *fromBundle) Judge(ctx context.Context, c judge.Case) judge.Opinion {
	m, err := b.now()
	if err != nil {
		return judge.Opinion{Verdict: judge.Unsure, Reason: "the second system has no constitution",
			Detail: judge.Detail{Format: "judge.v1", Judge: b.cfg.Name, Kind: b.cfg.Kind, Model: b.cfg.Model, Fault: err.Error()}}
	}
	return m.Judge(ctx, c)
}

func (b *fromBundle) now() (judge.Judge, error) {
	data, ok := b.read(b.file)
	if !ok {
		return nil, fmt.Errorf("the bundle in force holds no %q", b.file)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.model != nil && b.text == string(data) {
		return b.model, nil
	}
	rules, err := judge.ReadConstitution(b.file, data)
	if err != nil {
		return nil, err
	}
	cfg := b.cfg
	cfg.Constitution = rules
	m, err := judge.NewModel(cfg)
	if err != nil {
		return nil, err
	}
	b.text, b.model = string(data), m
	return m, nil
}

// constitutionIn returns the file of a constitution in the bundle, and whether it is meant to be there.
func constitutionIn(name string) (string, bool) { return strings.CutPrefix(name, inBundle) }

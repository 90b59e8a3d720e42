// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval/judge"
)

// says is a judge of one opinion.
type says struct {
	name string
	v    judge.Verdict
}

func (s says) Name() string                                    { return s.name }
func (s says) Judge(context.Context, judge.Case) judge.Opinion { return judge.Opinion{Verdict: s.v} }

// TestChainsConfirmOnlyWhatEachOfThemConfirms draws configurations, judges and requests, and holds what a chain says
// against what its parts would say one by one.
func TestChainsConfirmOnlyWhatEachOfThemConfirms(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	verdicts := []judge.Verdict{judge.Unsure, judge.Confirm, judge.Refuse, ""}
	confirmed, none := 0, 0
	for range 20_000 {
		byName := map[string]judge.Judge{}
		said := map[string]judge.Verdict{}
		var cfg Config
		for i := range 3 {
			name := fmt.Sprint("j", i)
			said[name] = verdicts[r.IntN(len(verdicts))]
			byName[name] = says{name, said[name]}
			cfg.Approval.Judges = append(cfg.Approval.Judges, JudgeConfig{Name: name})
		}
		free := []string{"p.a", "p.b", "p.c", "*"}
		for n := 1 + r.IntN(3); n > 0; n-- {
			c := JudgeChain{Rules: free[n : n+1], Mode: []string{"first", "all", ""}[r.IntN(3)]}
			for i := range 1 + r.IntN(3) {
				c.Judges = append(c.Judges, fmt.Sprint("j", (i+r.IntN(3))%3))
			}
			cfg.Approval.Chains = append(cfg.Approval.Chains, c)
		}
		s := &Sallyport{Config: cfg}
		cs, err := s.openChains(byName, nil)
		if err != nil {
			t.Fatal(err)
		}
		var rules []string
		for _, rule := range []string{"p.a", "p.b", "p.c"} {
			if r.IntN(2) == 0 {
				rules = append(rules, rule)
			}
		}
		want := len(rules) > 0
		for _, rule := range rules {
			want = want && confirms(&cfg, rule, said)
		}
		j := cs.of(rules)
		got := j != nil && j.Judge(t.Context(), judge.Case{}).Verdict == judge.Confirm
		if got != want {
			t.Fatalf("rules %v under %+v, where they say %v: confirmed %v, each alone %v", rules, cfg.Approval.Chains, said, got, want)
		}
		if got {
			confirmed++
		}
		if j == nil {
			none++
		}
	}
	if confirmed == 0 || none == 0 {
		t.Errorf("%d confirmations, %d without a chain: nothing was tried", confirmed, none)
	}
}

// confirms says, from the configuration alone, whether rule's own chain confirms.
func confirms(cfg *Config, rule string, said map[string]judge.Verdict) bool {
	for _, want := range []string{rule, "*"} {
		for _, c := range cfg.Approval.Chains {
			if c.Rules[0] != want {
				continue
			}
			for _, name := range c.Judges {
				sure := said[name] == judge.Confirm || said[name] == judge.Refuse
				switch {
				case c.Mode == "all" && said[name] != judge.Confirm:
					return false
				case c.Mode != "all" && sure:
					return said[name] == judge.Confirm
				}
			}
			return c.Mode == "all"
		}
	}
	return false
}

func TestChainsThatNameNothingAreRefused(t *testing.T) {
	for want, chain := range map[string][]JudgeChain{
		"needs rules":       {{Judges: []string{"a"}}},
		"number 1 needs":    {{Rules: []string{"p.a"}}},
		"mode first":        {{Rules: []string{"p.a"}, Judges: []string{"a"}, Mode: "any"}},
		"no judge \"b\"":    {{Rules: []string{"p.a"}, Judges: []string{"b"}}},
		"stands in two":     {{Rules: []string{"p.a"}, Judges: []string{"a"}}, {Rules: []string{"p.a"}, Judges: []string{"a"}}},
		"\"p.b\" stands in": {{Rules: []string{"p.b", "p.b"}, Judges: []string{"a"}}},
	} {
		var cfg Config
		cfg.Approval.Judges, cfg.Approval.Chains = []JudgeConfig{{Name: "a"}}, chain
		if err := cfg.checkChains(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestRulesThatDoNotAskTheSecondSystemAreNotItsOwn(t *testing.T) {
	d := action.Decision{Matches: []action.Match{{ID: "p.a", Verdict: action.Ask, Approver: action.Approver{Channel: action.RankJudge}},
		{ID: "p.b", Verdict: action.Ask, Approver: action.Approver{Channel: action.RankOperator}}, {ID: "p.c", Verdict: action.Deny},
		{ID: "p.d", Verdict: action.Ask}}}
	if got := judgedRules(&d); len(got) != 1 || got[0] != "p.a" {
		t.Errorf("%v", got)
	}
}

// A model judges by what the bundle in force says, at each use, and by nothing where it says nothing.
func TestConstitutionIsThatOfTheBundleInForce(t *testing.T) {
	files := map[string][]byte{}
	b := &fromBundle{cfg: judge.ModelConfig{Name: "m", Kind: "openai", URL: "http://127.0.0.1:1/v1", Model: "m"}, file: "constitution/house.md",
		read: func(name string) ([]byte, bool) { data, ok := files[name]; return data, ok }}
	if o := b.Judge(t.Context(), judge.Case{}); o.Verdict != judge.Unsure || !strings.Contains(o.Detail.Fault, "holds no") {
		t.Errorf("without a constitution it says %+v", o)
	}
	files["constitution/house.md"] = []byte("# House\n\n1. Pay nobody.\n")
	one, err := b.now()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := b.now(); again != one {
		t.Error("the same text makes another model")
	}
	files["constitution/house.md"] = []byte("# House\n\n1. Pay nobody.\n2. Mail nobody.\n")
	if next, err := b.now(); err != nil || next == one {
		t.Errorf("another text makes the same model, %v", err)
	}
	files["constitution/house.md"] = []byte("Pay nobody.\n")
	if o := b.Judge(t.Context(), judge.Case{}); o.Verdict != judge.Unsure {
		t.Errorf("a text without rules says %+v", o)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package judge asks a second automated system whether a call follows a constitution: a webhook, or a
// language model.
//
// # What is trusted
//
// A judge is worth what policy says: its word counts for asks that name it and for nothing else, and the
// desk takes none where an untrusted source chose a sink. A language model can be talked into anything by
// what it reads, so it reads the user's request and the bare call only. Of a value that the user, the
// organisation or the tool's approved schema vouches for it sees the value; of every other one only its
// type, length, host and origin. The agent's prose and what tools returned never reach it.
//
// # Failure model
//
// Whatever is late, malformed, incomplete or contradicts itself is no opinion, and people are asked.
package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Verdict is what a judge says. The zero value is no opinion.
type Verdict string

// The verdicts.
const (
	Unsure  Verdict = "unsure"
	Confirm Verdict = "confirm"
	Refuse  Verdict = "refuse"
)

// Rule is one numbered rule of a constitution, in plain language.
type Rule struct {
	ID   int    `yaml:"id" json:"id"`
	Text string `yaml:"text" json:"text"`
}

// Constitution is a versioned file of rules.
type Constitution struct {
	Version int    `yaml:"version"` // of the format; 1
	Name    string `yaml:"name"`
	Rules   []Rule `yaml:"rules"`
	Digest  string `yaml:"-"` // "sha256:..." of the file
}

// The bounds of a constitution.
const (
	maxRules     = 50
	maxRuleBytes = 2000
)

// ReadConstitution reads a constitution strictly: YAML, or numbered rules in Markdown where file ends in ".md".
func ReadConstitution(file string, data []byte) (*Constitution, error) {
	var c Constitution
	var err error
	if strings.HasSuffix(file, ".md") {
		c, err = readNumbered(file, data)
	} else if err = strictyaml.Decode(file, data, &c); err != nil {
		err = fmt.Errorf("judge: %w", err)
	}
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	switch {
	case c.Version != 1:
		return nil, fmt.Errorf("judge: %s: version %d is not 1", file, c.Version)
	case c.Name == "" || len(c.Rules) == 0 || len(c.Rules) > maxRules:
		return nil, fmt.Errorf("judge: %s: a name and 1 to %d rules are wanted", file, maxRules)
	}
	for _, r := range c.Rules {
		if r.ID < 1 || seen[r.ID] || strings.TrimSpace(r.Text) == "" || len(r.Text) > maxRuleBytes {
			return nil, fmt.Errorf("judge: %s: rule %d is empty, too long, or its number stands twice", file, r.ID)
		}
		seen[r.ID] = true
	}
	sum := sha256.Sum256(data)
	c.Digest = "sha256:" + hex.EncodeToString(sum[:])
	return &c, nil
}

// Case is what a judge is asked about.
type Case struct {
	ID      string         // of the approval
	Request string         // the user's words as a host told them; "" when nobody did
	Call    jsontext.Value // the bare call, see CallOf
	Expires time.Time      // an opinion after it is of no use
	Text    string         // see TextOf; no model and no webhook is shown it
}

// Opinion is an answer, with what the record needs to judge the judge.
type Opinion struct {
	Verdict Verdict
	Rules   []RuleOpinion // one per rule of the constitution; empty for a webhook
	Reason  string        // of Unsure and Refuse: in our words or, for a webhook, in its own
	Detail  Detail
}

// RuleOpinion is what a model says of one rule.
type RuleOpinion struct {
	ID      int    `json:"id"`
	Verdict string `json:"verdict"` // follows, violates, unsure
}

// Detail is what was asked and answered.
type Detail struct {
	Format       string `json:"format"` // "judge.v1"
	Judge        string `json:"judge"`
	Kind         string `json:"kind"`
	Model        string `json:"model"` // as the answer names it, else as it was asked for
	Constitution string `json:"constitution"`
	Prompt       string `json:"prompt"`
	Answer       string `json:"answer"` // raw, cut at 16 KiB
	Fault        string `json:"fault"`  // why there is no opinion
	Millis       int64  `json:"millis"`
}

// Judge is one second system.
type Judge interface {
	// Judge never returns an error: what goes wrong is an unsure opinion. It returns within its time limit.
	Judge(ctx context.Context, c Case) Opinion
	Name() string
}

// First asks judges in turn until one is sure: a cheap one first, a better one if it is not.
type First []Judge

// Name names all of them.
func (f First) Name() string {
	var names []string
	for _, j := range f {
		names = append(names, j.Name())
	}
	return strings.Join(names, "+")
}

// Judge returns the first sure opinion, else the last one.
func (f First) Judge(ctx context.Context, c Case) (o Opinion) {
	for _, j := range f {
		if o = j.Judge(ctx, c); o.Verdict == Confirm || o.Verdict == Refuse {
			return o
		}
	}
	return o
}

// All wants every judge to confirm; one refusal refuses.
type All []Judge

// Name names all of them.
func (a All) Name() string { return First(a).Name() }

// Judge returns the first opinion that is no confirmation, else the last confirmation.
func (a All) Judge(ctx context.Context, c Case) (o Opinion) {
	for _, j := range a {
		if o = j.Judge(ctx, c); o.Verdict != Confirm {
			return o
		}
	}
	return o
}

// unsure is no opinion, for a reason.
func unsure(d Detail, err error) Opinion {
	d.Fault = err.Error()
	return Opinion{Verdict: Unsure, Reason: "the second system gave no usable answer", Detail: d}
}

var errMalformed = errors.New("the answer is malformed")

// weigh reads a model's answer: every rule exactly once, and nothing else.
func weigh(c *Constitution, data []byte) (Verdict, []RuleOpinion, error) {
	var got struct {
		Rules []RuleOpinion `json:"rules"`
	}
	if err := action.Read(data, &got, action.Limits{Bytes: maxAnswerBytes}); err != nil {
		return Unsure, nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	verdict := Confirm
	left := slices.Clone(c.Rules)
	for _, r := range got.Rules {
		i := slices.IndexFunc(left, func(l Rule) bool { return l.ID == r.ID })
		if i < 0 {
			return Unsure, nil, fmt.Errorf("%w: rule %d is unknown or stands twice", errMalformed, r.ID)
		}
		left = slices.Delete(left, i, i+1)
		switch r.Verdict {
		case "follows":
		case "violates":
			verdict = Refuse
		case "unsure":
			if verdict == Confirm {
				verdict = Unsure
			}
		default:
			return Unsure, nil, fmt.Errorf("%w: a verdict that is none", errMalformed)
		}
	}
	if len(left) > 0 {
		return Unsure, nil, fmt.Errorf("%w: rule %d is missing", errMalformed, left[0].ID)
	}
	return verdict, got.Rules, nil
}

// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval/judge/classify"
)

// ClassifierConfig is a judge of final answers and messages by built-in rules, see package classify.
type ClassifierConfig struct {
	Name         string
	RefuseMilli  int // from which chance of a broken rule it refuses; 0 means 800
	ConfirmMilli int // up to which chance of every rule it confirms; 0 means that it never does
}

type classifier struct {
	cfg   ClassifierConfig
	model *classify.Model
}

// NewClassifier returns the judge. It has an opinion of text that goes to people, and of nothing else.
func NewClassifier(cfg ClassifierConfig) (Judge, error) {
	if cfg.RefuseMilli == 0 {
		cfg.RefuseMilli = 800
	}
	if cfg.Name == "" || cfg.RefuseMilli < 1 || cfg.RefuseMilli > 1000 || cfg.ConfirmMilli < 0 || cfg.ConfirmMilli >= cfg.RefuseMilli {
		return nil, errors.New("judge: a classifier needs a name, and confirms below the chance from which it refuses")
	}
	m, err := classify.Embedded()
	if err != nil {
		return nil, err
	}
	return &classifier{cfg, m}, nil
}

func (c *classifier) Name() string { return c.cfg.Name }

func (c *classifier) Judge(_ context.Context, k Case) Opinion {
	d := Detail{Format: "judge.v1", Judge: c.cfg.Name, Kind: "classifier", Model: c.model.Digest()}
	if strings.TrimSpace(k.Text) == "" {
		return unsure(d, errors.New("there is no text for people in it"))
	}
	o := Opinion{Verdict: Unsure, Reason: "no rule is surely kept or broken", Detail: d}
	if len(k.Text) > classify.MaxBytes {
		o.Detail.Fault = "only the beginning and the end were scored"
	}
	scores := c.model.Score(k.Text)
	worst := slices.MaxFunc(scores, func(a, b classify.Score) int { return a.Milli - b.Milli })
	for _, s := range scores {
		r := RuleOpinion{ID: s.ID, Verdict: "unsure"}
		if s.Milli >= c.cfg.RefuseMilli {
			r.Verdict = "violates"
		} else if s.Milli <= c.cfg.ConfirmMilli && c.cfg.ConfirmMilli > 0 {
			r.Verdict = "follows"
		}
		o.Rules = append(o.Rules, r)
	}
	if b, err := action.Canonical(scores); err == nil {
		o.Detail.Answer = string(b)
	}
	switch {
	case worst.Milli >= c.cfg.RefuseMilli:
		o.Verdict, o.Reason = Refuse, fmt.Sprintf("rule %d of the classifier is broken with a chance of %d of 1000", worst.ID, worst.Milli)
	case c.cfg.ConfirmMilli > 0 && worst.Milli <= c.cfg.ConfirmMilli && o.Detail.Fault == "":
		o.Verdict, o.Reason = Confirm, ""
	}
	return o
}

// TextOf is what an action tells people: the texts of the arguments of a final answer or of something sent. It is ""
// for other actions. Only a classifier reads it; no model is shown it.
func TextOf(q *action.Query) string {
	if q.Action.Effect != action.EffectRespond && q.Action.Effect != action.EffectSend {
		return ""
	}
	var out []string
	dec := jsontext.NewDecoder(bytes.NewReader(q.Action.Arguments))
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, "\n")
		}
		if err != nil {
			return "" // no opinion of what cannot be read whole
		}
		// In an object, every second token is a name.
		kind, n := dec.StackIndex(dec.StackDepth())
		if tok.Kind() == '"' && (kind != '{' || n%2 == 0) {
			out = append(out, tok.String())
		}
	}
}

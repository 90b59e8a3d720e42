// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
)

// What people call wrong is recorded and counted; it changes no decision. An alert's kind falls silent for a while,
// as it does where an alert is answered on its own.
const (
	codeWrong      = "review.wrong"
	codeAlertWrong = "monitor.called_wrong"
)

// accuracyDays is how far back rules are counted where nothing else is asked for.
const accuracyDays = 30

// calledWrongOf is what is sealed with a record of code review.wrong. Summary is what lists show.
type calledWrongOf struct {
	Format  string         `json:"format"` // "review.v1"
	Summary string         `json:"summary"`
	Server  string         `json:"server"`
	Tool    string         `json:"tool"`
	Record  uint64         `json:"record"`
	By      string         `json:"by"`
	Reason  string         `json:"reason"`
	Expect  action.Verdict `json:"expect"`
	Verdict action.Verdict `json:"verdict"`
}

// reviews is what people say about decisions, and what comes of it.
type reviews struct {
	*Sallyport

	mu    *sync.Mutex // guards below
	known *accuracy
}

type accuracy struct {
	at    time.Time
	rules []admin.RuleAccuracy
}

var _ admin.Reviews = reviews{}

func newReviews(s *Sallyport) reviews { return reviews{s, new(sync.Mutex), new(accuracy)} }

// Wrong records that by calls the decision or alert at index wrong.
func (v reviews) Wrong(ctx context.Context, c *gateway.Caller, index uint64, w admin.Wrong) (admin.Called, error) {
	e, err := v.Ledger.Read(index)
	if errors.Is(err, ledger.ErrNotFound) {
		return admin.Called{}, admin.ErrNoEntry
	}
	if err != nil {
		return admin.Called{}, err
	}
	l := e.Leaf
	if l.Kind == action.KindAlert && l.Subject == "" {
		err := alerts{v.Sallyport}.Acknowledge(ctx, index, c.Name, true, w.Reason)
		return admin.Called{Record: index, Rules: l.Codes}, err
	}
	part := action.PartInputBefore
	if l.Kind == action.KindOutcome {
		part = action.PartInputAfter
	}
	opposed := l.Kind == action.KindDecision || l.Kind == action.KindOutcome
	if !opposed || l.Verdict == "" || l.Verdict == action.Allow && l.Kind == action.KindDecision || len(l.Rules) == 0 {
		return admin.Called{}, admin.ErrNotDecided
	}
	q, err := v.input(ctx, c, index, part)
	if err != nil {
		return admin.Called{}, err
	}
	text, owner := "", c.Name
	if q != nil {
		owner = cmp.Or(q.Subject.User.ID, q.Subject.ID, c.Name)
		if text, _, err = v.policyFor(q).Active().RecordedCase(ctx, q, strconv.FormatUint(index, 10), "", w.Expect); err != nil {
			return admin.Called{}, err
		}
	} else {
		q = action.NewQuery(action.Before)
	}
	detail, err := action.Canonical(calledWrongOf{"review.v1", "called wrong: " + action.Clip(w.Reason, 200), q.Resource.Server, q.Resource.Name, index, c.Name, w.Reason, w.Expect, l.Verdict})
	if err != nil {
		return admin.Called{}, err
	}
	rules := decidedAgainst(&e)
	r := &action.Record{Kind: action.KindAlert, Tenant: l.Tenant, TimeMs: v.Ledger.Now().UnixMilli(), Actor: c.Name,
		Server: q.Resource.Server, Tool: q.Resource.Name, Effect: l.Effect, Rules: rules, Bundle: l.Bundle, Status: action.StatusNone, Subject: strconv.FormatUint(index, 10),
		Codes: []string{codeWrong}, Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: c.Name, Data: detail}}}
	if text != "" {
		r.Parts = append(r.Parts, action.PayloadPart{Name: action.PartExplanation, Owner: owner, Data: []byte(text)})
	}
	got, err := v.Ledger.Append(ctx, r)
	if err != nil {
		return admin.Called{}, err
	}
	v.forgetAccuracy()
	return admin.Called{Index: got.Index, Record: index, Rules: rules, Case: text}, nil
}

// decidedAgainst are the rules that a decision rests on: all that it names where its explanation was erased.
func decidedAgainst(e *ledger.Entry) []string {
	var d action.Decision
	data, err := e.Open(action.PartExplanation)
	if err != nil || json.Unmarshal(data, &d) != nil {
		return e.Leaf.Rules
	}
	var out []string
	for _, m := range d.Deciding() {
		out = append(out, m.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// input opens what a decision rested on, nil where it was erased. That c has it opened is recorded.
func (v reviews) input(ctx context.Context, c *gateway.Caller, index uint64, part action.PartName) (*action.Query, error) {
	data, _, err := v.Ledger.Disclose(ctx, index, part, c.Name, "called wrong")
	if errors.Is(err, ledger.ErrErased) || errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return action.ReadQuery(data)
}

// List returns what was called wrong since a time, the latest first.
func (v reviews) List(ctx context.Context, since int64, most int) ([]admin.Review, error) {
	out := []admin.Review{}
	err := v.wrongs(ctx, since, func(e ledger.Entry) {
		r := admin.Review{Index: e.Index, TimeMs: e.Leaf.TimeMs, Rules: e.Leaf.Rules}
		r.Record, _ = strconv.ParseUint(e.Leaf.Subject, 10, 64)
		out = append(out, r)
		if len(out) > most {
			out = out[1:]
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(out)
	for i := range out {
		v.open(&out[i])
	}
	return out, nil
}

// open reads what is sealed with a review; what was erased stays empty.
func (v reviews) open(r *admin.Review) {
	e, err := v.Ledger.Read(r.Index)
	if err != nil {
		return
	}
	data, err := e.Open(action.PartDetail)
	if err != nil {
		return
	}
	var d calledWrongOf
	var a verdictOnAlert
	switch {
	case action.Read(data, &d, action.Limits{}) == nil:
		r.By, r.Reason, r.Expect, r.Verdict, r.Server, r.Tool = d.By, d.Reason, d.Expect, d.Verdict, d.Server, d.Tool
	case action.Read(data, &a, action.Limits{}) == nil:
		r.Reason, r.Summary, r.Server, r.Tool = a.Reason, a.Alert.Summary, a.Alert.Server, a.Alert.Tool
	}
	if text, err := e.Open(action.PartExplanation); err == nil {
		r.Case = string(text)
	}
}

// wrongs calls fn with each record of something called wrong, oldest first. Of several about one record the
// first counts.
func (v reviews) wrongs(ctx context.Context, since int64, fn func(ledger.Entry)) error {
	seen := map[string]bool{}
	return v.Ledger.Select(ctx, 0, []string{string(action.KindAlert)}, func(e ledger.Entry) error {
		l := e.Leaf
		if l.TimeMs < since || l.Subject == "" || seen[l.Subject] || !slices.Contains(l.Codes, codeWrong) && !slices.Contains(l.Codes, codeAlertWrong) {
			return nil
		}
		seen[l.Subject] = true
		fn(e)
		return nil
	})
}

// Accuracy says how often each rule decided against an agent since a time, and how often that was called wrong.
func (v reviews) Accuracy(ctx context.Context, since int64) ([]admin.RuleAccuracy, error) {
	since = v.since30(since)
	counts, err := v.Index.RuleCounts(ctx, since)
	if err != nil {
		return nil, err
	}
	wrong := map[string]int64{}
	err = v.wrongs(ctx, since, func(e ledger.Entry) {
		for _, rule := range e.Leaf.Rules {
			wrong[rule]++
		}
	})
	if err != nil {
		return nil, err
	}
	out := []admin.RuleAccuracy{}
	for rule := range wrong {
		c := counts[rule]
		c.Rule = rule
		counts[rule] = c
	}
	for rule, c := range counts {
		a := admin.RuleAccuracy{RuleCount: c, Wrong: wrong[rule]}
		if fired := c.Denied + c.Asked + c.Alerts; fired > 0 {
			a.WrongMilli = min(1000*a.Wrong/fired, 1000)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b admin.RuleAccuracy) int {
		return cmp.Or(cmp.Compare(b.Wrong, a.Wrong), cmp.Compare(b.Denied+b.Asked+b.Alerts, a.Denied+a.Asked+a.Alerts), strings.Compare(a.Rule, b.Rule))
	})
	return out[:min(len(out), maxGroups)], nil
}

func (v reviews) forgetAccuracy() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.known.at = time.Time{}
}

// lately is Accuracy over accuracyDays, at most a minute old.
func (v reviews) lately(ctx context.Context) []admin.RuleAccuracy {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.Ledger.Now()
	if v.known.at.IsZero() || now.Sub(v.known.at) > time.Minute {
		rules, err := v.Accuracy(ctx, now.AddDate(0, 0, -accuracyDays).UnixMilli())
		if err != nil {
			return nil
		}
		v.known.at, v.known.rules = now, rules
	}
	return v.known.rules
}

// ruleMetrics tells of each rule how often it decided against an agent and was called wrong. Names of rules are the
// policy's, and at most maxGroups of them are told of.
type ruleMetrics struct {
	reviews
	fired, wrong *prometheus.Desc
}

func newRuleMetrics(v reviews) ruleMetrics {
	return ruleMetrics{v,
		prometheus.NewDesc("sallyport_rule_decided", "Denials, asks and alerts of a rule over 30 days.", []string{"rule"}, nil),
		prometheus.NewDesc("sallyport_rule_called_wrong", "Those of them that people called wrong.", []string{"rule"}, nil)}
}

func (m ruleMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.fired; to <- m.wrong }

func (m ruleMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, a := range m.lately(ctx) {
		to <- prometheus.MustNewConstMetric(m.fired, prometheus.GaugeValue, float64(a.Denied+a.Asked+a.Alerts), a.Rule)
		to <- prometheus.MustNewConstMetric(m.wrong, prometheus.GaugeValue, float64(a.Wrong), a.Rule)
	}
}

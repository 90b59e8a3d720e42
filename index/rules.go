// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// RuleCount is how often a rule decided against an agent, or an alert was raised.
type RuleCount struct {
	Rule   string `json:"rule"` // of an alert "monitor." and its name
	Denied int64  `json:"denied"`
	Asked  int64  `json:"asked"`
	Alerts int64  `json:"alerts"`
}

// opposition is what rules of the step did to an agent: "denied", "asked" or "alert"; "" for nothing.
func (s *Step) opposition() string {
	switch {
	case s.Kind == action.KindAlert && s.Subject == "":
		return "alert"
	case s.Verdict == action.Ask:
		return "asked"
	case s.Verdict == action.Deny || s.Verdict == action.Quarantine:
		return "denied"
	}
	return ""
}

// opposing are the rules that did it. An approved action is asked about once.
func (s *Step) opposing() []string {
	var named []string
	switch {
	case s.opposition() == "" || s.Kind == action.KindIntent:
		return nil
	case s.Kind == action.KindAlert:
		named = slices.DeleteFunc(slices.Clone(s.Codes), func(c string) bool { return !strings.HasPrefix(c, "monitor.") })
	default:
		named = slices.Clone(s.deciding)
	}
	slices.Sort(named)
	return slices.DeleteFunc(slices.Compact(named), func(r string) bool { return r == "" })
}

// RuleCounts counts by rule how often it decided against an agent since the day of a time, and the alerts.
func (x *Index) RuleCounts(ctx context.Context, since int64) (map[string]RuleCount, error) {
	rows, err := x.read(ctx, `SELECT rule, what, sum(n) FROM rule_tally WHERE day >= ? GROUP BY rule, what`, since/86_400_000)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]RuleCount{}
	for rows.Next() {
		var rule, what string
		var n int64
		if err := rows.Scan(&rule, &what, &n); err != nil {
			return nil, fmt.Errorf("index: rules: %w", err)
		}
		c := out[rule]
		c.Rule = rule
		switch what {
		case "alert":
			c.Alerts += n
		case "asked":
			c.Asked += n
		default:
			c.Denied += n
		}
		out[rule] = c
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("index: rules: %w", err)
	}
	return out, nil
}

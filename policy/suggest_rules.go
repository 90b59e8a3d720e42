// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

const seenHead = `# What the agent was seen to do. These rules permit nothing: beside other packs they ask about what was not seen.
package sallyport.%s

import rego.v2

ask contains {
	"id": "unseen", "code": "not-seen-before", "severity": "medium",
	"reason": %s,
	"hint": "This is new for this agent, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.subject.tenant == %s
	input.subject.id == %s
	not seen
}
`

// quote writes s as Rego text.
func quote(s string) string {
	data, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(data)
}

func list(set map[string]bool) string {
	var out []string
	for _, s := range slices.Sorted(maps.Keys(set)) {
		out = append(out, quote(s))
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// write adds the rule of the i-th shape. A list of which nothing was seen must be empty.
func (sh *shape) write(b *strings.Builder, i int) {
	line := func(format string, args ...any) { fmt.Fprintf(b, "\t"+format+"\n", args...) }
	b.WriteString("\nseen if {\n")
	line("input.action.name == %s", quote(sh.method))
	line("input.resource.id == %s", quote(sh.tool))
	line("input.action.effect == %s", quote(string(sh.effect)))
	if sh.approved {
		line(`input.resource.definition.state == "approved"`)
	}
	if sh.typed {
		line(`input.action.typed == "known"`)
	}
	each := func(name string, seen int, conditions ...string) {
		if seen == 0 {
			line("count(input.action.%s) == 0", name)
			return
		}
		line("every x in input.action.%s {", name)
		for _, c := range conditions {
			line("\t%s", c)
		}
		line("}")
	}
	if sh.listed() {
		each("paths", len(sh.folders), "x.resolved in "+list(sh.folders), "x.access in "+list(sh.access), `x.traversal == "no"`)
	} else {
		each("paths", len(sh.folders), fmt.Sprintf("folder_%d(x.resolved)", i), "x.access in "+list(sh.access), `x.traversal == "no"`)
	}
	each("urls", len(sh.hosts), "x.host in "+list(sh.hosts))
	each("recipients", len(sh.recipients), "x.value in "+list(sh.recipients))
	each("commands", len(sh.commands), fmt.Sprintf("command_%d(x)", i), `x.dynamic == "no"`)
	each("sql", len(sh.statements), `x.parsed == "known"`, fmt.Sprintf("statement_%d(x)", i))
	each("amounts", len(sh.amounts), fmt.Sprintf("amount_%d(x)", i), `x.overflow == "no"`)
	b.WriteString("}\n")
	sh.functions(b, i)
}

func (sh *shape) functions(b *strings.Builder, i int) {
	if !sh.listed() {
		for _, f := range slices.Sorted(maps.Keys(sh.folders)) {
			if strings.HasSuffix(f, "/") {
				fmt.Fprintf(b, "\nfolder_%d(p) if startswith(p, %s)\n", i, quote(f))
				continue
			}
			fmt.Fprintf(b, "\nfolder_%d(p) if p == %s\n", i, quote(f))
		}
	}
	for _, c := range slices.Sorted(maps.Keys(sh.commands)) {
		name, verb, _ := strings.Cut(c, " ")
		fmt.Fprintf(b, "\ncommand_%d(c) if {\n\tc.name == %s\n\tc.verb == %s\n}\n", i, quote(name), quote(verb))
	}
	verbs := map[string]map[string]bool{}
	for st := range sh.statements {
		verb, table, _ := strings.Cut(st, " ")
		if verbs[verb] == nil {
			verbs[verb] = map[string]bool{}
		}
		if table != "" {
			verbs[verb][table] = true
		}
	}
	for _, verb := range slices.Sorted(maps.Keys(verbs)) {
		if len(verbs[verb]) == 0 {
			fmt.Fprintf(b, "\nstatement_%d(s) if {\n\ts.verb == %s\n\tcount(s.tables) == 0\n}\n", i, quote(verb))
			continue
		}
		fmt.Fprintf(b, "\nstatement_%d(s) if {\n\ts.verb == %s\n\tevery t in s.tables { t in %s }\n}\n", i, quote(verb), list(verbs[verb]))
	}
	for _, unit := range slices.Sorted(maps.Keys(sh.amounts)) {
		currency, exponent, _ := strings.Cut(unit, "/")
		fmt.Fprintf(b, "\namount_%d(m) if {\n\tm.currency == %s\n\tm.exponent == %s\n\tm.minor >= 0\n\tm.minor <= %d\n}\n", i, quote(currency), exponent, sh.amounts[unit])
	}
}

// admits says what the shape lets by beyond what was recorded.
func (sh *shape) admits() (out []string) {
	say := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("%s (%s): %s", action.Clip(strconv.QuoteToASCII(sh.tool), 100), action.Word(sh.effect), fmt.Sprintf(format, args...)))
	}
	if !sh.listed() {
		for _, f := range slices.Sorted(maps.Keys(sh.folders)) {
			if strings.HasSuffix(f, "/") {
				say("every path below %s", strconv.QuoteToASCII(f))
			}
		}
	}
	for _, h := range slices.Sorted(maps.Keys(sh.hosts)) {
		say("every URL of %s", strconv.QuoteToASCII(h))
	}
	for _, c := range slices.Sorted(maps.Keys(sh.commands)) {
		say("%s with other words", strconv.Quote(c))
	}
	for _, unit := range slices.Sorted(maps.Keys(sh.amounts)) {
		say("every amount up to %d of %s", sh.amounts[unit], unit)
	}
	for _, name := range slices.Sorted(maps.Keys(sh.untyped)) {
		say("any value of %s", action.Clip(strconv.QuoteToASCII(name), 64))
	}
	if !sh.approved {
		say("a definition that nobody approved")
	}
	return out
}

// seenCase tells q as a case: what the rules of its shape and of the bundle in force need of it.
func seenCase(ctx context.Context, active *Compiled, sh *shape, q *action.Query) (string, error) {
	d, err := active.Decide(ctx, q)
	if err != nil {
		return "", err
	}
	part, err := active.Minimal(ctx, q, func(now *action.Query) bool { return sh.matches(q, now) })
	if err != nil {
		return "", err
	}
	return CaseText(fmt.Sprintf("%s, as record has it", action.Clip(sh.tool, 100)), d.Verdict, nil, part)
}

// unseenCase tells of a tool that the agent never used. The rule asks, unless the bundle in force is stricter.
func (s *Suggester) unseenCase(ctx context.Context, active *Compiled) (string, error) {
	q := action.NewQuery(action.Before)
	q.Subject.Tenant, q.Subject.ID = s.tenant, s.agent
	q.Action.Effect, q.Resource.Server, q.Resource.Name = action.EffectRead, "nowhere", "never-used"
	q.Resource.ID = action.ToolKey(q.Resource.Server, q.Resource.Name)
	d, err := active.Decide(ctx, q)
	if err != nil {
		return "", err
	}
	expect := action.Ask
	if rules := decidingRules(&d); !strings.HasPrefix(rules, "default.") {
		expect = d.Verdict.Meet(action.Ask)
	}
	part, err := Stating(q)
	if err != nil {
		return "", err
	}
	return CaseText("a tool that the agent was never seen to use", expect, nil, part)
}

// matches reports whether now states of q all that the rules of the shape look at.
func (sh *shape) matches(q, now *action.Query) bool {
	a, b := &q.Action, &now.Action
	same := now.Phase == q.Phase && now.Subject.ID == q.Subject.ID && now.Subject.Tenant == q.Subject.Tenant && a.Name == b.Name && q.Resource.ID == now.Resource.ID &&
		a.Effect == b.Effect && q.Resource.Definition.State == now.Resource.Definition.State && a.Typed == b.Typed &&
		len(a.Paths) == len(b.Paths) && len(a.URLs) == len(b.URLs) && len(a.Recipients) == len(b.Recipients) && len(a.Commands) == len(b.Commands) &&
		len(a.SQL) == len(b.SQL) && len(a.Amounts) == len(b.Amounts)
	if !same {
		return false
	}
	for i, p := range a.Paths {
		same = same && p.Resolved == b.Paths[i].Resolved && p.Access == b.Paths[i].Access && p.Traverse == b.Paths[i].Traverse
	}
	for i, u := range a.URLs {
		same = same && u.Host == b.URLs[i].Host
	}
	for i, r := range a.Recipients {
		same = same && r.Value == b.Recipients[i].Value
	}
	for i, c := range a.Commands {
		same = same && c.Name == b.Commands[i].Name && c.Verb == b.Commands[i].Verb && c.Dynamic == b.Commands[i].Dynamic
	}
	for i, st := range a.SQL {
		same = same && st.Verb == b.SQL[i].Verb && slices.Equal(st.Tables, b.SQL[i].Tables) && st.Parsed == b.SQL[i].Parsed
	}
	for i, m := range a.Amounts {
		same = same && m.Minor == b.Amounts[i].Minor && m.Currency == b.Amounts[i].Currency && m.Exponent == b.Amounts[i].Exponent && m.Overflow == b.Amounts[i].Overflow
	}
	return same
}

func decoded(raw []byte) (v any) {
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

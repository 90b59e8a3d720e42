// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// agree compares compiled rules with topdown on n generated documents and returns how many the compiled
// rules decided by themselves.
func agree(t *testing.T, e *Evaluator, seeds []*action.Query, n int, seed uint64) (alone int) {
	t.Helper()
	if e.fast == nil {
		t.Fatal(e.Coverage().Why)
	}
	g := NewGenerator(e, seeds, seed)
	for i := range n {
		q := g.Next(i)
		want, err := e.topdown(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := e.compiledDecision(context.Background(), q)
		if !ok {
			continue
		}
		alone++
		if !reflect.DeepEqual(got, want) {
			data, _ := action.Canonical(q)
			t.Errorf("document %d: compiled %s\ntopdown errors %q\n%s", i, difference(&got, &want), want.Errors, data)
			return alone
		}
	}
	return alone
}

// documents is n, or ten times as many in a soak run.
func documents(n int) int {
	if os.Getenv("SALLYPORT_SOAK") != "" {
		return 10 * n
	}
	return n
}

// construct is a way to write a condition: body, with the rules that it needs, and a part of the reason why it is left to
// topdown, if it is.
type construct struct{ body, more, slow string }

var constructs = map[string]construct{
	"equality":                          {`input.action.effect == "read"`, "", ""},
	"equality the other way":            {`"read" == input.action.effect`, "", ""},
	"equality of two facts":             {`input.resource.server == input.resource.name`, "", ""},
	"inequality":                        {`input.action.effect != "read"`, "", ""},
	"membership":                        {`input.action.effect in {"read", "send"}`, "", ""},
	"membership in a list":              {`input.resource.server in ["a", "b", "c", "d", "e", "f", "g", "h"]`, "", ""},
	"membership in a fact":              {`"g" in input.subject.user.groups`, "", ""},
	"membership of a scope":             {`"host" in input.subject.scopes`, "", ""},
	"membership in arguments":           {`"g" in input.action.arguments.x`, "", ""},
	"membership with a key":             {`"path", "a" in input.action.arguments`, "", ""},
	"membership of a number":            {`input.round in {1, 2}`, "", ""},
	"numbers":                           {`input.context.detect.injection_milli >= 500`, "", ""},
	"numbers of two facts":              {`input.context.session.seq < input.round`, "", ""},
	"numbers and texts":                 {`input.action.arguments.a >= 0.5`, "", ""},
	"a sum":                             {`input.round + 1 > input.context.session.seq`, "", ""},
	"a sum of large numbers":            {`input.context.session.seq + input.context.session.age_s == 18014398509481982`, "", ""},
	"a product":                         {`input.round * 2 == 4`, "", ""},
	"a division":                        {`4 / input.round == 2`, "", ""},
	"negation":                          {`not input.action.effect == "read"`, "", ""},
	"negation of a call":                {`not startswith(input.action.arguments.path, "/")`, "", ""},
	"negation of something absent":      {`not input.action.arguments.path`, "", ""},
	"something present":                 {`input.action.arguments.path`, "", ""},
	"some of a list":                    {`some p in input.action.paths; p.inside == "yes"`, "", ""},
	"some of a list with its place":     {`some i, p in input.action.paths; p.inside == "yes"; i == 1`, "", ""},
	"an element by a variable":          {`some i; input.action.paths[i].inside == "yes"; input.action.urls[i].private == "yes"`, "", ""},
	"an element by place":               {`input.action.paths[0].inside == "yes"`, "", ""},
	"two lists":                         {`some p in input.action.paths; some c in input.action.commands; p.raw == c.name`, "", ""},
	"a list within a list":              {`some c in input.action.commands; some w in c.writes; w == "x"`, "", ""},
	"every":                             {`every p in input.action.paths { p.inside == "yes" }`, "", ""},
	"every within every":                {`every c in input.action.commands { every w in c.writes { startswith(w, "/") } }`, "", ""},
	"every over arguments":              {`every k, v in input.action.arguments { is_string(v); k != "x" }`, "", ""},
	"every that may err":                {`every v in input.action.arguments { startswith(v, "x") }`, "", ""},
	"every over something else":         {`every v in input.action.arguments.x { v == "x" }`, "", ""},
	"not every":                         {`not every_inside`, `every_inside if every p in input.action.paths { p.inside == "yes" }`, ""},
	"count":                             {`count(input.action.paths) > 1`, "", ""},
	"count of text":                     {`count(input.resource.id) > 1`, "", ""},
	"count of a comprehension":          {`count([p | some p in input.action.paths; p.inside == "no"]) > 1`, "", ""},
	"count of a set":                    {`count({p.inside | some p in input.action.paths}) == 2`, "", ""},
	"an array comprehension":            {`[g | some g in input.subject.user.groups] == ["g", "x"]`, "", ""},
	"a comprehension that may err":      {`count({x | some v in input.action.arguments; x := to_number(v)}) > 1`, "", ""},
	"an object comprehension":           {`count({p.raw: p.inside | some p in input.action.paths}) > 1`, "", "object comprehension"},
	"text functions":                    {`startswith(lower(input.resource.id), "x/"); endswith(input.resource.id, "x")`, "", ""},
	"contains and upper":                {`contains(upper(input.resource.id), "X")`, "", ""},
	"trimming":                          {`trim_prefix(input.resource.id, "x") == trim_suffix(input.resource.id, "x")`, "", ""},
	"concat":                            {`concat("/", [input.resource.server, input.resource.name]) == "x/x"`, "", ""},
	"concat of a fact":                  {`concat(",", input.subject.user.groups) == "g,x"`, "", ""},
	"regular expression":                {`regex.match("^x+(/|$)", input.resource.id)`, "", ""},
	"regular expression on arguments":   {`regex.match("^x", input.action.arguments.x)`, "", ""},
	"glob":                              {`glob.match("x*/**", ["/"], input.resource.id)`, "", ""},
	"cidr":                              {`some u in input.action.urls; net.cidr_contains("10.0.0.0/8", u.host)`, `p10 := "10.1.2.3"`, ""},
	"split":                             {`split(input.resource.id, "/")[0] == "x"`, "", ""},
	"sprintf":                           {`sprintf("%s-%d", [input.resource.name, input.round]) == "x-1"`, "", ""},
	"a type":                            {`type_name(input.action.arguments.x) == "array"`, "", ""},
	"object.get":                        {`object.get(input.action.arguments, "x", "none") == "none"`, "", ""},
	"object.get of a part":              {`object.get(input.subject.user, "id", "") == "x"`, "", ""},
	"a reference into arguments":        {`input.action.arguments.x.x == "x"`, "", ""},
	"an index into arguments":           {`input.action.arguments.x[1] == "x"`, "", ""},
	"an index from a fact":              {`input.action.arguments[input.resource.name] == "x"`, "", ""},
	"a walk of the keys":                {`some k; input.action.arguments[k] == "x"; k != "a"`, "", ""},
	"a walk of two levels":              {`input.action.arguments[_][_] == "x"`, "", ""},
	"a whole part":                      {`x := input.subject; x.user.groups[0] == "g"`, "", ""},
	"parts compared":                    {`input.context.flow.session == input.context.flow.result`, "", ""},
	"a list compared":                   {`input.subject.user.groups == ["g"]`, "", ""},
	"an array taken apart":              {`[a, b] := split(input.resource.id, "/"); a == b`, "", ""},
	"an array taken apart in part":      {`[a, "x"] = input.action.arguments.x; a != "x"`, "", ""},
	"a function":                        {`some p in input.action.paths; good(p)`, `good(p) if p.inside == "yes"`, ""},
	"a function of two kinds":           {`good(input.resource.name); good(input.round)`, `good(x) if x in {"x", 1}`, ""},
	"a function with a value":           {`some p in input.action.paths; kindof(p) == "in"`, "kindof(p) := \"in\" if p.inside == \"yes\"\n\nkindof(p) := \"out\" if p.inside == \"no\"", ""},
	"a function of contradictions":      {`some p in input.action.paths; kindof(p) == "in"`, "kindof(p) := \"in\" if p.inside == \"yes\"\n\nkindof(p) := \"ex\" if p.exists == \"yes\"", ""},
	"a function of a constant":          {`f("x", input.resource.name)`, "f(\"x\", n) if n == \"x\"\n\nf(\"y\", _)", ""},
	"a function with a default":         {`level(input.resource.name) == 0`, "default level(_) := 0\n\nlevel(n) := 1 if n == \"x\"", ""},
	"a rule":                            {`known`, "known if input.action.effect in {\"read\"}\n\nknown if input.resource.id != \"\"", ""},
	"a rule that is false":              {`flagged`, `flagged := input.round == 1`, ""},
	"a rule with a value":               {`level > 1`, "level := 1 if input.action.effect == \"read\"\n\nlevel := 2 if input.action.effect == \"send\"", ""},
	"a rule that may be two":            {`level > 1`, "level := 1 if input.action.effect == \"read\"\n\nlevel := 2 if input.round == 1", ""},
	"a rule with a default":             {`level == 0`, "default level := 0\n\nlevel := 1 if input.action.effect == \"read\"", ""},
	"a rule with a fact for its value":  {`root == "x"`, `root := input.subject.user.groups[0]`, ""},
	"a rule with many answers":          {`one == "x"`, `one := g if some g in input.subject.user.groups`, ""},
	"a rule with else":                  {`level == 2`, "level := 1 if input.action.effect == \"read\" else := 2", "else"},
	"a set of the policy":               {`input.resource.name in names`, `names contains g if some g in input.subject.user.groups`, ""},
	"a walk of a set of the policy":     {`some n in names; n != "x"`, `names contains p.raw if some p in input.action.paths`, ""},
	"an object of the policy":           {`levels.x == 1`, `levels[k] := 1 if some k in input.subject.user.groups`, "a reference for its head"},
	"a constant object":                 {`limits[input.resource.name] > input.round`, `limits := {"x": 5, "unknown": 1}`, ""},
	"parameters":                        {`input.resource.name in data.params.names`, "", ""},
	"parameters walked":                 {`some n in data.params.names; startswith(input.resource.id, n)`, "", ""},
	"parameters by a fact":              {`data.params.limits[input.resource.name] >= input.round`, "", ""},
	"a parameter that is a switch":      {`data.params.strict; input.action.effect == "read"`, "", ""},
	"a parameter that does not exist":   {`data.params.nothing == 1`, "", ""},
	"with":                              {`known with input.action.effect as "read"`, `known if input.action.effect == "read"`, "with"},
	"walking":                           {`walk(input.action.arguments, [_, "x"])`, "", "built-in walk"},
	"the whole input":                   {`i := input; i.phase == "before"`, "", "the whole input"},
	"a built-in that errs":              {`to_number(input.action.arguments.a) > 0.5`, "", ""},
	"a built-in that errs for some":     {`some g in input.subject.user.groups; to_number(g) == 1`, "", ""},
	"a slow expression after fast ones": {`input.action.effect == "read"; walk(input.action.arguments, [_, "x"])`, "", "built-in walk"},
	"and, or":                           {`input.action.effect == "read" or input.round == 1`, "", "expression of kind"},
	"a template":                        {`$"{input.resource.name}-{input.round}" == "x-1"`, "", ""},
}

// policy is one with body for the condition of a deny.
func (c *construct) policy() string {
	return head + "deny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"{tool} {x}\"} if {\n\t" + strings.ReplaceAll(c.body, "; ", "\n\t") + "\n}\n\n" +
		"allow contains {\"id\": \"ok\"} if input.phase == \"before\"\n\noblige contains {\"id\": \"o\", \"type\": \"scan\"} if input.phase == \"after\"\n\n" + c.more + "\n"
}

func (c *construct) load() (*Evaluator, error) {
	return New(Config{Files: []File{{Name: "p.rego", Data: []byte(c.policy())}}, Params: map[string]any{
		"names": []string{"x", "y/"}, "limits": map[string]any{"x": 3, "y": 1.5}, "strict": true}})
}

// rich is a query in which most constructs find something.
func rich() *action.Query {
	q := action.NewQuery(action.Before)
	q.Resource.ID, q.Resource.Server, q.Resource.Name, q.Round = "x/x", "x", "x", 1
	q.Subject.User.Groups = []string{"g", "x"}
	q.Subject.Scopes = []action.Scope{"host", "odd"}
	q.Action.Effect = action.EffectRead
	q.Action.Paths = []action.Path{{Raw: "x", Inside: action.Yes}, {Raw: "y", Inside: action.No, Exists: action.Yes}}
	q.Action.URLs = []action.URL{{Host: "10.1.2.3"}, {Host: "x", Private: action.Yes}}
	q.Action.Commands = []action.Command{{Name: "x", Writes: []string{"x", "/x"}}}
	q.Action.Arguments = []byte(`{"path":"x","x":["g","x"],"a":0.75,"1":"2"}`)
	return q
}

// TestCompiledRulesAgreeWithTopdown has one rule per construct, each over documents that were made for it.
func TestCompiledRulesAgreeWithTopdown(t *testing.T) {
	for name, c := range constructs {
		t.Run(name, func(t *testing.T) {
			e, err := c.load()
			if err != nil {
				t.Fatal(err)
			}
			slow := ""
			if rest := e.Coverage().Slow; len(rest) > 0 {
				slow = rest[0].Why
			}
			if c.slow == "" && slow != "" || !strings.Contains(slow, c.slow) {
				t.Errorf("left to topdown: %q, want %q", slow, c.slow)
			}
			n := documents(150)
			if alone := agree(t, e, []*action.Query{rich()}, n, 7); alone < n/10 {
				t.Errorf("only %d of %d documents were decided by compiled rules", alone, n)
			}
		})
	}
}

// TestCompiledMixturesAgreeWithTopdown puts two or three constructs into one rule, some of them negated or behind a
// helper of several definitions.
func TestCompiledMixturesAgreeWithTopdown(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 0))
	names := sortedKeys(constructs)
	tried := 0
	for range documents(100) {
		var mixed construct
		for i := range 2 + r.IntN(2) {
			c := constructs[names[r.IntN(len(names))]]
			body := strings.ReplaceAll(c.body, "; ", "\n\t")
			switch r.IntN(4) {
			case 0:
				body = "not {\n\t" + body + "\n}"
			case 1:
				helper := fmt.Sprintf("helper%d", i)
				mixed.more += helper + " if {\n\t" + body + "\n}\n\n" + helper + " if input.round == 2\n\n"
				body = []string{"", "not "}[r.IntN(2)] + helper
			}
			mixed.body += body + "\n\t"
			mixed.more += c.more + "\n\n"
		}
		e, err := mixed.load()
		if err != nil {
			continue // two of them use one name
		}
		tried++
		agree(t, e, []*action.Query{rich()}, 60, uint64(tried))
		if t.Failed() {
			t.Fatal(mixed.policy())
		}
	}
	if tried < 30 {
		t.Errorf("only %d mixtures could be loaded", tried)
	}
}

func TestShadowGivesCompiledRulesUpForEver(t *testing.T) {
	told := 0
	e := load(t, head+allowBefore, Config{Shadow: 3, Alarm: func(string) { told++ }})
	q := action.NewQuery(action.Before)
	if d, _ := e.Decide(context.Background(), q); d.Verdict != action.Allow || e.Coverage().Trusted {
		t.Fatalf("%s, trusted %v before anything was proved", d.Verdict, e.Coverage().Trusted)
	}
	if err := e.Prove(context.Background(), nil, 50, time.Minute); err != nil || !e.Coverage().Trusted || e.Coverage().Proved != 50 {
		t.Fatalf("%+v, %v", e.Coverage(), err)
	}
	for i := range e.fast.tables {
		for _, entries := range e.fast.tables[i].by {
			entries[0].test = func(*machine) bool { return false }
		}
	}
	var got []action.Verdict
	for range 5 {
		d, err := e.Decide(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Verdict)
	}
	if want := []action.Verdict{"deny", "deny", "allow", "allow", "allow"}; !reflect.DeepEqual(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	if c := e.Coverage(); told != 1 || c.Trusted || !strings.Contains(c.Why, "deny by [default.rego], not allow by [p.ok]") {
		t.Errorf("told %d times, %+v", told, c)
	}
}

func TestProveRefusesRulesThatDiffer(t *testing.T) {
	e := load(t, head+allowBefore, Config{})
	e.fast.tables = nil
	if err := e.Prove(context.Background(), nil, 50, time.Minute); err != nil || e.Coverage().Trusted || e.Coverage().Why == "" {
		t.Errorf("%+v, %v", e.Coverage(), err)
	}
}

func TestProveTrustsNothingThatItCouldNotCompare(t *testing.T) {
	e := load(t, head+"allow contains {\"id\": \"ok\"} if {\n\tto_number(\"x\") == input.round\n}\n", Config{})
	if err := e.Prove(context.Background(), nil, 50, time.Minute); err != nil || e.Coverage().Trusted || !strings.Contains(e.Coverage().Why, "only 0 documents") {
		t.Errorf("%+v, %v", e.Coverage(), err)
	}
	e = load(t, head+allowBefore, Config{})
	if err := e.Prove(context.Background(), nil, 200, 0); err != nil || e.Coverage().Proved == 200 {
		t.Errorf("%+v, %v", e.Coverage(), err)
	}
}

func TestCompiledRulesThatPanicLeaveTheDecisionToTopdown(t *testing.T) {
	e := load(t, head+allowBefore, Config{})
	if err := e.Prove(context.Background(), nil, 5, time.Minute); err != nil {
		t.Fatal(err)
	}
	e.fast.always = []*entry{{test: func(*machine) bool { panic("lost") }}}
	for range 2 {
		if d, err := e.Decide(context.Background(), action.NewQuery(action.Before)); err != nil || d.Verdict != action.Allow {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if e.Coverage().Trusted {
		t.Error("rules that panic are trusted")
	}
}

// TestCompiledRulesMeetErrorsBehindTheFirstAnswer has rules that fire before the element at which topdown errs: an
// error counts wherever it stands.
func TestCompiledRulesMeetErrorsBehindTheFirstAnswer(t *testing.T) {
	for name, c := range map[string]construct{
		"in a call":                     {body: `some g in input.subject.user.groups; to_number(g) > 0`},
		"under not":                     {body: `some g in input.subject.user.groups; not negative(g)`, more: `negative(g) if to_number(g) < 0`},
		"under not with a body":         {body: "some g in input.subject.user.groups\n\tnot {\n\tto_number(g) < 0\n}"},
		"under every":                   {body: `some g in input.subject.user.groups; all_positive([g])`, more: `all_positive(l) if every v in l { to_number(v) > 0 }`},
		"in a comprehension":            {body: `some g in input.subject.user.groups; count([n | n := to_number(g)]) == 1`},
		"in a function's two values":    {body: `some p in input.action.paths; kindof(p) == "in"`, more: "kindof(p) := \"in\" if p.inside == \"yes\"\n\nkindof(p) := \"ex\" if p.exists == \"yes\""},
		"in a function of many answers": {body: `some p in input.action.paths; answer(p) == "no"`, more: "answer(p) := x if some x in [p.traversal, p.private]"},
		"in another definition":         {body: `input.phase == "before"`, more: "deny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"{tool} {x}\"} if {\n\tto_number(input.subject.user.groups[1]) > 0\n}"},
		"in a set":                      {body: `1 in numbers`, more: `numbers contains to_number(g) if some g in input.subject.user.groups`},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := c.load()
			if err != nil {
				t.Fatal(err)
			}
			q := action.NewQuery(action.Before)
			q.Subject.User.Groups = []string{"1", "x"}
			q.Action.Paths = []action.Path{{Inside: action.Yes, Traverse: action.No, Private: action.No}, {Inside: action.Yes, Exists: action.Yes, Traverse: action.No, Private: action.Yes}}
			want, err := e.topdown(context.Background(), q)
			if err != nil || len(want.Errors) == 0 {
				t.Fatalf("topdown does not err: %+v, %v", want, err)
			}
			if got, ok := e.compiledDecision(context.Background(), q); ok {
				t.Errorf("compiled rules decide %+v", got)
			}
			q.Subject.User.Groups[1], q.Action.Paths = "2", q.Action.Paths[:1]
			if got, ok := e.compiledDecision(context.Background(), q); !ok || got.Verdict != action.Deny || len(got.Errors) > 0 {
				t.Errorf("without the error: %v %+v", ok, got)
			}
		})
	}
}

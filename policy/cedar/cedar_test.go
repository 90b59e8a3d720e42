// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"context"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/x/exp/schema"

	"github.com/sallyport/sallyport/action"
)

type params struct {
	Hosts  []string `json:"hosts"`
	Strict bool     `json:"strict"`
}

func load(t *testing.T, src string) *Evaluator {
	t.Helper()
	e, err := New(Config{Files: []File{{Name: "p.cedar", Data: []byte(src)}}, Params: params{Hosts: []string{"a"}}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const permit = "@id(\"ok\") permit (principal, action, resource);\n"

func forbid(id, notes, cond string) string {
	return "@id(\"" + id + "\") @code(\"c\") @reason(\"r\") " + notes + " forbid (principal, action, resource) when { " + cond + " };\n"
}

func TestVersionIsTheOneThatIsPinned(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\s*github.com/cedar-policy/cedar-go v` + regexp.QuoteMeta(Version) + `$`).Match(mod) {
		t.Errorf("go.mod pins another version than %s", Version)
	}
}

func TestDecideFailsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		src  string
		want action.Verdict
		rule string
		errs int
	}{
		"no permit":                       {forbid("no", "", "false"), action.Deny, "default.cedar", 0},
		"a permit":                        {permit, action.Allow, "p.ok", 0},
		"a missing attribute in a forbid": {permit + forbid("bad", "", `context.history.counters["day"].value == 1`), action.Deny, "p.bad", 1},
		"a missing attribute in an asking forbid": {permit + forbid("bad", `@ask("operator")`, `context.history.counters["day"].value == 1`), action.Deny, "p.bad", 1},
		"a missing counter in a forbid":           {permit + forbid("bad", "", `context.history.counters.spent.value > 5`), action.Deny, "p.bad", 1},
		"an overflow in a forbid":                 {permit + forbid("bad", "", `context.session.seq + 9223372036854775807 + 1 > 0`), action.Deny, "p.bad", 1},
		"a missing attribute in a permit":         {"@id(\"bad\") permit (principal, action, resource) when { context.history.counters.day.value == 1 };", action.Deny, "default.cedar", 1},
		"a forbid beside a permit":                {permit + forbid("no", "", "true"), action.Deny, "p.no", 0},
		"an asking forbid beside a permit":        {permit + forbid("who", `@ask("operator")`, "true"), action.Ask, "p.who", 0},
		"an asking forbid without a permit":       {forbid("who", `@ask("operator")`, "true"), action.Deny, "default.cedar", 0},
		"an asking and a plain forbid":            {permit + forbid("who", `@ask("operator")`, "true") + forbid("no", "", "true"), action.Deny, "p.no", 0},
		"a quarantine beside a forbid":            {permit + forbid("stop", `@quarantine("true")`, "true") + forbid("no", "", "true"), action.Quarantine, "p.stop", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := load(t, c.src).Decide(context.Background(), action.NewQuery(action.Before))
			if err != nil {
				t.Fatal(err)
			}
			ids := ""
			for _, m := range d.Deciding() {
				ids += m.ID
			}
			if d.Verdict != c.want || ids != c.rule || len(d.Errors) != c.errs {
				t.Errorf("%s by %q, errors %q; want %s by %q", d.Verdict, ids, d.Errors, c.want, c.rule)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := load(t, permit).Decide(ctx, action.NewQuery(action.Before)); err == nil || d.Verdict != action.Deny {
		t.Errorf("an ended context: %+v, %v", d, err)
	}
	if d, err := load(t, permit).Decide(context.Background(), nil); err == nil || d.Verdict != action.Deny {
		t.Errorf("no query: %+v, %v", d, err)
	}
}

// TestTypesAreCheckedWhenAPolicyIsLoaded has expressions that would err, or never hold, on every request.
func TestTypesAreCheckedWhenAPolicyIsLoaded(t *testing.T) {
	for name, c := range map[string]struct{ cond, want string }{
		"an order of texts":                {`context.phase > "a"`, "unexpected type"},
		"a text compared with a number":    {`context.phase == 5`, "not compatible"},
		"an attribute of the principal":    {`principal.level == 3`, "not found"},
		"an operator of sets on a text":    {`context.phase.contains("x")`, "unexpected type"},
		"a set of texts and numbers":       {`context.action.paths.inside == ["yes", 1]`, "not compatible"},
		"a pattern over a number":          {`context.round like "1*"`, "unexpected type"},
		"an entity that nobody is":         {`principal == Person::"ann"`, "Person"},
		"a number that is no condition":    {`context.round`, "unexpected type"},
		"an empty column":                  {`context.action.urls.host == []`, ""},
		"a counter":                        {`context.history.counters.day.value > 3`, ""},
		"a counter that is used as a text": {`context.history.counters.day.value == "3"`, "not compatible"},
		"columns of lists":                 {`context.action.commands.args.contains("-f")`, ""},
		"an empty set beside a wrong type": {`context.action.urls.host == [] && context.phase > "a"`, "unexpected type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Files: []File{{Name: "p.cedar", Data: []byte(permit + forbid("bad", "", c.cond))}}})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "p.cedar:2: p.bad")):
				t.Errorf("%v, not %q", err, c.want)
			}
		})
	}
}

func TestSchemaIsCedarsOwn(t *testing.T) {
	data, err := Schema(nil, "day")
	if err != nil {
		t.Fatal(err)
	}
	var s schema.Schema
	if err := s.UnmarshalCedar(data); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if _, err := s.Resolve(); err != nil || !strings.Contains(string(data), "entity Agent in [Tenant, Role]") {
		t.Errorf("%v\n%.500s", err, data)
	}
}

func TestContextHoldsTheFacts(t *testing.T) {
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Subject.Identity.Roles = "coder", []string{"dev"}
	q.Action.Effect = action.EffectRead
	q.Action.Paths = []action.Path{{Raw: "a", Inside: action.Yes, Access: action.EffectRead}, {Raw: "b", Inside: "nonsense"}}
	q.Action.Commands = []action.Command{{Name: "go", Args: []string{"test", "./..."}}, {Name: "git", Args: []string{"status"}}}
	q.Resource = action.Resource{Type: "tool", ID: "files/read", Server: "files", Name: "read", Zone: action.ZoneInside}
	q.Context.Session.Roots = []string{"/w"}
	q.Context.History = action.History{State: action.StateKnown, Counters: []action.Counter{{Name: "spent", State: action.StateKnown, Value: 7},
		{Name: "twice", Value: 1}, {Name: "twice", Value: 0}}}
	for cond, want := range map[string]bool{
		`principal == Agent::"coder"`:                                      true,
		`principal in Tenant::"default" && principal in Role::"dev"`:       true,
		`principal in Role::"admin"`:                                       false,
		`action == Action::"read"`:                                         true,
		`resource == Tool::"files/read" && resource in Server::"files"`:    true,
		`resource in Server::"other"`:                                      false,
		`context.action.paths.count == 2`:                                  true,
		`context.action.paths.inside == ["yes"]`:                           false,
		`context.action.paths.inside == ["unknown", "yes"]`:                true,
		`context.action.paths.access.contains("unknown")`:                  true,
		`context.action.commands.args.containsAll(["status", "./..."])`:    true,
		`context.action.urls.count == 0 && context.action.urls.host == []`: true,
		`context.session.roots == ["/w"]`:                                  true,
		`context.history.counters.spent.value == 7`:                        true,
		`context.history.counters has twice`:                               false,
		`context.params.hosts.contains("a") && !context.params.strict`:     true,
		`context.approval.status == "none"`:                                true,
		`context.result.status == "none"`:                                  true,
		`context.flow.session == context.flow.result`:                      true,
		`context.subject.attested.lease_s == 0`:                            true,
	} {
		t.Run(cond, func(t *testing.T) {
			d, err := load(t, "@id(\"ok\") permit (principal, action, resource) when { "+cond+" };").Decide(context.Background(), q)
			if err != nil || len(d.Errors) > 0 || (d.Verdict == action.Allow) != want {
				t.Errorf("%s, errors %q, %v", d.Verdict, d.Errors, err)
			}
		})
	}
}

func TestNewRefusesNamesThatCanNeverBe(t *testing.T) {
	for cond, want := range map[string]string{
		`context.action.efect == "x"`:              "context.action.efect does not exist",
		`context.nothing`:                          "context.nothing does not exist",
		`context has nothing`:                      "context.nothing does not exist",
		`context["detect"]["cannary"] == "yes"`:    "context.detect.cannary does not exist",
		`context.action.paths.insid == ["yes"]`:    "context.action.paths.insid does not exist",
		`context.result.content == "x"`:            "context.result.content does not exist",
		`context.phase.name == "x"`:                "context.phase has no attributes",
		`context.history.counters.day.count > 1`:   "context.history.counters.day.count does not exist",
		`context.params.hsts == []`:                "context.params.hsts does not exist",
		`if false then context.nothing else true`:  "context.nothing does not exist",
		`!([{"a": context.nothing}].contains({}))`: "context.nothing does not exist",
	} {
		t.Run(cond, func(t *testing.T) {
			_, err := New(Config{Files: []File{{Name: "p.cedar", Data: []byte("\n" + forbid("bad", "", cond))}}, Params: params{}})
			if err == nil || !strings.Contains(err.Error(), "p.cedar:2: "+want) {
				t.Errorf("error %v does not say %q", err, want)
			}
		})
	}
}

func TestPlanLeavesOutOnlyWhatNoPolicySees(t *testing.T) {
	q := action.NewQuery(action.Before)
	for name, c := range map[string]string{
		"a comparison of parts":      `context.detect == context.detect`,
		"the context itself":         `context == context`,
		"a record literal":           `{"a": context.phase}.a == "before"`,
		"a record literal with dot":  `{".": context.phase}["."] == "before"`,
		"a set literal":              `[context.phase].contains("before")`,
		"a conditional":              `if context.round == 0 then context.phase == "before" else false`,
		"an access after a test":     `context has phase && context.phase == "before"`,
		"an extended test":           `context has detect.canary && context.detect.canary == "unknown"`,
		"like":                       `context.phase like "bef*"`,
		"an attribute in brackets":   `context["detect"]["canary"] == "unknown"`,
		"a conditional that is read": `(if true then context.detect else context.detect).canary == "unknown"`,
	} {
		t.Run(name, func(t *testing.T) {
			d, err := load(t, "@id(\"ok\") permit (principal, action, resource) when { "+c+" };").Decide(context.Background(), q)
			if err != nil || d.Verdict != action.Allow {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

func TestDecideCarriesWhatTheAnnotationsSay(t *testing.T) {
	e := load(t, permit+`@id("who") @ask("passkey") @quorum("2") @ttl_s("60") @group("finance") @acr("phr phrh") @amr("hwk") @max_age_s("300") @code("c1") @reason("r1") @hint("h1")
@severity("high") @always("true") @obligation("redact kind=secret; durability level=witnessed") forbid (principal, action, resource);`)
	d, err := e.Decide(context.Background(), action.NewQuery(action.Before))
	if err != nil {
		t.Fatal(err)
	}
	want := []action.Match{{ID: "p.who", Verdict: action.Ask, Code: "c1", Reason: "r1", Hint: "h1", Severity: "high", Always: true,
		Approver: action.Approver{Channel: action.RankPasskey, Quorum: 2, TTL: 60, Group: "finance",
			ACR: "phr phrh", AMR: "hwk", MaxAge: 300}}}
	if !reflect.DeepEqual(d.Deciding(), want) {
		t.Errorf("matches %+v", d.Deciding())
	}
	if o := d.Obligations; len(o) != 2 || o[0].Type != action.ObligeRedact || o[1].Params["level"] != "witnessed" || o[1].Rule != "p.who" {
		t.Errorf("obligations %+v", o)
	}
}

func TestNewRefusesAnnotationsThatMeanNothing(t *testing.T) {
	rest := " forbid (principal, action, resource);"
	for name, c := range map[string]struct{ src, want string }{
		"no id":                     {`@code("c") @reason("r")` + rest, "@id"},
		"no code":                   {`@id("a") @reason("r")` + rest, "@code"},
		"no reason":                 {`@id("a") @code("r")` + rest, "@reason"},
		"an unknown annotation":     {`@id("a") @code("c") @reason("r") @sevrity("high")` + rest, "@sevrity"},
		"an unknown severity":       {`@id("a") @code("c") @reason("r") @severity("urgent")` + rest, "@severity"},
		"an unknown channel":        {`@id("a") @code("c") @reason("r") @ask("anyone")` + rest, "@ask"},
		"always false":              {`@id("a") @code("c") @reason("r") @always("false")` + rest, "@always"},
		"a quorum of zero":          {`@id("a") @code("c") @reason("r") @ask("operator") @quorum("0")` + rest, "@quorum"},
		"a level without ask":       {`@id("a") @code("c") @reason("r") @acr("phr")` + rest, "need @ask"},
		"a level of nothing":        {`@id("a") @code("c") @reason("r") @ask("operator") @acr(" ")` + rest, "@acr"},
		"an age of zero":            {`@id("a") @code("c") @reason("r") @ask("operator") @max_age_s("0")` + rest, "@max_age_s"},
		"a quorum without ask":      {`@id("a") @code("c") @reason("r") @quorum("2")` + rest, "need @ask"},
		"ask and quarantine":        {`@id("a") @code("c") @reason("r") @ask("operator") @quarantine("true")` + rest, "exclude"},
		"ask on a permit":           {`@id("a") @ask("operator") permit (principal, action, resource);`, "@ask"},
		"an unknown obligation":     {`@id("a") @code("c") @reason("r") @obligation("pray")` + rest, "@obligation"},
		"an obligation cut short":   {`@id("a") @code("c") @reason("r") @obligation("redact kind")` + rest, "key=value"},
		"an empty obligation":       {`@id("a") @code("c") @reason("r") @obligation("redact;")` + rest, "no known obligation"},
		"one id for two policies":   {permit + permit, "two policies"},
		"an id with odd characters": {`@id("A b") permit (principal, action, resource);`, "lower-case"},
		"a syntax error":            {`permit (`, "p.cedar"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Files: []File{{Name: "p.cedar", Data: []byte(c.src)}}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

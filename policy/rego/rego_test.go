// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/version"

	"github.com/sallyport/sallyport/action"
)

const head = "package sallyport.p\n\nimport rego.v2\n\n"

const allowBefore = `allow contains {"id": "ok"} if input.phase == "before"` + "\n"

func load(t *testing.T, src string, cfg Config) *Evaluator {
	t.Helper()
	cfg.Files = append(cfg.Files, File{Name: "p.rego", Data: []byte(src)})
	if cfg.Params == nil {
		cfg.Params = struct{}{}
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestVersionIsTheOneThatIsLinked(t *testing.T) {
	if version.Version != Version {
		t.Errorf("OPA says %s, we say %s", version.Version, Version)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\s*github.com/open-policy-agent/opa v` + regexp.QuoteMeta(Version) + `$`).Match(mod) {
		t.Errorf("go.mod pins another version than %s", Version)
	}
}

func TestNewRefusesWhatIsOutsideTheProfile(t *testing.T) {
	deny := func(obj string) string { return head + "deny contains " + obj + " if input.phase == \"before\"\n" }
	for name, c := range map[string]struct{ src, want string }{
		"no import of rego.v2":          {"package sallyport.p\n" + allowBefore, "import rego.v2"},
		"a package of another tree":     {"package other.p\nimport rego.v2\n" + allowBefore, "neither sallyport.<pack>"},
		"a package too deep":            {"package sallyport.p.q\nimport rego.v2\n" + allowBefore, "neither sallyport.<pack>"},
		"an empty file":                 {"# nothing\n", "p.rego"},
		"no set at all":                 {head + "x := 1\n", "states none of"},
		"a deny without a code":         {deny(`{"id": "a", "reason": "r"}`), `deny without "code"`},
		"a deny without an id":          {deny(`{"code": "a", "reason": "r"}`), `deny without "id"`},
		"an id with odd characters":     {deny(`{"id": "A b", "code": "c", "reason": "r"}`), "lower-case letters"},
		"an unknown key":                {deny(`{"id": "a", "code": "c", "reason": "r", "prio": 1}`), `deny has no "prio"`},
		"an unknown severity":           {deny(`{"id": "a", "code": "c", "reason": "r", "severity": "urgent"}`), "urgent"},
		"an approver of a deny":         {deny(`{"id": "a", "code": "c", "reason": "r", "approver": {"channel": "operator"}}`), `deny has no "approver"`},
		"an unknown channel":            {head + `ask contains {"id": "a", "code": "c", "reason": "r", "approver": {"channel": "unknown"}}`, "channel"},
		"a level of nothing":            {head + `ask contains {"id": "a", "code": "c", "reason": "r", "approver": {"acr": " "}}`, "approver: "},
		"two spaces between levels":     {head + `ask contains {"id": "a", "code": "c", "reason": "r", "approver": {"acr": "a  b"}}`, "approver: "},
		"methods in a list":             {head + `ask contains {"id": "a", "code": "c", "reason": "r", "approver": {"amr": ["hwk"]}}`, "object of constants"},
		"an age of zero":                {head + `ask contains {"id": "a", "code": "c", "reason": "r", "approver": {"max_age_s": 0}}`, "approver: 0"},
		"a quorum of zero":              {head + `ask contains {"id": "a", "code": "c", "reason": "r", "approver": {"quorum": 0}}`, "approver: 0"},
		"an unknown obligation":         {head + `oblige contains {"id": "a", "type": "pray"}`, "pray"},
		"text that may fail to be made": {deny(`{"id": "a", "code": "c", "reason": sprintf("%s", [input.id])}`), "constants"},
		"an element that is a string":   {deny(`"a"`), "object of constants"},
		"a set that is a value":         {head + "deny := true\n", "must be a partial set"},
		"a set with a default":          {head + "default allow := true\n", "must be a partial set"},
		"a set that is a function":      {head + "deny(x) if x == 1\n", "must be a partial set"},
		"a set as an object":            {head + "deny[\"a\"] := 1\n", "must be a partial set"},
		"one id for two rules": {deny(`{"id": "a", "code": "c", "reason": "r"}`) +
			"deny contains {\"id\": \"a\", \"code\": \"d\", \"reason\": \"r\"} if input.phase == \"after\"\n", "two rules"},
		"a fact that does not exist": {head + "allow contains {\"id\": \"a\"} if input.action.efect == \"read\"\n", "efect"},
		"a fact of a list element that does not exist": {head +
			"allow contains {\"id\": \"a\"} if {\n\tsome p in input.action.paths\n\tp.insid == \"yes\"\n}\n", "insid"},
		"a set that nothing decides by": {head + `denies contains {"id": "a", "code": "c", "reason": "r"} if input.phase == "before"`, "denies contains rules with an id"},
		"a name that is not defined":    {head + "allow contains {\"id\": \"a\"} if reed\n", "reed"},
		"a syntax error":                {head + "allow contains {", "p.rego"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Files: []File{{Name: "p.rego", Data: []byte(c.src)}}, Params: struct{}{}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestNewRefusesBuiltinsThatCouldAnswerDifferentlyTomorrow(t *testing.T) {
	for _, call := range []string{
		`http.send({"method": "get", "url": "http://localhost"})`, `time.now_ns()`, `time.clock(0)`, `rand.intn("a", 5)`,
		`net.lookup_ip_addr("localhost")`, `net.cidr_expand("10.0.0.0/8")`, `opa.runtime()`, `uuid.rfc4122("a")`,
		`io.jwt.decode_verify("a", {})`, `crypto.x509.parse_and_verify_certificates("a")`, `rego.parse_module("a", "b")`,
		`json.match_schema({}, {})`, `numbers.range(1, 1000000000)`, `trace("a")`, `regex.template_match("a", "b", "{", "}")`,
		`graphql.is_valid("a", "b")`, `providers.aws.sign_req({}, {}, 0)`, `strings.render_template("a", {})`,
	} {
		t.Run(call, func(t *testing.T) {
			src := head + "allow contains {\"id\": \"a\"} if x := " + call + "\n"
			_, err := New(Config{Files: []File{{Name: "p.rego", Data: []byte(src)}}, Params: struct{}{}})
			if err == nil || !strings.Contains(err.Error(), "undefined function") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestDecideFailsClosed(t *testing.T) {
	read := action.NewQuery(action.Before)
	for name, c := range map[string]struct {
		src      string
		want     action.Verdict
		rule     string
		mistaken bool
	}{
		"nothing fires":                            {head + `allow contains {"id": "ok"} if input.phase == "after"`, action.Deny, "default.rego", false},
		"an allow fires":                           {head + allowBefore, action.Allow, "p.ok", false},
		"a built-in errs in a deny":                {head + allowBefore + "deny contains {\"id\": \"bad\", \"code\": \"c\", \"reason\": \"r\"} if {\n\tto_number(input.resource.type) > 1\n}\n", action.Deny, "p.bad", true},
		"a built-in errs in an allow":              {head + allowBefore + "allow contains {\"id\": \"bad\"} if {\n\tto_number(input.resource.type) > 1\n}\n", action.Deny, "p.bad", true},
		"a built-in errs in an oblige":             {head + allowBefore + "oblige contains {\"id\": \"bad\", \"type\": \"scan\"} if {\n\tto_number(input.resource.type) > 1\n}\n", action.Deny, "p.bad", true},
		"division by zero":                         {head + allowBefore + "deny contains {\"id\": \"bad\", \"code\": \"c\", \"reason\": \"r\"} if {\n\t1 / input.round > 0\n}\n", action.Deny, "p.bad", true},
		"a complete rule with two values":          {head + allowBefore + "zone := \"a\" if input.phase == \"before\"\n\nzone := \"b\" if input.round == 0\n\ndeny contains {\"id\": \"bad\", \"code\": \"c\", \"reason\": \"r\"} if zone == \"c\"\n", action.Deny, "p.zone", true},
		"a function with two values":               {head + allowBefore + "f(x) := 1 if x >= 0\n\nf(x) := 2 if x <= 0\n\ndeny contains {\"id\": \"bad\", \"code\": \"c\", \"reason\": \"r\"} if f(input.round) == 3\n", action.Deny, "p.f", true},
		"deny beside allow":                        {head + allowBefore + `deny contains {"id": "no", "code": "c", "reason": "r"} if input.phase == "before"`, action.Deny, "p.no", false},
		"ask beside allow":                         {head + allowBefore + `ask contains {"id": "who", "code": "c", "reason": "r"} if input.phase == "before"`, action.Ask, "p.who", false},
		"ask alone":                                {head + `ask contains {"id": "who", "code": "c", "reason": "r"} if input.phase == "before"`, action.Ask, "p.who", false},
		"quarantine beside deny":                   {head + `deny contains {"id": "no", "code": "c", "reason": "r"} if input.phase == "before"` + "\n" + `quarantine contains {"id": "stop", "code": "c", "reason": "r"} if input.phase == "before"`, action.Quarantine, "p.stop", false},
		"an obligation alone allows nothing":       {head + `oblige contains {"id": "o", "type": "scan"} if input.phase == "before"`, action.Deny, "default.rego", false},
		"not over a call on a missing value fires": {head + allowBefore + "deny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"r\"} if not startswith(input.action.arguments.missing, \"/w\")\n", action.Deny, "p.no", false},
	} {
		t.Run(name, func(t *testing.T) {
			q := *read
			q.Action.Arguments = []byte(`{"x": 5}`)
			d, err := load(t, c.src, Config{}).Decide(context.Background(), &q)
			if err != nil {
				t.Fatal(err)
			}
			ids := ""
			for _, m := range d.Deciding() {
				ids += m.ID
			}
			if d.Verdict != c.want || ids != c.rule || (len(d.Errors) > 0) != c.mistaken {
				t.Errorf("%s by %q, errors %q; want %s by %q", d.Verdict, ids, d.Errors, c.want, c.rule)
			}
			if c.mistaken && !d.Matches[0].Always {
				t.Error("an evaluation error could be passed over by observing")
			}
		})
	}
}

func TestDecideTakesPoisonedInputAsAnError(t *testing.T) {
	e := load(t, head+allowBefore+`deny contains {"id": "x", "code": "c", "reason": "r"} if input.action.arguments.a == 1`, Config{})
	for name, raw := range map[string]string{"no JSON": "{", "two names alike": `{"a": 1, "A": 2}`, "too large a number": `{"a": 1e999}`} {
		t.Run(name, func(t *testing.T) {
			q := action.NewQuery(action.Before)
			q.Action.Arguments = []byte(raw)
			if d, err := e.Decide(context.Background(), q); err != nil || d.Verdict != action.Deny || len(d.Errors) != 1 {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
	if d, err := e.Decide(context.Background(), nil); err == nil || d.Verdict != action.Deny {
		t.Errorf("no query: %+v, %v", d, err)
	}
}

func TestDecideEndsWithItsContextAndItsLimit(t *testing.T) {
	long := strings.Repeat("\tsome _ in input.subject.identity.roles\n", 6)
	e := load(t, head+allowBefore+"deny contains {\"id\": \"slow\", \"code\": \"c\", \"reason\": \"r\"} if {\n"+long+"\tinput.phase == \"after\"\n}\n", Config{Limit: 20 * time.Millisecond})
	q := action.NewQuery(action.Before)
	for i := range 200 {
		q.Subject.Identity.Roles = append(q.Subject.Identity.Roles, fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d, err := e.Decide(ctx, q); !errors.Is(err, context.Canceled) || d.Verdict != action.Deny {
		t.Errorf("ended context: %+v, %v", d, err)
	}
	slow := strings.ReplaceAll(head+allowBefore+"deny contains {\"id\": \"slow\", \"code\": \"c\", \"reason\": \"r\"} if {\n"+long+"\tcount(input.subject.identity.roles) == 1\n}\n", "some _ in", "some r in")
	for i := range 6 {
		slow = strings.Replace(slow, "some r in", fmt.Sprintf("some r%d in", i), 1)
	}
	slow = strings.Replace(slow, "count(input.subject.identity.roles) == 1", "concat(\"\", [r0, r1, r2, r3, r4, r5]) == \"x\"", 1)
	e = load(t, slow, Config{Limit: 20 * time.Millisecond})
	if d, err := e.Decide(context.Background(), q); err != nil || d.Verdict != action.Deny || len(d.Errors) == 0 {
		t.Errorf("limit: %+v, %v", d, err)
	}
}

func TestDecideReadsAWordOffItsListAsUnknown(t *testing.T) {
	e := load(t, head+`allow contains {"id": "ok"} if input.action.effect == "unknown"`, Config{})
	for _, w := range []action.Effect{"", "Read", "anything"} {
		q := action.NewQuery(action.Before)
		q.Action.Effect = w
		if d, err := e.Decide(context.Background(), q); err != nil || d.Verdict != action.Allow {
			t.Errorf("effect %q: %+v, %v", w, d, err)
		}
	}
}

func TestDecideCarriesWhatTheRuleSays(t *testing.T) {
	e := load(t, head+`ask contains {
	"id": "who", "code": "c1", "reason": "{tool} of {server}", "hint": "inside {root}", "severity": "high", "always": true,
	"approver": {"channel": "passkey", "quorum": 2, "ttl_s": 60, "group": "finance", "acr": "phr phrh", "amr": "hwk", "max_age_s": 300},
} if input.phase == "before"

oblige contains {"id": "o", "type": "redact", "params": {"kind": "secret"}} if input.phase == "before"
`, Config{Roots: []string{"/r"}})
	q := action.NewQuery(action.Before)
	q.Resource.ID, q.Resource.Server = "s/\x1b[2Jt\u202e", "s"
	d, err := e.Decide(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	want := []action.Match{{ID: "p.who", Verdict: action.Ask, Code: "c1", Reason: "s/[2Jt of s", Hint: "inside /r", Severity: "high", Always: true,
		Approver: action.Approver{Channel: action.RankPasskey, Quorum: 2, TTL: 60, Group: "finance",
			ACR: "phr phrh", AMR: "hwk", MaxAge: 300}}}
	if !reflect.DeepEqual(d.Matches, want) {
		t.Errorf("matches %+v", d.Matches)
	}
	if o := d.Obligations; len(o) != 1 || o[0].Type != action.ObligeRedact || o[0].Rule != "p.o" || o[0].Params["kind"] != "secret" {
		t.Errorf("obligations %+v", o)
	}
}

func TestInputSeesEverythingThatARuleCanReach(t *testing.T) {
	q := action.NewQuery(action.Before)
	q.Action.Paths = []action.Path{{Raw: "a", Inside: action.Yes}}
	q.Subject.User.Groups = []string{"g"}
	for name, cond := range map[string]string{
		"a plain path":               `input.action.effect == "unknown"`,
		"a list":                     `count(input.action.paths) == 1`,
		"an element by index":        `input.action.paths[0].inside == "yes"`,
		"an element by name":         `some i; input.action.paths[i]["raw"] == "a"`,
		"a whole part":               `x := input.subject; x.user.groups[0] == "g"`,
		"a name that is computed":    `some k in ["user"]; input.subject[k].groups[0] == "g"`,
		"the input itself":           `i := input; i.subject.user.groups[0] == "g"`,
		"a reference in a reference": `{"unknown": 1}[input.action.effect] == 1`,
		"through a function":         `object.get(input, ["subject", "user", "groups"], [])[0] == "g"`,
		"in a comprehension":         `[g | some g in input.subject.user.groups] == ["g"]`,
		"walking":                    `walk(input, [_, "g"])`,
		"under with":                 `inner with input.phase as "zzz"`,
	} {
		t.Run(name, func(t *testing.T) {
			e := load(t, head+"inner if input.subject.user.groups[0] == \"g\"\n\nallow contains {\"id\": \"ok\"} if {\n\t"+strings.ReplaceAll(cond, "; ", "\n\t")+"\n}\n", Config{})
			if d, err := e.Decide(context.Background(), q); err != nil || d.Verdict != action.Allow {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

func TestDocumentEvaluatesItsPackageOnly(t *testing.T) {
	doc := File{Name: "d.rego", Data: []byte("package document.appraisal\nimport rego.v2\n\ndefault level := 0\n\nlevel := 3 if input.tpm.ok\n\nbroken := 1 / input.zero\n")}
	e := load(t, head+allowBefore, Config{Files: []File{doc}})
	out, err := e.Document(context.Background(), "appraisal", map[string]any{"tpm": map[string]any{"ok": true}, "zero": 2})
	if err != nil || string(out) != `{"broken":0.5,"level":3}` {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := e.Document(context.Background(), "appraisal", map[string]any{"zero": 0}); err == nil {
		t.Error("an evaluation error is no error")
	}
	for _, name := range []string{"other", "", "appraisal\"]", "p"} {
		if _, err := e.Document(context.Background(), name, nil); !errors.Is(err, ErrNoDocument) {
			t.Errorf("document %q: %v", name, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package action_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

func TestCheckRefusesWhatReadersDisagreeOn(t *testing.T) {
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"an object":                       {`{"a":1,"b":[true,null,"x"]}`, true},
		"a scalar":                        {` "x" `, true},
		"shortest float":                  {`0.1`, true},
		"float written long":              {`1.50`, true},
		"largest safe integer":            {`9007199254740991`, true},
		"nothing":                         {``, false},
		"truncated":                       {`{"a":`, false},
		"two values":                      {`{} {}`, false},
		"duplicate names":                 {`{"a":1,"a":2}`, false},
		"duplicate names by escape":       {`{"a":1,"\u0061":2}`, false},
		"names that differ in case":       {`{"Path":1,"path":2}`, false},
		"names that fold alike":           {`{"k":1,"K":2}`, false},
		"the same name in two objects":    {`[{"a":1},{"a":2}]`, true},
		"same names inside and outside":   {`{"a":{"a":{"a":1}}}`, true},
		"a string value equal to a name":  {`{"a":"a","b":"a"}`, true},
		"case twins after a nested array": {`{"a":[1,{"b":2}],"A":1}`, false},
		"lone surrogate":                  {`"\ud800"`, false},
		"invalid UTF-8":                   {"\"\xff\"", false},
		"10,000 deep":                     {deep, false},
		"integer beyond a double":         {`9007199254740993`, false},
		"negative beyond a double":        {`-9007199254740993`, false},
		"float that loses digits":         {`0.1000000000000000055511151231257827`, false},
		"overflow":                        {`1e400`, false},
		"huge exponent":                   {`1e-99999999999`, false},
		"large power of ten":              {`1e300`, false},
		"comment":                         {`{} // x`, false},
		"single quotes":                   {`{'a':1}`, false},
		"byte order mark":                 {"\ufeff{}", false},
		"NaN":                             {`NaN`, false},
	} {
		err := action.Check([]byte(c.in), action.Limits{})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !errors.Is(err, action.ErrStrict) {
			t.Errorf("%s: error %v does not wrap ErrStrict", name, err)
		}
	}
	if err := action.Check([]byte(`"0123456789"`), action.Limits{Bytes: 5}); !errors.Is(err, action.ErrStrict) {
		t.Errorf("oversize: %v", err)
	}
}

func TestReadRefusesUnknownAndMistyped(t *testing.T) {
	type doc struct {
		A int `json:"a"`
	}
	for name, in := range map[string]string{"unknown": `{"a":1,"b":2}`, "other case": `{"A":1}`, "type": `{"a":"1"}`} {
		var d doc
		err := action.Read([]byte(in), &d, action.Limits{})
		if !errors.Is(err, action.ErrStrict) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), `"1"`) {
			t.Errorf("%s: the error quotes a value: %v", name, err)
		}
	}
}

func TestQueryRoundTripsAndValidates(t *testing.T) {
	q := action.NewQuery(action.Before)
	b, err := action.Canonical(q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := action.ReadQuery(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := action.Canonical(got); string(again) != string(b) {
		t.Errorf("round trip differs:\n%s\n%s", b, again)
	}
	q.Action.Effect = "explode"
	if err := q.Validate(); err == nil {
		t.Error("an effect off the list is valid")
	}
	if _, err := action.ReadQuery([]byte(strings.Replace(string(b), `"agent.v1"`, `"agent.v9"`, 1))); err == nil {
		t.Error("an unknown version is read")
	}
}

func TestEveryPartStartsUnknownAndValid(t *testing.T) {
	for _, p := range []action.Part{action.UnknownIdentity(), action.UnknownAttestation(), action.UnknownDetect(), action.UnknownMonitor(),
		action.UnknownHistory(), action.NoApproval(), action.UnknownKill(), action.UnknownFlow()} {
		if err := action.ValidatePart(p); err != nil {
			t.Errorf("%T: %v", p, err)
		}
	}
	if err := action.ValidatePart(action.Flow{}); err == nil {
		t.Error("a part with empty words is valid")
	}
}

func TestMeetIsMostRestrictive(t *testing.T) {
	all := []action.Verdict{action.Allow, action.Ask, action.Deny, action.Quarantine}
	for i, a := range all {
		for j, b := range all {
			if got := a.Meet(b); got != all[max(i, j)] {
				t.Errorf("%s meet %s = %s", a, b, got)
			}
		}
	}
	for _, bad := range []action.Verdict{"", "permit"} {
		if got := action.Allow.Meet(bad); got != action.Deny {
			t.Errorf("allow meet %q = %s", bad, got)
		}
		if got := bad.Meet(action.Allow); got != action.Deny {
			t.Errorf("%q meet allow = %s", bad, got)
		}
	}
	d := action.Decision{Verdict: action.Allow, Mode: action.Observe}.Meet(action.Decision{Verdict: action.Allow, Mode: action.Enforce})
	if d.Mode != action.Enforce {
		t.Error("observe outlives a meeting with enforce")
	}
}

func TestRanks(t *testing.T) {
	for _, c := range []struct {
		have, need action.Rank
		ok         bool
	}{
		{action.RankOperator, action.RankOperator, true}, {action.RankPasskey, action.RankOperator, true},
		{action.RankClient, action.RankOperator, false}, {action.RankBearer, action.RankOperator, false},
		{action.RankJudge, action.RankClient, false}, {action.RankJudge, action.RankJudge, true},
		{action.RankOperator, action.RankJudge, true}, {action.RankClient, action.RankJudge, false},
		{"", action.RankClient, false}, {action.RankPasskey, "emperor", false}, {action.RankPasskey, "", false}, {"root", action.RankClient, false},
	} {
		if got := c.have.AtLeast(c.need); got != c.ok {
			t.Errorf("%q satisfies %q: %v", c.have, c.need, got)
		}
	}
}

func TestUnknownEffectIsGravest(t *testing.T) {
	for _, e := range []action.Effect{"", "unknown", "other"} {
		for _, v := range action.EffectRead.Values()[1:] {
			if e.Severity() <= action.Effect(v).Severity() {
				t.Errorf("%q is not graver than %s", e, v)
			}
		}
		if !e.SideEffect() {
			t.Errorf("%q has no side effect", e)
		}
	}
}

func FuzzCheckAgreesWithCanonical(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":"\u00e9"}]}`, `{"a":1,"A":2}`, `1e21`, `-0`, `"\ud83d\ude00"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if action.Check(in, action.Limits{}) != nil {
			return
		}
		var v any
		if err := json.Unmarshal(in, &v); err != nil {
			t.Fatalf("checked but not readable: %v", err)
		}
		a, err := action.Canonical(v)
		if err != nil {
			t.Fatalf("checked but not canonical: %v", err)
		}
		if err := action.Check(a, action.Limits{}); err != nil {
			t.Fatalf("the canonical form %s is refused: %v", a, err)
		}
		var w any
		if err := json.Unmarshal(a, &w); err != nil {
			t.Fatal(err)
		}
		if b, _ := action.Canonical(w); string(b) != string(a) {
			t.Fatalf("canonical form is not stable: %s %s", a, b)
		}
	})
}

func FuzzReadQuery(f *testing.F) {
	b, _ := action.Canonical(action.NewQuery(action.Before))
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		q, err := action.ReadQuery(in)
		if err != nil {
			return
		}
		a, err := action.Canonical(q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := action.ReadQuery(a); err != nil {
			t.Fatalf("own canonical form is refused: %v", err)
		}
	})
}

func BenchmarkCanonicalQuery(b *testing.B) {
	q := action.NewQuery(action.Before)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := action.Canonical(q); err != nil {
			b.Fatal(err)
		}
	}
}

// TestQueryHoldsWhatDoorsAccept: arguments at every limit still make a query that can be read back.
func TestQueryHoldsWhatDoorsAccept(t *testing.T) {
	deep := `{"a":` + strings.Repeat("[", action.DefaultDepth-1) + strings.Repeat("]", action.DefaultDepth-1) + `}`
	var wide strings.Builder
	wide.WriteString(`{`)
	for i := range action.DefaultNames {
		if i > 0 {
			wide.WriteByte(',')
		}
		wide.WriteString(`"k` + strconv.Itoa(i) + `":1`)
	}
	wide.WriteString(`}`)
	for name, args := range map[string]string{"deepest": deep, "widest": wide.String(), "largest": `{"a":"` + strings.Repeat("x", action.DefaultBytes-8) + `"}`} {
		if err := action.Check([]byte(args), action.Limits{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q := action.NewQuery(action.Before)
		q.Action.Arguments = []byte(args)
		b, err := action.Canonical(q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := action.ReadQuery(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	q := action.NewQuery(action.Before)
	b.ReportAllocs()
	for b.Loop() {
		if err := q.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// forget calls try once for each word of q that is known, with that word unknown instead, and once with it
// empty.
func forget(at string, v reflect.Value, try func(at string)) {
	if e, ok := v.Interface().(interface{ Values() []string }); ok {
		if was := v.String(); was != "unknown" && slices.Contains(e.Values(), "unknown") {
			for _, now := range []string{"unknown", ""} {
				v.SetString(now)
				try(at + " = " + `"` + now + `"`)
			}
			v.SetString(was)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			forget(at+"/"+v.Type().Field(i).Tag.Get("json"), v.Field(i), try)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if k := v.Index(i).Kind(); k == reflect.Struct || k == reflect.String {
				forget(at, v.Index(i), try)
			}
		}
	}
}

// mayBeUnknown are the facts that baseline does not need, with the reason.
var mayBeUnknown = map[string]string{
	"/subject/identity/rights/state":     "most deployments have nobody who answers for the user's rights",
	"/subject/identity/rights/permitted": "most deployments have nobody who answers for the user's rights",
	"/context/flow/asked":                "where no words are known for what a tool does, the origins of its values decide alone",
	"/resource/zone":                     "a tool that was registered by hand has none; in a session without folders its paths are its own",
	"/context/monitor/state":             "a profile that is still learning says nothing, as a case has it",
	"/context/detect/canary":             "a result that nobody scanned goes back as untrusted",
}

// TestBaselineTakesNoUnknownForTheGoodCase forgets each fact of each case that must not pass: none of
// them passes for it.
func TestBaselineTakesNoUnknownForTheGoodCase(t *testing.T) {
	c, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, s := range suitesOf(t, "baseline") {
		under, err := c.under(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range s.Cases {
			if k.Expect == action.Allow {
				continue
			}
			q := k.Query
			forget("", reflect.ValueOf(q).Elem(), func(at string) {
				tried++
				d, err := under.Decide(context.Background(), q)
				if err != nil {
					t.Fatal(err)
				}
				fact, _, _ := strings.Cut(at, " ")
				if d.Verdict == action.Allow && mayBeUnknown[fact] == "" {
					t.Errorf("%q passes with %s:\n%s", k.Name, at, Text(q, &d))
				}
			})
		}
	}
	if tried < 1000 {
		t.Errorf("only %d facts were forgotten", tried)
	}
}

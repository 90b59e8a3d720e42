// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// published is what testdata/SOURCE.md says of OCSF, read as it was published: nothing in it is ours.
type published struct {
	Version string                 `json:"version"`
	Classes map[string]ocsfObject  `json:"classes"`
	Objects map[string]ocsfObject  `json:"objects"`
	Types   map[string]ocsfPrimary `json:"types"`
}

type ocsfObject struct {
	UID         int                      `json:"uid"`
	CategoryUID int                      `json:"category_uid"`
	Profiles    []string                 `json:"profiles"`
	Constraints map[string][]string      `json:"constraints"`
	Attributes  map[string]ocsfAttribute `json:"attributes"`
}

type ocsfAttribute struct {
	Type        string            `json:"type"`
	Requirement string            `json:"requirement"`
	IsArray     bool              `json:"is_array"`
	ObjectType  string            `json:"object_type"`
	Profile     string            `json:"profile"`
	Sibling     string            `json:"sibling"` // says an enumerated value in words
	Enum        map[string]string `json:"enum"`
	Deprecated  bool              `json:"deprecated"`
}

type ocsfPrimary struct {
	Type   string    `json:"type"`
	MaxLen int       `json:"max_len"`
	Regex  string    `json:"regex"`
	Range  []float64 `json:"range"`
	Values []any     `json:"values"`
}

func readPublished(t *testing.T) *published {
	t.Helper()
	b, err := os.ReadFile("testdata/ocsf-1.5.0.json")
	if err != nil {
		t.Fatal(err)
	}
	var p published
	if err := json.Unmarshal(b, &p, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}
	if p.Version != ocsfVersion {
		t.Fatalf("the schema is of %s, what is written says %s", p.Version, ocsfVersion)
	}
	return &p
}

// event lists what is wrong with an event: the checks of the schema server's own validator, its warnings included.
func (p *published) event(b []byte) []string {
	var e map[string]any
	if err := json.Unmarshal(b, &e); err != nil {
		return []string{err.Error()}
	}
	meta, _ := e["metadata"].(map[string]any)
	profiles := map[string]bool{"": true}
	list, _ := meta["profiles"].([]any)
	for _, name := range list {
		profiles[fmt.Sprint(name)] = true
	}
	for _, c := range p.Classes {
		if e["class_uid"] != float64(c.UID) {
			continue
		}
		var bad []string
		for name := range profiles {
			if name != "" && !slices.Contains(c.Profiles, name) {
				bad = append(bad, "the class has no profile "+name)
			}
		}
		if e["type_uid"] != float64(c.UID)*100+e["activity_id"].(float64) || e["category_uid"] != float64(c.CategoryUID) || meta["version"] != p.Version {
			bad = append(bad, "type_uid, category_uid or version are not those of the class")
		}
		return append(bad, p.object("", c, e, profiles)...)
	}
	return []string{fmt.Sprintf("class %v is none", e["class_uid"])}
}

func (p *published) object(at string, o ocsfObject, v map[string]any, profiles map[string]bool) (bad []string) {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		a, known := o.Attributes[name]
		switch {
		case !known || !profiles[a.Profile]:
			bad = append(bad, at+name+" is unknown")
		case a.Deprecated:
			bad = append(bad, at+name+" is deprecated")
		case name != "unmapped":
			bad = append(bad, p.attribute(at+name, a, v[name], v, profiles)...)
		}
	}
	for name, a := range o.Attributes {
		if _, there := v[name]; !there && a.Requirement == "required" && profiles[a.Profile] {
			bad = append(bad, at+name+" is missing")
		}
	}
	there := func(name string) bool { _, ok := v[name]; return ok }
	for rule, names := range o.Constraints {
		n := len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !there(name) }))
		if rule == "at_least_one" && n < 1 || rule == "just_one" && n != 1 {
			bad = append(bad, fmt.Sprintf("%s: %s of %v", at, rule, names))
		}
	}
	return bad
}

func (p *published) attribute(at string, a ocsfAttribute, v any, beside map[string]any, profiles map[string]bool) (bad []string) {
	if a.IsArray {
		list, ok := v.([]any)
		if !ok {
			return []string{at + " is no list"}
		}
		a.IsArray = false
		for i, e := range list {
			bad = append(bad, p.attribute(fmt.Sprintf("%s[%d]", at, i), a, e, beside, profiles)...)
		}
		return bad
	}
	if a.Type == "object_t" {
		o, ok := v.(map[string]any)
		if !ok {
			return []string{at + " is no object"}
		}
		return p.object(at+".", p.Objects[a.ObjectType], o, profiles)
	}
	if !p.primary(a.Type, v) {
		return []string{fmt.Sprintf("%s: %v is no %s", at, v, a.Type)}
	}
	if len(a.Enum) == 0 {
		return nil
	}
	key := fmt.Sprint(v)
	if f, ok := v.(float64); ok {
		key = strconv.FormatInt(int64(f), 10)
	}
	caption, ok := a.Enum[key]
	said, spoken := beside[a.Sibling].(string)
	switch {
	case !ok:
		return []string{fmt.Sprintf("%s: %v is not among its values", at, v)}
	case a.Sibling != "" && key == "99" && !spoken:
		return []string{fmt.Sprintf("%s: other, and %s does not say what", at, a.Sibling)}
	case spoken && key != "99" && said != caption:
		return []string{fmt.Sprintf("%s: %s says %q of %q", at, a.Sibling, said, caption)}
	}
	return nil
}

func (p *published) primary(name string, v any) bool {
	t, ok := p.Types[name]
	if !ok {
		return false
	}
	base := name
	if t.Type != "" {
		base = t.Type
	}
	switch base {
	case "string_t":
		s, ok := v.(string)
		return ok && (t.MaxLen == 0 || len(s) <= t.MaxLen) && (t.Regex == "" || regexp.MustCompile(t.Regex).MatchString(s))
	case "integer_t", "long_t":
		f, ok := v.(float64)
		return ok && f == float64(int64(f)) && (len(t.Range) == 0 || f >= t.Range[0] && f <= t.Range[1])
	case "float_t":
		_, ok := v.(float64)
		return ok
	case "boolean_t":
		_, ok := v.(bool)
		return ok
	}
	return name == "json_t"
}

// TestOCSFHoldsToThePublishedSchema checks events of every kind, verdict, status and effect: required, unknown and
// deprecated attributes, types, enumerations and their words, and the rules over groups of attributes.
func TestOCSFHoldsToThePublishedSchema(t *testing.T) {
	p := readPublished(t)
	seen, classes := map[string]bool{}, map[string]bool{}
	for _, r := range everyRecord(t) {
		b := ocsfEvent(r)
		for _, what := range p.event(b) {
			if !seen[what] {
				seen[what] = true
				t.Errorf("%s: %s\n%s", r.Leaf.Kind, what, b)
			}
		}
		classes[strings.SplitN(strings.SplitN(string(b), `"class_uid":`, 2)[1], ",", 2)[0]] = true
	}
	if len(classes) != len(p.Classes) {
		t.Errorf("classes %v", classes)
	}
}

// TestThePublishedSchemaRefuses shows that the check above can fail in each of its ways.
func TestThePublishedSchemaRefuses(t *testing.T) {
	p := readPublished(t)
	every := everyRecord(t)
	one := every[len(every)-1]
	good := string(ocsfEvent(one))
	if bad := p.event([]byte(good)); len(bad) > 0 {
		t.Fatal(bad)
	}
	for _, c := range []struct{ name, old, with string }{
		{"an unknown attribute", `"product":{`, `"product":{"x":1,`},
		{"a missing attribute", `"severity_id":`, `"confidence_id":`},
		{"another type", `"time":`, `"time":"x","end_time":`},
		{"a value that is none", `"severity_id":1`, `"severity_id":7`},
		{"another class", `"type_uid":6003`, `"type_uid":3004`},
		{"a profile that the class has not", `["security_control"]`, `["security_control","incident"]`},
		{"no profile", `["security_control"]`, `[]`},
		{"a word of another value", `"disposition":"Logged"`, `"disposition":"Blocked"`},
		{"an actor that is nobody", `"actor":{"app_uid":"ag"}`, `"actor":{}`},
		{"an object for a text", `"uid":"log.example`, `"uid":{},"event_code":"log.example`},
	} {
		changed := strings.Replace(good, c.old, c.with, 1)
		if changed == good || len(p.event([]byte(changed))) == 0 {
			t.Errorf("%s is taken: %s", c.name, changed)
		}
	}
}

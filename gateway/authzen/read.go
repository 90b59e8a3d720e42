// SPDX-License-Identifier: Apache-2.0

package authzen

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// members are those of one JSON object, already read strictly.
type members map[string]jsontext.Value

// evaluation is one question.
type evaluation struct {
	subjectType, subjectID string
	action                 string // its name
	arguments              []byte // {subject, action, resource, context} with what the specification knows of them
}

// required are the members that an entity must have; all are strings. Entities have properties beside them.
var required = map[string][]string{"subject": {"type", "id"}, "action": {"name"}, "resource": {"type", "id"}}

// evaluationOf reads one question out of m. Entities that m lacks come from defaults, which may be nil. An
// entity of m takes the place of the default one as a whole, but for required members that it lacks.
func evaluationOf(m, defaults members) (*evaluation, error) {
	args := map[string]any{}
	words := map[string]string{}
	for _, name := range []string{"subject", "action", "resource"} {
		e, err := entity(name, m[name], defaults[name])
		if err != nil {
			return nil, err
		}
		for _, r := range required[name] {
			text, err := str(e[r])
			if err != nil {
				return nil, fmt.Errorf("%s.%s %w", name, r, err)
			}
			words[name+"."+r] = text
		}
		args[name] = e
	}
	context := m["context"]
	if context == nil {
		context = defaults["context"]
	}
	if context != nil {
		if context.Kind() != jsontext.KindBeginObject {
			return nil, errors.New("context must be an object")
		}
		args["context"] = context
	}
	b, err := json.Marshal(args, json.Deterministic(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return nil, errors.New("the evaluation cannot be encoded")
	}
	return &evaluation{subjectType: words["subject.type"], subjectID: words["subject.id"], action: words["action.name"], arguments: b}, nil
}

// entity merges v over the default one and keeps what the specification knows.
func entity(name string, v, byDefault jsontext.Value) (members, error) {
	base, err := object(name, byDefault)
	if err != nil {
		return nil, err
	}
	own := base
	if v != nil {
		if own, err = object(name, v); err != nil {
			return nil, err
		}
	} else if byDefault == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	out := members{}
	for _, r := range required[name] {
		if out[r] = own[r]; out[r] == nil {
			out[r] = base[r]
		}
		if out[r] == nil {
			return nil, fmt.Errorf("%s.%s is missing", name, r)
		}
	}
	if p := own["properties"]; p != nil {
		if p.Kind() != jsontext.KindBeginObject {
			return nil, fmt.Errorf("%s.properties must be an object", name)
		}
		out["properties"] = p
	}
	return out, nil
}

// object reads v, which may be nil.
func object(name string, v jsontext.Value) (members, error) {
	m := members{}
	if v == nil {
		return m, nil
	}
	if v.Kind() != jsontext.KindBeginObject {
		return nil, fmt.Errorf("%s must be an object", name)
	}
	if err := json.Unmarshal(v, &m); err != nil {
		return nil, fmt.Errorf("%s cannot be read", name)
	}
	return m, nil
}

// str reads a name or an id.
func str(v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", errors.New("must be a string")
	}
	b, err := jsontext.AppendUnquote(nil, v)
	switch {
	case err != nil:
		return "", errors.New("cannot be read")
	case len(b) == 0:
		return "", errors.New("is empty")
	case !printable(string(b), 256):
		return "", errors.New("holds more than 256 bytes, or a control character")
	}
	return string(b), nil
}

func printable(s string, max int) bool {
	return len(s) <= max && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) })
}

// batchOf reads the questions of a batch and how it ends. No questions and no error means that m is itself
// the question.
func batchOf(m members, most int) ([]members, semantics, error) {
	how := executeAll
	options, err := object("options", m["options"])
	if err != nil {
		return nil, how, err
	}
	if v := options["evaluations_semantic"]; v != nil {
		s, err := str(v)
		if err != nil {
			return nil, how, fmt.Errorf("options.evaluations_semantic %w", err)
		}
		if how = semantics(s); how != executeAll && how != denyOnDeny && how != permitOnFirst {
			return nil, how, fmt.Errorf("options.evaluations_semantic %q is not known", action.Clip(s, 64))
		}
	}
	v := m["evaluations"]
	if v == nil {
		return nil, how, nil
	}
	if v.Kind() != jsontext.KindBeginArray {
		return nil, how, errors.New("evaluations must be a list")
	}
	var raw []jsontext.Value
	if err := json.Unmarshal(v, &raw); err != nil {
		return nil, how, errors.New("evaluations cannot be read")
	}
	if len(raw) > most {
		return nil, how, fmt.Errorf("evaluations holds more than %d", most)
	}
	list := make([]members, 0, len(raw))
	for _, r := range raw {
		o, err := object("an evaluation", r)
		if err != nil {
			return nil, how, err
		}
		list = append(list, o)
	}
	// A default that is no object is wrong for the batch as a whole.
	for name := range maps.Keys(required) {
		if _, err := object(name, m[name]); err != nil {
			return nil, how, err
		}
	}
	return list, how, nil
}

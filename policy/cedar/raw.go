// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"bytes"
	"reflect"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/go-json-experiment/json/jsontext"
)

// anything is the shape of the raw arguments: any name may be there, at any depth.
var anything = func() *shape {
	s := &shape{}
	s.any = s
	return s
}()

// raw turns the arguments, one JSON object that was checked before, into a record. Lists become a record of their
// count and, of objects, one set for each member ("columns"), of anything else the set "items". What Cedar has
// no value for is left out: null, and numbers that are no whole ones. A rule that reads what is not there errs,
// and a forbid that errs denies.
func raw(v reflect.Value) cedar.Value {
	dec := jsontext.NewDecoder(bytes.NewReader(v.Bytes()))
	if val, ok := rawValue(dec); ok {
		if r, is := val.(cedar.Record); is {
			return r
		}
	}
	return cedar.NewRecord(nil)
}

func rawValue(dec *jsontext.Decoder) (cedar.Value, bool) {
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, false
	}
	switch tok.Kind() {
	case '"':
		return cedar.String(tok.String()), true
	case 't', 'f':
		return cedar.Boolean(tok.Bool()), true
	case '0':
		n, err := strconv.ParseInt(tok.String(), 10, 64)
		return cedar.Long(n), err == nil
	case '{':
		m := cedar.RecordMap{}
		for dec.PeekKind() == '"' {
			name, err := dec.ReadToken()
			if err != nil {
				return nil, false
			}
			key := cedar.String(name.String())
			if val, ok := rawValue(dec); ok {
				m[key] = val
			}
		}
		_, err := dec.ReadToken()
		return cedar.NewRecord(m), err == nil
	case '[':
		return rawList(dec)
	}
	return nil, false
}

func rawList(dec *jsontext.Decoder) (cedar.Value, bool) {
	count := 0
	columns := map[cedar.String][]cedar.Value{}
	for k := dec.PeekKind(); k != ']' && k != 0; k = dec.PeekKind() {
		count++
		val, ok := rawValue(dec)
		switch r, is := val.(cedar.Record); {
		case !ok:
		case is:
			for name, v := range r.All() {
				columns[name] = append(columns[name], v)
			}
		default:
			columns["items"] = append(columns["items"], val)
		}
	}
	_, err := dec.ReadToken()
	m := cedar.RecordMap{}
	for name, vals := range columns {
		m[name] = setOf(vals)
	}
	m["count"] = cedar.Long(count)
	return cedar.NewRecord(m), err == nil
}

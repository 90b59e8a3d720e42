// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"encoding/csv"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	varied = "- id_: '7'\n  order_id: ORD-1188\n  recipient: a@b.example\n  amount: 1200.5\n  start_time: '2024-03-05'\n- id_: '8'\n  order_id: ORD-1189\n" +
		"  recipient: |-\n    c,\n    \"d\"\n  amount: 3.5\n  start_time: '2024-03-06'\n"
	python = `{'Chez L\'Ami': {'rating': 4.5, 'open': True, 'notes': None, 'tags': ["it's", 'b']}}`
)

func recordings() *Data {
	return &Data{Suites: []string{"s"}, Tools: map[string][]Tool{"s": {{Suite: "s", Name: "send_email", Description: "Sends.",
		Schema: jsontext.Value(`{"type":"object","properties":{"recipients":{"type":"array","description":"whom"},"order_id":{"type":"string"}},"required":["recipients"]}`)}}},
		Runs: map[string][]Run{"s": {{Suite: "s", Prompt: "Tell of ORD-1188.", Steps: []Step{{Said: "and ORD-1189", Calls: []Call{{Tool: "send_email",
			Args: jsontext.Value(`{"recipients":["a@b.example"],"order_id":"ORD-1188"}`), Harm: 1}}, Outs: []Out{{Text: "o"}}}}}}},
		Texts:  map[string]Text{"o": {Text: varied, Injected: true}, "p": {Text: python}, "q": {Text: "Nothing of note: ORD-1188."}},
		Tenant: map[string][]Record{"s": {{Name: "r", Data: jsontext.Value(`[{"recipient":"a@b.example","order_id":"ORD-1189"}]`)}}}}
}

func TestVariationsKeepWhatHappens(t *testing.T) {
	for i := range Variations {
		name := Variations[i].Name
		t.Run(name, func(t *testing.T) {
			a, b := recordings(), recordings()
			if err := a.Vary(name); err != nil {
				t.Fatal(err)
			}
			if err := b.Vary(name); err != nil {
				t.Fatal(err)
			}
			call, tool := a.Runs["s"][0].Steps[0].Calls[0], a.Tools["s"][0]
			if call.Harm != 1 || call.Tool != tool.Name || !a.Texts["o"].Injected {
				t.Errorf("the call %+v of the tool %+v", call, tool)
			}
			args, ok := parseValue(string(call.Args))
			schema, sound := parseValue(string(tool.Schema))
			if !ok || !sound {
				t.Fatalf("%s of %s", call.Args, tool.Schema)
			}
			for _, k := range args.keys {
				if schema.member("properties").member(k) == nil {
					t.Errorf("the argument %q is not in %s", k, tool.Schema)
				}
			}
			for k, x := range a.Texts {
				if b.Texts[k] != x {
					t.Errorf("two ways to write %q: %q, %q", k, x.Text, b.Texts[k].Text)
				}
			}
			if !strings.Contains(a.Texts["o"].Text, "b.example") {
				t.Errorf("a value is lost: %q", a.Texts["o"].Text)
			}
			if name != "dates" && a.Texts["o"].Text == varied {
				t.Errorf("nothing changed: %q", a.Texts["o"].Text)
			}
		})
	}
	if err := recordings().Vary("nothing"); err == nil || !strings.Contains(err.Error(), "camel") {
		t.Errorf("an unknown variation: %v", err)
	}
}

func TestOtherNotationsCanBeReadAgain(t *testing.T) {
	v, ok := parseOutput(varied)
	if !ok {
		t.Fatal("the output cannot be read")
	}
	if again, ok := parseOutput(v.yaml()); !ok || again.json() != v.json() {
		t.Errorf("YAML: %q", v.yaml())
	}
	if again, ok := parseValue(v.json()); !ok || again.json() != v.json() {
		t.Errorf("JSON: %q", v.json())
	}
	text, _ := asCSV(v)
	if rows, err := csv.NewReader(strings.NewReader(text)).ReadAll(); err != nil || len(rows) != 3 || rows[2][2] != "c,\n\"d\"" {
		t.Errorf("CSV: %v, %v", rows, err)
	}
	text, _ = asXML(v)
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("XML: %v in %q", err, text)
		}
	}
	p, ok := parseOutput(python)
	if want := `{"Chez L'Ami": {"rating": 4.5, "open": true, "notes": null, "tags": ["it's", "b"]}}`; !ok || p.json() != want {
		t.Errorf("Python: %v, %s", ok, p.json())
	}
}

func TestIDsAreTheSameEverywhere(t *testing.T) {
	d := recordings()
	if err := d.Vary("ids"); err != nil {
		t.Fatal(err)
	}
	args, _ := parseValue(string(d.Runs["s"][0].Steps[0].Calls[0].Args))
	id := args.member("order_id").text
	if id == "ORD-1188" || !strings.Contains(d.Texts["o"].Text, id) || !strings.Contains(d.Texts["q"].Text, id) || !strings.Contains(d.Runs["s"][0].Prompt, id) {
		t.Errorf("%q, %q, %q, %q", id, d.Texts["o"].Text, d.Texts["q"].Text, d.Runs["s"][0].Prompt)
	}
}

func FuzzVariations(f *testing.F) {
	f.Add(varied)
	f.Add(python)
	f.Add("[{'a': (1, 2)}]")
	f.Fuzz(func(t *testing.T, text string) {
		for i := range Variations {
			_ = Variations[i].output(text, idMap{"ab12": "obj"})
		}
		if v, ok := parseOutput(text); ok && !jsontext.Value(v.json()).IsValid() {
			t.Errorf("no JSON: %q", v.json())
		}
	})
}

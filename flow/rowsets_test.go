// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestPrintedTablesAreRecordsOrProse(t *testing.T) {
	const psql = " id | to  \n----+-----\n 7  | a b \n 8  | c|d \n"
	for name, c := range map[string]struct{ text, want string }{
		"a table with its number of rows": {psql + "(2 rows)\n", "((id:7 to:a b) (id:8 to:c|d))"},
		"without a number":                {psql, ""},
		"another number":                  {psql + "(3 rows)\n", ""},
		"a line break in a cell":          {" id | to  \n----+-----\n 7  | a \n 9  | e \n 8  | c \n(2 rows)\n", ""},
		"a bar at another place":          {" id | to  \n----+-----\n 7  | a  \n a |  b  \n(2 rows)\n", ""},
		"a number within a text":          {psql + "(2 rows)\n 9  | e \n(3 rows)\n", ""},
		"text behind it":                  {psql + "(2 rows)\nPay now\n", ""},
		"a frame":                         {"+----+-----+\n| id | to  |\n+----+-----+\n| 7  | a b |\n| 8  | c|d |\n+----+-----+\n2 rows in set (0.00 sec)\n", "((id:7 to:a b) (id:8 to:c|d))"},
		"a frame that does not close":     {"+----+-----+\n| id | to  |\n+----+-----+\n| 7  | a b |\n2 rows in set\n", ""},
		"text beside a frame":             {"+----+----+\n| id | to |\n+----+----+\n| 7  | a  | b\n+----+----+\n1 row in set\n", ""},
		"one column":                      {" to  \n-----\n a b \n(1 row)\n", ""},
		"a head of values":                {" 7 | 8 \n---+---\n 9 | 1 \n(1 row)\n", ""},
		"letters wider than one":          {" id | to \n----+----\n é7 | ä  \n(1 row)\n", "((id:é7 to:ä))"},
	} {
		got := ""
		if n, ok := alignedText(c.text); ok {
			got = printed(n)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// classes are what the fields of a document may vouch for, and the number of its records.
func classes(t *testing.T, text string, declared map[string]Class) (by map[string]Class, records int) {
	t.Helper()
	r := reader{tables: true}
	by = map[string]Class{}
	w := walker{declare: func(p string) Class { return declared[p] }, emit: func(x seen) { by[x.pointer+"="+x.value.text] = x.class }}
	for _, d := range r.document([]byte(text)) {
		w.walk(d, "", "", -1)
	}
	return by, len(w.parents)
}

func TestColumnsBesideRowsAreRecords(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		declared map[string]Class
		want     map[string]Class
	}{
		"names of columns": {text: `{"columns":["id","sender"],"rows":[[7,"Ann"],[8,null]],"rowCount":2}`,
			want: map[string]Class{"/rows/*/id=7": OwnRecord, "/rows/*/sender=Ann": Counterparty, "/rows/*/id=8": OwnRecord, "/rowCount=2": OwnRecord}},
		"columns with types": {text: `{"result":{"fields":[{"name":"id","type":"int"},{"name":"body","type":"text"}],"values":[[7,"Hi"]]}}`,
			want: map[string]Class{"/values/*/id=7": OwnRecord, "/values/*/body=Hi": FreeText}},
		"a declared column": {text: `{"columns":["id","memo"],"rows":[[7,"Ann"]]}`, declared: map[string]Class{"/rows/*/memo": Counterparty},
			want: map[string]Class{"/rows/*/id=7": OwnRecord, "/rows/*/memo=Ann": Counterparty}},
		"all cells declared as text": {text: `{"columns":["id","memo"],"rows":[[7,"Ann"]]}`, declared: map[string]Class{"/rows/*/*": FreeText, "/rows/*/id": OwnRecord},
			want: map[string]Class{"/rows/*/id=7": FreeText, "/rows/*/memo=Ann": FreeText}},
		"rows of another length": {text: `{"columns":["id","sender"],"rows":[[7,"Ann","x"]]}`, want: nil},
		"columns of one name":    {text: `{"columns":["id","id"],"rows":[[7,"Ann"]]}`, want: nil},
		"two lists of columns":   {text: `{"columns":["id","sender"],"fields":["sender","id"],"rows":[[7,"Ann"]]}`, want: nil},
		"two lists of rows":      {text: `{"columns":["id","sender"],"rows":[[7,"Ann"]],"values":[[8,"Bob"]]}`, want: nil},
		"no name of columns":     {text: `{"tags":["id","sender"],"rows":[[7,"Ann"]]}`, want: nil},
	} {
		got, _ := classes(t, c.text, c.declared)
		if c.want == nil {
			for p := range got {
				if strings.HasSuffix(strings.SplitN(p, "=", 2)[0], "/sender") {
					t.Errorf("%s: %v", name, got)
				}
			}
			continue
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAttributesBesideAnIDAreItsRecords(t *testing.T) {
	got, n := classes(t, `{"data":[{"type":"notes","id":"n7","attributes":{"title":"Plans","body":"Dear all. Come soon."}}],"links":{"self":"/notes"}}`, nil)
	want := []string{"/data/*/attributes/body=Dear all. Come soon.", "/data/*/attributes/title=Plans", "/data/*/id=n7", "/data/*/type=notes", "/links/self=/notes"}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) || got[want[0]] != FreeText || got[want[1]] != Label {
		t.Errorf("%v", got)
	}
	if n != 3 { // the document, its links, and one for the note
		t.Errorf("%d records", n)
	}
	if _, n := classes(t, `[{"type":"notes","attributes":{"title":"Plans"}}]`, nil); n != 2 {
		t.Errorf("without an id: %d records", n)
	}
}

func FuzzRowsets(f *testing.F) {
	f.Add(" id | to  \n----+-----\n 7  | a b \n(1 row)\n")
	f.Add("+----+\n| id |\n+----+\n| 7  |\n+----+\n1 row")
	f.Add("é|\n---+\n|\n(1 row)")
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := alignedText(text)
		if ok && n.kind == 'l' && len(n.items) > strings.Count(text, "\n") {
			t.Errorf("more rows than lines: %s", printed(n))
		}
	})
}

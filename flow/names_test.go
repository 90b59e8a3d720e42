// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestSuperlativeMeansTheOneDateThatAnotherLanguageNames(t *testing.T) {
	for name, c := range map[string]struct {
		request, listed, id string
		want                Grade
	}{
		"the one date":           {"Delete the oldest file.", `[{"kennung":"d-7001","groesse":10,"geaendert":"2024-05-01"},{"kennung":"d-7002","groesse":9,"geaendert":"2023-05-01"}]`, "d-7002", GradeMedium},
		"not the oldest":         {"Delete the oldest file.", `[{"kennung":"d-7001","groesse":10,"geaendert":"2024-05-01"},{"kennung":"d-7002","groesse":9,"geaendert":"2023-05-01"}]`, "d-7001", GradeSet},
		"two dates":              {"Delete the oldest file.", `[{"kennung":"d-7001","faellig":"2023-04-01","geaendert":"2024-05-01"},{"kennung":"d-7002","faellig":"2023-07-01","geaendert":"2023-05-01"}]`, "d-7002", GradeSet},
		"names that we can read": {"Delete the oldest file.", `[{"id":"d-7001","title":"A","touched":"2024-05-01"},{"id":"d-7002","title":"B","touched":"2023-05-01"}]`, "d-7002", GradeSet},
		"a number is no price":   {"Delete the cheapest file.", `[{"kennung":"d-7001","titel":"A","menge":10},{"kennung":"d-7002","titel":"B","menge":9}]`, "d-7002", GradeSet},
		"a number as a date":     {"Delete the oldest file.", `[{"kennung":"d-7001","groesse":10},{"kennung":"d-7002","groesse":900}]`, "d-7001", GradeSet},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, nil, func(x *Config) {
				x.Tool = func(q *action.Query) Tool {
					if q.Resource.Name == "list_files" {
						return Tool{Class: "read", Words: []string{"list", "files"}}
					}
					return Tool{Class: "destroy", Words: []string{"delete", "file"}, Role: func(string, string) string { return "selector" }}
				}
			})
			q := before("2", "s", "drive/delete_file", fmt.Sprintf(`{"kennung":%q}`, c.id))
			q.Action.Effect = action.EffectDestroy
			hear(f, q, action.AssertedSDK, c.request)
			run(t, f, before("1", "s", "drive/list_files", `{}`), c.listed)
			if v := inform(t, f, q).Arguments[0]; v.Grade != string(c.want) {
				t.Errorf("%s is %q, want %q", c.id, v.Grade, c.want)
			}
		})
	}
}

func TestWhatACallMadeIsKnownByItsOnlyID(t *testing.T) {
	for text, want := range map[string]string{
		`{"inhalt":"x","kennung":"26","titel":"Plan"}`:                 "26",
		`{"kennung":26,"titel":"Plan"}`:                                "26",
		`{"inhalt":"x","groesse":26}`:                                  "", // a number
		`{"inhalt":"x","kennung":"26","ordner":"31"}`:                  "", // two
		`{"inhalt":"x","kennung":"26","id":"d-7"}`:                     "", // one is called so
		`{"inhalt":"x","title":"d-7001","anhang":"Plan for the week"}`: "",
	} {
		n, ok := reprValue(text)
		if !ok {
			t.Fatal(text)
		}
		got := ""
		if v := firstID([]*node{n}); v != nil {
			got = v.text
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

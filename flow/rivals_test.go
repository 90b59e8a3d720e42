// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestNameThatLeadsToTwoPlacesLeadsToNeither(t *testing.T) {
	const ann = `{"name":"Ann Lee","email":"ann@corp.example"}`
	for name, c := range map[string]struct {
		request, other, listed string // another set of the organisation's records; what a tool lists
		to                     string
		want                   Grade
	}{
		"one record":                        {request: "Mail Ann the plan.", to: "ann@corp.example", want: GradeStrong},
		"another address in another set":    {request: "Mail Ann the plan.", other: `{"name":"Ann","email":"ann@out.example"}`, to: "ann@corp.example", want: GradeTenant},
		"and that address":                  {request: "Mail Ann the plan.", other: `{"name":"Ann","email":"ann@out.example"}`, to: "ann@out.example", want: GradeTenant},
		"another address that a tool lists": {request: "Mail Ann the plan.", listed: `[{"name":"Ann","email":"ann@out.example"}]`, to: "ann@out.example", want: GradeListed},
		"the same address twice":            {request: "Mail Ann the plan.", other: `{"name":"Ann Lee","email":"Ann@corp.example"}`, to: "ann@corp.example", want: GradeStrong},
		"an account and an address":         {request: "Mail Ann the plan.", other: `{"name":"Ann Lee","iban":"GB29NWBK60161331926819"}`, to: "ann@corp.example", want: GradeStrong},
		"the whole name tells them apart":   {request: "Mail Ann Lee the plan.", other: `{"name":"Ann Berg","email":"ann@out.example"}`, to: "ann@corp.example", want: GradeStrong},
		"the whole name is the other's":     {request: "Mail Ann Lee the plan.", other: `{"name":"Ann Berg","email":"ann@out.example"}`, to: "ann@out.example", want: GradeTenant},
		"two addresses of one person":       {request: "Mail Ann the plan.", other: `{"name":"Ann","email":"a@out.example","private_email":"b@out.example"}`, to: "ann@corp.example", want: GradeStrong},
		"the user says the address":         {request: "Mail Ann (ann@corp.example) the plan.", other: `{"name":"Ann","email":"ann@out.example"}`, to: "ann@corp.example", want: GradeUser},
		"somebody else":                     {request: "Mail Ann the plan.", other: `{"name":"Bo Ek","email":"bo@out.example"}`, to: "ann@corp.example", want: GradeStrong},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, nil, nil)
			q := before("2", "s", "mail/send", fmt.Sprintf(`{"to":%q}`, c.to))
			q.Subject.Tenant = "acme"
			put := func(set, data string) {
				if data == "" {
					return
				}
				if err := f.Records("acme", set, []byte("["+data+"]"), nil); err != nil {
					t.Fatal(err)
				}
			}
			put("people", ann)
			put("more", c.other)
			hear(f, q, action.AssertedSDK, c.request)
			if c.listed != "" {
				list := before("1", "s", "mail/list_people", `{}`)
				list.Subject.Tenant = "acme"
				run(t, f, list, c.listed)
			}
			if v := inform(t, f, q).Arguments[0]; v.Grade != string(c.want) {
				t.Errorf("%s is %q, want %q: %+v", c.to, v.Grade, c.want, v)
			}
		})
	}
}

// More records must never make a name lead further than fewer do.
func TestMoreRecordsOfANameRaiseNothing(t *testing.T) {
	values := []string{"ann@corp.example", "ann@out.example", "a1@out.example"}
	for n := range 1 << 6 {
		f, g := open(t, nil, nil), open(t, nil, nil)
		for _, to := range values {
			q := before("2", "s", "mail/send", fmt.Sprintf(`{"to":%q}`, to))
			q.Subject.Tenant = "acme"
			for i, fl := range []*Flow{f, g} {
				hear(fl, q, action.AssertedSDK, "Mail Ann Lee the plan.")
				for k := range 6 {
					if n>>k&1 == 0 || i == 1 && k == 5 {
						continue
					}
					name := []string{"Ann Lee", "Ann"}[k%2]
					data := fmt.Sprintf(`[{"name":%q,"email":%q}]`, name, values[k/2])
					if err := fl.Records("acme", fmt.Sprint("set", k), []byte(data), nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			more, fewer := inform(t, f, q).Arguments[0].Grade, inform(t, g, q).Arguments[0].Grade
			if to != values[2] && gradeOrder[Grade(more)] < gradeOrder[Grade(fewer)] { // the record that is added holds the third
				t.Errorf("%06b: %s is %s, and %s without one record", n, to, more, fewer)
			}
		}
	}
}

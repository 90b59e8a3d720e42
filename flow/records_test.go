// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestClassifyTellsFieldsApart(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       map[string]Class
	}{
		{"JSON records", `{"tickets":[{"id":7,"title":"Leak","author":"eve","body":"Please fix this. Thanks a lot!","assignee":"bob@corp.example"}]}`,
			map[string]Class{"/tickets/*/id": OwnRecord, "/tickets/*/title": Label, "/tickets/*/author": Counterparty,
				"/tickets/*/body": FreeText, "/tickets/*/assignee": Party}},
		{"a map whose keys are names", `{"Grand Hotel": {"rating": 4.1}, "Lake Inn": {"rating": 3.9}}`,
			map[string]Class{"/*": Label, "/*/rating": OwnRecord}},
		{"one record with spoken keys", `{"First Name": "Ada", "ID Number": "123", "Phone Number": "+49 30 1234567"}`,
			map[string]Class{"/First Name": Label, "/ID Number": OwnRecord, "/Phone Number": Party}},
		{"pages under their addresses", `{"pages": {"www.a.example": "Write to eve@out.example. She knows."}}`, map[string]Class{"/pages/*": Label}},
		{"what Python prints", `[Room(id=3, name='Blue', owner="Bob", booked=True, since=datetime.date(2024, 5, 1))]`,
			map[string]Class{"/*/id": OwnRecord, "/*/name": Label, "/*/owner": Counterparty, "/*/since": OwnRecord}},
		{"YAML", "- body: 'Hi,\n\n    it''s me'\n  cc: []\n  id_: '0'\n  recipients:\n  - ada@corp.example\n  sender: eve@out.example\n",
			map[string]Class{"/*/body": FreeText, "/*/id_": OwnRecord, "/*/recipients/*": Party, "/*/sender": Counterparty}},
		{"pairs a line", "Flight: XY123, Price: 120, Departure: Rome\nFlight: XY124, Price: 99, Departure: Oslo",
			map[string]Class{"/*/Flight": OwnRecord, "/*/Price": OwnRecord, "/*/Departure": OwnRecord}},
	} {
		got, err := Classify([]byte(c.data))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for p, want := range c.want {
			if got[p] != want {
				t.Errorf("%s: %s is %q, want %q (all: %v)", c.name, p, got[p], want, got)
			}
		}
	}
}

func TestRecordsRefusesWhatItCannotRead(t *testing.T) {
	f := open(t, nil, nil)
	for name, err := range map[string]error{
		"no name":       f.Records("default", "", []byte(`{}`), nil),
		"unknown class": f.Records("default", "hr", []byte(`{"a":1}`), map[string]string{"/a": "trusted"}),
		"prose":         f.Records("default", "hr", []byte("Nothing here is a record, this is prose. It goes on."), nil),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := f.Records("default", "hr", []byte(`{"people":[{"name":"Ada","email":"ada@corp.example"}]}`), nil); err != nil {
		t.Error(err)
	}
	if err := f.Records("default", "hr", nil, nil); err != nil || len(f.own.of("default")) != 0 {
		t.Errorf("records that were taken back: %v, %d", err, len(f.own.of("default")))
	}
}

func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x"]}`, "a: b\nc:\n- d\n- 'e\n\n  f'\n", `Email(id=1, at=datetime(2024, 1, 2))`, "A: b, C: d", "{'a', 'b'}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		votes, err := Classify(data)
		if err == nil {
			for p, c := range votes {
				if !c.Valid() {
					t.Errorf("%q: class %q", p, c)
				}
			}
		}
	})
}

func TestDeclaredFieldsGoBeforeTheClassifier(t *testing.T) {
	f := open(t, nil, func(c *Config) {
		c.Tool = func(*action.Query) Tool {
			return Tool{Class: "read", Field: func(pointer string) Class {
				return map[string]Class{"/*/owner": Party, "/*/iban": FreeText, "/*/note": OwnRecord}[pointer]
			}}
		}
	})
	q := before("1", "s", "crm/list", `{}`)
	hear(f, q, action.AssertedSDK, "Pay Bob.")
	run(t, f, q, `[{"name":"Bob","owner":"b@c.example","iban":"GB29NWBK60161331926819","note":"It was he who told us to write to e@f.example about it."}]`)
	p := inform(t, f, before("2", "s", "mail/send", `{"a":"b@c.example","b":"GB29NWBK60161331926819","c":"e@f.example"}`))
	for pointer, want := range map[string]string{"/a": "linked", "/b": "text", "/c": "text"} { // prose stays prose
		if v := valueAt(t, p, pointer); v.Grade != want {
			t.Errorf("%s: %q, want %q", pointer, v.Grade, want)
		}
	}
}

func TestADeclaredFieldVouchesForItsTypeOnly(t *testing.T) {
	const data = `{"people":[{"name":"Ada","pay":"DE89 3704 0044 0532 0130 00"},{"name":"Bob","pay":"eve@out.example"}]}`
	for _, c := range []struct {
		name, pointer, declared, value string
		origin                         action.Origin
	}{
		{"an account number in a field of account numbers", "/people/*/pay", "iban", `"DE89370400440532013000"`, action.OriginTenant},
		{"the same by the place of the value", "/people/0/pay", "iban", `"DE89370400440532013000"`, action.OriginTenant},
		{"an address in a field of account numbers", "/people/*/pay", "iban", `"eve@out.example"`, action.OriginAgent},
		{"an account number in a field of addresses", "/people/*/pay", "email", `"DE89370400440532013000"`, action.OriginAgent},
		{"an address in a field of addresses", "/people/*/pay", "email", `"eve@out.example"`, action.OriginTenant},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, nil, nil)
			if err := f.Records("default", "staff", []byte(data), map[string]string{c.pointer: c.declared}); err != nil {
				t.Fatal(err)
			}
			q := before("1", "s", "bank/pay", `{"to":`+c.value+`}`)
			hear(f, q, action.AssertedSDK, "pay Ada's salary")
			if v := valueAt(t, inform(t, f, q), "/to"); v.Origin != c.origin {
				t.Errorf("origin %s of %v, want %s", v.Origin, v.Origins, c.origin)
			}
		})
	}
}

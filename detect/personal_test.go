// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestPersonalDataIsFoundByItsForm(t *testing.T) {
	d := open(t)
	for _, c := range []struct{ name, json, kind string }{
		{"an address of mail", `"write to Anna.Meier+x@mail.example.org, please"`, "email"},
		{"a handle", `"thanks @anna"`, ""},
		{"a module and its version", `"left-pad@1.3.0"`, ""},
		{"an international number", `"+49 89 1234 5678"`, "phone"},
		{"an American number", `"(415) 555-2671"`, "phone"},
		{"an announced number", `"Phone: 089 123456"`, "phone"},
		{"an order number", `"order 4155552671"`, ""},
		{"a date and a time", `"2024-05-01 12:30:00"`, ""},
		{"an address of a host", `"from 192.168.10.4 to"`, "ip"},
		{"a version", `"version 1.2.3.4"`, ""},
		{"an address of six", `"at 2001:db8:0:1::8a2e:370"`, "ip"},
		{"a time of day", `"at 12:30:45"`, ""},
		{"a name of C++", `"std::vector::size"`, ""},
		{"an American social security number", `"078-05-1120"`, "ssn"},
		{"one that is never issued", `"666-05-1120"`, ""},
		{"a Spanish identity card", `"12345678Z"`, "national-id"},
		{"one with a wrong letter", `"12345678A"`, ""},
		{"a Spanish number for foreigners", `"X1234567L"`, "national-id"},
		{"an Italian tax code", `"RSSMRA85T10A562S"`, "national-id"},
		{"an Italian tax code with a wrong sign", `"RSSMRA85T10A562T"`, ""},
		{"a Brazilian number", `"529.982.247-25"`, "national-id"},
		{"a Dutch number that is announced", `"BSN 111222333"`, "national-id"},
		{"a Dutch number that is not", `"item 111222333"`, ""},
		{"a British health number", `"NHS number 943 476 5919"`, "national-id"},
		{"a German tax number", `"Steuer-ID: 86095742719"`, "national-id"},
		{"a Polish number", `"PESEL 44051401359"`, "national-id"},
		{"a Belgian number", `"Rijksregister 85.07.30-033.28"`, "national-id"},
		{"a Chinese number", `"citizen 110105194912310011"`, "national-id"},
		{"a Chinese number that ends in X", `"11010519491231002X"`, "national-id"},
		{"an Indian number", `"Aadhaar 2363 6636 8718"`, ""},
		{"a French number", `"NIR 2 55 08 14 168 025 38"`, "national-id"},
		{"a driver's licence", `"my driver's license number is 2270-66-1551"`, "document-id"},
		{"a name in its field", `{"first_name":"Anna"}`, "name"},
		{"a name in a general field", `{"name":"Anna Meier"}`, "name"},
		{"the name of a tool", `{"name":"list_files"}`, ""},
		{"a birthday in its field", `{"dateOfBirth":"1985-12-10"}`, "birth-date"},
		{"a street in its field", `{"street":"12 Main St"}`, "postal-address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := informed(t, d, action.After, c.json)
			got := ""
			if len(p.Findings) > 0 {
				got = p.Findings[0].Reason
			}
			if got != c.kind || p.Leak != 0 || len(p.Secrets) != 0 || p.Truncated != action.No {
				t.Errorf("%q (leak %d), want %q: %v", got, p.Leak, c.kind, p.Findings)
			}
		})
	}
}

func TestManyAddressesCrowdNothingOut(t *testing.T) {
	p := informed(t, open(t), action.After, quote(strings.Repeat("anna@mail.example.org, ", 2000)+"key "+githubKey))
	if len(p.Secrets) != 1 || p.Truncated != action.No || len(p.Findings) != maxStatedPersonal+1 {
		t.Errorf("%d secrets, truncated %s, %d findings", len(p.Secrets), p.Truncated, len(p.Findings))
	}
}

func TestFillingAppendedToASecretDoesNotHideIt(t *testing.T) {
	d := open(t)
	for _, tail := range []string{"xxxxxxxx", "0000", "123456789"} {
		if p := informed(t, d, action.Before, quote(githubKey+tail)); len(p.Secrets) != 1 {
			t.Errorf("%q hides it", tail)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"strings"
	"testing"
)

// TestArgumentsOfKnownToolsAreTyped: what the registry knows of a tool refuses a policy that could only ever err.
func TestArgumentsOfKnownToolsAreTyped(t *testing.T) {
	tools := map[string][]byte{
		"bank/pay": []byte(`{"type":"object","additionalProperties":false,"required":["amount","to","urgent","notes","lines","payer","any"],"properties":{"amount":{"type":"integer"},"to":{"type":"string"},
			"urgent":{"type":"boolean"},"notes":{"type":"array","items":{"type":"string"}},"any":{},
			"lines":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"},"n":{"type":"integer"}},"additionalProperties":false}},
			"payer":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"nick":{"type":"string"}}}, "memo":{"type":"string"}}}`),
		"bank/open":  []byte(`{"type":"object","properties":{"kind":{"type":"string"}}}`),
		"crm/broken": []byte(`{"type":["object","null"],"properties":{"x":{"type":"integer"}}}`),
		"crm/worse":  []byte(`[`),
	}
	pay, bank := `resource == Tool::"bank/pay"`, `resource in Server::"bank"`
	for _, c := range []struct{ name, scope, cond, want string }{
		{"a number as a number", pay, `context.action.arguments.amount > 3`, ""},
		{"a number as a text", pay, `context.action.arguments.amount == "3"`, "bank/pay"},
		{"a text as a number", pay, `context.action.arguments.to < 3`, "bank/pay"},
		{"a flag", pay, `context.action.arguments.urgent`, ""},
		{"a text as a flag", pay, `context.action.arguments.to`, "bank/pay"},
		{"a list of texts", pay, `context.action.arguments.notes has items && context.action.arguments.notes.items.contains("x")`, ""},
		{"a list of texts that may be empty", pay, `context.action.arguments.notes.items.contains("x")`, "safe form: context.action.arguments.notes has items &&"},
		{"an argument that the tool does not insist on", pay, `context.action.arguments.memo == "x"`, "safe form: context.action.arguments has memo &&"},
		{"the same, guarded", pay, `context.action.arguments has memo && context.action.arguments.memo == "x"`, ""},
		{"the same, guarded, of another type", pay, `context.action.arguments has memo && context.action.arguments.memo == 3`, "bank/pay"},
		{"a member that need not be there", pay, `context.action.arguments.payer.nick == "x"`, "safe form: context.action.arguments.payer has nick &&"},
		{"a list of texts asked for a number", pay, `context.action.arguments.notes has items && context.action.arguments.notes.items.contains(3)`, "bank/pay"},
		{"how many there are", pay, `context.action.arguments.notes.count < 3`, ""},
		{"a column", pay, `context.action.arguments.lines has sku && context.action.arguments.lines.sku.contains("a")`, ""},
		{"a column of numbers asked for a text", pay, `context.action.arguments.lines.n.contains("a")`, "bank/pay"},
		{"a column that there is none of", pay, `context.action.arguments.lines.colour.contains("a")`, "no such argument"},
		{"an argument that there is none of", pay, `context.action.arguments.amonut > 3`, "no such argument"},
		{"within a record", pay, `context.action.arguments.payer.name == 3`, "bank/pay"},
		{"a record may have more than it says", pay, `context.action.arguments.payer.age == 3`, ""},
		{"what the schema leaves open", pay, `context.action.arguments.any == 3`, ""},
		{"a tool that may have more arguments", `resource == Tool::"bank/open"`, `context.action.arguments.colour == 3`, ""},
		{"every tool of a server", bank, `context.action.arguments.kind == "x"`, "safe form: context.action.arguments has kind &&"},
		{"every tool of a server, of which one has it", bank, `context.action.arguments has kind && context.action.arguments.kind == "x"`, ""},
		{"every tool of a server, of another type", bank, `context.action.arguments has kind && context.action.arguments.kind == 3`, "bank/open"},
		{"a tool of one of two words", `resource == Tool::"crm/broken"`, `context.action.arguments.x == "x"`, ""},
		{"a schema that is none", `resource == Tool::"crm/worse"`, `context.action.arguments.x == "x"`, ""},
		{"a tool that nobody knows", `resource == Tool::"bank/close"`, `context.action.arguments.amount == "3"`, ""},
		{"no tool named", `resource`, `context.action.arguments.amount == "3"`, ""},
		{"the arguments as a whole", pay, `context.action.arguments == context.action.arguments`, ""},
	} {
		text := `@id("x") permit (principal, action, ` + c.scope + `) when { ` + c.cond + ` };`
		_, err := New(Config{Files: []File{{Name: "p.cedar", Data: []byte(text)}}, Tools: tools})
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "p.cedar:1")) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := New(Config{Files: []File{{Name: "p.cedar", Data: []byte(text)}}}); err != nil {
			t.Errorf("%s, without a registry: %v", c.name, err)
		}
	}
}

func FuzzArgumentSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}}}}`)
	f.Fuzz(func(_ *testing.T, schema string) {
		_, _ = New(Config{Tools: map[string][]byte{"s/t": []byte(schema)}, Files: []File{{Name: "p.cedar",
			Data: []byte(`@id("x") permit (principal, action, resource == Tool::"s/t") when { context.action.arguments.a.items.contains(3) && context.action.arguments.b.c == "x" };`)}}})
	})
}

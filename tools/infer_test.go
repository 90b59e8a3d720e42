// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestEffectIsInferredFromWords(t *testing.T) {
	r := open(t, testConfig())
	for _, tt := range []struct {
		name, props string
		description string
		annotations string
		want        action.Effect
	}{
		{name: "get_user", want: "read"},
		{name: "listFiles", want: "read"},
		{name: "HTTPGet", want: "read"},
		{name: "send_email", want: "send"},
		{name: "send_money", want: "spend"},
		{name: "create_payment", want: "spend"},
		{name: "place_order", want: "spend"},
		{name: "make_booking", want: "spend"},
		{name: "schedule_transaction", want: "spend"},
		{name: "reserve_table", want: "spend"},
		{name: "deleteAccount", want: "destroy"},
		{name: "removes_all", want: "destroy"},
		{name: "update_password", want: "admin"},
		{name: "reset_password", want: "admin"},
		{name: "add_user_to_channel", want: "admin"},
		{name: "remove_user", want: "destroy"},
		{name: "clear_cart", description: "Clear all items from it.", want: "write"},
		{name: "set_role", want: "admin"},
		{name: "get_and_delete", want: "destroy"},
		{name: "read_or_send_message", want: "send"},
		{name: "run_report", want: "execute"},
		{name: "query", props: `"sql":{"type":"string"}`, want: "execute"},
		{name: "get_output", props: `"command":{"type":"string"}`, want: "execute"},
		{name: "fetch", props: `"url":{"type":"string"}`, want: "read"},
		{name: "write_page", props: `"url":{"type":"string"}`, want: "send"},
		{name: "zorble", want: "unknown"},
		{name: "zorble", description: "Deletes the zorbles.", want: "destroy"},
		{name: "zorble", description: "This tool can fetch zorbles.", want: "read"},
		{name: "zorble", description: "Zorbles delete the world.", want: "unknown"},
		{name: "zorble", description: "Returns the zorbles of the day.", want: "read"},
		{name: "amend_entry", description: "Update the user password.", want: "admin"},
		{name: "include_entry", description: "Add a given user to a given channel.", want: "admin"},
		{name: "store_it", description: "Sends money to an account.", want: "spend"},
		{name: "get_it", description: "Deletes the zorbles.", want: "read"},
		{name: "delete_it", description: "Returns the zorbles.", want: "destroy"},
		{name: "obtain_page", props: `"place":{"type":"string","description":"The URL of the page."}`, want: "read"},
		{name: "get_x", annotations: `"destructiveHint":true`, want: "destroy"},
		{name: "delete_x", annotations: `"readOnlyHint":true,"destructiveHint":false`, want: "destroy"},
		{name: "zorble", annotations: `"readOnlyHint":true`, want: "unknown"},
		{name: "confirm", props: `"code":{"type":"string"}`, want: "write"},
		{name: "basket_total", want: "read"},
		{name: "total", want: "unknown"},
		{name: "zorble_history", description: "Deletes what was there.", want: "destroy"},
		{name: "delete_history", want: "destroy"},
		{name: "pull_document", want: "read"},
		{name: "git_pull", want: "write"},
		{name: "pull", props: `"remote":{"type":"string"},"rebase":{"type":"boolean"}`, want: "write"},
		{name: "pull_request_delete", want: "destroy"},
		{name: "enter_shop", props: `"nickname":{"type":"string"},"passcode":{"type":"string"}`, want: "admin"},
		{name: "open_session", props: `"email":{"type":"string"},"password":{"type":"string"},"otp":{"type":"string"}`, want: "admin"},
		{name: "zorble", props: `"who":{"type":"string","description":"The user name"},"password":{"type":"string"}`, want: "unknown"},
		{name: "enter_text", props: `"text":{"type":"string"}`, want: "write"},
		{name: "login", props: `"password":{"type":"string"}`, want: "admin"},
	} {
		t.Run(tt.name+" "+tt.description+tt.annotations, func(t *testing.T) {
			raw := `{"name":"` + tt.name + `","description":"` + tt.description + `","annotations":{` + tt.annotations +
				`},"inputSchema":{"type":"object","properties":{` + tt.props + `}}}`
			up := local
			up.Server = "s"
			s := observe(t, r, up, define(t, raw))
			if s[0].Effect != tt.want || s[0].Source != action.EffectInferred {
				t.Errorf("effect %s from %s", s[0].Effect, s[0].Source)
			}
		})
	}
}

func TestRolesAreReadInOrder(t *testing.T) {
	for _, tt := range []struct {
		name string
		verb verb
		want role
	}{
		{"input_ids", verbWrite, roleContent}, {"email_id", verbRead, roleSelector}, {"emailAddress", verbSend, roleRecipient},
		{"to", verbSend, roleRecipient}, {"recipient", verbSpend, rolePayee}, {"recipient", verbSend, roleRecipient},
		{"iban", verbRead, rolePayee}, {"new_password", verbWrite, roleCredential}, {"file_path", verbRead, rolePath},
		{"fileName", verbRead, rolePath}, {"callbackUrl", verbWrite, roleURL}, {"command", verbExecute, roleCommand},
		{"code", verbExecute, roleProgram}, {"code", verbConfirm, roleCode}, {"is_public", verbWrite, roleFlag},
		{"amount", verbSpend, roleAmount}, {"key", verbRead, roleSelector}, {"xyz", verbRead, roleNone},
	} {
		if got := roleOf(tt.name, tt.verb); got != tt.want {
			t.Errorf("%s under %s: %q, want %q", tt.name, tt.verb, got, tt.want)
		}
	}
}

func TestTypedIsKnownOnlyIfAllWasUnderstood(t *testing.T) {
	r := open(t, testConfig())
	observe(t, r, local, define(t, `{"name":"get_thing","inputSchema":{"type":"object","properties":{
		"path":{"type":"string"},"xyzzy":{"type":"string"},"where":{"enum":["a","b"]},"link":{"type":"string","format":"uri"},
		"deep":{"$ref":"#/$defs/d"}},"$defs":{"d":{"type":"object","properties":{"q1":{"type":"string","format":"email"}}}}}}`))
	observe(t, r, Upstream{Server: "fs", Transport: Stdio, Command: []string{"x"}, Kind: "server-filesystem"},
		define(t, `{"name":"write_file","inputSchema":{"type":"object"}}`))
	for _, tt := range []struct {
		name, server, tool, args string
		want                     action.State
	}{
		{"a known role", "files", "get_thing", `{"path":"a.go"}`, action.StateKnown},
		{"an unknown word", "files", "get_thing", `{"xyzzy":"x"}`, action.StateUnknown},
		{"a closed choice", "files", "get_thing", `{"where":"a"}`, action.StateKnown},
		{"a format", "files", "get_thing", `{"link":"https://a.example/"}`, action.StateKnown},
		{"a format behind a reference", "files", "get_thing", `{"deep":{"q1":"a@b.example"}}`, action.StateKnown},
		{"a neighbour of that format", "files", "get_thing", `{"deep":{"q2":"a@b.example"}}`, action.StateUnknown},
		{"a URL that two readers read as two", "files", "get_thing", `{"link":"https://a.example\\@b.example/"}`, action.StateUnknown},
		{"an unresolved path", "files", "get_thing", `{"path":"a\u0000b"}`, action.StateUnknown},
		{"no arguments", "files", "get_thing", `{}`, action.StateKnown},
		{"an argument that the pack does not declare", "fs", "write_file", `{"path":"a","content":"b","target":"/etc/x"}`, action.StateUnknown},
		{"a declared path that is an object", "fs", "write_file", `{"path":{"kind":"secret"},"content":"b"}`, action.StateUnknown},
		{"all that the pack declares", "fs", "write_file", `{"path":"a","content":"/etc/passwd"}`, action.StateKnown},
		{"a tool that was never listed", "files", "zorble", `{"xyzzy":"x"}`, action.StateUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if f := inform(t, r, ask(tt.server, tt.tool, tt.args)); f.Typed != tt.want {
				t.Errorf("typed %s: %s", f.Typed, show(f))
			}
		})
	}
}

func TestUndeclaredArgumentsStillShowTheirPlaces(t *testing.T) {
	r := open(t, testConfig())
	observe(t, r, local, define(t, `{"name":"zorble","inputSchema":{"type":"object"}}`))
	f := inform(t, r, ask("files", "zorble", `{"xyzzy":["../../etc/passwd","https://evil.example/?d=1","eve@evil.example","~/.ssh/id_rsa","/etc/passwd"]}`))
	if len(f.Paths) != 3 || len(f.URLs) != 1 || len(f.Recipients) != 1 || f.Zone != action.ZoneOutside || f.Typed != action.StateUnknown {
		t.Errorf("%s %+v", show(f), f.Recipients)
	}
	if f.Recipients[0].Outside != action.Yes || f.Recipients[0].Domain != "evil.example" || f.URLs[0].Query != action.Yes {
		t.Errorf("%+v %+v", f.Recipients, f.URLs)
	}
}

func TestReversibleWritesAreThoseOfNewFiles(t *testing.T) {
	r := open(t, testConfig())
	observe(t, r, Upstream{Server: "fs", Transport: Stdio, Command: []string{"x"}, Kind: "server-filesystem"},
		define(t, `{"name":"write_file","inputSchema":{"type":"object"}}`))
	for path, want := range map[string]action.Tri{"new.go": action.Yes, "a.go": action.No, "locked/x": action.No,
		".git/hooks/pre-commit": action.TriUnknown, "src/../.mcp.json": action.TriUnknown} {
		if f := inform(t, r, ask("fs", "write_file", `{"path":"`+path+`","content":""}`)); f.Reversible != want {
			t.Errorf("%s: reversible %s", path, f.Reversible)
		}
	}
	if f := inform(t, r, ask("claude-code", "Write", `{"file_path":"/srv/repo/.git/config","content":""}`)); f.Reversible != action.TriUnknown {
		t.Errorf("a git configuration counts as reversible: %s", f.Reversible)
	}
}

func TestArgumentsAreReadByWhatIsSaidOfThem(t *testing.T) {
	for _, tt := range []struct {
		said string
		verb verb
		want role
	}{
		{"IBAN of the recipient", verbSpend, rolePayee}, {"The recipient's email address", verbSend, roleNone}, {"Recipients of the message", verbSend, roleRecipient},
		{"The path to the file.", verbRead, rolePath}, {"The name of the file to create.", verbWrite, rolePath}, {"The list of recipients", verbSend, roleRecipient},
		{"The URL of the webpage.", verbRead, roleURL}, {"Amount of the transaction", verbSpend, roleAmount}, {"The ID of the order to refund.", verbSpend, roleSelector},
		{"Password for the account", verbWrite, roleCredential}, {"of nothing", verbRead, roleNone}, {"", verbRead, roleNone},
		{"whether it is so that everybody everywhere may see this thing", verbWrite, roleNone},
	} {
		if got := roleSaid(tt.said, tt.verb); got != tt.want {
			t.Errorf("%q under %s: %q, want %q", tt.said, tt.verb, got, tt.want)
		}
	}
}

func TestDescriptionsCloseNoPlace(t *testing.T) {
	h := hints([]byte(`{"type":"object","properties":{"a":{"description":"x","anyOf":[{"enum":["b"]},{"type":"string","description":"y"}]},"c":{"$ref":"#/$defs/d","description":"z"}},
		"$defs":{"d":{"enum":["e"],"type":"string"}}}`))
	if h["/a"].closed || h["/a"].about != "y" || !h["/c"].closed || h["/c"].about != "z" {
		t.Errorf("%+v", h)
	}
}

// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// byName rules by the name of the tool, and counts.
func byName(asked *[]string) rule {
	return func(c call) (ruling, error) {
		if asked != nil {
			*asked = append(*asked, c.id+" "+c.name+" "+string(c.args))
		}
		switch {
		case strings.HasPrefix(c.name, "deny"):
			return ruling{text: "[no " + c.name + "]"}, nil
		case strings.HasPrefix(c.name, "change"):
			return ruling{permit: true, args: []byte(`{"a":"changed"}`)}, nil
		}
		return ruling{permit: true}, nil
	}
}

// through runs a stream through the door's machinery.
func through(m machine, src io.Reader, r rule, whole bool, texts func(*spoken) map[string]string) (string, *answer, error) {
	var out bytes.Buffer
	a := &answer{m: m, rule: r, whole: whole, write: func(b []byte) error { out.Write(b); return nil }}
	if err := a.run(newFrames(src)); err != nil {
		return out.String(), a, err
	}
	var swap map[string]string
	if texts != nil {
		swap = texts(&a.said)
	}
	err := a.finish(swap)
	return out.String(), a, err
}

// splitter hands out what it reads in runs of random length.
type splitter struct {
	r    *rand.Rand
	data string
}

func (s *splitter) Read(p []byte) (int, error) {
	if s.data == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+s.r.IntN(40))], s.data)
	s.data = s.data[n:]
	return n, nil
}

// randomParts are an answer of up to five stretches.
func randomParts(r *rand.Rand) []part {
	var out []part
	for i := range 1 + r.IntN(5) {
		switch r.IntN(4) {
		case 0:
			out = append(out, part{text: fmt.Sprintf("Text %d: ünïcode 𝄞 \"quoted\"\r\n data: x ", r.IntN(100))})
		case 1:
			out = append(out, part{id: fmt.Sprintf("c%d", i), name: "deny_it", args: `{"path":"/etc/x","n":1}`})
		case 2:
			out = append(out, part{id: fmt.Sprintf("c%d", i), name: "change_it", args: `{"a":"old \u00fc \\ value"}`})
		default:
			out = append(out, part{id: fmt.Sprintf("c%d", i), name: "read_it", args: `{"path":"/w/a b.txt","deep":[1,{"x":null}]}`})
		}
	}
	return out
}

// TestSplitsChangeNothing sends 1,000 transcripts in random runs, with CRLF and without: verdicts and bytes
// are those of the whole transcript.
func TestSplitsChangeNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		d := dialects[i%len(dialects)]
		script := d.stream(r, randomParts(r))
		if r.IntN(3) == 0 {
			script = strings.ReplaceAll(script, "\n", "\r\n")
		}
		if r.IntN(4) == 0 {
			script = ": keep-alive\n\n" + script
		}
		var once, again []string
		want, _, err := through(d.machine(), strings.NewReader(script), byName(&once), i%7 == 0, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", d.name, err, script)
		}
		got, _, err := through(d.machine(), &splitter{r, script}, byName(&again), i%7 == 0, nil)
		if err != nil || got != want || strings.Join(once, "\n") != strings.Join(again, "\n") {
			t.Fatalf("%s: %v\n%v\n%v\n%s\nbecomes\n%s\nand\n%s", d.name, err, once, again, script, want, got)
		}
	}
}

// TestAnswersStayValid compares what a client hears with what was ruled, streamed and whole.
func TestAnswersStayValid(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 600 {
		d := dialects[i%len(dialects)]
		parts := randomParts(r)
		var want heard
		denied := 0
		for _, p := range parts {
			switch {
			case p.name == "":
				want.text += p.text
			case p.name == "deny_it":
				denied++
			case p.name == "change_it":
				want.calls = append(want.calls, part{id: p.id, name: p.name, args: `{"a":"changed"}`})
			default:
				want.calls = append(want.calls, p)
			}
		}
		for _, stream := range []bool{true, false} {
			var out string
			var err error
			var asked []string
			if stream {
				out, _, err = through(d.machine(), strings.NewReader(d.stream(r, parts)), byName(&asked), false, nil)
			} else {
				var b []byte
				b, err = d.machine().body([]byte(d.body(parts)), byName(&asked))
				out = string(b)
			}
			if err != nil {
				t.Fatalf("%s: %v", d.name, err)
			}
			got, err := clientOf(d.name, out, stream)
			if err != nil {
				t.Fatalf("%s: %v\n%s", d.name, err, out)
			}
			if strings.Count(got.text, "[no deny_it]") != denied {
				t.Errorf("%s: %d refusals in %q", d.name, denied, got.text)
			}
			if plain(got.text) != plain(want.text) {
				t.Errorf("%s (stream %v): %q instead of %q", d.name, stream, got.text, want.text)
			}
			if len(got.calls) != len(want.calls) {
				t.Fatalf("%s (stream %v): %+v instead of %+v\n%s", d.name, stream, got.calls, want.calls, out)
			}
			for n := range got.calls {
				if got.calls[n].id != want.calls[n].id || !sameJSON(got.calls[n].args, want.calls[n].args) {
					t.Errorf("%s (stream %v): %+v instead of %+v", d.name, stream, got.calls, want.calls)
				}
			}
			if ends := map[bool]string{true: "stop end_turn", false: "tool_calls tool_use"}[len(want.calls) == 0]; got.finish != "" && !strings.Contains(ends, got.finish) {
				t.Errorf("%s: it ends with %q and %d calls", d.name, got.finish, len(want.calls))
			}
		}
	}
}

func plain(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "[no deny_it]", "")), " ")
}

func sameJSON(a, b string) bool { return js(parsed(a)) == js(parsed(b)) }

func TestPermittedAnswersAreUntouched(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, d := range dialects {
		for range 50 {
			var parts []part
			for _, p := range randomParts(r) {
				if p.name == "" || p.name == "read_it" {
					parts = append(parts, p)
				}
			}
			script := d.stream(r, parts)
			for _, whole := range []bool{true, false} {
				if got, _, err := through(d.machine(), strings.NewReader(script), byName(nil), whole, nil); err != nil || got != script {
					t.Fatalf("%s: %v\n%s\nbecomes\n%s", d.name, err, script, got)
				}
			}
			body := d.body(parts)
			if got, err := d.machine().body([]byte(body), byName(nil)); err != nil || string(got) != body {
				t.Fatalf("%s: %v %s", d.name, err, got)
			}
		}
	}
}

// TestCallsWaitUntilTheyAreComplete looks at what is out after each frame.
func TestCallsWaitUntilTheyAreComplete(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	parts := []part{{text: "First the text."}, {id: "c1", name: "read_it", args: `{"path":"/w/secret-name"}`}}
	for _, d := range dialects {
		var out bytes.Buffer
		ruled := false
		a := &answer{m: d.machine(), write: func(b []byte) error { out.Write(b); return nil }, rule: func(c call) (ruling, error) {
			ruled = true
			return ruling{permit: true}, nil
		}}
		src := newFrames(strings.NewReader(d.stream(r, parts)))
		for {
			f, err := src.next()
			if err != nil {
				break
			}
			if err := a.frame(f); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out.String(), "read_it") && !ruled {
				t.Fatalf("%s: a call is out before it was judged: %s", d.name, out.String())
			}
			if bytes.Contains(f.raw, []byte("read_it")) && !strings.Contains(plainText(d.name, out.String()), "First the text.") {
				t.Errorf("%s: the text waits for the call: %s", d.name, out.String())
			}
		}
		if !ruled {
			t.Errorf("%s: nothing was judged", d.name)
		}
	}
}

func plainText(dialect, script string) string {
	h, _ := clientOf(dialect, script, true)
	return h.text
}

func TestWholeAnswersCanBeChanged(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	parts := []part{{text: "The key is sk-123 and more"}, {id: "c1", name: "read_it", args: `{"path":"/w/x"}`}, {text: "Bye sk-123"}}
	swap := func(s *spoken) map[string]string {
		var now []string
		for _, t := range s.list() {
			now = append(now, strings.ReplaceAll(t, "sk-123", "***"))
		}
		return s.replaced(now)
	}
	for _, d := range dialects {
		got, _, err := through(d.machine(), strings.NewReader(d.stream(r, parts)), byName(nil), true, swap)
		if err != nil || strings.Contains(got, "sk-123") || strings.Contains(got, "sk-1") {
			t.Fatalf("%s: %v\n%s", d.name, err, got)
		}
		h, err := clientOf(d.name, got, true)
		if err != nil || h.text != "The key is *** and moreBye ***" || len(h.calls) != 1 {
			t.Errorf("%s: %+v, %v\n%s", d.name, h, err, got)
		}
	}
}

func TestStreamsThatReadersTakeInTwoWaysAreCut(t *testing.T) {
	for _, c := range []struct{ name, dialect, script string }{
		{"a lone carriage return", "chat", "data: {\"choices\":[]}\rdata: {}\n\n"},
		{"a byte order mark", "chat", "\xef\xbb\xbfdata: [DONE]\n\n"},
		{"bytes that are no text", "chat", "data: {\"a\":\"\xff\"}\n\n"},
		{"a field that nobody knows", "chat", "datum: {}\n\n"},
		{"two names", "messages", "event: ping\nevent: message_stop\ndata: {\"type\":\"ping\"}\n\n"},
		{"a name that is not the type", "messages", "event: ping\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"},
		{"no type", "responses", "data: {}\n\n"},
		{"no JSON", "chat", "data: {\n\n"},
		{"a name that stands twice", "chat", `data: {"choices":[],"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"x"}}]}}]}` + "\n\n"},
		{"a name twice in another case", "chat", `data: {"choices":[],"Choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"x"}}]}}]}` + "\n\n"},
		{"a call that does not end", "chat", `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"x","arguments":"{}"}}]}}]}` + "\n\n"},
		{"a call that does not end, but the stream says so", "chat", `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"x","arguments":"{}"}}]}}]}` + "\n\ndata: [DONE]\n\n"},
		{"a name that changes", "chat", `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"read_"}}]}}]}` + "\n\n" +
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"deny"}}]},"finish_reason":"tool_calls"}]}` + "\n\n"},
		{"another block within a call", "messages", `data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"x","input":{}}}` + "\n\n" +
			`data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"b","name":"x","input":{}}}` + "\n\n"},
		{"a call that is there at once and in fragments", "messages", `data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"x","input":{"a":1}}}` + "\n\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}` + "\n\n" + `data: {"type":"content_block_stop","index":0}` + "\n\n"},
		{"more of a call in the first event", "messages", `data: {"type":"message_start","message":{"content":[{"type":"tool_use","id":"a","name":"x","input":{}}]}}` + "\n\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}` + "\n\n"},
		{"another block in place of one in the first event", "messages", `data: {"type":"message_start","message":{"content":[{"type":"tool_use","id":"a","name":"x","input":{}}]}}` + "\n\n" +
			`data: {"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"a","name":"x","input":{}}}` + "\n\n"},
		{"a call in a first event that comes again", "messages", `data: {"type":"message_start","message":{"content":[]}}` + "\n\n" +
			`data: {"type":"message_start","message":{"content":[{"type":"tool_use","id":"a","name":"x","input":{}}]}}` + "\n\n"},
		{"a call in the created response", "responses", `data: {"type":"response.created","response":{"output":[{"type":"function_call","name":"x"}]}}` + "\n\n"},
		{"a call without a beginning", "responses", `data: {"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"x","arguments":"{}"}}` + "\n\n"},
		{"fragments that are not the call", "responses", `data: {"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","name":"x"}}` + "\n\n" +
			`data: {"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"a\":1}"}` + "\n\n" +
			`data: {"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"x","arguments":"{}"}}` + "\n\n"},
	} {
		for _, d := range dialects {
			if d.name != c.dialect {
				continue
			}
			if out, _, err := through(d.machine(), strings.NewReader(c.script), byName(nil), false, nil); err == nil || strings.Contains(out, "tool_calls") {
				t.Errorf("%s: %v %q", c.name, err, out)
			}
		}
	}
}

// TestACopyWithAnotherCallIsJudged has a response that ends with a call that no event showed.
func TestACopyWithAnotherCallIsJudged(t *testing.T) {
	script := `data: {"type":"response.created","sequence_number":0,"response":{"output":[]}}` + "\n\n" +
		`data: {"type":"response.completed","sequence_number":1,"response":{"output":[{"type":"function_call","call_id":"c","name":"deny_it","arguments":"{}"}]}}` + "\n\n"
	got, _, err := through(&responses{}, strings.NewReader(script), byName(nil), false, nil)
	if err != nil || strings.Contains(got, "function_call") || !strings.Contains(got, "[no deny_it]") {
		t.Errorf("%v %s", err, got)
	}
}

func TestOtherCallsOfTheResponsesAPIAreCalls(t *testing.T) {
	for _, item := range []string{`{"type":"computer_call","call_id":"c","id":"x","action":{"type":"click"}}`, `{"type":"local_shell_call","call_id":"c","action":{"command":["rm"]}}`,
		`{"type":"custom_tool_call","call_id":"c","name":"deny_free","input":"anything"}`, `{"type":"whatever_call","call_id":"c"}`} {
		deny := func(c call) (ruling, error) { return ruling{text: "[no]"}, nil }
		got, err := (&responses{}).body([]byte(`{"output":[`+item+`]}`), deny)
		if err != nil || strings.Contains(string(got), "call_id") || !strings.Contains(string(got), "[no]") {
			t.Errorf("%s: %v %s", item, err, got)
		}
	}
}

// TestItemsThatNobodyExecutesPass has a program that the provider runs, with a call that it makes, and outputs.
func TestItemsThatNobodyExecutesPass(t *testing.T) {
	program := `{"type":"program","id":"cm_1","call_id":"call_p","code":"const a = await tools.read_it({id: 1})","fingerprint":"gAAA"}`
	made := `{"type":"function_call","id":"fc_1","status":"in_progress","arguments":"{\"id\":1}","call_id":"call_1","caller":{"type":"program","caller_id":"call_p"},"name":"read_it"}`
	ran := `{"type":"shell_call_output","id":"sho_1","call_id":"call_s","output":[{"stdout":"x","stderr":"","outcome":{"type":"exit","exit_code":0}}]}`
	var asked []string
	got, err := (&responses{}).body([]byte(`{"output":[`+program+","+made+","+ran+`]}`), byName(&asked))
	if err != nil || string(got) != `{"output":[`+program+","+made+","+ran+`]}` || len(asked) != 1 || !strings.HasPrefix(asked[0], "call_1") {
		t.Errorf("%v: %s\n%s", err, asked, got)
	}
	shown, err := (&responses{}).bodyAsides(got)
	if err != nil || len(shown) != 2 || shown[0].text != "const a = await tools.read_it({id: 1})" || string(shown[1].value) != ran {
		t.Errorf("shown: %v %+v", err, shown)
	}
	events := `data: {"type":"response.output_item.added","output_index":0,"item":` + strings.Replace(program, "const a = await tools.read_it({id: 1})", "", 1) + "}\n\n" +
		`data: {"type":"response.output_item.done","output_index":0,"item":` + program + "}\n\n" +
		`data: {"type":"response.output_item.added","output_index":1,"item":` + strings.Replace(made, `{\"id\":1}`, "", 1) + "}\n\n" +
		`data: {"type":"response.function_call_arguments.delta","delta":"{\"id\":1}","item_id":"fc_1","obfuscation":"5c","output_index":1}` + "\n\n" +
		`data: {"type":"response.function_call_arguments.done","arguments":"{\"id\":1}","item_id":"fc_1","output_index":1}` + "\n\n" +
		`data: {"type":"response.output_item.done","output_index":1,"item":` + made + "}\n\n" +
		`data: {"type":"response.completed","response":{"id":"r","output":[` + program + "," + made + "]}}\n\n"
	out, _, err := through(&responses{}, strings.NewReader(events), byName(&asked), false, nil)
	if err != nil || out != events {
		t.Errorf("%v\n%s\nbecomes\n%s", err, events, out)
	}
}

func TestWhatIsHeldIsBounded(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	endless := func(frame func(i int) string) io.Reader {
		i := 0
		return readerFunc(func(p []byte) (int, error) {
			i++
			return copy(p, frame(i)), nil
		})
	}
	for name, src := range map[string]io.Reader{
		"a line without end": endless(func(int) string { return "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" }),
		"a frame without end": endless(func(int) string {
			return "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"
		}),
		"a call without end": io.MultiReader(strings.NewReader(`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"x","arguments":""}}]}}]}`+"\n\n"),
			endless(func(int) string {
				return `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"` + big[:3000] + `"}}]}}]}` + "\n\n"
			})),
		"calls without end": endless(func(i int) string {
			return fmt.Sprintf(`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"id":"c","function":{"name":"x","arguments":"{}"}}]}}]}`, i) + "\n\n"
		}),
	} {
		if _, _, err := through(&chat{}, src, byName(nil), false, nil); err == nil {
			t.Errorf("%s: it has an end", name)
		}
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func FuzzStream(f *testing.F) {
	r := rand.New(rand.NewPCG(11, 12))
	for i, d := range dialects {
		f.Add(i, d.stream(r, randomParts(r)))
	}
	f.Fuzz(func(t *testing.T, n int, script string) {
		d := dialects[uint(n)%uint(len(dialects))]
		var once, again []string
		want, _, err := through(d.machine(), strings.NewReader(script), byName(&once), false, nil)
		got, _, err2 := through(d.machine(), &splitter{rand.New(rand.NewPCG(1, 1)), script}, byName(&again), false, nil)
		if (err == nil) != (err2 == nil) || got != want || strings.Join(once, "\n") != strings.Join(again, "\n") {
			t.Errorf("%q gives %q, %v and %q, %v", script, want, err, got, err2)
		}
	})
}

// TestAMessageThatBeginsWithItsContent has Anthropic's answer to a request whose code goes on: results and calls stand
// in the first event.
func TestAMessageThatBeginsWithItsContent(t *testing.T) {
	ran := `{"type":"code_execution_tool_result","tool_use_id":"srvtoolu_1","content":{"type":"code_execution_result","stdout":"x\n","stderr":"","return_code":0,"content":[]}}`
	made := `{"type":"tool_use","id":"toolu_1","name":"%s","input":{"id":"1"},"caller":{"type":"code_execution_20250825","tool_id":"srvtoolu_1"}}`
	for name, permitted := range map[string]bool{"read_it": true, "deny_it": false} {
		events := `data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[` + ran + "," + fmt.Sprintf(made, name) + `],"stop_reason":"tool_use"}}` + "\n\n" +
			`data: {"type":"message_stop"}` + "\n\n"
		var asked []string
		out, _, err := through(&messages{}, strings.NewReader(events), byName(&asked), false, nil)
		want := events
		if !permitted {
			want = strings.NewReplacer(fmt.Sprintf(made, name), `{"type":"text","text":"[no deny_it]"}`, `"tool_use"}}`, `"end_turn"}}`).Replace(events)
		}
		if err != nil || out != want || len(asked) != 1 || !strings.HasPrefix(asked[0], "toolu_1") {
			t.Errorf("%s: %v %s\n%s", name, err, asked, out)
		}
	}
	shown, err := (&messages{}).asides(newFrame("", []byte(`{"type":"message_start","message":{"content":[`+ran+`]}}`)))
	if err != nil || len(shown) != 1 || string(shown[0].value) != ran {
		t.Errorf("shown: %v %+v", err, shown)
	}
}

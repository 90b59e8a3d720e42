// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// asked is what a request says, for the path.
type asked struct {
	model    string
	stream   bool
	user     []string         // texts of the role user
	system   []string         // texts of the roles system and developer
	results  []result         // of calls that an earlier answer had
	features []feature        // that nothing but the request shows: each is an action of its own
	provided []jsontext.Value // what the provider's own tools gave to earlier answers
	ids      edits            // the provider's ids in place of ours
}

// result is what came back of a call, at a place in the body.
type result struct {
	place   jsontext.Pointer
	id      string
	content jsontext.Value // a string, or a list of parts
	failed  bool
	opaque  bool // holds parts that are no text
}

// feature is something that the provider does or fetches without an event that we could hold: a tool of its
// own, content that only it knows, an address.
type feature struct {
	name string
	args []byte // a JSON object
}

const maxFeatures = 64

func (a *asked) feature(name string, args []byte) {
	for _, f := range a.features {
		if f.name == name && string(f.args) == string(args) {
			return
		}
	}
	a.features = append(a.features, feature{name, args})
}

// raw are the members of an object of a request, which was read strictly.
type raw map[string]jsontext.Value

var errShape = errors.New("the request is not of the API's shape")

func object(v jsontext.Value) (raw, error) {
	m := raw{}
	if v.Kind() != '{' {
		return nil, fmt.Errorf("%w: an object is wanted", errShape)
	}
	if err := json.Unmarshal(v, &m); err != nil {
		return nil, fmt.Errorf("%w: an object cannot be read", errShape)
	}
	return m, nil
}

func list(v jsontext.Value) ([]jsontext.Value, error) {
	var l []jsontext.Value
	if v == nil || v.Kind() == 'n' {
		return nil, nil
	}
	if v.Kind() != '[' {
		return nil, fmt.Errorf("%w: a list is wanted", errShape)
	}
	if err := json.Unmarshal(v, &l); err != nil {
		return nil, fmt.Errorf("%w: a list cannot be read", errShape)
	}
	return l, nil
}

// each calls fn with every object of a list; a missing list and null have none.
func each(v jsontext.Value, fn func(i int, m raw) error) error {
	l, err := list(v)
	if err != nil {
		return err
	}
	for i, v := range l {
		m, err := object(v)
		if err != nil {
			return err
		}
		if err := fn(i, m); err != nil {
			return err
		}
	}
	return nil
}

// word returns a member that is a string, or "".
func (m raw) word(name string) string {
	s, _ := text(m[name])
	return s
}

func present(v jsontext.Value) bool {
	return len(v) > 0 && v.Kind() != 'n' && v.Kind() != 'f' && string(v) != "[]" && string(v) != "{}" && string(v) != `""`
}

// top reads the members that all APIs have, and asks for those that are not on the list of harmless ones:
// what nobody knows may be anything.
func top(body []byte, harmless string) (*asked, raw, error) {
	m, err := object(jsontext.Value(body))
	if err != nil {
		return nil, nil, err
	}
	a := &asked{model: m.word("model")}
	if a.model == "" || len(a.model) > 256 || strings.ContainsFunc(a.model, unicode.IsControl) {
		return nil, nil, fmt.Errorf("%w: model is missing, or no name", errShape)
	}
	switch v := m["stream"]; {
	case v == nil || v.Kind() == 'n' || v.Kind() == 'f':
	case v.Kind() == 't':
		a.stream = true
	default:
		return nil, nil, fmt.Errorf("%w: stream is no flag", errShape)
	}
	known := strings.Fields(harmless)
	for _, name := range sortedNames(m) {
		if present(m[name]) && !slices.Contains(known, name) {
			a.feature("parameter."+action.Clip(name, 128), wrap(m[name]))
		}
	}
	return a, m, nil
}

func sortedNames(m raw) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// wrap makes an object of any value.
func wrap(v jsontext.Value) []byte {
	if v.Kind() == '{' {
		return v
	}
	return encode(map[string]jsontext.Value{"value": v})
}

// declared gates the tools that the provider runs itself. Those of client are the types that the agent runs,
// and whose calls the answer shows.
func (a *asked) declared(v jsontext.Value, client func(kind string) bool) error {
	tools, err := list(v)
	if err != nil {
		return err
	}
	for _, t := range tools {
		m, err := object(t)
		if err != nil {
			return err
		}
		if kind := m.word("type"); !client(kind) {
			a.feature(action.Clip(kind, 128), t)
		}
	}
	return nil
}

// parts is a content: a string, or a list of typed parts. It returns its texts, and whether there was
// anything else.
func (a *asked) parts(v jsontext.Value, one func(i int, kind string, m raw) (string, bool)) (texts []string, opaque bool, err error) {
	if s, ok := text(v); ok {
		return []string{s}, false, nil
	}
	l, err := list(v)
	if err != nil {
		return nil, false, err
	}
	for i, p := range l {
		if s, ok := text(p); ok {
			texts = append(texts, s)
			continue
		}
		m, err := object(p)
		if err != nil {
			return nil, false, err
		}
		s, isText := one(i, m.word("type"), m)
		if isText {
			texts = append(texts, s)
		} else {
			opaque = true
		}
	}
	return texts, opaque, nil
}

// address gates what the provider would fetch. What the request holds itself is not fetched.
func (a *asked) address(v jsontext.Value) {
	s, ok := text(v)
	if !ok || s == "" || strings.HasPrefix(s, "data:") {
		return
	}
	a.feature("fetch_url", encode(map[string]string{"url": s}))
}

// reference gates content that only the provider has.
func (a *asked) reference(kind string, v jsontext.Value) {
	if present(v) {
		a.feature("stored."+kind, wrap(v))
	}
}

const chatMembers = `messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
	metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_retention reasoning_effort
	response_format safety_identifier seed service_tier stop stream stream_options temperature tool_choice tools top_logprobs top_p
	user verbosity`

// askedChat reads a request for a chat completion.
func askedChat(body []byte) (*asked, error) {
	a, m, err := top(body, chatMembers)
	if err != nil {
		return nil, err
	}
	if err := a.declared(m["tools"], func(kind string) bool { return kind == "function" || kind == "custom" }); err != nil {
		return nil, err
	}
	return a, each(m["messages"], a.chatMessage)
}

// chatMessage reads one message of a chat completion.
func (a *asked) chatMessage(i int, msg raw) error {
	if audio := msg["audio"]; present(audio) {
		a.reference("audio", audio)
	}
	texts, opaque, err := a.parts(msg["content"], a.openAIPart)
	if err != nil {
		return err
	}
	switch role := msg.word("role"); role {
	case "user":
		a.user = append(a.user, texts...)
	case "system", "developer":
		a.system = append(a.system, texts...)
	case "assistant":
		return each(msg["tool_calls"], func(n int, call raw) error {
			a.own(at("/messages", i, "tool_calls", n, "id"), call["id"])
			return nil
		})
	case "tool", "function":
		id := msg.word("tool_call_id")
		a.own(at("/messages", i, "tool_call_id"), msg["tool_call_id"])
		a.results = append(a.results, result{place: at("/messages", i, "content"), id: id, content: msg["content"], opaque: opaque})
	default:
		return fmt.Errorf("%w: a role that nobody knows", errShape)
	}
	return nil
}

// openAIPart reads one part of a content of OpenAI's.
func (a *asked) openAIPart(_ int, kind string, m raw) (string, bool) {
	switch kind {
	case "text", "input_text", "output_text":
		return m.word("text"), true
	case "refusal":
		return m.word("refusal"), true
	case "reasoning_text", "summary_text":
		return m.word("text"), true
	case "image_url", "input_image", "computer_screenshot":
		a.reference("file", m["file_id"])
		if o, err := object(m["image_url"]); err == nil {
			a.address(o["url"])
		} else {
			a.address(m["image_url"])
		}
	case "file", "input_file":
		if o, err := object(m["file"]); err == nil {
			m = o
		}
		a.reference("file", m["file_id"])
		a.address(m["file_url"])
	case "input_audio":
	default:
		a.feature("content."+action.Clip(kind, 128), encode(m))
	}
	return "", false
}

const responsesMembers = `model include input instructions max_output_tokens max_tool_calls metadata parallel_tool_calls prompt_cache_key
	prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options temperature text tool_choice tools
	top_logprobs top_p truncation user verbosity`

// runByAgent are the tools of the responses API whose calls the answer shows.
var runByAgent = []string{"function", "custom", "computer", "computer_use_preview", "local_shell", "apply_patch"}

// askedResponses reads a request for a response. previous_response_id, conversation, prompt and background
// are not on the list above.
func askedResponses(body []byte) (*asked, error) {
	a, m, err := top(body, responsesMembers)
	if err != nil {
		return nil, err
	}
	if err := a.declared(m["tools"], func(kind string) bool { return slices.Contains(runByAgent, kind) }); err != nil {
		return nil, err
	}
	if s := m.word("instructions"); s != "" {
		a.system = append(a.system, s)
	}
	if s, ok := text(m["input"]); ok {
		a.user = append(a.user, s)
		return a, nil
	}
	return a, each(m["input"], a.item)
}

// item reads one item of the input.
func (a *asked) item(i int, it raw) error {
	kind := it.word("type")
	a.own(at("/input", i, "call_id"), it["call_id"])
	if providedItem(kind) {
		a.provided = append(a.provided, encode(it))
	}
	if strings.HasSuffix(kind, "_output") && kind != "tool_search_output" {
		_, opaque, err := a.parts(it["output"], a.openAIPart)
		if err != nil {
			opaque = true // an object, such as a screenshot
			if o, err := object(it["output"]); err == nil {
				a.openAIPart(0, o.word("type"), o)
			}
		}
		a.results = append(a.results, result{place: at("/input", i, "output"), id: it.word("call_id"), content: it["output"], opaque: opaque})
		return nil
	}
	switch kind {
	case "", "message":
		texts, _, err := a.parts(it["content"], a.openAIPart)
		if err != nil {
			return err
		}
		switch it.word("role") {
		case "user":
			a.user = append(a.user, texts...)
		case "system", "developer":
			a.system = append(a.system, texts...)
		case "assistant":
		default:
			return fmt.Errorf("%w: a role that nobody knows", errShape)
		}
	case "item_reference", "mcp_approval_response":
		a.feature("stored."+kind, encode(it))
	case "reasoning", "compaction", "program", "mcp_list_tools", "mcp_approval_request", "tool_search_output":
	default:
		if !strings.HasSuffix(kind, "_call") {
			a.feature("content."+action.Clip(kind, 128), encode(it))
		}
	}
	return nil
}

const messagesMembers = `model messages system max_tokens metadata stop_sequences stream temperature thinking tool_choice tools top_k top_p
	service_tier cache_control output_config output_format context_management inference_geo`

// askedMessages reads a request for a message. container and mcp_servers are not on the list above.
func askedMessages(body []byte) (*asked, error) {
	a, m, err := top(body, messagesMembers)
	if err != nil {
		return nil, err
	}
	if err := a.declared(m["tools"], runByClient); err != nil {
		return nil, err
	}
	texts, _, err := a.parts(m["system"], a.anthropicPart)
	if err != nil {
		return nil, err
	}
	a.system = append(a.system, texts...)
	return a, each(m["messages"], a.message)
}

// runByClient reports whether Anthropic leaves running a tool to its client: those without a type, and those
// that it only describes.
func runByClient(kind string) bool {
	for _, p := range []string{"bash_", "text_editor_", "computer_", "memory_"} {
		if strings.HasPrefix(kind, p) {
			return true
		}
	}
	return kind == "" || kind == "custom"
}

// message reads one message: texts of the user, and results of calls.
func (a *asked) message(i int, msg raw) error {
	role := msg.word("role")
	if role != "user" && role != "assistant" && role != "system" {
		return fmt.Errorf("%w: a role that nobody knows", errShape)
	}
	texts, _, err := a.parts(msg["content"], func(n int, kind string, m raw) (string, bool) {
		if kind != "tool_result" {
			a.own(at("/messages", i, "content", n, "id"), m["id"])
			if providedBlock(kind) {
				a.provided = append(a.provided, encode(m))
			}
			return a.anthropicPart(n, kind, m)
		}
		a.own(at("/messages", i, "content", n, "tool_use_id"), m["tool_use_id"])
		_, opaque, err := a.parts(m["content"], a.anthropicPart)
		a.results = append(a.results, result{place: at("/messages", i, "content", n, "content"), id: m.word("tool_use_id"), content: m["content"],
			failed: m["is_error"].Kind() == 't', opaque: opaque || err != nil})
		return "", false
	})
	switch role {
	case "user":
		a.user = append(a.user, texts...)
	case "system":
		a.system = append(a.system, texts...)
	}
	return err
}

// anthropicPart reads one block of a content of Anthropic's.
func (a *asked) anthropicPart(_ int, kind string, m raw) (string, bool) {
	switch kind {
	case "text":
		return m.word("text"), true
	case "image", "document":
		if src, err := object(m["source"]); err == nil {
			a.reference("file", src["file_id"])
			a.address(src["url"])
			return src.word("data"), kind == "document" && src.word("type") == "text"
		}
	case "search_result":
		texts, _, err := a.parts(m["content"], a.anthropicPart)
		return strings.Join(texts, "\n"), err == nil
	case "thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "tool_reference":
	default:
		if !strings.HasSuffix(kind, "_tool_result") {
			a.feature("content."+action.Clip(kind, 128), encode(m))
		}
	}
	return "", false
}

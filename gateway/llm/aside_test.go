// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

// withAsides puts reasoning and what a tool of the provider's gave before the parts of a transcript, as each
// provider does.
func withAsides(dialect string, stream bool, thought, given string, parts []part) string {
	r := rand.New(rand.NewPCG(1, 1))
	for _, d := range dialects {
		if d.name != dialect {
			continue
		}
		if !stream {
			return strings.NewReplacer(
				`"annotations":[]`, `"annotations":[{"type":"url_citation","url_citation":{"title":`+js(given)+`,"url":"https://a.example"}}],"reasoning_content":`+js(thought),
				`"output":[`, `"output":[`+reasoned(thought)+`,`+searched(given)+`,`,
				`{"signature":"c2ln","thinking":"Let me see.","type":"thinking"}`, `{"signature":"c2ln","thinking":`+js(thought)+`,"type":"thinking"},`+found(given),
			).Replace(d.body(parts))
		}
		text := d.stream(r, parts)
		switch dialect {
		case "chat":
			first, rest, _ := strings.Cut(text, "\n\n")
			return first + "\n\n" + `data: {"id":"c","choices":[{"index":0,"delta":{"reasoning_content":` + js(thought) + `}}]}` + "\n\n" +
				`data: {"id":"c","choices":[{"index":0,"delta":{"annotations":[{"title":` + js(given) + `}]}}]}` + "\n\n" + rest
		case "responses":
			i := strings.Index(text, "event: response.output_item.added")
			return text[:i] + `data: {"type":"response.output_item.done","output_index":90,"item":` + reasoned(thought) + "}\n\n" +
				`data: {"type":"response.output_item.done","output_index":91,"item":` + searched(given) + "}\n\n" + text[i:]
		default:
			text = strings.Replace(text, `"thinking":"Let me see."`, `"thinking":`+js(thought), 1)
			i := strings.Index(text, `"index":1`)
			i = strings.LastIndex(text[:max(i, 0)], "event: ")
			return text[:i] + `data: {"type":"content_block_start","index":90,"content_block":` + found(given) + "}\n\n" + text[i:]
		}
	}
	return ""
}

func reasoned(s string) string {
	return `{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":` + js(s) + `}],"encrypted_content":"xyz"}`
}

func searched(s string) string {
	return `{"type":"mcp_call","id":"mcp_1","name":"look","server_label":"x","output":` + js(s) + `}`
}

func found(s string) string {
	return `{"content":[{"title":` + js(s) + `,"type":"web_search_result","url":"https://a.example"}],"tool_use_id":"srvtoolu_1","type":"web_search_tool_result"}`
}

// TestReasoningAndProvidersResultsAreShownBeforeTheCallsThatFollow has both stand in an answer with a call.
func TestReasoningAndProvidersResultsAreShownBeforeTheCallsThatFollow(t *testing.T) {
	forms(func(name, path, request, dialect string, stream bool) {
		for _, c := range []struct {
			thought, given string
			passes         bool
		}{
			{"I shall read it.", "a page", true},
			{"I shall read it.", "a page with a SECRET", true}, // what cannot be edited stays, on record
			{"deny this thought", "a page", false},
			{"I shall read it.", "deny this page", false},
		} {
			var mu sync.Mutex
			var order []string
			b := start(t, func(cfg *enforce.Config) {
				cfg.Decider = enforcetest.Policy(func(q *action.Query) (action.Decision, error) {
					mu.Lock()
					defer mu.Unlock()
					switch k := q.Context.Result.Kind; {
					case k == enforce.KindReasoning || k == enforce.KindProvided:
						if !slices.Contains(order, k) {
							order = append(order, k)
						}
					case q.Phase == action.Before && q.Resource.Name == "read_it":
						order = append(order, "call")
					}
					return names(q)
				})
			})
			script := withAsides(dialect, stream, c.thought, c.given, []part{{text: "Now."}, {id: "c1", name: "read_it", args: `{}`}})
			b.up.mu.Lock()
			b.up.reply = func(w http.ResponseWriter, _ string) {
				kind := "application/json"
				if stream {
					kind = "text/event-stream"
				}
				w.Header().Set("Content-Type", kind)
				_, _ = io.WriteString(w, script)
			}
			b.up.mu.Unlock()
			code, body, err := b.post(t, path, request)
			if !c.passes {
				if err == nil && code == 200 || strings.Contains(body, "read_it") {
					t.Errorf("%s, %q and %q: %v %d %s", name, c.thought, c.given, err, code, body)
				}
				continue
			}
			back := strings.NewReplacer(mintMark+mintOf(body), "").Replace(body)
			if err != nil || code != 200 || back != script {
				t.Errorf("%s: %v %d\n%s\nbecomes\n%s", name, err, code, script, back)
			}
			if len(order) != 3 || order[2] != "call" {
				t.Errorf("%s: %v is judged in this order", name, order)
			}
			var thought string
			for _, r := range b.log.Of(action.KindIntent) {
				thought += string(r.Part(action.PartReasoning))
			}
			if thought != c.thought {
				t.Errorf("%s: the call's record says %q of the reasoning", name, thought)
			}
		}
	})
}

// mintOf finds the word of ours in an answer with calls.
func mintOf(body string) string {
	_, rest, ok := strings.Cut(body, mintMark)
	if !ok || len(rest) < mintBytes {
		return "no word of ours"
	}
	return rest[:mintBytes]
}

// TestProvidersResultsOfEarlierAnswersAreJudgedOnce has a history with results that no answer here showed.
func TestProvidersResultsOfEarlierAnswersAreJudgedOnce(t *testing.T) {
	for dialect, request := range map[string]string{
		"/llm/openai/v1/responses":   `{"model":"m-1","input":[` + searched("%s") + `,{"role":"user","content":"Go on"}]}`,
		"/llm/anthropic/v1/messages": `{"model":"m-1","max_tokens":9,"messages":[{"role":"assistant","content":[` + found("%s") + `]},{"role":"user","content":"Go on"}]}`,
	} {
		b := start(t, nil)
		b.up.say(part{text: "ok"})
		for range 2 {
			if code, body, err := b.post(t, dialect, fmt.Sprintf(request, "a page")); err != nil || code != 200 {
				t.Fatal(err, code, body)
			}
		}
		if n := b.outcomes("result"); n != 1 {
			t.Errorf("%s: judged %d times", dialect, n)
		}
		n := b.up.count()
		if code, _, err := b.post(t, dialect, fmt.Sprintf(request, "deny this")); err != nil || code != 403 || b.up.count() != n {
			t.Errorf("%s: %v %d, and the provider was asked %d times", dialect, err, code, b.up.count()-n)
		}
	}
}

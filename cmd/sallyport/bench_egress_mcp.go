// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/tools"
)

// mcpStandIn is the server of one case: the tools that the case lists or calls, and what they answer.
type mcpStandIn struct {
	handler http.Handler

	mu     sync.Mutex
	called int // guarded by mu
}

func serverOf(i int) string { return fmt.Sprintf("server-%d", i) }

// told is the rule that the bench adds to the baseline for tools: the corpus counts data that should not leave as
// contained only if no tool is told of it, wherever that tool runs.
const told = `package sallyport.told

import rego.v2

ask contains {
	"id": "tool.told", "code": "tool-told", "severity": "high",
	"reason": "{tool} would be told something that should not leave.",
	"hint": "The arguments look like data that should not leave, so a person has to approve this.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.resource.type == "tool"
	some f in input.context.detect.findings
	f.kind in {"leak", "pii", "trace"}
	f.score_milli >= 200
}
`

// policyFolder writes the baseline with that rule, and with folders that are the agent's own.
func policyFolder(dir string, folders []string) (string, error) {
	pack, err := policies.Pack("baseline")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "policy")
	if err := os.CopyFS(dir, pack); err != nil {
		return "", err
	}
	params, err := json.Marshal(map[string][]string{"roots": folders}) // JSON is YAML
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.WriteFile(filepath.Join(dir, "params.yaml"), params, 0o600), os.WriteFile(filepath.Join(dir, "told.rego"), []byte(told), 0o600))
}

// serveTools leads to the server of a case.
func (x *egressStage) serveTools(w http.ResponseWriter, r *http.Request) {
	i, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
	x.mu.Lock()
	var s *mcpStandIn
	if err == nil && i >= 0 && i < len(x.mcp) {
		s = x.mcp[i]
	}
	x.mu.Unlock()
	if s == nil {
		http.NotFound(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// jsonrpc is what of a message says how it is played.
type jsonrpc struct {
	Method string `json:"method"`
	Params struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"params"`
	Result *struct {
		Tools   []*mcp.Tool     `json:"tools"`
		Content json.RawMessage `json:"content"`
	} `json:"result"`
}

// readTool is the tool that is called for the sake of its answer where a case names none.
const readTool = "read_document"

// standIn builds the server of a case. Tools that the case calls but does not describe have a name and no
// more, as the case says no more of them.
func standIn(messages []jsonrpc) *mcpStandIn {
	s := &mcpStandIn{}
	srv := mcp.NewServer(&mcp.Implementation{Name: "stand-in", Version: "1"}, nil)
	var answers []json.RawMessage
	names := map[string]bool{}
	run := func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		res := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}
		if s.called < len(answers) {
			if err := json.Unmarshal([]byte(`{"content":`+string(answers[s.called])+`}`), res); err != nil {
				return nil, err
			}
		}
		s.called++
		return res, nil
	}
	add := func(t *mcp.Tool) {
		if t.Name == "" || names[t.Name] {
			return
		}
		names[t.Name] = true
		if t.InputSchema == nil {
			t.InputSchema = json.RawMessage(`{"type":"object"}`)
		}
		t.OutputSchema = nil
		srv.AddTool(t, run)
	}
	for _, m := range messages {
		if m.Result != nil {
			for _, t := range m.Result.Tools {
				add(t)
			}
			if len(m.Result.Content) > 0 {
				answers = append(answers, m.Result.Content)
			}
		}
		add(&mcp.Tool{Name: m.Params.Name})
	}
	if len(answers) > 0 {
		add(&mcp.Tool{Name: readTool})
	}
	s.handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return srv }, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
	return s
}

// withToken adds the agent's token to each request.
type withToken struct{ token string }

// RoundTrip sends r.
func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return http.DefaultTransport.RoundTrip(r)
}

// tools plays the messages of a case: what a client says is said through the door, what a server says is what
// the server behind it answers.
func (x *egressStage) tools(ctx context.Context, i int, c *egressCase) (string, error) {
	var messages []jsonrpc
	for _, raw := range c.Payload.Messages {
		var m jsonrpc
		if err := json.Unmarshal(raw, &m); err != nil {
			return "", err
		}
		messages = append(messages, m)
	}
	x.mu.Lock()
	x.mcp[i] = standIn(messages)
	x.mu.Unlock()
	_, token, err := x.agent(ctx, i)
	if err != nil {
		return "", err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "case", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: x.agents + "/mcp/" + serverOf(i),
		HTTPClient: &http.Client{Transport: withToken{token}}, DisableStandaloneSSE: true}, nil)
	if err != nil {
		return "", err
	}
	defer session.Close()
	listed, err := session.ListTools(ctx, nil)
	if err != nil {
		return "the list of tools was refused", nil
	}
	if stopped := hidden(messages, listed.Tools); stopped != "" {
		return stopped, nil
	}
	if err := x.review(ctx, serverOf(i)); err != nil {
		return "", err
	}
	for _, m := range messages {
		name, args := m.Params.Name, m.Params.Arguments
		switch {
		case m.Method == "tools/call":
		case m.Result != nil && len(m.Result.Content) > 0 && !called(messages):
			name, args = readTool, json.RawMessage(`{}`)
		default:
			continue
		}
		if len(args) == 0 {
			args = json.RawMessage(`{}`)
		}
		res, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: args})
		if err != nil {
			return "the call was refused", nil
		}
		if res.IsError {
			return "the call was refused or its result withheld", nil
		}
	}
	return "", nil
}

// called reports whether a case makes calls of its own; its results are then the answers to those.
func called(messages []jsonrpc) bool {
	for _, m := range messages {
		if m.Method == "tools/call" {
			return true
		}
	}
	return false
}

// hidden says whether a tool that the server lists is kept from the client.
func hidden(messages []jsonrpc, listed []*mcp.Tool) string {
	for _, m := range messages {
		if m.Result == nil {
			continue
		}
		for _, t := range m.Result.Tools {
			found := false
			for _, l := range listed {
				found = found || l.Name == t.Name
			}
			if !found {
				return "a tool was hidden from the client"
			}
		}
	}
	return ""
}

// review is an operator who approves what reads harmless.
func (x *egressStage) review(ctx context.Context, server string) error {
	for _, p := range x.owner.Tools.List("default", server, "", tools.MaxPerServer) {
		if p.Poisoned != action.No {
			continue
		}
		if _, err := x.owner.Tools.Approve(ctx, "default", p.Server, p.Name, p.Digest, "bench"); err != nil {
			return err
		}
	}
	return nil
}

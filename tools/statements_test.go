// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestStatementsSayWhatACallDoes(t *testing.T) {
	r := open(t, testConfig())
	for _, tt := range []struct {
		name, server, tool, props, args string
		effect                          action.Effect
		typed                           action.State
		facts                           string
	}{
		{"a select is a read", "db", "query", `"sql":{"type":"string"}`, `{"sql":"SELECT a FROM t"}`, "read", "known", "SELECT t no known"},
		{"an unlisted function is no read", "db", "query", `"sql":{"type":"string"}`, `{"sql":"SELECT f(1)"}`, "unknown", "unknown", "SELECT  unknown unknown"},
		{"a delete destroys", "db", "query", `"sql":{"type":"string"}`, `{"sql":"DELETE FROM t"}`, "destroy", "known", "DELETE t yes known"},
		{"the gravest statement counts", "db", "execute_sql", `"sql":{"type":"string"}`, `{"sql":"SELECT 1; SET ROLE x"}`, "admin", "known", "SELECT  no known; SET  yes known"},
		{"query is a statement where the server is a database", "postgres", "query", `"query":{"type":"string"}`, `{"query":"SELECT $$a$$ FROM t"}`, "read", "known", "SELECT t no known"},
		{"query is a statement where the description says SQL", "x", "zap", `"query":{"type":"string"}`, `{"query":"INSERT INTO t VALUES (1)"}`, "unknown", "known", "INSERT t yes known"},
		{"query is a word to search for elsewhere", "x", "search", `"query":{"type":"string"}`, `{"query":"DELETE FROM t"}`, "read", "known", ""},
		{"code beside it stays", "db", "execute", `"sql":{"type":"string"},"code":{"type":"string"}`, `{"sql":"SELECT 1","code":"x()"}`, "execute", "unknown", "SELECT  no known"},
		{"a read tool that is given a change", "db", "describe_rows", `"sql":{"type":"string"}`, `{"sql":"DROP TABLE t"}`, "destroy", "known", "DROP t yes known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := local
			up.Server = tt.server
			desc := ""
			if tt.tool == "zap" {
				desc = "Zaps SQL."
			}
			up.Command = []string{"server", tt.name}
			observe(t, r, up, define(t, `{"name":"`+tt.tool+`","description":"`+desc+`","inputSchema":{"type":"object","properties":{`+tt.props+`}}}`))
			f := inform(t, r, ask(tt.server, tt.tool, tt.args))
			var facts []string
			for _, s := range f.SQL {
				facts = append(facts, s.Verb+" "+strings.Join(s.Tables, ",")+" "+string(s.Writes)+" "+string(s.Parsed))
			}
			if f.Effect != tt.effect || f.Typed != tt.typed || strings.Join(facts, "; ") != tt.facts {
				t.Errorf("effect %s, typed %s, facts %q", f.Effect, f.Typed, facts)
			}
		})
	}
}

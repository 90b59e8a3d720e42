// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/action/schema"
	"github.com/sallyport/sallyport/gateway"
)

var update = flag.Bool("update", false, "write docs/reference anew")

const generated = "<!-- Generated; do not edit. Renew with: go test ./cmd/sallyport -run TestReferenceIsCurrent -update -->\n\n"

// TestReferenceIsCurrent derives the reference pages from the program itself and compares.
func TestReferenceIsCurrent(t *testing.T) {
	for name, text := range map[string]string{
		"cli.md": cliPage(), "config.md": configPage(), "facts.md": factsPage(), "metrics.md": metricsPage(t), "errors.md": errorsPage(), "rules.md": rulesPage(t),
	} {
		path := filepath.Join("..", "..", "docs", "reference", name)
		want := generated + text
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("docs/reference/%s is not what the program says (%v); renew it with: go test ./cmd/sallyport -run TestReferenceIsCurrent -update", name, err)
		}
	}
}

func cliPage() string {
	var b strings.Builder
	b.WriteString("# Command line\n\nExit codes: 0 ok or allow, 1 error, 2 usage, 3 ask, 4 deny or quarantine, 5 verification failed. `mcp` returns the server's own code.\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.HasParent() {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
			if c.Runnable() {
				fmt.Fprintf(&b, "\n```\n%s\n```\n", c.UseLine())
			}
			if c.Long != "" {
				fmt.Fprintf(&b, "\n%s\n", c.Long)
			}
			if c.Example != "" {
				fmt.Fprintf(&b, "\nExamples:\n\n```\n%s\n```\n", c.Example)
			}
		}
		flags(&b, c)
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk((&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root())
	return b.String()
}

func flags(b *strings.Builder, c *cobra.Command) {
	set := c.LocalNonPersistentFlags()
	if !c.HasParent() {
		set = c.PersistentFlags()
		b.WriteString("\nFlags of every command:\n")
	}
	rows := 0
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if rows == 0 {
			b.WriteString("\n| flag | meaning |\n|---|---|\n")
		}
		rows++
		fmt.Fprintf(b, "| `--%s` | %s |\n", f.Name, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
}

func configPage() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n`sallyport.yaml`, one top-level key per column or door. Precedence: flag, environment, file, default. Secrets stand in files of their own.\nWrite a file with every setting commented out with `sallyport config init`; see what is in force with `sallyport config show --origin`.\n\n| key | default | environment | meaning |\n|---|---|---|---|\n")
	cfg := sallyport.DefaultConfig()
	cfg.Data = "$XDG_STATE_HOME/sallyport"
	for _, s := range cfg.Settings(nil) {
		value := "`" + s.Value + "`"
		if slices.Contains([]string{"", "[]", "0", "0s"}, s.Value) {
			value = ""
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", s.Key, value, sallyport.EnvName(s.Key), s.Doc)
	}
	b.WriteString("\nAn empty default of a number or duration means the default of its column. Lists of records can only stand in the file:\n")
	for _, l := range []struct {
		name string
		of   reflect.Type
	}{{"gateway.servers", reflect.TypeFor[sallyport.MCPServer]()}, {"ledger.witnesses", reflect.TypeFor[sallyport.LedgerWitness]()},
		{"tools.kinds", reflect.TypeFor[sallyport.ToolKind]()}, {"flow.servers", reflect.TypeFor[sallyport.FlowServer]()}} {
		fmt.Fprintf(&b, "\n## %s\n\n| key | meaning |\n|---|---|\n", l.name)
		for i := range l.of.NumField() {
			f := l.of.Field(i)
			fmt.Fprintf(&b, "| `%s` | %s |\n", f.Tag.Get("yaml"), f.Tag.Get("doc"))
		}
	}
	return b.String()
}

func factsPage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Facts: the input document %s\n\nEverything a decision may depend on. In Rego it is `input`; in Cedar the parts of `context` stand at the top of the context and lists of records are given by columns. A fact that nobody stated is \"unknown\"; unknown numbers hold the value that is worst for the agent.\n\n| path | type | meaning |\n|---|---|---|\n", action.Version)
	var walk func(facts []schema.Fact)
	walk = func(facts []schema.Fact) {
		for _, f := range facts {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Path, f.Type, strings.ReplaceAll(f.Meaning, "|", "\\|"))
			walk(f.Members)
		}
	}
	walk(schema.Facts())
	return b.String()
}

func errorsPage() string {
	var b strings.Builder
	b.WriteString("# Errors of the HTTP API\n\nRefusals are RFC 9457 problems (`application/problem+json`). Decisions are not errors: they are answered with status 200, pending ones with 202.\n\n| type | status | title | cause | remedy |\n|---|---|---|---|---|\n")
	problems := gateway.Problems()
	sort.SliceStable(problems, func(i, j int) bool { return problems[i].Status < problems[j].Status })
	for _, p := range problems {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s |\n", p.Type(), p.Status, p.Title, p.Cause, p.Remedy)
	}
	return b.String()
}

// metricsPage asks a running owner.
func metricsPage(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen = filepath.Join(dir, "d"), "none", "none"
	s, err := sallyport.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-served }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/people/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := newClient(cfg.Data).http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	var b strings.Builder
	b.WriteString("# Metrics\n\nPrometheus format at `/metrics` of the people's listener (scope viewer). No label holds an agent's id, a tool's name or an argument.\n\n| name | type | meaning |\n|---|---|---|\n")
	help := ""
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		f := strings.SplitN(string(line), " ", 4)
		switch {
		case len(f) == 4 && f[1] == "HELP":
			help = f[3]
		case len(f) == 4 && f[1] == "TYPE":
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f[2], f[3], help)
		}
	}
	return b.String()
}

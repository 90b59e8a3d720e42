// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gateway/hook"
)

func (a *app) protectCommand() *cobra.Command {
	var project string
	var undo bool
	cmd := &cobra.Command{
		Use:   "protect NAME",
		Short: "Put a coding agent behind the gates: its MCP servers and its hooks",
		Long: `Put a coding agent behind the gates: every local MCP server of its configuration is started through
"sallyport mcp", and its hooks are installed. What changes is shown, and the originals are kept.
A guarded server sees PATH, HOME, LANG, TMPDIR and the variables that its own entry names; their values
stay where they are. Restart the agent afterwards. NAME is ` + hostNames() + `.`,
		Example: `  sallyport protect claude-code
  sallyport protect claude-code --undo`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := hostFileOf(args[0])
			if err != nil {
				return err
			}
			if project, err = absolute(project); err != nil {
				return err
			}
			if undo {
				return a.unprotect(f, project)
			}
			return a.protect(f, project)
		},
	}
	cmd.Flags().StringVar(&project, "project", ".", "folder of the project whose own configuration counts, too")
	cmd.Flags().BoolVar(&undo, "undo", false, "put everything back, byte for byte")
	return cmd
}

const protectBackup = "mcp"

// server is an entry of an MCP configuration.
type server struct {
	command string
	args    []string
	env     []string // names that the entry sets
	remote  bool
}

// line is how a server is started.
func (s *server) line() string {
	words := []string{quoted(s.command)}
	for _, a := range s.args {
		words = append(words, quoted(a))
	}
	return strings.Join(words, " ")
}

// mcpFile is where a host keeps its MCP servers.
type mcpFile struct {
	path string
	toml bool
	at   [][]string // objects of servers
}

// mcpFiles are the MCP configurations of a host for a project.
func mcpFiles(h hook.Host, project string) ([]mcpFile, error) {
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return nil, fmt.Errorf("home directory %q: not known", home)
	}
	in := func(base string, below ...string) string { return filepath.Join(append([]string{base}, below...)...) }
	servers := [][]string{{"mcpServers"}}
	switch h {
	case hook.ClaudeCode:
		dir := home
		if d := os.Getenv("CLAUDE_CONFIG_DIR"); filepath.IsAbs(d) {
			dir = d
		}
		return []mcpFile{{path: in(project, ".mcp.json"), at: servers},
			{path: in(dir, ".claude.json"), at: [][]string{{"mcpServers"}, {"projects", project, "mcpServers"}}}}, nil
	case hook.Codex:
		dir := in(home, ".codex")
		if d := os.Getenv("CODEX_HOME"); filepath.IsAbs(d) {
			dir = d
		}
		return []mcpFile{{path: in(dir, "config.toml"), toml: true}, {path: in(project, ".codex", "config.toml"), toml: true}}, nil
	case hook.Gemini:
		return []mcpFile{{path: in(home, ".gemini", "settings.json"), at: servers}, {path: in(project, ".gemini", "settings.json"), at: servers}}, nil
	case hook.Cursor:
		return []mcpFile{{path: in(home, ".cursor", "mcp.json"), at: servers}, {path: in(project, ".cursor", "mcp.json"), at: servers}}, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, err
	}
	return []mcpFile{{path: in(project, ".vscode", "mcp.json"), at: [][]string{{"servers"}}},
		{path: in(config, "Code", "User", "mcp.json"), at: [][]string{{"servers"}}}}, nil
}

// guard is how servers are started through us.
type guard struct{ exe, data string }

// callWait is how long a call waits for an approval: clients give up on a tool after a minute.
const callWait = "50s"

// with puts us before a server.
func (g guard) with(name string, s server) server {
	args := []string{"--data", g.data, "mcp", "--wait", callWait, "--name", name}
	for _, v := range s.env {
		args = append(args, "--env", v)
	}
	return server{command: g.exe, args: append(append(append(args, "--"), s.command), s.args...), env: s.env}
}

// guarded returns the server behind us, if there is one.
func guarded(s server) (server, bool) {
	i := slices.Index(s.args, "--")
	if filepath.Base(s.command) != "sallyport" || i < 0 || i+1 >= len(s.args) || !slices.Contains(s.args[:i], "mcp") {
		return s, false
	}
	return server{command: s.args[i+1], args: s.args[i+2:], env: s.env}, true
}

// checkServer says why a server cannot be put behind us.
func checkServer(name string, s server) error {
	switch {
	case s.remote || s.command == "":
		return fmt.Errorf("a remote server: name it under gateway.servers and use its address http://%s/mcp/%s", "127.0.0.1:7117", name)
	case name == "" || len(name) > 64 || strings.ContainsAny(name, "/ \t\r\n\x00"):
		return fmt.Errorf("the name is not one that the owner takes")
	case hook.Host(name).Known():
		return fmt.Errorf("the name belongs to the built-in tools of a host; rename the server")
	}
	return nil
}

// row is what becomes of one server.
type row struct {
	Server string `json:"server"`
	State  string `json:"state"` // guarded, already, left
	Why    string `json:"why,omitempty"`
}

// plan is what becomes of one file.
type plan struct {
	*change
	Servers []row `json:"servers"`
}

// plan reads a file and puts its servers behind g.
func (m *mcpFile) plan(g guard) (*plan, error) {
	p := &plan{change: &change{Path: m.path, What: "MCP servers"}}
	var err error
	if p.before, p.mode, err = readFile(m.path); err != nil || p.before == nil {
		return nil, err
	}
	p.clean, p.after = p.before, p.before
	if m.toml {
		p.tables(g)
		return p, nil
	}
	if len(strings.TrimSpace(string(p.before))) == 0 {
		return nil, nil
	}
	if err := checkJSON(p.before); err != nil {
		return nil, fmt.Errorf("%s: %w", m.path, err)
	}
	for _, path := range m.at {
		if err := p.members(g, path); err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
	}
	return p, nil
}

// decide returns what becomes of one server: with us, and without.
func (p *plan) decide(g guard, name string, s server, refused error) (with, without *server) {
	if inner, ok := guarded(s); ok {
		p.Servers = append(p.Servers, row{name, "already", ""})
		again := g.with(name, inner)
		if !slices.Equal(again.args, s.args) || again.command != s.command {
			with = &again
		}
		p.lines = append(p.lines, "- "+name+": "+inner.line(), "+ "+name+": "+again.line())
		return with, &inner
	}
	if refused == nil {
		refused = checkServer(name, s)
	}
	if refused != nil {
		p.Servers = append(p.Servers, row{name, "left", refused.Error()})
		return nil, nil
	}
	p.Servers = append(p.Servers, row{name, "guarded", ""})
	w := g.with(name, s)
	p.lines = append(p.lines, "- "+name+": "+s.line(), "+ "+name+": "+w.line())
	return &w, nil
}

func (p *plan) members(g guard, path []string) error {
	obj, ok, err := at(p.before, path...)
	if err != nil || !ok {
		return err
	}
	ps, kind, err := jsonParts(p.before, obj.start)
	if err != nil || kind != '{' {
		return fmt.Errorf("%s is not an object", strings.Join(path, "."))
	}
	for _, q := range ps {
		s, err := jsonServer(p.before[q.start:q.end])
		with, without := p.decide(g, q.name, s, err)
		for _, to := range []struct {
			doc *[]byte
			s   *server
		}{{&p.after, with}, {&p.clean, without}} {
			if to.s == nil {
				continue
			}
			if *to.doc, err = setServer(*to.doc, to.s, append(slices.Clone(path), q.name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plan) tables(g guard) {
	for _, t := range tomlServers(string(p.before)) {
		with, without := p.decide(g, t.name, t.server, t.refused)
		for _, to := range []struct {
			doc *[]byte
			s   *server
		}{{&p.after, with}, {&p.clean, without}} {
			if to.s == nil {
				continue
			}
			for _, now := range tomlServers(string(*to.doc)) { // offsets have moved
				if now.name == t.name {
					*to.doc = []byte(tomlWith(string(*to.doc), now, *to.s))
				}
			}
		}
	}
}

// protect puts the servers and hooks of a host behind us.
func (a *app) protect(f *hostFile, project string) error {
	plans, keep, err := a.plans(f, project)
	if err != nil {
		return err
	}
	hooks, _, err := a.hooksChange(f, "")
	if err != nil {
		return err
	}
	if hooks.changes() {
		if err := keep.apply(hooksBackup, hooks); err != nil {
			return err
		}
	}
	if plans, keep, err = a.plans(f, project); err != nil { // the hooks may stand in one of the files
		return err
	}
	for _, p := range plans {
		if p.changes() {
			if err := keep.apply(protectBackup, p.change); err != nil {
				return err
			}
		}
	}
	return a.protected(f, append(plans, &plan{change: hooks}))
}

// unprotect goes the other way, in the opposite order.
func (a *app) unprotect(f *hostFile, project string) error {
	plans, keep, err := a.plans(f, project)
	if err != nil {
		return err
	}
	for _, p := range plans {
		p.Servers = nil
		if err := keep.undo(protectBackup, p.change); err != nil {
			return err
		}
		if err := keep.commit(protectBackup, p.change); err != nil {
			return err
		}
	}
	hooks, _, err := a.hooksChange(f, "")
	if err != nil {
		return err
	}
	if err := keep.undo(hooksBackup, hooks); err != nil {
		return err
	}
	if err := keep.commit(hooksBackup, hooks); err != nil {
		return err
	}
	return a.protected(f, append(plans, &plan{change: hooks}))
}

func (a *app) plans(f *hostFile, project string) ([]*plan, backups, error) {
	cfg, _, err := a.load()
	if err != nil {
		return nil, backups{}, err
	}
	keep := backups{filepath.Join(cfg.Data, "backups")}
	exe, err := os.Executable()
	if err != nil {
		return nil, keep, err
	}
	files, err := mcpFiles(f.host, project)
	if err != nil {
		return nil, keep, err
	}
	var out []*plan
	for i := range files {
		if i > 0 && files[i].path == files[0].path {
			continue // the project is the home
		}
		p, err := files[i].plan(guard{exe, cfg.Data})
		if err != nil {
			return nil, keep, err
		}
		if p != nil {
			out = append(out, p)
		}
	}
	return out, keep, nil
}

func (a *app) protected(f *hostFile, plans []*plan) error {
	return a.print(plans, func(w io.Writer) {
		for _, p := range plans {
			a.show(w, p.change)
			for _, r := range p.Servers {
				fmt.Fprintf(w, "  %-8s %s", r.State, r.Server)
				if r.Why != "" {
					fmt.Fprintf(w, ": %s", r.Why)
				}
				fmt.Fprintln(w)
			}
		}
		if f.host == hook.Codex {
			fmt.Fprintln(w, "Codex skips hooks that nobody has trusted: open it, type /hooks and trust them.")
		}
		fmt.Fprintf(w, "Restart %s. %s sallyport hooks doctor %s\n", f.host, a.colour(w, dim, "hint:"), f.host)
	})
}

// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/examples/notes"
	"github.com/sallyport/sallyport/internal/idp"
)

// The pages of docs/how-to are run as they stand, one after the other, each in a home of its own, by one
// shell per page, so that what a block sets the next ones see. Of a page's fenced blocks
//
//	sh             runs; every command in it must succeed
//	sh exit=N      runs; its last failing command must end with N
//	sh up          starts "sallyport up" in the background and waits for it
//	text           must be found in the output of the sh block before it, line by line, in order; "..." stands for
//	               anything within a line, and alone in a line for lines
//	LANG file=F    is written to the file F
//
// and all others are only read. The addresses 127.0.0.1:7117, :7118 and :7119 stand for free ones,
// https://example.okta.com for an identity provider, https://hooks.slack.com/services for what takes messages,
// https://mcp.example.com/mcp for a real remote MCP server, https://api.openai.com/v1 for a model that does what it is told, db.example.com for a PostgreSQL server with the databases
// shop and orders, and /opt/sallyport for the root of the repository.
func TestHowToPagesDoWhatTheySay(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "git", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	pages, err := filepath.Glob("../../docs/how-to/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "sallyport"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The demo fetches somebody else's server where it can; pages need no network.
	if err := os.WriteFile(filepath.Join(bin, "npx"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		t.Run(name, func(t *testing.T) {
			path := bin
			if strings.Contains(name, "langchain") {
				path = howtoPackages(t) + string(os.PathListSeparator) + bin
			}
			if _, err := exec.LookPath("openssl"); err != nil && strings.Contains(name, "certificates") {
				t.Skip("openssl is not installed")
			}
			howtoPage(t, page, path)
		})
	}
}

// howtoPackages is a folder with pip, npm, npx, python and node that take what the tests of the SDKs have installed for
// what a page installs.
func howtoPackages(t *testing.T) string {
	cache, err := filepath.Abs("../../.cache")
	if err != nil {
		t.Fatal(err)
	}
	venv, modules, node := filepath.Join(cache, "sdk-python/venv/bin"), filepath.Join(cache, "sdk-node/node_modules"), filepath.Join(cache, "node/node_modules")
	server := filepath.Join(node, "@modelcontextprotocol/server-filesystem/dist/index.js")
	for _, f := range []string{filepath.Join(venv, "python"), filepath.Join(modules, "@sallyport/sdk/dist/index.js"), server} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("%s is not installed; test/sdk-python and test/sdk-node do it", filepath.Base(f))
		}
	}
	dir := t.TempDir()
	for name, script := range map[string]string{
		"pip":    "exit 0",
		"npm":    "ln -sfn " + modules + " node_modules",
		"npx":    "for last; do :; done; exec " + filepath.Join(node, "node/bin/node") + " " + server + " \"$last\"",
		"node":   "exec " + filepath.Join(node, "node/bin/node") + " \"$@\"",
		"python": "exec " + filepath.Join(venv, "python") + " \"$@\"",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A howtoBlock is one fenced block of a page.
type howtoBlock struct {
	line int
	lang string
	args map[string]string
	body string
}

func howtoBlocks(page string) (out []howtoBlock) {
	var open *howtoBlock
	for i, line := range strings.Split(page, "\n") {
		switch info, fence := strings.CutPrefix(line, "```"); {
		case fence && open != nil:
			out = append(out, *open)
			open = nil
		case fence:
			words := append(strings.Fields(info), "")
			open = &howtoBlock{line: i + 1, lang: words[0], args: map[string]string{}}
			for _, w := range words[1:] {
				k, v, _ := strings.Cut(w, "=")
				open.args[k] = v
			}
		case open != nil:
			open.body += line + "\n"
		}
	}
	return out
}

func howtoPage(t *testing.T, page, bin string) {
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "sp") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		signalOwner(filepath.Join(home, ".local", "state", "sallyport"), syscall.SIGTERM) // one that a thin client started
		_ = os.RemoveAll(home)
	})
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	agents, people := howtoAddress(t), howtoAddress(t)
	text := strings.NewReplacer("127.0.0.1:7119", howtoAddress(t), "127.0.0.1:7117", agents, "127.0.0.1:7118", people, "/opt/sallyport", repo,
		"https://mcp.example.com/mcp", howtoRemote(t), "https://api.openai.com/v1", howtoModel(t), "https://example.okta.com", howtoProvider(t),
		"https://hooks.slack.com/services", howtoChat(t)).Replace(string(raw))
	if strings.Contains(text, "db.example.com") {
		text = howtoDatabase(t).Replace(text)
	}

	blocks := howtoBlocks(text)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", howtoScript(blocks, filepath.Join(home, ".out")))
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "LANG=C.UTF-8", "USER=ann",
		"SALLYPORT_GATEWAY_LISTEN=" + agents, "SALLYPORT_ADMIN_LISTEN=" + people, "SALLYPORT_LEDGER_SEGMENT_BYTES=8388608",
		"GOPATH=" + howtoGo(t, "GOPATH"), "GOCACHE=" + howtoGo(t, "GOCACHE"), "GOMODCACHE=" + howtoGo(t, "GOMODCACHE"), "GOTOOLCHAIN=local"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the page does not run to its end: %v\n%s", err, out)
	}
	howtoCompare(t, page, blocks, filepath.Join(home, ".out"))
}

// howtoScript runs the blocks; block i leaves its output in dir/i and its exit code in dir/i.code.
func howtoScript(blocks []howtoBlock, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "mkdir -p %s\n", dir)
	b.WriteString("trap 'for j in $(jobs -p); do kill $j; done; wait' EXIT\n")
	for i, block := range blocks {
		out := filepath.Join(dir, strconv.Itoa(i))
		_, up := block.args["up"]
		switch file := block.args["file"]; {
		case file != "":
			fmt.Fprintf(&b, "mkdir -p \"$(dirname %s)\"\ncat > %s <<'END_OF_FILE'\n%sEND_OF_FILE\n", file, file, block.body)
		case block.lang == "sh" && up:
			fmt.Fprintf(&b, "%s > %s 2>&1 &\necho 0 > %s.code\n", strings.TrimSpace(block.body), out, out)
			fmt.Fprintf(&b, "for i in $(seq 300); do grep -q 'log in' %s && break; sleep 0.05; done\n", out)
		case block.lang == "sh":
			fmt.Fprintf(&b, "cat > %s.sh <<'END_OF_BLOCK'\n%sEND_OF_BLOCK\n", out, block.body)
			fmt.Fprintf(&b, "code=0; trap 'code=$?' ERR\neval \"$(cat %s.sh)\" > %s 2>&1\ntrap - ERR; echo $code > %s.code\n", out, out, out)
		}
	}
	return b.String()
}

func howtoCompare(t *testing.T, page string, blocks []howtoBlock, dir string) {
	last := ""
	for i, block := range blocks {
		where := fmt.Sprintf("%s:%d", filepath.Base(page), block.line)
		switch block.lang {
		case "sh":
			out, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(i)))
			code, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(i)+".code"))
			last = string(out)
			want := block.args["exit"]
			if want == "" {
				want = "0"
			}
			if got := strings.TrimSpace(string(code)); got != want {
				t.Errorf("%s: exit code %q, not %s\n%s", where, got, want, last)
			}
		case "text":
			if line, ok := howtoMatch(block.body, last); !ok {
				t.Errorf("%s: the output lacks\n%s\nit is\n%s", where, line, last)
			}
		}
	}
}

// howtoMatch finds the lines of want in got, in order. It returns the first line that is missing.
func howtoMatch(want, got string) (string, bool) {
	lines := strings.Split(strings.TrimRight(got, "\n"), "\n")
	for _, w := range strings.Split(strings.TrimRight(want, "\n"), "\n") {
		if strings.TrimSpace(w) == "..." || strings.TrimSpace(w) == "" {
			continue
		}
		re := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(w)), `\.\.\.`, ".*") + "$")
		found := false
		for i, l := range lines {
			if re.MatchString(strings.TrimSpace(l)) {
				lines, found = lines[i+1:], true
				break
			}
		}
		if !found {
			return w, false
		}
	}
	return "", true
}

// howtoAddress returns an address that was free a moment ago.
func howtoAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// howtoRemote serves a real MCP server over HTTP.
func howtoRemote(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "todo.txt"), []byte("water the plants\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := notes.Server(dir)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	t.Cleanup(srv.Close)
	return srv.URL
}

// howtoModel serves chat completions of a model that repeats what it reads, or calls the tool that it is told to.
func howtoModel(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Messages []struct{ Content string }
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &in, json.MatchCaseInsensitiveNames(true)) != nil || len(in.Messages) == 0 || r.Header.Get("Authorization") != "Bearer sk-of-the-provider" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		said := in.Messages[len(in.Messages)-1].Content
		message, finish := fmt.Sprintf(`"content":%q`, said), "stop"
		if tool, ok := strings.CutPrefix(said, "call "); ok {
			message, finish = fmt.Sprintf(`"content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":%q,"arguments":"{}"}}]`, tool), "tool_calls"
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",%s},"finish_reason":%q}]}`, message, finish)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// howtoProvider is an identity provider that signs ann in, whoever asks.
func howtoProvider(t *testing.T) string {
	p := idp.New("sallyport", "the-client-secret", nil)
	t.Cleanup(p.Server.Close)
	p.With(func(p *idp.Provider) {
		p.Login, p.Claims = "ann", map[string]any{"groups": []string{"sallyport-viewers", "payments-approvers", "platform"}}
	})
	return p.Server.URL
}

// howtoChat takes whatever is told.
func howtoChat(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func howtoGo(t *testing.T, name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(out))
}

func TestHowToMatchMissesWhatIsNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		want, got string
		ok        bool
	}{
		"the same lines":                        {"a\nb\n", "a\nb\n", true},
		"other lines between":                   {"a\n...\nb\n", "a\nx\nb\n", true},
		"anything within a line":                {"id ... made", "id 7 made", true},
		"a line that is only part of another":   {"a", "ab", false},
		"the lines in another order":            {"b\na", "a\nb", false},
		"a line once where it is wanted twice":  {"a\na", "a", false},
		"a dot that stands for itself, not any": {"a.b", "axb", false},
	} {
		if _, ok := howtoMatch(c.want, c.got); ok != c.ok {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// What the documentation names must be there: tests that claims rest on, and files that links lead to.
func TestDocumentationNamesWhatExists(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tests, pages := map[string]bool{}, []string{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			for _, m := range declared.FindAllSubmatch(b, -1) {
				tests[string(m[1])] = true
			}
			return err
		case strings.HasSuffix(path, ".md"):
			pages = append(pages, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name, link := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w+)`"), regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		where, _ := filepath.Rel(root, page)
		for _, m := range name.FindAllSubmatch(b, -1) {
			if !tests[string(m[1])] {
				t.Errorf("%s rests on %s, which does not exist", where, m[1])
			}
		}
		for _, m := range link.FindAllSubmatch(b, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), string(m[1]))); err != nil {
				t.Errorf("%s links to %s, which is not there", where, m[1])
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gateway/hook"
)

// hooked is where each host keeps the hooks of a user.
var hooked = map[hook.Host]string{
	hook.ClaudeCode: ".claude/settings.json", hook.Codex: ".codex/hooks.json", hook.Gemini: ".gemini/settings.json",
	hook.Cursor: ".cursor/hooks.json", hook.VSCode: ".copilot/hooks/sallyport.json",
}

func (p *place) read(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.home, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

const foreign = "{\n\t\"theme\" : \"dark\",\n\t\"hooks\": {\n\t\t\"PreToolUse\": [\n\t\t\t{\"matcher\": \"Bash\", \"hooks\": [{\"type\":\"command\",\"command\":\"echo hi\"}]}\n\t\t]\n\t},\n\t\"num\": 1.50, \"u\": \"\\u00e9\"\n}"

func TestHooksInstallAndUninstallByteForByte(t *testing.T) {
	for host, file := range hooked {
		p := newPlace(t, "")
		for name, before := range map[string]string{"no file": "", "an empty object": "{}", "other people's hooks": foreign, "one line": `{"a":[1,2],"hooks":{}}`} {
			_ = os.Remove(filepath.Join(p.home, file))
			if before != "" {
				p.write(file, before)
			}
			p.must("hooks", "install", string(host))
			once := p.read(file)
			p.must("hooks", "install", string(host))
			if twice := p.read(file); twice != once {
				t.Errorf("%s, %s: installing twice changes the file:\n%s", host, name, twice)
			}
			if name == "other people's hooks" && (!strings.Contains(once, `"echo hi"`) || !strings.HasPrefix(once, "{\n\t\"theme\" : \"dark\",\n") || !strings.Contains(once, `"num": 1.50, "u": "\u00e9"`)) {
				t.Errorf("%s: other content has changed:\n%s", host, once)
			}
			p.must("hooks", "uninstall", string(host))
			b, err := os.ReadFile(filepath.Join(p.home, file))
			if before == "" && !os.IsNotExist(err) || before != "" && string(b) != before {
				t.Errorf("%s, %s: after uninstall: %v\n%s", host, name, err, b)
			}
			if before != foreign {
				continue
			}
			p.must("hooks", "install", string(host)) // and now somebody else changes the file
			p.write(file, strings.Replace(p.read(file), "dark", "light", 1))
			p.must("hooks", "uninstall", string(host))
			if got := p.read(file); strings.Contains(got, "sallyport") || !strings.Contains(got, "light") || !strings.Contains(got, "echo hi") {
				t.Errorf("%s: after a change and uninstall:\n%s", host, got)
			}
		}
	}
}

func TestHooksLeaveFilesAloneThatTheyCannotRead(t *testing.T) {
	p := newPlace(t, "")
	for name, text := range map[string]string{
		"comments": "{\n// mine\n\"a\": 1}", "a list": "[]", "one name twice": `{"hooks":{},"hooks":{}}`, "hooks that are a list": `{"hooks":[]}`,
		"an event that is no list": `{"hooks":{"PreToolUse":{}}}`, "half a file": `{"a":`,
	} {
		p.write(".claude/settings.json", text)
		if _, _, code := p.run("hooks", "install", "claude-code"); code == 0 {
			t.Errorf("%s: was changed into\n%s", name, p.read(".claude/settings.json"))
		}
		if got := p.read(".claude/settings.json"); got != text {
			t.Errorf("%s: was changed into\n%s", name, got)
		}
	}
	link := filepath.Join(p.home, ".claude", "settings.json")
	target := p.write("dotfiles/claude.json", "{}")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	p.must("hooks", "install", "claude-code")
	if to, err := os.Readlink(link); err != nil || to != target || !strings.Contains(p.read("dotfiles/claude.json"), "PreToolUse") {
		t.Errorf("a link became a file: %q, %v", to, err)
	}
}

func TestHooksDoctorProvesThatCanariesAreBlocked(t *testing.T) {
	p := newPlace(t, "")
	for _, host := range hook.Hosts {
		p.must("hooks", "install", string(host))
		out := p.must("hooks", "doctor", string(host))
		for _, want := range []string{"ok   a canary call is blocked (built-in tool)", "ok   a canary call is blocked (MCP tool)", "ok   a canary call is blocked (subagent)",
			"ok   a canary call is blocked without an owner (built-in tool)", "ok   unreadable input is blocked", "not covered:"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in\n%s", host, want, out)
			}
		}
	}
}

func TestHooksDoctorFindsWhatLetsCallsPass(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				panic(old)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	for name, c := range map[string]struct {
		host   hook.Host
		change func(string) string
		says   string
	}{
		"no file":                       {hook.ClaudeCode, nil, "no such file"},
		"an event removed":              {hook.ClaudeCode, replace(`"PreToolUse"`, `"Stop2"`), "hook PreToolUse: it is not there"},
		"a mistyped event":              {hook.ClaudeCode, replace(`"PostToolUse"`, `"PostTooluse"`), "no such event"},
		"continue on failure":           {hook.ClaudeCode, replace(`"onFailure": "block"`, `"onFailure": "continue"`), "onFailure"},
		"onFailure removed":             {hook.ClaudeCode, replace(`"onFailure": "block",`, ``), "onFailure"},
		"a matcher for some tools":      {hook.ClaudeCode, replace(`"matcher": "*"`, `"matcher": "Bash"`), "leaves tools out"},
		"beside the call":               {hook.ClaudeCode, replace(`"type": "command"`, `"type": "command", "async": true`), "async"},
		"a condition":                   {hook.ClaudeCode, replace(`"type": "command"`, `"type": "command", "if": "Bash(git *)"`), "condition"},
		"a short timeout":               {hook.ClaudeCode, replace(`"timeout": 60`, `"timeout": 1`), "timeout"},
		"all hooks off":                 {hook.ClaudeCode, replace("{", `{"disableAllHooks":true,`), "disableAllHooks"},
		"a mistyped command":            {hook.Codex, replace(`claude-code || exit 2`, ``), ""},
		"another program":               {hook.Codex, replace(`/bin/sallyport`, `/bin/sallyprot`), "it is not there"},
		"without the last words":        {hook.Codex, replace(` || exit 2`, ``), "the command is"},
		"an event removed in Codex":     {hook.Codex, replace(`"PostToolUse"`, `"PostTool"`), "no such event"},
		"a timeout in the wrong unit":   {hook.Gemini, replace(`"timeout": 60000`, `"timeout": 60`), "timeout"},
		"hooks off in Gemini":           {hook.Gemini, replace("{", `{"hooksConfig":{"enabled":false},`), "hooksConfig.enabled"},
		"open on failure in Cursor":     {hook.Cursor, replace(`"failClosed": true`, `"failClosed": false`), "failClosed"},
		"another data directory":        {hook.Gemini, replace(`--data /`, `--data /elsewhere/`), "the command is"},
		"everything gone from VS Code":  {hook.VSCode, func(string) string { return `{"version":1}` }, "it is not there"},
		"comments, which nobody parses": {hook.VSCode, func(s string) string { return "// x\n" + s }, "not plain JSON"},
	} {
		if name == "a mistyped command" {
			c.change = replace(`codex || exit 2`, `codexx || exit 0`)
			c.says = "the command is"
		}
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "")
			if c.change != nil {
				p.must("hooks", "install", string(c.host))
				p.write(hooked[c.host], c.change(p.read(hooked[c.host])))
			}
			out, errs, code := p.run("hooks", "doctor", string(c.host))
			if code != 1 || !strings.Contains(out, "FAIL") || !strings.Contains(out, c.says) {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
	p := newPlace(t, "")
	p.must("hooks", "install", "claude-code")
	p.write("project/.claude/settings.local.json", `{"disableAllHooks": true}`)
	if out, _, code := p.run("hooks", "doctor", "claude-code"); code != 0 {
		t.Errorf("another project: exit code %d\n%s", code, out)
	}
	cmd := p.command(t.Context(), "sallyport", "hooks", "doctor", "claude-code")
	cmd.Dir = filepath.Join(p.home, "project")
	if out, err := cmd.Output(); err == nil || !strings.Contains(string(out), "settings.local.json: disableAllHooks is true") {
		t.Errorf("hooks off in the project: %v\n%s", err, out)
	}
	p.must("hooks", "install", "codex")
	p.write(".codex/config.toml", "[features]\nhooks = false\n")
	if out, _, code := p.run("hooks", "doctor", "codex"); code != 1 || !strings.Contains(out, "config.toml turns hooks off") {
		t.Errorf("hooks off in config.toml: exit code %d\n%s", code, out)
	}
}

// A program that is gone ends with 127 in a shell, which hosts let pass.
func TestInstalledCommandBlocksWhenTheProgramIsGone(t *testing.T) {
	p := newPlace(t, "")
	p.must("hooks", "install", "gemini")
	text := p.read(".gemini/settings.json")
	from := strings.Index(text, `"command": "`) + len(`"command": "`)
	command := text[from : from+strings.Index(text[from:], `"`)]
	gone := strings.Replace(command, filepath.Dir(p.exe), "/nonexistent", 1)
	if gone == command {
		t.Fatal(command)
	}
	cmd := p.command(t.Context(), "/bin/sh", "-c", gone)
	cmd.Stdin = strings.NewReader("{}")
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 {
		t.Errorf("%s: %v", gone, err)
	}
}

func TestHookCommandBlocksOnEveryMistake(t *testing.T) {
	p := newPlace(t, "")
	broken := newPlace(t, "nonsense: 1\n")
	for name, c := range map[string]struct {
		p    *place
		args []string
	}{
		"no host": {p, []string{"hook"}}, "an unknown host": {p, []string{"hook", "netscape"}}, "two hosts": {p, []string{"hook", "codex", "gemini"}},
		"an unknown flag": {p, []string{"hook", "codex", "--fast"}}, "an unreadable event": {p, []string{"hook", "codex"}},
		"a broken configuration": {broken, []string{"hook", "codex"}},
	} {
		cmd := c.p.command(t.Context(), append([]string{"sallyport"}, c.args...)...)
		cmd.Stdin = strings.NewReader(`{"hook_event_name":"PreToolUse"}`)
		var out bytes.Buffer
		cmd.Stdout = &out
		err := cmd.Run()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || out.Len() != 0 {
			t.Errorf("%s: %v, %s", name, err, out.String())
		}
	}
}

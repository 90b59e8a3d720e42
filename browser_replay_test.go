// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/auditor/replay"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	kept "github.com/sallyport/sallyport/policy/bundle"
)

const wipeTool = `{"name":"delete_note","description":"Delete one note.","inputSchema":{"type":"object","properties":{"name":{"type":"string"}}},"annotations":{"destructiveHint":true}}`

// policiesOf returns the bundles that the owner keeps, as an auditor gets them.
func (h *house) policiesOf() (archives [][]byte) {
	h.t.Helper()
	folder := filepath.Join(h.cfg.Data, "bundles")
	dirs, err := os.ReadDir(folder)
	if err != nil || len(dirs) == 0 {
		h.t.Fatal(len(dirs), err)
	}
	for _, d := range dirs {
		b, err := kept.OpenKept(folder, d.Name())
		if err != nil {
			h.t.Fatal(err)
		}
		a, err := b.Archive()
		if err != nil {
			h.t.Fatal(err)
		}
		archives = append(archives, a)
	}
	return archives
}

// TestStrangerTakesDecisionsAgain replays a log from what is disclosed of it: with auditor/replay here, and, in long runs,
// with the engine that docs/verify/build.sh makes for browsers.
func TestStrangerTakesDecisionsAgain(t *testing.T) {
	h := open(t, nil)
	h.server("files", readTool, wipeTool)
	sub, sess := h.agent("bot")
	for i := range 4 {
		adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "files", []string{"read_note", "delete_note"}[i%2], fmt.Sprintf(`{"name":"n%d"}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		if adm.Verdict == action.Allow {
			if _, err := h.Enforcer.After(t.Context(), &sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"x"}`)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var again replay.Replay
	archives := h.policiesOf()
	for _, a := range archives {
		if _, err := again.Add(a); err != nil {
			t.Fatal(err)
		}
	}
	decisions := 0
	err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Verdict == "" {
			return nil
		}
		decisions++
		part := action.PartInputBefore
		if e.Leaf.Phase == action.After {
			part = action.PartInputAfter
		}
		input, err := e.Open(part)
		if err != nil {
			return err
		}
		explanation, err := e.Open(action.PartExplanation)
		if err != nil {
			return err
		}
		if r := again.Decide(context.Background(), e.Leaf.Verdict, input, explanation); r.Answer != enforce.Same {
			t.Errorf("entry %d: %+v", e.Index, r)
		}
		for name, r := range map[string]*enforce.Replayed{
			"another verdict in the log": again.Decide(context.Background(), action.Quarantine, input, explanation),
			"another effect":             again.Decide(context.Background(), e.Leaf.Verdict, []byte(strings.Replace(string(input), `"server":"files"`, `"server":"other"`, 1)), []byte(strings.Replace(string(explanation), `"verdict":"allow"`, `"verdict":"deny"`, 1))),
			"no policy":                  new(replay.Replay).Decide(context.Background(), e.Leaf.Verdict, input, explanation),
			"no input":                   again.Decide(context.Background(), e.Leaf.Verdict, nil, explanation),
		} {
			if r.Answer == enforce.Same && (name != "another effect" || e.Leaf.Verdict == action.Allow) {
				t.Errorf("entry %d: %s: %+v", e.Index, name, r)
			}
		}
		return nil
	})
	if err != nil || decisions < 4 {
		t.Fatal(decisions, err)
	}
	if _, err := again.Add([]byte("no archive")); err == nil {
		t.Error("a bundle that is none is taken")
	}
	if os.Getenv("SALLYPORT_SOAK") == "" {
		return // the engine for browsers takes a minute to compile
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "sh", "docs/verify/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	args := []string{h.disclosed(), "--replay", dir}
	for i, a := range archives {
		file := filepath.Join(dir, fmt.Sprintf("policy-%d.tar.gz", i))
		if err := os.WriteFile(file, a, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--policy", file)
	}
	if r := h.browserSays(args...); !r.OK || r.Replayed["same"] != decisions || r.Decisions != decisions {
		t.Errorf("the browser's engine: %+v, of %d decisions", r, decisions)
	}
}

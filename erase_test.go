// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

const planted = "PLANTED-8f3a-kumquat"

// holders are the files of a data directory that hold the planted text.
func holders(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(bytes.ToUpper(b), []byte("PLANTED-8F3A")) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestErasingASubjectLeavesNothingOfIt runs actions through the path: what is allowed and what waits for a
// person, so that log, index, asks and snapshots hold what they hold of it. SALLYPORT_SOAK makes it 10,000 records.
func TestErasingASubjectLeavesNothingOfIt(t *testing.T) {
	n := 60
	if os.Getenv("SALLYPORT_SOAK") != "" {
		n = 5000 // an intent and an outcome each
	}
	h := open(t, func(c *sallyport.Config) {
		c.Ledger.Reasoning = "keep"
		c.Policy.Dir = bundle(t, `ask contains {"id": "asked", "code": "asked", "reason": "A person must look."} if {
	input.phase == "before"
	input.resource.name == "send_mail"
}
`)
	})
	h.server("files", readTool)
	h.server("mail", sendTool)
	sub, sess := h.agent("bot")
	args := fmt.Sprintf(`{"name":"%s","to":"%s@out.example","body":"dear %s"}`, planted, planted, planted)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	for range n {
		a := attempt(sub, sess, "files", "read_note", args)
		a.Reasoning = []byte("because of " + planted)
		_, _, err := h.Enforcer.Do(ctx, a, func(context.Context, enforce.Admission) (enforce.Outcome, error) {
			return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"` + planted + `"}`)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		adm, err := h.Enforcer.Before(ctx, attempt(sub, sess, "mail", "send_mail", fmt.Sprintf(`{"to":"%s@out.example","body":"%s %d"}`, planted, planted, i)))
		if err != nil || adm.Verdict != action.Ask {
			t.Fatalf("%+v, %v", adm, err)
		}
	}
	if err := h.Index.Wait(ctx, h.Ledger.Checkpoint().Size-1); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records; before the erasure it stands in %v", h.Ledger.Checkpoint().Size, holders(t, h.cfg.Data))
	if _, err := h.Erase(ctx, "ann", "olga"); err != nil {
		t.Fatal(err)
	}
	if found := holders(t, h.cfg.Data); len(found) > 0 {
		t.Errorf("while the owner is at work it stands in %v", found)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	h.stop()
	if found := holders(t, h.cfg.Data); len(found) > 0 {
		t.Errorf("afterwards it stands in %v", found)
	}
	rep, err := ledger.Verify(t.Context(), ledger.Source{Dir: h.cfg.Data}, ledger.Options{})
	if err != nil || !rep.OK || rep.Parts.Erased == 0 {
		t.Errorf("%v, %+v", err, rep)
	}
	h.start()
	h.stop()
	if found := holders(t, h.cfg.Data); len(found) > 0 {
		t.Errorf("after another start it stands in %v", found)
	}
}

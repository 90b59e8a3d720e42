// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	policybundle "github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/tools"
)

// TestOnlyASignedBundleApprovesTools: with tools.signed_only one person's word for a definition counts no longer, and that of the
// bundle, which two have signed, does.
func TestOnlyASignedBundleApprovesTools(t *testing.T) {
	h := guarded(t, "")
	h.server("notes", readTool)
	state := func() action.DefinitionState {
		t.Helper()
		f, ok := h.Tools.Lookup("default", "notes", "read_note")
		if !ok {
			t.Fatal("the tool is gone")
		}
		return f.Definition.State
	}
	if got := state(); got != action.DefinitionApproved {
		t.Fatalf("approved by a person, it is %s", got)
	}
	h.stop()
	h.cfg.Tools.SignedOnly = true
	h.start()
	if got := state(); got != action.DefinitionPending {
		t.Errorf("what a person approved before is %s", got)
	}
	pin, err := h.Tools.Get("default", "notes", "read_note")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tools.Approve(t.Context(), "default", "notes", "read_note", pin.Digest, "ann"); !errors.Is(err, tools.ErrSigned) {
		t.Errorf("a person approves: %v", err)
	}
	running(t, h)
	files := swapFiles(4)
	files[policybundle.ManifestFile] += "tools: [{tool: notes/read_note, digest: \"" + pin.Digest + "\", effect: read}]\n"
	if _, err := h.ActivatePolicy(t.Context(), signed(t, files, both...), "test", "ann", false); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != action.DefinitionApproved {
		t.Errorf("approved by the bundle, it is %s", got)
	}
	if _, err := h.ActivatePolicy(t.Context(), signed(t, swapFiles(6), both...), "test", "ann", false); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != action.DefinitionPending {
		t.Errorf("approved by no bundle in force, it is %s", got)
	}
}

// What a tool-admin registers waits for the bundle, and what he says of it beside the definition is refused.
func TestRegisteredToolsWaitForTheBundle(t *testing.T) {
	dir := t.TempDir()
	if err := signed(t, swapFiles(2), both...).Write(filepath.Join(dir, "swap")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "trust.yaml"), []byte(trustText("anna", "ben", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir, c.Policy.Trust, c.Tools.SignedOnly = filepath.Join(dir, "swap"), filepath.Join(dir, "trust.yaml"), true
	})
	people, err := sallyport.PeopleForTest(h.Sallyport, anyScope(action.ScopeToolAdmin))
	if err != nil {
		t.Fatal(err)
	}
	put := func(more string) (int, string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPut, "/v1/tools/crm", strings.NewReader(`{"tools":[{"name":"get","input_schema":{"type":"object"}}]`+more+`}`))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		people.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, more := range []string{`,"zone":"inside"`, `,"kind":"postgres"`} {
		if code, body := put(more); code != http.StatusConflict || !strings.Contains(body, "tools.signed_only") {
			t.Errorf("%s: %d %s", more, code, body)
		}
	}
	if code, body := put(""); code != http.StatusOK || !strings.Contains(body, `"state":"pending"`) {
		t.Errorf("%d %s", code, body)
	}
	cfg := sallyport.PatientConfig()
	cfg.Data, cfg.Tools.SignedOnly = filepath.Join(t.TempDir(), "data"), true
	if s, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "tools.signed_only wants policy.trust") {
		t.Errorf("%v %v", s, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/policy"
)

// localRoutes are for the owner's own user over the socket: what reads files by path or hands out a
// whole log.
func (s *Sallyport) localRoutes() []gateway.Route {
	viewer, auditor := []action.Scope{action.ScopeViewer, action.ScopeAuditor}, []action.Scope{action.ScopeAuditor}
	return []gateway.Route{
		{Pattern: "POST /v1/local/walls", Scopes: []action.Scope{action.ScopeAdmin}, Serve: s.localWalls},
		{Pattern: "POST /v1/local/console", Scopes: viewer, Serve: s.consoleCode},
		{Pattern: "GET /v1/local/channels", Scopes: viewer, Serve: s.channelStatus},
		{Pattern: "POST /v1/local/replay/{session}", Scopes: auditor, Wait: time.Minute, Serve: s.replay},
		{Pattern: "POST /v1/local/replay/{session}/inputs", Scopes: auditor, Wait: -1, Serve: s.replayInputs},
		{Pattern: "POST /v1/local/policy/diff", Scopes: auditor, Wait: time.Hour, Serve: s.policyDiff},
		{Pattern: "POST /v1/local/policy/coverage", Scopes: auditor, Wait: time.Hour, Serve: s.policyCoverage},
		{Pattern: "POST /v1/local/policy/observed", Scopes: auditor, Wait: time.Hour, Serve: s.policyObserved},
		{Pattern: "POST /v1/local/policy/suggest", Scopes: auditor, Wait: time.Minute, Serve: s.policySuggest},
		{Pattern: "GET /v1/local/ledger", Scopes: viewer, Serve: s.ledgerStatus},
		{Pattern: "GET /v1/local/ledger/proof/{index}", Scopes: auditor, Serve: s.ledgerProof},
		{Pattern: "GET /v1/local/ledger/export", Scopes: auditor, Wait: -1, Serve: s.ledgerExport},
		{Pattern: "POST /v1/local/ledger/evidence", Scopes: auditor, Wait: -1, Serve: s.ledgerEvidence},
		{Pattern: "POST /v1/local/ledger/erase", Scopes: []action.Scope{action.ScopeAdmin}, Wait: time.Minute, Serve: s.ledgerErase},
		{Pattern: "GET /v1/local/ledger/entries/{index}", Scopes: auditor, Serve: s.ledgerEntry},
		{Pattern: "POST /v1/local/ledger/entries/{index}/disclose", Scopes: auditor, Serve: s.ledgerDisclose},
		{Pattern: "POST /v1/local/ledger/anchor", Scopes: []action.Scope{action.ScopeAdmin}, Wait: 4 * time.Minute, Serve: s.ledgerAnchor},
		{Pattern: "POST /v1/local/ledger/backup", Scopes: []action.Scope{action.ScopeAdmin}, Wait: -1, Serve: s.ledgerBackup},
		{Pattern: "GET /v1/local/egress/ca/{agent}", Scopes: viewer, Serve: s.egressCA},
		{Pattern: "POST /v1/local/ledger/rebuild", Scopes: []action.Scope{action.ScopeAdmin}, Wait: time.Minute, Serve: s.ledgerRebuild},
	}
}

// ReplayAnswer is a session decided again.
type ReplayAnswer struct {
	Session string               `json:"session"`
	Bundle  action.Bundle        `json:"bundle"` // that decided again; empty if each decision has its own
	Counts  map[index.Answer]int `json:"counts"`
	Steps   []index.Step         `json:"steps"`
}

// replay decides a recorded session again: under the active policy, under the bundle in a folder, or each decision
// under the bundle that its record names.
// Nothing is executed, asked or recorded.
func (s *Sallyport) replay(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Policy string `json:"policy"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4096); err != nil {
		return err
	}
	var redecide index.Redecide = s.redecide
	bundle := s.Policy.Active().Bundle()
	switch body.Policy {
	case "":
	case "recorded":
		redecide, bundle = s.redecideAsRecorded, action.Bundle{}
	default:
		if !filepath.IsAbs(body.Policy) {
			return gateway.Refuse(gateway.CodeInvalid, "policy is no absolute path")
		}
		compiled, err := policy.Load(policy.Config{Dir: body.Policy})
		if err != nil {
			return gateway.Refuse(gateway.CodeInvalid, "policy: %v", err)
		}
		bundle = compiled.Bundle()
		redecide = redecideUnder(compiled)
	}
	id := r.PathValue("session")
	if err := s.indexed(r.Context()); err != nil {
		return err
	}
	steps, err := s.Index.Replay(reading(r.Context(), c, "replay/"+id), id, redecide)
	if errors.Is(err, index.ErrNotFound) {
		return gateway.Refuse(gateway.CodeNotFound, "there is no session %q", action.Clip(id, 64))
	}
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, ReplayAnswer{Session: id, Bundle: bundle, Counts: index.Count(steps), Steps: steps})
}

// indexed waits until the index has seen all of the log.
func (s *Sallyport) indexed(ctx context.Context) error {
	size := s.Ledger.Checkpoint().Size
	if size == 0 {
		return nil
	}
	return s.Index.Wait(ctx, size-1)
}

// LedgerStatus is how the log stands.
type LedgerStatus struct {
	ledger.Stats
	Vkey       string `json:"vkey"`
	Checkpoint string `json:"checkpoint"` // signed note

	Exports   []Exported     `json:"exports"`
	Retention RetentionState `json:"retention"`
}

func (s *Sallyport) ledgerStatus(w http.ResponseWriter, _ *http.Request, _ *gateway.Caller) error {
	return gateway.WriteJSON(w, http.StatusOK, LedgerStatus{Stats: s.Ledger.Stats(), Vkey: s.Ledger.Vkey(), Checkpoint: string(s.Ledger.Checkpoint().Note), Exports: s.Exports(), Retention: s.retention})
}

// LedgerProof is a leaf with its proof in the .tlog-proof form.
type LedgerProof struct {
	Index uint64 `json:"index"`
	Leaf  string `json:"leaf"` // base64 of its bytes
	Proof string `json:"proof"`
	Vkey  string `json:"vkey"`
}

func (s *Sallyport) ledgerProof(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	i, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err != nil || i >= s.Ledger.Checkpoint().Size {
		return gateway.Refuse(gateway.CodeNotFound, "the log has no such entry")
	}
	e, err := s.Ledger.Read(i)
	if err != nil {
		return err
	}
	p, err := s.Ledger.Prove(r.Context(), i)
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, LedgerProof{Index: i, Leaf: base64.StdEncoding.EncodeToString(e.Raw), Proof: string(p.Marshal()), Vkey: s.Ledger.Vkey()})
}

// ledgerExport writes a bundle that verifies offline. It discloses no payload.
func (s *Sallyport) ledgerExport(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	w.Header().Set("Content-Type", "application/x-tar")
	if err := s.Ledger.Export(r.Context(), w, ledger.ExportOptions{}); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// ledgerErase destroys the keys of a subject's payloads and waits until the index has let go of them.
func (s *Sallyport) ledgerErase(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Subject string `json:"subject"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4096); err != nil {
		return err
	}
	if body.Subject == "" {
		return gateway.Refuse(gateway.CodeInvalid, "subject is empty")
	}
	done, err := s.Erase(r.Context(), body.Subject, c.Name)
	if errors.Is(err, errHeld) {
		return gateway.Refuse(gateway.CodeState, "%v", err)
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return gateway.Refuse(gateway.CodeNotFound, "no key belongs to %q: nothing was recorded of it, or it is erased", action.Clip(body.Subject, 64))
	}
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, done)
}

// LedgerEntry is one record without its payload.
type LedgerEntry struct {
	Index uint64   `json:"index"`
	Leaf  string   `json:"leaf"`  // its bytes, which are JSON
	Parts []string `json:"parts"` // that were sealed with it
}

func (s *Sallyport) ledgerEntry(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	e, err := s.entry(r)
	if err != nil {
		return err
	}
	out := LedgerEntry{Index: e.Index, Leaf: string(e.Raw), Parts: []string{}}
	for _, p := range e.Leaf.Parts {
		out.Parts = append(out.Parts, string(p.Name))
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

func (s *Sallyport) entry(r *http.Request) (ledger.Entry, error) {
	i, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err == nil {
		var e ledger.Entry
		if e, err = s.Ledger.Read(i); err == nil {
			return e, nil
		}
	}
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) {
		err = gateway.Refuse(gateway.CodeNotFound, "the log has no such entry")
	}
	return ledger.Entry{}, err
}

// Disclosure is an opened part, and the record of its opening.
type Disclosure struct {
	Index  uint64         `json:"index"`
	Part   string         `json:"part"`
	Data   []byte         `json:"data"` // base64
	Access action.Receipt `json:"access"`
}

// ledgerDisclose opens one part for a person, who is recorded first.
func (s *Sallyport) ledgerDisclose(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Part    string `json:"part"`
		Purpose string `json:"purpose"`
	}
	if err := gateway.ReadJSON(w, r, &body, 16384); err != nil {
		return err
	}
	e, err := s.entry(r)
	if err != nil {
		return err
	}
	data, access, err := s.disclose(r.Context(), c, e.Index, action.PartName(body.Part), body.Purpose)
	switch {
	case errors.Is(err, ledger.ErrTwo):
		return gateway.Refuse(gateway.CodeState, "reasoning is opened by two people: another auditor, with a credential of his own, must ask for it within %v; that you asked is entry %d", twoWithin, access.Index)
	case errors.Is(err, ledger.ErrNotFound):
		return gateway.Refuse(gateway.CodeNotFound, "entry %d has no part %q", e.Index, action.Clip(body.Part, 32))
	case errors.Is(err, ledger.ErrErased):
		return gateway.Refuse(gateway.CodeState, "the part is erased; that it was asked for is entry %d", access.Index)
	case err != nil:
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, Disclosure{Index: e.Index, Part: body.Part, Data: data, Access: access})
}

// ledgerBackup copies the log, with its keys, into a folder.
func (s *Sallyport) ledgerBackup(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	var body struct {
		Dir string `json:"dir"`
	}
	if err := gateway.ReadJSON(w, r, &body, 8192); err != nil {
		return err
	}
	if !filepath.IsAbs(body.Dir) {
		return gateway.Refuse(gateway.CodeInvalid, "dir is no absolute path")
	}
	head, err := s.Ledger.Backup(r.Context(), body.Dir)
	if err != nil {
		return gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	return gateway.WriteJSON(w, http.StatusOK, head)
}

// ledgerRebuild makes the followers' products anew out of the log.
func (s *Sallyport) ledgerRebuild(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := s.Ledger.Rebuild(r.Context()); err != nil {
		return err
	}
	if err := s.Index.Rebuild(r.Context()); err != nil {
		return err
	}
	if err := s.indexed(r.Context()); err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, map[string]uint64{"size": s.Ledger.Checkpoint().Size})
}

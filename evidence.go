// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/evidence"
	"github.com/sallyport/sallyport/policy/bundle"
)

// EvidenceRequest asks for a package.
type EvidenceRequest struct {
	Kind    string `json:"kind"`     // evidence, incident or subject
	SinceMs int64  `json:"since_ms"` // of evidence
	Session string `json:"session"`  // of an incident
	Subject string `json:"subject"`  // of a subject: its id
	Purpose string `json:"purpose"`  // recorded with what is opened

	// Open are the parts that an evidence package or an incident discloses; reasoning, which takes two people, is none of
	// them. A subject's package discloses what is the subject's.
	Open []action.PartName `json:"open,omitzero"`
}

// ledgerEvidence writes a package that verifies offline.
func (s *Sallyport) ledgerEvidence(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body EvidenceRequest
	if err := gateway.ReadJSON(w, r, &body, 16384); err != nil {
		return err
	}
	cfg := evidence.Config{Log: s.Ledger, About: evidence.About{Kind: body.Kind}, Actor: c.Name, Purpose: body.Purpose, TempDir: layout(s.Config.Data).run}
	var err error
	switch {
	case body.Kind == evidence.KindEvidence && body.SinceMs >= 0:
		cfg.About.SinceMs = body.SinceMs
		err = opensOf(&cfg, body.Open, func(l *ledger.Leaf) bool { return l.LogMs >= body.SinceMs })
	case body.Kind == evidence.KindIncident && body.Session != "":
		if err = s.incident(r.Context(), c, body.Session, &cfg); err == nil {
			err = opensOf(&cfg, body.Open, func(l *ledger.Leaf) bool { return l.Session == cfg.About.Session || registers(l) })
		}
	case body.Kind == evidence.KindSubject && body.Subject != "":
		err = s.subjectPackage(body.Subject, &cfg)
	default:
		err = gateway.Refuse(gateway.CodeInvalid, "kind is evidence, incident (with a session) or subject (with a subject)")
	}
	if err != nil {
		return err
	}
	cfg.Policy = s.policyArchive
	// It is put together first, so that who asked gets all of it or an error.
	f, err := os.CreateTemp(cfg.TempDir, "package-*")
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }()
	if err := evidence.Write(r.Context(), f, cfg); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	_, err = io.Copy(w, f)
	return err
}

// opensOf discloses the parts of records that about holds for.
func opensOf(cfg *evidence.Config, parts []action.PartName, about func(l *ledger.Leaf) bool) error {
	if len(parts) == 0 {
		return nil
	}
	if cfg.Purpose == "" {
		return gateway.Refuse(gateway.CodeInvalid, "what is opened wants a purpose, which is recorded")
	}
	for _, p := range parts {
		if !slices.Contains(p.Values(), string(p)) || p == action.PartReasoning {
			return gateway.Refuse(gateway.CodeInvalid, "%q is no part that one person opens", action.Clip(string(p), 32))
		}
	}
	cfg.Open = func(_ uint64, l *ledger.Leaf, part action.PartName) bool {
		return slices.Contains(parts, part) && about(l)
	}
	return nil
}

// registers reports whether a record registers somebody's key: without it no signature of that person can be checked.
func registers(l *ledger.Leaf) bool {
	return l.Kind == action.KindKey && slices.Contains(l.Codes, identity.CodeSignerAdded)
}

// policyArchive is a bundle that decided, nil if this owner keeps none of that digest.
func (s *Sallyport) policyArchive(digest string) ([]byte, error) {
	b, err := bundle.OpenKept(s.bundles.folder, digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return b.Archive()
}

// incident finds the names in a session; that they were opened is on record before.
func (s *Sallyport) incident(ctx context.Context, c *gateway.Caller, session string, cfg *evidence.Config) error {
	if err := s.indexed(ctx); err != nil {
		return err
	}
	found, err := s.Index.Session(ctx, session)
	if errors.Is(err, index.ErrNotFound) {
		return gateway.Refuse(gateway.CodeNotFound, "there is no session %q", action.Clip(session, 64))
	}
	if err != nil {
		return err
	}
	cfg.About.Session, cfg.Names = found.ID, map[string]string{}
	for cursor := ""; ; {
		p, err := s.Index.Steps(ctx, found.ID, index.MaxLimit, cursor)
		if err != nil {
			return err
		}
		var parts []index.PartAt
		for i := range p.Items {
			if st := &p.Items[i]; st.Verdict != "" {
				parts = append(parts, index.PartAt{Index: st.Index, Part: action.PartInputBefore})
			}
		}
		if len(parts) > 0 {
			if err := s.opened(ctx, c.Name, "incident/"+found.ID, parts); err != nil {
				return err
			}
		}
		for i := range p.Items {
			st := &p.Items[i]
			for _, n := range []struct{ kind, id, name string }{{"agent", st.Agent, st.Agent}, {"user", st.User, st.User}, {"owner", st.User, st.User}, {"actor", st.Actor, st.Actor},
				{"server", st.Server, st.Server}, {"tool", st.ToolKey(), st.ToolKey()}} {
				s.nameIn(cfg.Names, n.kind, n.id, n.name)
			}
		}
		if cursor = p.Next; cursor == "" {
			return nil
		}
	}
}

// subjectPackage opens all that is recorded of a subject but reasoning, which takes two people.
func (s *Sallyport) subjectPackage(subject string, cfg *evidence.Config) (err error) {
	if cfg.About.Subject, err = s.Ledger.Pseudonym("default", "owner", subject); err != nil {
		return err
	}
	if cfg.About.User, err = s.Ledger.Pseudonym("default", "user", subject); err != nil {
		return err
	}
	cfg.Names = map[string]string{cfg.About.User: subject, cfg.About.Subject: subject}
	for _, e := range s.exporters {
		s.nameIn(cfg.Names, "actor", "export:"+e.Name(), "export:"+e.Name())
	}
	s.nameIn(cfg.Names, "actor", cfg.Actor, cfg.Actor)
	owner := cfg.About.Subject + "/"
	cfg.Open = func(_ uint64, l *ledger.Leaf, part action.PartName) bool {
		for _, p := range l.Parts {
			if p.Name == part {
				return part != action.PartReasoning && strings.HasPrefix(p.Kid, owner)
			}
		}
		return false
	}
	return nil
}

// nameIn notes what the pseudonym of an id stands for.
func (s *Sallyport) nameIn(names map[string]string, kind, id, name string) {
	if id == "" {
		return
	}
	if p, err := s.Ledger.Pseudonym("default", kind, id); err == nil {
		names[p] = name
	}
}

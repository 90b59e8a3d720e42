// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// The kinds of names that a log replaces by pseudonyms. A tool's pseudonym stands for its key.
const (
	nameAgent  = "agent"
	nameUser   = "user"
	nameActor  = "actor"
	nameServer = "server"
	nameTool   = "tool"
)

// named says what a pseudonym stands for.
type named struct{ kind, pseudonym, name string }

// learner finds the names behind pseudonyms in what was sealed beside them. The view stores pseudonyms,
// and names only once, in a table of their own. It belongs to one round of following.
type learner struct {
	pseudonym func(tenant, kind, name string) (string, error)
	known     map[named]bool // without names
}

// The bounds of what a learner keeps and tries.
const (
	maxKnown      = 100_000
	maxCandidates = 64
)

// learn returns the names that e reveals and that were not known.
func (l *learner) learn(e Entry) []named {
	r := e.Record
	want := make([]named, 0, 5)
	for _, n := range []named{{nameAgent, r.Agent, ""}, {nameUser, r.User, ""}, {nameActor, r.Actor, ""}, {nameServer, r.Server, ""}, {nameTool, r.Tool, ""}} {
		if n.pseudonym != "" && !l.known[n] {
			want = append(want, n)
		}
	}
	if len(want) == 0 || e.Open == nil {
		return nil
	}
	var found []named
	candidates := l.candidates(e)
	for _, n := range want {
		for _, name := range candidates[n.kind] {
			if l.fits(r.Tenant, n, name) {
				if len(l.known) < maxKnown {
					l.known[n] = true
				}
				_, short := action.SplitToolKey(name)
				if n.kind != nameTool {
					short = name
				}
				found = append(found, named{n.kind, n.pseudonym, clean(short, maxNameBytes)})
				break
			}
		}
	}
	return found
}

// fits reports whether name stands behind n. A log that cannot tell is believed: its input stands in the
// same record.
func (l *learner) fits(tenant string, n named, name string) bool {
	if name == "" {
		return false
	}
	if l.pseudonym == nil {
		return true
	}
	p, err := l.pseudonym(tenant, n.kind, name)
	return err == nil && p == n.pseudonym
}

// candidates lists by kind the names that may stand behind the pseudonyms of e: those of its input, or, if
// they can be checked, every short text of its other parts.
func (l *learner) candidates(e Entry) map[string][]string {
	for _, part := range []action.PartName{action.PartInputBefore, action.PartInputAfter} {
		var q struct {
			Subject struct {
				ID   string `json:"id"`
				User struct {
					ID string `json:"id"`
				} `json:"user"`
			} `json:"subject"`
			Resource struct {
				Server string `json:"server"`
				Name   string `json:"name"`
			} `json:"resource"`
		}
		if b := open(e, part); b != nil && json.Unmarshal(b, &q) == nil {
			return map[string][]string{nameAgent: {q.Subject.ID}, nameUser: {q.Subject.User.ID}, nameServer: {q.Resource.Server},
				nameTool: {action.ToolKey(q.Resource.Server, q.Resource.Name)}}
		}
	}
	if l.pseudonym == nil {
		return nil
	}
	var all []string
	for _, part := range []action.PartName{action.PartDetail, action.PartShown} {
		all = texts(open(e, part), all)
	}
	return map[string][]string{nameAgent: all, nameUser: all, nameActor: all, nameServer: all, nameTool: all}
}

// texts appends the short texts of a JSON value, its member names left out, up to maxCandidates.
func texts(b []byte, out []string) []string {
	if b == nil || action.Check(b, action.Limits{}) != nil {
		return out
	}
	dec := jsontext.NewDecoder(bytes.NewReader(b))
	for len(out) < maxCandidates {
		tok, err := dec.ReadToken()
		if err != nil {
			return out
		}
		// A member's name is an odd token of its object.
		kind, n := dec.StackIndex(dec.StackDepth())
		if tok.Kind() == '"' && (kind != '{' || n%2 == 0) && len(tok.String()) <= maxNameBytes {
			out = append(out, tok.String())
		}
	}
	return out
}

// reader looks names up for one answer.
type reader struct {
	ctx  context.Context
	db   *sql.DB
	seen map[named]string
}

// name replaces a pseudonym by its name, if that is known.
func (r *reader) name(kind string, p *string) error {
	if *p == "" {
		return nil
	}
	key := named{kind, *p, ""}
	name, ok := r.seen[key]
	if !ok {
		name = *p
		err := r.db.QueryRowContext(r.ctx, `SELECT name FROM names WHERE kind = ? AND pseudonym = ?`, kind, *p).Scan(&name)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("index: names: %w", err)
		}
		r.seen[key] = name
	}
	*p = name
	return nil
}

// named replaces the pseudonyms of one item of an answer.
func (s *Step) named(r *reader) error {
	return errors.Join(r.name(nameAgent, &s.Agent), r.name(nameUser, &s.User), r.name(nameActor, &s.Actor), r.name(nameServer, &s.Server),
		r.name(nameTool, &s.Tool))
}

func (s *Session) named(r *reader) error {
	return errors.Join(r.name(nameAgent, &s.Agent), r.name(nameUser, &s.User))
}

func (a *Agent) named(r *reader) error { return r.name(nameAgent, &a.ID) }

func (x *Index) reader(ctx context.Context) *reader {
	return &reader{ctx: ctx, db: x.db.Load().Read, seen: map[named]string{}}
}

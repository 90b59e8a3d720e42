// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// PartAt is one sealed part of one entry.
type PartAt struct {
	Index uint64
	Part  action.PartName
}

// Access says who opens which parts, where and why.
type Access struct {
	Actor   string   // required
	Subject string   // of the record: where the parts are shown, like "session/ID"; an identifier, required
	Purpose string   // sealed with the record as the actor's own data; at most 4096 bytes
	Parts   []PartAt // required
}

// maxAccessSpans bounds an access record. Beyond it neighbouring spans are named as one, with what lies
// between them: a record may say that more was opened than was, never less.
const maxAccessSpans = 1024

// Opened puts on record, durably, that parts are opened: Codes holds spans "PART/FIRST-LAST", or
// "PART/INDEX", and Count how many parts they are. The caller opens nothing if it errs.
func (l *Log) Opened(ctx context.Context, a Access) (action.Receipt, error) {
	if a.Actor == "" || a.Subject == "" || len(a.Purpose) > 4096 || len(a.Parts) == 0 {
		return action.Receipt{}, errors.New("ledger: access: an actor, a subject, parts, and a purpose of at most 4096 bytes are needed")
	}
	if slices.ContainsFunc(a.Parts, func(p PartAt) bool { return p.Part == action.PartReasoning }) {
		return action.Receipt{}, ErrTwo
	}
	r := &action.Record{Kind: action.KindAccess, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(), Actor: a.Actor, Subject: a.Subject,
		Codes: spans(a.Parts), Count: int64(len(a.Parts)), Status: action.StatusDone}
	if a.Purpose != "" {
		r.Parts = []action.PayloadPart{{Name: action.PartDetail, Owner: a.Actor, Data: []byte(a.Purpose)}}
	}
	receipt, err := l.Append(ctx, r)
	if err != nil {
		return receipt, fmt.Errorf("ledger: access: not recorded, not opened: %w", err)
	}
	return receipt, nil
}

type span struct {
	part        action.PartName
	first, last uint64
}

func (s span) String() string {
	out := string(s.part) + "/" + strconv.FormatUint(s.first, 10)
	if s.last > s.first {
		out += "-" + strconv.FormatUint(s.last, 10)
	}
	return out
}

// spans writes parts as at most maxAccessSpans spans.
func spans(parts []PartAt) []string {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b PartAt) int { return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Index, b.Index)) })
	var all []span
	for gap := uint64(1); ; gap *= 2 {
		all = all[:0]
		for _, p := range parts {
			if n := len(all) - 1; n >= 0 && all[n].part == p.Part && p.Index-all[n].last <= gap {
				all[n].last = p.Index
			} else {
				all = append(all, span{p.Part, p.Index, p.Index})
			}
		}
		if len(all) <= maxAccessSpans {
			break
		}
	}
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = s.String()
	}
	return out
}

// Touches reports whether an access record says that the part of the entry was opened, or asked for.
func (l *Leaf) Touches(p PartAt) bool {
	if l.Kind != action.KindAccess {
		return false
	}
	if l.Subject == strconv.FormatUint(p.Index, 10)+"/"+string(p.Part) {
		return true
	}
	return slices.ContainsFunc(l.Codes, func(code string) bool {
		part, at, ok := strings.Cut(code, "/")
		if !ok || part != string(p.Part) {
			return false
		}
		from, to, several := strings.Cut(at, "-")
		first, err := strconv.ParseUint(from, 10, 64)
		last := first
		if err == nil && several {
			last, err = strconv.ParseUint(to, 10, 64)
		}
		return err == nil && first <= p.Index && p.Index <= last
	})
}

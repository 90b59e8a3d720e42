// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
)

// maxMeasured bounds the answers that reviewers are measured by; the latest count.
const maxMeasured = 50_000

// quick is the think time below which an answer counts as given without reading.
const quick = 2 * time.Second

// figures are one reviewer's, in the making.
type figures struct {
	admin.Reviewer

	think []int64 // ms
	last  int64   // time of the latest answer to several, which counts once for its think time
}

// Reviewers measures how people answer, from the records of their answers since a time. Second systems are left out.
func (v reviews) Reviewers(ctx context.Context, since int64) ([]admin.Reviewer, error) {
	by := map[string]*figures{}
	of := func(person string) *figures {
		key := strings.ToLower(strings.TrimSpace(person))
		if by[key] == nil {
			by[key] = &figures{Reviewer: admin.Reviewer{Person: person}}
		}
		return by[key]
	}
	since = v.since30(since)
	n := 0
	var entries []ledger.Entry
	err := v.Ledger.Select(ctx, 0, []string{string(action.KindApproval)}, func(e ledger.Entry) error {
		code := ""
		if len(e.Leaf.Codes) > 0 {
			code = e.Leaf.Codes[0]
		}
		if e.Leaf.TimeMs < since || !approval.Answered(code) && code != approval.CodeCaught && code != approval.CodeMissed || e.Leaf.Channel == action.RankJudge {
			return nil
		}
		if n++; n > maxMeasured {
			entries = entries[1:]
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := e.Open(action.PartDetail)
		if err != nil {
			continue // erased: it counts for nobody
		}
		count(of, e.Leaf.Codes[0], data)
	}
	out := []admin.Reviewer{}
	for _, f := range by {
		out = append(out, f.done())
	}
	slices.SortFunc(out, func(a, b admin.Reviewer) int {
		return cmp.Or(cmp.Compare(b.Answers, a.Answers), strings.Compare(a.Person, b.Person))
	})
	return out, nil
}

// count adds one answer.
func count(of func(string) *figures, code string, data []byte) {
	if code == approval.CodeCaught || code == approval.CodeMissed {
		var a approval.SeedAnswer
		if action.Read(data, &a, action.Limits{}) != nil || a.Approver == "" {
			return
		}
		f := of(a.Approver)
		f.Seeded++
		if code == approval.CodeCaught {
			f.Caught++
		}
		f.thought(a.SeenMs)
		return
	}
	var g approval.Given
	if action.Read(data, &g, action.Limits{}) != nil {
		return
	}
	f := of(g.Approver)
	f.Answers++
	if g.Approve {
		f.Approved++
	}
	if len(g.Among) > 0 && g.TimeMs-f.last < 1000 {
		return // the same look at them
	}
	f.last = 0
	if len(g.Among) > 0 {
		f.last = g.TimeMs
	}
	f.thought(g.SeenMs)
}

func (f *figures) thought(ms int64) {
	if ms >= 0 {
		f.think = append(f.think, ms)
	}
}

func (f *figures) done() admin.Reviewer {
	r := f.Reviewer
	slices.Sort(f.think)
	if r.Timed = len(f.think); r.Timed > 0 {
		r.ThinkMs = f.think[r.Timed/2]
		for _, ms := range f.think {
			if ms < quick.Milliseconds() {
				r.Quick++
			}
		}
	}
	if r.Answers > 0 {
		r.ApproveMilli = 1000 * r.Approved / r.Answers
	}
	return r
}

// Seed shows reviewers a request that nobody made.
func (v reviews) Seed(ctx context.Context, c *gateway.Caller, t admin.Trial) (approval.View, error) {
	q, d, err := v.seedDoc(ctx, t)
	if err != nil {
		return approval.View{}, err
	}
	return v.Approval.Seed(ctx, c.Name, enforce.Request{Action: lookalike(v.Ledger.Now()), Query: q, Decision: d, Bytes: q.Action.Arguments})
}

// lookalike is an id in the form of those of actions, of none.
func lookalike(now time.Time) string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (8 * (5 - i)))
	}
	// A ULID is 128 bits in Crockford's base 32, with two zero bits in front.
	wide := append([]byte{0, 0, 0, 0}, b...)
	s := base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(wide)
	return s[6:]
}

// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

var startRecords = flag.Int("start-records", 20000, "records of the log that BenchmarkStart opens")

// grow fills the log with n records that differ from those of one real action in names and times only.
func (h *house) grow(n int) {
	h.t.Helper()
	h.server("files", readTool)
	sub, sess := h.agent("bot")
	adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "files", "read_note", `{"name":"n1"}`),
		func(context.Context, enforce.Admission) (enforce.Outcome, error) {
			return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"nothing of interest"}`)}, nil
		})
	if err != nil {
		h.t.Fatal(err)
	}
	var model [2]*action.Record
	err = h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Action != adm.ID {
			return nil
		}
		r := &action.Record{Kind: e.Leaf.Kind, Tenant: "default", Round: int(e.Leaf.Round), Agent: sub.ID, User: sub.User.ID, Door: e.Leaf.Door,
			Server: "files", Tool: "read_note", Effect: e.Leaf.Effect, Phase: e.Leaf.Phase, Verdict: e.Leaf.Verdict, Enforced: e.Leaf.Enforced,
			Status: e.Leaf.Status, Rules: e.Leaf.Rules, Codes: e.Leaf.Codes, Bundle: e.Leaf.Bundle, Engines: e.Leaf.Engines, Grade: e.Leaf.Grade,
			Observed: e.Leaf.Observed, Binding: e.Leaf.Binding}
		for _, p := range e.Leaf.Parts {
			b, err := e.Open(p.Name)
			if err != nil {
				return err
			}
			r.Parts = append(r.Parts, action.PayloadPart{Name: p.Name, Owner: sub.User.ID, Data: b})
		}
		model[min(len(r.Parts), 1)*boolInt(r.Kind == action.KindOutcome)] = r
		return nil
	})
	if err != nil || model[0] == nil || model[1] == nil {
		h.t.Fatal(err, model)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n/2); i = next.Add(1) {
				for _, m := range model {
					if _, err := h.Ledger.Append(context.Background(), renamed(h.t, m, int(i))); err != nil {
						h.t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// renamed is m as a record of action i.
func renamed(t testing.TB, m *action.Record, i int) *action.Record {
	r := *m
	r.Action, r.Session, r.TimeMs = fmt.Sprintf("action-%09d", i), fmt.Sprintf("session-%06d", i/20), time.Now().UnixMilli()
	r.Parts = append([]action.PayloadPart(nil), m.Parts...)
	for j := range r.Parts {
		p := &r.Parts[j]
		if p.Name != action.PartInputBefore && p.Name != action.PartInputAfter {
			continue
		}
		q, err := action.ReadQuery(p.Data)
		if err == nil {
			q.ID, q.Context.Session.ID, q.Context.Time.UnixMilli = r.Action, r.Session, r.TimeMs
			p.Data, err = action.Canonical(q)
		}
		if err != nil {
			t.Error(err)
		}
	}
	return &r
}

// BenchmarkStart reports how long a start takes, and what memory it holds, beside a log of -start-records.
func BenchmarkStart(b *testing.B) {
	h := open(b, nil)
	h.ranAndStopped(func() { h.grow(*startRecords) })
	h.start() // it hears of the actions that the enforcer remembers, and keeps them with the past
	h.ranAndStopped(func() {})
	for _, c := range []struct {
		name string
		harm func() error
	}{
		{"snapshots=kept", func() error { return nil }},
		{"snapshots=none", func() error { return os.RemoveAll(filepath.Join(h.cfg.Data, "snapshots")) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if err := c.harm(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				h.start()
				b.StopTimer()
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
				h.stop()
				b.StartTimer()
			}
		})
	}
}

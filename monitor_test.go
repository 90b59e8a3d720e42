// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

const exportTool = `{"name":"export_payroll","description":"Export the payroll.","inputSchema":{"type":"object","properties":{"month":{"type":"string"}}}}`

// usually lets an agent do n calls, in turn of the tools.
func (h *house) usually(s action.Subject, sess string, n int, toolKeys ...string) {
	h.t.Helper()
	for i := range n {
		server, tool := action.SplitToolKey(toolKeys[i%len(toolKeys)])
		adm, _, err := h.Enforcer.Do(context.Background(), attempt(s, sess, server, tool, fmt.Sprintf(`{"name":"n%d"}`, i)),
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"ok"`)}, nil
			})
		if err != nil || adm.Verdict != action.Allow {
			h.t.Fatal(adm, err)
		}
	}
}

// stated is what the monitor would say of a call now.
func (h *house) stated(s action.Subject, sess, toolKey string, at int64) action.Monitor {
	h.t.Helper()
	q := action.NewQuery(action.Before)
	q.ID, q.Subject, q.Resource.ID, q.Context.Session.ID, q.Context.Time.UnixMilli = "probe", s, toolKey, sess, at
	q.Resource.Server, q.Resource.Name = action.SplitToolKey(toolKey)
	p, err := h.Profiles.Inform(h.t.Context(), q)
	if err != nil {
		h.t.Fatal(err)
	}
	return p.(action.Monitor)
}

func TestFirstPayrollExportIsAskedAndTold(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	told := make(chan string, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.CompareAndSwap(true, false) { // once
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		b, _ := io.ReadAll(r.Body)
		told <- string(b)
	}))
	defer receiver.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("sixteen bytes or more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, `ask contains {"id": "unusual", "code": "unusual", "reason": "Unusual, and the first use.", "approver": {"channel": "operator"}} if {
	input.phase == "before"
	"unusual" in input.context.monitor.alerts
	input.context.monitor.first_tool == "yes"
}
`)
		c.Monitor.Outlets = []sallyport.MonitorOutlet{{Name: "pager", Kind: "webhook", URL: receiver.URL, SecretFile: secret}}
		c.Monitor.AlarmsPerDay = 0.01
	})
	h.server("files", readTool)
	h.server("hr", exportTool)
	keeper, keepers := h.agent("bookkeeper")
	clerk, clerks := h.agent("clerk")
	h.usually(keeper, keepers, 60, "hr/export_payroll", "files/read_note")
	h.usually(clerk, clerks, 120, "files/read_note")

	// Nothing was snapshotted: as after kill -9, all of it comes from the log.
	at := h.Ledger.Now().UnixMilli() + 1000
	was := []action.Monitor{h.stated(clerk, clerks, "hr/export_payroll", at), h.stated(keeper, keepers, "hr/export_payroll", at)}
	again := func(how string) {
		t.Helper()
		h.stop()
		h.start()
		is := []action.Monitor{h.stated(clerk, clerks, "hr/export_payroll", at), h.stated(keeper, keepers, "hr/export_payroll", at)}
		if fmt.Sprint(is) != fmt.Sprint(was) || is[1].State != action.StateKnown {
			t.Fatalf("after a restart %s:\n%+v\nwithout:\n%+v", how, is, was)
		}
	}
	again("from the log")

	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		return func() {
			t.Helper()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := run()
	ran := false
	adm, _, err := h.Enforcer.Do(t.Context(), attempt(clerk, clerks, "hr", "export_payroll", `{"month":"May"}`),
		func(context.Context, enforce.Admission) (enforce.Outcome, error) {
			ran = true
			return enforce.Outcome{}, nil
		})
	if err != nil || adm.Verdict != action.Ask || ran {
		t.Errorf("the clerk's first export: %+v, %v, ran: %v", adm, err, ran)
	}
	h.usually(keeper, keepers, 1, "hr/export_payroll")
	about := func(s string) bool { return strings.Contains(s, "hr/export_payroll") }
	got := <-told
	for !about(got) { // the routine may have had an odd moment of its own
		got = <-told
	}
	if !strings.Contains(got, `"agent":"clerk"`) || !strings.Contains(got, "first use of hr/export_payroll by this agent, after 120 actions") {
		t.Errorf("told: %s", got)
	}
	stop()
	alerts := 0
	if err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Kind == action.KindAlert && e.Leaf.Action == adm.ID && slices.Contains(e.Leaf.Codes, "monitor.unusual") {
			alerts++
		}
		return nil
	}); err != nil || alerts != 1 {
		t.Errorf("%d alerts on record, %v", alerts, err)
	}
	was = []action.Monitor{h.stated(clerk, clerks, "hr/export_payroll", at), h.stated(keeper, keepers, "hr/export_payroll", at)}
	if _, err := os.Stat(filepath.Join(h.cfg.Data, "snapshots", "monitor")); err != nil {
		t.Error(err)
	}
	again("from the snapshot")
	stop = run()
	stop()
	for len(told) > 0 {
		if again := <-told; about(again) {
			t.Errorf("told again, or of the bookkeeper: %s", again)
		}
	}
}

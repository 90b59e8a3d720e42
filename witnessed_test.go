// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/witness"
)

// TestAPolicyMakesActionsWaitForWitnesses demands for one tool that witnesses cosign the intent before it runs. With
// the witness gone it is denied, within the time of the setting; what asks for no witness goes on.
func TestAPolicyMakesActionsWaitForWitnesses(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, `oblige contains {"id": "seen", "type": "durability", "params": {"level": "witnessed"}} if {
	input.phase == "before"
	input.resource.name == "send_mail"
}
`)
	})
	vkey := h.Ledger.Vkey()
	h.stop()
	w, err := witness.Open(witness.Config{Dir: t.TempDir(), Logs: []string{vkey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	var down atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Handler().ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	h.cfg.Ledger.Witnesses = []sallyport.LedgerWitness{{URL: srv.URL, Vkey: w.Vkey()}}
	h.cfg.Ledger.WitnessTimeout = 2 * time.Second
	h.start()
	h.runs()
	h.server("files", readTool)
	h.server("mail", sendTool)
	sub, sess := h.agent("bot")
	before := func(server, tool, args string) (action.Verdict, string) {
		t.Helper()
		adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, server, tool, args))
		if err != nil {
			t.Log(err)
		}
		return adm.Verdict, adm.Hint
	}
	if v, hint := before("mail", "send_mail", `{"to":"a@house.example","body":"one"}`); v != action.Allow {
		t.Fatal(v, hint)
	}
	size := h.Ledger.Checkpoint().Size
	if r, err := ledger.Verify(t.Context(), ledger.Source{Dir: h.cfg.Data}, ledger.Options{Vkey: vkey, Witnesses: []string{w.Vkey()}}); err != nil || r.Witnessed.Size < size {
		t.Errorf("%d of %d are witnessed: %v", r.Witnessed.Size, size, err)
	}
	down.Store(true)
	if v, _ := before("mail", "send_mail", `{"to":"a@house.example","body":"two"}`); v == action.Allow {
		t.Error("without the witness it goes on")
	}
	if v, hint := before("files", "read_note", `{"name":"n"}`); v != action.Allow {
		t.Error("a reading:", v, hint)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// TestEgressCredentialGoesOnlyWithARecordedIntent looks at the log from the far side: whenever our credential arrives,
// an intent of its own is durable and has no outcome yet. When the agent's quota of records is used up, nothing arrives.
func TestEgressCredentialGoesOnlyWithARecordedIntent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("ours-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := openProxied(t, func(c *sallyport.Config) {
		c.Egress.Hosts = []sallyport.EgressHost{{Name: "api.example.org", TokenFile: file}}
		c.Ledger.AgentBytes = 200 << 10
	})
	var mu sync.Mutex
	var sizes []uint64 // of the log when a credential arrived
	x.seen.answers(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") == "Bearer ours-1" {
			sizes = append(sizes, x.Ledger.Checkpoint().Size)
		}
		fmt.Fprint(w, "ok")
	})
	refused := false
	for i := 0; i < 200 && !refused; i++ {
		status, _, _ := fetch(t, x.client(true), "GET", fmt.Sprintf("https://api.example.org/%d", i), "")
		refused = status != http.StatusOK
	}
	mu.Lock()
	defer mu.Unlock()
	if !refused || len(sizes) < 3 {
		t.Fatalf("%d arrived; refused %v", len(sizes), refused)
	}
	type at struct{ intent, outcome uint64 }
	spans := map[string]*at{}
	err := x.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		switch e.Leaf.Kind {
		case action.KindIntent:
			spans[e.Leaf.Action] = &at{intent: e.Index, outcome: ^uint64(0)}
		case action.KindOutcome:
			spans[e.Leaf.Action].outcome = e.Index
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range sizes {
		open := ""
		for id, s := range spans {
			if s.intent < size && s.outcome >= size {
				open = id
			}
		}
		if open == "" {
			t.Errorf("credential %d arrived without an intent", i)
		}
		delete(spans, open) // it covers one
	}
	if len(spans) > 0 {
		t.Errorf("%d intents beyond those that arrived", len(spans))
	}
}

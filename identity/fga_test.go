// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// openFGA starts a real server in memory. "make soak" builds it, or a hand, because that takes minutes:
//
//	GOBIN=$PWD/.cache/openfga go install github.com/openfga/openfga/cmd/openfga@v1.22.1
func openFGA(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("openfga")
	if err != nil {
		bin, err = filepath.Abs("../.cache/openfga/openfga")
	}
	if _, gone := os.Stat(bin); err != nil || gone != nil {
		t.Skip("openfga is not installed (go install github.com/openfga/openfga/cmd/openfga@v1.22.1)")
	}
	var free [2]string
	for i := range free {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		free[i] = l.Addr().String()
		_ = l.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "run", "--http-addr", free[0], "--grpc-addr", free[1], "--playground-enabled=false", "--metrics-enabled=false", "--log-level", "none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for range 600 {
		if resp, err := http.Get("http://" + free[0] + "/healthz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + free[0]
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("openfga does not come up")
	return ""
}

func post(t *testing.T, url, body string, out any) {
	t.Helper()
	resp, err := http.Post(url, "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 || json.Unmarshal(data, out) != nil {
		t.Fatalf("%s: %d %s %v", url, resp.StatusCode, data, err)
	}
}

// TestOpenFGAItselfAnswers asks a real server: one object, several at once, and what it does not know.
func TestOpenFGAItselfAnswers(t *testing.T) {
	url := openFGA(t)
	var store struct {
		ID string `json:"id"`
	}
	post(t, url+"/stores", `{"name":"test"}`, &store)
	at := url + "/stores/" + store.ID
	var model struct {
		ID string `json:"authorization_model_id"`
	}
	post(t, at+"/authorization-models", `{"schema_version":"1.1","type_definitions":[{"type":"user"},{"type":"group","relations":{"member":{"this":{}}},
		"metadata":{"relations":{"member":{"directly_related_user_types":[{"type":"user"}]}}}},{"type":"document","relations":{"viewer":{"this":{}}},
		"metadata":{"relations":{"viewer":{"directly_related_user_types":[{"type":"user"},{"type":"group","relation":"member"}]}}}}]}`, &model)
	var none struct{}
	post(t, at+"/write", `{"writes":{"tuple_keys":[{"user":"user:ann","relation":"viewer","object":"document:plan"},{"user":"user:bob","relation":"member","object":"group:staff"},
		{"user":"group:staff#member","relation":"viewer","object":"document:menu"}]}}`, &none)
	f := &FGA{URL: url, Store: store.ID, Model: model.ID}
	for _, c := range []struct {
		user, relation, object string
		want                   action.Tri
	}{
		{"ann", "viewer", "document:plan", action.Yes},
		{"bob", "viewer", "document:plan", action.No},
		{"bob", "viewer", "document:menu", action.Yes},
		{"ann", "viewer", "document:there-is-none", action.No},
		{"ann", "owner", "document:plan", action.TriUnknown},
		{"ann", "viewer", "planet:mars", action.TriUnknown},
		{"*", "viewer", "document:plan", action.TriUnknown},
	} {
		if got, err := f.Rights(t.Context(), Asked{User: c.user, Relation: c.relation, Object: c.object}); got.Permitted != c.want || (err != nil) != (c.want == action.TriUnknown) {
			t.Errorf("%s %s %s: %v %v", c.user, c.relation, c.object, got, err)
		}
	}
	got, err := f.All(t.Context(), Asked{User: "bob", Relation: "viewer"}, []string{"document:plan", "document:menu", "document:x"})
	if err != nil || fmt.Sprintf("%s %s %s", got[0].Permitted, got[1].Permitted, got[2].Permitted) != "no yes no" {
		t.Errorf("several at once: %v %v", got, err)
	}
	if got, err := f.All(t.Context(), Asked{User: "bob", Relation: "viewer"}, []string{"document:menu", "planet:mars"}); err == nil && got[1].Permitted != action.TriUnknown {
		t.Errorf("an object of no type: %v", got)
	}
	post(t, at+"/write", `{"deletes":{"tuple_keys":[{"user":"user:ann","relation":"viewer","object":"document:plan"}]}}`, &none)
	if got, err := f.Rights(t.Context(), Asked{User: "ann", Relation: "viewer", Object: "document:plan"}); err != nil || got.Permitted != action.No {
		t.Errorf("a withdrawn right lives on: %v %v", got, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gateway"
)

// TestAnchorOrders has calendars take the log, as the command orders it, and refuses orders that say nothing
// or too much.
func TestAnchorOrders(t *testing.T) {
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen = "none", "none"
	cfg.Ledger.SegmentBytes = 8 << 20
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	calendar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/digest" {
			http.NotFound(w, r)
			return
		}
		uri := "http://" + r.Host
		payload := append([]byte{byte(len(uri))}, uri...)
		_, _ = w.Write(append(append([]byte("\x00\x83\xdf\xe3\x0d\x2e\xf9\x0c\x8e"), byte(len(payload))), payload...))
	}))
	defer calendar.Close()
	order := func(o any) (AnchorAnswer, error) {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/v1/local/ledger/anchor", strings.NewReader(string(b)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		var out AnchorAnswer
		if err := s.ledgerAnchor(w, r, &gateway.Caller{Name: "op"}); err != nil {
			return out, err
		}
		return out, json.Unmarshal(w.Body.Bytes(), &out)
	}
	first, err := order(AnchorOrder{Calendars: []string{calendar.URL}})
	if err != nil || first.Kind != "ots" || first.Size == 0 || first.NewRecords != first.Size || first.TimeMs != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := order(AnchorOrder{Calendars: []string{calendar.URL}})
	if err != nil || second.NewRecords != 1 {
		t.Errorf("%+v, %v", second, err)
	}
	if done, err := order(AnchorOrder{Calendars: []string{calendar.URL}, Complete: true}); err == nil {
		t.Errorf("the calendar has finished nothing: %+v", done)
	}
	for name, bad := range map[string]any{
		"nobody":                     AnchorOrder{},
		"both":                       AnchorOrder{TSA: calendar.URL, Calendars: []string{calendar.URL}},
		"a log to wait for":          AnchorOrder{Rekor: calendar.URL, Complete: true},
		"a log and an authority":     AnchorOrder{TSA: calendar.URL, Rekor: calendar.URL},
		"a chain without an account": AnchorOrder{Ethereum: calendar.URL},
		"an account without a chain": AnchorOrder{From: "0x00"},
		"no log":                     AnchorOrder{Rekor: calendar.URL},
		"no address":                 AnchorOrder{Calendars: []string{"calendar"}},
		"an authority to wait":       AnchorOrder{TSA: calendar.URL, Complete: true},
		"too many":                   AnchorOrder{Calendars: strings.Split(strings.Repeat(calendar.URL+" ", 9)[:9*len(calendar.URL)+8], " ")},
		"a member that is none":      map[string]string{"tsa": calendar.URL, "url": calendar.URL},
	} {
		if out, err := order(bad); err == nil {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/policy"
)

func private(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return ed25519.NewKeyFromSeed(seed)
}

func pdp(t testing.TB, pack string) *policy.PDP {
	t.Helper()
	p, err := policy.Open(policy.Config{Pack: pack})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPairDecidesOnlyWhatBothDecide(t *testing.T) {
	own, other := pdp(t, "baseline"), pdp(t, "egress")
	var kept []byte // an answer to another query
	serve := func(p *policy.PDP, key ed25519.PrivateKey, change func(data []byte) []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got, err := Answer(r.Context(), p, key, body)
			if err != nil {
				t.Error(err)
			}
			data, _ := json.Marshal(got)
			_, _ = w.Write(change(data))
		}
	}
	same := func(b []byte) []byte { return b }
	query := action.NewQuery(action.Before)
	query.Action.Effect = action.EffectRead
	{
		q := action.NewQuery(action.Before)
		q.Action.Name = "another"
		body, _ := action.Canonical(q)
		s, err := Answer(t.Context(), own, private("pdp"), body)
		if err != nil {
			t.Fatal(err)
		}
		kept, _ = json.Marshal(s)
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string // "" agrees
	}{
		"both say the same":               {serve(own, private("pdp"), same), ""},
		"the other has another bundle":    {serve(other, private("pdp"), same), "disagree"},
		"the answer is signed by another": {serve(own, private("mallory"), same), "not signed"},
		"the answer was changed":          {serve(own, private("pdp"), func(b []byte) []byte { return []byte(strings.Replace(string(b), "A", "B", 1)) }), "gave no answer"},
		"an answer to another query":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(kept) }, "another query"},
		"no answer":                       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "status 503"},
		"a redirect":                      {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "gave no answer"},
		"an endless answer": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "gave no answer"},
		"an answer that does not come": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "gave no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.serve)
			defer srv.Close()
			var alarms []string
			limit := time.Minute
			if strings.Contains(name, "does not come") {
				limit = 50 * time.Millisecond
			}
			p, err := New(Config{Own: own, URL: srv.URL, Key: private("pdp").Public().(ed25519.PublicKey), Limit: limit, Alarm: func(why string) { alarms = append(alarms, why) }})
			if err != nil {
				t.Fatal(err)
			}
			d, err := p.Decide(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := own.Decide(t.Context(), query)
			if c.want == "" {
				if d.Verdict != want.Verdict || len(alarms) != 0 {
					t.Fatalf("%+v %q", d, alarms)
				}
				return
			}
			last := d.Matches[len(d.Matches)-1]
			if d.Verdict != action.Deny || last.ID != "kernel.pdp" || len(alarms) != 1 || !strings.Contains(alarms[0], c.want) || d.Bundle != want.Bundle {
				t.Fatalf("%+v %q", d, alarms)
			}
		})
	}
}

func TestPairIsADecider(t *testing.T) {
	own := pdp(t, "baseline")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, err := Answer(r.Context(), own, private("pdp"), body)
		if err != nil {
			t.Error(err)
		}
		data, _ := json.Marshal(got)
		_, _ = w.Write(data)
	}))
	defer srv.Close()
	p, err := New(Config{Own: own, URL: srv.URL, Key: private("pdp").Public().(ed25519.PublicKey), Limit: time.Minute, Alarm: func(why string) { t.Error(why) }})
	if err != nil {
		t.Fatal(err)
	}
	q := action.NewQuery(action.Before)
	q.Action.Effect = action.EffectRead
	enforcetest.TestDecider(t, p, q)
}

func TestAnswerRefusesWhatIsNotCanonical(t *testing.T) {
	p := pdp(t, "")
	body, err := action.Canonical(action.NewQuery(action.Before))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "a blank more": append([]byte(" "), body...), "no query": []byte(`{}`), "a list": []byte(`[]`)} {
		if _, err := Answer(t.Context(), p, private("pdp"), b); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Answer(t.Context(), p, private("pdp"), body); err != nil {
		t.Fatal(err)
	}
}

type failing struct{}

func (failing) Decide(context.Context, *action.Query) (action.Decision, error) {
	return action.Decision{Verdict: action.Deny}, errors.New("broken")
}

func TestPairFailsWithItsOwnDecider(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	p, err := New(Config{Own: failing{}, URL: srv.URL, Key: private("pdp").Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Decide(t.Context(), action.NewQuery(action.Before)); err == nil {
		t.Fatal("no error")
	}
}

func FuzzOpen(f *testing.F) {
	body, _ := action.Canonical(action.NewQuery(action.Before))
	p, err := policy.Open(policy.Config{})
	if err != nil {
		f.Fatal(err)
	}
	s, err := Answer(f.Context(), p, private("pdp"), body)
	if err != nil {
		f.Fatal(err)
	}
	good, _ := json.Marshal(s)
	f.Add(good)
	f.Add([]byte(`{"answer":"","sig":""}`))
	key := private("pdp").Public().(ed25519.PublicKey)
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Signed
		if _, err := Open(data, key, body); err == nil && (json.Unmarshal(data, &got) != nil || got.Answer != s.Answer) {
			t.Fatalf("accepted %q", data)
		}
	})
}

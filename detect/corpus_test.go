// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/detect/learn"
)

// corpus opens a file of the development data: under SALLYPORT_DATA, or in shared/data beside the module.
// The test is skipped where it is not there.
func corpus(t testing.TB, name string) io.Reader {
	t.Helper()
	root := corpusRoot(t)
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		t.Skipf("no development data: %s is not there (set SALLYPORT_DATA)", name)
	}
	t.Cleanup(func() { f.Close() })
	if !strings.HasSuffix(name, ".gz") {
		return f
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func corpusRoot(t testing.TB) string {
	t.Helper()
	root := os.Getenv("SALLYPORT_DATA")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for dir != filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			dir = filepath.Dir(dir)
		}
		root = filepath.Join(filepath.Dir(dir), "shared", "data")
	}
	return root
}

func rows[T any](t testing.TB, name string) (out []T) {
	t.Helper()
	s := bufio.NewScanner(corpus(t, name))
	s.Buffer(nil, 8<<20)
	for s.Scan() {
		var r T
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return out
}

// secretsIn returns the kinds of the secrets in a text.
func secretsIn(text string) (kinds []string) {
	s := scanner{secrets: true, room: 1 << 20}
	for _, h := range s.text(text, "") {
		if h.class == classSecret {
			kinds = append(kinds, h.kind)
		}
	}
	return kinds
}

// shipped is the embedded model, which has learnt from these sets too: what it scores on them shows that it works,
// not how well.
var shipped = sync.OnceValue(func() *learn.Model {
	m, err := learn.Load(embedded)
	if err != nil {
		panic(err)
	}
	return m
})

func injectionIn(text string) int {
	s := scanner{injection: true, model: shipped(), room: 1 << 20}
	s.text(text, "")
	return s.worst
}

func share(n, all int) string {
	return fmt.Sprintf("%d of %d = %.1f %%", n, all, 100*float64(n)/float64(max(all, 1)))
}

func TestSecretRecallOnRecordedStrings(t *testing.T) {
	type row struct {
		Rule  string
		Label int
		Text  string
	}
	found, all, alarms, clean := map[string]int{}, map[string]int{}, 0, 0
	n, of := 0, 0
	for _, r := range rows[row](t, "dlp/secrets.jsonl.gz") {
		hit := len(secretsIn(r.Text)) > 0
		if r.Label == 0 {
			clean++
			if hit {
				alarms++
				if testing.Verbose() {
					t.Logf("alarm on a hard negative of %s: %.120q %v", r.Rule, r.Text, secretsIn(r.Text))
				}
			}
			continue
		}
		all[r.Rule]++
		of++
		if hit {
			found[r.Rule]++
			n++
		} else if testing.Verbose() && all[r.Rule]-found[r.Rule] <= 2 {
			t.Logf("missed %s: %.120q", r.Rule, r.Text)
		}
	}
	var low []string
	kinds := 0
	for k := range all {
		if found[k]*2 < all[k] {
			low = append(low, fmt.Sprintf("%s %d/%d", k, found[k], all[k]))
		} else {
			kinds++
		}
	}
	sort.Strings(low)
	t.Logf("recall %s; kinds found at least half the time %s; alarms on hard negatives %s", share(n, of), share(kinds, len(all)), share(alarms, clean))
	t.Logf("below half: %s", strings.Join(low, ", "))
	if n*100 < of*90 {
		t.Errorf("recall fell to %s", share(n, of))
	}
}

func TestFalseAlarmsOnCleanText(t *testing.T) {
	type content struct {
		Injected bool
		Text     string
	}
	alarms, clean, caught, injected, wrong := 0, 0, 0, 0, 0
	for _, r := range append(rows[content](t, "agentdojo/contents.jsonl.gz"), rows[content](t, "agentdyn/contents.jsonl.gz")...) {
		score := injectionIn(r.Text)
		if r.Injected {
			injected++
			if score >= 500 {
				caught++
			}
			continue
		}
		clean++
		if score >= 500 {
			wrong++
			if testing.Verbose() {
				t.Logf("injection %d: %.200q", score, r.Text)
			}
		}
		if k := secretsIn(r.Text); len(k) > 0 {
			alarms++
			t.Logf("secret %v in a clean output: %.200q", k, r.Text)
		}
	}
	t.Logf("tool outputs: secrets in clean ones %s; injection >= 500: clean %s, injected %s (one wrapper text: no result)",
		share(alarms, clean), share(wrong, clean), share(caught, injected))
	if alarms*1000 > 2*clean || wrong*100 > clean {
		t.Errorf("too many alarms on clean outputs")
	}
}

func TestPersonalDataOnSyntheticSentences(t *testing.T) {
	type row struct {
		Text  string
		Spans []struct {
			Type       string
			Start, End int
		}
	}
	cards, foundCards, ibans, foundIBANs, alarms, secrets, all := 0, 0, 0, 0, 0, 0, 0
	for _, r := range rows[row](t, "dlp/pii.jsonl") {
		all++
		s := scanner{secrets: true, personal: true, room: 1 << 20}
		got := map[string]bool{}
		for _, h := range s.text(r.Text, "") {
			got[h.kind] = true
			if h.class == classSecret {
				secrets++
				t.Logf("secret %s in %.120q", h.kind, r.Text)
			}
		}
		want := map[string]bool{}
		for _, x := range r.Spans {
			want[x.Type] = true
		}
		if want["CREDIT_CARD"] {
			cards++
			if got["card"] {
				foundCards++
			} else if testing.Verbose() {
				t.Logf("no card in %q", r.Text)
			}
		}
		if want["IBAN_CODE"] {
			ibans++
			if got["iban"] {
				foundIBANs++
			} else if testing.Verbose() {
				t.Logf("no iban in %q", r.Text)
			}
		}
		if got["card"] && !want["CREDIT_CARD"] || got["iban"] && !want["IBAN_CODE"] {
			alarms++
		}
	}
	t.Logf("cards %s, account numbers %s, alarms %s, secrets %s", share(foundCards, cards), share(foundIBANs, ibans), share(alarms, all), share(secrets, all))
	if foundCards*100 < cards*90 || foundIBANs*100 < ibans*90 || alarms*100 > all {
		t.Error("personal data is found less well than before")
	}
}

func TestKindsOfLeaksAreFoundOnRecordedStrings(t *testing.T) {
	corpus(t, "dlp/secrets.jsonl.gz")
	b := &bench{opt: BenchOptions{Data: filepath.Join(corpusRoot(t), "dlp")}}
	if err := b.read(); err != nil {
		t.Fatal(err)
	}
	b.leaks(t.Context())
	b.personal(t.Context())
	if r := b.res.Secrets; r.Recall.Share < 0.99 || r.Precision.Share < 0.98 || r.HardAlarms.Share > 0.2 {
		t.Errorf("secrets: %+v, %+v, look-alikes %+v", r.Recall, r.Precision, r.HardAlarms)
	}
	if r := b.res.SecretsUnknown; r.Recall.Share < 0.95 || r.Precision.Share < 0.98 {
		t.Errorf("secrets without the forms of issuers: %+v, %+v", r.Recall, r.Precision)
	}
	if n := len(b.res.PII.Kinds); n < 5 {
		t.Errorf("%d kinds of personal data", n)
	}
	for kind, r := range b.res.PII.Kinds {
		t.Logf("%s: recall %d of %d, precision %d of %d", kind, r.Recall.N, r.Recall.Of, r.Precision.N, r.Precision.Of)
		if r.Recall.Share < 0.9 || r.Precision.Of-r.Precision.N > 1 && r.Precision.Share < 0.9 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

func TestInjectionOnPromptSets(t *testing.T) {
	type row struct {
		Set, Text string
		Label     int
	}
	type count struct{ hit, all, fp, benign int }
	by := map[string]*count{}
	for _, r := range rows[row](t, "pi-detect/prompts.jsonl.gz") {
		c := by[r.Set]
		if c == nil {
			c = &count{}
			by[r.Set] = c
		}
		hit := injectionIn(r.Text) >= 500
		if r.Label == 1 {
			c.all++
			if hit {
				c.hit++
			}
			continue
		}
		c.benign++
		if hit {
			c.fp++
		}
	}
	if c := by["notinject"]; c == nil || c.fp*10 > c.benign {
		t.Error("fewer than nine in ten of the prompts with a word that attacks use are right")
	}
	benign, fp := 0, 0
	for set, c := range by {
		t.Logf("%s: attacks at or above 500 %s, benign %s", set, share(c.hit, c.all), share(c.fp, c.benign))
		benign, fp = benign+c.benign, fp+c.fp
	}
	if fp*20 > benign {
		t.Errorf("false alarms %s", share(fp, benign))
	}
}

func TestHonestToolsAreNotPoisoned(t *testing.T) {
	type tool struct{ Tool, Description string }
	d := open(t)
	n, wrong := 0, 0
	for _, file := range []string{"agentdojo/tools.jsonl", "agentdyn/tools.jsonl"} {
		for _, r := range rows[tool](t, file) {
			n++
			if d.Poisoned(r.Description) != action.No {
				wrong++
				t.Logf("%s: %.200q", r.Tool, r.Description)
			}
		}
	}
	t.Logf("descriptions told to be poisoned: %s", share(wrong, n))
	if wrong*50 > n {
		t.Error("too many alarms on honest tools")
	}
}

// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/policy"
	policybundle "github.com/sallyport/sallyport/policy/bundle"
)

func signer(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return ed25519.NewKeyFromSeed(seed)
}

func trustText(author, approver, extra string) string {
	if !strings.Contains(extra, "settings:") {
		extra += "settings: any\n" // most tests are not about the owner's settings
	}
	public := func(name string) string { return policybundle.FormatKey(signer(name).Public().(ed25519.PublicKey)) }
	return fmt.Sprintf("version: 1\nbundle: swap\nauthors: {need: 1, keys: [%q]}\napprovers: {need: 1, keys: [%q]}\nreplay: 20\n%s", public(author), public(approver), extra)
}

// swapFiles are a bundle of that sequence. Odd ones deny writes.
func swapFiles(sequence int) map[string]string {
	verdict, effect := "allow", "allow"
	if sequence%2 == 1 {
		verdict, effect = "deny", "deny"
	}
	return map[string]string{
		policybundle.ManifestFile: fmt.Sprintf("version: 1\nname: swap\nsequence: %d\nexpires: 2090-01-01T00:00:00Z\n", sequence),
		"rules.rego": fmt.Sprintf(`package sallyport.swap

import rego.v2

allow contains {"id": "read", "code": "c", "reason": "R."} if input.action.effect == "read"

deny contains {"id": "destroy", "code": "c", "reason": "R."} if input.action.effect == "destroy"

%s contains {"id": "write%d", "code": "c", "reason": "R."} if not input.action.effect in {"read", "destroy"}
`, verdict, sequence),
		"tests/cases.yaml": fmt.Sprintf(`cases:
  - name: a read
    expect: allow
    query:
      action: {effect: read}
  - name: a write
    expect: %s
    query:
      action: {effect: write}
  - name: something lost
    expect: deny
    query:
      action: {effect: destroy}
`, effect),
	}
}

func signed(t testing.TB, files map[string]string, signers ...string) *policybundle.Bundle {
	t.Helper()
	read := func() *policybundle.Bundle {
		fsys := fstest.MapFS{}
		for name, data := range files {
			fsys[name] = &fstest.MapFile{Data: []byte(data)}
		}
		b, err := policybundle.Read(fsys, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := read()
	s, err := policy.Tested(t.Context(), b)
	if s.Digest == "" { // a bundle that does not load, or whose cases fail, can still be signed
		t.Fatal(err)
	}
	e, err := policybundle.Seal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range signers {
		name, role, _ := strings.Cut(who, "/")
		if err := e.Sign(signer(name), role); err != nil {
			t.Fatal(err)
		}
	}
	data, err := action.Canonical(&e)
	if err != nil {
		t.Fatal(err)
	}
	files[policybundle.SignedFile] = string(data)
	defer delete(files, policybundle.SignedFile)
	return read()
}

var both = []string{"anna/author", "ben/approver"}

// guarded is an owner under a signed bundle of sequence 2.
func guarded(t testing.TB, extra string) *house {
	t.Helper()
	dir := t.TempDir()
	first := swapFiles(2)
	if extra != "" {
		first[policybundle.TrustFile] = extra
	}
	if err := signed(t, first, both...).Write(filepath.Join(dir, "swap")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "trust.yaml"), []byte(trustText("anna", "ben", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, func(c *sallyport.Config) {
		c.Policy.Dir, c.Policy.Trust = filepath.Join(dir, "swap"), filepath.Join(dir, "trust.yaml")
	})
}

// policyRecords are the codes of the log's policy records, those of one record joined.
func (h *house) policyRecords() (out []string) {
	h.t.Helper()
	err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind == action.KindPolicy {
			out = append(out, strings.Join(e.Leaf.Codes, " "))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// Each attack is refused with its reason and recorded, and the bundle in force stays.
func TestActivatePolicyRefusesAttacksAndKeepsTheLastGoodOne(t *testing.T) {
	h := guarded(t, "")
	running(t, h)
	with := func(sequence int, change func(f map[string]string), signers ...string) *policybundle.Bundle {
		f := swapFiles(sequence)
		if change != nil {
			change(f)
		}
		return signed(t, f, signers...)
	}
	if got, err := h.ActivatePolicy(t.Context(), with(4, nil, both...), "test", "ann", false); err != nil || !got.Active {
		t.Fatalf("%+v %v", got, err)
	}
	active := h.Policy.Active().Bundle()
	text := func(name, data string) func(map[string]string) { return func(f map[string]string) { f[name] = data } }
	for name, c := range map[string]struct {
		b          *policybundle.Bundle
		code, want string
	}{
		"an older bundle":                {with(3, nil, both...), "older", "sequence 3 after 4"},
		"the first one again":            {with(2, nil, both...), "older", "sequence 2 after 4"},
		"the one in force, replayed":     {with(4, nil, both...), "older", "in force already"},
		"its sequence, another content":  {with(4, text("README.md", "x"), both...), "older", "with other content"},
		"wrong keys":                     {with(5, nil, "mallory/author", "eve/approver"), "signatures", "2 by keys that are not trusted"},
		"no signature file":              {unsigned(t, swapFiles(5)), "untrusted", "no " + policybundle.SignedFile},
		"an empty key id":                {edited(t, with(5, nil, both...), func(e *policybundle.Envelope) { e.Signatures[0].KeyID = "" }), "untrusted", "no key id"},
		"an edited manifest":             {edited(t, with(5, nil, both...), func(e *policybundle.Envelope) { e.Payload = "AAAA" + e.Payload[4:] }), "untrusted", "is false"},
		"an expired one":                 {with(5, text(policybundle.ManifestFile, "version: 1\nname: swap\nsequence: 5\nexpires: 2020-01-01T00:00:00Z\n"), both...), "untrusted", "it expired"},
		"one for later":                  {with(5, text(policybundle.ManifestFile, "version: 1\nname: swap\nsequence: 5\nexpires: 2091-01-01T00:00:00Z\nnot_before: 2090-01-01T00:00:00Z\n"), both...), "untrusted", "not hold before"},
		"another name":                   {with(5, text(policybundle.ManifestFile, "version: 1\nname: swop\nsequence: 5\nexpires: 2090-01-01T00:00:00Z\n"), both...), "untrusted", "trust is for"},
		"one author for something wider": {with(6, nil, "anna/author"), "signatures", "one is enough only"},
		"a rule that would fail open": {with(5, text("more.rego", `package sallyport.more

import rego.v2

deny contains {"id": "x", "code": "c", "reason": "R."} if input.action.amount.nothing_like_it > 3
`), both...), "unusable", "more.rego"},
		"a failing case":         {with(5, text("tests/cases.yaml", strings.Replace(swapFiles(5)["tests/cases.yaml"], "expect: deny", "expect: ask", 1)), both...), "tests", "cases fail"},
		"a rule without a case":  {with(6, text("rules.rego", swapFiles(6)["rules.rego"]+"\ndeny contains {\"id\": \"never\", \"code\": \"c\", \"reason\": \"R.\"} if input.subject.id == \"nobody\"\n"), both...), "tests", "fire in a case"},
		"cases of one side only": {with(5, text("tests/cases.yaml", "cases:\n  - name: a read\n    expect: allow\n    query:\n      action: {effect: read}\n"), both...), "tests", "both kinds"},
		"cases that showed something else": {edited(t, with(6, nil), func(e *policybundle.Envelope) {
			s, err := policy.Tested(t.Context(), with(6, nil))
			if err != nil {
				t.Fatal(err)
			}
			s.Tests.Cases++
			if *e, err = policybundle.Seal(s); err == nil {
				err = errors.Join(e.Sign(signer("anna"), policybundle.Author), e.Sign(signer("ben"), policybundle.Approver))
			}
			if err != nil {
				t.Fatal(err)
			}
		}), "tests", "it was signed for 4 cases"},
		"settings of somebody else":  {with(5, func(f map[string]string) { f[policybundle.ManifestFile] += "settings: " + policybundle.Sum(nil) + "\n" }, both...), "settings", "approved for other settings"},
		"a rollback to nothing kept": {with(5, func(f map[string]string) { f[policybundle.ManifestFile] += "rollback: " + policybundle.Sum(nil) + "\n" }, both...), "form", "rollback"},
		"a rollback that is none": {with(5, func(f map[string]string) {
			f[policybundle.ManifestFile] += "rollback: " + active.Digest + "\n"
		}, both...), "form", "and \"rules.rego\" differs"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(h.policyRecords())
			_, err := h.ActivatePolicy(t.Context(), c.b, "test", "eve", false)
			var refused *sallyport.Refused
			if !errors.As(err, &refused) || refused.Unrecorded != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if h.Policy.Active().Bundle() != active {
				t.Fatalf("in force is %v", h.Policy.Active().Bundle())
			}
			if got := h.policyRecords()[before:]; !slices.Equal(got, []string{"policy.refused policy.refused." + c.code}) {
				t.Errorf("recorded %q", got)
			}
		})
	}
	// What was refused has raised no mark: the next one is taken, also after a restart.
	h.stop()
	h.start()
	if got := h.Policy.Active().Bundle(); got != active {
		t.Fatalf("after a restart %v, not %v", got, active)
	}
	running(t, h)
	if got, err := h.ActivatePolicy(t.Context(), with(5, nil, both...), "test", "ann", false); err != nil || !got.Active {
		t.Fatalf("%+v %v", got, err)
	}
}

func unsigned(t testing.TB, files map[string]string) *policybundle.Bundle {
	return edited(t, signed(t, files), func(e *policybundle.Envelope) { e.PayloadType = "" })
}

// edited is b with another signature file; one without a payload type means none.
func edited(t testing.TB, b *policybundle.Bundle, change func(e *policybundle.Envelope)) *policybundle.Bundle {
	t.Helper()
	e, err := policybundle.ReadEnvelope(b.Signed())
	if err != nil {
		t.Fatal(err)
	}
	change(&e)
	fsys := fstest.MapFS{}
	for _, name := range b.Names() {
		data, _ := b.File(name)
		fsys[name] = &fstest.MapFile{Data: data}
	}
	if e.PayloadType != "" {
		data, err := action.Canonical(&e)
		if err != nil {
			t.Fatal(err)
		}
		fsys[policybundle.SignedFile] = &fstest.MapFile{Data: data}
	}
	out, err := policybundle.Read(fsys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// running starts what happens in the background, which the comparison with the record waits for.
func running(t testing.TB, h *house) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, s := make(chan error, 1), h.Sallyport
	go func() { done <- s.Run(ctx) }()
	ended := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	h.halt = ended
	t.Cleanup(ended)
}

// The keys that sign the next bundle are those of the bundle in force; a bundle cannot bring its own.
func TestTrustOfTheBundleInForceSignsTheNext(t *testing.T) {
	h := guarded(t, trustText("cleo", "dan", ""))
	running(t, h)
	try := func(files map[string]string, signers ...string) error {
		_, err := h.ActivatePolicy(t.Context(), signed(t, files, signers...), "test", "ann", false)
		return err
	}
	next := swapFiles(4)
	if err := try(next, both...); err == nil || !strings.Contains(err.Error(), "2 by keys that are not trusted") {
		t.Fatalf("the keys that were given up: %v", err)
	}
	if err := try(next, "cleo/author", "dan/approver"); err == nil || !strings.Contains(err.Error(), "whom to trust") {
		t.Fatalf("a bundle that falls back to the configured keys: %v", err)
	}
	next[policybundle.TrustFile] = trustText("erin", "frank", "")
	if err := try(next, "erin/author", "frank/approver"); err == nil || !strings.Contains(err.Error(), "2 by keys that are not trusted") {
		t.Fatalf("a bundle that vouches for itself: %v", err)
	}
	if err := try(next, "cleo/author", "dan/approver"); err != nil {
		t.Fatal(err)
	}
}

// The log and the store both know the newest bundle; neither can be set back alone.
func TestNewestBundleSurvivesALostStore(t *testing.T) {
	h := guarded(t, "")
	running(t, h)
	if _, err := h.ActivatePolicy(t.Context(), signed(t, swapFiles(5), both...), "test", "ann", false); err != nil {
		t.Fatal(err)
	}
	want := h.Policy.Active().Bundle()
	e, err := h.Store.Get(t.Context(), "default/policy/mark/swap")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Store.Delete(t.Context(), e.Key, e.Revision); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.start()
	if got := h.Policy.Active().Bundle(); got != want {
		t.Fatalf("%v, not %v", got, want)
	}
	// Its copy is not trusted because of its name.
	h.stop()
	rules := filepath.Join(h.cfg.Data, "bundles", want.Digest, "rules.rego")
	if err := os.WriteFile(rules, []byte(swapFiles(6)["rules.rego"]), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sallyport.Open(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), "it was changed") {
		t.Fatalf("%v %v", s, err)
	}
	if err := os.WriteFile(rules, []byte(swapFiles(5)["rules.rego"]), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
}

// 100 swaps while a thousand decisions a second are taken: none fails, each names a bundle that was in force, and each
// is decided again to the same under its own bundle.
func TestSwapsUnderLoadLoseNoDecision(t *testing.T) {
	if testing.Short() {
		t.Skip("long; ten swaps race with decisions beside it")
	}
	swapsLoseNothing(t, 100)
}

func TestTenSwapsRaceWithDecisions(t *testing.T) { swapsLoseNothing(t, 10) }

func swapsLoseNothing(t *testing.T, swaps int) {
	t.Helper()
	const perSecond = 1000
	h := guarded(t, "")
	running(t, h)
	h.server("notes", readTool)
	bundles := make([]*policybundle.Bundle, swaps)
	known := map[string]bool{h.Policy.Active().Bundle().Digest: true}
	for i := range bundles {
		bundles[i] = signed(t, swapFiles(i+3), both...)
	}
	var stop atomic.Bool
	var taken, asked atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for w := range 4 { // the whole path, as fast as the disk lets it
		sub, sess := h.agent(fmt.Sprintf("bot%d", w), "/work")
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				tool := "read_note"
				if i%4 == 0 {
					tool = "write_note" // not registered: its effect is not known, and the answer depends on the bundle
				}
				got, _, err := h.Enforcer.Do(t.Context(), attempt(sub, sess, "notes", tool, fmt.Sprintf(`{"name":"n%d"}`, i)),
					func(context.Context, enforce.Admission) (enforce.Outcome, error) {
						return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"a note"`)}, nil
					})
				if err != nil || got.Verdict != action.Allow && got.Verdict != action.Deny {
					t.Errorf("action %d: %q %v", i, got.Verdict, err)
				}
				taken.Add(1)
			}
		})
	}
	wg.Go(func() { // the decision point, a thousand times a second
		q := action.NewQuery(action.Before)
		q.Action.Effect = action.EffectWrite
		for i := 0; !stop.Load(); i++ {
			if due := began.Add(time.Duration(i) * time.Second / perSecond); time.Now().Before(due) {
				time.Sleep(time.Until(due))
			}
			d, err := h.Policy.Decide(t.Context(), q)
			want := action.Allow
			if d.Bundle.Sequence%2 == 1 {
				want = action.Deny
			}
			if err != nil || d.Bundle.Digest == "" || d.Verdict != want {
				t.Errorf("decision %d: %+v %v", i, d, err)
			}
			asked.Add(1)
		}
	})
	for i, b := range bundles {
		got, err := h.ActivatePolicy(t.Context(), b, "test", "ann", false)
		if err != nil {
			t.Errorf("swap %d: %v", i, err)
			break
		}
		known[got.Bundle.Digest] = true
	}
	stop.Store(true)
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d swaps in %v; %d decisions (%.0f/s), and %d actions on the whole path", len(known)-1, took, asked.Load(),
		float64(asked.Load())/took.Seconds(), taken.Load())
	decided, used := h.redecideAll(known)
	if decided < int(taken.Load()) || used < swaps/2 {
		t.Errorf("%d decisions on record of %d, under %d bundles", decided, taken.Load(), used)
	}
}

// redecideAll decides every recorded input again under the kept copy of the bundle that its record names.
func (h *house) redecideAll(known map[string]bool) (n, used int) {
	h.t.Helper()
	loaded := map[string]*policy.Compiled{}
	err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		l := e.Leaf
		if l.Phase != action.Before || l.Kind != action.KindIntent && l.Kind != action.KindDecision {
			return nil
		}
		if !known[l.Bundle.Digest] {
			return fmt.Errorf("entry %d: a decision under %q, which was never in force", e.Index, l.Bundle.Digest)
		}
		c := loaded[l.Bundle.Digest]
		if c == nil {
			b, err := policybundle.OpenKept(filepath.Join(h.cfg.Data, "bundles"), l.Bundle.Digest)
			if err != nil {
				return err
			}
			if c, err = policy.Compile(b, policy.Config{}); err != nil {
				return err
			}
			if c.Bundle().Digest != l.Bundle.Digest {
				return fmt.Errorf("the copy of %s is %s", l.Bundle.Digest, c.Bundle().Digest)
			}
			loaded[l.Bundle.Digest] = c
		}
		input, err := e.Open(action.PartInputBefore)
		if err != nil {
			return err
		}
		q, err := action.ReadQuery(input)
		if err != nil {
			return err
		}
		text, err := e.Open(action.PartExplanation)
		if err != nil {
			return err
		}
		var recorded action.Decision
		if err := json.Unmarshal(text, &recorded); err != nil {
			return err
		}
		again, err := c.Redecide(context.Background(), q)
		if err != nil {
			return err
		}
		a, _ := action.Canonical(&again)
		b, _ := action.Canonical(&recorded)
		if string(a) != string(b) {
			return fmt.Errorf("entry %d: %s, recorded %s", e.Index, a, b)
		}
		n++
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
	return n, len(loaded)
}

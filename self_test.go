// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/ledger"
)

// selfRecords are the digests under which an owner recorded itself.
func selfRecords(t *testing.T, dir string) (out []ledger.Leaf) {
	t.Helper()
	_, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Inspect: func(_ uint64, l *ledger.Leaf, part action.PartName, _ []byte) string {
		if l.Kind == action.KindAttestation && part == "" && slices.Contains(l.Codes, sallyport.CodeSelf) {
			out = append(out, *l)
		}
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func inspectSelf(t *testing.T, dir string, e *sallyport.SelfExpected) *ledger.Report {
	t.Helper()
	rep, _ := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Inspect: func(i uint64, l *ledger.Leaf, part action.PartName, data []byte) string {
		if l.Kind == action.KindAttestation {
			return e.Inspect(i, l, part, data)
		}
		return ""
	}})
	if rep == nil {
		t.Fatal("no report")
	}
	return rep
}

// TestAnotherGatewayBinaryIsFound holds a log against the executable, settings and policy that are expected: a
// patched gateway, and a policy that always allows, are found by whoever looks, not prevented.
func TestAnotherGatewayBinaryIsFound(t *testing.T) {
	h := open(t, nil)
	h.stop()
	was := selfRecords(t, h.cfg.Data)
	if len(was) != 1 {
		t.Fatalf("%d records of itself", len(was))
	}
	exe, err := measure.Digest(context.Background(), "/proc/self/exe")
	if err != nil {
		t.Skip("the kernel shows no processes here")
	}
	if was[0].Subject != "sha256:"+exe {
		t.Errorf("the executable on record is %s, not %s", was[0].Subject, exe)
	}
	good := sallyport.SelfExpected{Executables: []string{was[0].Subject}, Settings: []string{was[0].Binding}, Bundles: []string{was[0].Bundle.Digest}}
	if rep := inspectSelf(t, h.cfg.Data, &good); !rep.OK || good.Seen != 1 {
		t.Errorf("as expected: %+v", rep.Problems)
	}
	other := "sha256:" + strings.Repeat("ab", 32)
	for name, e := range map[string]sallyport.SelfExpected{"executable": {Executables: []string{other}}, "settings": {Settings: []string{other}}, "bundle": {Bundles: []string{other}}} {
		if rep := inspectSelf(t, h.cfg.Data, &e); rep.OK {
			t.Errorf("another %s is not found", name)
		}
	}
	h.cfg.Policy.Dir = bundle(t, "") // a policy that always allows
	h.start()
	h.stop()
	again := selfRecords(t, h.cfg.Data)
	if len(again) != 2 || again[1].Bundle.Digest == was[0].Bundle.Digest || again[1].Binding == was[0].Binding {
		t.Fatalf("the second start: %+v", again)
	}
	if rep := inspectSelf(t, h.cfg.Data, &good); rep.OK {
		t.Error("a policy that always allows is not found")
	}
}

// TestWhatAnAlwaysAllowingPolicyCannotAllow is what remains when the decision point was taken over: the kernel.
func TestWhatAnAlwaysAllowingPolicyCannotAllow(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, "")
		c.Attest.Agents = []sallyport.AttestAgent{{Agent: "payer"}}
	})
	h.server("bank", payTool)
	for agent, want := range map[string]action.Verdict{"payer": action.Deny, "free": action.Allow} {
		s, sess := h.agent(agent)
		adm, err := h.Enforcer.Before(t.Context(), attempt(s, sess, "bank", "send_payment", `{"amount":1}`))
		if err != nil || adm.Verdict != want {
			t.Errorf("%s: %s %v, want %s", agent, adm.Verdict, err, want)
		}
	}
	if rep, err := ledger.Verify(t.Context(), ledger.Source{Dir: h.cfg.Data}, ledger.Options{}); err != nil || !rep.OK {
		t.Errorf("what was allowed is not on record: %v", err)
	}
}

// TestOwnTPMSignsWhatTheOwnerIs puts a software TPM beside the owner.
func TestOwnTPMSignsWhatTheOwnerIs(t *testing.T) {
	s := newTPM(t, t.TempDir())
	h := open(t, func(c *sallyport.Config) { c.Attest.TPM = s.sock })
	_, details := (&bank{house: h}).records(action.KindAttestation, action.PartDetail)
	if len(details) != 1 || !strings.Contains(details[0], `"quote":{"ak_public"`) {
		t.Errorf("the record holds no quote: %.200s", strings.Join(details, " "))
	}
	log := h.Ledger.Origin()
	h.stop()
	var any sallyport.SelfExpected
	if rep := inspectSelf(t, h.cfg.Data, &any); !rep.OK || any.Quoted != 1 || any.Last.Key == "" || any.Missing(log) != "" {
		t.Fatalf("%+v %+v", any, rep.Problems)
	}
	same := sallyport.SelfExpected{Keys: []string{any.Last.Key}, Boots: []string{any.Last.Boot}}
	if rep := inspectSelf(t, h.cfg.Data, &same); !rep.OK || same.Quoted != 1 || same.Missing(log) != "" || same.Missing("another log") == "" {
		t.Errorf("the same key and boot: %+v", rep.Problems)
	}
	for name, e := range map[string]sallyport.SelfExpected{"another chip": {Keys: []string{"000b" + strings.Repeat("ab", 32)}}, "another boot": {Boots: []string{"sha256:" + strings.Repeat("ab", 32)}}} {
		if rep := inspectSelf(t, h.cfg.Data, &e); rep.OK {
			t.Errorf("%s is not found", name)
		}
	}
	// A patched owner that has no quote over what it says: another executable under a good quote, and none at all.
	var self sallyport.Self
	if err := action.Read([]byte(details[0]), &self, action.Limits{}); err != nil {
		t.Fatal(err)
	}
	leaf := selfRecords(t, h.cfg.Data)[0]
	origin, _, _ := strings.Cut(self.Head, " ")
	for name, change := range map[string]func(s *sallyport.Self, l *ledger.Leaf){
		"another executable": func(s *sallyport.Self, l *ledger.Leaf) {
			s.Executable = "sha256:" + strings.Repeat("ab", 32)
			l.Subject = s.Executable
		},
		"inside and outside": func(s *sallyport.Self, _ *ledger.Leaf) { s.Executable = "sha256:" + strings.Repeat("ab", 32) },
		"no quote":           func(s *sallyport.Self, _ *ledger.Leaf) { s.Quote = nil },
		"a later head":       func(s *sallyport.Self, _ *ledger.Leaf) { s.Head = origin + " 900 00" },
	} {
		s, l := self, leaf
		change(&s, &l)
		data, err := action.Canonical(s)
		if err != nil {
			t.Fatal(err)
		}
		e := same
		if got := e.Inspect(9, &l, action.PartDetail, data); got == "" {
			t.Errorf("%s passes", name)
		}
	}
	h.cfg.Attest.TPM = filepath.Join(t.TempDir(), "gone")
	h.start()
	if codes, _ := (&bank{house: h}).records(action.KindAttestation, action.PartDetail); codes[len(codes)-1] != "self.measured self.unquoted" {
		t.Errorf("a TPM that is gone: %q", codes)
	}
	h.stop()
	unquoted := sallyport.SelfExpected{Keys: []string{any.Last.Key}}
	if rep := inspectSelf(t, h.cfg.Data, &unquoted); rep.OK {
		t.Error("a record without a quote is not found")
	}
}

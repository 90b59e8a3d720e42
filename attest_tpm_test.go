// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/internal/attester"
)

// swtpm is a software TPM that can be switched off and on again.
type swtpm struct {
	t     *testing.T
	state string
	cmd   *exec.Cmd
	chips []*tpm.Chip
	sock  string
}

func newTPM(t *testing.T, state string) *swtpm {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("swtpm is not installed (Debian: swtpm, swtpm-tools)")
	}
	s := &swtpm{t: t, state: state}
	s.on()
	t.Cleanup(s.off)
	return s
}

func (s *swtpm) on() {
	s.t.Helper()
	s.sock = filepath.Join(s.t.TempDir(), "t")
	s.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.state, "--server", "type=unixio,path="+s.sock,
		"--ctrl", "type=unixio,path="+s.sock+".ctrl", "--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 500 {
		if _, err := os.Stat(s.sock); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("swtpm does not open its socket")
}

func (s *swtpm) off() {
	for _, c := range s.chips {
		_ = c.Close()
	}
	s.chips = nil
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *swtpm) chip(name string) *tpm.Chip {
	s.t.Helper()
	c, err := tpm.OpenChip(s.sock, name)
	if err != nil {
		s.t.Fatal(err)
	}
	s.chips = append(s.chips, c)
	return c
}

// refused wants a refusal that speaks of what.
func refused(t *testing.T, name string, err error, what string) {
	t.Helper()
	if !errors.Is(err, attester.ErrRefused) || !strings.Contains(err.Error(), what) {
		t.Errorf("%s: %v, want a refusal that says %q", name, err, what)
	}
}

// TestSoftwareTPMEndToEnd enrols a chip, quotes, renews, and tries the known ways around it.
func TestSoftwareTPMEndToEnd(t *testing.T) {
	state := t.TempDir()
	s := newTPM(t, state)
	b := openBank(t, func(a *sallyport.AttestAgent) { a.Kinds = []string{"tpm"} }, "payer", "twin")
	logs := t.TempDir()
	as := func(id string, chip *tpm.Chip) *attester.Attester {
		t.Helper()
		log, err := attester.OpenLog(filepath.Join(logs, id), chip)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = log.Close() })
		return b.measuring(attester.Config{URL: b.url, Token: b.token[id], Kind: "tpm", Chip: chip, Log: log})
	}
	a := as("payer", s.chip("payer"))
	_, err := a.Renew(t.Context())
	refused(t, "a key that is not enrolled", err, "is not enrolled")
	key, chip, err := a.Enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.Renew(t.Context())
	if err != nil || l.Assurance != 1 || l.Model != 0 {
		t.Fatalf("a software TPM is worth more than a key in software: %+v %v", l, err)
	}
	if got := b.pay(a, "1"); got != "allow" {
		t.Fatal(got)
	}
	if _, err := a.Renew(t.Context()); err != nil {
		t.Fatalf("renewal: %v", err)
	}

	// The record is enough to verify and appraise it again, and says so when it is changed.
	_, details := b.records(action.KindAttestation, action.PartDetail)
	var was lease.Appraisal
	if err := action.Read([]byte(details[len(details)-1]), &was, action.Limits{}); err != nil {
		t.Fatal(err)
	}
	if again, err := b.Reappraise(t.Context(), &was); err != nil || again.Evidence != "holds" || !again.Same {
		t.Errorf("appraised again: %+v %v", again, err)
	}
	was.Evidence[len(was.Evidence)/2] ^= 1
	if again, err := b.Reappraise(t.Context(), &was); err != nil || again.Evidence == "holds" {
		t.Errorf("changed evidence: %+v %v", again, err)
	}

	// Two agents on one chip: the second has a key of its own, and cannot enrol the first one's.
	if _, _, err := as2(b, "twin", s.chip("payer")).Enroll(t.Context()); err == nil || !strings.Contains(err.Error(), "another agent's") {
		t.Errorf("another agent's key: %v", err)
	}
	twin := as2(b, "twin", s.chip("twin"))
	if k, c, err := twin.Enroll(t.Context()); err != nil || k == key || c != chip {
		t.Errorf("two agents on one chip: key %s of chip %s, %v", k, c, err)
	}

	b.write("agent", "another program")
	_, err = a.Renew(t.Context())
	refused(t, "a swapped program", err, "executable: measured, and no reference value")
	if got := b.pay(a, "2"); got != "deny" {
		t.Errorf("after the program was swapped: %s", got)
	}
	b.write("agent", "the program")

	// An edited log: the bad run is taken out of it.
	edited := filepath.Join(logs, "payer")
	data, err := os.ReadFile(edited)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	events := doc["events"].([]any)
	doc["events"] = events[:len(events)-1]
	if data, err = action.Canonical(doc); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(logs, "edited")
	if err := os.WriteFile(other, data, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := attester.OpenLog(other, s.chip("payer"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.measuring(attester.Config{URL: b.url, Token: b.token["payer"], Kind: "tpm", Chip: s.chip("payer"), Log: log}).Renew(t.Context())
	refused(t, "an edited log", err, "does not lead to the value of register 13")

	// Root restarts the chip to get empty registers, and replays a good log.
	s.off()
	s.on()
	back := filepath.Join(logs, "restarted")
	log, err = attester.OpenLog(back, s.chip("payer"))
	if err != nil {
		t.Fatal(err)
	}
	a2 := b.measuring(attester.Config{URL: b.url, Token: b.token["payer"], Kind: "tpm", Chip: s.chip("payer"), Log: log})
	_, err = a2.Renew(t.Context())
	refused(t, "a chip that restarted", err, "restarted since its chip was last seen")

	// An operator looks into it, and lets the key be enrolled anew.
	if _, _, err := a2.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = a2.Renew(t.Context())
	refused(t, "enrolled again without the operator", err, "restarted since its chip was last seen")
	if err := b.WithdrawKey(t.Context(), "default", key, "ops"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a2.Enroll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err = a2.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}

	// A copy of the chip's state, started elsewhere.
	s.off()
	clone := t.TempDir()
	if err := os.CopyFS(clone, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	copied := newTPM(t, clone)
	log, err = attester.OpenLog(filepath.Join(logs, "copied"), copied.chip("payer"))
	if err != nil {
		t.Fatal(err)
	}
	a3 := b.measuring(attester.Config{URL: b.url, Token: b.token["payer"], Kind: "tpm", Chip: copied.chip("payer"), Log: log})
	_, err = a3.Renew(t.Context())
	refused(t, "a copied state", err, "restarted since its chip was last seen")
	if got := b.pay(a2, "3"); got != "allow" {
		t.Errorf("the lease of the real one: %s", got)
	}
	if _, err := b.Kill.Kill(t.Context(), identity.Actor{ID: "ops"}, identity.Target{Scope: identity.KillAgent, Tenant: "default", ID: "payer"}, "drill"); err != nil {
		t.Fatal(err)
	}
	if got := b.pay(a2, "4"); got != "deny" {
		t.Errorf("a killed agent: %s", got)
	}
}

// as2 is an attester that has nothing to measure.
func as2(b *bank, id string, chip *tpm.Chip) *attester.Attester {
	a, err := attester.New(attester.Config{URL: b.url, Token: b.token[id], Kind: "tpm", Chip: chip, Log: attester.NewLog()})
	if err != nil {
		panic(err)
	}
	return a
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/ledger"
)

// CodeSelf is the code of records in which the owner says what it is: its executable in the subject, its settings
// in the binding, and the policy in force.
const CodeSelf = "self.measured"

// selfEvery is how often the owner measures itself.
const selfEvery = time.Hour

// Self is what the owner measured of itself.
type Self struct {
	Executable string        `json:"executable"` // "sha256:..." of the file that runs
	Settings   string        `json:"settings"`   // "sha256:..." over every setting
	Bundle     action.Bundle `json:"bundle"`
	Head       string        `json:"head"`  // of the log at the time: origin, size and root
	Quote      *tpm.Evidence `json:"quote"` // of the owner's TPM over the four, where there is one
	Error      string        `json:"error"` // why there is no quote
}

// measureSelf reads the executable by the kernel's own link, so that a file that was put in its place afterwards is
// not taken for it.
func (s *Sallyport) measureSelf(ctx context.Context) (Self, error) {
	path := "/proc/self/exe"
	if _, err := os.Stat(path); err != nil {
		if path, err = os.Executable(); err != nil {
			return Self{}, err
		}
	}
	exe, err := measure.Digest(ctx, path)
	if err != nil {
		return Self{}, err
	}
	out := Self{Executable: "sha256:" + exe, Settings: s.Config.digest(), Bundle: s.Policy.Active().Bundle(), Head: s.head()}
	if chip := s.Config.Attest.TPM; chip != "" {
		if out.Quote, err = selfQuote(chip, &out); err != nil {
			out.Error = err.Error()
		}
	}
	return out, nil
}

// digest is over every setting, secrets excepted: only paths of theirs stand in a configuration.
func (c *Config) digest() string {
	var lines []string
	for _, set := range c.Settings(Origin{}) {
		lines = append(lines, fmt.Sprintf("%q=%q", set.Key, set.Value))
	}
	slices.Sort(lines)
	return attest.Digest([]byte(strings.Join(lines, "\n")))
}

// bootRegisters are those of firmware and boot loader.
var bootRegisters = []int{0, 1, 2, 3, 4, 5, 6, 7}

// bound is what a quote of the owner's TPM signs.
func (self *Self) bound() []byte {
	sum := sha256.Sum256([]byte(strings.Join([]string{"sallyport self 1", self.Executable, self.Settings, self.Bundle.Digest, self.Head}, "\x00")))
	return sum[:]
}

// selfQuote lets the owner's TPM sign what it measured and the head of the log.
func selfQuote(path string, self *Self) (*tpm.Evidence, error) {
	c, err := tpm.OpenChip(path, "sallyport owner")
	if err != nil {
		return nil, err
	}
	q, err := c.Quote(self.bound(), nil, bootRegisters)
	return q, errors.Join(err, c.Close())
}

// recordSelf puts what the owner is on record.
func (s *Sallyport) recordSelf(ctx context.Context) error {
	self, err := s.measureSelf(ctx)
	if err != nil {
		return fmt.Errorf("own measurement: %w", err)
	}
	if s.attest.digest == "" {
		s.attest.digest = strings.TrimPrefix(self.Executable, "sha256:")
	}
	data, err := action.Canonical(self)
	if err != nil {
		return err
	}
	codes := []string{CodeSelf}
	if self.Error != "" {
		codes = append(codes, "self.unquoted")
	}
	_, err = s.Ledger.Append(ctx, &action.Record{Kind: action.KindAttestation, Tenant: "default", TimeMs: s.Ledger.Now().UnixMilli(), Subject: self.Executable,
		Binding: self.Settings, Bundle: self.Bundle, Status: action.StatusNone, Codes: codes,
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "owner", Data: data}}})
	if err != nil {
		return fmt.Errorf("record of the own measurement: %w", err)
	}
	return nil
}

// keepSelf measures again, every hour.
func (s *Sallyport) keepSelf(ctx context.Context) error {
	tick := time.NewTicker(selfEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.recordSelf(ctx); err != nil {
				return err
			}
		}
	}
}

// SelfExpected holds the owner's records of itself against what somebody expects. Use Inspect within
// ledger.Options.Inspect. It is not safe for concurrent use.
type SelfExpected struct {
	Executables, Settings, Bundles []string // accepted digests ("sha256:..."); empty accepts any
	// Keys are accepted attestation keys of the owner's TPM (hex of their names), Boots accepted digests of what it says
	// that its machine booted. With either each record must hold a quote that verifies, over what the record says and
	// an earlier head of the log.
	Keys, Boots []string

	Seen   int       // records that were looked at
	Quoted int       // of them those whose quote was verified
	Last   SelfFound // what the last of them said
	origin string    // of the log that the quotes are over
}

// SelfFound is what a record says of its owner.
type SelfFound struct {
	Executable string `json:"executable"`
	Settings   string `json:"settings"`
	Bundle     string `json:"bundle"`
	Key        string `json:"key"`  // of the TPM; "" without a quote that verifies
	Boot       string `json:"boot"` // "sha256:..." over its registers 0 to 7
}

// Inspect reports what does not hold, or "".
func (e *SelfExpected) Inspect(index uint64, l *ledger.Leaf, part action.PartName, data []byte) string {
	if l.Kind != action.KindAttestation || !slices.Contains(l.Codes, CodeSelf) {
		return ""
	}
	if part == "" {
		return e.leaf(l)
	}
	return e.quote(index, l, data)
}

func (e *SelfExpected) leaf(l *ledger.Leaf) string {
	if e.unquoted() {
		return "the owner's record of itself holds no quote that could be opened"
	}
	e.Seen++
	e.Last = SelfFound{Executable: l.Subject, Settings: l.Binding, Bundle: l.Bundle.Digest}
	for _, c := range []struct {
		what, have string
		want       []string
	}{{"executable", l.Subject, e.Executables}, {"settings", l.Binding, e.Settings}, {"bundle", l.Bundle.Digest, e.Bundles}} {
		if len(c.want) > 0 && !slices.Contains(c.want, c.have) {
			return fmt.Sprintf("the owner's %s was %s, which is not expected", c.what, c.have)
		}
	}
	return ""
}

// unquoted reports whether a record before had to hold a quote and none was seen.
func (e *SelfExpected) unquoted() bool { return len(e.Keys)+len(e.Boots) > 0 && e.Quoted < e.Seen }

// Missing reports what was expected and is not in the log of that origin, or "". Ask once everything was inspected.
func (e *SelfExpected) Missing(origin string) string {
	switch {
	case e.origin != "" && e.origin != origin:
		return "the owner's quotes are over another log"
	case e.Seen == 0:
		return "the log holds no record in which its owner says what it is"
	case e.unquoted():
		return "a record in which the owner says what it is holds no quote that could be opened"
	}
	return ""
}

// quote verifies the quote of a record: by the chip's own key, over what the leaf says.
func (e *SelfExpected) quote(index uint64, l *ledger.Leaf, data []byte) string {
	var self Self
	if err := action.Read(data, &self, action.Limits{Bytes: tpm.MaxEvidenceBytes * 2}); err != nil {
		return "the owner's record of itself: " + err.Error()
	}
	if self.Executable != l.Subject || self.Settings != l.Binding || self.Bundle.Digest != l.Bundle.Digest {
		return "the owner's record of itself says something else inside than outside"
	}
	wanted := len(e.Keys)+len(e.Boots) > 0
	if self.Quote == nil {
		if wanted {
			return "the owner's record of itself holds no quote: " + action.Clip(self.Error, 200)
		}
		return ""
	}
	evidence, err := action.Canonical(self.Quote)
	if err != nil {
		return "the owner's quote: " + err.Error()
	}
	v, err := tpm.New(tpm.Config{PCRs: bootRegisters, Unlogged: bootRegisters})
	if err != nil {
		return "the owner's quote: " + err.Error()
	}
	f, err := v.Verify(context.Background(), evidence, attest.Options{Nonce: self.bound()})
	if err != nil {
		return "the owner's quote does not hold: " + err.Error()
	}
	words := strings.Fields(self.Head)
	if len(words) != 3 || !before(words[1], index) || e.origin != "" && e.origin != words[0] {
		return "the owner's quote is over a later head of the log, or over another one"
	}
	e.origin = words[0]
	var boot strings.Builder
	for _, r := range bootRegisters {
		boot.WriteString(f.Platform.PCRs[r] + "\n")
	}
	e.Last.Key, e.Last.Boot = f.Platform.Key, attest.Digest([]byte(boot.String()))
	e.Quoted++
	switch {
	case len(e.Keys) > 0 && !slices.Contains(e.Keys, e.Last.Key):
		return fmt.Sprintf("the owner's quote is by the key %s, which is not expected", e.Last.Key)
	case len(e.Boots) > 0 && !slices.Contains(e.Boots, e.Last.Boot):
		return fmt.Sprintf("the owner's machine had booted %s, which is not expected", e.Last.Boot)
	}
	return ""
}

func before(size string, index uint64) bool {
	n, err := strconv.ParseUint(size, 10, 64)
	return err == nil && n <= index
}

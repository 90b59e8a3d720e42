// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
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
	Quote      *tpm.Evidence `json:"quote"` // of the owner's TPM over the three, where there is one
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
	out := Self{Executable: "sha256:" + exe, Settings: s.Config.digest(), Bundle: s.Policy.Active().Bundle()}
	if chip := s.Config.Attest.TPM; chip != "" {
		if out.Quote, err = s.selfQuote(chip, &out); err != nil {
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

// selfQuote lets the owner's TPM sign what it measured and the head of the log.
func (s *Sallyport) selfQuote(path string, self *Self) (*tpm.Evidence, error) {
	c, err := tpm.OpenChip(path, "sallyport owner")
	if err != nil {
		return nil, err
	}
	bound := sha256.Sum256([]byte(strings.Join([]string{"sallyport self 1", self.Executable, self.Settings, self.Bundle.Digest, s.head()}, "\x00")))
	q, err := c.Quote(bound[:], nil, []int{0, 1, 2, 3, 4, 5, 6, 7})
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

	Seen int // records that were looked at
}

// Inspect reports what does not hold, or "".
func (e *SelfExpected) Inspect(_ uint64, l *ledger.Leaf, part action.PartName, _ []byte) string {
	if l.Kind != action.KindAttestation || part != "" || !slices.Contains(l.Codes, CodeSelf) {
		return ""
	}
	e.Seen++
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

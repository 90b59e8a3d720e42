// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/store"
)

// trustPolicy makes cfg refuse unsigned bundles if policy.trust is set.
func (s *Sallyport) trustPolicy(cfg *policy.Config) error {
	file := s.Config.Policy.Trust
	if file == "" {
		return nil
	}
	switch {
	case cfg.Dir == "":
		return errors.New("policy.trust: wants policy.dir, the folder of a signed bundle")
	case cfg.Params != nil:
		return errors.New("policy.trust: policy.params would replace a signed file; put params.yaml into the bundle and sign it")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("policy.trust: %w", err)
	}
	cfg.Now = s.Ledger.Now
	if cfg.Trust, err = bundle.ReadTrust(file, data); err != nil {
		return fmt.Errorf("policy.trust: %w", err)
	}
	return nil
}

// markKey is where the newest bundle of a name stands in the store. The log's records say it as well;
// the higher of both holds, so neither alone can be set back.
func markKey(name string) string { return "default/policy/mark/" + name }

type policyMark struct {
	Sequence int64  `json:"sequence"`
	Digest   string `json:"digest"`
}

// refuseRollback refuses a trusted bundle that is older than one that was in force, or of the same
// sequence and another content.
func (s *Sallyport) refuseRollback(ctx context.Context) error {
	if s.Config.Policy.Trust == "" {
		return nil
	}
	b := s.Policy.Active().Bundle()
	mark, _, err := s.storedMark(ctx, b.Name)
	if err != nil {
		return err
	}
	err = s.past(ctx, func(r *action.Record) error {
		if r.Kind == action.KindPolicy && r.Bundle.Name == b.Name && r.Bundle.Sequence >= mark.Sequence {
			mark = policyMark{r.Bundle.Sequence, r.Bundle.Digest}
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("policy.trust: %w", err)
	case b.Sequence < mark.Sequence:
		return fmt.Errorf("policy.trust: bundle %q: sequence %d after %d: %w", b.Name, b.Sequence, mark.Sequence, policy.ErrRollback)
	case b.Sequence == mark.Sequence && b.Digest != mark.Digest:
		return fmt.Errorf("policy.trust: bundle %q: sequence %d was in force with other content (%s); raise the sequence and sign again",
			b.Name, b.Sequence, mark.Digest)
	}
	return nil
}

func (s *Sallyport) storedMark(ctx context.Context, name string) (m policyMark, revision uint64, err error) {
	e, err := s.Store.Get(ctx, markKey(name))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return m, 0, nil
	case err == nil:
		err = action.Read(e.Value, &m, action.Limits{})
	}
	if err != nil {
		return m, 0, fmt.Errorf("policy.trust: the newest sequence of %q: %w", name, err)
	}
	return m, e.Revision, nil
}

// raiseMark notes the bundle in force. Its record stands in the log by then.
func (s *Sallyport) raiseMark(ctx context.Context) error {
	if s.Config.Policy.Trust == "" {
		return nil
	}
	b := s.Policy.Active().Bundle()
	_, revision, err := s.storedMark(ctx, b.Name)
	if err != nil {
		return err
	}
	value, err := action.Canonical(policyMark{b.Sequence, b.Digest})
	if err != nil {
		return err
	}
	_, err = s.Store.Put(ctx, markKey(b.Name), value, revision)
	return err
}

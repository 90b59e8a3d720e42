// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/source"
)

// defaultPoll is how often a source is asked that does not wait for news itself.
const defaultPoll = 30 * time.Second

// policySource opens policy.source; nil without one.
func (s *Sallyport) policySource() (*source.Source, error) {
	c := &s.Config.Policy
	if c.Source == "" {
		return nil, nil
	}
	token := ""
	if c.SourceToken != "" {
		b, err := os.ReadFile(c.SourceToken)
		if err != nil {
			return nil, fmt.Errorf("policy.source_token: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	return source.New(source.Config{Source: c.Source, Token: token})
}

// followPolicy looks once at policy.dir, then follows policy.source until ctx ends. What is newer and passes is put in
// force; what is refused is recorded once. A source that cannot be reached changes nothing: the bundle in force
// decides until its end, and from then on the kernel denies.
func (s *Sallyport) followPolicy(ctx context.Context) error {
	if s.bundles.root == nil {
		<-ctx.Done()
		return nil
	}
	seen := ""
	if dir := s.Config.Policy.Dir; dir != "" {
		b, err := bundle.Open(dir, nil)
		s.adopt(ctx, b, "policy.dir", err, &seen)
	}
	src := s.bundles.source
	if src == nil {
		<-ctx.Done()
		return nil
	}
	poll := s.Config.Policy.Poll
	if poll <= 0 {
		poll = defaultPoll
	}
	for ctx.Err() == nil {
		f, err := src.Fetch(ctx)
		if err != nil || f.Bundle != nil {
			s.adopt(ctx, f.Bundle, f.From, err, &seen)
		}
		wait := poll
		if err == nil && src.Polls() {
			wait = time.Second // the server itself waits
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// wasInForce reports whether a bundle was in force before the one that is.
func (s *Sallyport) wasInForce(st bundle.Statement) bool {
	_, err := os.Lstat(filepath.Join(s.bundles.folder, st.Digest))
	return err == nil && st.Sequence < s.Policy.Active().Bundle().Sequence
}

// adopt puts a bundle of a source in force unless it is, or was, in force. seen is what was handled last.
func (s *Sallyport) adopt(ctx context.Context, b *bundle.Bundle, from string, err error, seen *string) {
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, bundle.ErrRefused) && *seen != err.Error() {
			*seen = err.Error()
			_ = s.recordRefusal(ctx, policy.Findings{}, from, "policy", err) // the ledger says itself that it is broken
		}
		return
	}
	st, err := policy.Statement(b)
	if err != nil || st.Digest == s.Policy.Active().Bundle().Digest || s.wasInForce(st) {
		return // a source may lag behind what somebody activated
	}
	if now := st.Digest + bundle.Sum(b.Signed()); now != *seen {
		*seen = now
		if _, err := s.ActivatePolicy(ctx, b, from, "policy", false); err != nil && !errors.As(err, new(*Refused)) {
			*seen = "" // not its fault: tried again
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// CredentialPrefix begins the credential id of a caller that acts under a lease.
const CredentialPrefix = "lease:"

var _ enforce.Informer = (*Book)(nil)

// Inform states what is proved about the runtime of the subject, by the lease that its credential names. A
// lease that has lapsed or ended proves nothing, but still says what it had found. It answers from memory.
func (b *Book) Inform(_ context.Context, q *action.Query) (action.Part, error) {
	s := &q.Subject
	p := action.UnknownAttestation()
	p.State = action.StateKnown
	_, needed := b.c.Profile(s.Tenant, s.ID)
	p.Needed = action.TriOf(needed || b.c.Needed != nil && b.c.Needed(s.Tenant, s.ID))
	id, ok := strings.CutPrefix(b.c.Under(s), CredentialPrefix)
	if !ok {
		return p, nil
	}
	now := b.c.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[id]
	if !ok || l.Tenant != s.Tenant || l.Agent != s.ID {
		return p, nil
	}
	p.Kind, p.Evidence, p.Weights = l.Kind, l.Evidence, l.Weights
	p.Executable, p.Config, p.Hardware = worse(Tier(l.Vector.Executables), Tier(l.Vector.FileSystem)), Tier(l.Vector.Configuration), Tier(l.Vector.Hardware)
	if l.Debug != "" {
		p.Debug = l.Debug
	}
	if l.TCB != "" {
		p.TCB, p.Advisory = l.TCB, l.Advisory
	}
	if !l.live(now) {
		return p, nil
	}
	p.Assurance, p.Model = l.Assurance, l.Model
	p.AgeS = max(int64(now.Sub(l.Renewed)/time.Second), 0)
	p.LeaseS = int64(l.Ends.Sub(now) / time.Second)
	return p, nil
}

// worse is the worse of what runs and of the files that it loads.
func worse(runs, loads string) string {
	if loads == Contraindicated || loads == Warning && runs == Affirming {
		return loads
	}
	return runs
}

// Known returns a lease that holds or ended within the last minutes. Its holder is told apart from a stranger:
// what he does is denied for the reason that his lease ended.
func (b *Book) Known(id string) (Lease, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.leases[id]
	if !ok {
		return Lease{}, false
	}
	return *l, true
}

// Held reports whether the credential of a lease still holds, for the kernel's last look before something is
// executed.
func (b *Book) Held(credential string) bool {
	id, ok := strings.CutPrefix(credential, CredentialPrefix)
	if !ok {
		return false
	}
	_, err := b.Lease(id)
	return err == nil
}

// Base returns the id of the credential that a lease was asked for with.
func (b *Book) Base(credential string) (*action.Subject, bool) {
	l, err := b.Lease(strings.TrimPrefix(credential, CredentialPrefix))
	if err != nil {
		return nil, false
	}
	return &l.Subject, true
}

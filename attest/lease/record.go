// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// The codes of records, all of kind attestation. The record's subject is the lease, or the enrolled key.
const (
	CodeGranted   = "attest.granted"
	CodeRenewed   = "attest.renewed"
	CodeRefused   = "attest.refused"
	CodeEnded     = "attest.ended"     // by a person
	CodeAnomaly   = "attest.anomaly"   // by the monitor
	CodePlatform  = "attest.platform"  // the platform's state got worse
	CodeChanged   = "attest.changed"   // what was measured has changed
	CodeEnrolled  = "attest.enrolled"  // a key of a chip
	CodeWithdrawn = "attest.withdrawn" // a key of a chip
)

func (b *Book) blank(tenant, agent, code string) *action.Record {
	return &action.Record{Kind: action.KindAttestation, Tenant: tenant, TimeMs: b.c.Now().UnixMilli(), Agent: agent, Door: action.DoorUnknown,
		Effect: action.EffectUnknown, Phase: action.PhaseUnknown, Status: action.StatusNone, Channel: action.RankUnknown,
		Grade: action.GradeUnknown, Separation: action.SeparationUnknown, Observed: action.TriUnknown, Durability: action.DurabilityLocal,
		Codes: []string{code}}
}

func (b *Book) note(ctx context.Context, r *action.Record, detail any) error {
	data, err := action.Canonical(detail)
	if err != nil {
		return err
	}
	r.Parts = []action.PayloadPart{{Name: action.PartDetail, Owner: r.Agent, Data: data}}
	if _, err := b.c.Record(ctx, r); err != nil {
		return fmt.Errorf("lease: record %s: %w", r.Codes[0], err)
	}
	return nil
}

// record writes an appraisal down: levels and status in the leaf, evidence and reasons sealed.
func (b *Book) record(ctx context.Context, l *Lease, code string, a *Appraisal) error {
	r := b.blank(l.Tenant, l.Agent, code)
	r.Codes = append(r.Codes, "ear."+a.Result.Status())
	r.Subject, r.User, r.Assurance, r.Model, r.Bundle = l.ID, l.Subject.User.ID, l.Assurance, l.Model, b.c.Bundle()
	r.Binding = b.c.Fingerprint("evidence", []byte(attest.Digest(a.Evidence)), []byte(a.Bind))
	r.Door = l.Subject.Channel.Door
	if code == CodeRefused || code == CodePlatform && l.Ended != "" {
		r.Status, r.Assurance, r.Model = action.StatusRefused, 0, 0
	}
	return b.note(ctx, r, a)
}

type end struct {
	Lease Lease  `json:"lease"`
	Why   string `json:"why"`
}

func (b *Book) recordEnd(ctx context.Context, l *Lease, code, by, why string) error {
	r := b.blank(l.Tenant, l.Agent, code)
	r.Subject, r.Actor = l.ID, by
	return b.note(ctx, r, end{*l, action.Clip(why, 256)})
}

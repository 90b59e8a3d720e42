// SPDX-License-Identifier: Apache-2.0

// Package detect looks for secrets, personal data, hidden text and instructions to a model in what an
// agent sends and in what comes back. It states findings; what follows from them is policy.
//
// # What it is worth
//
// Secrets are found by the forms that issuers give them, by check digits, and by what a name says of its
// value. One that has no form and no name is not found. The search for instructions is a tripwire: it
// knows a few structures of English, and a careful author gets around it. Nothing should be allowed
// because it found nothing.
//
// Every scan is linear in its input, decodes at most a few times its size, and nests at most maxDepth.
package detect

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/detect/learn"
	"github.com/sallyport/sallyport/enforce"
)

// Config configures a Detector.
type Config struct {
	// Fingerprint is a keyed digest of parts under a label; required. It lets two finds of one secret be
	// recognised without telling which it is.
	Fingerprint func(label string, parts ...[]byte) string
	MaxFindings int // stated for one value; 0 means 64
	// Deaf leaves instructions in arguments and results unnoticed: their score is 0 then, as if none stood
	// there. Secrets, personal data and the descriptions of tools are looked at all the same.
	Deaf bool
	// Canaries says that Fingerprint's key lasts: then canaries are looked for. Without it, whether one is
	// there stays unknown.
	Canaries bool
	// Signatures of confirmed attacks (ReadSignatures); at most 4,096.
	Signatures []Signature
	Now        func() time.Time // decides which signatures have expired; nil means time.Now
}

// Detector is the Informer that states action.Detect. It keeps nothing of what it sees and is safe for concurrent
// use.
type Detector struct {
	print    func(label string, parts ...[]byte) string
	max      int
	deaf     bool
	model    *learn.Model               // nil if deaf
	signed   atomic.Pointer[signatures] // nil if deaf or if there are none
	now      func() time.Time
	canaries bool
	harmless [64]atomic.Pointer[[sha256.Size]byte] // digests of values without secrets, see clean
}

//go:embed model.bin
var embedded []byte

var _ enforce.Informer = (*Detector)(nil)

// New checks c and returns a Detector.
func New(c Config) (*Detector, error) {
	if c.Fingerprint == nil {
		return nil, errors.New("detect: config field Fingerprint is required")
	}
	if c.MaxFindings == 0 {
		c.MaxFindings = 64
	}
	d := &Detector{print: c.Fingerprint, max: c.MaxFindings, deaf: c.Deaf}
	m, err := learn.Load(embedded)
	if err != nil {
		return nil, err
	}
	if d.now = c.Now; d.now == nil {
		d.now = time.Now
	}
	d.canaries = c.Canaries
	if !d.deaf {
		d.model = m
	}
	return d, d.SetSignatures(c.Signatures)
}

// Inform states what stands in the arguments (before) or in the result (after). A result that gate two
// may not hold scores as the worst.
func (d *Detector) Inform(ctx context.Context, q *action.Query) (action.Part, error) {
	content, r := q.Action.Arguments, &q.Context.Result
	if q.Phase == action.After {
		content = r.Content
		if r.Truncated == action.Yes {
			p := action.UnknownDetect()
			p.State, p.Opaque, p.Truncated = action.StateKnown, action.Yes, action.Yes
			return p, nil
		}
	}
	p, err := d.look(ctx, content, q.Subject.Tenant)
	if q.Phase == action.After && r.Opaque == action.Yes {
		p.Opaque = action.Yes
	}
	return p, err
}

// look scans one JSON value of a tenant.
func (d *Detector) look(ctx context.Context, content []byte, tenant string) (action.Detect, error) {
	p := action.Detect{State: action.StateKnown, Canary: action.TriUnknown}
	s := scanner{secrets: true, personal: true, injection: !d.deaf, model: d.model, signed: d.signed.Load(), room: roomFor(len(content))}
	if s.signed != nil {
		s.now = d.now()
	}
	if d.canaries && tenant != "" {
		s.canary = canary{detector: d, tenant: tenant}
	}
	var ends pieces
	opaque, err := walk(content, func(sp spot) {
		if ctx.Err() != nil {
			return
		}
		if s.canary.detector != nil {
			ends.add(sp.pointer, sp.text)
		}
		for _, h := range s.text(sp.text, sp.name) {
			d.state(&p, &s, sp.pointer, h)
		}
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return action.UnknownDetect(), err
	}
	if pointer, found := ends.joined(&s.canary); found && p.Canary != action.Yes {
		d.state(&p, &s, pointer, hit{class: classCanary, kind: "a planted canary in two values", score: 1000})
	}
	if s.canary.detector != nil && p.Canary != action.Yes && !s.canary.short && !s.truncated {
		p.Canary = action.No
	}
	p.Injection = s.worst
	p.Opaque, p.Truncated = action.TriOf(opaque || s.opaque), action.TriOf(s.truncated)
	return p, nil
}

// maxStatedPersonal bounds the findings of personal data in one value: a list of contacts must not crowd
// out what matters.
const maxStatedPersonal = 16

// state puts h into p. What does not fit still counts in the scores.
func (d *Detector) state(p *action.Detect, s *scanner, pointer string, h hit) {
	f := action.Finding{Kind: "leak", Layer: h.layer, Reason: h.kind, Pointer: pointer, Start: h.start, End: h.end, Score: h.score}
	switch h.class {
	case classInjection:
		f.Kind = "injection"
	case classCanary:
		f.Kind, p.Canary, p.Leak = "canary", action.Yes, action.MaxMilli
	case classPII:
		f.Kind = "pii"
		if s.stated++; s.stated > maxStatedPersonal { // nothing hangs on which of many
			return
		}
	case classTrace:
		f.Kind = "trace"
		if s.stated++; s.stated > maxStatedPersonal {
			return
		}
	case classLeak:
		p.Leak = max(p.Leak, h.score)
	default:
		p.Leak = max(p.Leak, h.score)
		if len(p.Secrets) < d.max {
			p.Secrets = append(p.Secrets, d.secret(pointer, h))
		}
	}
	if len(p.Findings) >= d.max {
		s.truncated = true
		return
	}
	p.Findings = append(p.Findings, f)
}

func (d *Detector) secret(pointer string, h hit) action.Secret {
	return action.Secret{Kind: h.kind, Length: len(h.value), Print: d.print("detect.secret", []byte(h.value)), Pointer: pointer}
}

// poisonedAt is the score from which the description of a tool counts as poisoned. Descriptions do tell a
// model what to do; they have no reason to set rules aside, to conceal, or to hide text.
const poisonedAt = 500

// Poisoned reports whether the description of a tool carries instructions that do not belong there, those
// that bend the use of other tools included. It is unknown for a text that is too large to look through.
func (d *Detector) Poisoned(text string) action.Tri {
	s := scanner{injection: true, description: true, room: roomFor(len(text))}
	if len(text) > 1<<20 {
		return action.TriUnknown
	}
	s.text(text, "")
	switch {
	case s.worst >= poisonedAt:
		return action.Yes
	case s.truncated:
		return action.TriUnknown
	}
	return action.No
}

// marker stands in the place of a secret.
func marker(s action.Secret, print bool) string {
	if print {
		return fmt.Sprintf("[secret:%s:%d:%s]", s.Kind, s.Length, action.Clip(s.Print, 32))
	}
	return fmt.Sprintf("[secret:%s:%d]", s.Kind, s.Length)
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// MaxLeafBytes is the largest leaf: entry bundles of C2SP tlog-tiles hold 16 bit lengths.
const MaxLeafBytes = 65535

// formatLeaf is the format of the leaves that this version writes.
const formatLeaf = 1

// Leaf is one entry of the Merkle tree: an action.Record without payloads, with pseudonyms in place of
// identities, and with its place in its session's chain. Its bytes are RFC 8785 JSON in which members
// with the value zero are left out and every string is printable ASCII without quote and backslash, so
// one leaf has exactly one encoding. "_v" is the format and stands first.
type Leaf struct {
	Format     int               `json:"_v"`
	Kind       action.Kind       `json:"kind"`
	Tenant     string            `json:"tenant"`
	TimeMs     int64             `json:"time_ms"` // wall clock of the author
	LogMs      int64             `json:"log_ms"`  // Log.Now at the append; never falls within a session
	Action     string            `json:"action"`
	Round      int64             `json:"round"`
	Session    string            `json:"session"` // "": the log's own chain, of records that belong to no session
	Seq        int64             `json:"seq"`     // place in the session, from 1
	Prev       string            `json:"prev"`    // leaf hash of the session's previous leaf, base64url; "" for the first
	Agent      string            `json:"agent"`   // pseudonym
	User       string            `json:"user"`    // pseudonym
	Actor      string            `json:"actor"`   // pseudonym
	Door       action.Door       `json:"door"`
	Server     string            `json:"server"` // pseudonym
	Tool       string            `json:"tool"`   // pseudonym
	Effect     action.Effect     `json:"effect"`
	Phase      action.Phase      `json:"phase"`
	Verdict    action.Verdict    `json:"verdict"`
	Enforced   bool              `json:"enforced"`
	Status     action.Status     `json:"status"`
	Rules      []string          `json:"rules"`
	Codes      []string          `json:"codes"`
	Bundle     action.Bundle     `json:"bundle"`
	Engines    []action.Engine   `json:"engines"`
	Call       string            `json:"call"`
	Binding    string            `json:"binding"`
	Grant      string            `json:"grant"`
	Channel    action.Rank       `json:"channel"`
	Grade      action.Grade      `json:"grade"`
	Separation action.Separation `json:"separation"`
	Observed   action.Tri        `json:"observed"`
	Assurance  int64             `json:"assurance"`
	Model      int64             `json:"model"`
	Durability action.Durability `json:"durability"`
	Epoch      int64             `json:"epoch"`
	Subject    string            `json:"subject"`
	Count      int64             `json:"count"`
	Parts      []PartRef         `json:"parts"`
}

// PartRef is what a leaf says about a sealed part.
type PartRef struct {
	Name   action.PartName `json:"name"`
	Kid    string          `json:"kid"`    // of the key that it is sealed with
	Commit string          `json:"commit"` // HMAC-SHA256(salt, part), base64url; the salt is sealed with the part
	Sealed string          `json:"sealed"` // SHA-256 of the payload frame's body, base64url
}

// walk visits the members in the order of RFC 8785. Encoding and decoding share it, so they cannot differ.
func (l *Leaf) walk(c *codec) {
	c.open()
	format := int64(l.Format)
	number(c, `"_v":`, &format)
	l.Format = int(format)
	if c.dec && c.err == nil && l.Format != formatLeaf {
		c.err = fmt.Errorf("%w: leaf format %d", ErrFormat, l.Format)
		return
	}
	text(c, `"action":`, &l.Action)
	text(c, `"actor":`, &l.Actor)
	text(c, `"agent":`, &l.Agent)
	number(c, `"assurance":`, &l.Assurance)
	text(c, `"binding":`, &l.Binding)
	if c.key(`"bundle":`, l.Bundle == action.Bundle{}) {
		c.open()
		text(c, `"digest":`, &l.Bundle.Digest)
		number(c, `"expires_ms":`, &l.Bundle.Expires)
		text(c, `"name":`, &l.Bundle.Name)
		number(c, `"sequence":`, &l.Bundle.Sequence)
		c.shut(l.Bundle == action.Bundle{})
	}
	l.walkFrom(c)
}

// walkFrom visits the members from "call" on.
func (l *Leaf) walkFrom(c *codec) {
	text(c, `"call":`, &l.Call)
	text(c, `"channel":`, &l.Channel)
	texts(c, `"codes":`, &l.Codes)
	number(c, `"count":`, &l.Count)
	text(c, `"door":`, &l.Door)
	text(c, `"durability":`, &l.Durability)
	text(c, `"effect":`, &l.Effect)
	boolean(c, `"enforced":`, &l.Enforced)
	list(c, `"engines":`, &l.Engines, func(e *action.Engine) {
		text(c, `"name":`, &e.Name)
		text(c, `"version":`, &e.Version)
	})
	number(c, `"epoch":`, &l.Epoch)
	text(c, `"grade":`, &l.Grade)
	text(c, `"grant":`, &l.Grant)
	text(c, `"kind":`, &l.Kind)
	number(c, `"log_ms":`, &l.LogMs)
	number(c, `"model":`, &l.Model)
	text(c, `"observed":`, &l.Observed)
	list(c, `"parts":`, &l.Parts, func(p *PartRef) {
		text(c, `"commit":`, &p.Commit)
		text(c, `"kid":`, &p.Kid)
		text(c, `"name":`, &p.Name)
		text(c, `"sealed":`, &p.Sealed)
	})
	text(c, `"phase":`, &l.Phase)
	text(c, `"prev":`, &l.Prev)
	number(c, `"round":`, &l.Round)
	texts(c, `"rules":`, &l.Rules)
	text(c, `"separation":`, &l.Separation)
	number(c, `"seq":`, &l.Seq)
	text(c, `"server":`, &l.Server)
	text(c, `"session":`, &l.Session)
	text(c, `"status":`, &l.Status)
	text(c, `"subject":`, &l.Subject)
	text(c, `"tenant":`, &l.Tenant)
	number(c, `"time_ms":`, &l.TimeMs)
	text(c, `"tool":`, &l.Tool)
	text(c, `"user":`, &l.User)
	text(c, `"verdict":`, &l.Verdict)
	c.shut(false)
}

// Encode returns the leaf's bytes. It errs on a string that a leaf may not hold, a number beyond
// ±(2^53-1), and a leaf above MaxLeafBytes.
func (l *Leaf) Encode() ([]byte, error) { return l.appendTo(make([]byte, 0, 768)) }

func (l *Leaf) appendTo(dst []byte) ([]byte, error) {
	c := codec{buf: dst}
	l.walk(&c)
	if c.err != nil {
		return nil, fmt.Errorf("ledger: leaf: %w", c.err)
	}
	if len(c.buf)-len(dst) > MaxLeafBytes {
		return nil, fmt.Errorf("ledger: leaf of %d bytes is larger than %d", len(c.buf)-len(dst), MaxLeafBytes)
	}
	return c.buf, nil
}

// DecodeLeaf is the inverse of Encode. It accepts only what Encode produces, and returns ErrFormat for
// a format that this version does not know.
func DecodeLeaf(b []byte) (*Leaf, error) {
	l := &Leaf{}
	if err := l.decode(b); err != nil {
		return nil, err
	}
	return l, nil
}

// decode is DecodeLeaf into l, which is zero.
func (l *Leaf) decode(b []byte) error {
	if len(b) > MaxLeafBytes {
		return fmt.Errorf("ledger: leaf of %d bytes is larger than %d", len(b), MaxLeafBytes)
	}
	c := codec{in: string(b), dec: true}
	l.walk(&c)
	if c.err == nil && c.at != len(b) {
		c.fail("bytes after the leaf")
	}
	if c.err == nil && !l.Kind.Known() {
		c.fail("unknown kind")
	}
	if c.err != nil {
		return fmt.Errorf("ledger: leaf: %w", c.err)
	}
	return nil
}

// part returns the reference to the named part, or nil.
func (l *Leaf) part(name action.PartName) *PartRef {
	if i := slices.IndexFunc(l.Parts, func(p PartRef) bool { return p.Name == name }); i >= 0 {
		return &l.Parts[i]
	}
	return nil
}

// words refuses a leaf with a word that is not on its list: what the author of a record got wrong must
// not enter a log that no later version can then explain.
func (l *Leaf) words() error {
	err := word("kind", l.Kind, kinds)
	err = cmp.Or(err, word("door", l.Door, doors), word("effect", l.Effect, effects), word("phase", l.Phase, phases))
	err = cmp.Or(err, word("verdict", l.Verdict, verdicts), word("status", l.Status, statuses), word("channel", l.Channel, ranks))
	err = cmp.Or(err, word("grade", l.Grade, grades), word("separation", l.Separation, separations))
	err = cmp.Or(err, word("observed", l.Observed, tris), word("durability", l.Durability, durabilities))
	if err == nil && l.Kind == "" {
		err = errors.New("ledger: leaf: a record needs a kind")
	}
	if err != nil {
		return err
	}
	ids := [...]string{l.Action, l.Session, l.Call, l.Binding, l.Grant, l.Subject, l.Bundle.Name, l.Bundle.Digest}
	for _, list := range [...][]string{ids[:], l.Rules, l.Codes} {
		for _, id := range list {
			if !identifier(id) {
				return fmt.Errorf("ledger: leaf: %q is not an identifier", action.Clip(id, 32))
			}
		}
	}
	return nil
}

func word[T ~string](name string, value T, known map[string]bool) error {
	if value == "" || known[string(value)] {
		return nil
	}
	return fmt.Errorf("ledger: leaf: %s %q is not on its list", name, action.Clip(string(value), 32))
}

// identifier reports whether s is short and holds no space: nothing that anybody could write prose in.
func identifier(s string) bool {
	return len(s) <= maxIdentifier && plainLength(s) == len(s) && strings.IndexByte(s, ' ') < 0
}

const maxIdentifier = 256

var (
	kinds        = set(action.Kind("").Values())
	doors        = set(action.Door("").Values())
	effects      = set(action.Effect("").Values())
	phases       = set(action.Phase("").Values())
	verdicts     = set(action.Verdict("").Values())
	statuses     = set(action.Status("").Values())
	ranks        = set(action.Rank("").Values())
	grades       = set(action.Grade("").Values())
	separations  = set(action.Separation("").Values())
	tris         = set(action.Tri("").Values())
	durabilities = set(action.Durability("").Values())
	partNames    = set(action.PartName("").Values())
)

func set(values []string) map[string]bool {
	m := make(map[string]bool, len(values))
	for _, v := range values {
		m[v] = true
	}
	return m
}

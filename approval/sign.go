// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// ErrEdit refuses arguments that cannot be approved in place of those shown.
var ErrEdit = errors.New("approval: these arguments cannot be approved")

// ErrEvidence refuses a signature that does not hold for this answer.
var ErrEvidence = errors.New("approval: the signature does not hold for this answer")

// maxEditBytes bounds edited arguments; what is larger cannot be judged by eye either.
const maxEditBytes = 64 << 10

// Challenge returns what a person signs to give one answer to one request: SHA-256 over the digest of
// exactly what was shown, the verb (approve, deny, revoke), the comment, and a digest of the arguments that
// are approved in place of those shown, if there are. The request's own random nonce makes it new. With among, see
// Actor.Among, it is over the digests of all.
func (d *Desk) Challenge(ctx context.Context, id, verb, comment string, edit []byte, among ...string) ([]byte, View, error) {
	v, err := d.Show(ctx, id)
	if err != nil {
		return nil, v, err
	}
	if len(among) > 0 {
		if len(edit) > 0 {
			return nil, v, fmt.Errorf("%w: other arguments are approved for one request at a time", ErrEdit)
		}
		ids, digests, err := d.members(id, among)
		if err != nil {
			return nil, v, err
		}
		if len(ids) > 1 {
			c, err := ToSignAll(digests, verb, said(comment))
			return c, v, err
		}
	}
	edited := ""
	if len(edit) > 0 {
		e, err := editable(edit)
		if err != nil {
			return nil, v, err
		}
		d.mu.Lock()
		if a := d.asks[id]; a != nil {
			edited = a.salted([]byte(e))
		} else if s := d.seeds[id]; s != nil {
			edited = s.row.salted([]byte(e))
		}
		d.mu.Unlock()
	}
	c, err := ToSign(id, v.Digest, verb, said(comment), edited)
	return c, v, err
}

// ToSign is the challenge of one answer. comment and edited are as they stand in the record.
func ToSign(id, digest, verb, comment, edited string) ([]byte, error) {
	b, err := action.Canonical(struct {
		Format  string `json:"format"`
		ID      string `json:"id"`
		Digest  string `json:"digest"`
		Verb    string `json:"verb"`
		Comment string `json:"comment"`
		Edited  string `json:"edited"`
	}{"approval.sign.v1", id, digest, verb, comment, edited})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// verbs are the answers that each code of a record stands for.
var verbs = map[string]string{CodeApproved: "approve", codeMore: "approve", codeWeak: "approve", codeDenied: "deny", codeRevoked: "revoke"}

// Answered reports whether records with code hold an answer.
func Answered(code string) bool { return verbs[code] != "" }

// Signed reads the answer out of the detail of an approval record with code and binding, and returns what
// was signed for it. The evidence is "" if nothing was.
func Signed(id, code, binding string, detail []byte) (g Given, challenge []byte, err error) {
	if verbs[code] == "" {
		return g, nil, fmt.Errorf("approval: code %q is no answer", action.Clip(code, 64))
	}
	if err := action.Read(detail, &g, action.Limits{}); err != nil {
		return g, nil, fmt.Errorf("approval: answer: %w", err)
	}
	switch {
	case len(g.Among) == 0:
		challenge, err = ToSign(id, binding, verbs[code], g.Comment, g.Edited)
	case !slices.Contains(g.Among, binding) || !slices.IsSorted(g.Among) || len(g.Among) > maxEqual || g.Edited != "":
		return g, nil, errors.New("approval: the answer to several requests is not one to this request")
	default:
		challenge, err = ToSignAll(g.Among, verbs[code], g.Comment)
	}
	return g, challenge, err
}

// Terms reads what a grant holds for out of the opening's record, whose shown part is given apart, and
// returns its digest: the binding of each record about the request.
func Terms(detail, shown []byte) (string, error) {
	var t terms
	if err := action.Read(detail, &t, action.Limits{}); err != nil {
		return "", fmt.Errorf("approval: terms: %w", err)
	}
	t.Shown = &Shown{}
	if err := action.Read(shown, t.Shown, action.Limits{}); err != nil {
		return "", fmt.Errorf("approval: shown: %w", err)
	}
	return digest(t)
}

// Suffices reports whether answers are what the rules of the request demanded of those who approve: their number,
// channels, groups and sign-ins. detail is the opening's, see Terms. What it cannot read does not suffice.
func Suffices(detail []byte, answers []Given) bool {
	var t terms
	if action.Read(detail, &t, action.Limits{}) != nil {
		return false
	}
	_, ok := enough(t.Needs, answers, t.OpenedMs)
	return ok
}

// prove raises who to what his signature proves. A channel that only a signature proves is worth no more
// than a login without one; a signature that does not hold is no answer at all.
func (d *Desk) prove(ctx context.Context, a *row, who Actor, verb, comment string) (Actor, error) {
	if who.among != nil {
		return who, nil // checked for all together
	}
	edited := ""
	if who.edit != "" {
		edited = a.salted([]byte(who.edit))
	}
	c, err := ToSign(a.ID, a.Digest, verb, comment, edited)
	if err != nil {
		return who, err
	}
	return d.proved(ctx, who, c)
}

// proved is prove for the challenge c.
func (d *Desk) proved(ctx context.Context, who Actor, c []byte) (Actor, error) {
	if who.Evidence == "" {
		if who.Channel == action.RankPasskey {
			who.Channel = action.RankOperator
		}
		return who, nil
	}
	if d.cfg.Prove == nil || len(who.Evidence) > maxEvidenceBytes {
		return who, fmt.Errorf("%w: nobody here can check it", ErrEvidence)
	}
	rank, err := d.cfg.Prove(ctx, who.ID, c, who.Evidence)
	if err != nil {
		return who, fmt.Errorf("%w: %w", ErrEvidence, err)
	}
	if rank.AtLeast(who.Channel) {
		who.Channel = rank
	}
	return who, nil
}

// maxEvidenceBytes bounds one signature with what belongs to it.
const maxEvidenceBytes = 16 << 10

// editable returns arguments in the compact form in which they will be executed.
func editable(data []byte) (string, error) {
	if len(data) > maxEditBytes {
		return "", fmt.Errorf("%w: %d bytes are more than %d", ErrEdit, len(data), maxEditBytes)
	}
	if err := action.Check(data, action.Limits{}); err != nil {
		return "", fmt.Errorf("%w: %w", ErrEdit, err)
	}
	v := jsontext.Value(append([]byte(nil), data...))
	if v.Kind() != '{' {
		return "", fmt.Errorf("%w: not a JSON object", ErrEdit)
	}
	if err := v.Compact(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrEdit, err)
	}
	return string(v), nil
}

// salted is a digest of text that tells nothing about it to those who do not know what was shown. An ask
// that has ended has let go of its nonce.
func (r *row) salted(text []byte) string {
	h := sha256.New()
	if r.Shown != nil {
		h.Write([]byte(r.Shown.Nonce + "\x00"))
	}
	h.Write(text)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

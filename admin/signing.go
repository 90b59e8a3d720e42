// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
)

// tosign is what a person is to sign, for a browser's navigator.credentials.get and for a command line.
type tosign struct {
	ID        string   `json:"id"`        // to be named in the answer; "" where the answer names the request
	Challenge string   `json:"challenge"` // base64url; an SSH key signs its 32 bytes in Namespace
	Revision  uint64   `json:"revision"`  // of the request
	Digest    string   `json:"digest"`    // of what was shown
	RPID      string   `json:"rp_id"`
	Passkeys  []string `json:"passkeys"` // credential ids of the caller's own
	SSH       []string `json:"ssh"`      // ids of the caller's own SSH keys
	Namespace string   `json:"namespace"`
	Person    string   `json:"person"`
}

func (d *desk) tosign(person string, challenge []byte) tosign {
	t := tosign{Challenge: base64.RawURLEncoding.EncodeToString(challenge), Passkeys: []string{}, SSH: []string{},
		Namespace: factor.Namespace, Person: person}
	if d.cfg.Signers == nil {
		return t
	}
	t.RPID = d.cfg.Signers.RPID()
	for _, s := range d.cfg.Signers.Of(person) {
		if s.Key.Kind == factor.Passkey {
			t.Passkeys = append(t.Passkeys, s.Key.Credential)
		} else {
			t.SSH = append(t.SSH, s.ID)
		}
	}
	return t
}

// challenge says what the caller has to sign for one answer to one request.
func (d *desk) challenge(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		Verb string `json:"verb"`
		reply
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	if !slices.Contains([]string{"approve", "deny", "revoke"}, body.Verb) {
		return gateway.Refuse(gateway.CodeInvalid, "verb is not one of approve, deny, revoke")
	}
	b, v, err := d.cfg.Approvals.Challenge(r.Context(), r.PathValue("id"), body.Verb, body.Comment, body.Arguments, body.Among...)
	if err != nil {
		return translate(err)
	}
	t := d.tosign(d.cfg.Actor(c).ID, b)
	t.Revision, t.Digest = v.Revision, v.Digest
	return gateway.WriteJSON(w, http.StatusOK, t)
}

// evidence is the canonical form of the signature in body, "" if it holds none. The desk verifies it.
func (d *desk) evidence(ctx context.Context, who *approval.Actor, id, verb string, body *reply) (string, error) {
	if body.Passkey == nil && body.SSH == nil {
		return "", nil
	}
	challenge, _, err := d.cfg.Approvals.Challenge(ctx, id, verb, body.Comment, body.Arguments, body.Among...)
	if err != nil {
		return "", err
	}
	e, err := d.signature(who.ID, challenge, body.Passkey, body.SSH)
	if err != nil {
		return "", err
	}
	b, err := action.Canonical(e)
	return string(b), err
}

// signature is the evidence in one of two forms. It is not verified yet.
func (d *desk) signature(person string, challenge []byte, passkey *factor.Assertion, ssh *factor.Evidence) (*factor.Evidence, error) {
	if d.cfg.Signers == nil || (passkey == nil) == (ssh == nil) {
		return nil, fmt.Errorf("%w: one signature is wanted, of a passkey or an SSH key", factor.ErrForged)
	}
	if ssh != nil {
		return ssh, nil
	}
	for _, s := range d.cfg.Signers.Of(person) {
		if s.Key.Kind == factor.Passkey && s.Key.Credential == passkey.ID {
			e, err := passkey.Evidence(&s.Key, challenge)
			return &e, err
		}
	}
	return nil, fmt.Errorf("%w: the passkey is not registered for %q", factor.ErrForged, action.Clip(person, 64))
}

// second verifies a second factor of the caller for purpose: the signature of an open challenge. It is nil
// where the body held none.
func (d *desk) second(ctx context.Context, person, purpose, id string, passkey *factor.Assertion, ssh *factor.Evidence) (*identity.Signed, error) {
	if id == "" && passkey == nil && ssh == nil {
		return nil, nil
	}
	if d.cfg.Signers == nil {
		return nil, identity.ErrChallenge
	}
	ch, err := d.cfg.Signers.Take(id, person, purpose)
	if err != nil {
		return nil, err
	}
	e, err := d.signature(person, ch.Bytes(), passkey, ssh)
	if err != nil {
		return nil, err
	}
	s, err := d.cfg.Signers.Check(ctx, person, ch.Bytes(), e)
	if err != nil {
		return nil, err
	}
	return &identity.Signed{Challenge: ch, Evidence: *e, Passkey: s.Key.Kind == factor.Passkey}, nil
}

func (d *desk) listSigners(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	_, p, err := params(r, c)
	if err != nil {
		return err
	}
	items := []identity.Signer{}
	if d.cfg.Signers != nil {
		items = d.cfg.Signers.List(p.After, p.Limit+1)
	}
	return page(w, items, p.Limit, func(s identity.Signer) string { return s.ID })
}

// addingKey is the purpose of a challenge that begins a registration.
const addingKey = "add a key"

func (d *desk) beginSigner(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := d.mayAdd(r, c); err != nil {
		return err
	}
	person := d.cfg.Actor(c).ID
	ch, err := d.cfg.Signers.Begin(person, addingKey)
	if err != nil {
		return translate(err)
	}
	t := d.tosign(person, ch.Bytes())
	t.ID = ch.ID
	return gateway.WriteJSON(w, http.StatusOK, struct {
		tosign
		Algorithms []int `json:"algorithms"`
	}{t, factor.Algorithms})
}

// mayAdd refuses those who are not logged in as a person: whoever holds a bearer token could otherwise
// make himself a passkey and count for more than the token.
func (d *desk) mayAdd(r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	who := d.cfg.Actor(c)
	switch {
	case d.cfg.Signers == nil:
		return gateway.Refuse(gateway.CodeNotFound, "no keys are kept here")
	case who.Agent != "" || !who.Channel.AtLeast(action.RankOperator):
		return gateway.Refuse(gateway.CodeSubject, "only a person who is logged in adds a key")
	}
	return nil
}

func (d *desk) addSigner(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := d.mayAdd(r, c); err != nil {
		return err
	}
	var body struct {
		Challenge string            `json:"challenge"` // id
		Name      string            `json:"name"`
		Passkey   *factor.Creation  `json:"passkey"`
		PublicKey string            `json:"public_key"` // of SSH
		Signature *factor.Evidence  `json:"signature"`  // by that key
		Vouch     *factor.Assertion `json:"vouch"`      // by an earlier passkey
		VouchSSH  *factor.Evidence  `json:"vouch_ssh"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	who := d.cfg.Actor(c)
	ch, err := d.cfg.Signers.Take(body.Challenge, who.ID, addingKey)
	if err != nil {
		return translate(err)
	}
	reg := identity.Registration{Person: who.ID, Name: body.Name, Channel: who.Channel}
	key, err := d.possessed(&ch, body.Passkey, body.PublicKey, body.Signature)
	if err == nil && (body.Vouch != nil || body.VouchSSH != nil) {
		reg.Vouch, err = d.signature(who.ID, ch.Bytes(), body.Vouch, body.VouchSSH)
	}
	if err != nil {
		return translate(err)
	}
	reg.Key = *key
	s, err := d.cfg.Signers.Register(r.Context(), &ch, reg)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusCreated, s)
}

// possessed returns the key that signed ch.
func (d *desk) possessed(ch *identity.Challenge, made *factor.Creation, public string, signature *factor.Evidence) (*factor.Key, error) {
	switch {
	case made != nil && public == "" && signature == nil:
		return made.Register(ch.Bytes(), d.cfg.Signers.RPID(), d.cfg.Signers.Origins())
	case made == nil && public != "" && signature != nil:
		k, err := factor.SSHKey(public)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", factor.ErrForged, err)
		}
		_, err = factor.Verify(k, ch.Bytes(), signature)
		return k, err
	}
	return nil, fmt.Errorf("%w: a passkey, or a public key with its signature, is wanted", factor.ErrForged)
}

// removeSigner withdraws a key: everybody his own, an admin anyone's.
func (d *desk) removeSigner(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if d.cfg.Signers == nil {
		return gateway.Refuse(gateway.CodeNotFound, "")
	}
	id, who := r.PathValue("id"), d.cfg.Actor(c)
	own := slices.ContainsFunc(d.cfg.Signers.Of(who.ID), func(s identity.Signer) bool { return s.ID == id })
	if who.Agent != "" || !c.Has(action.ScopeAdmin) && (!own || !who.Channel.AtLeast(action.RankOperator)) {
		return gateway.Refuse(gateway.CodeNotFound, "")
	}
	s, err := d.cfg.Signers.Remove(r.Context(), id, who.ID)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, s)
}

func (d *desk) listAbsences(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, list[approval.Absence]{Items: d.cfg.Approvals.Absences()})
}

func (d *desk) addAbsence(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		To      string   `json:"to"`
		Groups  []string `json:"groups"`
		FromMs  int64    `json:"from_ms"`
		UntilMs int64    `json:"until_ms"`
		Comment string   `json:"comment"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	a, err := d.cfg.Approvals.Away(r.Context(), d.cfg.Actor(c), approval.Absence{To: strings.TrimSpace(body.To), Groups: body.Groups,
		FromMs: body.FromMs, UntilMs: body.UntilMs, Comment: body.Comment})
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusCreated, a)
}

func (d *desk) endAbsence(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if err := d.cfg.Approvals.Back(r.Context(), d.cfg.Actor(c), r.PathValue("id")); err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ended"})
}

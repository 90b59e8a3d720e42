// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// subject returns the caller's subject, narrowed by what a body says of it.
func subject(c *gateway.Caller, b on) (*action.Subject, error) {
	s := c.Subject
	if s.ID == "" {
		return nil, gateway.Refuse(gateway.CodeSubject, "the credential belongs to no agent")
	}
	if b.Agent != "" && string(b.Agent) != s.ID {
		return nil, gateway.Refuse(gateway.CodeSubject, "member \"agent\" is not the credential's own agent")
	}
	switch user := string(b.OnBehalfOf); {
	case user == "" || user == s.User.ID:
	case s.User.ID != "":
		return nil, gateway.Refuse(gateway.CodeSubject, "member \"on_behalf_of\" is not the credential's own user")
	case !c.Has(action.ScopeHost):
		return nil, gateway.Refuse(gateway.CodeSubject, "member \"on_behalf_of\" needs the scope host")
	default:
		if err := checkName("on_behalf_of", b.OnBehalfOf, 256); err != nil {
			return nil, err
		}
		s.User = action.User{ID: user, Verified: action.No, AuthnAge: action.MaxNumber, Evidence: "asserted"}
	}
	return &s, nil
}

// maxRoots bounds the folders of one request.
const maxRoots = 64

// openSession mints a session of its own for every request: only this answer names it.
func (d *door) openSession(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var b sessionRequest
	if err := gateway.ReadJSON(w, r, &b, d.cfg.ContextBytes); err != nil {
		return err
	}
	s, err := subject(c, b.on)
	if err != nil {
		return err
	}
	if !c.Has(action.ScopeHost) && (b.UserRequest != "" || len(b.Roots) > 0 || b.Cwd != "") {
		return gateway.Refuse(gateway.CodeScope, "members \"user_request\", \"roots\" and \"cwd\" need the scope host")
	}
	o, err := options(b)
	if err != nil {
		return err
	}
	var name [16]byte
	if _, err := io.ReadFull(d.cfg.Random, name[:]); err != nil {
		return fmt.Errorf("api: session: %w", err)
	}
	id, err := d.cfg.Enforcer.Session(r.Context(), s, "api:"+hex.EncodeToString(name[:]), o)
	if err != nil {
		return err
	}
	if b.UserRequest != "" {
		said := enforce.Said{Kind: action.PartUserRequest, By: action.AssertedSDK, Text: []byte(b.UserRequest)}
		if err := d.cfg.Enforcer.Say(r.Context(), s, id, said); err != nil {
			return err
		}
	}
	return gateway.WriteJSON(w, http.StatusOK, sessionAnswer{ID: id})
}

func options(b sessionRequest) (enforce.SessionOptions, error) {
	o := enforce.SessionOptions{Cwd: string(b.Cwd)}
	if len(b.Roots) > maxRoots {
		return o, gateway.Refuse(gateway.CodeMalformed, "member \"roots\" holds more than %d folders", maxRoots)
	}
	for _, p := range b.Roots {
		o.Roots = append(o.Roots, string(p))
	}
	for _, p := range append(slices.Clone(o.Roots), o.Cwd) {
		if p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) != p || len(p) > 4096) {
			return o, gateway.Refuse(gateway.CodeMalformed, "members \"roots\" and \"cwd\" take clean absolute paths")
		}
	}
	if slices.Contains(o.Roots, "") {
		return o, gateway.Refuse(gateway.CodeMalformed, "member \"roots\" holds an empty path")
	}
	return o, nil
}

// labelled is how content with its labels reaches the session: one JSON object as action.PartDetail.
type labelled struct {
	Source  string        `json:"source"`
	Labels  action.Labels `json:"labels"`
	Content string        `json:"content"`
}

func (d *door) addContext(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	id := r.PathValue("id")
	if err := checkID(id); err != nil {
		return err
	}
	var b contextRequest
	if err := gateway.ReadJSON(w, r, &b, d.cfg.ContextBytes); err != nil {
		return err
	}
	s, err := subject(c, b.on)
	if err != nil {
		return err
	}
	said, err := b.said()
	if err != nil {
		return err
	}
	if err := d.cfg.Enforcer.Say(r.Context(), s, id, said); err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, sessionAnswer{ID: id})
}

func (b *contextRequest) said() (enforce.Said, error) {
	said := enforce.Said{By: action.AssertedSDK, Text: []byte(b.Text)}
	if b.Text == "" {
		return said, gateway.Refuse(gateway.CodeMalformed, "member \"text\" is required")
	}
	switch b.Kind {
	case "user_request":
		said.Kind = action.PartUserRequest
	case "reasoning":
		said.Kind = action.PartReasoning
	case "content":
		said.Kind = action.PartDetail
		return said, b.label(&said)
	default:
		return said, gateway.Refuse(gateway.CodeMalformed, "member \"kind\" must be user_request, reasoning or content")
	}
	if b.Source != "" || b.Untrusted != "" || b.Secrecy != "" || b.Subject != "" {
		return said, gateway.Refuse(gateway.CodeMalformed, "labels belong to kind content only")
	}
	return said, nil
}

func (b *contextRequest) label(said *enforce.Said) error {
	if err := checkName("source", b.Source, 1024); err != nil {
		return err
	}
	v := labelled{Source: string(b.Source), Labels: action.UnknownLabels(), Content: string(b.Text)}
	if b.Untrusted != "" {
		v.Labels.Untrusted = action.Tri(b.Untrusted)
	}
	if b.Secrecy != "" {
		v.Labels.Secrecy = action.Secrecy(b.Secrecy)
	}
	if b.Subject != "" {
		if err := checkName("subject", b.Subject, 256); err != nil {
			return err
		}
		v.Labels.Subjects = []string{string(b.Subject)}
	}
	if !slices.Contains(v.Labels.Untrusted.Values(), string(v.Labels.Untrusted)) {
		return gateway.Refuse(gateway.CodeMalformed, "member \"untrusted\" must be yes, no or unknown")
	}
	if !slices.Contains(v.Labels.Secrecy.Values(), string(v.Labels.Secrecy)) {
		return gateway.Refuse(gateway.CodeMalformed, "member \"secrecy\" must be a class of secrecy")
	}
	var err error
	said.Text, err = action.Canonical(v)
	return err
}

// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gateway"
)

// Opened is a login of somebody's browser, as an admin sees it. ID names it and opens nothing.
type Opened struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Credential string `json:"credential"` // id of what he logged in with, never a secret
	Roles      []Role `json:"roles"`
	Through    string `json:"through"` // the provider that signed him in; "" without one
	ACR        string `json:"acr"`
	BeganMs    int64  `json:"began_ms"`
	UsedMs     int64  `json:"used_ms"`
	UntilMs    int64  `json:"until_ms"`
	Own        bool   `json:"own"` // the login that asks
}

// loginID names the login that is kept under the hash of its cookie.
func loginID(kept [32]byte) string {
	sum := sha256.Sum256(append([]byte("sallyport login id 1\x00"), kept[:]...))
	return "lg_" + hex.EncodeToString(sum[:10])
}

// all lists the logins that hold, the latest used first. own is the cookie of the login that asks, "" for none.
func (s *Sessions) all(own string) []Opened {
	now, mine := s.cfg.Now(), sha256.Sum256([]byte(own))
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Opened{}
	for kept, h := range s.open {
		c := h.caller
		if !s.fresh(h, now) || !s.cfg.Live(&c) {
			continue
		}
		out = append(out, Opened{ID: loginID(kept), Name: nameOf(&c), Credential: c.Subject.Channel.CredID, Roles: RolesOf(&c), ACR: c.SignIn.ACR,
			BeganMs: h.began.UnixMilli(), UsedMs: h.used.UnixMilli(), UntilMs: h.until.UnixMilli(), Own: own != "" && kept == mine})
	}
	slices.SortFunc(out, func(a, b Opened) int { return cmp.Or(cmp.Compare(b.UsedMs, a.UsedMs), strings.Compare(a.ID, b.ID)) })
	return out
}

// close ends the login of that id once record has told of it, and reports whether there was one. record is called without any lock.
func (s *Sessions) close(ctx context.Context, id string, record func(ctx context.Context, c *gateway.Caller) error) (bool, error) {
	s.mu.Lock()
	var kept [32]byte
	var found *loginHolder
	for k, h := range s.open {
		if loginID(k) == id {
			kept, found = k, h
		}
	}
	var c gateway.Caller
	if found != nil {
		c = found.caller
	}
	s.mu.Unlock()
	if found == nil {
		return false, nil
	}
	if err := record(context.WithoutCancel(ctx), &c); err != nil {
		return true, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, kept)
	return true, nil
}

func (d *desk) listLogins(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	out := list[Opened]{Items: []Opened{}}
	if d.cfg.Sessions == nil {
		return gateway.WriteJSON(w, http.StatusOK, out)
	}
	cookie, _, _ := halves(r)
	out.Items = d.cfg.Sessions.all(cookie)
	for i, o := range out.Items {
		if d.cfg.SignIn != nil && strings.HasPrefix(o.Credential, d.cfg.SignIn.Credentials()) {
			out.Items[i].Through = d.cfg.SignIn.Name()
		}
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// endLogin logs somebody out. He may log in again, unless what he logged in with is withdrawn too.
func (d *desk) endLogin(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if d.cfg.Sessions == nil || d.cfg.LoginClosed == nil {
		return gateway.Refuse(gateway.CodeNotFound, "nobody logs in here")
	}
	ok, err := d.cfg.Sessions.close(r.Context(), r.PathValue("id"), func(ctx context.Context, of *gateway.Caller) error {
		return d.cfg.LoginClosed(ctx, c, of)
	})
	if err != nil {
		return err
	}
	if !ok {
		return gateway.Refuse(gateway.CodeNotFound, "no such login is open")
	}
	return gateway.WriteJSON(w, http.StatusOK, struct{}{})
}

// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
)

func (d *desk) listApprovals(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	q, p, err := params(r, c, "state", "agent", "session")
	if err != nil {
		return err
	}
	state := approval.State(q.Get("state"))
	if q.Has("state") && !slices.Contains([]approval.State{approval.Pending, approval.Granted, approval.Used, approval.Refused,
		approval.Revoked, approval.Expired}, state) {
		return gateway.Refuse(gateway.CodeMalformed, "state is not one of pending, granted, used, refused, revoked, expired")
	}
	views, err := d.cfg.Approvals.List(r.Context(), approval.Filter{State: state, Agent: q.Get("agent"),
		Session: q.Get("session"), After: p.After, Limit: p.Limit + 1})
	if err != nil {
		return translate(err)
	}
	return page(w, views, p.Limit, func(v approval.View) string { return v.ID })
}

func (d *desk) showApproval(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	v, err := d.cfg.Approvals.Show(r.Context(), r.PathValue("id"))
	if err != nil {
		return translate(err)
	}
	if c.Has(action.ScopeApprover) {
		d.cfg.Approvals.Seen(v.ID, d.cfg.Actor(c).ID)
	}
	etag(w, v.Revision)
	return gateway.WriteJSON(w, http.StatusOK, v)
}

// reply is an answer to an approval, with the person's signature over it if he gives one.
type reply struct {
	Comment   string            `json:"comment"`
	Arguments jsontext.Value    `json:"arguments"` // to approve in place of those shown
	Among     []string          `json:"among"`     // equal requests, as shown, that get the same answer
	Passkey   *factor.Assertion `json:"passkey"`
	SSH       *factor.Evidence  `json:"ssh"`
}

// answer serves an answer to an approval. 202 means that it was recorded and that more is needed.
func (d *desk) answer(verb string, do func(context.Context, string, approval.Actor, string) (approval.View, error)) gateway.Handler {
	return func(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
		if err := plain(r); err != nil {
			return err
		}
		rev, err := ifMatch(r)
		if err != nil {
			return err
		}
		var body reply
		if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
			return err
		}
		if verb == "revoke" && len(body.Among) > 0 {
			return gateway.Refuse(gateway.CodeInvalid, "one grant is revoked at a time")
		}
		if verb != "approve" && body.Arguments != nil {
			return gateway.Refuse(gateway.CodeInvalid, "arguments go with an approval only")
		}
		id := r.PathValue("id")
		who := d.cfg.Actor(c)
		who.Seen, who.Among = rev, body.Among
		if who.Evidence, err = d.evidence(r.Context(), &who, id, verb, &body); err != nil {
			return translate(err)
		}
		var v approval.View
		if body.Arguments != nil {
			v, err = d.cfg.Approvals.Edit(r.Context(), id, who, body.Comment, body.Arguments)
		} else {
			v, err = do(r.Context(), id, who, body.Comment)
		}
		status := http.StatusOK
		if errors.Is(err, approval.ErrMore) {
			status, err = http.StatusAccepted, nil
		}
		if err != nil {
			return translate(err)
		}
		etag(w, v.Revision)
		return gateway.WriteJSON(w, status, v)
	}
}

func (d *desk) listAgents(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	_, p, err := params(r, c)
	if err != nil {
		return err
	}
	return page(w, d.cfg.Identities.Agents(p.Tenant, p.After, p.Limit+1), p.Limit, func(a identity.Agent) string { return a.ID })
}

func (d *desk) showAgent(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	a, err := d.cfg.Identities.Agent(c.Subject.Tenant, r.PathValue("id"))
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, a)
}

func (d *desk) createAgent(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		ID    string `json:"id"`
		Owner string `json:"owner"`
		Lease bool   `json:"lease"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	a, err := d.cfg.Identities.CreateAgent(r.Context(), identity.AgentSpec{ID: body.ID, Tenant: c.Subject.Tenant,
		Owner: body.Owner, Lease: body.Lease, By: nameOf(c)})
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, a)
}

func (d *desk) listTokens(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	_, p, err := params(r, c)
	if err != nil {
		return err
	}
	return page(w, d.cfg.Identities.List(p.Tenant, p.After, p.Limit+1), p.Limit, func(t identity.Token) string { return t.ID })
}

// issued is a new token with its secret, which is told once.
type issued struct {
	Secret string `json:"token"`
	identity.Token
}

// commands are the scopes that an agent's own token must not hold: it could decide about itself, or
// say which values are trusted.
var commands = []action.Scope{action.ScopeApprover, action.ScopeAuthor, action.ScopePolicyApprover, action.ScopeAdmin,
	action.ScopeTenantData}

func (d *desk) issueToken(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		Name   string         `json:"name"`
		Agent  string         `json:"agent"`
		User   string         `json:"user"`
		Scopes []action.Scope `json:"scopes"`
		TTL    jsontext.Value `json:"ttl"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	ttl, err := duration(body.TTL)
	if err != nil {
		return err
	}
	for _, s := range body.Scopes {
		if !slices.Contains(s.Values()[1:], string(s)) {
			return gateway.Refuse(gateway.CodeInvalid, "unknown scope %q", action.Clip(string(s), 32))
		}
		if body.Agent != "" && slices.Contains(commands, s) {
			return gateway.Refuse(gateway.CodeInvalid, "the token of an agent must not hold %q", s)
		}
	}
	secret, t, err := d.cfg.Identities.Issue(r.Context(), identity.TokenSpec{Name: body.Name, Tenant: c.Subject.Tenant,
		Agent: body.Agent, User: body.User, Scopes: body.Scopes, TTL: ttl, By: nameOf(c)})
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, issued{secret, t})
}

// duration reads a number of seconds or a text such as "90m", "12h" or "30d", up to identity.MaxTTL.
// Nothing means the default.
func duration(v jsontext.Value) (time.Duration, error) {
	bad := gateway.Refuse(gateway.CodeInvalid, `ttl is not a number of seconds or a text such as "90m", "12h" or "30d", up to 366 days`)
	text, unit := string(v)+"s", time.Duration(1)
	switch v.Kind() {
	case 0, 'n':
		return 0, nil
	case '"':
		s, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return 0, bad
		}
		text = string(s)
		if days, ok := strings.CutSuffix(text, "d"); ok {
			text, unit = days+"h", 24
		}
	case '0':
	default:
		return 0, bad
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > identity.MaxTTL/unit {
		return 0, bad
	}
	return d * unit, nil
}

// revokeToken is final and may be repeated, so it needs no revision.
func (d *desk) revokeToken(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	id := r.PathValue("id")
	if !d.ownToken(c.Subject.Tenant, id) {
		return gateway.Refuse(gateway.CodeNotFound, "")
	}
	t, err := d.cfg.Identities.Revoke(r.Context(), id, nameOf(c))
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, t)
}

// ownToken reports whether the tenant has a token id.
func (d *desk) ownToken(tenant, id string) bool {
	for after := ""; ; {
		page := d.cfg.Identities.List(tenant, after, maxLimit)
		for _, t := range page {
			if t.ID == id {
				return true
			}
			after = t.ID
		}
		if len(page) == 0 {
			return false
		}
	}
}

// order is the body of kills and releases.
type order struct {
	Scope  string `json:"scope"`
	ID     string `json:"id"`
	Agent  string `json:"agent"`
	Reason string `json:"reason"`
	Tokens bool   `json:"tokens"` // of a kill of an agent: withdraw its tokens for good

	Challenge string            `json:"challenge"` // id, where the order is signed
	Passkey   *factor.Assertion `json:"passkey"`
	SSH       *factor.Evidence  `json:"ssh"`
}

// purpose is what the signature of an order says.
func purpose(verb string, t identity.Target) string {
	return strings.TrimSpace(strings.Join([]string{verb, t.Scope, t.ID}, " "))
}

// signedBy names the caller, with what he signed for this order.
func (d *desk) signedBy(r *http.Request, c *gateway.Caller, verb string, o *order, t identity.Target) (identity.Actor, error) {
	by := d.by(c)
	var err error
	by.Signed, err = d.second(r.Context(), by.ID, purpose(verb, t), o.Challenge, o.Passkey, o.SSH)
	return by, err
}

// challengeOrder opens a challenge for one order.
func (d *desk) challengeOrder(verb string) gateway.Handler {
	return func(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
		_, t, err := d.readOrder(w, r, c)
		if err != nil {
			return err
		}
		if d.cfg.Signers == nil {
			return gateway.Refuse(gateway.CodeNotFound, "no keys are kept here")
		}
		person := d.by(c).ID
		ch, err := d.cfg.Signers.Begin(person, purpose(verb, t))
		if err != nil {
			return translate(err)
		}
		s := d.tosign(person, ch.Bytes())
		s.ID = ch.ID
		return gateway.WriteJSON(w, http.StatusOK, s)
	}
}

func (d *desk) readOrder(w http.ResponseWriter, r *http.Request, c *gateway.Caller) (order, identity.Target, error) {
	var o order
	if err := plain(r); err != nil {
		return o, identity.Target{}, err
	}
	if err := gateway.ReadJSON(w, r, &o, maxBodyBytes); err != nil {
		return o, identity.Target{}, err
	}
	t := identity.Target{Scope: o.Scope, ID: o.ID, Tenant: c.Subject.Tenant, Agent: o.Agent}
	named := o.Scope == identity.KillSession || o.Scope == identity.KillAgent
	switch {
	case !named && o.Scope != identity.KillTenant && o.Scope != identity.KillAll:
		return o, t, gateway.Refuse(gateway.CodeInvalid, "scope is not one of session, agent, tenant, all")
	case named != (o.ID != ""):
		return o, t, gateway.Refuse(gateway.CodeInvalid, "session and agent need an id, tenant and all take none")
	case o.Agent != "" && o.Scope != identity.KillSession:
		return o, t, gateway.Refuse(gateway.CodeInvalid, "agent goes with a session only")
	}
	if o.Scope == identity.KillAll {
		t.Tenant = ""
	}
	return o, t, nil
}

// killed is the answer to a kill.
type killed struct {
	identity.Order
	Revoked int `json:"revoked"` // open approvals and unused grants that it ended
	Tokens  int `json:"tokens"`  // tokens that it withdrew
}

// kill stops first and tidies up afterwards: what the kernel denies is denied whatever fails here.
func (d *desk) kill(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	o, t, err := d.readOrder(w, r, c)
	if err != nil {
		return err
	}
	if o.Tokens && o.Scope != identity.KillAgent {
		return gateway.Refuse(gateway.CodeInvalid, "tokens goes with an agent only")
	}
	by, err := d.signedBy(r, c, "kill", &o, t)
	if err != nil {
		return translate(err)
	}
	ctx := context.WithoutCancel(r.Context()) // whoever hangs up still meant it
	done, err := d.cfg.Switch.Kill(ctx, by, t, o.Reason)
	if errors.Is(err, identity.ErrFactor) || errors.Is(err, identity.ErrMalformed) {
		return translate(err) // nothing was stopped
	}
	f := approval.Filter{}
	switch o.Scope {
	case identity.KillSession:
		f.Session = o.ID
	case identity.KillAgent:
		f.Agent = o.ID
	}
	answer := killed{Order: done}
	var rerr, terr error
	answer.Revoked, rerr = d.cfg.Approvals.RevokeAll(ctx, f, d.cfg.Actor(c), "stopped by an operator")
	if o.Tokens {
		answer.Tokens, terr = d.withdraw(ctx, t.Tenant, o.ID, by.ID)
	}
	if err = errors.Join(err, rerr, terr); err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, answer)
}

// withdraw revokes every token of an agent.
func (d *desk) withdraw(ctx context.Context, tenant, agent, by string) (n int, err error) {
	for after := ""; ; {
		some := d.cfg.Identities.List(tenant, after, 200)
		if len(some) == 0 {
			return n, err
		}
		for _, t := range some {
			after = t.ID
			if t.RevokedMs != 0 || !strings.EqualFold(t.Agent, agent) {
				continue
			}
			if _, rerr := d.cfg.Identities.Revoke(ctx, t.ID, by); rerr != nil {
				err = errors.Join(err, rerr)
				continue
			}
			n++
		}
	}
}

// release answers 202 where a second person has to confirm.
func (d *desk) release(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	o, t, err := d.readOrder(w, r, c)
	if err != nil {
		return err
	}
	by, err := d.signedBy(r, c, "release", &o, t)
	if err != nil {
		return translate(err)
	}
	status, word := http.StatusOK, "released"
	err = d.cfg.Switch.Release(r.Context(), by, t, o.Reason)
	switch {
	case errors.Is(err, identity.ErrSecond):
		status, word, err = http.StatusAccepted, "second", nil
	case errors.Is(err, identity.ErrWait):
		status, word, err = http.StatusAccepted, "wait", nil
	}
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, status, struct {
		Status string `json:"status"`
	}{word})
}

func (d *desk) by(c *gateway.Caller) identity.Actor {
	return identity.Actor{ID: nameOf(c), Credential: c.Subject.Channel.CredID}
}

func (d *desk) listKills(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	out := list[identity.Order]{Items: []identity.Order{}}
	for _, o := range d.cfg.Switch.Orders() {
		if o.Scope == identity.KillAll || o.Tenant == c.Subject.Tenant {
			out.Items = append(out.Items, o)
		}
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

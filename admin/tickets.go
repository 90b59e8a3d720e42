// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
)

// Channels are where people are told elsewhere of what waits. What comes back from there can refuse, and nothing else.
type Channels interface {
	// Ticket returns what a ticket names, and who answers with it.
	Ticket(ticket string) (id string, who approval.Actor, err error)
	// Press returns what a button names that was pressed in the channel of a name, and says there how it ended.
	Press(name, stamp, signature string, body []byte) (id string, who approval.Actor, ended func(ctx context.Context, text string), err error)
}

// channelRoutes take refusals. Each request brings its own proof: a ticket in its body, or the channel's signature.
func (d *desk) channelRoutes() []gateway.Route {
	open := gateway.Anonymous{Tenant: d.cfg.Tenant}
	return []gateway.Route{
		{Pattern: "POST /v1/tickets/show", Auth: open, Serve: d.showTicket},
		{Pattern: "POST /v1/tickets/refuse", Auth: open, Serve: d.refuseTicket},
		{Pattern: "POST /v1/channels/{name}/press", Auth: open, Serve: d.press},
	}
}

// ticket is what its holder is told: what the message told him, and whether it still waits.
type ticket struct {
	Title     string         `json:"title"`
	Agent     string         `json:"agent"`
	State     approval.State `json:"state"`
	ExpiresMs int64          `json:"expires_ms"`
	As        string         `json:"as"` // whom the record will name
}

// redeem reads a body with a ticket. It refuses a wrong one as it refuses a wrong credential.
func (d *desk) redeem(w http.ResponseWriter, r *http.Request) (id string, who approval.Actor, comment string, err error) {
	if err := plain(r); err != nil {
		return "", who, "", err
	}
	var body struct {
		Ticket  string `json:"ticket"`
		Comment string `json:"comment"`
	}
	if err := gateway.ReadJSON(w, r, &body, 16<<10); err != nil {
		return "", who, "", err
	}
	if d.cfg.Channels == nil {
		return "", who, "", gateway.ErrUnauthenticated
	}
	if id, who, err = d.cfg.Channels.Ticket(body.Ticket); err != nil {
		return "", who, "", gateway.ErrUnauthenticated
	}
	return id, who, body.Comment, nil
}

func (d *desk) showTicket(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	id, who, _, err := d.redeem(w, r)
	if err != nil {
		return err
	}
	v, err := d.cfg.Approvals.Show(r.Context(), id)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, ticketOf(v, who))
}

func ticketOf(v approval.View, who approval.Actor) ticket {
	return ticket{Title: v.Title, Agent: approval.Visible(action.Clip(v.Agent, 128)), State: v.State, ExpiresMs: v.ExpiresMs, As: who.ID}
}

func (d *desk) refuseTicket(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	id, who, comment, err := d.redeem(w, r)
	if err != nil {
		return err
	}
	v, err := d.cfg.Approvals.Deny(r.Context(), id, who, comment)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, ticketOf(v, who))
}

// press serves Slack's interactivity, which wants an answer within three seconds.
func (d *desk) press(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	stamp, sig := r.Header["X-Slack-Request-Timestamp"], r.Header["X-Slack-Signature"]
	if d.cfg.Channels == nil || len(stamp) != 1 || len(sig) != 1 {
		return gateway.ErrUnauthenticated
	}
	body, err := gateway.ReadBody(w, r, "application/x-www-form-urlencoded", 64<<10)
	if err != nil {
		return err
	}
	id, who, ended, err := d.cfg.Channels.Press(r.PathValue("name"), stamp[0], sig[0], body)
	if err != nil {
		return gateway.ErrUnauthenticated
	}
	v, err := d.cfg.Approvals.Deny(r.Context(), id, who, "denied in "+strings.SplitN(who.ID, ":", 2)[0])
	switch {
	case err == nil:
		ended(r.Context(), "Denied: "+v.Title)
	case errors.Is(err, approval.ErrState):
		ended(r.Context(), "It no longer waits: "+v.Title)
	case errors.Is(err, approval.ErrNotFound):
		ended(r.Context(), "It no longer waits.")
	default:
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, struct{}{})
}

// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// refusal is an answer of ours. Its text is for the agent: it reveals no rule and quotes nothing.
type refusal struct {
	status int
	code   string
	hint   string
	adm    enforce.Admission
	close  bool // the connection cannot go on
}

func (r *refusal) Error() string { return "egress: " + r.code }

// hints of protocol refusals by code; what stands on no line is a malformed request.
var hints = map[string]struct {
	status int
	text   string
}{
	"unauthenticated": {407, "The proxy needs the agent's token: http://NAME:TOKEN@HOST:PORT as the proxy's address."},
	"scope":           {403, "The token does not hold the scope agent."},
	"host_mismatch":   {421, "The host of the connection, of its TLS and of the request must be one."},
	"sni":             {421, "The server name of the TLS handshake is not the host that was asked for."},
	"address":         {403, "This host has an address that agents do not reach."},
	"name":            {502, "This host has no address."},
	"too_large":       {413, "The request is larger than what can be checked. Send less at a time."},
	"slow_body":       {408, "The body came too slowly."},
	"upstream":        {502, "The host did not answer, or not in a way that can be read."},
	"rewrite":         {403, "The request would have to be changed in a way that is not possible. It was not sent."},
	"credential":      {502, "The credential for this host cannot be read. The request was not sent."},
	"upgrade":         {501, "This protocol cannot be checked and does not pass."},
	"busy":            {503, "Too many requests are under way."},
	"internal":        {500, "A fault of ours. The request was not sent, or its answer is withheld."},
	"unrecorded":      {503, "The request cannot be recorded. It was not sent, or its answer is withheld."},
}

func refuse(code string) *refusal {
	h, ok := hints[code]
	if !ok {
		return &refusal{status: 400, code: code, hint: "The request can be read in more than one way, or not at all.", close: true}
	}
	return &refusal{status: h.status, code: code, hint: h.text}
}

// decided is the refusal of an action that one of the gates did not let pass.
func decided(adm enforce.Admission) *refusal {
	r := &refusal{status: http.StatusForbidden, code: string(adm.Verdict), hint: adm.Hint, adm: adm}
	if adm.Verdict == action.Ask {
		r.code = "ask"
	}
	return r
}

// refusalOf translates what the path returned.
func refusalOf(err error) *refusal {
	var r *refusal
	var h headError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &h):
		return refuse(string(h))
	case errors.Is(err, errAddress):
		return refuse("address")
	case errors.Is(err, errName):
		return refuse("name")
	case errors.Is(err, errRewrite):
		return refuse("rewrite")
	case errors.Is(err, errTooMany), errors.Is(err, enforce.ErrBusy):
		return refuse("busy")
	case errors.Is(err, enforce.ErrUnrecorded):
		return refuse("unrecorded")
	case errors.Is(err, enforce.ErrMalformed):
		return refuse("malformed")
	case errors.Is(err, errUpstream):
		return refuse("upstream")
	}
	return refuse("internal")
}

// counted says which refusals are counted in the record: attempts, not faults and not what has a record of
// its own.
func (r *refusal) counted() bool {
	if r.adm.ID != "" {
		return false
	}
	switch r.code {
	case "name", "upstream", "busy", "internal", "unrecorded", "credential", "malformed", "rewrite":
		return false
	}
	return true
}

// tell counts a refusal and writes it.
func (p *Proxy) tell(ctx context.Context, w http.ResponseWriter, r *refusal, source string) {
	if r.counted() {
		p.cfg.Enforcer.Malformed(context.WithoutCancel(ctx), action.DoorEgress, source, "egress_"+r.code)
	}
	var o object
	o.open()
	o.str("type", "urn:sallyport:problem:egress-"+r.code)
	o.str("title", "Sallyport did not let this pass")
	o.raw("status", strconv.AppendInt(nil, int64(r.status), 10))
	o.str("detail", r.hint)
	if r.adm.ID != "" {
		o.str("action", r.adm.ID)
	}
	if r.adm.Ticket != "" {
		o.str("approval", r.adm.Ticket)
		o.str("expires", r.adm.Expires.UTC().Format(time.RFC3339))
	}
	data := o.close()
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Sallyport-Effect", r.code)
	if r.status == http.StatusProxyAuthRequired {
		h.Set("Proxy-Authenticate", `Basic realm="sallyport", charset="UTF-8"`)
	}
	if r.close {
		h.Set("Connection", "close")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(data)
}

// source names who is counted for a refusal: the credential, or the address before there is one.
func source(c *gateway.Caller, remote string) string {
	if c != nil && c.Subject.Channel.CredID != "" {
		return "credential:" + c.Subject.Channel.CredID
	}
	return "address:" + remote
}

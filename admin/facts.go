// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/gateway"
)

// Facts is what people may change of what is known: both make the owner more careful, or watch more.
type Facts interface {
	// Forget forgets the destinations that people agreed to for an agent: for one user, or for everyone. It
	// returns for how many users something was forgotten, and is on record.
	Forget(ctx context.Context, tenant, agent, user string, everyone bool, by string) (int, error)
	// Canary returns the canary of a name.
	Canary(tenant, name string) (string, error)
}

// maxFactsBytes bounds a request.
const maxFactsBytes = 4 << 10

func (d *desk) forgetKnown(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if d.cfg.Facts == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	var body struct {
		Agent string  `json:"agent"`
		User  *string `json:"user"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxFactsBytes); err != nil {
		return err
	}
	if body.Agent == "" || len(body.Agent) > 256 || body.User != nil && len(*body.User) > 256 {
		return gateway.Refuse(gateway.CodeInvalid, "agent is required; names have at most 256 bytes")
	}
	user := ""
	if body.User != nil {
		user = *body.User
	}
	n, err := d.cfg.Facts.Forget(r.Context(), c.Subject.Tenant, body.Agent, user, body.User == nil, nameOf(c))
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, map[string]int{"forgotten": n})
}

func (d *desk) makeCanary(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if d.cfg.Facts == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	var body struct {
		Name string `json:"name"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxFactsBytes); err != nil {
		return err
	}
	canary, err := d.cfg.Facts.Canary(c.Subject.Tenant, body.Name)
	if err != nil {
		return gateway.Refuse(gateway.CodeInvalid, "%s", err.Error())
	}
	return gateway.WriteJSON(w, http.StatusOK, map[string]string{"name": body.Name, "canary": canary})
}

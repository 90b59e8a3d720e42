// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/tools"
)

func (d *desk) listTools(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	q, p, err := params(r, c, "server")
	if err != nil {
		return err
	}
	pins := d.cfg.Tools.List(p.Tenant, q.Get("server"), p.After, p.Limit+1)
	return page(w, pins, p.Limit, func(t tools.Pin) string { return action.ToolKey(t.Server, t.Name) })
}

// approveTool approves exactly the definition whose digest was shown.
func (d *desk) approveTool(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	if body.Name == "" || body.Digest == "" {
		return gateway.Refuse(gateway.CodeInvalid, "name and digest are required")
	}
	pin, err := d.cfg.Tools.Approve(r.Context(), c.Subject.Tenant, r.PathValue("server"), body.Name, body.Digest, nameOf(c))
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, pin)
}

// listing is one tool as a tool-admin registers it.
type listing struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	InputSchema jsontext.Value `json:"input_schema"`
	Output      jsontext.Value `json:"output"`
	Annotations jsontext.Value `json:"annotations"`
}

// definition is the listing in the form that servers use, so that its digest is the same whichever way
// it came.
func (l *listing) definition() (tools.Definition, error) {
	form := struct {
		Name         string         `json:"name"`
		Description  string         `json:"description,omitzero"`
		InputSchema  jsontext.Value `json:"inputSchema,omitzero"`
		OutputSchema jsontext.Value `json:"outputSchema,omitzero"`
		Annotations  jsontext.Value `json:"annotations,omitzero"`
	}{l.Name, l.Description, l.InputSchema, l.Output, l.Annotations}
	raw, err := action.Canonical(form)
	if err != nil {
		return tools.Definition{}, err
	}
	return tools.ReadDefinition(raw)
}

// registerTools takes the definitions of a server that lists none itself and approves them: whoever may
// register has vetted them, unless only a bundle may. Either all are readable, or none is taken.
func (d *desk) registerTools(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		Tools []listing   `json:"tools"`
		Zone  action.Zone `json:"zone"` // where what the tools are told goes, as the caller vouches; "" leaves it unknown
		Kind  string      `json:"kind"` // pack that describes them; "" for none
	}
	if err := gateway.ReadJSON(w, r, &body, maxToolsBytes); err != nil {
		return err
	}
	if len(body.Tools) == 0 {
		return gateway.Refuse(gateway.CodeInvalid, "tools is empty")
	}
	if body.Zone != "" && body.Zone != action.ZoneInside && body.Zone != action.ZoneOutside {
		return gateway.Refuse(gateway.CodeInvalid, "zone must be inside or outside")
	}
	if d.cfg.Tools.SignedOnly() && (body.Kind != "" || body.Zone != "") {
		return translate(fmt.Errorf("%w; so are kind and zone: name them in the bundle's tools", tools.ErrSigned))
	}
	defs := make([]tools.Definition, 0, len(body.Tools))
	for i := range body.Tools {
		def, err := body.Tools[i].definition()
		if err != nil {
			return translate(fmt.Errorf("tools: tool %d: %w", i, err))
		}
		defs = append(defs, def)
	}
	server := r.PathValue("server")
	up := tools.Upstream{Tenant: c.Subject.Tenant, Server: server, Transport: tools.API, Zone: body.Zone, Kind: body.Kind}
	if taken(d.cfg.Tools.List(c.Subject.Tenant, server, "", 1)) {
		return gateway.Refuse(gateway.CodeConflict, "the server lists its tools itself")
	}
	seen, err := d.cfg.Tools.Observe(r.Context(), up, defs)
	if err != nil {
		return translate(err)
	}
	out := list[tools.Pin]{Items: make([]tools.Pin, 0, len(seen))}
	for _, s := range seen {
		if d.cfg.Tools.SignedOnly() { // pending, until a bundle approves it
			out.Items = append(out.Items, s.Pin)
			continue
		}
		pin, err := d.cfg.Tools.Approve(r.Context(), c.Subject.Tenant, server, s.Name, s.Digest, nameOf(c))
		if err != nil {
			return translate(err)
		}
		out.Items = append(out.Items, pin)
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// taken reports whether the name belongs to a server that was observed by itself: a registration would
// replace what people pinned.
func taken(pins []tools.Pin) bool { return len(pins) > 0 && pins[0].Transport != tools.API }

// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
)

// filterNames are the parameters that narrow lists of records.
var filterNames = []string{"session", "agent", "user", "server", "tool", "kind", "verdict", "since", "until"}

// filter reads the parameters of filterNames; times are milliseconds.
func filter(q url.Values) (index.Filter, error) {
	f := index.Filter{Session: q.Get("session"), Agent: q.Get("agent"), User: q.Get("user"), Server: q.Get("server"),
		Tool: q.Get("tool"), Kind: action.Kind(q.Get("kind")), Verdict: action.Verdict(q.Get("verdict"))}
	if f.Kind != "" && !f.Kind.Known() {
		return f, gateway.Refuse(gateway.CodeMalformed, "kind is not a kind of record")
	}
	if f.Verdict != "" && !slices.Contains(f.Verdict.Values(), string(f.Verdict)) {
		return f, gateway.Refuse(gateway.CodeMalformed, "verdict is not one of allow, ask, deny, quarantine")
	}
	for name, to := range map[string]*int64{"since": &f.Since, "until": &f.Until} {
		if !q.Has(name) {
			continue
		}
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil || n < 0 || n > action.MaxNumber {
			return f, gateway.Refuse(gateway.CodeMalformed, "%s is not a time in milliseconds", name)
		}
		*to = n
	}
	return f, nil
}

// found answers with a page of the index, whose cursors are its own.
func found[T any](w http.ResponseWriter, p index.Page[T], err error) error {
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, list[T]{Items: p.Items, Next: p.Next})
}

// shown answers with a page of steps, once it is on record that c sees what they show of sealed parts.
func (d *desk) shown(w http.ResponseWriter, r *http.Request, c *gateway.Caller, where string, p index.Page[index.Step], err error) error {
	if err == nil {
		if parts := index.Shown(p.Items); len(parts) > 0 {
			err = d.cfg.Shown(r.Context(), c, where, parts)
		}
	}
	return found(w, p, err)
}

func (d *desk) listSessions(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	q, p, err := params(r, c, "agent", "user", "verdict", "since", "until")
	if err != nil {
		return err
	}
	f, err := filter(q)
	if err != nil {
		return err
	}
	got, err := d.cfg.Index.Sessions(r.Context(), f, p.Limit, p.After)
	return found(w, got, err)
}

func (d *desk) showSession(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	s, err := d.cfg.Index.Session(r.Context(), r.PathValue("id"))
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, s)
}

func (d *desk) listSteps(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	_, p, err := params(r, c)
	if err != nil {
		return err
	}
	if _, err := d.cfg.Index.Session(r.Context(), r.PathValue("id")); err != nil {
		return translate(err)
	}
	got, err := d.cfg.Index.Steps(r.Context(), r.PathValue("id"), p.Limit, p.After)
	return d.shown(w, r, c, "session/"+r.PathValue("id"), got, err)
}

func (d *desk) listRecords(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	q, p, err := params(r, c, append(slices.Clone(filterNames), "q")...)
	if err != nil {
		return err
	}
	f, err := filter(q)
	if err != nil {
		return err
	}
	if !q.Has("q") {
		got, err := d.cfg.Index.Records(r.Context(), f, p.Limit, p.After)
		return d.shown(w, r, c, "records", got, err)
	}
	got, err := d.cfg.Index.Search(r.Context(), q.Get("q"), f, p.Limit, p.After)
	return d.shown(w, r, c, "records", got, err)
}

func (d *desk) listAlerts(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	q, p, err := params(r, c, "agent", "session", "since", "until")
	if err != nil {
		return err
	}
	f, err := filter(q)
	if err != nil {
		return err
	}
	got, err := d.cfg.Index.Alerts(r.Context(), f, p.Limit, p.After)
	return d.shown(w, r, c, "alerts", got, err)
}

func (d *desk) listPolicies(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	out := list[Policy]{Items: []Policy{}}
	if d.cfg.Policies != nil {
		got, err := d.cfg.Policies(r.Context())
		if err != nil {
			return err
		}
		out.Items = got
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

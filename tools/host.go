// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// HostStanding is what the operator says of a host. The zero value is a host that nobody knows.
type HostStanding struct {
	Listed bool        // agents may use it; stated as an approved definition
	Zone   action.Zone // "" means outside
}

// hostCall are the members of a request's arguments that say where it goes. The egress door writes them; no
// member of them is the agent's to name.
type hostCall struct {
	URL   string         `json:"url"`
	Query jsontext.Value `json:"query"`
}

// hostEffects are the effects of HTTP's methods on a host inside (RFC 9110, section 9). Towards a host
// outside, what changes something there is a send.
var hostEffects = map[string]action.Effect{http.MethodGet: action.EffectRead, http.MethodHead: action.EffectRead,
	http.MethodOptions: action.EffectRead, http.MethodPost: action.EffectWrite, http.MethodPut: action.EffectWrite,
	http.MethodPatch: action.EffectWrite, http.MethodDelete: action.EffectDestroy, "SEND": action.EffectWrite, http.MethodConnect: action.EffectWrite}

// host states the facts of a request to a host: its effect by the protocol, where it goes, and what the
// operator says of that place. Where a listed name leads to is not known before it is looked up, which the
// door does after the first gate.
func (r *Registry) host(snap *snapshot, q *action.Query) (action.Part, error) {
	f := action.ToolFacts{Effect: action.EffectUnknown, Source: action.EffectDeclared, Reversible: action.No, Idempotent: action.TriUnknown,
		Zone: action.ZoneOutside, Typed: action.StateUnknown,
		Definition: action.Definition{State: action.DefinitionUnknown, Poisoned: action.TriUnknown, Registry: snap.digests[q.Subject.Tenant]}}
	var args hostCall
	if err := json.Unmarshal(q.Action.Arguments, &args); err != nil {
		return nil, fmt.Errorf("tools: arguments of a host: %w", err)
	}
	u, can := urlFacts("/url", args.URL)
	if len(args.Query) > 0 {
		u.Query = action.Yes
	}
	if strings.HasPrefix(u.Path, "//") {
		u.Account = "" // servers do not agree on what an empty first segment means
	}
	if can.ok && can.scheme != "" {
		f.Typed = action.StateKnown
		if r.cfg.Host != nil {
			st := r.cfg.Host(q.Subject.Tenant, u.Host, u.Account)
			if st.Zone != "" {
				f.Zone = st.Zone
			}
			if st.Listed {
				f.Definition.State, f.Definition.Poisoned = action.DefinitionApproved, action.No
			}
		}
	}
	if e, ok := hostEffects[q.Resource.Name]; ok {
		f.Effect = e
		if f.Zone != action.ZoneInside && e == action.EffectWrite {
			f.Effect = action.EffectSend
		}
		f.Idempotent = action.TriOf(e == action.EffectRead || q.Resource.Name == http.MethodPut || e == action.EffectDestroy)
		if e == action.EffectRead {
			f.Reversible = action.Yes
		}
	}
	if q.Phase == action.Before {
		f.URLs = []action.URL{u}
	} else {
		f.URLs = nil
	}
	return f, nil
}

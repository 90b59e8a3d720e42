// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// maxOffers bounds how many calls in models' answers wait for the door that executes them.
const maxOffers = 1 << 14

// Words before the id in Record.Subject of an intent or decision on a call that stood in a model's answer before.
const (
	LinkCall  = "call:"  // the same call: subject, the provider's id, tool and arguments are equal
	LinkAlike = "alike:" // subject, tool and arguments are equal; this door knows no id of the provider, or another one

	// LinkOffer stands before a keyed fingerprint in the intent of such a call itself, by which a start knows again
	// what waits for the door that executes it.
	LinkOffer = "offer:"
)

// A Yielder is a Reserver that can give back what it booked for an action before the action ends. The door that
// executes a call of a model's answer books it again, so that a cap counts the pair once.
type Yielder interface {
	Reserver
	Yield(id string)
}

// offers are the permitted calls of models' answers that no executing door has taken up yet. The zero value is empty.
// It needs Enforcer.mu.
type offers struct {
	byID   map[string]offer
	byCall map[string]string   // by keyed fingerprint
	alike  map[string][]string // as above, without the provider's id; oldest first
	ring   []string            // ids in their order, whether taken up or not
	next   int
}

type offer struct{ call, alike, id string }

// offerOf are the keys under which a call is known to both doors. Arguments count by their canonical form, because
// what executes writes them again, and tools by their bare name, because a model's answer knows no server.
func (e *Enforcer) offerOf(a *Attempt) (o offer, ok bool) {
	v := jsontext.Value(a.Arguments).Clone()
	if a.Name != "tools/call" || v.Canonicalize() != nil {
		return offer{}, false
	}
	who := agentKey(&a.Subject)
	o.alike = e.cfg.Fingerprint("offer", []byte(who), []byte(a.Tool), v)
	if a.ModelCall != "" {
		o.call = e.cfg.Fingerprint("offer", []byte(who), []byte(a.Tool), v, []byte(a.ModelCall))
	}
	return o, true
}

// offer remembers an action of the door that judges models' answers. Only what is permitted can be executed.
func (e *Enforcer) offer(x *entry) {
	if x.att.Subject.Channel.Door != action.DoorLLM {
		return
	}
	o, ok := e.offerOf(&x.att)
	if !ok {
		return
	}
	o.id = x.id
	e.mu.Lock()
	defer e.mu.Unlock()
	e.offers.add(o)
}

func (f *offers) add(o offer) {
	if f.byCall == nil {
		f.byID, f.byCall, f.alike = map[string]offer{}, map[string]string{}, map[string][]string{}
	}
	if len(f.ring) < maxOffers {
		f.ring = append(f.ring, o.id)
	} else {
		f.forget(f.ring[f.next])
		f.ring[f.next] = o.id
		f.next = (f.next + 1) % maxOffers
	}
	f.byID[o.id] = o
	if o.call != "" {
		f.byCall[o.call] = o.id
	}
	if o.alike != "" {
		f.alike[o.alike] = append(f.alike[o.alike], o.id)
	}
}

// replay brings back what a record says of an offer. Only its id is known then, not what it is like.
func (f *offers) replay(r *action.Record) {
	if call, ok := strings.CutPrefix(r.Subject, LinkOffer); ok && r.Kind == action.KindIntent && r.Door == action.DoorLLM {
		f.add(offer{call: call, id: r.Action})
	}
	for _, link := range []string{LinkCall, LinkAlike} {
		if id, ok := strings.CutPrefix(r.Subject, link); ok {
			f.forget(id)
		}
	}
}

// forget takes the offer of an action off the lists.
func (f *offers) forget(id string) {
	o, ok := f.byID[id]
	if !ok {
		return
	}
	delete(f.byID, id)
	if f.byCall[o.call] == o.id {
		delete(f.byCall, o.call)
	}
	left := f.alike[o.alike]
	for i, id := range left {
		if id == o.id {
			left = append(left[:i:i], left[i+1:]...)
			break
		}
	}
	if f.alike[o.alike] = left; len(left) == 0 {
		delete(f.alike, o.alike)
	}
}

// correlate links a new action of an executing door with the call in a model's answer that it carries out. Each
// call is taken up once. The link is on record and counts a cap's pair once; no verdict follows from it: the
// executing door decides as if there were none.
func (e *Enforcer) correlate(x *entry) {
	if x.link != "" {
		return
	}
	if x.att.Subject.Channel.Door == action.DoorLLM {
		if o, ok := e.offerOf(&x.att); ok && o.call != "" {
			x.link = LinkOffer + o.call
		}
		return
	}
	e.mu.Lock()
	none := len(e.offers.byID) == 0
	e.mu.Unlock()
	if none {
		return
	}
	o, ok := e.offerOf(&x.att)
	if !ok {
		return
	}
	e.mu.Lock()
	if o.id = e.offers.byCall[o.call]; o.call != "" && o.id != "" {
		x.link = LinkCall + o.id
	} else if ids := e.offers.alike[o.alike]; len(ids) > 0 {
		o.id = ids[0]
		x.link = LinkAlike + o.id
	}
	if x.link != "" {
		e.offers.forget(o.id)
	}
	e.mu.Unlock()
	if strings.HasPrefix(x.link, LinkCall) {
		for _, stage := range e.cfg.Stages {
			for _, s := range stage {
				if y, ok := s.Informer.(Yielder); ok {
					y.Yield(o.id)
				}
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"container/list"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxCalls bounds how many calls are remembered between their two events. One that was forgotten is
// judged anew, by what the second event tells of it.
const maxCalls = 16 << 10

// call is one tool call of a session. The path knows it by its action; the host by an id, by its bytes,
// or by both.
type call struct {
	mu sync.Mutex // serialises the events of one call

	action   string // of the path; "" before the first gate has answered
	ticket   string
	admitted bool
	asking   bool // the host asks its user for us
	over     bool

	keys []string
	at   *list.Element
}

// calls remembers calls by session and host's id, and by session and bytes.
type calls struct {
	mu    sync.Mutex // guards below
	by    map[string][]*call
	order *list.List // oldest first
}

func (c *calls) init() { c.by, c.order = map[string][]*call{}, list.New() }

// printOf is what two events of one call have in common: tool and arguments, whatever their spelling.
func printOf(e *Event, arguments []byte) string {
	v := jsontext.Value(arguments).Clone()
	if v.Canonicalize() != nil {
		v = arguments
	}
	sum := sha256.New()
	for _, part := range []string{e.Server, e.Tool, string(v)} {
		n := sha256.Sum256([]byte(part))
		sum.Write(n[:])
	}
	return string(sum.Sum(nil))
}

func byID(q *request) string    { return q.session + " id " + q.CallID }
func byPrint(q *request) string { return q.session + " is " + printOf(q.Event, q.Arguments) }

// enter returns the call of a first event, locked. Events with one id are one call; without ids each is
// a call of its own.
func (c *calls) enter(q *request) *call {
	c.mu.Lock()
	var x *call
	if q.CallID != "" {
		if known := c.by[byID(q)]; len(known) > 0 {
			x = known[0]
		}
	}
	if x == nil {
		x = &call{}
		x.at = c.order.PushBack(x)
		if q.CallID != "" {
			c.add(x, byID(q))
		}
		for c.order.Len() > maxCalls {
			c.drop(c.order.Front().Value.(*call))
		}
	}
	c.mu.Unlock()
	x.mu.Lock()
	return x
}

// find returns the call that a later event belongs to, locked, or nil.
func (c *calls) find(q *request) *call {
	c.mu.Lock()
	var x *call
	if q.CallID != "" {
		if known := c.by[byID(q)]; len(known) > 0 {
			x = known[0]
		}
	} else if known := c.by[byPrint(q)]; len(known) > 0 {
		x = known[0] // equal calls are told apart by nothing: the oldest ends first
	}
	c.mu.Unlock()
	if x != nil {
		x.mu.Lock()
	}
	return x
}

// open makes x findable by the bytes that are to be executed.
func (c *calls) open(x *call, q *request, executed []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(x, q.session+" is "+printOf(q.Event, executed))
	if key := byCommand(q.session, q.Event, executed); key != "" && q.Host == Codex {
		c.add(x, key)
	}
}

// isOpen reports whether a call with the bytes of q was let through and has not ended.
func (c *calls) isOpen(q *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.by[byPrint(q)]) > 0
}

// same reports whether x was let through with the bytes of q.
func (c *calls) same(x *call, q *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(x.keys, byPrint(q))
}

// isOpenCommand is isOpen for a host that words a permission anew: the tool and its command are the same.
func (c *calls) isOpenCommand(q *request) bool {
	if q.Host != Codex {
		return false
	}
	key := byCommand(q.session, q.Event, q.Arguments)
	c.mu.Lock()
	defer c.mu.Unlock()
	return key != "" && len(c.by[key]) > 0
}

func byCommand(session string, e *Event, arguments []byte) string {
	var m members
	if json.Unmarshal(arguments, &m) != nil || m["command"] == nil {
		return ""
	}
	return session + " runs " + printOf(e, m["command"])
}

// close forgets the bytes of x; its id stays for repeats.
func (c *calls) close(x *call, q *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := byID(q)
	keep := x.keys[:0:0]
	for _, k := range x.keys {
		if q.CallID != "" && k == id {
			keep = append(keep, k)
			continue
		}
		c.remove(x, k)
	}
	if x.keys = keep; len(keep) == 0 {
		c.drop(x)
	}
}

// add is called with mu held, as are remove and drop.
func (c *calls) add(x *call, key string) {
	if slices.Contains(x.keys, key) {
		return
	}
	x.keys = append(x.keys, key)
	c.by[key] = append(c.by[key], x)
}

func (c *calls) remove(x *call, key string) {
	for i, y := range c.by[key] {
		if y == x {
			c.by[key] = append(c.by[key][:i:i], c.by[key][i+1:]...)
			break
		}
	}
	if len(c.by[key]) == 0 {
		delete(c.by, key)
	}
}

func (c *calls) drop(x *call) {
	for _, k := range x.keys {
		c.remove(x, k)
	}
	x.keys = nil
	if x.at != nil {
		c.order.Remove(x.at)
		x.at = nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/enforce"
)

// cooling is a denial that still stands for a call or its sinks.
type cooling struct {
	until   int64 // ms
	ask     string
	comment string
	machine bool // a second system refused
	times   int  // denials in a row
}

// maxCooling bounds the remembered denials; beyond it those that end first are forgotten.
const maxCooling = 8192

// cooled returns the denial that covers a call. The caller holds mu.
func (d *Desk) cooled(near, sinks string, now int64) (cooling, bool) {
	for _, k := range []string{near, sinks} {
		if c, ok := d.cool[k]; ok && k != "" && now < c.until {
			return c, true
		}
	}
	return cooling{}, false
}

// chill starts the cool-down of a denied ask. Each further denial of the same sinks doubles theirs, so
// that a call which is varied until somebody gives in is asked less and less. The caller holds mu.
func (d *Desk) chill(a *ask, at int64) {
	d.cool[a.Near] = cooling{until: at + d.cfg.Cooldown.Milliseconds(), ask: a.ID, comment: a.Comment, machine: a.byMachine()}
	if a.Sinks != "" {
		c := d.cool[a.Sinks]
		if at >= c.until+d.cfg.Cooldown.Milliseconds() {
			c.times = 0
		}
		wait := min(d.cfg.SinkCooldown<<min(c.times, 16), d.cfg.Cooldown)
		d.cool[a.Sinks] = cooling{until: at + wait.Milliseconds(), ask: a.ID, comment: a.Comment, machine: a.byMachine(), times: c.times + 1}
	}
	for len(d.cool) > maxCooling {
		var first string
		for k, c := range d.cool {
			if first == "" || c.until < d.cool[first].until {
				first = k
			}
		}
		delete(d.cool, first)
	}
}

// mayOpen reports whether agent may open one more ask. The caller holds mu.
func (d *Desk) mayOpen(agent string, now int64) bool {
	since := now - d.cfg.RateWindow.Milliseconds()
	times := slices.DeleteFunc(d.opened[agent], func(t int64) bool { return t <= since })
	d.opened[agent] = times
	if len(times) == 0 {
		delete(d.opened, agent)
	}
	return len(times) < d.cfg.Rate
}

// leavePending takes a off its session's count, leaveLive off its agent's. The caller holds mu.
func (d *Desk) leavePending(a *ask) {
	if !a.light {
		drop(d.pending, a.Session)
	}
	d.leave(a)
}

func (d *Desk) leaveLive(a *ask) {
	d.open--
	drop(d.live, a.Agent)
}

func drop(count map[string]int, key string) {
	if count[key]--; count[key] <= 0 {
		delete(count, key)
	}
}

// fingerprints returns what identifies a call and its near variants: near for the same agent, user, tool
// and argument values but for case, white space, punctuation, invisible characters and order; sinks for
// the same agent, user, tool and typed destinations, "" if it has none.
func fingerprints(r enforce.Request) (near, sinks string) {
	q := r.Query
	who := []string{q.Subject.ID, q.Subject.User.ID, q.Resource.ID, q.Action.Name, string(q.Phase)}
	near = fingerprint("near", who, leaves(r.Bytes))
	var to []string
	for _, p := range q.Action.Paths {
		to = append(to, "path "+loose(first(p.Resolved, p.Raw)))
	}
	for _, u := range q.Action.URLs {
		to = append(to, "url "+loose(u.Host)+" "+loose(u.Path))
	}
	for _, c := range q.Action.Commands {
		to = append(to, "command "+loose(c.Name)+" "+loose(c.Verb))
	}
	for _, s := range q.Action.SQL {
		to = append(to, "sql "+loose(s.Verb)+" "+loose(strings.Join(s.Tables, " ")))
	}
	for _, p := range q.Action.Recipients {
		to = append(to, "to "+p.Kind+" "+loose(p.Value))
	}
	if len(to) > 0 {
		sinks = fingerprint("sinks", who, to)
	}
	return near, sinks
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func fingerprint(kind string, who, what []string) string {
	slices.Sort(what)
	what = slices.Compact(what)
	h := sha256.New()
	for _, s := range slices.Concat([]string{kind}, who, what) {
		h.Write([]byte{byte(len(s) >> 24), byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))})
		io.WriteString(h, s)
	}
	return kind + ":" + hex.EncodeToString(h.Sum(nil))
}

// loose keeps the letters and digits of s in one case, or s itself if it has none.
func loose(s string) string {
	out := strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, s)
	if out == "" {
		return s
	}
	return out
}

// leaves returns the scalar values of a JSON text, loosened. What cannot be read is one leaf.
func leaves(data []byte) []string {
	var out []string
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			return append(out, "unreadable "+string(data))
		}
		switch tok.Kind() {
		case '"':
			if kind, n := dec.StackIndex(dec.StackDepth()); kind == '{' && n%2 == 1 {
				continue // a name
			}
			out = append(out, "string "+loose(tok.String()))
		case '0':
			v := jsontext.Value(tok.String())
			if v.Canonicalize() != nil {
				v = jsontext.Value(tok.String())
			}
			out = append(out, "string "+loose(string(v)))
		case 't', 'f':
			out = append(out, tok.String())
		}
	}
}

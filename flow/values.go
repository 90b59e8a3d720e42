// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// maxLeaves bounds how many argument values are stated.
const maxLeaves = 256

// values states the origin of each leaf of q's arguments; complete is false if there were too many.
func (f *Flow) values(s *session, q *action.Query, session action.Labels) (out []action.Value, complete bool) {
	complete = leaves(q.Action.Arguments, maxLeaves, func(l leaf) {
		out = append(out, f.value(s, q, session, l))
	})
	slices.SortFunc(out, func(a, b action.Value) int { return strings.Compare(a.Pointer, b.Pointer) })
	return out, complete
}

// value states one leaf. Trust comes only from equality of the whole value with one of the request.
func (f *Flow) value(s *session, q *action.Query, session action.Labels, l leaf) action.Value {
	v := action.Value{Pointer: l.pointer, Sink: sink(q, l), Selection: action.OriginUnknown, Owned: action.TriUnknown,
		Known: action.TriUnknown, Secrecy: session.Secrecy}
	kind, canon := classify(l)
	v.Kind = kind
	if s.asked(f, kind, canon, v.Sink) {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUser, Source: "request", Match: "exact"})
		v.Secrecy = action.SecrecyInternal // the user said it; it holds nothing else
	}
	if tool, match := s.untrusted(f, kind, canon, l.text); match != "" {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUntrusted, Source: tool, Match: match})
	}
	for _, d := range q.Context.Detect.Secrets {
		if q.Phase == action.Before && d.Pointer == l.pointer {
			v.Secrecy = action.SecrecySecret
		}
	}
	for _, e := range v.Evidence {
		v.Origins = append(v.Origins, e.Origin)
	}
	if len(v.Origins) == 0 {
		v.Origins = []action.Origin{action.OriginUnseen}
		if s.heard {
			v.Origins[0] = action.OriginAgent
		}
	}
	v.Origin = v.Origins[len(v.Origins)-1] // user comes before untrusted
	slices.Sort(v.Origins)
	return v
}

// asked reports whether the user's request holds exactly this value. Short numbers are no identities:
// they count only as amounts.
func (s *session) asked(f *Flow, kind, canon string, sink action.Sink) bool {
	if !s.heard || canon == "" {
		return false
	}
	switch kind {
	case "flag":
		return false
	case "text":
		return len(canon) >= 4 && len(canon) <= 256 && bytes.Contains(s.words, []byte(" "+canon+" "))
	case "number":
		if sink != action.SinkAmount && len(canon) < 5 {
			return false
		}
	}
	_, ok := s.request[f.hash(kind, canon)]
	return ok
}

// untrusted looks for the value in what strangers may have written: whole, else any typed value in it,
// else all of a short text's words in a row.
func (s *session) untrusted(f *Flow, kind, canon, text string) (tool, match string) {
	if len(s.index) == 0 || kind == "flag" {
		return "", ""
	}
	if n, ok := s.index[f.hash(kind, canon)]; ok && !(kind == "number" && len(canon) < 5) {
		return s.toolName(n), "exact"
	}
	var hit uint16
	found := false
	tokens(text, func(kind, canon string) bool {
		if !(kind == "number" && len(canon) < 5) {
			hit, found = s.index[f.hash(kind, canon)]
		}
		return !found
	})
	if found {
		return s.toolName(hit), "partial"
	}
	if kind != "text" || canon == "" || strings.Count(canon, " ") > 7 {
		return "", ""
	}
	all, last := true, uint64(0)
	for w := range words(canon) {
		h := f.word(w)
		n, ok := s.index[h]
		if last != 0 {
			n, ok = s.index[pair(last, h)]
		}
		hit, all, last = n, all && ok, h
	}
	if all && last != 0 {
		return s.toolName(hit), "exact"
	}
	return "", ""
}

func (s *session) toolName(n uint16) string {
	if int(n) < len(s.tools) {
		return s.tools[n]
	}
	return ""
}

// hash is the fingerprint of a typed value under the key of this process.
func (f *Flow) hash(kind, canon string) uint64 {
	return pair(maphash.String(f.seed, kind), maphash.String(f.seed, canon))
}

// word is the fingerprint of one word.
func (f *Flow) word(w []byte) uint64 { return maphash.Bytes(f.seed, w) }

// pair mixes two keyed fingerprints in order (the finaliser of MurmurHash3).
func pair(a, b uint64) uint64 {
	h := a*0x9E3779B97F4A7C15 + b
	h ^= h >> 33
	h *= 0xFF51AFD7ED558CCD
	h ^= h >> 33
	h *= 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}

// hear adds the user's words. What does not fit gives no trust.
func (s *session) hear(f *Flow, text []byte) {
	s.heard = true
	if room := f.cfg.MaxRequest - len(s.words); len(text) > room {
		text = []byte(action.Clip(string(text), max(room, 0)))
	}
	if s.request == nil {
		s.request = map[uint64]struct{}{}
		s.words = []byte{' '}
	}
	s.words = append(s.words, '\n', ' ') // no value spans two messages
	tokens(string(text), func(kind, canon string) bool {
		s.request[f.hash(kind, canon)] = struct{}{}
		return true
	})
	for w := range words(string(text)) {
		s.words = append(append(s.words, w...), ' ')
	}
}

// read indexes the values of q's result that strangers may have written. A result that echoes the
// action's own arguments is no source of them, unless the action only read.
func (s *session) read(f *Flow, q *action.Query, l action.Labels) {
	if l.Untrusted == action.No {
		return
	}
	if q.Context.Result.Truncated == action.Yes || l.Opaque == action.Yes {
		s.truncated = true
	}
	own := map[uint64]bool{}
	if q.Action.Effect.SideEffect() {
		leaves(q.Action.Arguments, maxLeaves, func(l leaf) {
			kind, canon := classify(l)
			own[f.hash(kind, canon)] = true
			tokens(l.text, func(kind, canon string) bool {
				own[f.hash(kind, canon)] = true
				return len(own) < 4096
			})
		})
	}
	tool := s.toolNumber(action.ToolKey(action.Clip(q.Resource.Server, 128), action.Clip(q.Resource.Name, 128)))
	add := func(h uint64) {
		if _, ok := s.index[h]; ok || own[h] {
			return
		}
		if len(s.index) >= f.cfg.MaxIndex {
			s.truncated = true
			return
		}
		s.index[h] = tool
	}
	if !leaves(q.Context.Result.Content, 1<<16, func(l leaf) {
		kind, canon := classify(l)
		if kind == "flag" {
			return
		}
		if canon != "" {
			add(f.hash(kind, canon))
		}
		tokens(l.text, func(kind, canon string) bool {
			add(f.hash(kind, canon))
			return true
		})
		last := uint64(0)
		for w := range words(l.text) {
			h := f.word(w)
			add(h)
			if last != 0 {
				add(pair(last, h))
			}
			last = h
		}
	}) {
		s.truncated = true
	}
}

func (s *session) toolNumber(key string) uint16 {
	if i := slices.Index(s.tools, key); i >= 0 {
		return uint16(i)
	}
	if len(s.tools) < 1024 {
		s.tools = append(s.tools, key)
		return uint16(len(s.tools) - 1)
	}
	return 1<<16 - 1
}

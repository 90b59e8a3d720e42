// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// read takes in what q brought back: the records of it, and the values and words that strangers may have
// written. A result that echoes the action's own arguments is no source of them, unless the action only
// read.
func (s *session) read(f *Flow, q *action.Query, l action.Labels, a *asking) {
	if q.Context.Result.Truncated == action.Yes || l.Opaque == action.Yes {
		s.truncated = s.truncated || l.Untrusted != action.No
	}
	if q.Resource.Type == "message" && q.Context.Result.Kind != enforce.KindProvided {
		return
	}
	in := intake{f: f, s: s, tool: s.toolNumber(action.ToolKey(action.Clip(q.Resource.Server, 128), action.Clip(q.Resource.Name, 128))),
		untrusted: l.Untrusted != action.No}
	if in.untrusted && fromOutside(q) {
		s.outside[s.toolName(in.tool)] = true
	}
	effect := q.Action.Effect.SideEffect()
	if effect {
		in.own = ownValues(f, q)
	}
	naming := namingOf(a.valued)
	switch in.flag = inText; naming {
	case namedDirect:
		in.flag = inNamed
	case namedByText:
		in.flag = inChain
	}
	if !effect && contentOf(q, a) {
		in.all(q.Context.Result.Content)
		return
	}
	if effect && len(q.Context.Result.Content) < 256 {
		in.made(q.Context.Result.Content)
	}
	rd := reader{tables: naming == namedNot}
	docs := rd.document(q.Context.Result.Content)
	if docs == nil {
		in.all(q.Context.Result.Content)
		return
	}
	src := source{name: q.Resource.Name, nouns: f.nouns(a.tool.Words, a.tool.About), query: s.queryOf(f, a.valued), named: naming, about: s.aboutOf(f, a.valued)}
	if effect {
		unnamed := firstID(docs)
		s.shelf.put(f, src, docs, nil, func(x seen) bool { return (createdField(x) || x.value == unnamed) && !in.echo(x.value) }, true)
		in.docs(docs, nil)
		for _, rest := range rd.rest {
			in.text(leaf{kind: '"', text: rest}, in.flag)
		}
		return
	}
	base := len(s.shelf.records)
	s.shelf.put(f, src, docs, a.tool.Field, nil, false)
	s.truncated = s.truncated || s.shelf.full
	s.selfRecord(f, q, a, base)
	for _, rest := range rd.rest {
		in.text(leaf{kind: '"', text: rest}, in.flag)
	}
	in.docs(docs, func(rec int) uint8 {
		if i := base + rec; i < len(s.shelf.records) && s.pointedAt(&s.shelf.records[i]) {
			return inNamed
		}
		return in.flag
	})
}

// aboutOf is the fingerprint of the only value that chooses what a call is about; 0 if there are more.
func (s *session) aboutOf(f *Flow, v []valued) (about uint64) {
	for _, x := range v {
		if x.neutral {
			continue
		}
		kind, canon := classify(leaf{kind: '"', text: x.text})
		if about != 0 || canon == "" {
			return 0
		}
		about = f.key(kind, canon)
	}
	return about
}

// nouns are the stems of a tool's name, and of what its description says that it does something to.
func (f *Flow) nouns(name, about []string) (out []uint64) {
	for _, w := range slices.Concat(name, about) {
		if h := f.stemHash([]byte(w)); h != 0 && !reading[w] {
			out = append(out, h)
		}
	}
	return out
}

// reading are verbs of tools that read. In a request the same words may be nouns: "my to-do list".
var reading = set(`list lists get gets read reads search searches find finds show shows view views fetch fetches query queries look lookup check checks return returns retrieve retrieves`)

// createdField reports whether a field identifies what a call of this session made.
func createdField(x seen) bool {
	switch lastWord(x.name) {
	case "id", "ids", "uuid", "number", "slug", "key", "ref", "code":
		return x.class != FreeText
	}
	return false
}

// firstID is what stands first in the one record that a call made, or alone, if it looks like an id and no
// member is called one: names may be in any language.
func firstID(docs []*node) *node {
	if len(docs) != 1 || docs[0].kind != 'm' || len(docs[0].items) == 0 {
		return nil
	}
	for i, k := range docs[0].keys {
		if createdField(seen{name: k, class: fieldClass(k, docs[0].items[i], false)}) {
			return nil
		}
	}
	var like []*node // what has the form of an id, under a name that says nothing
	for i, v := range docs[0].items {
		name := lastWord(docs[0].keys[i])
		if fieldWords[name] || labelNames[name] || freeNames[name] || partyNames[name] || counterNames[name] {
			continue
		}
		kind, _ := classify(leaf{kind: leafKind(v), text: v.text})
		if kind == "id" || kind == "number" && (i == 0 || v.kind == 's') {
			if like = append(like, v); i == 0 {
				break
			}
		}
	}
	if len(like) != 1 {
		return nil
	}
	return like[0]
}

// ownValues are the values of an action's arguments.
func ownValues(f *Flow, q *action.Query) map[uint64]bool {
	own := map[uint64]bool{}
	leaves(q.Action.Arguments, maxLeaves, func(l leaf) {
		kind, canon := classify(l)
		own[f.key(kind, canon)] = true
		tokens(l.text, func(kind, canon string) bool {
			own[f.key(kind, canon)] = true
			return len(own) < 4096
		})
	})
	return own
}

// contentOf reports whether q brought back a page or a file as it is. Such a thing is never parsed: it may
// look like any record.
func contentOf(q *action.Query, a *asking) bool {
	if a.tool.Class == "fetch" || q.Resource.Type == "resource" || q.Action.Effect == action.EffectExecute {
		return true
	}
	if len(q.Action.URLs) > 0 {
		return true
	}
	if len(q.Action.Paths) == 0 && !slices.ContainsFunc(a.out, func(v action.Value) bool { return strings.HasPrefix(v.Role, "path") || v.Kind == "url" }) {
		return false
	}
	for _, w := range a.tool.Words {
		switch w {
		case "list", "ls", "dir", "directory", "folder", "tree", "stat", "info", "metadata", "find", "search", "glob", "listing":
			return false
		}
	}
	return true
}

// pointedAt reports whether the user named who sent a record, or gave its title in quotation marks.
func (s *session) pointedAt(r *record) bool {
	for _, h := range r.senders {
		if s.request.names[h] && !s.mineNames[h] {
			return true
		}
	}
	return overlap(r.titles, s.request.quoted)
}

// selfRecord learns who the user is from the one record of a tool that is asked without arguments and
// named for it.
func (s *session) selfRecord(f *Flow, q *action.Query, a *asking, base int) {
	if len(a.valued) > 0 || len(s.shelf.records)-base != 1 {
		return
	}
	about := false
	for _, w := range a.tool.Words {
		switch w {
		case "user", "me", "whoami", "profile", "account", "my", "self", "current":
			about = true
		}
	}
	if !about {
		return
	}
	for h, places := range s.shelf.where {
		for _, p := range places {
			if int(p.record) >= base && p.class == Party {
				s.mine[h] = true
			}
		}
	}
	for _, h := range s.shelf.records[base].names {
		s.mineNames[h] = true
	}
}

// intake indexes one result.
type intake struct {
	f         *Flow
	s         *session
	tool      uint16
	flag      uint8 // of prose
	untrusted bool
	own       map[uint64]bool
}

// made takes the new ids and paths out of the short receipt of a call that was allowed: they name what this
// session made itself.
func (in *intake) made(content []byte) {
	rec := &node{kind: 'm'}
	leaves(content, 4, func(l leaf) {
		tokens(l.text, func(kind, canon string) bool {
			if (kind == "id" || kind == "path" || kind == "host" || kind == "number" && len(canon) >= 4) && !in.own[in.f.key(kind, canon)] {
				rec.keys, rec.items = append(rec.keys, "id"), append(rec.items, &node{kind: 's', text: canon})
			}
			return len(rec.keys) < 4
		})
	})
	if len(rec.keys) > 0 {
		in.s.shelf.put(in.f, source{}, []*node{rec}, nil, nil, true)
	}
}

func (in *intake) echo(v *node) bool {
	kind, canon := classify(leaf{kind: leafKind(v), text: v.text})
	return in.own[in.f.key(kind, canon)]
}

func (in *intake) add(h uint64, flag uint8) {
	if in.own[h] {
		return
	}
	s := in.s
	m, ok := s.index[h]
	if !ok {
		if len(s.index) >= in.f.cfg.MaxIndex {
			s.truncated = true
			return
		}
		m.tool = in.tool
	}
	if flag&inDecoded == 0 {
		m.flags = m.flags&^inDecoded | flag
	} else if !ok {
		m.flags = flag
	}
	s.index[h] = m
}

// all indexes every text of a result as prose.
func (in *intake) all(content []byte) {
	if !leaves(content, 1<<16, func(l leaf) { in.text(l, in.flag) }) {
		in.s.truncated = true
	}
}

// docs indexes the fields of records; flag says how prose of a record counts.
func (in *intake) docs(docs []*node, flag func(record int) uint8) {
	w := walker{emit: func(x seen) {
		how := inField
		if x.class == FreeText {
			if how = in.flag; flag != nil {
				how = flag(x.record)
			}
		}
		in.text(leaf{kind: leafKind(x.value), text: x.value.text}, how)
	}}
	for _, d := range docs {
		w.walk(d, "", "", -1)
	}
}

// text indexes one value: whole, its typed parts, and its words with their neighbours.
func (in *intake) text(l leaf, flag uint8) {
	f, s := in.f, in.s
	if !in.untrusted {
		return
	}
	kind, canon := classify(l)
	if kind == "flag" {
		return
	}
	s.prose = s.prose || flag != inField && len(l.text) > 20
	if canon != "" {
		in.add(f.key(kind, canon), flag)
	}
	tokens(l.text, func(kind, canon string) bool {
		in.add(f.key(kind, canon), flag)
		return true
	})
	if l.kind == '"' && len(l.text) >= 8 {
		in.hidden(l.text)
	}
	last := uint64(0)
	for w := range words(l.text) {
		h := f.word(w)
		in.add(h, flag)
		if last != 0 {
			in.add(pair(last, h), flag)
		}
		last = h
		if flag != inField {
			if m := f.stemHash(w); m != 0 {
				in.add(m, flag)
				if flag != inText && s.request.does && len(s.told) < 4096 {
					s.told[m] = true
				}
			}
		}
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

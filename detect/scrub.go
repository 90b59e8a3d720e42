// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// replacement is one secret with its place.
type replacement struct {
	secret     action.Secret
	value      string
	marker     string // what is put in its place
	isName     bool
	start, end int
}

// find returns the secrets in v by pointer. It errs if it could not look everywhere.
func (d *Detector) find(v []byte, print bool) (map[string][]replacement, error) {
	s := scanner{secrets: true, room: roomFor(len(v))}
	out := map[string][]replacement{}
	_, err := walk(v, func(sp spot) {
		for _, h := range s.text(sp.text, sp.name) {
			if h.class == classSecret {
				secret := d.secret(sp.pointer, h)
				out[sp.pointer] = append(out[sp.pointer], replacement{secret, h.value, marker(secret, print), sp.isName, h.start, h.end})
			}
		}
	})
	if err == nil && s.truncated {
		err = errors.New("detect: the content encodes too much to be searched for secrets")
	}
	return out, err
}

// replace writes v with each replacement's marker in its place. The result is compact JSON with the same
// members in the same order.
func replace(v []byte, by map[string][]replacement) (jsontext.Value, error) {
	var b bytes.Buffer
	dec, enc := action.Decode(v), jsontext.NewEncoder(&b, jsontext.AllowDuplicateNames(true))
	defer dec.Release()
	object := []bool{false}
	seen := map[string]bool{} // replaced names by parent, so that no two become one
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return bytes.TrimSpace(b.Bytes()), nil
		}
		if err != nil {
			return nil, errors.New("detect: not JSON")
		}
		depth := dec.StackDepth()
		switch k := tok.Kind(); k {
		case '{', '[':
			object = append(object[:depth], k == '{')
		case '0', '"':
			at := dec.StackPointer()
			_, n := dec.StackIndex(depth)
			isName := k == '"' && object[depth] && n%2 == 1
			text, changed := splice(tok.String(), by[string(at)], isName)
			if !changed {
				break
			}
			for n, first := 2, text; isName && seen[string(at.Parent())+"\x00"+text]; n++ {
				text = fmt.Sprintf("%s#%d", first, n)
			}
			seen[string(at.Parent())+"\x00"+text] = isName
			tok = jsontext.String(text)
		}
		if err := enc.WriteToken(tok); err != nil {
			return nil, errors.New("detect: not JSON")
		}
	}
}

// splice puts markers into text.
func splice(text string, rs []replacement, isName bool) (string, bool) {
	var b strings.Builder
	at, changed := 0, false
	for _, r := range rs {
		if r.isName != isName || r.start < at || r.end > len(text) {
			continue
		}
		b.WriteString(text[at:r.start])
		b.WriteString(r.marker)
		at, changed = r.end, true
	}
	if !changed {
		return text, false
	}
	b.WriteString(text[at:])
	return b.String(), true
}

// maxPasses bounds how often what was replaced is searched again: a marker ends a token, so that what
// stands beside it can become one.
const maxPasses = 4

// clean returns v with every secret replaced, and the secrets that v itself held. v is returned as it is if
// there are none.
func (d *Detector) clean(v []byte, print bool) (jsontext.Value, map[string][]replacement, error) {
	// The arguments of an action are cleaned at both gates. What find says is of their bytes alone, so that those
	// in which it found nothing are known again by their digest.
	digest := sha256.Sum256(v)
	harmless := &d.harmless[digest[0]%uint8(len(d.harmless))]
	if known := harmless.Load(); known != nil && *known == digest {
		return v, nil, nil
	}
	first, err := d.find(v, print)
	if err == nil && len(first) == 0 {
		harmless.Store(&digest)
	}
	if err != nil || len(first) == 0 {
		return v, nil, err
	}
	out, by := jsontext.Value(v), first
	for range maxPasses {
		if out, err = replace(out, by); err != nil {
			return nil, nil, err
		}
		if by, err = d.find(out, print); err != nil || len(by) == 0 {
			return out, first, err
		}
	}
	return nil, nil, errors.New("detect: replacing secrets keeps uncovering others")
}

// ScrubJSON returns v with every secret replaced by [secret:kind:length:fingerprint], and the secrets. v
// itself is returned if there are none.
func (d *Detector) ScrubJSON(v []byte) (jsontext.Value, []action.Secret, error) {
	out, by, err := d.clean(v, true)
	return out, list(by), err
}

func list(by map[string][]replacement) []action.Secret {
	var out []action.Secret
	for _, rs := range by {
		for _, r := range rs {
			out = append(out, r.secret)
		}
	}
	slices.SortFunc(out, func(a, b action.Secret) int {
		if c := strings.Compare(a.Pointer, b.Pointer); c != 0 {
			return c
		}
		return strings.Compare(a.Print, b.Print)
	})
	return out
}

// Redact returns content with every secret in it replaced by [secret:kind:length]. It errs if one of
// those in found is not there, because then something is not where the decision saw it.
func (d *Detector) Redact(content []byte, found []action.Secret) ([]byte, error) {
	out, by, err := d.clean(content, false)
	if err != nil {
		return nil, err
	}
	prints := map[string]bool{}
	for _, s := range list(by) {
		prints[s.Print] = true
	}
	for _, s := range found {
		if !prints[s.Print] {
			return nil, fmt.Errorf("detect: a secret of kind %q at %q is not in the content", s.Kind, s.Pointer)
		}
	}
	return out, nil
}

// Scrub returns a copy of q in which every found secret is replaced by its kind, length and keyed
// fingerprint: in the arguments, in the result, and in the typed facts that were parsed out of them. q is
// not changed, and q itself is returned if there is nothing to replace. It fits enforce.Config.Scrub.
func (d *Detector) Scrub(q *action.Query) (*action.Query, error) {
	c := q
	own := func() { // c is a copy from here on
		if c == q {
			c = new(action.Query)
			*c = *q
		}
	}
	args, found, err := d.clean(q.Action.Arguments, true)
	if err != nil {
		return nil, err
	}
	if found != nil {
		own()
		c.Action.Arguments = args
		d.scrubFacts(&c.Action, found)
	}
	if len(q.Context.Result.Content) > 0 {
		content, inResult, err := d.clean(q.Context.Result.Content, true)
		if err != nil {
			return nil, err
		}
		if inResult != nil {
			own()
			c.Context.Result.Content = content
		}
	}
	return c, nil
}

// scrubFacts replaces the values of rs in the typed facts of a.
func (d *Detector) scrubFacts(a *action.Act, by map[string][]replacement) {
	var pairs []string
	for _, rs := range by {
		for _, r := range rs {
			pairs = append(pairs, r.value, marker(r.secret, true))
		}
	}
	clean := strings.NewReplacer(pairs...).Replace
	each := func(in []string) []string {
		out := slices.Clone(in)
		for i := range out {
			out[i] = clean(out[i])
		}
		return out
	}
	a.Paths, a.URLs, a.Commands = slices.Clone(a.Paths), slices.Clone(a.URLs), slices.Clone(a.Commands)
	a.SQL, a.Recipients = slices.Clone(a.SQL), slices.Clone(a.Recipients)
	for i := range a.Paths {
		a.Paths[i].Raw, a.Paths[i].Resolved = clean(a.Paths[i].Raw), clean(a.Paths[i].Resolved)
	}
	for i := range a.URLs {
		u := &a.URLs[i]
		u.Host, u.Path, u.Account = clean(u.Host), clean(u.Path), clean(u.Account)
	}
	for i := range a.Commands {
		x := &a.Commands[i]
		x.Name, x.Verb, x.Args, x.Writes = clean(x.Name), clean(x.Verb), each(x.Args), each(x.Writes)
	}
	for i := range a.SQL {
		a.SQL[i].Tables = each(a.SQL[i].Tables)
	}
	for i := range a.Recipients {
		a.Recipients[i].Value = clean(a.Recipients[i].Value)
	}
}

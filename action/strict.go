// SPDX-License-Identifier: Apache-2.0

package action

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound what Check accepts.
type Limits struct {
	Bytes int // 0 means DefaultBytes
	Depth int // 0 means DefaultDepth
	Names int // in all open objects together; 0 means DefaultNames
}

// The default limits.
const (
	DefaultBytes = 16 << 20
	DefaultDepth = 64
	// DefaultNames bounds the names that Check remembers: an object of millions of short names would cost
	// a hundred times its own size.
	DefaultNames = 1 << 17
)

// ErrStrict is wrapped by every refusal of Check and Read.
var ErrStrict = errors.New("malformed JSON")

// Check reports whether data is exactly one JSON value that every reader understands alike: valid
// UTF-8, no lone surrogates, no duplicate names, no two names of one object that differ only in case,
// nesting and size within l, and only numbers that survive a round trip through a double. The error
// wraps ErrStrict and names the place; it never quotes a value.
func Check(data []byte, l Limits) error {
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	if l.Depth == 0 {
		l.Depth = DefaultDepth
	}
	if l.Names == 0 {
		l.Names = DefaultNames
	}
	if len(data) > l.Bytes {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrStrict, len(data), l.Bytes)
	}
	c := checkers.Get().(*checker)
	defer c.release()
	c.dec, c.limit, c.most = Decode(data), l.Depth, l.Names
	for {
		done, err := c.token()
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if _, err := c.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the value at byte %d", ErrStrict, c.dec.InputOffset())
	}
	return nil
}

type checker struct {
	dec   *Decoder
	limit int
	names []names // one per open value
	open  int     // names in all open objects
	most  int     // of them
	value bool    // the next string in the open object is a value
}

var checkers = sync.Pool{New: func() any { return &checker{} }}

func (c *checker) release() {
	c.dec.Release()
	for i := range c.names { // open still, after an error
		c.names[i].forget()
	}
	kept := c.names[:0]
	if cap(kept) > DefaultDepth {
		kept = nil
	}
	*c = checker{names: kept}
	checkers.Put(c)
}

// push opens a value, on the memory of one that was open at this depth before.
func (c *checker) push(object bool) {
	if n := len(c.names); n < cap(c.names) {
		c.names = c.names[:n+1]
	} else {
		c.names = append(c.names, names{})
	}
	c.names[len(c.names)-1].object = object
}

func (c *checker) pop() {
	last := len(c.names) - 1
	c.open -= c.names[last].count()
	c.names[last].forget()
	c.names = c.names[:last]
}

// names are those of one open object, case folded.
type names struct {
	object bool
	few    []string        // up to maxFew
	many   map[string]bool // all of them, once they are more
}

const maxFew = 16

// forget keeps the memory and none of the names.
func (n *names) forget() {
	clear(n.few)
	*n = names{few: n.few[:0]}
}

func (n *names) count() int { return max(len(n.few), len(n.many)) }

// add reports whether name is new.
func (n *names) add(name string) bool {
	if n.many == nil {
		if slices.Contains(n.few, name) {
			return false
		}
		if len(n.few) < maxFew {
			n.few = append(n.few, name)
			return true
		}
		n.many = make(map[string]bool, 4*maxFew)
		for _, s := range n.few {
			n.many[s] = true
		}
	}
	if n.many[name] {
		return false
	}
	n.many[name] = true
	return true
}

// fold maps names that differ only in case to one.
func fold(name string) string {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return strings.ToLower(name) // of ASCII it is the same, and of lower case no copy
}

// token reads one token and reports whether the outermost value is complete.
func (c *checker) token() (bool, error) {
	tok, err := c.dec.ReadToken()
	if err != nil {
		return false, fmt.Errorf("%w: %s at byte %d", ErrStrict, syntax(err), c.dec.InputOffset())
	}
	switch tok.Kind() {
	case '{', '[':
		if len(c.names) >= c.limit {
			return false, fmt.Errorf("%w: nested deeper than %d", ErrStrict, c.limit)
		}
		c.push(tok.Kind() == '{')
		c.value = false
		return false, nil
	case '}', ']':
		c.pop()
	case '"':
		if n := len(c.names); n > 0 && c.names[n-1].object && !c.value {
			if c.open++; c.open > c.most {
				return false, fmt.Errorf("%w: more than %d names are open at once", ErrStrict, c.most)
			}
			if !c.names[n-1].add(fold(tok.String())) {
				return false, fmt.Errorf("%w: two names at %q differ only in case", ErrStrict, c.dec.StackPointer().Parent())
			}
			c.value = true
			return false, nil
		}
	case '0':
		if err := checkNumber(tok.String()); err != nil {
			return false, fmt.Errorf("%w: at %q", err, c.dec.StackPointer())
		}
	}
	c.value = false
	return len(c.names) == 0, nil
}

// syntax reduces a decoder error to its cause, so that no input is echoed.
func syntax(err error) string {
	var s *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "unexpected end"
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "duplicate name"
	case errors.As(err, &s) && s.Err != nil && strings.Contains(s.Err.Error(), "UTF-8"):
		return "invalid UTF-8"
	case errors.As(err, &s) && s.Err != nil && strings.Contains(s.Err.Error(), "surrogate"):
		return "lone surrogate"
	}
	return "syntax error"
}

// checkNumber refuses a literal whose value is not exactly a double's shortest form.
func checkNumber(lit string) error {
	if len(lit) > 64 {
		return fmt.Errorf("%w: a number of %d characters", ErrStrict, len(lit))
	}
	f, err := strconv.ParseFloat(lit, 64)
	if err != nil || math.IsInf(f, 0) {
		return fmt.Errorf("%w: a number out of range", ErrStrict)
	}
	if i, err := strconv.ParseInt(lit, 10, 64); err == nil {
		if i > MaxNumber || i < -MaxNumber {
			return fmt.Errorf("%w: an integer beyond 2^53-1", ErrStrict)
		}
		return nil
	}
	if _, exp, ok := strings.Cut(strings.ToLower(lit), "e"); ok && len(strings.TrimLeft(exp, "+-0")) > 3 {
		return fmt.Errorf("%w: an exponent out of range", ErrStrict)
	}
	short := strconv.FormatFloat(f, 'g', -1, 64)
	if lit == short {
		return nil
	}
	a, ok1 := new(big.Rat).SetString(lit)
	b, ok2 := new(big.Rat).SetString(short)
	if !ok1 || !ok2 || a.Cmp(b) != 0 {
		return fmt.Errorf("%w: a number that does not survive a double", ErrStrict)
	}
	if math.Abs(f) > float64(MaxNumber) {
		return fmt.Errorf("%w: a number beyond 2^53-1", ErrStrict)
	}
	return nil
}

// Read decodes data into v after Check, refusing members that v does not know.
func Read(data []byte, v any, l Limits) error {
	if err := Check(data, l); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %s", ErrStrict, semantic(err))
	}
	return nil
}

// semantic reduces an unmarshalling error to its place and kind.
func semantic(err error) string {
	var s *json.SemanticError
	if errors.As(err, &s) {
		if errors.Is(err, json.ErrUnknownName) {
			return fmt.Sprintf("unknown member at %q", s.JSONPointer)
		}
		if s.Err != nil {
			return fmt.Sprintf("at %q: %s", s.JSONPointer, s.Err)
		}
		return fmt.Sprintf("wrong type at %q", s.JSONPointer)
	}
	return "wrong type"
}

// ReadQuery reads a Query strictly and validates its words: the only way in for a document from outside.
//
// Its limits leave room around arguments or a result that are themselves as large as doors accept.
func ReadQuery(data []byte) (*Query, error) {
	q := NewQuery(PhaseUnknown)
	if err := Read(data, q, Limits{Bytes: 4 * DefaultBytes, Depth: DefaultDepth + 8, Names: 2 * DefaultNames}); err != nil {
		return nil, err
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return q, nil
}

// Clip returns s cut to at most n bytes on a rune boundary.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

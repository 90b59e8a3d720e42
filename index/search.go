// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"strings"
)

// The bounds of one search.
const (
	maxSearchBytes = 256
	maxSearchTerms = 16
)

// Search lists the records that hold every term of text, the latest first. Searched are kind, tool, rules,
// verdict, codes, session and reason, and nothing else. Terms are separated by spaces; each is found as a
// whole word or run of words, or as the beginning of one if it ends in "*". No term has a further meaning.
// f narrows the hits. Text without a letter or digit is ErrQuery.
func (x *Index) Search(ctx context.Context, text string, f Filter, limit int, cursor string) (Page[Step], error) {
	match, err := matchOf(text)
	if err != nil {
		return Page[Step]{}, err
	}
	w := where{table: "r."}
	w.add("words MATCH ?", match)
	w.filter(f)
	// The word table leads, in order of its rows: a page of a common word reads no more than the page.
	return page(ctx, x, `SELECT r.* FROM words CROSS JOIN records AS r ON r.idx = words.rowid`, w, "words.rowid", true, limit, cursor,
		func(s *Step) uint64 { return s.Index }, (*Step).scan, (*Step).named)
}

// matchOf turns what a person typed into an FTS5 expression of quoted phrases, in which nothing but our
// own quotes and stars is syntax.
func matchOf(text string) (string, error) {
	if len(text) > maxSearchBytes {
		return "", fmt.Errorf("%w: a search of %d bytes, wanted up to %d", ErrQuery, len(text), maxSearchBytes)
	}
	var terms []string
	for term := range strings.FieldsSeq(clean(text, maxSearchBytes)) {
		word, star := strings.CutSuffix(term, "*")
		if !strings.ContainsFunc(word, wordRune) {
			continue
		}
		q := `"` + strings.ReplaceAll(word, `"`, `""`) + `"`
		if star {
			q += "*"
		}
		terms = append(terms, q)
	}
	if len(terms) == 0 || len(terms) > maxSearchTerms {
		return "", fmt.Errorf("%w: a search of %d words, wanted 1 to %d", ErrQuery, len(terms), maxSearchTerms)
	}
	return strings.Join(terms, " "), nil
}

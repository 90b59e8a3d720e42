// SPDX-License-Identifier: Apache-2.0

// Package evidence makes packages out of a log that an auditor, an investigator or a data subject can check
// without us: the log itself, a report that is derived from nothing but its leaves, and a signed list of
// what is in the package.
//
// A report counts and quotes; it judges nothing. Who verifies a package derives the report again from the
// log in it, so a report that says something else than the log is found. What was opened of sealed parts is
// in the package under the commitments of the leaves, and is on record before it leaves.
package evidence

import (
	_ "embed"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

//go:embed mapping.yaml
var mappingFile []byte

// Mapping says what of a record speaks to which demand of a law or standard.
type Mapping struct {
	Version int    `yaml:"version"`
	Date    string `yaml:"date"`
	Note    string `yaml:"note"`
	Rows    []Row  `yaml:"rows"`
}

// Row is one demand.
type Row struct {
	ID        string   `yaml:"id" json:"id"`
	Framework string   `yaml:"framework" json:"framework"`
	Ref       string   `yaml:"ref" json:"ref"`
	Title     string   `yaml:"title" json:"title"`
	Shows     string   `yaml:"shows" json:"shows"`
	From      []Source `yaml:"from" json:"from"`
}

// Source is one place where evidence stands: records of a kind, narrowed by verdict or status; or a metric;
// or the file of a policy's tests.
type Source struct {
	Record  action.Kind    `yaml:"record" json:"record"`
	Verdict action.Verdict `yaml:"verdict" json:"verdict"`
	Status  action.Status  `yaml:"status" json:"status"`
	Metric  string         `yaml:"metric" json:"metric"`
	Test    string         `yaml:"test" json:"test"`
}

// LoadMapping returns the mapping of this build. It errs on a row that is tied to nothing, or to a word that
// no record can hold.
func LoadMapping() (*Mapping, error) { return readMapping(mappingFile) }

func readMapping(data []byte) (*Mapping, error) {
	var m Mapping
	if err := strictyaml.Decode("mapping.yaml", data, &m); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if m.Version != 1 || len(m.Rows) == 0 {
		return nil, fmt.Errorf("evidence: mapping: version %d with %d rows", m.Version, len(m.Rows))
	}
	seen := map[string]bool{}
	for _, r := range m.Rows {
		if r.ID == "" || seen[r.ID] || r.Framework == "" || r.Ref == "" || r.Title == "" || r.Shows == "" || len(r.From) == 0 {
			return nil, fmt.Errorf("evidence: mapping: row %q is incomplete or stands twice", r.ID)
		}
		seen[r.ID] = true
		for _, s := range r.From {
			if err := s.check(); err != nil {
				return nil, fmt.Errorf("evidence: mapping: row %q: %w", r.ID, err)
			}
		}
	}
	return &m, nil
}

func (s *Source) check() error {
	n := 0
	for _, w := range []string{string(s.Record), s.Metric, s.Test} {
		if w != "" {
			n++
		}
	}
	switch {
	case n != 1:
		return fmt.Errorf("a source is exactly one of record, metric and test")
	case s.Record != "" && !s.Record.Known():
		return fmt.Errorf("record %q is no kind", s.Record)
	case s.Verdict != "" && !slices.Contains(s.Verdict.Values(), string(s.Verdict)), s.Status != "" && !slices.Contains(s.Status.Values(), string(s.Status)):
		return fmt.Errorf("verdict %q or status %q is none", s.Verdict, s.Status)
	case s.Record == "" && (s.Verdict != "" || s.Status != ""):
		return fmt.Errorf("verdict and status narrow records")
	}
	return nil
}

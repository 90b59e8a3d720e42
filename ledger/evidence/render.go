// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
)

// maxShown bounds the events that are written out for people; report.json has all.
const maxShown = 5000

// titles are the headings of the kinds of packages.
var titles = map[string]string{KindEvidence: "Evidence from the record", KindIncident: "Incident report", KindSubject: "What is recorded about a person"}

// page is a report as people read it: a table is a heading, a row of names and rows.
type page struct {
	Title  string
	Facts  [][2]string
	Tables []table
	Notes  []string
}

type table struct {
	Title string
	Head  []string
	Rows  [][]string
}

func (r *Report) page(names map[string]string) page {
	p := page{Title: titles[r.Kind], Facts: [][2]string{{"Log", r.Origin}, {"Records in the log", fmt.Sprint(r.Size)}, {"From", day(r.FirstMs)}, {"To", day(r.LastMs)},
		{"Records by kind", counted(r.Records)}, {"Decisions by verdict", counted(r.Verdicts)}, {"Intents without outcome", fmt.Sprint(len(r.Open))}}, Notes: r.Notes}
	if r.Session != "" {
		p.Facts = append(p.Facts, [2]string{"Session", r.Session}, [2]string{"Whose data it is", named(names, r.Owners...)})
	}
	if r.Subject != "" {
		p.Facts = append(p.Facts, [2]string{"Subject", named(names, r.User) + " (owner of parts: " + r.Subject + ")"})
	}
	policies := table{"Policies that decided", []string{"bundle", "digest", "records", "decisions"}, nil}
	for _, b := range r.Bundles {
		policies.Rows = append(policies.Rows, []string{b.Name, b.Digest, fmt.Sprintf("%d to %d", b.First, b.Last), fmt.Sprint(b.Decisions)})
	}
	p.Tables = append(p.Tables, policies)
	framework := ""
	for _, f := range r.Rows {
		if f.Framework != framework {
			framework = f.Framework
			p.Tables = append(p.Tables, table{framework, []string{"reference", "what it shows", "where"}, nil})
		}
		t := &p.Tables[len(p.Tables)-1]
		t.Rows = append(t.Rows, []string{f.Ref + " " + f.Title, f.Shows, f.where()})
	}
	if r.Kind != KindEvidence {
		p.Tables = append(p.Tables, r.timeline(names))
	}
	if r.Kind == KindSubject {
		reads := table{"Who opened it", []string{"record", "time", "who", "where", "parts"}, nil}
		for _, a := range r.Reads {
			reads.Rows = append(reads.Rows, []string{fmt.Sprint(a.Index), day(a.TimeMs), named(names, a.Actor), a.Where, fmt.Sprint(a.Parts)})
		}
		p.Tables = append(p.Tables, reads)
	}
	return p
}

func (r *Report) timeline(names map[string]string) table {
	t := table{"Timeline", []string{"record", "time", "kind", "what", "decision", "who"}, nil}
	for i, e := range r.Timeline {
		if i == maxShown {
			t.Rows = append(t.Rows, []string{"", "", "", fmt.Sprintf("%d more stand in report.json", len(r.Timeline)-i), "", ""})
			break
		}
		what := strings.TrimSpace(named(names, e.Server, e.Tool) + " " + string(e.Effect))
		if len(e.Codes) > 0 {
			what += " [" + strings.Join(e.Codes, " ") + "]"
		}
		decided := strings.TrimSpace(strings.Join([]string{string(e.Verdict), string(e.Status), strings.Join(e.Rules, " ")}, " "))
		t.Rows = append(t.Rows, []string{fmt.Sprint(e.Index), day(e.TimeMs), string(e.Kind), what, decided, named(names, e.Agent, e.User, e.Actor)})
	}
	return t
}

// where says where the evidence of a row stands.
func (f *Found) where() string {
	var out []string
	for i, s := range f.From {
		switch c := f.Counts[i]; {
		case s.Metric != "":
			out = append(out, "metric "+s.Metric)
		case s.Test != "":
			out = append(out, "tests "+s.Test)
		default:
			kind := strings.TrimSpace(string(s.Record) + " " + string(s.Verdict) + string(s.Status))
			if c.N == 0 {
				out = append(out, "no record: "+kind)
			} else {
				out = append(out, fmt.Sprintf("%d of %s (records %d to %d)", c.N, kind, c.First, c.Last))
			}
		}
	}
	return strings.Join(out, "; ")
}

// named writes pseudonyms with the names that they stand for, where they are known.
func named(names map[string]string, pseudonyms ...string) string {
	var out []string
	for _, p := range pseudonyms {
		if p != "" {
			out = append(out, cmp.Or(action.Clip(names[p], 128), p))
		}
	}
	return strings.Join(out, " ")
}

func day(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000Z")
}

func counted(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", k, m[k]))
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

// markdown escapes what could end a cell or begin a tag; names are the only words that others chose.
func (r *Report) markdown(names map[string]string) []byte {
	p := r.page(names)
	plain := strings.NewReplacer("|", "\\|", "<", "&lt;", "&", "&amp;", "`", "'", "\n", " ", "\r", " ", "[", "\\[", "]", "\\]").Replace
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\nEvidence, not a finding of compliance. Check it with `sallyport ledger verify PACKAGE`.\n\n", p.Title)
	for _, f := range p.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", f[0], plain(f[1]))
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "\n%s\n", plain(n))
	}
	for _, t := range p.Tables {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| %s |\n|%s\n", t.Title, strings.Join(t.Head, " | "), strings.Repeat("---|", len(t.Head)))
		for _, row := range t.Rows {
			b.WriteByte('|')
			for _, cell := range row {
				b.WriteString(" " + plain(cell) + " |")
			}
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:14px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}td{overflow-wrap:anywhere}</style></head>
<body><h1>{{.Title}}</h1>
<p>Evidence, not a finding of compliance. Check it with <code>sallyport ledger verify PACKAGE</code>.</p>
<table>{{range .Facts}}<tr><th>{{index . 0}}</th><td>{{index . 1}}</td></tr>{{end}}</table>
{{range .Notes}}<p>{{.}}</p>{{end}}
{{range .Tables}}{{if .Rows}}<h2>{{.Title}}</h2>
<table><tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table>{{end}}{{end}}
</body></html>
`))

func (r *Report) html(names map[string]string) ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, r.page(names))
	return b.Bytes(), err
}

// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/detect/learn"
)

// BenchOptions says what Bench measures.
type BenchOptions struct {
	Data     string       // folder with one or more sets, see Bench
	Progress func(string) // told of each step; may be nil
}

// Rate is a count of a whole.
type Rate struct {
	N     int     `json:"n"`
	Of    int     `json:"of"`
	Share float64 `json:"share"` // 0 if Of is 0
	// CI95 is Wilson's 95 % interval of the share of as many texts that have nothing to do with each other;
	// texts of one source do resemble each other, so it is rather wider.
	CI95 [2]float64 `json:"ci95"`
}

func rateOf(n, of int) Rate {
	r := Rate{N: n, Of: of, CI95: [2]float64{0, 1}}
	if of > 0 {
		const z = 1.959964
		k, p := float64(of), float64(n)/float64(of)
		mid, half := (p+z*z/(2*k))/(1+z*z/k), z/(1+z*z/k)*math.Sqrt(p*(1-p)/k+z*z/(4*k*k))
		r.Share, r.CI95 = p, [2]float64{max(0, mid-half), min(1, mid+half)}
	}
	return r
}

// BenchResult is what Bench found. A part whose data are not there is absent.
type BenchResult struct {
	Threshold int                    `json:"threshold_milli"` // what counts as found in the rows "shipped"
	Sources   map[string]SourceBench `json:"sources,omitempty"`
	NotInject *Rate                  `json:"notinject_accuracy,omitempty"`
	// NotInjectLeftOut is that of a model which was trained without that set.
	NotInjectLeftOut *Rate       `json:"notinject_accuracy_left_out,omitempty"`
	Layers           []LayerRow  `json:"layers,omitempty"`
	Secrets          *KindsBench `json:"secrets,omitempty"`
	// SecretsUnknown is recall without the rules for any one issuer's form: what a kind that nobody knows
	// can expect.
	SecretsUnknown *KindsBench  `json:"secrets_unknown_kinds,omitempty"`
	PII            *KindsBench  `json:"pii,omitempty"`
	Clean          *CleanBench  `json:"clean_outputs,omitempty"`
	Tools          *ToolsBench  `json:"tool_descriptions,omitempty"`
	Egress         *EgressBench `json:"egress,omitempty"`
	Cost           CostBench    `json:"cost"`
}

// SourceBench is one source of prompts or tool outputs. Left out: a model trained on all other sources in
// the folder and the generated text, with nothing of this one.
type SourceBench struct {
	Attacks       int  `json:"attacks"`
	Benign        int  `json:"benign"`
	Recall        Rate `json:"recall_shipped"`
	FalseAlarms   Rate `json:"false_alarms_shipped"`
	RecallAt1     Rate `json:"recall_at_1pct_fpr"`
	LeftOut       Rate `json:"left_out_recall_shipped"`
	LeftOutAlarms Rate `json:"left_out_false_alarms_shipped"`
	LeftOutAt1    Rate `json:"left_out_recall_at_1pct_fpr"`
}

// LayerRow is one of Rebuff's four layers, with ours in its place on, off, or by itself, over all sources.
type LayerRow struct {
	Layer       string  `json:"layer"` // heuristic, model, similarity, canary, rebuff_heuristic
	With        string  `json:"with"`  // all, without, alone
	RecallAt1   Rate    `json:"recall_at_1pct_fpr"`
	Recall      Rate    `json:"recall_shipped"`
	FalseAlarms Rate    `json:"false_alarms_shipped"`
	UsPerKiB    float64 `json:"us_per_kib"`
}

// KindsBench is recall and precision by kind.
type KindsBench struct {
	Recall     Rate                 `json:"recall"`
	Precision  Rate                 `json:"precision"`
	HardAlarms Rate                 `json:"hard_negative_alarms"` // of texts labelled clean
	Kinds      map[string]KindBench `json:"kinds"`
}

// KindBench is one kind: of texts that hold it how many were found, of finds how many were right.
type KindBench struct {
	Recall    Rate `json:"recall"`
	Precision Rate `json:"precision"`
}

// CleanBench is what was wrongly found in recorded tool outputs without an attack.
type CleanBench struct {
	Outputs        int     `json:"outputs"`
	Distinct       int     `json:"distinct_lines"`
	Secrets        Rate    `json:"secret_alarms"`
	SecretsPer1000 float64 `json:"secret_alarms_per_1000"`
	Leaks          Rate    `json:"leak_500_alarms"`
	Injection      Rate    `json:"injection_alarms"`
	Attacked       Rate    `json:"injected_found"` // of outputs that hold an attack
}

// ToolsBench is what the descriptions of tools alone tell.
type ToolsBench struct {
	Attack Rate `json:"attack_tools_found"`
	Normal Rate `json:"normal_tools_alarmed"`
}

// EgressBench counts cases in which something was found that the detector looks for: in those that should be
// blocked, and in those that should not. Destinations are not its business; most misses are theirs.
type EgressBench struct {
	Blocked    Rate            `json:"block_cases_with_a_finding"`
	Allowed    Rate            `json:"allow_cases_with_a_finding"`
	Categories map[string]Rate `json:"block_by_category"`
}

// CostBench is the time of a whole scan, a KiB of text, of prompts, outputs and sentences of at least one KiB
// (shorter ones are put together).
type CostBench struct {
	Texts int     `json:"texts"`
	KiB   float64 `json:"kib"`
	P50   float64 `json:"us_per_kib_p50"`
	P99   float64 `json:"us_per_kib_p99"`
}

// Threshold is the score from which the embedded policies take a result for instructions.
const Threshold = 500

// ErrNoData is returned by Bench for a folder that holds no set that it knows.
var ErrNoData = errors.New("detect: no prompts.jsonl, contents.jsonl, secrets.jsonl, pii.jsonl or cases.jsonl in the folder")

// bench is the work on one folder.
type bench struct {
	opt     BenchOptions
	model   *learn.Model
	prompts []learn.Sample
	outputs []recorded
	secrets []secretRow
	pii     []piiRow
	cases   []caseRow
	res     BenchResult
}

// Bench measures the detector on the sets under a folder. They are known by the names of their files, each
// also with .gz: prompts.jsonl {set, text, label}, contents.jsonl {text, injected}, secrets.jsonl {rule,
// label, text}, pii.jsonl {text, spans: [{type, start, end}]}, cases.jsonl of {kind, description, label} or
// of {payload, expected_verdict, category}. Nothing is written. It trains a model for each source.
func Bench(ctx context.Context, opt BenchOptions) (BenchResult, error) {
	b := &bench{opt: opt, res: BenchResult{Threshold: Threshold}}
	if b.opt.Progress == nil {
		b.opt.Progress = func(string) {}
	}
	var err error
	if b.model, err = learn.Load(embedded); err != nil {
		return b.res, err
	}
	if err := b.read(); err != nil {
		return b.res, err
	}
	if len(b.prompts)+len(b.outputs)+len(b.secrets)+len(b.pii)+len(b.cases) == 0 {
		return b.res, fmt.Errorf("%w: %q", ErrNoData, opt.Data)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context)
	}{
		{"cost", b.cost}, {"secrets", b.leaks}, {"personal data", b.personal}, {"clean outputs", b.clean}, {"tools and egress", b.rest},
		{"sources", b.sources}, {"layers", b.layers},
	} {
		if err := ctx.Err(); err != nil {
			return b.res, err
		}
		b.opt.Progress(step.name)
		step.do(ctx)
	}
	return b.res, ctx.Err()
}

type promptRow struct {
	Set   string `json:"set"`
	Text  string `json:"text"`
	Label int    `json:"label"`
}

type recorded struct {
	Source   string `json:"-"`
	Injected bool   `json:"injected"`
	Text     string `json:"text"`
}

type secretRow struct {
	Rule  string `json:"rule"`
	Label int    `json:"label"`
	Text  string `json:"text"`
}

type piiRow struct {
	Text  string `json:"text"`
	Spans []struct {
		Type string `json:"type"`
	} `json:"spans"`
}

// read takes every known file under the folder, in the order of their paths.
func (b *bench) read() error {
	return filepath.WalkDir(b.opt.Data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		source := filepath.Base(filepath.Dir(path))
		switch strings.TrimSuffix(e.Name(), ".gz") {
		case "prompts.jsonl":
			return eachRow(path, func(r promptRow) {
				b.prompts = append(b.prompts, learn.Sample{Source: r.Set, Text: r.Text, Attack: r.Label == 1})
			})
		case "contents.jsonl":
			return eachRow(path, func(r recorded) { r.Source = source; b.outputs = append(b.outputs, r) })
		case "secrets.jsonl":
			return eachRow(path, func(r secretRow) { b.secrets = append(b.secrets, r) })
		case "pii.jsonl":
			return eachRow(path, func(r piiRow) { b.pii = append(b.pii, r) })
		case "cases.jsonl":
			return eachRow(path, func(r caseRow) { b.cases = append(b.cases, r) })
		}
		return nil
	})
}

// full is a scanner with everything on.
func (b *bench) full(text string) scanner {
	return scanner{secrets: true, personal: true, injection: true, model: b.model, room: roomFor(len(text))}
}

// cost scans the longer texts of all sets, and the shorter ones put together.
func (b *bench) cost(ctx context.Context) {
	var texts []string
	var rest strings.Builder
	add := func(t string) {
		if len(t) >= 1024 {
			texts = append(texts, t)
			return
		}
		if rest.WriteString(t + "\n"); rest.Len() >= 2048 {
			texts = append(texts, rest.String())
			rest.Reset()
		}
	}
	for _, p := range b.prompts {
		add(p.Text)
	}
	for _, o := range b.outputs {
		add(o.Text)
	}
	for _, p := range b.pii {
		add(p.Text)
	}
	var per []float64
	size := 0
	for _, t := range texts {
		if ctx.Err() != nil {
			return
		}
		best := time.Duration(1 << 62)
		for range 30 { // the least of thirty: what else the machine does is not of interest
			s, start := b.full(t), time.Now()
			s.text(t, "")
			best = min(best, time.Since(start))
		}
		size += len(t)
		per = append(per, float64(best.Nanoseconds())/1000/(float64(len(t))/1024))
	}
	slices.Sort(per)
	b.res.Cost = CostBench{Texts: len(per), KiB: float64(size) / 1024, P50: quantile(per, 0.5), P99: quantile(per, 0.99)}
}

func quantile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// clean counts alarms on recorded outputs.
func (b *bench) clean(ctx context.Context) {
	if len(b.outputs) == 0 {
		return
	}
	c := &CleanBench{}
	secrets, leaks, injection, attacked, found := 0, 0, 0, 0, 0
	lines := map[[32]byte]bool{}
	for _, o := range b.outputs {
		if ctx.Err() != nil {
			return
		}
		s := b.full(o.Text)
		hits := s.text(o.Text, "")
		if o.Injected {
			attacked++
			if s.worst >= Threshold {
				found++
			}
			continue
		}
		c.Outputs++
		for l := range strings.Lines(o.Text) {
			lines[sha256.Sum256([]byte(l))] = true
		}
		if slices.ContainsFunc(hits, func(h hit) bool { return h.class == classSecret }) {
			secrets++
		}
		if slices.ContainsFunc(hits, func(h hit) bool { return h.class <= classLeak && h.score >= Threshold }) {
			leaks++
		}
		if s.worst >= Threshold {
			injection++
		}
	}
	c.Distinct = len(lines)
	c.Secrets, c.Leaks, c.Injection, c.Attacked = rateOf(secrets, c.Outputs), rateOf(leaks, c.Outputs), rateOf(injection, c.Outputs), rateOf(found, attacked)
	c.SecretsPer1000 = 1000 * c.Secrets.Share
	b.res.Clean = c
}

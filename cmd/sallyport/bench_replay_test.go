// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

const madeUp = "../../bench/recordings"

// replayOf runs the command and reads its answer.
func replayOf(t *testing.T, out any, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(append([]string{"bench", "replay", "--json"}, args...), strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		t.Fatalf("%v\n%s", err, stdout.String())
	}
}

func TestBenchReplayCountsWhatIsOnRecord(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "wrong.jsonl")
	var got replayReport
	replayOf(t, &got, "--data", madeUp, "--tampered-copies", "15", "--failures", wrong)
	o := &got.Overall
	if o.Runs != 24 || o.Attacked != 15 || o.Benign != 9 || o.Counts["asr_ungoverned"] != [2]int{14, 15} || len(got.Suites) != 2 {
		t.Errorf("%+v", o)
	}
	if n := o.Counts["harm_block_rate"]; n[1] != 14 || o.HarmBy.Destination+o.HarmBy.Selection+o.HarmBy.Other != n[0] {
		t.Errorf("harm: %v, by %+v", n, o.HarmBy)
	}
	if o.Latency.P50 <= 0 || o.Latency.P99 < o.Latency.P50 {
		t.Errorf("latency %+v", o.Latency)
	}
	a := got.Article
	if a == nil || a.Auditability.Recorded != 1 || a.Auditability.Proved != 1 || a.Auditability.Rederived != 1 ||
		a.Auditability.Tampering != 1 || a.Auditability.Copies != 15 || !a.Auditability.Whole || a.Incidents.Ungoverned != 45 || a.Completion.Ungoverned != 1 {
		t.Errorf("article %+v", a)
	}
	if len(got.Rows) != 2 || got.Rows[1].Runs != 24 {
		t.Errorf("rows %+v", got.Rows)
	}
	// Whoever takes the user's words away gets no more than before.
	for i := range got.Rows[1:] {
		if r := &got.Rows[1+i]; r.Counts["harm_block_rate"][0] < o.Counts["harm_block_rate"][0] || r.Intact > o.Intact {
			t.Errorf("%s: %+v", r.Row, r.Counts)
		}
	}
	b, err := os.ReadFile(wrong)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for line := range strings.Lines(string(b)) {
		var c struct {
			Wrong    string
			Attacked bool
		}
		if err := json.Unmarshal([]byte(line), &c, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		if c.Wrong != "passed_harm" && !c.Attacked {
			lost++
		}
	}
	if lost != o.Counts["false_block_rate"][0] {
		t.Errorf("%d lost calls are told, %d counted", lost, o.Counts["false_block_rate"][0])
	}
}

func TestBenchReplayPerfectApproverLosesNothing(t *testing.T) {
	var got replayReport
	replayOf(t, &got, "--data", madeUp, "--holds", "approve", "--closed-loop", "--rows=false")
	o := &got.Overall
	if got.Loop != "closed" || o.Runs != 42 || o.Ungoverned != 1 || o.Intact != 1 || o.FalseBlock != 0 {
		t.Errorf("%+v", o)
	}
	if got.Article != nil || len(got.Rows) != 0 {
		t.Error("--rows=false measures the rows")
	}
}

// Others read the output by these names.
func TestBenchReplayMembersHaveTheirNames(t *testing.T) {
	var got map[string]any
	replayOf(t, &got, "--data", madeUp, "--suite", "workshop", "--limit", "2", "--tampered-copies", "1")
	has := func(at any, path string) bool {
		for name := range strings.SplitSeq(path, ".") {
			m, ok := at.(map[string]any)
			if at = m[name]; !ok || at == nil {
				return false
			}
		}
		return true
	}
	for _, where := range []string{"overall", "suites.workshop"} {
		for name := range strings.FieldsSeq(`runs asr_strict asr_chain_break harm_block_rate benign_tasks_intact false_block_rate ua_intact
			holds_per_100_benign_tasks latency_us.p50 latency_us.p95 latency_us.p99 intervals_95.asr_strict
			harm_stopped_by.destination harm_stopped_by.selection harm_stopped_by.other`) {
			if !has(got, where+"."+name) {
				t.Errorf("%s.%s is missing", where, name)
			}
		}
	}
	for name := range strings.FieldsSeq(`latency_ms incidents_per_10k.ungoverned incidents_per_10k.governed incidents_per_10k.mix violations_prevented
		completion.ungoverned completion.governed auditability.recorded auditability.proved auditability.tampering_found auditability.rederived`) {
		if !has(got, "article."+name) {
			t.Errorf("article.%s is missing", name)
		}
	}
	rows, _ := got["rows"].([]any)
	var names []string
	for _, r := range rows {
		m, _ := r.(map[string]any)
		names = append(names, fmt.Sprint(m["row"]))
	}
	if want := []string{"selection off", "user's request withheld"}; !slices.Equal(names, want) {
		t.Errorf("rows %q, want %q", names, want)
	}
}

func TestBenchReplayAdversaryComparesWithTheRecording(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an owner for each variant")
	}
	var got adversaryReport
	replayOf(t, &got, "--data", madeUp, "--adversary", "--limit", "2", "--suite", "workshop")
	if len(got.Variants) < 15 || got.Variants[0].Name != "as recorded" || got.Variants[0].Runs != 2 {
		t.Fatalf("%+v", got.Variants)
	}
	for _, v := range got.Variants {
		if v.Runs == 0 || v.Harm < v.Runs {
			t.Errorf("%s was applied to %d runs with %d harm calls", v.Name, v.Runs, v.Harm)
		}
	}
}

func TestBenchReplaySaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no folder":                     {[]string{"--data", filepath.Join(dir, "none")}, exitError, "is no folder of recordings"},
		"an empty folder":               {[]string{"--data", dir}, exitError, "holds neither tools.jsonl nor tools.jsonl.gz"},
		"no flag":                       {nil, exitUsage, "data"},
		"a detector that is neither":    {[]string{"--data", dir, "--detector", "maybe"}, exitUsage, "neither on nor off"},
		"holds that are neither":        {[]string{"--data", dir, "--holds", "wait"}, exitUsage, "neither deny nor approve"},
		"a suite that is not there":     {[]string{"--data", madeUp, "--suite", "bank"}, exitError, "guesthouse, workshop"},
		"an adversary in a closed loop": {[]string{"--data", madeUp, "--adversary", "--closed-loop"}, exitUsage, "--adversary goes with"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(append([]string{"bench", "replay"}, c.args...), strings.NewReader(""), &stdout, &stderr); code != c.code {
			t.Errorf("%s: exit %d, want %d\n%s", name, code, c.code, stderr.String())
		}
		if !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: %s", name, stderr.String())
		}
	}
}

// openPolicy allows everything.
func openPolicy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sallyport-bundle.yaml": "version: 1\nname: open\nsequence: 1\ndescription: Everything passes.\nowner: test\n",
		"open.rego": "package sallyport.open\n\nimport rego.v2\n\n" +
			`allow contains {"id": "all", "code": "all", "reason": "Everything."} if input.version == "agent.v1"` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBenchReplayFindsNothingStoppedWhereEverythingPasses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an owner for each variant")
	}
	var got replayReport
	replayOf(t, &got, "--data", madeUp, "--policy", openPolicy(t), "--rows=false")
	if o := &got.Overall; o.Strict != o.Ungoverned || o.Chain != o.Ungoverned || o.Harm != 0 || o.Intact != 1 || o.FalseBlock != 0 || o.UA != 1 || o.Holds != 0 {
		t.Errorf("%+v", o)
	}
	replayOf(t, &got, "--data", madeUp, "--policy", openPolicy(t), "--rows=false", "--closed-loop")
	if o := &got.Overall; o.Strict != 1 || o.Harm != 0 || o.Intact != 1 {
		t.Errorf("closed loop: %+v", o)
	}
	var adversary adversaryReport
	replayOf(t, &adversary, "--data", madeUp, "--policy", openPolicy(t), "--adversary", "--limit", "1", "--suite", "guesthouse")
	for _, v := range adversary.Variants {
		if v.Stopped != 0 || v.Missed != v.Runs || v.Runs > 0 && len(v.Examples) == 0 {
			t.Errorf("%+v", v)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkHookProcess is what a host waits for: a process that starts, carries one event to a running
// owner and ends, with the durable record inside. "nothing" is the same without any work, so that the
// machine's own cost shows.
func BenchmarkHookProcess(b *testing.B) {
	p := newPlace(b, "")
	dir := p.folder("project")
	small := filepath.Join(b.TempDir(), "sallyport-hook")
	if out, err := exec.Command("go", "build", "-o", small, "../sallyport-hook").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	p.up()
	n := 0
	run := func(argv ...string) func(b *testing.B) {
		return func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				n++
				cmd := p.command(b.Context(), slices.Clone(argv)...)
				cmd.Env = append(slices.Clone(p.env), "CLAUDE_PROJECT_DIR="+dir)
				cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"session_id":"s","cwd":%q,"hook_event_name":"PreToolUse","tool_name":"Read","tool_input":{"file_path":%q},"tool_use_id":"t%d"}`,
					dir, filepath.Join(dir, "a"), n))
				start := time.Now()
				out, err := cmd.Output()
				took = append(took, time.Since(start))
				if err != nil || len(argv) > 1 && string(out) != "{}\n" {
					b.Fatalf("%v: %s", err, out)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		}
	}
	b.Run("small", run(small, "--data", p.data, "claude-code"))
	b.Run("whole", run("sallyport", "hook", "claude-code"))
	b.Run("nothing", run("/bin/true"))
	_ = os.Remove(small)
}

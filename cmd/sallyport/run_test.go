// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/confine"
	"github.com/sallyport/sallyport/ledger"
)

func TestRunConfinesAProgram(t *testing.T) {
	for w, err := range confine.Available() {
		if err != nil {
			t.Skipf("the kernel offers no wall %q: %v", w, err)
		}
	}
	p := newPlace(t, "")
	p.env = append(p.env, "AWS_SECRET_ACCESS_KEY=hunter2", "LD_PRELOAD=")
	work := p.folder("work")
	run := func(dir string, args ...string) (string, string, int) {
		cmd := p.command(t.Context(), append([]string{"sallyport", "run", "--require", "confined"}, args...)...)
		cmd.Dir = dir
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	script := `env; cat < ` + p.data + `/tokens/admin; ls ` + p.data + ` ` + p.data + `/run; echo mine > mine; cat mine
exec 5<>/dev/tcp/127.0.0.1/7117; printf 'GET /readyz HTTP/1.0\r\n\r\n' >&5; head -1 <&5
exec 5<>/dev/tcp/127.0.0.1/7117; printf 'GET /../people/v1/local/ledger HTTP/1.0\r\n\r\n' >&5; head -1 <&5
exec 5<>/dev/tcp/127.0.0.1/7117; printf 'GET /people/v1/local/ledger HTTP/1.0\r\n\r\n' >&5; head -1 <&5
exec 5<>/dev/tcp/127.0.0.1/7117; printf 'POST /v1/hooks/claude-code HTTP/1.0\r\n\r\n' >&5; head -1 <&5
exit 9`
	out, errs, code := run(work, "--", "bash", "-c", script)
	if code != 9 || !strings.Contains(errs, "holds: network, processes, files, calls, privileges") {
		t.Errorf("exit %d, want 9\n%s", code, errs)
	}
	if strings.Contains(out, "hunter2") || !strings.Contains(out, "SALLYPORT_URL=http://127.0.0.1:7117\n") || !strings.Contains(out, "mine\n") {
		t.Errorf("output:\n%s\n%s", out, errs)
	}
	for i, want := range []string{"200", "403", "404", "415"} {
		if lines := strings.Split(out[strings.Index(out, "HTTP/"):], "\n"); i >= len(lines) || !strings.Contains(lines[i], " "+want+" ") {
			t.Errorf("request %d through the door: want status %s of\n%s", i, want, out)
		}
	}
	if strings.Count(errs, "Permission denied") != 3 {
		t.Errorf("the data directory is open:\n%s", errs)
	}
	for name, args := range map[string][]string{
		"the home as a workspace":     {p.home},
		"a grant of the owner's data": {work, "--read", p.data},
		"a grant of everything":       {work, "--write", "/"},
	} {
		if out, errs, code := run(args[0], append(args[1:], "--", "echo", "ran")...); code != 1 || out != "" || !strings.Contains(errs, "may not be granted") {
			t.Errorf("%s: exit %d, %q, %q", name, code, out, errs)
		}
	}
}

// TestRunDegradesOnlyOpenly has a kernel that makes no namespaces: what is missing is printed, is refused where it was
// demanded, and no record says that the program is confined.
func TestRunDegradesOnlyOpenly(t *testing.T) {
	for w, err := range confine.Available() {
		if err != nil {
			t.Skipf("the kernel offers no wall %q: %v", w, err)
		}
	}
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\npolicy: {dir: "+p.permissive("")+"}\n")
	p.listenNone()
	work := p.folder("work")
	run := func(args ...string) (string, int) {
		cmd := p.command(t.Context(), append([]string{"unshare", "-Ur", "sh", "-c", `echo 0 > /proc/sys/user/max_user_namespaces && exec sallyport "$@"`, "sh", "run"}, args...)...)
		cmd.Dir = work
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run("--require", "confined", "--", "touch", "ran"); code != 1 || !strings.Contains(out, "not confined: network (") {
		t.Errorf("demanded: exit %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(work, "ran")); err == nil {
		t.Error("the program ran without the walls that were demanded")
	}
	out, code := run("--", "bash", "-c", `a=${SALLYPORT_URL#http://}; exec 5<>/dev/tcp/${a%:*}/${a#*:}; b='{"call_id":"c","tool":{"server":"act","name":"act"},"arguments":{}}'
printf 'POST /v1/actions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' ${#b} "$b" >&5; head -1 <&5; cat `+p.data+`/tokens/admin`)
	if code != 1 || !strings.Contains(out, "holds: files, calls, privileges") || !strings.Contains(out, "does not hold: network (") ||
		!strings.Contains(out, "does not hold: processes (") || !strings.Contains(out, " 200 ") || !strings.Contains(out, "Permission denied") {
		t.Errorf("exit %d\n%s", code, out)
	}
	seen := 0
	p.records(func(e ledger.Entry, q *action.Query) {
		if q == nil || e.Leaf.Action == "" {
			return
		}
		seen++
		if held := q.Context.Enforcement.Confined; e.Leaf.Grade == action.GradeConfined || e.Leaf.Separation == action.SeparationConfined || len(held) != 3 {
			t.Errorf("entry %d: grade %q, separation %q, walls %q", e.Index, e.Leaf.Grade, e.Leaf.Separation, held)
		}
	})
	if seen == 0 {
		t.Error("nothing is on record")
	}
}

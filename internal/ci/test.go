// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// test is everything that a change must pass. A step that fails does not keep the others from running.
// Under the race detector tests leave out with -short what is long and gains nothing from it; that runs
// afterwards without.
func (r *run) test() error {
	if err := r.setUp(); err != nil {
		return err
	}
	r.do("modules", func() error { return r.command("go", "mod", "verify").Run() })
	r.do("gofmt", r.gofmt)
	r.do("go vet", func() error { return r.command("go", "vet", "./...").Run() })
	r.do("go build", func() error { return r.command("go", "build", "./...").Run() })
	list, err := r.packages()
	if err != nil {
		return err
	}
	if err := r.scripts("install.sh"); err != nil {
		return err
	}
	race, plain := split(list)
	r.do("C compiler, which the race detector needs", r.compiler)
	r.do(fmt.Sprintf("go test -race -short, %d packages that start goroutines", len(race)), func() error {
		r.tally.defers = true
		defer func() { r.tally.defers = false }()
		return r.gotest(append([]string{"-race", "-short", "-timeout=15m"}, race...)...)
	})
	r.do(fmt.Sprintf("go test, %d other packages", len(plain)), func() error {
		return r.gotest(append([]string{"-timeout=15m"}, plain...)...)
	})
	for _, p := range sortedKeys(r.tally.later) {
		r.do("go test "+short(p)+", what -short left out", func() error {
			return r.gotest("-timeout=15m", "-run=^("+strings.Join(r.tally.later[p], "|")+")$", p)
		})
	}
	if err := r.testModules(); err != nil {
		return err
	}
	return r.scripts("run.sh")
}

// setUp makes the environment of the tools the same everywhere: the toolchain that is there, no version
// control stamps, and caches inside the checkout where there is no home.
func (r *run) setUp() error {
	cache, err := filepath.Abs(".cache")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	set := map[string]string{"GOTOOLCHAIN": "local", "npm_config_cache": filepath.Join(cache, "npm"), "npm_config_update_notifier": "false"}
	if os.Getenv("GOFLAGS") == "" {
		set["GOFLAGS"] = "-buildvcs=false"
	}
	for name, value := range set {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// compiler installs a C compiler where there is none and we may.
func (r *run) compiler() error {
	cc, err := r.output("go", "env", "CC")
	if err != nil {
		return err
	}
	if name := strings.Fields(cc); len(name) > 0 {
		if _, err := exec.LookPath(name[0]); err == nil {
			return nil
		}
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("there is no %s, and it cannot be installed from here", strings.TrimSpace(cc))
	}
	if err := r.command("apt-get", "update", "-q").Run(); err != nil {
		return err
	}
	return r.command("apt-get", "install", "-qy", "--no-install-recommends", "gcc", "libc6-dev").Run()
}

// gofmt checks what is tracked, so that vendored tools under .cache do not matter.
func (r *run) gofmt() error {
	files, err := r.output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.go")
	if err != nil {
		return err
	}
	names := strings.FieldsFunc(files, func(c rune) bool { return c == 0 })
	names = slices.DeleteFunc(names, func(n string) bool { _, err := os.Stat(n); return err != nil })
	bad, err := r.output("gofmt", append([]string{"-l"}, names...)...)
	if err != nil {
		return err
	}
	if bad != "" {
		return fmt.Errorf("not formatted:\n%s", bad)
	}
	return nil
}

// exitMissing is how a script says that a tool which it needs is not there.
const exitMissing = 2

// scripts runs test/*/KIND: install.sh fetches, pinned, what tests of Go use beside Go; run.sh is a suite of
// its own. Exit 2 is a skip; the last line that it printed is the reason.
func (r *run) scripts(kind string) error {
	files, err := filepath.Glob("test/*/" + kind)
	if err != nil {
		return err
	}
	for _, f := range files {
		r.do(f, func() error {
			var b strings.Builder
			err := r.script(f, scriptLimit, &b)
			fmt.Fprint(r.out, b.String())
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == exitMissing {
				r.tally.skips = append(r.tally.skips, skip{filepath.Dir(f) + " " + kind, lastLine(b.String())})
				return nil
			}
			return err
		})
	}
	return nil
}

// scriptLimit is how long one script may take: five times what the longest takes on two idle cores.
const scriptLimit = 15 * time.Minute

// script runs one shell script in a process group of its own, and ends the whole group when limit is over or
// the run is: a browser or server that a script left running must not keep it open for ever.
func (r *run) script(file string, limit time.Duration, out io.Writer) error {
	ctx, cancel := context.WithTimeout(r.ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", file)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("did not end within %v: %w", limit, err)
	}
	return err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// generate renews every generated file: by the tests whose names end in Current, which otherwise show that
// the files are current.
func (r *run) generate() error {
	list, err := r.packages()
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.renews {
			r.do("generate "+short(p.ImportPath), func() error {
				return r.command("go", "test", "-count=1", "-run=Current$", p.ImportPath, "-update").Run()
			})
		}
	}
	return nil
}

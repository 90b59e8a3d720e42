// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fuzzTime is how long each fuzz target runs; SALLYPORT_FUZZTIME overrides it.
const fuzzTime = "30s"

// soak is the long version: what needs chance and time to be found. SALLYPORT_SOAK=1 tells tests to run
// their long loops; SALLYPORT_COUNT says how often every other test runs (5).
func (r *run) soak() error {
	if err := r.setUp(); err != nil {
		return err
	}
	r.do("SPIRE and OpenFGA, from source", r.peers)
	list, err := r.packages()
	if err != nil {
		return err
	}
	length, count := or(os.Getenv("SALLYPORT_FUZZTIME"), fuzzTime), or(os.Getenv("SALLYPORT_COUNT"), "5")
	for _, p := range list {
		for _, f := range p.fuzz {
			r.do("fuzz "+short(p.ImportPath)+" "+f+" for "+length, func() error {
				return r.command("go", "test", "-run=^$", "-fuzz=^"+f+"$", "-fuzztime="+length, p.ImportPath).Run()
			})
		}
	}
	var tested []string
	for _, p := range list {
		if p.tested() {
			tested = append(tested, p.ImportPath)
		}
	}
	r.do("every test "+count+" times, shuffled, with the race detector", func() error {
		return r.gotest(append([]string{"-race", "-shuffle=on", "-count=" + count, "-timeout=60m"}, tested...)...)
	})
	if err := os.Setenv("SALLYPORT_SOAK", "1"); err != nil {
		return err
	}
	r.do("long loops (SALLYPORT_SOAK=1)", func() error {
		return r.gotest(append([]string{"-race", "-count=1", "-timeout=120m"}, tested...)...)
	})
	return r.testModules()
}

// peers builds servers of others that tests meet where they are there. It takes twenty minutes of processor time once, which
// is too long for "test"; .cache keeps them.
func (r *run) peers() error {
	for dir, names := range map[string][]string{".cache/spire": {"spire-server", "spire-agent"}, ".cache/openfga": {"openfga"}} {
		at, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(names, func(name string) bool { _, err := os.Stat(filepath.Join(at, name)); return err != nil }) {
			continue
		}
		build := r.command("go", "install", "github.com/openfga/openfga/cmd/openfga@v1.22.1")
		if len(names) == 2 {
			build = r.command("go", "build", "-C", "test/spiffe/spire", "-o", at+"/", "github.com/spiffe/spire/cmd/spire-server", "github.com/spiffe/spire/cmd/spire-agent")
		}
		build.Env = append(build.Environ(), "GOBIN="+at)
		if err := build.Run(); err != nil {
			return err
		}
	}
	return nil
}

// bench runs the benchmarks of the packages, then the ones of the binary.
func (r *run) bench() error {
	if err := r.setUp(); err != nil {
		return err
	}
	r.do("package benchmarks", func() error {
		return r.command("go", "test", "-run=^$", "-bench=.", "-benchmem", "-timeout=30m", "./...").Run()
	})
	r.do("build", func() error { return r.command("go", "build", "-o", "bin/sallyport", "./cmd/sallyport").Run() })
	for _, what := range strings.Fields("policy ledger latency") {
		r.do("sallyport bench "+what, func() error { return r.command("bin/sallyport", "bench", what).Run() })
	}
	r.do("the ledger beside its peers", func() error { return r.command("go", "run", "-C", "bench/peers", ".").Run() })
	return nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

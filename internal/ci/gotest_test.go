// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func TestTallyCountsWhatGoSays(t *testing.T) {
	const p = `"Package":"github.com/sallyport/sallyport/ledger"`
	for name, c := range map[string]struct {
		in                      string
		passed, failed, skipped int
		says                    string
	}{
		"a test and its cases count each": {lines(
			`{"Action":"pass",`+p+`,"Test":"TestA/x"}`, `{"Action":"pass",`+p+`,"Test":"TestA"}`, `{"Action":"pass",`+p+`}`), 2, 0, 0, "ledger"},
		"seeds count as their target": {lines(
			`{"Action":"pass",`+p+`,"Test":"FuzzA/seed#0"}`, `{"Action":"skip",`+p+`,"Test":"FuzzA/seed#1"}`, `{"Action":"pass",`+p+`,"Test":"FuzzA"}`), 1, 0, 0, ""},
		"a failing seed is a failure": {lines(`{"Action":"fail",` + p + `,"Test":"FuzzA/seed#0"}`), 0, 1, 0, "FuzzA/seed#0"},
		"a skip keeps its reason": {lines(
			`{"Action":"output",`+p+`,"Test":"TestA","Output":"    a_test.go:7: the moon is full\n"}`,
			`{"Action":"output",`+p+`,"Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
			`{"Action":"skip",`+p+`,"Test":"TestA"}`), 0, 0, 1, ""},
		"a package that does not build is one failure": {lines(
			`{"ImportPath":"x","Action":"build-output","Output":"x.go:1: no\n"}`, `{"Action":"fail",`+p+`,"FailedBuild":"x"}`), 0, 1, 0, "x.go:1: no"},
		"a package with failing tests is no failure of its own": {lines(
			`{"Action":"fail",`+p+`,"Test":"TestA"}`, `{"Action":"fail",`+p+`}`), 0, 1, 0, "FAIL ledger TestA"},
		"a package that panics outside of a test is one": {lines(
			`{"Action":"output",`+p+`,"Output":"panic: no\n"}`, `{"Action":"fail",`+p+`}`), 0, 1, 0, "panic: no"},
		"a test that never ended says what it said": {lines(
			`{"Action":"output",`+p+`,"Test":"TestA","Output":"panic: test timed out after 15m0s\n"}`, `{"Action":"fail",`+p+`}`), 0, 1, 0, "UNFINISHED ledger TestA\npanic: test timed out"},
		"a package without tests is nothing":     {lines(`{"Action":"skip",` + p + `}`), 0, 0, 0, ""},
		"what is no event is passed on":          {"go: downloading\n", 0, 0, 0, "go: downloading"},
		"a last line without a newline is heard": {`{"Action":"fail",` + p + `,"Test":"TestA"}`, 0, 1, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got tally
			var out strings.Builder
			if err := got.read(strings.NewReader(c.in), &out); err != nil {
				t.Fatal(err)
			}
			if got.passed != c.passed || got.failed != c.failed || len(got.skips) != c.skipped {
				t.Errorf("%d passed, %d failed, %v skipped", got.passed, got.failed, got.skips)
			}
			if c.skipped == 1 && got.skips[0] != (skip{"ledger TestA", "the moon is full"}) {
				t.Errorf("skip %q", got.skips[0])
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("said %q, not %q", out.String(), c.says)
			}
		})
	}
}

func TestWhatSkipsUnderShortIsPutOff(t *testing.T) {
	got := tally{defers: true}
	in := lines(`{"Action":"skip","Package":"p","Test":"TestA"}`, `{"Action":"skip","Package":"p","Test":"TestB/case"}`, `{"Action":"pass","Package":"p","Test":"TestB"}`)
	if err := got.read(strings.NewReader(in), io.Discard); err != nil {
		t.Fatal(err)
	}
	if got.passed != 1 || len(got.skips) != 1 || len(got.later["p"]) != 1 || got.later["p"][0] != "TestA" {
		t.Errorf("%+v", got)
	}
}

func TestASkipMustBeOnTheList(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("# why\n\nledger Test* | moon | tides\ndetect TestA:* | data | data is large\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := readAllowed(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		skip skip
		ok   bool
	}{
		"the test and its reason":  {skip{"ledger TestA", "the moon is full"}, true},
		"a case of a test":         {skip{"detect TestA/case", "no data"}, true},
		"another reason":           {skip{"ledger TestA", "flaky"}, false},
		"no reason":                {skip{"ledger TestA", ""}, false},
		"another package":          {skip{"index TestA", "the moon is full"}, false},
		"a package that begins so": {skip{"ledger/x TestA", "the moon is full"}, false},
		"a deeper case":            {skip{"detect TestB/case", "no data"}, false},
	} {
		if _, ok := a.permit(c.skip); ok != c.ok {
			t.Errorf("%s: permitted %v", name, ok)
		}
	}
	if err := os.WriteFile(list, []byte("ledger TestA | moon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readAllowed(list); err == nil {
		t.Error("a row without a reason was taken")
	}
}

func TestStepsAreCountedOnce(t *testing.T) {
	var out strings.Builder
	r := &run{ctx: context.Background(), out: &out}
	r.do("passes", func() error { return nil })
	r.do("fails", func() error { return errors.New("no") })
	r.do("counts itself", func() error { r.tally.passed += 2; return nil })
	r.do("counts its failure", func() error { r.tally.failed++; return errors.New("exit status 1") })
	r.do("passes tests and fails all the same", func() error { r.tally.passed++; return errors.New("killed") })
	if r.close() {
		t.Error("close says that all went well")
	}
	if !strings.HasSuffix(out.String(), "\n4 passed, 3 failed, 0 skipped\n") {
		t.Error(out.String())
	}
}

func TestRaceRuleFollowsGoroutines(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a_test.go"), []byte("package a\nfunc FuzzA() { go f() }\nfunc f() { flag.Bool(\"update\", false, \"\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &pkg{Dir: dir, ImportPath: "a", TestGoFiles: []string{"a_test.go"}}
	if err := a.parse(); err != nil {
		t.Fatal(err)
	}
	if !a.concurrent || !a.renews || len(a.fuzz) != 1 {
		t.Errorf("read %+v", a)
	}
	b := &pkg{ImportPath: "b", TestGoFiles: []string{"b_test.go"}, TestImports: []string{"a"}}
	c := &pkg{ImportPath: "c", XTestGoFiles: []string{"c_test.go"}, XTestImports: []string{"fmt"}}
	d := &pkg{ImportPath: "d", concurrent: true}
	race, plain := split([]*pkg{a, b, c, d})
	if strings.Join(race, " ") != "a b" || strings.Join(plain, " ") != "c" {
		t.Errorf("race %v, plain %v", race, plain)
	}
}

func TestAScriptThatHangsIsEndedWithWhatItStarted(t *testing.T) {
	dir := t.TempDir()
	file, alive := filepath.Join(dir, "run.sh"), filepath.Join(dir, "alive")
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	// The grandchild holds the fifo open for writing for as long as it lives.
	if err := os.WriteFile(file, []byte("sleep 600 > "+alive+" &\nwait\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		f, err := os.Open(alive)
		if err == nil {
			_, err = io.ReadAll(f)
		}
		gone <- err
	}()
	r := &run{ctx: context.Background()}
	if err := r.script(file, time.Second, io.Discard); err == nil || !strings.Contains(err.Error(), "did not end within 1s") {
		t.Errorf("script: %v", err)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}

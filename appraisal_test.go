// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/policy"
)

func appraiser(t testing.TB) *attestation {
	t.Helper()
	p, err := policy.Open(policy.Config{Pack: "appraisal"})
	if err != nil {
		t.Fatal(err)
	}
	return &attestation{policy: p}
}

// goodInput is a TPM of a known maker whose log says what is expected.
func goodInput() lease.Input {
	d := strings.Repeat("ab", 32)
	return lease.Input{
		Facts: &attest.Facts{Kind: "tpm", Fresh: action.Yes, Test: action.No, Debug: action.TriUnknown,
			Platform: &attest.Platform{Resident: action.Yes, Endorsed: action.Yes, Replayed: action.Yes, ResetCount: 3, Restarts: 1, Clock: 100}},
		Measured: []attest.Event{{Kind: "executable", Digest: d}, {Kind: "prompt", Digest: d}, {Kind: "model", Digest: d}},
		Known:    &lease.Known{Resets: 3, Restarts: 1, Clock: 90}, Enrolled: "sha256:chip", Assurance: 3, Model: 1,
		Agent: lease.Profile{Kinds: []string{"tpm"}, Assurance: 3, Model: 1, LeaseS: 60, Chips: []string{"sha256:chip"}, Restarts: "refuse",
			References: map[string][]string{"executable": {d}, "prompt": {d}, "model": {d}}},
	}
}

func snpInput(in *lease.Input, measurement string) {
	in.Facts = &attest.Facts{Kind: "snp", Fresh: action.Yes, Debug: action.No, Test: action.No,
		SNP: &attest.SNP{Measurement: measurement, Revocations: action.Yes, Migration: action.No}}
	in.Agent.Kinds, in.Agent.References["snp"], in.Known = []string{"snp"}, []string{measurement}, nil
}

func sgxInput(in *lease.Input, measurement string, age int64) {
	in.Facts = &attest.Facts{Kind: "sgx", Fresh: action.Yes, Debug: action.No, TCB: &attest.TCB{Status: "UpToDate"}, Enclave: &attest.Enclave{MrEnclave: measurement}}
	in.Agent.Kinds, in.Agent.References["mrenclave"], in.Known, in.CollateralAgeS = []string{"sgx"}, []string{measurement}, nil, age
}

// builtInput is a program without a reference value, built by somebody who is trusted.
func builtInput(in *lease.Input, digest string) {
	delete(in.Agent.References, "executable")
	in.Measured[0].Digest = digest
	in.Agent.Builders, in.Agent.Sources, in.Agent.Signers = []string{"https://builder.example"}, []string{"git+https://code.example/agent"}, []string{"sha256:signer"}
	in.Provenance = &attest.Provenance{Subjects: []string{digest}, Builder: "https://builder.example", Signer: "sha256:signer", Sources: []attest.Source{{URI: "git+https://code.example/agent"}}}
}

func nitroInput(in *lease.Input, register string) {
	in.Facts = &attest.Facts{Kind: "nitro", Fresh: action.Yes, Debug: action.No, Test: action.No, Nitro: &attest.Nitro{PCRs: map[int]string{0: register}}}
	in.Agent.Kinds, in.Agent.References["nitro"], in.Known = []string{"nitro"}, []string{register}, nil
}

func TestAppraisalRisesOnlyOnAMatch(t *testing.T) {
	a := appraiser(t)
	other := strings.Repeat("cd", 32)
	for _, c := range []struct {
		name   string
		change func(*lease.Input)
		lease  int64
		status string
		why    string
	}{
		{"all of it", func(*lease.Input) {}, 60, lease.Affirming, ""},
		{"the first time", func(in *lease.Input) { in.Known = nil }, 60, lease.Affirming, ""},
		{"another program", func(in *lease.Input) { in.Measured[0].Digest = other }, 0, lease.Contraindicated, "executable: measured, and no reference value"},
		{"a second program beside the good one", func(in *lease.Input) {
			in.Measured = append(in.Measured, attest.Event{Kind: "executable", Digest: other})
		}, 0, lease.Contraindicated, "executable: measured"},
		{"no program", func(in *lease.Input) { in.Measured = in.Measured[1:] }, 0, lease.Warning, "executable: not measured"},
		{"a script that nobody expected", func(in *lease.Input) {
			in.Measured = append(in.Measured, attest.Event{Kind: "script", Digest: other})
		}, 0, lease.Contraindicated, ""},
		{"another command line", func(in *lease.Input) {
			in.Measured = append(in.Measured, attest.Event{Kind: "command", Digest: other})
		}, 0, lease.Contraindicated, ""},
		{"another prompt", func(in *lease.Input) { in.Measured[1].Digest = other }, 0, lease.Contraindicated, "prompt: measured"},
		{"another model", func(in *lease.Input) { in.Measured[2].Digest = other }, 0, lease.Contraindicated, "model: measured"},
		{"no model", func(in *lease.Input) { in.Measured = in.Measured[:2] }, 0, lease.Warning, "model: not measured"},
		{"nothing is expected", func(in *lease.Input) { in.Agent.References = nil }, 0, lease.Warning, "no reference value"},
		{"another kind of evidence", func(in *lease.Input) { in.Agent.Kinds = []string{"sgx"} }, 0, lease.Contraindicated, "not accepted"},
		{"another chip", func(in *lease.Input) { in.Enrolled = "sha256:other" }, 0, lease.Contraindicated, "the chip"},
		{"a level too low", func(in *lease.Input) { in.Assurance = 2 }, 0, lease.Affirming, "assurance 2, at least 3"},
		{"a model level too low", func(in *lease.Input) { in.Model = 0 }, 0, lease.Affirming, "model level 0"},
		{"not fresh", func(in *lease.Input) { in.Facts.Fresh = action.TriUnknown }, 0, lease.Affirming, ""},
		{"a restart", func(in *lease.Input) { in.Facts.Platform.ResetCount = 4 }, 0, lease.Contraindicated, "restarted"},
		{"a restart that is accepted", func(in *lease.Input) { in.Facts.Platform.ResetCount, in.Agent.Restarts = 4, "accept" }, 60, lease.Affirming, ""},
		{"a clock that went back", func(in *lease.Input) { in.Facts.Platform.Clock = 80 }, 0, lease.Contraindicated, "clock went back"},
		{"a simulator", func(in *lease.Input) {
			in.Facts.Test, in.Assurance, in.Agent.Assurance, in.Agent.Model = action.Yes, 1, 1, 0
		}, 60, lease.Warning, "a simulator"},
		{"a build of an accepted builder", func(in *lease.Input) { builtInput(in, other) }, 60, lease.Affirming, ""},
		{"a build of another program", func(in *lease.Input) { builtInput(in, other); in.Provenance.Subjects[0] = "ff" }, 0, lease.Contraindicated, "executable: measured, and no reference value"},
		{"a build of another builder", func(in *lease.Input) { builtInput(in, other); in.Provenance.Builder = "https://evil.example" }, 0, lease.Contraindicated, "built by https://evil.example"},
		{"a build that a stranger signed", func(in *lease.Input) { builtInput(in, other); in.Provenance.Signer = "sha256:stranger" }, 0, lease.Contraindicated, ""},
		{"a build from another source", func(in *lease.Input) {
			builtInput(in, other)
			in.Provenance.Sources[0].URI = "git+https://evil.example"
		}, 0, lease.Contraindicated, "built from a source"},
		{"a build whose program was not measured", func(in *lease.Input) { builtInput(in, other); in.Measured = in.Measured[1:] }, 0, lease.Warning, "no reference value"},
		{"a script beside a build", func(in *lease.Input) {
			builtInput(in, other)
			in.Measured = append(in.Measured, attest.Event{Kind: "script", Digest: other})
			in.Provenance.Subjects = append(in.Provenance.Subjects, other)
		}, 0, lease.Contraindicated, ""},
		{"a guest of SEV-SNP", func(in *lease.Input) { snpInput(in, other) }, 60, lease.Affirming, ""},
		{"a guest whose revocations nobody looked at", func(in *lease.Input) {
			snpInput(in, other)
			in.Facts.SNP.Revocations = action.TriUnknown
		}, 0, lease.Contraindicated, ""},
		{"a guest that may be moved", func(in *lease.Input) { snpInput(in, other); in.Facts.SNP.Migration = action.Yes }, 0, lease.Contraindicated, ""},
		{"a guest that speaks from a lower privilege level", func(in *lease.Input) { snpInput(in, other); in.Facts.SNP.VMPL = 1 }, 0, lease.Contraindicated, ""},
		{"another guest", func(in *lease.Input) { snpInput(in, other); in.Facts.SNP.Measurement = "ff" }, 0, lease.Contraindicated, "the enclave is not the expected one"},
		{"a Nitro enclave", func(in *lease.Input) { nitroInput(in, other) }, 60, lease.Affirming, ""},
		{"another Nitro enclave", func(in *lease.Input) { nitroInput(in, other); in.Facts.Nitro.PCRs[0] = "ff" }, 0, lease.Contraindicated, "the enclave is not the expected one"},
		{"a Nitro enclave in debug mode", func(in *lease.Input) { nitroInput(in, other); in.Facts.Debug = action.Yes }, 0, lease.Contraindicated, ""},
		{"an enclave that is up to date", func(in *lease.Input) { sgxInput(in, other, 0) }, 60, lease.Affirming, ""},
		{"an enclave of another measurement", func(in *lease.Input) {
			in.Facts = &attest.Facts{Kind: "sgx", Fresh: action.Yes, Debug: action.No, TCB: &attest.TCB{Status: "UpToDate"}, Enclave: &attest.Enclave{MrEnclave: "ff"}}
			in.Agent.Kinds, in.Agent.References["mrenclave"], in.Known = []string{"sgx"}, []string{other}, nil
		}, 0, lease.Contraindicated, "the enclave is not the expected one"},
		{"an enclave with collateral of a month", func(in *lease.Input) { sgxInput(in, other, 31*86400+1) }, 0, lease.Affirming, "too old"},
		{"an enclave with collateral that ends its month", func(in *lease.Input) { sgxInput(in, other, 31*86400-20) }, 20, lease.Affirming, ""},
		{"an enclave with collateral of unknown age", func(in *lease.Input) { sgxInput(in, other, -1) }, 0, lease.Affirming, "unknown age"},
		{"an enclave within a bound of its own", func(in *lease.Input) { sgxInput(in, other, 3599); in.Agent.Collateral = 86400 }, 60, lease.Affirming, ""},
		{"an enclave beyond a bound of its own", func(in *lease.Input) { sgxInput(in, other, 86400); in.Agent.Collateral = 86400 }, 0, lease.Affirming, "too old"},
		{"a guest with AMD's list of a year", func(in *lease.Input) { snpInput(in, other); in.CollateralAgeS = 300 * 86400 }, 60, lease.Affirming, ""},
		{"a guest beyond a bound of its own", func(in *lease.Input) {
			snpInput(in, other)
			in.CollateralAgeS, in.Agent.Collateral = 300*86400, 30*86400
		}, 0, lease.Affirming, "too old"},
		{"a platform that is out of date", func(in *lease.Input) {
			in.Facts = &attest.Facts{Kind: "sgx", Fresh: action.Yes, Debug: action.No, TCB: &attest.TCB{Status: "OutOfDate"}, Enclave: &attest.Enclave{MrEnclave: other}}
			in.Agent.Kinds, in.Agent.References["mrenclave"], in.Known = []string{"sgx"}, []string{other}, nil
		}, 0, lease.Warning, "the platform is OutOfDate"},
	} {
		in := goodInput()
		c.change(&in)
		r, err := a.appraise(context.Background(), in)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if (r.LeaseS > 0) != (c.lease > 0) || r.LeaseS != c.lease || r.Status() != c.status || !strings.Contains(strings.Join(r.Why, "; "), c.why) {
			t.Errorf("%s: lease %d, %s, %+v %q", c.name, r.LeaseS, r.Status(), r.Vector, r.Why)
		}
	}
}

// TestComponentsProveThemselvesEach holds measurements against an agent that is made of a program with prompt and model,
// and of two servers of other kinds.
func TestComponentsProveThemselvesEach(t *testing.T) {
	a := appraiser(t)
	digest := func(s string) string { return strings.Repeat(s, 32) }
	for _, c := range []struct {
		name      string
		measured  []attest.Event
		model     int
		component string
		lease     int64
		why       string
	}{
		{"the agent", []attest.Event{{Kind: "executable", Digest: digest("a1")}, {Kind: "prompt", Digest: digest("a2")}, {Kind: "model", Digest: digest("a3")}}, 1, "agent", 60, ""},
		{"a server that is a program", []attest.Event{{Kind: "executable", Digest: digest("b1")}, {Kind: "tools", Digest: digest("c0")}}, 0, "files", 60, ""},
		{"a server that is a script", []attest.Event{{Kind: "executable", Digest: digest("d1")}, {Kind: "script", Digest: digest("d2")}, {Kind: "packages", Digest: digest("d3")}}, 0, "mail", 60, ""},
		{"the agent without its model", []attest.Event{{Kind: "executable", Digest: digest("a1")}, {Kind: "prompt", Digest: digest("a2")}}, 0, "agent", 0, "model: not measured"},
		{"the interpreter of one with the script of nobody", []attest.Event{{Kind: "executable", Digest: digest("d1")}, {Kind: "script", Digest: digest("ff")}, {Kind: "packages", Digest: digest("d3")}}, 0, "mail", 0, "script: measured, and no reference value"},
		{"parts of two components", []attest.Event{{Kind: "executable", Digest: digest("b1")}, {Kind: "script", Digest: digest("d2")}, {Kind: "packages", Digest: digest("d3")}}, 0, "", 0, "comes nearest"},
		{"the program of a server with the agent's prompt and model", []attest.Event{{Kind: "executable", Digest: digest("b1")}, {Kind: "prompt", Digest: digest("a2")}, {Kind: "model", Digest: digest("a3")}}, 1, "", 0, "comes nearest"},
		{"a server without what is expected of it", []attest.Event{{Kind: "executable", Digest: digest("d1")}}, 0, "mail", 0, "script: not measured"},
		{"nothing", nil, 0, "", 0, "not measured"},
	} {
		in := goodInput()
		in.Measured, in.Model = c.measured, c.model
		in.Agent.References = map[string][]string{"tools": {digest("c0")}}
		if c.component != "files" {
			in.Agent.References = nil
		}
		in.Agent.Components = []lease.Component{
			{Name: "agent", References: map[string][]string{"executable": {digest("a1")}, "prompt": {digest("a2")}, "model": {digest("a3")}}},
			{Name: "files", NoModel: true, References: map[string][]string{"executable": {digest("b1")}}},
			{Name: "mail", NoModel: true, References: map[string][]string{"executable": {digest("d1")}, "script": {digest("d2")}, "packages": {digest("d3")}}},
		}
		r, err := a.appraise(context.Background(), in)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if r.LeaseS != c.lease || c.component != "" && r.Component != c.component || !strings.Contains(strings.Join(r.Why, "; "), c.why) {
			t.Errorf("%s: component %q, lease %d, %+v %q", c.name, r.Component, r.LeaseS, r.Vector, r.Why)
		}
	}
}

// TestAMissingFactNeverRaisesALevel takes each member out of good and of worse inputs, at every depth: no claim of the
// vector gets better, and no lease longer. Members of what the agent's entry expects are not facts.
func TestAMissingFactNeverRaisesALevel(t *testing.T) {
	a := appraiser(t)
	test := goodInput()
	test.Facts.Test, test.Assurance = action.Yes, 1
	build, guest, made := goodInput(), goodInput(), goodInput()
	made.Agent.Components = []lease.Component{{Name: "agent", References: made.Agent.References}, {Name: "server", References: map[string][]string{"executable": {"ff"}}}}
	made.Agent.References = nil
	builtInput(&build, strings.Repeat("cd", 32))
	snpInput(&guest, strings.Repeat("cd", 32))
	for _, in := range []lease.Input{goodInput(), test, build, guest, made} {
		data, err := action.Canonical(in)
		if err != nil {
			t.Fatal(err)
		}
		full, err := a.policy.EvaluateDocument(t.Context(), "appraisal", in)
		if err != nil {
			t.Fatal(err)
		}
		want, err := readAppraisal(full)
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		removed := 0
		each(doc, "", func(path string) {
			if strings.HasPrefix(path, "/agent") || strings.HasPrefix(path, "/known") {
				return // what is expected, and what was seen before: without them nothing is compared
			}
			removed++
			out, err := a.policy.EvaluateDocument(t.Context(), "appraisal", doc)
			if err != nil {
				return // no appraisal is no lease
			}
			got, err := readAppraisal(out)
			if err != nil {
				return
			}
			if got.LeaseS > want.LeaseS {
				t.Errorf("without %s the lease is %d s, with it %d s", path, got.LeaseS, want.LeaseS)
			}
			for i, pair := range [][2]int{{got.Instance, want.Instance}, {got.Configuration, want.Configuration}, {got.Executables, want.Executables}, {got.Hardware, want.Hardware}} {
				if lease.Tier(pair[0]) == lease.Affirming && lease.Tier(pair[1]) != lease.Affirming {
					t.Errorf("without %s claim %d is %d, with it %d", path, i, pair[0], pair[1])
				}
			}
		})
		if removed < 20 {
			t.Errorf("only %d facts were taken out", removed)
		}
	}
}

// each calls fn with every member of v taken out once, and puts it back.
func each(v any, path string, fn func(path string)) {
	switch x := v.(type) {
	case map[string]any:
		for name, was := range x {
			delete(x, name)
			fn(path + "/" + name)
			x[name] = was
			each(was, path+"/"+name, fn)
		}
	case []any:
		for _, e := range x {
			each(e, path+"/*", fn)
		}
	}
}

func TestAnAppraisalThatSaysNothingIsTheWorst(t *testing.T) {
	for _, text := range []string{`{}`, `{"lease_s":0}`} {
		r, err := readAppraisal([]byte(text))
		if err != nil || r.Status() != lease.Contraindicated || r.LeaseS != 0 {
			t.Errorf("%s: %+v %v", text, r, err)
		}
	}
	for _, text := range []string{`[]`, `{"executables":"2"}`, `{"lease_s":1.5}`, `{"why":[1]}`} {
		if r, err := readAppraisal([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, r)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// Input is what the policy appraises: facts, and what is expected.
type Input struct {
	Facts      *attest.Facts      `json:"facts"`
	Supervised action.Tri         `json:"supervised"` // the measuring process is ours, by the kernel's word
	Measured   []attest.Event     `json:"measured"`   // of the log, what counts: all since the last "run"
	Statement  *attest.Model      `json:"statement"`  // a model signature that came along; null without one
	Provenance *attest.Provenance `json:"provenance"` // where the program was built, as a signer says; null without
	Known      *Known             `json:"known"`      // of the key, when it was last seen; null the first time
	Enrolled   string             `json:"chip"`       // digest of the chip's endorsement key; "" without one
	// CollateralAgeS is how many seconds ago the oldest part of the collateral was issued that its maker renews by the month
	// or so; -1 if that is unknown, or nothing of the kind was needed.
	CollateralAgeS int64   `json:"collateral_age_s"`
	Agent          Profile `json:"agent"`
	Assurance      int     `json:"assurance"` // what the facts are worth, 0..4
	Model          int     `json:"model"`     // 0..3
}

// Known is what a chip said when it was last believed.
type Known struct {
	Resets   uint32 `json:"reset_count"`
	Restarts uint32 `json:"restart_count"`
	Clock    uint64 `json:"clock_ms"`
}

// Vector is the trustworthiness vector of AR4SI (draft-ietf-rats-ar4si): 0 and 1 claim nothing, 2 to 31
// affirm, 32 to 95 warn, 96 to 127 contradict.
type Vector struct {
	Instance      int `json:"instance_identity"`
	Configuration int `json:"configuration"`
	Executables   int `json:"executables"`
	FileSystem    int `json:"file_system"`
	Hardware      int `json:"hardware"`
	Runtime       int `json:"runtime_opaque"`
	Storage       int `json:"storage_opaque"`
	Sourced       int `json:"sourced_data"`
}

// Result is what the policy says.
type Result struct {
	Vector
	LeaseS int64    `json:"lease_s"` // 0: no lease
	Why    []string `json:"why"`     // for people

	Component string `json:"component,omitzero"` // of the agent, that was found; "" where it has no list of them
}

// The words for a tier.
const (
	Unknown         = "unknown"
	Affirming       = "affirming"
	Warning         = "warning"
	Contraindicated = "contraindicated"
)

// Tier is the word for a value of the vector. What AR4SI does not define is the worst.
func Tier(v int) string {
	switch {
	case v == 0 || v == 1:
		return Unknown
	case v >= 2 && v <= 31:
		return Affirming
	case v >= 32 && v <= 95:
		return Warning
	}
	return Contraindicated
}

// Status is the word of the worst claim that is made; "unknown" where none is.
func (v Vector) Status() string {
	worst, rank := Unknown, 0
	for _, c := range []int{v.Instance, v.Configuration, v.Executables, v.FileSystem, v.Hardware, v.Runtime, v.Storage, v.Sourced} {
		t := Tier(c)
		r := map[string]int{Unknown: 0, Affirming: 1, Warning: 2, Contraindicated: 3}[t]
		if r > rank {
			worst, rank = t, r
		}
	}
	return worst
}

// run returns the events that count: those after the last event of the kind "run", or all.
func run(log []attest.Event) []attest.Event {
	for i := len(log) - 1; i >= 0; i-- {
		if log[i].Kind == "run" {
			return log[i+1:]
		}
	}
	return log
}

// modelLevel is what is proved of the weights, 0 to 3. A measurement that nobody vouches for is the agent's
// word.
func modelLevel(assurance int, measured []attest.Event, statement *attest.Model) (level int, weights string) {
	sealed := ""
	for _, e := range measured { // the last ones count
		switch e.Kind {
		case "model":
			weights, sealed = "sha256:"+e.Digest, ""
		case "verity":
			sealed = "sha256:" + e.Digest
		}
	}
	switch {
	case weights == "" || assurance < 2:
		return 0, weights
	case statement != nil && statement.Digest == weights && sealed == weights:
		return 3, weights // the kernel lets nothing else be read
	case statement != nil && statement.Digest == weights:
		return 2, weights
	}
	return 1, weights
}

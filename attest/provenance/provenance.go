// SPDX-License-Identifier: Apache-2.0

// Package provenance verifies where a build comes from: in-toto statements of SLSA provenance, version 1, in signed bundles.
//
// A statement says which files a builder made from which source. Whose word counts is said by the configuration, which
// builder and source by policy. It proves nothing of what runs: the digest of that has to be among its subjects.
package provenance

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/modelsig"
)

const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/provenance/v1"
	mostSubjects  = 4096
	mostSources   = 1024
)

// MaxBundleBytes bounds a bundle.
const MaxBundleBytes = 4 << 20

// Verifier verifies bundles of signers whom its Config accepts; of that the path and what concerns files do not count. It
// is safe for concurrent use.
type Verifier struct {
	Signers modelsig.Config
	// Subjects are digests (hex of SHA-256) of what is at hand: one of them must be a subject. Empty asks for none.
	Subjects []string
}

type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     jsontext.Value `json:"predicate"`
}

// predicate is what of SLSA's provenance is looked at; the rest is the builder's own.
type predicate struct {
	Definition struct {
		BuildType string `json:"buildType"`
		Sources   []struct {
			URI    string            `json:"uri"`
			Digest map[string]string `json:"digest"`
		} `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Run struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

// Verify checks a bundle. A nonce is refused: provenance binds none.
func (v *Verifier) Verify(_ context.Context, evidence []byte, o attest.Options) (*attest.Facts, error) {
	if o.Nonce != nil {
		return nil, attest.Refuse(attest.Replayed, "bundle: provenance binds no nonce")
	}
	if len(evidence) > MaxBundleBytes {
		return nil, attest.Refuse(attest.Malformed, "bundle: more than %d bytes", MaxBundleBytes)
	}
	payload, signer, err := modelsig.Open(v.Signers, evidence, o.Time())
	if err != nil {
		return nil, err
	}
	p, err := read(payload)
	if err != nil {
		return nil, err
	}
	p.Signer, p.Identity, p.Signed = signer.Name, signer.Subject, attest.Digest(payload)
	if len(v.Subjects) > 0 && !slices.ContainsFunc(p.Subjects, func(d string) bool { return slices.Contains(v.Subjects, d) }) {
		return nil, attest.Refuse(attest.Mismatch, "statement: of other files")
	}
	return &attest.Facts{Kind: "provenance", Evidence: attest.Digest(evidence), Checked: o.Time(), Until: signer.Until, Fresh: action.TriUnknown,
		Debug: action.TriUnknown, Test: action.TriUnknown, Provenance: p}, nil
}

// read reads a signed statement.
func read(payload []byte) (*attest.Provenance, error) {
	var s statement
	var p predicate
	if err := action.Read(payload, &s, action.Limits{Bytes: MaxBundleBytes}); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "statement")
	}
	if s.Type != statementType || s.PredicateType != predicateType {
		return nil, attest.Refuse(attest.Unsupported, "statement: %q about %q", action.Clip(s.Type, 100), action.Clip(s.PredicateType, 100))
	}
	if err := json.Unmarshal(s.Predicate, &p); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "statement: predicate")
	}
	out := &attest.Provenance{Builder: p.Run.Builder.ID, BuildType: p.Definition.BuildType, Sources: []attest.Source{}, Subjects: []string{}}
	if len(s.Subject) == 0 || len(s.Subject) > mostSubjects || len(p.Definition.Sources) > mostSources || out.Builder == "" || len(out.Builder) > 1024 {
		return nil, attest.Refuse(attest.Malformed, "statement: its subjects, sources or builder")
	}
	for _, sub := range s.Subject {
		d, ok := sub.Digest["sha256"]
		if b, err := hex.DecodeString(d); !ok || err != nil || len(b) != 32 || strings.ToLower(d) != d {
			return nil, attest.Refuse(attest.Malformed, "statement: %q has no SHA-256", action.Clip(sub.Name, 200))
		}
		out.Subjects = append(out.Subjects, d)
	}
	for _, src := range p.Definition.Sources {
		one := attest.Source{URI: action.Clip(src.URI, 1024)}
		for _, algorithm := range []string{"gitCommit", "sha256", "sha1"} {
			if d, ok := src.Digest[algorithm]; ok && one.Digest == "" {
				one.Digest = algorithm + ":" + action.Clip(d, 200)
			}
		}
		out.Sources = append(out.Sources, one)
	}
	return out, nil
}

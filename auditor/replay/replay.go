// SPDX-License-Identifier: Apache-2.0

// Package replay lets a stranger take recorded decisions again: from the inputs that a record discloses, under the
// policies that decided, without owner, log or network. Whether input and explanation are those of the record is for the
// verifier of the log to say; whether the decision follows from them is said here.
package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

// MaxPolicies bounds the bundles that one Replay holds.
const MaxPolicies = 64

// Replay holds the policies by which decisions are taken again. The zero value holds none. It is not safe for
// concurrent use.
type Replay struct{ policies map[string]*policy.Compiled }

// Add takes a policy bundle, as one compressed tar file, and returns the digest that this build gives it: that of the
// records only if neither the bundle nor what its engines are has changed. A bundle's parts for other doors are added too.
func (r *Replay) Add(archive []byte) (digest string, err error) {
	read, err := bundle.ReadArchive(archive)
	if err != nil {
		return "", fmt.Errorf("replay: %w", err)
	}
	if r.policies == nil {
		r.policies = map[string]*policy.Compiled{}
	}
	for _, door := range append([]string{""}, read.Doors()...) {
		part := read
		if door != "" {
			if part, err = read.Door(door); err != nil {
				return "", fmt.Errorf("replay: %w", err)
			}
		}
		c, err := policy.Compile(part, policy.Config{})
		if err != nil {
			return "", fmt.Errorf("replay: %w", err)
		}
		if len(r.policies) == MaxPolicies {
			return "", fmt.Errorf("replay: more than %d policies", MaxPolicies)
		}
		if r.policies[c.Bundle().Digest] = c; door == "" {
			digest = c.Bundle().Digest
		}
	}
	return digest, nil
}

// Decide takes a decision again from the recorded input, and compares it with verdict, as the leaf has it, and
// with the recorded explanation.
func (r *Replay) Decide(ctx context.Context, verdict action.Verdict, input, explanation []byte) *enforce.Replayed {
	out := &enforce.Replayed{Answer: enforce.NoEngine}
	fail := func(err error) *enforce.Replayed {
		out.Problem = action.Inert(err.Error(), 500)
		return out
	}
	if err := json.Unmarshal(explanation, &out.Recorded); err != nil {
		return fail(errors.New("the recorded explanation cannot be read"))
	}
	q, err := action.ReadQuery(input)
	if err != nil {
		return fail(err)
	}
	c := r.policies[out.Recorded.Bundle.Digest]
	if c == nil {
		return fail(fmt.Errorf("no policy with the digest %s is here", action.Clip(out.Recorded.Bundle.Digest, 80)))
	}
	if out.Again, err = safely(ctx, c, q); err != nil {
		return fail(err)
	}
	enforce.Compare(verdict, out)
	return out
}

// safely decides, and turns a panic of an evaluator into an error.
func safely(ctx context.Context, c *policy.Compiled, q *action.Query) (d action.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the evaluator panicked: %v", p)
		}
	}()
	return c.Redecide(ctx, q)
}

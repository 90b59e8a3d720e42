// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/cedar"
	"github.com/sallyport/sallyport/policy/rego"
	"github.com/sallyport/sallyport/policy/rego/opa"
)

// Tested is the whole of what signers of b sign: Statement, and what its cases show now. Cases that fail are counted.
func Tested(ctx context.Context, b *bundle.Bundle) (bundle.Statement, error) {
	s, err := Statement(b)
	if err != nil {
		return s, err
	}
	c, err := compile(b, Config{})
	if err != nil {
		return s, err
	}
	r, err := c.Test(ctx)
	if err != nil {
		return s, err
	}
	s.Tests, err = r.Results()
	return s, err
}

// sameResults refuses signed, the content of SignedFile, if it tells of cases that showed anything else than these.
func sameResults(signed []byte, now bundle.Results) error {
	e, err := bundle.ReadEnvelope(signed)
	if err != nil {
		return err
	}
	was, err := e.Tested()
	switch {
	case err != nil:
		return err
	case was != now:
		return fmt.Errorf("%w: it was signed for %d cases over %d rules, %d of them untested, with answers %s, and here they are %d, %d, %d and %s", ErrUntested,
			was.Cases, was.Rules, was.Untested, was.Answers, now.Cases, now.Rules, now.Untested, now.Answers)
	}
	return nil
}

// Statement is what signers of b sign, for this build's engines, but for the results of its cases.
func Statement(b *bundle.Bundle) (bundle.Statement, error) {
	engines, err := enginesOf(b)
	if err != nil {
		return bundle.Statement{}, err
	}
	return b.Statement(action.Version, engines)
}

// verify runs before anything of the bundle is compiled, over the very bytes that will be.
func verify(b *bundle.Bundle, cfg Config) error {
	switch {
	case cfg.Dir == "":
		return errors.New("a trust file wants a folder with a signed bundle, and there is none")
	case cfg.Params != nil:
		return errors.New("parameters from outside would replace a signed file")
	case cfg.Now == nil:
		return errors.New("no clock to verify by")
	}
	want, err := Statement(b)
	if err != nil {
		return err
	}
	_, err = cfg.Trust.Verify(b.Signed(), want, cfg.Now())
	return err
}

func enginesOf(b *bundle.Bundle) ([]bundle.Evaluator, error) {
	var out []bundle.Evaluator
	if len(b.Policies(".rego")) > 0 {
		capabilities, err := rego.Capabilities()
		if err != nil {
			return nil, err
		}
		out = append(out, bundle.Evaluator{Name: "rego", Version: rego.Version, Capabilities: capabilities})
	}
	if len(b.Policies(".cedar")) > 0 {
		out = append(out, bundle.Evaluator{Name: "cedar", Version: cedar.Version})
	}
	if b.Manifest.OPA.Decides() {
		capabilities, err := opa.Capabilities()
		if err != nil {
			return nil, err
		}
		out = append(out, bundle.Evaluator{Name: "opa", Version: rego.Version, Capabilities: capabilities})
	}
	return out, nil
}

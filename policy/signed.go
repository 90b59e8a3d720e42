// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/cedar"
	"github.com/sallyport/sallyport/policy/rego"
	"github.com/sallyport/sallyport/policy/rego/opa"
)

// Statement is what signers of b sign, for this build's engines.
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

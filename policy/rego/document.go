// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
)

// ErrNoDocument means that the bundle has no package of that name.
var ErrNoDocument = errors.New("no such document package")

// Document evaluates package document.<name> over input and returns its rules as one RFC 8785 object. Any
// evaluation error is an error.
func (e *Evaluator) Document(ctx context.Context, name string, input any) ([]byte, error) {
	if !plainID(name) || !e.hasDocument(name) {
		return nil, fmt.Errorf("rego: %w: %q", ErrNoDocument, action.Clip(name, 64))
	}
	data, err := action.Canonical(input)
	if err != nil {
		return nil, err
	}
	v, err := ast.ValueFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("rego: document input: %w", err)
	}
	parsed, err := ast.ParseBodyWithOpts(fmt.Sprintf("answer = data.document[%q]", name), ast.ParserOptions{Capabilities: capabilities()})
	if err != nil {
		return nil, fmt.Errorf("rego: %w", err)
	}
	body, err := e.documents.QueryCompiler().Compile(parsed)
	if err != nil {
		return nil, fmt.Errorf("rego: %w", err)
	}
	answer, err := e.eval(ctx, e.documents, body, ast.NewTerm(v), nil)
	if err != nil {
		return nil, fmt.Errorf("rego: document %q: %w", name, err)
	}
	if answer == nil {
		return nil, fmt.Errorf("rego: document %q is undefined", name)
	}
	out, err := ast.JSON(answer.Value)
	if err != nil {
		return nil, fmt.Errorf("rego: document %q: %w", name, err)
	}
	// OPA's numbers are encoding/json's own type, which other encoders take for text.
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("rego: document %q: %w", name, err)
	}
	return action.Canonical(jsontext.Value(text))
}

func (e *Evaluator) hasDocument(name string) bool {
	for _, m := range e.documents.Modules {
		if p := packagePath(m); len(p) == 2 && p[1] == name {
			return true
		}
	}
	return false
}

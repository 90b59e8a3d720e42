// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// owner is the agents' door of a sallyport owner. It is safe for concurrent use.
type owner struct {
	url       string // base address
	tokenFile string // read for each request, so that a token can be changed
	http      *http.Client
}

// errOwner means that the owner gave no answer that can be relied on. Nothing is permitted then.
var errOwner = errors.New("the owner gave no decision")

func newOwner(url, tokenFile string) *owner {
	return &owner{url: strings.TrimRight(url, "/"), tokenFile: tokenFile, http: &http.Client{
		Timeout:       60 * time.Second,
		Transport:     &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// post sends one request. Any status but those in want is an error.
func (o *owner) post(ctx context.Context, path string, in, out any, want ...int) error {
	body, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("%w: %w", errOwner, err)
	}
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return fmt.Errorf("%w: the token cannot be read", errOwner)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errOwner, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := o.http.Do(r)
	if err != nil {
		return fmt.Errorf("%w: it cannot be reached", errOwner)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%w: its answer breaks off", errOwner)
	}
	for _, status := range want {
		if resp.StatusCode == status {
			if err := json.Unmarshal(answer, out, jsontext.AllowDuplicateNames(false)); err != nil {
				return fmt.Errorf("%w: its answer cannot be read", errOwner)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: status %d", errOwner, resp.StatusCode)
}

// entity is a subject, action or resource of the AuthZEN API.
type entity struct {
	Type       string         `json:"type,omitempty"`
	ID         string         `json:"id,omitempty"`
	Name       string         `json:"name,omitempty"`
	Properties map[string]any `json:"properties,omitempty"`
}

type evaluation struct {
	Subject  entity         `json:"subject"`
	Action   entity         `json:"action"`
	Resource entity         `json:"resource"`
	Context  map[string]any `json:"context"`
}

type evaluated struct {
	Decision bool `json:"decision"`
	Context  struct {
		ID      string            `json:"evaluation_id"`
		Reason  string            `json:"reason"`
		User    map[string]string `json:"reason_user"`
		Request struct {
			ID string `json:"id"`
		} `json:"access_request"`
	} `json:"context"`
}

// evaluate asks for one decision.
func (o *owner) evaluate(ctx context.Context, e *evaluation) (out evaluated, err error) {
	err = o.post(ctx, "/access/v1/evaluation", e, &out, http.StatusOK)
	return out, err
}

type tool struct {
	Server string `json:"server"`
	Name   string `json:"name"`
}

type attempt struct {
	CallID    string         `json:"call_id"`
	Tool      tool           `json:"tool"`
	Arguments jsontext.Value `json:"arguments"`
}

type decision struct {
	Effect string `json:"effect"`
	Hint   string `json:"hint"`
}

type admitted struct {
	ID        string         `json:"id"`
	Decision  decision       `json:"decision"`
	Arguments jsontext.Value `json:"arguments"`
	Approval  struct {
		ID string `json:"id"`
	} `json:"approval"`
}

// before passes gate one.
func (o *owner) before(ctx context.Context, a *attempt) (out admitted, err error) {
	err = o.post(ctx, "/v1/actions", a, &out, http.StatusOK, http.StatusAccepted)
	return out, err
}

type outcome struct {
	Status string         `json:"status"`
	Result jsontext.Value `json:"result,omitzero"`
	Opaque bool           `json:"opaque,omitzero"`
}

type released struct {
	Status   string         `json:"status"`
	Decision decision       `json:"decision"`
	Result   jsontext.Value `json:"result"`
}

// after passes gate two.
func (o *owner) after(ctx context.Context, id string, what *outcome) (out released, err error) {
	err = o.post(ctx, "/v1/actions/"+id+"/outcome", what, &out, http.StatusOK, http.StatusAccepted)
	return out, err
}

// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// Door is one side of an owner's HTTP API.
type Door struct {
	URL  string // without a slash at the end
	HTTP *http.Client
}

// refused is an answer that is no decision.
type refused struct {
	status int
	title  string
	wait   time.Duration
}

func (r *refused) Error() string {
	return fmt.Sprintf("replay: the owner answered %d %s", r.status, r.title)
}

// call sends in and reads the answer into out. Busy answers are waited out.
func (d *Door) call(ctx context.Context, method, path, token string, in, out any, header ...string) (http.Header, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	for try := 0; ; try++ {
		h, err := d.once(ctx, method, path, token, body, out, header)
		var r *refused
		if !errors.As(err, &r) || r.wait == 0 || try == 20 {
			return h, err
		}
		select {
		case <-time.After(r.wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (d *Door) once(ctx context.Context, method, path, token string, body []byte, out any, header []string) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, d.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := d.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		p := refused{status: resp.StatusCode}
		var title struct {
			Title  string `json:"title"`
			Detail string `json:"detail"`
		}
		if json.Unmarshal(b, &title) == nil {
			p.title = title.Title + ": " + title.Detail
		}
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			s, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			p.wait = time.Duration(min(max(s, 1), 5)) * time.Second / 4
		}
		return resp.Header, &p
	}
	if out == nil || len(b) == 0 {
		return resp.Header, nil
	}
	return resp.Header, json.Unmarshal(b, out)
}

// decision is what the protocol answers to an action and to an outcome.
type decision struct {
	ID       string        `json:"id"`
	Status   action.Status `json:"status"`
	Decision struct {
		Effect action.Verdict `json:"effect"`
		Hint   string         `json:"hint"`
	} `json:"decision"`
	Arguments jsontext.Value `json:"arguments"`
	Result    jsontext.Value `json:"result"`
	Approval  *struct {
		ID string `json:"id"`
	} `json:"approval"`
}

// approve answers an ask through the people's API. That the desk takes no answer to it any more is no error.
func (o *Owner) approve(ctx context.Context, id string, yes bool) error {
	path := "/v1/approvals/" + url.PathEscape(id)
	h, err := o.People.call(ctx, http.MethodGet, path, "", nil, nil)
	if err == nil {
		verb := "/deny"
		if yes {
			verb = "/approve"
		}
		_, err = o.People.call(ctx, http.MethodPost, path+verb, "", map[string]string{"comment": ""}, nil, "If-Match", h.Get("ETag"))
	}
	var no *refused
	if errors.As(err, &no) && no.status < http.StatusInternalServerError {
		return nil
	}
	return err
}

// register puts a suite's tools and tenant records into the owner, as an operator does. It returns the
// server of each tool, and for what the fields of each record vouch.
func (o *Owner) register(ctx context.Context, tools []Tool, tenant []Record) (server map[string]string, records map[string]map[string]string, err error) {
	type listing struct {
		Name        string         `json:"name"`
		Description string         `json:"description"`
		InputSchema jsontext.Value `json:"input_schema"`
	}
	server, records = map[string]string{}, map[string]map[string]string{}
	by := map[string][]listing{}
	for i := range tools {
		t := &tools[i]
		if server[t.Name] != "" {
			continue
		}
		s := Service(t)
		server[t.Name] = s
		by[s] = append(by[s], listing{t.Name, t.Description, t.Schema})
	}
	for s, l := range by {
		if _, err := o.People.call(ctx, http.MethodPut, "/v1/tools/"+url.PathEscape(s), "", map[string]any{"tools": l}, nil); err != nil {
			return nil, nil, fmt.Errorf("tools of %q: %w", s, err)
		}
	}
	for _, r := range tenant {
		var got struct {
			Fields map[string]string `json:"fields"`
		}
		_, err := o.People.call(ctx, http.MethodPut, "/v1/records/"+url.PathEscape(r.Name), "", map[string]any{"data": r.Data}, &got)
		var no *refused
		if errors.As(err, &no) && no.status == http.StatusUnprocessableEntity {
			continue // nothing in it can be read as a record, an empty list for one
		}
		if err != nil {
			return nil, nil, fmt.Errorf("tenant record %q: %w", r.Name, err)
		}
		records[r.Name] = got.Fields
	}
	return server, records, nil
}

// agent registers an agent of its own for a run and returns its token, which holds the scopes of a host.
func (o *Owner) agent(ctx context.Context, id string) (string, error) {
	if _, err := o.People.call(ctx, http.MethodPost, "/v1/agents", "", map[string]string{"id": id}, nil); err != nil {
		return "", err
	}
	var out struct {
		Token string `json:"token"`
	}
	_, err := o.People.call(ctx, http.MethodPost, "/v1/tokens", "", map[string]any{"agent": id, "user": id, "scopes": []string{"agent", "host"}}, &out)
	return out.Token, err
}

// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// GroupRights answers from the groups and roles of the user's token: relation to groups that have it. Where the
// token does not hold all groups, a group that is not in it is unknown.
type GroupRights map[string][]string

// Rights answers from memory.
func (g GroupRights) Rights(_ context.Context, a Asked) (Answered, error) {
	out := Answered{Permitted: action.TriUnknown, Version: "token"}
	have, ok := g[a.Relation]
	switch {
	case !ok || !a.Known:
	case slices.ContainsFunc(a.Groups, func(x string) bool { return slices.Contains(have, x) }):
		out.Permitted = action.Yes
	default:
		out.Permitted = action.No
	}
	return out, nil
}

// FGA asks an OpenFGA server over its HTTP API.
type FGA struct {
	URL       string // without a path; required
	Store     string // id of the store; required
	Model     string // id of the authorization model; "" lets the server take the newest
	TokenFile string // file with its API token; "" sends none
	Transport http.RoundTripper
}

// Rights asks one check. The consistency that is asked for is the server's highest: an answer of a cache could let
// a withdrawn right live on.
func (f *FGA) Rights(ctx context.Context, a Asked) (Answered, error) {
	out := Answered{Permitted: action.TriUnknown, Version: f.Model}
	tuple, err := fgaTuple(&a)
	if err != nil {
		return out, err
	}
	var answer struct {
		Allowed *bool `json:"allowed"`
	}
	if err := f.ask(ctx, "check", map[string]any{"tuple_key": tuple}, &answer); err != nil {
		return out, err
	}
	if answer.Allowed == nil {
		return out, errFGAForm
	}
	out.Permitted = action.TriOf(*answer.Allowed)
	return out, nil
}

// All asks about several objects in one request. What the server does not answer is unknown.
func (f *FGA) All(ctx context.Context, a Asked, objects []string) ([]Answered, error) {
	var checks []map[string]any
	for i, o := range objects {
		a.Object = o
		tuple, err := fgaTuple(&a)
		if err != nil {
			return nil, err
		}
		checks = append(checks, map[string]any{"tuple_key": tuple, "correlation_id": strconv.Itoa(i)})
	}
	var answer struct {
		Result map[string]struct {
			Allowed *bool `json:"allowed"`
		} `json:"result"`
	}
	if err := f.ask(ctx, "batch-check", map[string]any{"checks": checks}, &answer); err != nil {
		return nil, err
	}
	out := make([]Answered, len(objects))
	for i := range out {
		out[i] = Answered{Permitted: action.TriUnknown, Version: f.Model}
		if r := answer.Result[strconv.Itoa(i)]; r.Allowed != nil {
			out[i].Permitted = action.TriOf(*r.Allowed)
		}
	}
	return out, nil
}

var errFGAForm = errors.New("openfga: an answer of another form")

// fgaTuple is a question in OpenFGA's words.
func fgaTuple(a *Asked) (map[string]string, error) {
	if strings.ContainsAny(a.User, ":#* \t\n") || a.Object == "" {
		return nil, errors.New("openfga: a user or object that its names cannot hold")
	}
	return map[string]string{"user": "user:" + a.User, "relation": a.Relation, "object": a.Object}, nil
}

// ask makes one request under the store.
func (f *FGA) ask(ctx context.Context, what string, body map[string]any, answer any) error {
	body["consistency"] = "HIGHER_CONSISTENCY"
	if f.Model != "" {
		body["authorization_model_id"] = f.Model
	}
	text, err := action.Canonical(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(f.URL, "/")+"/stores/"+url.PathEscape(f.Store)+"/"+what, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if f.TokenFile != "" {
		secret, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return errors.New("openfga: its token cannot be read")
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	}
	c := http.Client{Transport: f.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(r)
	if err != nil {
		return fmt.Errorf("openfga: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("openfga: status %d", resp.StatusCode)
	}
	if err := action.Check(data, action.Limits{}); err != nil || json.Unmarshal(data, answer) != nil {
		return errFGAForm
	}
	return nil
}

// ACL answers from a snapshot of access lists in a file, which is read again when it changes.
type ACL struct {
	Path string
	Now  func() time.Time // nil means time.Now

	mu   sync.Mutex // guards below; held across a read of the file
	doc  *aclFile
	seen time.Time
	size int64
}

// aclFile is the form of the file: who has which relation to which object, as of a time.
type aclFile struct {
	Version string                          `json:"version"`
	MadeMs  int64                           `json:"made_ms"`
	Objects map[string]map[string]aclHolder `json:"objects"` // object, relation
}

type aclHolder struct {
	Users  []string `json:"users"`
	Groups []string `json:"groups"`
}

const maxACLBytes = 64 << 20

// Rights answers from the snapshot. An object that is not in it is unknown.
func (l *ACL) Rights(_ context.Context, a Asked) (Answered, error) {
	doc, err := l.read()
	if err != nil {
		return Answered{Permitted: action.TriUnknown}, err
	}
	now := time.Now
	if l.Now != nil {
		now = l.Now
	}
	out := Answered{Permitted: action.TriUnknown, Version: doc.Version, AgeS: max((now().UnixMilli()-doc.MadeMs)/1000, 0)}
	o, ok := doc.Objects[a.Object]
	if !ok {
		return out, nil
	}
	h := o[a.Relation]
	switch {
	case slices.Contains(h.Users, a.User):
		out.Permitted = action.Yes
	case a.Known && slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(h.Groups, g) }):
		out.Permitted = action.Yes
	case a.Known || len(h.Groups) == 0:
		out.Permitted = action.No
	}
	return out, nil
}

func (l *ACL) read() (*aclFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := os.Stat(l.Path)
	if err != nil {
		return nil, errors.New("identity: the access lists cannot be read")
	}
	if l.doc != nil && info.ModTime().Equal(l.seen) && info.Size() == l.size {
		return l.doc, nil
	}
	data, err := os.ReadFile(l.Path)
	if err != nil {
		return nil, errors.New("identity: the access lists cannot be read")
	}
	doc := &aclFile{}
	if err := action.Read(data, doc, action.Limits{Bytes: maxACLBytes, Names: 1 << 20}); err != nil {
		return nil, fmt.Errorf("identity: access lists: %w", err)
	}
	l.doc, l.seen, l.size = doc, info.ModTime(), info.Size()
	return doc, nil
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/detect"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/store/memory"
	"github.com/sallyport/sallyport/tools"
)

// Document is what Check decides: a call, with as many facts as the asker knows. Facts is a partial input
// document agent.v1; what it states wins over what Check finds out itself, what neither states is unknown.
type Document struct {
	Tool struct {
		Server string `json:"server"`
		Name   string `json:"name"`
	} `json:"tool"`
	Arguments jsontext.Value `json:"arguments"`
	Facts     jsontext.Value `json:"facts"`
}

// Checked is the answer of Check.
type Checked struct {
	Query       *action.Query      `json:"query"`
	Explanation policy.Explanation `json:"explanation"`
}

// Check decides one document without an owner: what the tools and the detectors can say of it is added,
// nothing is recorded. It wraps action.ErrStrict for a document that cannot be read.
func Check(ctx context.Context, document []byte, cfg policy.Config) (*Checked, error) {
	var doc Document
	if err := action.Read(document, &doc, action.Limits{}); err != nil {
		return nil, err
	}
	if len(doc.Arguments) == 0 {
		doc.Arguments = jsontext.Value("{}")
	}
	q, err := bundle.ReadPartial([]byte(`{"phase":"before"}`), optional(doc.Facts))
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	q.Resource.Server, q.Resource.Name = doc.Tool.Server, doc.Tool.Name
	q.Resource.ID = action.ToolKey(doc.Tool.Server, doc.Tool.Name)
	q.Action.Arguments, q.Action.Bytes = doc.Arguments, int64(len(doc.Arguments))
	if err := q.Validate(); err != nil {
		return nil, err
	}
	compiled, err := policy.Load(cfg)
	if err != nil {
		return nil, err
	}
	if q, err = informed(ctx, q); err != nil {
		return nil, err
	}
	if len(doc.Facts) > 0 { // what was stated wins
		stated, err := action.Canonical(q)
		if err != nil {
			return nil, err
		}
		if q, err = bundle.ReadPartial(stated, doc.Facts); err != nil {
			return nil, fmt.Errorf("facts: %w", err)
		}
	}
	ex, err := compiled.Explain(ctx, q)
	return &Checked{Query: q, Explanation: ex}, err
}

func optional(v jsontext.Value) []byte {
	if len(v) == 0 {
		return nil
	}
	return v
}

// informed adds what the tools and the detectors say.
func informed(ctx context.Context, q *action.Query) (*action.Query, error) {
	key := make([]byte, 32) // for this run only
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	d, err := detect.New(detect.Config{Fingerprint: func(label string, parts ...[]byte) string {
		m := hmac.New(sha256.New, key)
		for _, p := range append([][]byte{[]byte(label)}, parts...) {
			_ = binary.Write(m, binary.BigEndian, uint64(len(p)))
			m.Write(p)
		}
		return hex.EncodeToString(m.Sum(nil)[:16])
	}})
	if err != nil {
		return nil, err
	}
	st := memory.Open(memory.Config{})
	defer func() { _ = st.Close() }()
	home, _ := os.UserHomeDir()
	reg, err := tools.Open(ctx, tools.Config{Store: st, DataDir: defaultData(), Home: home, Poisoned: d.Poisoned})
	if err != nil {
		return nil, err
	}
	for _, in := range []interface {
		Inform(context.Context, *action.Query) (action.Part, error)
	}{reg, d} {
		part, err := in.Inform(ctx, q)
		if err != nil {
			return nil, err
		}
		part.Put(q)
	}
	return d.Scrub(q)
}

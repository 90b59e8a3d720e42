// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// records encodes a batch. What is opened for it is on record before.
func (e *Exporter) records(ctx context.Context, origin string, size uint64, batch []ledger.Entry) ([][]byte, error) {
	var opens []ledger.PartAt
	for i := range batch {
		for _, p := range e.wanted(batch[i].Leaf) {
			opens = append(opens, ledger.PartAt{Index: batch[i].Index, Part: p})
		}
	}
	if len(opens) > 0 {
		if err := e.cfg.Access(ctx, opens); err != nil {
			return nil, fmt.Errorf("not recorded, not opened: %w", err)
		}
	}
	out := make([][]byte, 0, len(batch))
	for i := range batch {
		r := record{origin: origin, size: size, Entry: batch[i]}
		if err := e.fill(&r); err != nil {
			return nil, err
		}
		out = append(out, e.encode(&r))
	}
	return out, nil
}

// wanted are the parts of a record that are opened. Why somebody opened something is nobody's business
// outside, and to open it would be an access again, for ever.
func (e *Exporter) wanted(l *ledger.Leaf) []action.PartName {
	if l.Kind == action.KindAccess {
		return nil
	}
	var out []action.PartName
	for _, p := range l.Parts {
		if slices.Contains(e.cfg.Parts, p.Name) || e.cfg.Names && (p.Name == action.PartInputBefore || p.Name == action.PartInputAfter) {
			out = append(out, p.Name)
		}
	}
	return out
}

func (e *Exporter) fill(r *record) error {
	for _, name := range e.wanted(r.Leaf) {
		data, err := r.Open(name)
		erased := errors.Is(err, ledger.ErrErased)
		if err != nil && !erased {
			return err
		}
		if slices.Contains(e.cfg.Parts, name) {
			r.Parts = append(r.Parts, Part{Name: name, Data: data, Erased: erased})
		}
		if e.cfg.Names && r.Names == nil && (name == action.PartInputBefore || name == action.PartInputAfter) {
			r.Names = namesIn(data)
		}
	}
	return nil
}

// namesIn are the names in a recorded input; none where there is none.
func namesIn(input []byte) map[string]string {
	var q struct {
		Subject struct {
			ID   string `json:"id"`
			User struct {
				ID string `json:"id"`
			} `json:"user"`
		} `json:"subject"`
		Resource struct {
			Server string `json:"server"`
			Name   string `json:"name"`
		} `json:"resource"`
	}
	if json.Unmarshal(input, &q) != nil {
		return nil
	}
	m := map[string]string{"agent": q.Subject.ID, "user": q.Subject.User.ID, "server": q.Resource.Server, "tool": q.Resource.Name}
	for k, v := range m {
		if v == "" {
			delete(m, k)
		} else {
			m[k] = action.Clip(v, 256)
		}
	}
	return m
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/flow"
	"github.com/sallyport/sallyport/ledger"
)

// tenantRecords are the organisation's own records, which vouch for values. The ledger holds them, sealed:
// what stands there is read again at the start, and erasing it takes the record away. Its methods are
// safe for concurrent use.
type tenantRecords struct {
	append func(ctx context.Context, r *action.Record) (action.Receipt, error)
	print  func(label string, parts ...[]byte) string
	nowMs  func() int64
	flow   *flow.Flow

	mu    sync.Mutex // guards below; held across append, so that the log and what counts have one order
	known map[string]map[string]admin.TenantRecord
}

// The bounds of what a tenant may declare.
const (
	maxTenantRecords = 1024
	maxTenantBytes   = 64 << 20 // of one tenant's records together
	maxRecordFields  = 4096
)

// codes of tenant records in the log.
const (
	codeRecordPut  = "tenant_record.put"
	codeRecordGone = "tenant_record.gone"
)

// recordBody is what is sealed of a tenant record.
type recordBody struct {
	Name   string            `json:"name"`
	By     string            `json:"by"`
	Fields map[string]string `json:"fields"`
	Data   jsontext.Value    `json:"data"`
}

func (s *Sallyport) newTenantRecords() *tenantRecords {
	return &tenantRecords{append: s.Ledger.Append, print: s.Ledger.Fingerprint, nowMs: func() int64 { return s.Ledger.Now().UnixMilli() },
		flow: s.Flow, known: map[string]map[string]admin.TenantRecord{}}
}

// Put replaces the record of a name. seen is the revision that the caller rests on, 0 for a new name.
func (t *tenantRecords) Put(ctx context.Context, tenant, name string, seen uint64, data jsontext.Value, fields map[string]string, by string) (admin.TenantRecord, error) {
	if err := checkRecord(name, fields); err != nil {
		return admin.TenantRecord{}, err
	}
	data, err := action.Canonical(data)
	if err != nil {
		return admin.TenantRecord{}, fmt.Errorf("%w: %w", admin.ErrRecord, err)
	}
	if err := t.flow.CheckRecords(name, data, fields); err != nil {
		return admin.TenantRecord{}, fmt.Errorf("%w: %w", admin.ErrRecord, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.rests(tenant, name, seen); err != nil {
		return admin.TenantRecord{}, err
	}
	total, of := int64(len(data)), t.known[tenant]
	for n, r := range of {
		if n != name {
			total += r.Bytes
		}
	}
	if _, is := of[name]; !is && len(of) >= maxTenantRecords || total > maxTenantBytes {
		return admin.TenantRecord{}, fmt.Errorf("%w: at most %d records of %d bytes together", admin.ErrRecordsFull, maxTenantRecords, maxTenantBytes)
	}
	return t.write(ctx, tenant, codeRecordPut, recordBody{name, by, fields, data})
}

// Delete takes a record back.
func (t *tenantRecords) Delete(ctx context.Context, tenant, name string, seen uint64, by string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, is := t.known[tenant][name]; !is {
		return admin.ErrNoRecord
	}
	if err := t.rests(tenant, name, seen); err != nil {
		return err
	}
	_, err := t.write(ctx, tenant, codeRecordGone, recordBody{Name: name, By: by, Data: jsontext.Value("null")})
	return err
}

// Get returns what is known of a record but its data.
func (t *tenantRecords) Get(tenant, name string) (admin.TenantRecord, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, is := t.known[tenant][name]
	if !is {
		return r, admin.ErrNoRecord
	}
	return r, nil
}

// rests compares what a writer saw with what there is; t.mu is held.
func (t *tenantRecords) rests(tenant, name string, seen uint64) error {
	switch now := t.known[tenant][name].Revision; {
	case now != 0 && seen == 0:
		return admin.ErrRecordUnseen
	case now != seen:
		return admin.ErrRecordChanged
	}
	return nil
}

// write makes a change durable, then makes it count; t.mu is held.
func (t *tenantRecords) write(ctx context.Context, tenant, code string, b recordBody) (admin.TenantRecord, error) {
	sealed, err := action.Canonical(b)
	if err != nil {
		return admin.TenantRecord{}, fmt.Errorf("%w: %w", admin.ErrRecord, err)
	}
	now := t.nowMs()
	got, err := t.append(ctx, &action.Record{Kind: action.KindContext, Tenant: tenant, TimeMs: now, Actor: b.By, Status: action.StatusNone,
		Codes: []string{code}, Subject: t.print("tenant record", []byte(b.Name)),
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "tenant", Data: sealed}}})
	if err != nil {
		return admin.TenantRecord{}, err
	}
	return t.take(tenant, got.Index, now, &b)
}

// take makes a change count that stands in the log; t.mu is held. Whatever fails, the old record no longer
// counts.
func (t *tenantRecords) take(tenant string, index uint64, ms int64, b *recordBody) (admin.TenantRecord, error) {
	of := t.known[tenant]
	if of == nil {
		of = map[string]admin.TenantRecord{}
		t.known[tenant] = of
	}
	delete(of, b.Name)
	if b.Data.Kind() == 'n' {
		return admin.TenantRecord{}, t.flow.Records(tenant, b.Name, nil, nil)
	}
	r := admin.TenantRecord{Name: b.Name, Revision: index + 1, Bytes: int64(len(b.Data)), By: b.By, TimeMs: ms, Fields: map[string]string{}}
	classes, err := flow.Classify(b.Data)
	if err == nil {
		err = t.flow.Records(tenant, b.Name, b.Data, b.Fields)
	}
	if err != nil {
		return r, errors.Join(err, t.flow.Records(tenant, b.Name, nil, nil))
	}
	for p, c := range classes {
		r.Fields[p] = string(c)
	}
	maps.Copy(r.Fields, b.Fields)
	of[b.Name] = r
	return r, nil
}

// restore takes one record of the log. One that this build can no longer read vouches for nothing.
func (t *tenantRecords) restore(e ledger.Entry) error {
	l := e.Leaf
	if l.Kind != action.KindContext || !slices.Contains(l.Codes, codeRecordPut) && !slices.Contains(l.Codes, codeRecordGone) {
		return nil
	}
	raw, err := e.Open(action.PartDetail)
	if errors.Is(err, ledger.ErrErased) || errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("entry %d: tenant record: %w", e.Index, err)
	}
	var b recordBody
	if err := action.Read(raw, &b, action.Limits{Bytes: max(len(raw), 1)}); err != nil {
		return fmt.Errorf("entry %d: tenant record: %w", e.Index, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.take(l.Tenant, e.Index, l.TimeMs, &b)
	return nil
}

func checkRecord(name string, fields map[string]string) error {
	if name == "" || len(name) > 128 || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: the name is empty, too long, or holds a slash or a sign that does not print", admin.ErrRecord)
	}
	if len(fields) > maxRecordFields {
		return fmt.Errorf("%w: more than %d fields", admin.ErrRecord, maxRecordFields)
	}
	for _, p := range slices.Sorted(maps.Keys(fields)) {
		if p != "" && p[0] != '/' || len(p) > 512 {
			return fmt.Errorf("%w: field %q is no JSON pointer", admin.ErrRecord, action.Clip(p, 64))
		}
	}
	return nil
}

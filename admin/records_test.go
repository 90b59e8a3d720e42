// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// cabinet keeps what is known of tenant records in memory.
type cabinet struct {
	mu  sync.Mutex
	rev uint64
	of  map[string]TenantRecord
}

func (c *cabinet) rests(name string, seen uint64) error {
	switch now := c.of[name].Revision; {
	case now != 0 && seen == 0:
		return ErrRecordUnseen
	case now != seen:
		return ErrRecordChanged
	}
	return nil
}

func (c *cabinet) Put(_ context.Context, _, name string, seen uint64, data jsontext.Value, fields map[string]string, by string) (TenantRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.rests(name, seen); err != nil {
		return TenantRecord{}, err
	}
	if name == "full" {
		return TenantRecord{}, ErrRecordsFull
	}
	c.rev++
	c.of[name] = TenantRecord{Name: name, Revision: c.rev, Bytes: int64(len(data)), By: by, TimeMs: 1, Fields: fields}
	return c.of[name], nil
}

func (c *cabinet) Get(_, name string) (TenantRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.of[name]
	if !ok {
		return r, ErrNoRecord
	}
	return r, nil
}

func (c *cabinet) Delete(_ context.Context, _, name string, seen uint64, _ string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.of[name]; !ok {
		return ErrNoRecord
	}
	if err := c.rests(name, seen); err != nil {
		return err
	}
	delete(c.of, name)
	return nil
}

func TestTenantRecordIsReplacedOnlyByWhoSawIt(t *testing.T) {
	b := start(t)
	const path, data = "/v1/records/staff", `{"data":[{"email":"ann@corp.example"}],"fields":{"/*/email":"party"}}`
	b.want(403, "viewer", "PUT", path, data)
	b.want(403, "stranger", "PUT", path, data)
	b.want(412, "tenant-data", "PUT", path, data, "If-Match", `"7"`)
	b.want(422, "tenant-data", "PUT", path, `{"data":"ann"}`)
	b.want(503, "tenant-data", "PUT", "/v1/records/full", data)
	got := b.want(200, "tenant-data", "PUT", path, data)
	if !strings.Contains(got, `"/*/email":"party"`) || !strings.Contains(got, `"revision":1`) {
		t.Error(got)
	}
	b.want(428, "tenant-data", "PUT", path, data)
	b.want(412, "tenant-data", "PUT", path, data, "If-Match", `"2"`)
	b.want(200, "tenant-data", "PUT", path, data, "If-Match", `"1"`)
	if got := b.want(200, "auditor", "GET", path, ""); !strings.Contains(got, `"revision":2`) || strings.Contains(got, "ann@") {
		t.Error(got)
	}
	b.want(428, "tenant-data", "DELETE", path, "")
	b.want(412, "tenant-data", "DELETE", path, "", "If-Match", `"1"`)
	b.want(200, "tenant-data", "DELETE", path, "", "If-Match", `"2"`)
	b.want(404, "tenant-data", "GET", path, "")
}

func TestTokenOfAnAgentMayNotVouchForValues(t *testing.T) {
	b := start(t)
	b.want(422, "admin", "POST", "/v1/tokens", `{"agent":"bot","scopes":["agent","tenant-data"]}`)
}

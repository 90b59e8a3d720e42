// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/admin"
)

func TestTenantRecordsOutliveARestart(t *testing.T) {
	ctx := context.Background()
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	var s *Sallyport
	again := func() {
		t.Helper()
		var err error
		if s != nil {
			err = s.Close()
		}
		if err == nil {
			s, err = Open(ctx, cfg)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	again()
	defer func() { _ = s.Close() }()
	data := jsontext.Value(`[{"name":"Ann Moore","email":"ann@corp.example","notes":"Ask her first. She knows."}]`)
	put, err := s.records.Put(ctx, "default", "staff", 0, data, map[string]string{"/*/name": "party"}, "olga")
	if err != nil {
		t.Fatal(err)
	}
	if put.Fields["/*/name"] != "party" || put.Fields["/*/email"] == "" {
		t.Errorf("fields %v", put.Fields)
	}
	if _, err := s.records.Put(ctx, "default", "rooms", 0, jsontext.Value(`[{"room":"Blue"}]`), nil, "olga"); err != nil {
		t.Fatal(err)
	}
	again()
	got, err := s.records.Get("default", "staff")
	if err != nil || got.Revision != put.Revision || got.By != "olga" || got.Fields["/*/name"] != "party" || got.Bytes != put.Bytes {
		t.Errorf("%+v, %v; want %+v", got, err, put)
	}
	if _, err := s.records.Put(ctx, "default", "staff", 0, data, nil, "eve"); !errors.Is(err, admin.ErrRecordUnseen) {
		t.Errorf("a replacement unseen: %v", err)
	}
	if err := s.records.Delete(ctx, "default", "staff", got.Revision, "olga"); err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := s.records.Get("default", "staff"); !errors.Is(err, admin.ErrNoRecord) {
		t.Errorf("a record that was taken back is there again: %v", err)
	}
	if _, err := s.records.Get("default", "rooms"); err != nil {
		t.Error(err)
	}
}

func TestTenantRecordsRefuseWhatCannotCount(t *testing.T) {
	ctx := context.Background()
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	before := s.Ledger.Checkpoint().Size
	good := jsontext.Value(`[{"a":1}]`)
	for name, c := range map[string]struct {
		name   string
		fields map[string]string
	}{
		"no name":             {"", nil},
		"a slash in the name": {"a/b", nil},
		"a hidden sign":       {"a\u200bb", nil},
		"a long name":         {strings.Repeat("n", 129), nil},
		"no pointer":          {"n", map[string]string{"a": "party"}},
		"no class":            {"n", map[string]string{"/*/a": "trusted"}},
	} {
		if _, err := s.records.Put(ctx, "default", c.name, 0, good, c.fields, "olga"); !errors.Is(err, admin.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now := s.Ledger.Checkpoint().Size; now != before {
		t.Errorf("%d records of refused writes", now-before)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
)

func auditorCalled(name, credential string) *gateway.Caller {
	c := &gateway.Caller{Name: name}
	c.Subject.Channel.CredID = credential
	return c
}

func TestReasoningIsOpenedByTwoPeople(t *testing.T) {
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Ledger.Append(t.Context(), &action.Record{Kind: action.KindIntent, Tenant: "default", Action: "a1", TimeMs: 1, Status: action.StatusIntended,
		Parts: []action.PayloadPart{{Name: action.PartReasoning, Owner: "ann", Data: []byte("thought")}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		who   *gateway.Caller
		opens bool
	}{
		{"one person", auditorCalled("olga", "t1"), false},
		{"the same again", auditorCalled("olga", "t1"), false},
		{"the same under another token", auditorCalled("olga", "t2"), false},
		{"another name on the same token", auditorCalled("otto", "t2"), false},
		{"one without a credential", auditorCalled("pia", ""), false},
		{"somebody, after one without a credential", auditorCalled("olga", "t1"), false},
		{"a second person", auditorCalled("otto", "t3"), true},
		{"a third, alone once more", auditorCalled("pia", "t4"), false},
	} {
		before := s.Ledger.Checkpoint().Size
		b, _, err := s.disclose(t.Context(), c.who, r.Index, action.PartReasoning, "why")
		if c.opens != (string(b) == "thought") || c.opens != (err == nil) || !c.opens && !errors.Is(err, ledger.ErrTwo) {
			t.Errorf("%s: %q, %v", c.name, b, err)
		}
		if e, err := s.Ledger.Read(before); err != nil || e.Leaf.Kind != action.KindAccess || (e.Leaf.Status == action.StatusDone) != c.opens || (len(e.Leaf.Codes) == 1) != c.opens {
			t.Errorf("%s: on record is %+v, %v", c.name, e.Leaf, err)
		}
	}
	var late askedTwo
	at, now := ledger.PartAt{Index: 1, Part: action.PartReasoning}, time.Unix(1000, 0)
	late.note(at, firstWord{"olga", "t1", now})
	if late.take(at, "otto", "t2", now.Add(twoWithin)) != "" || late.take(at, "otto", "t2", now.Add(-time.Second)) != "" {
		t.Error("a word counts too late, or before it was given")
	}
	for name, open := range map[string]func() error{
		"show": func() error {
			_, _, err := s.Ledger.Disclose(t.Context(), r.Index, action.PartReasoning, "olga", "")
			return err
		},
		"export": func() error {
			_, err := s.Ledger.Opened(t.Context(), ledger.Access{Actor: "a", Subject: "s", Parts: []ledger.PartAt{{Index: r.Index, Part: action.PartReasoning}}})
			return err
		},
		"alone": func() error {
			_, _, err := s.Ledger.DiscloseByTwo(t.Context(), r.Index, action.PartReasoning, "olga", "Olga", "")
			return err
		},
	} {
		if err := open(); !errors.Is(err, ledger.ErrTwo) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package dcap_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/collateral"
	"github.com/sallyport/sallyport/attest/dcap"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/store/memory"
)

// TestARevokedPlatformLosesItsLeaseAtOnce follows an agent in an enclave: its maker's collateral is fetched and it gets a
// lease; the maker revokes the platform, the next update brings that, and the lease ends before it would have been
// renewed. A source that then serves the old collateral again is not believed.
func TestARevokedPlatformLosesItsLeaseAtOnce(t *testing.T) {
	story, service := dcap.NewStory(t)
	srv := httptest.NewServer(service)
	defer srv.Close()
	now, dir := story.Now(), t.TempDir()
	clock := func() time.Time { return now }
	folder, err := collateral.New(collateral.Config{Dir: dir, Intel: &dcap.Source{URL: srv.URL}, Now: clock, IntelRoot: story.Root(),
		Platforms: []dcap.Key{{TEE: "sgx", FMSPC: "00A067110000", CA: "platform"}}})
	if err != nil {
		t.Fatal(err)
	}
	update := func(changed bool, says string) {
		t.Helper()
		r, err := folder.Update(t.Context())
		if err != nil || len(r) != 1 || r[0].Changed != changed || !strings.Contains(r[0].Error, says) || (says == "") != (r[0].Error == "") {
			t.Fatalf("%+v %v", r, err)
		}
	}
	v, err := dcap.New(dcap.Config{Store: dcap.Folder{Path: dir}, Root: story.Root()})
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	book, err := lease.Open(t.Context(), lease.Config{Store: memory.Open(memory.Config{}), Key: make([]byte, 32), Now: clock,
		Record: func(_ context.Context, r *action.Record) (action.Receipt, error) {
			codes = append(codes, r.Codes[0])
			return action.Receipt{}, nil
		},
		Appraise: func(_ context.Context, in lease.Input) (lease.Result, error) {
			r := lease.Result{Why: []string{in.Facts.TCB.Status}}
			if in.Facts.TCB.Status == dcap.UpToDate && in.Facts.Fresh == action.Yes {
				r.LeaseS = 60
			}
			return r, nil
		},
		Profile:     func(_, agent string) (lease.Profile, bool) { return lease.Profile{ID: agent}, true },
		Fingerprint: func(string, ...[]byte) string { return "print" }, Enclaves: map[string]attest.Verifier{"sgx": v}})
	if err != nil {
		t.Fatal(err)
	}
	grant := func() (lease.Lease, error) {
		t.Helper()
		s := action.NewQuery(action.Before).Subject
		s.ID, s.Tenant = "payer", "default"
		ch, err := book.Challenge(&s)
		if err != nil {
			t.Fatal(err)
		}
		if ch, err = book.Take(&s, ch.ID); err != nil {
			t.Fatal(err)
		}
		bind, err := attest.Bind(ch.Nonce, "key", nil, nil, ch.Head)
		if err != nil {
			t.Fatal(err)
		}
		return book.Grant(t.Context(), lease.Claim{Subject: s, Challenge: ch, Key: "key", Kind: "sgx", Evidence: story.Quote(bind)})
	}

	if _, err := grant(); err == nil {
		t.Fatal("a lease without collateral")
	}
	update(true, "")
	l, err := grant()
	if err != nil {
		t.Fatal(err)
	}
	update(false, "")
	if n, err := book.Recheck(t.Context()); n != 0 || err != nil || !book.Held(lease.CredentialPrefix+l.ID) {
		t.Fatalf("%d ended, %v", n, err)
	}
	now = now.Add(time.Second)
	story.State("Revoked")
	update(true, "")
	if n, err := book.Recheck(t.Context()); n != 1 || err != nil || book.Held(lease.CredentialPrefix+l.ID) {
		t.Fatalf("%d ended, %v", n, err)
	}
	if got, _ := book.Known(l.ID); got.Ended != lease.CodePlatform || len(got.Why) != 1 || !strings.Contains(got.Why[0], "Intel revoked its TCB level") {
		t.Errorf("%+v", got)
	}
	if _, err := grant(); err == nil {
		t.Error("a revoked platform gets a lease")
	}
	story.Restore()
	update(false, "its TCB info is older than what is there")
	if _, err := grant(); err == nil {
		t.Error("old collateral was brought back")
	}
	if want := "attest.refused attest.granted attest.platform attest.refused attest.refused"; strings.Join(codes, " ") != want {
		t.Errorf("records %q", codes)
	}
}

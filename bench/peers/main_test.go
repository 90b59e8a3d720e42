// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestEveryPeerKeepsRecords(t *testing.T) {
	var out bytes.Buffer
	args := []string{"-rates", "50", "-writers", "2", "-for", "200ms", "-json"}
	if err := run(context.Background(), args, &out); err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(peers(1)) {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		switch {
		case r.NotRun != "":
			t.Log(r.Name, r.NotRun)
		case len(r.Rates) != 1 || r.Rates[0].Records == 0 || len(r.Closed) != 1 || r.Closed[0].PerSecond == 0:
			t.Errorf("%s kept nothing: %+v", r.Name, r)
		case r.Name != "nothing" && r.DiskPerRecord < 1024:
			t.Errorf("%s kept %.0f bytes of 1024", r.Name, r.DiskPerRecord)
		}
	}
	var page strings.Builder
	if err := text(&page, options{rates: []int{50}, writers: []int{2}, payload: 1024}, rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if strings.Count(page.String(), r.Name) < 2 {
			t.Errorf("the tables leave out %s:\n%s", r.Name, page.String())
		}
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"a rate of nothing": {"-rates", "0"},
		"no number":         {"-writers", "many"},
		"an unknown peer":   {"-only", "etcd"},
		"an unknown flag":   {"-fast"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(context.Background(), args, &bytes.Buffer{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

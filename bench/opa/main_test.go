// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary be the server, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveCommand {
		if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestEveryEngineAnswers(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-rules", "40", "-for", "50ms", "-json"}, &out); err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || len(rows) != 5 {
		t.Fatalf("%v %+v", err, rows)
	}
	for _, r := range rows {
		if r.Decisions == 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Rules != 40 {
			t.Errorf("%+v", r)
		}
	}
	var page strings.Builder
	if err := text(&page, rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !strings.Contains(page.String(), r.Engine) {
			t.Errorf("the table leaves out %s:\n%s", r.Engine, page.String())
		}
	}
	if err := run(t.Context(), []string{"-rules", "none"}, &out); err == nil {
		t.Error("a size that is no number")
	}
}

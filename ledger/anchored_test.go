// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger/anchor"
)

type fixedAnchor struct{ token anchor.Token }

func (a fixedAnchor) Anchor(context.Context, []byte) (anchor.Token, error) { return a.token, nil }

func TestAnchorRecordsAreHeldAgainstTheirTokens(t *testing.T) {
	ctx := t.Context()
	dir, cfg := closedLog(t, 5)
	cfg.Anchors = filepath.Join(dir, "anchors")
	l := mustOpen(t, cfg)
	// A token that says nothing: recorded as it came, and found by whoever looks at it.
	done, r, err := l.Anchor(ctx, fixedAnchor{anchor.Token{Kind: "rfc3161", Data: []byte("no token"), Time: time.Now()}}, "op")
	if err != nil || done.Size != 5 || r.Index != 5 {
		t.Fatal(done, r, err)
	}
	for _, kind := range []string{"", "../x", "checkpoint", "a b"} {
		if _, _, err := l.Anchor(ctx, fixedAnchor{anchor.Token{Kind: kind}}, "op"); err == nil {
			t.Errorf("kind %q passes", kind)
		}
	}
	e, err := l.Read(5)
	if err != nil || e.Leaf.Kind != action.KindAnchor || e.Leaf.Subject != "rfc3161/5" || len(e.Leaf.Codes) != 2 {
		t.Fatal(e.Leaf, err)
	}
	mustClose(t, l)
	if r, err := verifyDir(t, dir, Options{}); !errors.Is(err, ErrVerification) || len(r.Anchors) != 0 {
		t.Fatal(r, err)
	}
	edit(t, filepath.Join(cfg.Anchors, "5.rfc3161"), func(b []byte) []byte { return append(b, 'x') })
	if r, err := verifyDir(t, dir, Options{}); !errors.Is(err, ErrVerification) || !bytes.Contains([]byte(r.Text()), []byte("not the one that was recorded")) {
		t.Fatal(r, err)
	}
	if err := os.RemoveAll(cfg.Anchors); err != nil {
		t.Fatal(err)
	}
	if r, err := verifyDir(t, dir, Options{}); err != nil || !bytes.Contains([]byte(r.Text()), []byte("not at hand")) {
		t.Fatal(r, err)
	}
}

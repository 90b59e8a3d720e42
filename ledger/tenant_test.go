// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// turned wraps by adding a number to each byte: enough to tell wrapped from plain.
type turned struct {
	name string
	by   byte
	fail error
}

func (w turned) Name() string { return w.name }
func (w turned) Wrap(key []byte) ([]byte, error) {
	out := bytes.Clone(key)
	for i := range out {
		out[i] += w.by
	}
	return out, w.fail
}
func (w turned) Unwrap(b []byte) ([]byte, error) {
	out := bytes.Clone(b)
	for i := range out {
		out[i] -= w.by
	}
	return out, w.fail
}

// sealFiles are the texts of the keys of payloads.
func sealFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "seal-*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[f] = string(b)
	}
	return out
}

func TestTenantKeyWrapsEveryKey(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("plain", 0))
	mustClose(t, l)
	plain := sealFiles(t, cfg.Keys)
	if len(plain) != 2 {
		t.Fatalf("%d keys", len(plain))
	}
	wrap := turned{name: "test:a", by: 7}
	cfg.Wrap = wrap
	l = mustOpen(t, cfg) // the plain ones are wrapped
	mustAppend(t, l, testRecord("wrapped", 0))
	other := testRecord("wrapped", 1)
	other.User, other.Parts[0].Owner, other.Parts[1].Owner = "bea@example.org", "bea@example.org", "bea@example.org"
	mustAppend(t, l, other)
	for i := range uint64(3) {
		if b, err := l.Payload(t.Context(), i, action.PartArguments); err != nil || !bytes.Contains(b, []byte("/secret/")) {
			t.Errorf("entry %d: %q, %v", i, b, err)
		}
	}
	wrapped := sealFiles(t, cfg.Keys)
	for f, text := range wrapped {
		if !strings.HasPrefix(text, headWrapped+"\n") || len(wrapped) != 4 {
			t.Errorf("%s of %d: %s", f, len(wrapped), text)
		}
		for _, old := range plain {
			if strings.Contains(text, strings.Split(old, "\n")[2]) {
				t.Errorf("%s holds a plain key", f)
			}
		}
	}
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	rep, err := Verify(t.Context(), Source{Wal: cfg.Wal, Keys: cfg.Keys, Tiles: cfg.Tiles, Dir: t.TempDir()}, Options{Vkey: l.Vkey(), Head: cfg.Head})
	if err != nil || rep.Parts.Opened != 0 || rep.Parts.Sealed != 6 || rep.Parts.Erased != 0 {
		t.Errorf("without the tenant key: %+v, %v", rep, err)
	}
	for name, w := range map[string]Wrapper{"none": nil, "another": turned{name: "test:b", by: 7}, "one of that name with another key": turned{name: "test:a", by: 8},
		"one that does not answer": turned{"test:a", 7, errors.New("down")}} {
		cfg.Wrap = w
		l, err := Open(cfg)
		if err == nil {
			_, err = l.Payload(t.Context(), 0, action.PartArguments)
			mustClose(t, l)
		}
		if err == nil || errors.Is(err, ErrErased) {
			t.Errorf("wrapper %s: %v", name, err)
		}
	}
	cfg.Wrap = nil
	cfg.ReadOnly = true
	l = mustOpen(t, cfg)
	if _, err := l.Payload(t.Context(), 0, action.PartArguments); !errors.Is(err, errNoTenantKey) {
		t.Errorf("a reader without the key: %v", err)
	}
	mustClose(t, l)
	cfg.Wrap = wrap
	l = mustOpen(t, cfg)
	if _, err := l.Payload(t.Context(), 0, action.PartArguments); err != nil {
		t.Errorf("a reader with the key: %v", err)
	}
	mustClose(t, l)
}

func TestPlainKeyAmongWrappedOnesIsNotUsed(t *testing.T) {
	cfg := testConfig(t)
	cfg.Wrap = turned{name: "test:a", by: 7}
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	name := filepath.Join(cfg.Keys, sealName(l.keys.pseudonym("owner", "eve@example.org"), "arguments"))
	text := headSeal + "\n0123456789abc\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), testRecord("s", 0)); err == nil {
		t.Error("a part was sealed with a key that anybody may know")
	}
}

func TestErasureDestroysWrappedKeys(t *testing.T) {
	cfg := testConfig(t)
	cfg.Wrap = turned{name: "test:a", by: 7}
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s", 0))
	if done, err := l.Erase(context.Background(), "default", "eve@example.org", "op"); err != nil || len(done.Keys) != 2 {
		t.Fatal(done, err)
	}
	if _, err := l.Payload(t.Context(), 0, action.PartArguments); !errors.Is(err, ErrErased) {
		t.Error(err)
	}
	if left := sealFiles(t, cfg.Keys); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	mustClose(t, l)
}

func TestWrapperThatGivesNothingBackIsFoundFirst(t *testing.T) {
	cfg := testConfig(t)
	for name, w := range map[string]Wrapper{"it errs": turned{"test:a", 1, errors.New("no")}, "it has no name": turned{}, "a name with a space": turned{name: "a b"}} {
		cfg.Wrap = w
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	cfg.Wrap = nil
	mustClose(t, mustOpen(t, cfg)) // nothing was left half done
}

// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// The members of a package, in this order. "log.tar" is a bundle as ledger.Export writes it; "manifest" is a
// signed note that begins with the format and lists "SHA256 NAME" of every member before it.
const (
	format = "sallyport evidence 1"

	memberFormat   = "format"
	memberReport   = "report.json"
	memberText     = "report.md"
	memberHTML     = "report.html"
	memberNames    = "names.json" // what pseudonyms stand for, as the operator says; nothing proves it
	memberLog      = "log.tar"
	memberPolicy   = "policy-" // and the digest in hexadecimal, ".tar.gz": a policy that decided
	memberManifest = "manifest"

	maxMember = 256 << 20 // of all but the log
)

// Config says what goes into a package.
type Config struct {
	Log   *ledger.Log // required
	About About
	// Open chooses the sealed parts that are disclosed; nil discloses none.
	Open    func(index uint64, l *ledger.Leaf, part action.PartName) bool
	Actor   string            // who makes the package; required with Open
	Purpose string            // recorded with what is opened
	Names   map[string]string // pseudonym -> name; may be nil
	// Policy returns the archive of a bundle that decided, by its digest, nil if it is not kept; nil puts none in.
	Policy  func(digest string) ([]byte, error)
	TempDir string // where the log is put together; required; must be the owner's only
}

// Write writes a package. What is opened for it is on record before.
func Write(ctx context.Context, w io.Writer, c Config) (err error) {
	if c.Log == nil || c.TempDir == "" {
		return errors.New("evidence: config fields Log and TempDir are required")
	}
	m, err := LoadMapping()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.TempDir, "evidence-*")
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	sum := sha256.New()
	if err := c.Log.Export(ctx, io.MultiWriter(f, sum), ledger.ExportOptions{Open: c.Open, Actor: c.Actor, Purpose: c.Purpose}); err != nil {
		return err
	}
	r, err := derive(f.Name(), c.About, c.Log.Origin(), m)
	if err != nil {
		return err
	}
	members, err := documents(r, c.Names)
	if err == nil {
		members, err = c.policies(r, members)
	}
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	var list strings.Builder
	list.WriteString(format + "\n")
	for _, d := range members {
		if err := put(t, d.name, int64(len(d.data)), bytes.NewReader(d.data)); err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x %s\n", sha256.Sum256(d.data), d.name)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = put(t, memberLog, size, f)
	}
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	fmt.Fprintf(&list, "%x %s\n", sum.Sum(nil), memberLog)
	signed, err := c.Log.Sign(list.String())
	if err != nil {
		return err
	}
	if err := put(t, memberManifest, int64(len(signed)), bytes.NewReader(signed)); err != nil {
		return err
	}
	return t.Close()
}

// policies adds the bundles that decided, so that who gets the package can take its decisions again.
func (c *Config) policies(r *Report, to []document) ([]document, error) {
	for _, b := range r.Bundles {
		if c.Policy == nil {
			break
		}
		data, err := c.Policy(b.Digest)
		if err != nil {
			return nil, fmt.Errorf("evidence: policy %s: %w", b.Digest, err)
		}
		if data != nil {
			to = append(to, document{memberPolicy + strings.TrimPrefix(b.Digest, "sha256:") + ".tar.gz", data})
		}
	}
	return to, nil
}

// document is one member of a package.
type document struct {
	name string
	data []byte
}

func documents(r *Report, names map[string]string) ([]document, error) {
	report, err := json.Marshal(r, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, err
	}
	html, err := r.html(names)
	if err != nil {
		return nil, err
	}
	out := []document{{memberFormat, []byte(format + "\n")}, {memberReport, append(report, '\n')}, {memberText, r.markdown(names)}, {memberHTML, html}}
	if len(names) > 0 {
		b, err := json.Marshal(names, json.Deterministic(true), jsontext.WithIndent("  "))
		if err != nil {
			return nil, err
		}
		out = append(out, document{memberNames, append(b, '\n')})
	}
	return out, nil
}

func put(t *tar.Writer, name string, size int64, from io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.CopyN(t, from, size)
	return err
}

// derive makes the report from the leaves of a bundle.
func derive(bundle string, a About, origin string, m *Mapping) (*Report, error) {
	r := NewReport(a, origin, m)
	err := ledger.Leaves(bundle, func(index uint64, l *ledger.Leaf) error {
		r.Add(index, l)
		return nil
	})
	r.Finish()
	return r, err
}

// IsPackage reports whether the file looks like a package.
func IsPackage(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	t := tar.NewReader(f)
	h, err := t.Next()
	if err != nil || h.Name != memberFormat || h.Size != int64(len(format)+1) {
		return false
	}
	b, err := io.ReadAll(t)
	return err == nil && string(b) == format+"\n"
}

// Verify checks a package without its owner: the log in it as ledger.Verify does, that the log's key signed
// what is in it, and that the report is what the log says. tempDir takes a copy of the log. An error that is
// ledger.ErrVerification says what does not hold; any other that nothing could be said.
func Verify(ctx context.Context, file, tempDir string, opt ledger.Options) (*Report, *ledger.Report, error) {
	dir, err := os.MkdirTemp(tempDir, "evidence-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	p, err := unpack(file, dir)
	if err != nil {
		return nil, nil, err
	}
	log, err := ledger.Verify(ctx, ledger.Source{File: p.log}, opt)
	if err != nil {
		return nil, log, err
	}
	vkey := opt.Vkey
	if vkey == "" {
		if vkey, err = bundleKey(p.log); err != nil {
			return nil, log, err
		}
	}
	text, err := ledger.Signed(p.members[memberManifest], vkey)
	if err != nil {
		return nil, log, err
	}
	if text != p.list {
		return nil, log, fmt.Errorf("%w: the package is not what the manifest lists", ledger.ErrVerification)
	}
	m, err := LoadMapping()
	if err != nil {
		return nil, log, err
	}
	r, err := p.check(log.Origin, m)
	return r, log, err
}

// opened is a package whose members are read, and whose log lies in a file.
type opened struct {
	members map[string][]byte
	log     string
	list    string // what the manifest has to say
}

func unpack(file, dir string) (*opened, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &opened{members: map[string][]byte{}, log: dir + "/" + memberLog, list: format + "\n"}
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: package: %w", ledger.ErrVerification, err)
		}
		if _, twice := p.members[h.Name]; twice || p.members[memberManifest] != nil {
			return nil, fmt.Errorf("%w: package: member %q is out of place", ledger.ErrVerification, action.Clip(h.Name, 64))
		}
		sum := sha256.New()
		if h.Name == memberLog {
			p.members[memberLog] = []byte{}
			if err := spool(p.log, io.TeeReader(t, sum)); err != nil {
				return nil, err
			}
		} else {
			if h.Size > maxMember {
				return nil, fmt.Errorf("%w: package: member %q has %d bytes", ledger.ErrVerification, action.Clip(h.Name, 64), h.Size)
			}
			if p.members[h.Name], err = io.ReadAll(io.TeeReader(t, sum)); err != nil {
				return nil, fmt.Errorf("%w: package: %w", ledger.ErrVerification, err)
			}
		}
		if h.Name != memberManifest {
			p.list += hex.EncodeToString(sum.Sum(nil)) + " " + h.Name + "\n"
		}
	}
	for _, name := range []string{memberFormat, memberReport, memberText, memberHTML, memberLog, memberManifest} {
		if p.members[name] == nil {
			return nil, fmt.Errorf("%w: package: %q is missing", ledger.ErrVerification, name)
		}
	}
	if string(p.members[memberFormat]) != format+"\n" {
		return nil, fmt.Errorf("%w: package", ledger.ErrFormat)
	}
	return p, nil
}

func spool(name string, from io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// bundleKey is the public key that came with a bundle.
func bundleKey(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	t := tar.NewReader(f)
	for {
		h, err := t.Next()
		if err != nil {
			return "", fmt.Errorf("%w: package: the log has no key", ledger.ErrVerification)
		}
		if h.Name == "vkey" && h.Size < 4096 {
			b, err := io.ReadAll(t)
			return strings.TrimSpace(string(b)), err
		}
	}
}

// check derives the report again and compares. A package of another mapping is compared but for the rows.
func (p *opened) check(origin string, m *Mapping) (*Report, error) {
	var said Report
	if err := json.Unmarshal(p.members[memberReport], &said, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: package: report: %w", ledger.ErrVerification, err)
	}
	again, err := derive(p.log, said.About, origin, m)
	if err != nil {
		return nil, err
	}
	if said.Mapping != again.Mapping {
		said.Notes = append(said.Notes, "the rows are of another mapping than this build's and were not compared")
		again.Rows, again.Mapping, again.Notes = said.Rows, said.Mapping, said.Notes
	}
	a, err := action.Canonical(&said)
	if err != nil {
		return nil, err
	}
	b, err := action.Canonical(again)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(a, b) {
		return nil, fmt.Errorf("%w: the report is not what the log says", ledger.ErrVerification)
	}
	return &said, nil
}

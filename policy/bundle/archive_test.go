// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

type member struct {
	name string
	data string
	kind byte // 0 is a regular file
	size int64
}

func tarOf(t testing.TB, compress bool, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Size: int64(len(m.data)), Mode: 0o644, Linkname: "x"}
		if m.kind == 0 {
			h.Typeflag, h.Linkname = tar.TypeReg, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !compress {
		return out.Bytes()
	}
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	_, _ = g.Write(out.Bytes())
	_ = g.Close()
	return z.Bytes()
}

func TestReadArchiveRefusesWhatEscapesOrExplodes(t *testing.T) {
	m := member{name: ManifestFile, data: manifest}
	many := []member{m}
	for i := range MaxFiles {
		many = append(many, member{name: fmt.Sprintf("f%d.rego", i), data: "package x"})
	}
	folders := []member{m}
	for i := range maxEntries {
		folders = append(folders, member{name: fmt.Sprintf("d%d/", i), kind: tar.TypeDir})
	}
	zeros := string(make([]byte, MaxFileBytes))
	whole := tarOf(t, true, m, member{name: "a.rego", data: "package x"})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a plain one":                       {tarOf(t, true, m, member{name: "./a/b.rego", data: "package x"}), ""},
		"one without compression":           {tarOf(t, false, m), ""},
		"a way out":                         {tarOf(t, true, m, member{name: "../evil.rego"}), "no place"},
		"a way out behind a dot":            {tarOf(t, true, m, member{name: "a/.x/../../../evil.rego"}), "name"},
		"an absolute path":                  {tarOf(t, true, m, member{name: "/etc/evil.rego"}), "no place"},
		"a way out in the middle":           {tarOf(t, true, m, member{name: "a/../../evil.rego"}), "no place"},
		"a link":                            {tarOf(t, true, m, member{name: "a.rego", kind: tar.TypeSymlink}), "no regular file"},
		"a hard link":                       {tarOf(t, true, m, member{name: "a.rego", kind: tar.TypeLink}), "no regular file"},
		"a device":                          {tarOf(t, true, m, member{name: "a.rego", kind: tar.TypeChar}), "no regular file"},
		"a pipe":                            {tarOf(t, true, m, member{name: "a.rego", kind: tar.TypeFifo}), "no regular file"},
		"a folder outside":                  {tarOf(t, true, m, member{name: "../x/", kind: tar.TypeDir}), "name"},
		"one path twice":                    {tarOf(t, true, m, member{name: "a.rego", data: "1"}, member{name: "./a.rego", data: "2"}), "stands twice"},
		"two paths that differ in case":     {tarOf(t, true, m, member{name: "a.rego"}, member{name: "A.rego"}), "case does not count"},
		"two folders that differ in case":   {tarOf(t, true, m, member{name: "x/a.rego"}, member{name: "X/b.rego"}), "case does not count"},
		"a file that is a folder":           {tarOf(t, true, m, member{name: "x.rego"}, member{name: "x.rego/b.rego"}), "case does not count"},
		"the manifest in capitals besides":  {tarOf(t, true, m, member{name: "Sallyport-Bundle.md"}, member{name: "SALLYPORT-bundle.md"}), "case does not count"},
		"something that is no policy":       {tarOf(t, true, m, member{name: "a.so"}), "no place"},
		"too many files":                    {tarOf(t, true, many...), "more than 2000 files"},
		"too many folders":                  {tarOf(t, true, folders...), "entries"},
		"a bomb of one file":                {tarOf(t, true, m, member{name: "a.rego", data: zeros + "0"}), "larger than"},
		"a bomb of many files":              {tarOf(t, true, m, member{name: "a.rego", data: zeros}, member{name: "b.rego", data: zeros}, member{name: "c.rego", data: zeros}, member{name: "d.rego", data: zeros}, member{name: "e.rego", data: "0"}), "bytes"},
		"a bomb that hides behind dots":     {tarOf(t, true, m, member{name: ".a", data: zeros}, member{name: ".b", data: zeros}, member{name: ".c", data: zeros}, member{name: ".d", data: zeros}, member{name: ".e", data: zeros}, member{name: ".f", data: zeros}, member{name: ".g", data: zeros}), "unfolds"},
		"an archive that is too large":      {make([]byte, MaxArchiveBytes+1), "larger than"},
		"an archive that is cut off":        {whole[:len(whole)-12], "archive"},
		"an archive with a false checksum":  {append(bytes.Clone(whole[:len(whole)-8]), 0, 0, 0, 0, 0, 0, 0, 0), "archive"},
		"nothing":                           {nil, "no " + ManifestFile},
		"no archive":                        {[]byte("version: 1"), "archive"},
		"an archive without a manifest":     {tarOf(t, true, member{name: "a.rego"}), "no " + ManifestFile},
		"a nest deeper than any folder":     {tarOf(t, true, m, member{name: strings.Repeat("d/", MaxDepth) + "a.rego"}), "nested deeper"},
		"a name that breaks out of a quote": {tarOf(t, true, m, member{name: "a\n.rego"}), "no place"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadArchive(c.data)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestOpenRefusesPathsThatDifferInCase(t *testing.T) {
	for name, files := range map[string][]string{"two files": {"a.rego", "A.rego"}, "two folders": {"x/a.rego", "X/b.rego"}} {
		fsys := fstest.MapFS{ManifestFile: {Data: []byte(manifest)}}
		for _, f := range files {
			fsys[f] = &fstest.MapFile{Data: []byte("package x")}
		}
		if _, err := Read(fsys, nil); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "case does not count") {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestArchiveIsTheSameBundleAndTheSameBytes(t *testing.T) {
	b := read(t, map[string]string{ManifestFile: until, "rules.rego": "package x", "tests/a.yaml": "", SignedFile: "{}", strings.Repeat("n", 150) + ".md": "long"})
	one, err := b.Archive()
	if err != nil {
		t.Fatal(err)
	}
	two, _ := b.Archive()
	again, err := ReadArchive(one)
	if err != nil || !bytes.Equal(one, two) {
		t.Fatal(err)
	}
	x, _ := b.Digest("s", engines)
	y, _ := again.Digest("s", engines)
	if x != y || string(again.Signed()) != "{}" {
		t.Fatalf("%s %s %q", x, y, again.Signed())
	}
}

func FuzzReadArchive(f *testing.F) {
	f.Add(tarOf(f, true, member{name: ManifestFile, data: manifest}))
	f.Add(tarOf(f, false, member{name: ManifestFile, data: manifest}, member{name: "a/b.rego", data: "package x"}, member{name: "l", kind: tar.TypeSymlink}))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ReadArchive(data)
		if err != nil {
			if !errors.Is(err, ErrRefused) && b != nil {
				t.Fatal("half a bundle")
			}
			return
		}
		for name := range b.files {
			if !validName(name) || !known(name) {
				t.Fatalf("accepted %q", name)
			}
		}
		out, err := b.Archive()
		if err != nil {
			return
		}
		again, err := ReadArchive(out)
		if err != nil {
			t.Fatal(err)
		}
		x, _ := b.Digest("s", nil)
		if y, _ := again.Digest("s", nil); x != y {
			t.Fatal("another bundle")
		}
	})
}

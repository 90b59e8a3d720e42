// SPDX-License-Identifier: Apache-2.0

package attester

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/attest/modelsig"
)

// Watch measures a Spec, and measures again what may have changed since.
type Watch struct {
	spec  measure.Spec
	log   *Log
	seen  map[string]string // kind and path to what its files looked like
	found map[string]string // kind, path and kind of event to the digest that is in the log
	model *modelsig.Measured
}

// sampleBudget is how much of a model that looks as it did is read again at each Look.
const sampleBudget = 64 << 20

// NewWatch returns a Watch that adds to log.
func NewWatch(spec measure.Spec, log *Log) *Watch {
	return &Watch{spec: spec, log: log, seen: map[string]string{}, found: map[string]string{}}
}

// Look measures everything whose files do not look as they did (size, times, inode), and logs what differs.
// The times of files are no proof: root can set them. Of a model that looks as it did random parts are read again, and all
// of it where one differs. The first Look measures everything.
func (w *Watch) Look(ctx context.Context) error {
	for _, s := range parts(w.spec) {
		name := s.name()
		now := "as it is" // of what lies in no file
		if s.Command == nil && s.Image == "" {
			now = looks(s.path())
		}
		if now != "" && w.seen[name] == now {
			if s.Model == "" || w.sampled(ctx) {
				continue
			}
		}
		events, err := w.take(ctx, &s.Spec)
		if err != nil {
			return err
		}
		for _, e := range events {
			key := name + " " + e.Kind
			if w.found[key] == e.Digest {
				continue
			}
			if err := w.log.Add(e); err != nil {
				return err
			}
			w.found[key] = e.Digest
		}
		w.seen[name] = now
	}
	return nil
}

// sampled reports whether random parts of the model are what was measured. What the kernel seals needs no look.
func (w *Watch) sampled(ctx context.Context) bool {
	if w.model == nil || w.model.Sealed {
		return w.model != nil
	}
	_, err := w.model.Sample(ctx, sampleBudget)
	return err == nil
}

func (w *Watch) take(ctx context.Context, s *measure.Spec) (_ []attest.Event, err error) {
	if s.Model == "" {
		return measure.Take(ctx, *s)
	}
	if w.model, err = s.Weights(ctx); err != nil {
		return nil, err
	}
	return s.Loaded(w.model), nil
}

// part is a Spec with one path.
type part struct{ measure.Spec }

func parts(s measure.Spec) (out []part) {
	blank := measure.Spec{PCR: s.PCR, Progress: s.Progress}
	add := func(set func(p *measure.Spec)) {
		p := blank
		set(&p)
		out = append(out, part{p})
	}
	if s.Command != nil {
		add(func(p *measure.Spec) { p.Command = s.Command })
	}
	if s.Image != "" {
		add(func(p *measure.Spec) { p.Image = s.Image })
	}
	if s.Executable != "" {
		add(func(p *measure.Spec) { p.Executable = s.Executable })
	}
	for _, x := range s.Scripts {
		add(func(p *measure.Spec) { p.Scripts = []string{x} })
	}
	for _, x := range s.Packages {
		add(func(p *measure.Spec) { p.Packages = []string{x} })
	}
	for _, x := range s.Prompts {
		add(func(p *measure.Spec) { p.Prompts = []string{x} })
	}
	for _, x := range s.Tools {
		add(func(p *measure.Spec) { p.Tools = []string{x} })
	}
	if s.Model != "" {
		add(func(p *measure.Spec) { p.Model, p.ModelHash = s.Model, s.ModelHash })
	}
	return out
}

func (p part) path() string {
	all := slices.Concat([]string{p.Executable + p.Model}, p.Scripts, p.Packages, p.Prompts, p.Tools)
	return strings.Join(all, "")
}

func (p part) name() string {
	switch {
	case p.Command != nil:
		return "command"
	case p.Image != "":
		return "image"
	case p.Executable != "":
		return "executable " + p.Executable
	case p.Model != "":
		return "model " + p.Model
	case len(p.Scripts) > 0:
		return "script " + p.Scripts[0]
	case len(p.Packages) > 0:
		return "packages " + p.Packages[0]
	case len(p.Prompts) > 0:
		return "prompt " + p.Prompts[0]
	}
	return "tools " + p.Tools[0]
}

// looks is what can be seen of a path without reading it.
func looks(path string) string {
	var b strings.Builder
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(p)
		if err != nil {
			info, err = os.Lstat(p)
		}
		if err != nil {
			return err
		}
		b.WriteString(p + " " + strconv.FormatInt(info.Size(), 10) + " " + strconv.FormatInt(info.ModTime().UnixNano(), 10) + " " + inode(info) + "\n")
		return nil
	})
	if err != nil {
		return "" // looked at again, and measured, until it can be seen
	}
	return b.String()
}

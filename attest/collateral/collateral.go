// SPDX-License-Identifier: Apache-2.0

// Package collateral keeps a folder of what the makers of processors state about them: Intel's collateral for SGX and
// TDX, AMD's lists of revocations.
//
// # What is trusted
//
// The pinned roots of the makers, and the clock. Wherever a thing comes from, it is verified before it is put into the
// folder, and nothing replaces what was issued later. A source can withhold what is new, which its window and the
// policy's bound of age end; it cannot bring back what is old.
package collateral

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/dcap"
	"github.com/sallyport/sallyport/attest/snp"
)

// Config says what is fetched, from where, and where to.
type Config struct {
	Dir       string       // the folder; required
	Intel     *dcap.Source // nil fetches nothing of Intel's
	AMD       *snp.Source  // nil fetches nothing of AMD's
	Platforms []dcap.Key   // beside those whose collateral is in the folder
	Products  []string     // of AMD's, beside those whose list is there

	Now       func() time.Time // nil means time.Now
	IntelRoot []byte           // for tests: DER of another root
	AMDRoots  map[string]string
}

// Result is what became of one thing.
type Result struct {
	Name    string    `json:"name"` // of its file, without an ending
	Changed bool      `json:"changed"`
	Until   time.Time `json:"until,omitzero"` // its first window to end
	Error   string    `json:"error"`          // why it was not taken; "" if it was, or was there
	Refused bool      `json:"refused"`        // it came, and does not hold or is older
}

// Folder makes updates of one folder. One at a time: two that run together could each find the other's to be missing.
type Folder struct {
	c     Config
	intel *dcap.Verifier
	amd   *snp.Verifier
}

// New returns a Folder.
func New(c Config) (*Folder, error) {
	if c.Dir == "" {
		return nil, errors.New("collateral: no folder")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	v, err := dcap.New(dcap.Config{Store: dcap.Folder{Path: c.Dir}, Root: c.IntelRoot})
	return &Folder{c: c, intel: v, amd: snp.New(snp.Config{Roots: c.AMDRoots})}, err
}

// Update fetches everything that is configured or lies in the folder. What fails keeps what is there, and does not
// keep the rest from being fetched.
func (f *Folder) Update(ctx context.Context) ([]Result, error) {
	keys, products, err := f.wanted()
	if err != nil {
		return nil, err
	}
	out := []Result{}
	for _, k := range keys {
		if f.c.Intel == nil {
			continue
		}
		r := Result{Name: k.String()}
		c, err := f.c.Intel.Fetch(ctx, k)
		if err == nil {
			r, err = f.Put(ctx, k, c)
		}
		out = append(out, failed(r, err))
	}
	for _, p := range products {
		if f.c.AMD == nil {
			continue
		}
		r := Result{Name: "snp-" + p}
		l, err := f.c.AMD.Fetch(ctx, p)
		if err == nil {
			var s snp.ListStated
			s, r.Changed, err = f.amd.Put(f.c.Dir, p, l, f.c.Now())
			r.Until = s.Until
		}
		out = append(out, failed(r, err))
	}
	return out, ctx.Err()
}

// Put takes in collateral that came by another way.
func (f *Folder) Put(ctx context.Context, k dcap.Key, c *dcap.Collateral) (Result, error) {
	s, changed, err := dcap.Folder{Path: f.c.Dir}.Put(ctx, f.intel, k, c, f.c.Now())
	return Result{Name: k.String(), Changed: changed, Until: s.Until}, err
}

// Import takes in a file of Intel's collateral, named as the folder names them.
func (f *Folder) Import(ctx context.Context, path string) Result {
	name := strings.TrimSuffix(filepath.Base(path), ".json")
	k, err := dcap.ParseKey(name)
	if err != nil {
		return failed(Result{Name: name}, err)
	}
	c, err := dcap.Folder{Path: filepath.Dir(path)}.Collateral(ctx, k)
	if err != nil {
		return failed(Result{Name: name}, err)
	}
	r, err := f.Put(ctx, k, c)
	return failed(r, err)
}

func failed(r Result, err error) Result {
	if err != nil {
		var refused *attest.Error
		r.Error, r.Changed, r.Refused = err.Error(), false, errors.As(err, &refused)
	}
	return r
}

// wanted is what is configured and what lies in the folder.
func (f *Folder) wanted() ([]dcap.Key, []string, error) {
	keys, products := slices.Clone(f.c.Platforms), slices.Clone(f.c.Products)
	entries, err := os.ReadDir(f.c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("collateral: %w", err)
	}
	for _, e := range entries {
		if k, err := dcap.ParseKey(strings.TrimSuffix(e.Name(), ".json")); err == nil && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
		if p, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".crl"), "snp-"); ok && strings.HasSuffix(e.Name(), ".crl") && !slices.Contains(products, p) {
			products = append(products, p)
		}
	}
	return keys, products, os.MkdirAll(f.c.Dir, 0o755)
}

// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/attest/collateral"
	"github.com/sallyport/sallyport/attest/dcap"
	"github.com/sallyport/sallyport/attest/snp"
)

// AttestUpdate says where collateral is fetched from, and how often.
type AttestUpdate struct {
	From      string        `yaml:"from" doc:"intel, or the https address of a cache (PCCS); the owner then keeps attest.collateral up to date; default: it fetches nothing"`
	AMD       string        `yaml:"amd" doc:"amd, or the https address of a mirror of AMD's service; default: lists of AMD are not fetched"`
	Every     time.Duration `yaml:"every" doc:"time between two updates, at least 10m; default 6h"`
	Platforms []string      `yaml:"platforms" doc:"platforms of Intel's beside those in the folder, like sgx-00A067110000-processor"`
	Products  []string      `yaml:"products" doc:"products of AMD's beside those in the folder: Milan, Genoa, Turin"`
}

// The times of updates. Files that somebody else puts into the folder are seen within collateralLook.
const (
	collateralEvery = 6 * time.Hour
	collateralLeast = 10 * time.Minute
	collateralLook  = 2 * time.Second
	collateralRetry = 15 * time.Minute // after an update that failed in part
)

func (c *AttestConfig) checkUpdate() error {
	u := &c.Update
	if u.From == "" && u.AMD == "" {
		return nil
	}
	if c.Collateral == "" {
		return errors.New("config: attest.update: attest.collateral names no folder")
	}
	if u.Every != 0 && u.Every < collateralLeast {
		return fmt.Errorf("config: attest.update.every: %s is less than %s", u.Every, collateralLeast)
	}
	_, err := CollateralFolder(c.Collateral, u)
	return err
}

// CollateralFolder is the folder with its sources.
func CollateralFolder(dir string, u *AttestUpdate) (*collateral.Folder, error) {
	cfg := collateral.Config{Dir: dir}
	for _, p := range u.Platforms {
		k, err := dcap.ParseKey(p)
		if err != nil {
			return nil, fmt.Errorf("config: attest.update.platforms: %w", err)
		}
		cfg.Platforms = append(cfg.Platforms, k)
	}
	for _, p := range u.Products {
		if !snp.Product(p) {
			return nil, fmt.Errorf("config: attest.update.products: %q is none of Milan, Genoa, Turin", p)
		}
		cfg.Products = append(cfg.Products, p)
	}
	if u.From != "" {
		cfg.Intel = &dcap.Source{}
		if u.From != "intel" {
			cfg.Intel.URL = u.From
		}
	}
	if u.AMD != "" {
		cfg.AMD = &snp.Source{}
		if u.AMD != "amd" {
			cfg.AMD.URL = u.AMD
		}
	}
	return collateral.New(cfg)
}

// collateralRun keeps the folder up to date, where that is configured, and lets leases be looked at again as soon as
// something in it has changed, whoever changed it.
func (s *Sallyport) collateralRun(ctx context.Context) error {
	c := &s.Config.Attest
	if c.Collateral == "" {
		<-ctx.Done()
		return nil
	}
	f, err := CollateralFolder(c.Collateral, &c.Update)
	if err != nil {
		return err
	}
	every := c.Update.Every
	if every == 0 {
		every = collateralEvery
	}
	fetches := c.Update.From != "" || c.Update.AMD != ""
	look := time.NewTicker(collateralLook)
	defer look.Stop()
	next, seen := time.Now(), printOf(c.Collateral)
	for {
		if fetches && !time.Now().Before(next) {
			next = time.Now().Add(s.updateCollateral(ctx, f, every))
		}
		if now := printOf(c.Collateral); now != seen {
			seen = now
			if _, err := s.attest.book.Recheck(ctx); err != nil && ctx.Err() == nil {
				s.alarm("attest.recheck", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// updateCollateral makes one update, tells what went wrong, and returns when the next one is due.
func (s *Sallyport) updateCollateral(ctx context.Context, f *collateral.Folder, every time.Duration) time.Duration {
	results, err := f.Update(ctx)
	if ctx.Err() != nil {
		return every
	}
	var wrong []string
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	for _, r := range results {
		if r.Error != "" {
			wrong = append(wrong, r.Name+": "+r.Error)
		}
	}
	if len(wrong) == 0 {
		return every
	}
	s.alarm("attest.collateral", strings.Join(wrong, "; "))
	return min(every, collateralRetry)
}

// printOf changes with every change of a folder's files: their names, sizes and times.
func printOf(dir string) [sha256.Size]byte {
	entries, _ := os.ReadDir(dir) // what cannot be read is as if it were not there, for the verifiers as well
	h := sha256.New()
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !strings.HasPrefix(e.Name(), ".") {
			fmt.Fprintf(h, "%q %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

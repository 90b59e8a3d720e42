// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/attest/collateral"
)

func (a *app) attestCollateralCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "collateral", Short: "What the makers of processors state about them"}
	cmd.AddCommand(a.attestCollateralUpdateCommand())
	return cmd
}

func (a *app) attestCollateralUpdateCommand() *cobra.Command {
	var dir, from string
	var u sallyport.AttestUpdate
	cmd := &cobra.Command{
		Use: "update [--from intel|URL|FILE] [--amd amd|URL] [--platform NAME] [--product NAME]", Args: cobra.NoArgs,
		Short: "Fetch collateral, verify it, and keep what is newer",
		Long: `Fetch Intel's collateral for SGX and TDX and AMD's lists of revocations, verify them by the makers' roots, and put
them into the folder, each file in one step. What does not hold, has ended or is older than what is there is left out, and the
exit code is then 5. What is in the folder already is brought up to date; --platform and --product add to it. A running owner
notices new files within seconds, and looks again at the leases that rest on them.

--from intel asks Intel, an https address asks a cache of Intel's service (PCCS), and a file or folder in the form that
"attest verify" reads takes in what another machine has fetched. With attest.update in the configuration the owner does this
by itself.`,
		Example: `  sallyport attest collateral update --from intel --platform sgx-00A067110000-processor
  sallyport attest collateral update --from https://pccs.example:8081
  sallyport attest collateral update --from /media/usb/collateral
  sallyport attest collateral update --amd amd --product Milan`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				cfg, _, err := a.load()
				if err != nil {
					return err
				}
				if dir = cfg.Attest.Collateral; dir == "" {
					return usage("--dir: which folder? (attest.collateral is not set)")
				}
				if from == "" && u.AMD == "" {
					from, u = cfg.Attest.Update.From, cfg.Attest.Update
				}
			}
			if from == "" && u.AMD == "" {
				return usage("--from or --amd: where from?")
			}
			results, err := updateCollateral(cmd.Context(), dir, from, u)
			if err != nil {
				return err
			}
			return a.collateralResults(results)
		},
	}
	l := cmd.Flags()
	l.StringVar(&dir, "dir", "", "the folder; default: attest.collateral")
	l.StringVar(&from, "from", "", "intel, the https address of a cache, or a file or folder; default: attest.update.from")
	l.StringVar(&u.AMD, "amd", "", "amd, or the https address of a mirror of AMD's service")
	l.StringArrayVar(&u.Platforms, "platform", nil, "platform of Intel's, like sgx-00A067110000-processor (KIND-FMSPC-AUTHORITY); may be repeated")
	l.StringArrayVar(&u.Products, "product", nil, "product of AMD's: Milan, Genoa or Turin; may be repeated")
	return cmd
}

// updateCollateral takes in what a source has, or what lies in files.
func updateCollateral(ctx context.Context, dir, from string, u sallyport.AttestUpdate) ([]collateral.Result, error) {
	files, err := collateralFiles(from)
	if err != nil {
		return nil, err
	}
	if u.From = from; files != nil {
		u.From = ""
	}
	f, err := sallyport.CollateralFolder(dir, &u)
	if err != nil {
		return nil, err
	}
	out, err := f.Update(ctx)
	for _, file := range files {
		out = append(out, f.Import(ctx, file))
	}
	return out, err
}

// collateralFiles are the files that a source names; nil if it is no path.
func collateralFiles(from string) ([]string, error) {
	if from == "" || from == "intel" || strings.Contains(from, "://") {
		return nil, nil
	}
	info, err := os.Stat(from)
	if err != nil || !info.IsDir() {
		return []string{from}, err
	}
	files, err := filepath.Glob(filepath.Join(from, "*-*-*.json"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%q holds no file like sgx-00A067110000-processor.json", from)
	}
	return files, err
}

func (a *app) collateralResults(results []collateral.Result) error {
	slices.SortStableFunc(results, func(x, y collateral.Result) int { return cmp.Compare(x.Name, y.Name) })
	if err := a.print(results, func(w io.Writer) {
		for _, r := range results {
			switch {
			case r.Error != "":
				fmt.Fprintf(w, "%-32s %s %s\n", shown(r.Name), a.colour(w, red, "not taken"), shown(r.Error))
			case r.Changed:
				fmt.Fprintf(w, "%-32s updated, holds until %s\n", r.Name, r.Until.UTC().Format(time.RFC3339))
			default:
				fmt.Fprintf(w, "%-32s is the newest, holds until %s\n", r.Name, r.Until.UTC().Format(time.RFC3339))
			}
		}
	}); err != nil {
		return err
	}
	if len(results) == 0 {
		return hinted{errors.New("nothing to fetch: the folder is empty"), "name what runs with --platform or --product; a quote that is refused says which collateral it lacks"}
	}
	for _, r := range results {
		if r.Refused {
			return &exitCode{exitUnproved, nil}
		}
	}
	for _, r := range results {
		if r.Error != "" {
			return &exitCode{exitError, nil}
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Command sallyport-verify proves offline that nothing was removed from a Sallyport log or rewritten in
// it. It is "sallyport ledger verify" alone, for whoever must not run anything else of the house.
//
// Exit codes: 0 verified, 2 usage, 5 not verified.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/ledger"
)

const (
	exitUsage    = 2
	exitUnproved = 5
)

type texts []string

func (t *texts) String() string     { return fmt.Sprint([]string(*t)) }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var src ledger.Source
	var opt ledger.Options
	var old, witnesses texts
	f := flag.NewFlagSet("sallyport-verify", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&src.Dir, "data", "", "data directory")
	f.StringVar(&src.URL, "url", "", "address of the tiles")
	f.StringVar(&src.File, "bundle", "", "file made by sallyport ledger export")
	f.StringVar(&opt.Vkey, "key", "", "public key of the log, as you kept it")
	f.StringVar(&opt.Head, "head", "", "head cell of the log, where it stands elsewhere")
	f.Var(&old, "old", "file with a checkpoint that you kept; may be repeated")
	f.Var(&witnesses, "witness", "public key of a witness that you trust; may be repeated")
	f.IntVar(&opt.Quorum, "quorum", 0, "how many of the witnesses must have cosigned; 0 means all")
	roots := f.String("tsa-roots", "", "file with the certificates (PEM) of time stamping authorities that you trust")
	asJSON := f.Bool("json", false, "print the report as JSON")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || f.NArg() > 0 {
		return exitUsage
	}
	for _, name := range old {
		b, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintf(stderr, "sallyport-verify: %v\n", err)
			return exitUsage
		}
		opt.Old = append(opt.Old, b)
	}
	if *roots != "" {
		var err error
		if opt.TSARoots, err = os.ReadFile(*roots); err != nil {
			fmt.Fprintf(stderr, "sallyport-verify: %v\n", err)
			return exitUsage
		}
	}
	opt.Witnesses = witnesses
	rep, err := ledger.Verify(ctx, src, opt)
	if rep != nil {
		out := []byte(rep.Text())
		if *asJSON {
			b, merr := json.Marshal(rep, jsontext.Multiline(true))
			err = errors.Join(err, merr)
			out = append(b, '\n')
		}
		if _, werr := stdout.Write(out); werr != nil {
			err = errors.Join(err, werr)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "sallyport-verify: %v\n", err)
		return exitUnproved
	}
	return 0
}

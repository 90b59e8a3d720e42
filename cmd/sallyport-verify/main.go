// SPDX-License-Identifier: Apache-2.0

// Command sallyport-verify proves offline that nothing was removed from a Sallyport log or rewritten in
// it, who approved what, and what a package of evidence or a receipt says. It is "sallyport ledger verify" alone, for whoever
// must not run anything else of the house.
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
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/auditor"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/evidence"
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

// request is what to verify, and by what.
type request struct {
	src  ledger.Source
	opt  ledger.Options
	file string // a package of evidence or a receipt
	json bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	req, err := read(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "sallyport-verify: %v\n", err)
		return exitUsage
	}
	out, err := verify(ctx, &req)
	if _, werr := stdout.Write(out); werr != nil {
		err = errors.Join(err, werr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "sallyport-verify: %v\n", err)
		return exitUnproved
	}
	return 0
}

func read(args []string, stderr io.Writer) (req request, err error) {
	var old, witnesses texts
	f := flag.NewFlagSet("sallyport-verify", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintln(stderr, "usage: sallyport-verify [flags] [PACKAGE | RECEIPT.tlog-proof]")
		f.PrintDefaults()
	}
	f.StringVar(&req.src.Dir, "data", "", "data directory")
	f.StringVar(&req.src.URL, "url", "", "address of the tiles")
	f.StringVar(&req.src.File, "bundle", "", "file made by sallyport ledger export")
	f.StringVar(&req.opt.Vkey, "key", "", "public key of the log, as you kept it")
	f.StringVar(&req.opt.Head, "head", "", "head cell of the log, where it stands elsewhere")
	f.Var(&old, "old", "file with a checkpoint that you kept; may be repeated")
	f.Var(&witnesses, "witness", "public key of a witness that you trust; may be repeated")
	f.IntVar(&req.opt.Quorum, "quorum", 0, "how many of the witnesses must have cosigned; 0 means all")
	roots := f.String("tsa-roots", "", "file with the certificates (PEM) of time stamping authorities that you trust")
	blocks := f.String("blocks", "", "file with blocks that you trust, one on each line: of Bitcoin a height and the header's 80 bytes in hexadecimal, of Ethereum the hash (0x...)")
	logs := f.String("logs", "", "file with the public keys of Rekor logs that you trust, one note verifier on each line")
	f.BoolVar(&req.json, "json", false, "print the report as JSON")
	if err := f.Parse(args); err != nil {
		return req, err
	}
	if f.NArg() > 1 || f.NArg() == 1 && req.src != (ledger.Source{}) {
		return req, errors.New("one package or receipt, or one of --data, --url and --bundle")
	}
	req.file, req.opt.Witnesses = f.Arg(0), witnesses
	for _, name := range old {
		b, err := os.ReadFile(name)
		if err != nil {
			return req, err
		}
		req.opt.Old = append(req.opt.Old, b)
	}
	for _, f := range []struct {
		name string
		into *[]byte
	}{{*roots, &req.opt.TSARoots}, {*blocks, &req.opt.Blocks}, {*logs, &req.opt.Logs}} {
		if f.name == "" {
			continue
		}
		if *f.into, err = os.ReadFile(f.name); err != nil {
			return req, err
		}
	}
	return req, err
}

// verify returns the report. An error says what does not hold.
func verify(ctx context.Context, req *request) ([]byte, error) {
	if strings.HasSuffix(req.file, auditor.ReceiptSuffix) {
		r, err := auditor.ReadReceipt(req.file, req.opt.Vkey)
		if err != nil {
			return nil, err
		}
		return req.form(r, r.Text())
	}
	if req.file != "" && evidence.IsPackage(req.file) {
		report, log, err := evidence.Verify(ctx, req.file, "", req.opt)
		if log == nil {
			return nil, err
		}
		text := log.Text()
		if report != nil && err == nil {
			text += fmt.Sprintf("  the package is signed by the log's key, and its report (%s) is what the log says\n", report.Kind)
		}
		out, ferr := req.form(map[string]any{"log": log, "report": report}, text)
		return out, errors.Join(err, ferr)
	}
	if req.file != "" {
		req.src.File = req.file
	}
	var people auditor.ApprovalProofs
	req.opt.Inspect = people.Inspect
	rep, err := ledger.Verify(ctx, req.src, req.opt)
	if rep == nil {
		return nil, err
	}
	all := struct {
		*ledger.Report
		Approvals *auditor.ApprovalProofs `json:"approvals"`
	}{rep, &people}
	out, ferr := req.form(all, rep.Text()+people.Text())
	return out, errors.Join(err, ferr)
}

func (r *request) form(v any, text string) ([]byte, error) {
	if !r.json {
		return []byte(text), nil
	}
	b, err := json.Marshal(v, jsontext.Multiline(true))
	return append(b, '\n'), err
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/auditor"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
)

func (a *app) ledgerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "The record and its proofs"}
	cmd.AddCommand(a.verifyCommand(), a.ledgerStatusCommand(), a.proveCommand(), a.searchCommand(), a.tailCommand(), a.exportCommand(), a.rebuildCommand(),
		a.showCommand(), a.eraseCommand(), a.witnessCommand(), a.backupCommand(), a.rotateCommand(), a.rewrapCommand(), a.repairCommand(), a.recoverCommand(), a.anchorCommand())
	return cmd
}

func (a *app) verifyCommand() *cobra.Command {
	var vkey, remote, bundle, roots, blocks, logs string
	var old, witnesses, expect []string
	var quorum int
	cmd := &cobra.Command{
		Use: "verify [PACKAGE | RECEIPT] [--url URL | --bundle FILE] [--key VKEY] [--old FILE]... [--witness VKEY]... [--quorum K]", Args: cobra.MaximumNArgs(1),
		Short: "Prove that nothing was removed or rewritten; needs no owner",
		Long: `Verify a log offline: signatures, the Merkle tree, each session's chain, the commitments of the
payloads at hand. The log is the data directory, a URL of tiles, an exported bundle, or a package of evidence,
whose report is derived again from the log in it. RECEIPT.tlog-proof, as "ledger prove --out" writes it, proves one record
(with --key). Give the log's key
with --key and checkpoints that you kept with --old: a key that comes with the log proves only that it is
whole. Give the keys of witnesses with --witness: without them whoever holds the log's key can rewrite all
of it. Exit code 5 if anything does not hold.`,
		Example: `  sallyport ledger verify
  sallyport ledger verify --bundle log.tar --key "sallyport.example/log+..."
  sallyport ledger verify evidence.tar --key "..."
  sallyport ledger verify record-42.tlog-proof --key "..."
  sallyport ledger verify --url https://log.example/log/ --key "..." --old checkpoint-of-may`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			if len(args) == 1 && (remote != "" || bundle != "") {
				return usage("verify: a package goes with no --url and no --bundle")
			}
			src := ledger.Source{Dir: cfg.Data}
			switch {
			case remote != "":
				src = ledger.Source{URL: remote}
			case bundle != "":
				src = ledger.Source{File: bundle}
			}
			opt := ledger.Options{Vkey: vkey, Head: cfg.Ledger.Head, Witnesses: witnesses, Quorum: quorum}
			if blocks != "" {
				if opt.Blocks, err = os.ReadFile(blocks); err != nil {
					return err
				}
			}
			if logs != "" {
				if opt.Logs, err = os.ReadFile(logs); err != nil {
					return err
				}
			}
			if roots != "" {
				if opt.TSARoots, err = os.ReadFile(roots); err != nil {
					return err
				}
			}
			for _, f := range old {
				b, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				opt.Old = append(opt.Old, b)
			}
			if len(args) == 1 && strings.HasSuffix(args[0], auditor.ReceiptSuffix) {
				return a.verifyReceipt(args[0], vkey)
			}
			if len(args) == 1 {
				return a.verifyPackage(cmd.Context(), args[0], opt)
			}
			self, err := expected(expect)
			if err != nil {
				return err
			}
			return a.verify(cmd.Context(), src, opt, self)
		},
	}
	cmd.Flags().StringVar(&vkey, "key", "", "public key of the log in the form of a note verifier")
	cmd.Flags().StringVar(&remote, "url", "", "address of the tiles")
	cmd.Flags().StringVar(&bundle, "bundle", "", "file made by ledger export")
	cmd.Flags().StringArrayVar(&old, "old", nil, "a checkpoint kept from earlier; may be repeated")
	cmd.Flags().StringArrayVar(&witnesses, "witness", nil, "public key of a witness that you trust; may be repeated")
	cmd.Flags().StringArrayVar(&expect, "expect", nil, "executable=, settings=, bundle= or boot=sha256:..., or key=HEX of the owner's TPM: what the owner's records of itself must say; may be repeated, and any of a kind will do")
	cmd.Flags().StringVar(&blocks, "blocks", "", "file with blocks that you trust, one on each line: of Bitcoin a height and the header's 80 bytes in hexadecimal, of Ethereum the hash (0x...)")
	cmd.Flags().StringVar(&logs, "logs", "", "file with the public keys of Rekor logs that you trust, one note verifier on each line")
	cmd.Flags().StringVar(&roots, "tsa-roots", "", "file with the certificates (PEM) of time stamping authorities that you trust")
	cmd.Flags().IntVar(&quorum, "quorum", 0, "how many of the witnesses must have cosigned; default: all")
	cmd.MarkFlagsMutuallyExclusive("url", "bundle")
	return cmd
}

// expected reads the values of --expect; nil without any.
func expected(values []string) (*sallyport.SelfExpected, error) {
	if len(values) == 0 {
		return nil, nil
	}
	e := &sallyport.SelfExpected{}
	for _, v := range values {
		kind, value, _ := strings.Cut(v, "=")
		hexed, err := hex.DecodeString(strings.TrimPrefix(value, "sha256:"))
		if kind == "key" {
			if err != nil || len(hexed) < 32 || len(hexed) > 66 {
				return nil, usage("--expect: %q is not the name of a TPM's key in hex", v)
			}
			e.Keys = append(e.Keys, strings.ToLower(value))
			continue
		}
		if err != nil || len(hexed) != 32 || !strings.HasPrefix(value, "sha256:") {
			return nil, usage("--expect: %q is not like executable=sha256:...", v)
		}
		list, ok := map[string]*[]string{"executable": &e.Executables, "settings": &e.Settings, "bundle": &e.Bundles, "boot": &e.Boots}[kind]
		if !ok {
			return nil, usage("--expect: %q is none of executable, settings, bundle, boot, key", kind)
		}
		*list = append(*list, value)
	}
	return e, nil
}

func (a *app) verify(ctx context.Context, src ledger.Source, opt ledger.Options, self *sallyport.SelfExpected) error {
	at, done := a.counting("records verified")
	opt.Progress = at
	var people auditor.ApprovalProofs
	opt.Inspect = func(index uint64, l *ledger.Leaf, part action.PartName, data []byte) string {
		switch {
		case l.Kind != action.KindAttestation:
			return people.Inspect(index, l, part, data)
		case self != nil:
			return self.Inspect(index, l, part, data)
		}
		return ""
	}
	rep, err := ledger.Verify(ctx, src, opt)
	done()
	if rep == nil {
		return &exitCode{exitUnproved, hinted{err, `name the log with --data, --url or --bundle`}}
	}
	all := struct {
		*ledger.Report
		Approvals *auditor.ApprovalProofs `json:"approvals"`
		Owner     *sallyport.SelfExpected `json:"owner,omitzero"`
	}{rep, &people, self}
	if perr := a.print(all, func(w io.Writer) {
		fmt.Fprint(w, rep.Text())
		fmt.Fprint(w, people.Text())
		if self != nil && self.Seen > 0 {
			l := self.Last
			fmt.Fprintf(w, "  owner: measured itself %d times, %d times with a quote; at last executable=%s settings=%s bundle=%s", self.Seen, self.Quoted, l.Executable, l.Settings, l.Bundle)
			if l.Key != "" {
				fmt.Fprintf(w, " key=%s boot=%s", l.Key, l.Boot)
			}
			fmt.Fprintln(w)
		}
	}); perr != nil {
		return perr
	}
	if err == nil && self != nil && self.Missing(rep.Origin) != "" {
		return &exitCode{exitUnproved, errors.New("--expect: " + self.Missing(rep.Origin))}
	}
	if err != nil || !rep.OK {
		if err == nil || errors.Is(err, ledger.ErrVerification) {
			err = fmt.Errorf("the log does not verify: %d problems", rep.Found)
		}
		return &exitCode{exitUnproved, err}
	}
	return nil
}

func (a *app) ledgerStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "How the log stands, with its key and newest checkpoint", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var st sallyport.LedgerStatus
			if err := c.call(cmd.Context(), http.MethodGet, "/people/v1/local/ledger", nil, &st); err != nil {
				return err
			}
			return a.print(st, func(w io.Writer) {
				fmt.Fprintf(w, "origin      %s\nkey         %s\nrecords     %d\nroot        %s\nbatches     %d since the start\nfdatasync   %d µs (median at the start)\npublished   %d\n",
					st.Origin, st.Vkey, st.Size, st.Root, st.Batches, st.FdatasyncUs, st.Published)
				for _, r := range st.Retention.Rules {
					fmt.Fprintf(w, "retention   %s: %s after the end of its month, by record %d\n", r.Class, time.Duration(r.KeepMs)*time.Millisecond, st.Retention.Record)
				}
				if n := len(st.Retention.Held); n > 0 {
					fmt.Fprintf(w, "legal holds %d, by record %d\n", n, st.Retention.Record)
				}
				for _, e := range st.Exports {
					fmt.Fprintf(w, "export      %s: %d of %d records sent", e.Name, e.Next, st.Size)
					if e.Problem != "" {
						fmt.Fprintf(w, "; %s after %d attempts: %s", a.colour(w, red, "waiting"), e.Failed, e.Problem)
					}
					fmt.Fprintln(w)
				}
				if st.Stopped != "" {
					fmt.Fprintf(w, "%s %s\n", a.colour(w, red, "stopped"), st.Stopped)
				}
			})
		},
	}
}

func (a *app) proveCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "prove INDEX", Short: "The proof that a record stands in the log", Args: cobra.ExactArgs(1),
		Example: "  sallyport ledger prove 42\n  sallyport ledger prove 42 --out record-42     writes record-42.leaf and record-42.tlog-proof",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			if out != "" {
				return writeReceipt(cmd.Context(), c, args[0], out)
			}
			p, leaf, err := proofOf(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return a.print(p, func(w io.Writer) { fmt.Fprintf(w, "%s\n\n%s", leaf, p.Proof) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write NAME.leaf and NAME.tlog-proof")
	return cmd
}

// proofOf fetches a proof. Whether it holds is for whoever kept the log's key to say.
func proofOf(ctx context.Context, c *client, index string) (p sallyport.LedgerProof, leaf []byte, err error) {
	if err := c.call(ctx, http.MethodGet, "/people/v1/local/ledger/proof/"+url.PathEscape(index), nil, &p); err != nil {
		return p, nil, err
	}
	leaf, err = base64.StdEncoding.DecodeString(p.Leaf)
	return p, leaf, err
}

func writeReceipt(ctx context.Context, c *client, index, name string) error {
	p, leaf, err := proofOf(ctx, c, index)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(name+auditor.LeafSuffix, leaf, 0o644), os.WriteFile(name+auditor.ReceiptSuffix, []byte(p.Proof), 0o644))
}

func (a *app) verifyReceipt(file, vkey string) error {
	r, err := auditor.ReadReceipt(file, vkey)
	if err != nil {
		return &exitCode{exitUnproved, err}
	}
	return a.print(r, func(w io.Writer) { fmt.Fprint(w, r.Text()) })
}

func (a *app) searchCommand() *cobra.Command {
	var proofs string
	cmd := &cobra.Command{
		Use: "search WORDS...", Short: "Records by tool, rule, verdict, code or reason", Args: cobra.MinimumNArgs(1),
		Example: "  sallyport ledger search deny write_file\n  sallyport ledger search deny write_file --proofs found     a receipt of each in the folder found",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.records(cmd, url.Values{"q": {strings.Join(args, " ")}}, 200, proofs)
		},
	}
	cmd.Flags().StringVar(&proofs, "proofs", "", "write N.leaf and N.tlog-proof of each record into this folder")
	return cmd
}

func (a *app) tailCommand() *cobra.Command {
	var n int
	var proofs string
	cmd := &cobra.Command{
		Use: "tail [-n N]", Short: "The newest records", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.records(cmd, url.Values{}, n, proofs) },
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 20, "how many")
	cmd.Flags().StringVar(&proofs, "proofs", "", "write N.leaf and N.tlog-proof of each record into this folder")
	return cmd
}

func (a *app) records(cmd *cobra.Command, query url.Values, most int, proofs string) error {
	c, err := a.owner(cmd.Context(), false)
	if err != nil {
		return err
	}
	steps, err := list[index.Step](cmd.Context(), c, "/people/v1/records", query, most)
	if err != nil {
		return err
	}
	if proofs != "" {
		if err := os.MkdirAll(proofs, 0o755); err != nil {
			return err
		}
		for _, s := range steps {
			n := strconv.FormatUint(s.Index, 10)
			if err := writeReceipt(cmd.Context(), c, n, filepath.Join(proofs, n)); err != nil {
				return err
			}
		}
	}
	return a.print(steps, func(w io.Writer) {
		for i := len(steps) - 1; i >= 0; i-- {
			a.step(w, steps[i])
		}
	})
}

func (a *app) rebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rebuild", Short: "Make tiles and index anew out of the log", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var done struct {
				Size uint64 `json:"size"`
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/local/ledger/rebuild", nil, &done); err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) { fmt.Fprintf(w, "rebuilt from %d records\n", done.Size) })
		},
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/dcap"
	"github.com/sallyport/sallyport/attest/nitro"
	"github.com/sallyport/sallyport/attest/provenance"
	"github.com/sallyport/sallyport/attest/snp"
	"github.com/sallyport/sallyport/attest/tpm"
)

func (a *app) attestCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "attest", Short: "Evidence about runtimes and models"}
	cmd.AddCommand(a.attestVerifyCommand(), a.attestEnrollCommand(), a.attestQuoteCommand(), a.attestMeasureCommand(), a.attestKeepCommand(),
		a.attestStatusCommand(), a.attestEndCommand(), a.attestWithdrawCommand(), a.attestReappraiseCommand(), a.attestSignModelCommand(), a.attestVerifyModelCommand(), a.attestCollateralCommand())
	return cmd
}

// attestFlags are those of "attest verify".
type attestFlags struct {
	kind, nonce, at            string
	collateral                 string
	evaluation                 int
	debug, padded              bool
	pcrs, unlogged             []int
	ak, ek, roots, model, name string
	keys                       []string
	trusted                    string
	identities                 []string
	subjects                   []string
}

// attestation is what "attest verify" answers.
type attestation struct {
	OK        bool          `json:"ok"`
	Code      attest.Code   `json:"code,omitempty"`
	Why       string        `json:"why,omitempty"`
	Assurance int           `json:"assurance"`
	Model     int           `json:"model_level"`
	Facts     *attest.Facts `json:"facts,omitempty"`
}

func (a *app) attestVerifyCommand() *cobra.Command {
	var f attestFlags
	cmd := &cobra.Command{
		Use: "verify --kind KIND FILE", Args: cobra.ExactArgs(1),
		Short: "Verify evidence offline and print the facts",
		Long: `Verify evidence offline: a quote of Intel SGX or TDX with its collateral, a report of AMD SEV-SNP with its
certificates (JSON), a document of an AWS Nitro enclave, a quote of a TPM with its log (JSON), or an OpenSSF model signature with the model's files. Nothing is fetched; what is not at hand is not
trusted. The facts say what was proved; whether that is enough is for policy. Exit code 5 if the evidence
is refused.

Without --nonce nothing says that evidence is fresh, and its assurance is 0. --at re-appraises stored
evidence at the time of its record.`,
		Example: `  sallyport attest verify --kind tdx --collateral /var/lib/collateral --nonce 6f1c... quote.bin
  sallyport attest verify --kind sgx --collateral collateral.json --at 2025-07-01T00:00:00Z quote.bin
  sallyport attest verify --kind tpm --pcrs 8,9 --ak 000b2f... --nonce 6f1c... quote.json
  sallyport attest verify --kind model --key signer.pem --model ./weights ./weights/model.sig`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.attestVerify(cmd.Context(), f, args[0]) },
	}
	l := cmd.Flags()
	l.StringVar(&f.kind, "kind", "", "sgx, tdx, snp, nitro, tpm, model or provenance")
	l.StringVar(&f.nonce, "nonce", "", "hex of what the evidence must bind")
	l.StringVar(&f.at, "at", "", "verify as of this time (RFC 3339) instead of now")
	l.StringVar(&f.collateral, "collateral", "", "sgx, tdx: collateral file, or folder of KEY.json files; snp: folder of AMD's lists of revocations, snp-PRODUCT.crl")
	l.IntVar(&f.evaluation, "min-evaluation", 0, "sgx, tdx: smallest TCB evaluation data number")
	l.BoolVar(&f.debug, "allow-debug", false, "sgx, tdx, snp, nitro: verify debug enclaves too; they are worth nothing")
	l.BoolVar(&f.padded, "padded", false, "sgx, tdx: the quote may be followed by zero bytes")
	l.IntSliceVar(&f.pcrs, "pcrs", nil, "tpm: exactly these registers, of 0 to 15, are quoted")
	l.IntSliceVar(&f.unlogged, "unlogged", nil, "tpm: those of --pcrs that the log need not explain")
	l.StringVar(&f.ak, "ak", "", "tpm: name of the enrolled attestation key, hex")
	l.StringVar(&f.ek, "ek", "", `tpm: endorsement key that it was enrolled with, "sha256:..."`)
	l.StringVar(&f.roots, "roots", "", "tpm, model: PEM file of trusted authorities")
	l.StringVar(&f.model, "model", "", "model: the folder or file (default: the signature's folder)")
	l.StringArrayVar(&f.keys, "key", nil, "model, provenance: PEM file of an accepted signer's public key; may be repeated")
	f.signers(cmd)
	l.StringArrayVar(&f.subjects, "subject", nil, "provenance: file that must be among what was built; may be repeated")
	if err := cmd.MarkFlagRequired("kind"); err != nil {
		panic(err)
	}
	return cmd
}

func (a *app) attestVerify(ctx context.Context, f attestFlags, file string) error {
	o := attest.Options{}
	if f.nonce != "" {
		n, err := hex.DecodeString(f.nonce)
		if err != nil {
			return usage("--nonce: not hex")
		}
		o.Nonce = n
	}
	if f.at != "" {
		when, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return usage("--at: %q is not like 2026-01-31T12:00:00Z", f.at)
		}
		o.Now = func() time.Time { return when }
	}
	v, most, err := a.verifier(f, file)
	if err != nil {
		return err
	}
	data, err := readAtMost(file, most)
	if err != nil {
		return err
	}
	if f.padded {
		data = dcap.Trim(data)
	}
	facts, err := v.Verify(ctx, data, o)
	if err == nil && facts.Kind != f.kind {
		err = attest.Refuse(attest.Mismatch, "evidence: of kind %q, not %q", facts.Kind, f.kind)
	}
	out := attestation{OK: err == nil}
	var refused *attest.Error
	switch {
	case err == nil:
		out.Facts, out.Assurance, out.Model = facts, facts.Assurance(), facts.ModelLevel()
	case errors.As(err, &refused):
		out.Code, out.Why = refused.Code, err.Error()
	default:
		return err
	}
	if a.json || err == nil {
		if perr := a.print(out, func(w io.Writer) { a.facts(w, out) }); perr != nil {
			return perr
		}
	}
	if err != nil {
		return &exitCode{exitUnproved, err}
	}
	return nil
}

// verifier makes the verifier of a kind, and says how large its evidence may be.
func (a *app) verifier(f attestFlags, file string) (attest.Verifier, int, error) {
	switch f.kind {
	case "sgx", "tdx":
		store, err := collateralAt(f.collateral)
		if err != nil {
			return nil, 0, err
		}
		v, err := dcap.New(dcap.Config{Store: store, MinEvaluation: f.evaluation, AllowDebug: f.debug})
		return v, dcap.MaxQuoteBytes, err
	case "tpm":
		c := tpm.Config{PCRs: f.pcrs, Unlogged: f.unlogged}
		if f.ak != "" {
			c.Enrolled = func(key string) (string, bool) { return f.ek, strings.EqualFold(key, f.ak) }
		}
		var err error
		if c.Roots, err = rootsAt(f.roots); err != nil {
			return nil, 0, err
		}
		v, err := tpm.New(c)
		if err != nil {
			return nil, 0, &exitCode{exitUsage, fmt.Errorf("--pcrs: %w", err)}
		}
		return v, tpm.MaxEvidenceBytes, nil
	case "snp":
		return snp.New(snp.Config{Revoked: snp.Folder(f.collateral), AllowDebug: f.debug}), snp.MaxEvidenceBytes, nil
	case "nitro":
		v, err := nitro.New(nitro.Config{AllowDebug: f.debug})
		return v, nitro.MaxDocumentBytes, err
	case "provenance":
		v, err := f.provenance()
		return v, provenance.MaxBundleBytes, err
	case "model":
		return a.modelVerifier(f, file)
	}
	return nil, 0, usage("--kind: %q is none of sgx, tdx, snp, nitro, tpm, model, provenance", f.kind)
}

// hashing shows how far the hashing is, on a terminal only.
func (a *app) hashing() func(done, total int64) {
	w, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(w.Fd())) {
		return nil
	}
	last := int64(-1)
	return func(done, total int64) {
		percent := int64(100)
		if total > 0 {
			percent = done * 100 / total
		}
		if percent == last {
			return
		}
		last = percent
		fmt.Fprintf(w, "\rhashing %3d %%", percent)
		if done >= total {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

func collateralAt(path string) (dcap.Store, error) {
	if path == "" {
		return nil, usage("--collateral: a file or folder is required; nothing is fetched")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return dcap.Folder{Path: path}, nil
	}
	data, err := readAtMost(path, dcap.MaxCollateralBytes)
	if err != nil {
		return nil, err
	}
	c, err := dcap.ReadCollateral(data)
	if err != nil {
		return nil, &exitCode{exitUnproved, err}
	}
	return dcap.Fixed{Only: c}, nil
}

func rootsAt(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in PEM", path)
	}
	return pool, nil
}

// readAtMost reads at most one byte more than most, so that too much is seen as such by who parses it.
func readAtMost(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened to read
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(f, int64(most)+1))
	return b.Bytes(), err
}

func (a *app) facts(w io.Writer, out attestation) {
	f := out.Facts
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("kind", "%s, %s", f.Kind, a.colour(w, green, "verified"))
	line("worth", "assurance %d, model level %d", out.Assurance, out.Model)
	line("fresh", "%s", f.Fresh)
	line("debug", "%s", f.Debug)
	if f.Test != "" {
		line("test", "%s", f.Test)
	}
	if t := f.TCB; t != nil {
		line("platform", "%s of %s, FMSPC %s, evaluation %d", t.Status, t.Date.Format(time.DateOnly), t.FMSPC, t.Evaluation)
		line("advisories", "%s", strings.Join(t.Advisories, " "))
	}
	if e := f.Enclave; e != nil {
		line("mrenclave", "%s", e.MrEnclave)
		line("mrsigner", "%s product %d version %d", e.MrSigner, e.ProductID, e.SVN)
		line("report data", "%s", e.ReportData)
	}
	if d := f.TD; d != nil {
		line("mrtd", "%s", d.MrTD)
		for i, r := range d.RTMR {
			line(fmt.Sprintf("rtmr%d", i), "%s", r)
		}
		line("report data", "%s", d.ReportData)
	}
	if s := f.SNP; s != nil {
		line("platform", "%s by its %s, bootloader %d tee %d snp %d microcode %d, revocations looked at: %s", s.Product, s.Key, s.Reported.Bootloader, s.Reported.TEE, s.Reported.SNP,
			s.Reported.Microcode, s.Revocations)
		line("measurement", "%s", s.Measurement)
		line("report data", "%s", s.ReportData)
	}
	if n := f.Nitro; n != nil {
		line("enclave", "%s, signed at %s", shown(n.Module), n.Time.Format(time.RFC3339))
		for _, r := range slices.Sorted(maps.Keys(n.PCRs)) {
			line(fmt.Sprintf("pcr%d", r), "%s", n.PCRs[r])
		}
	}
	statements(f, line)
	line("evidence", "%s", f.Evidence)
	line("checked", "%s", f.Checked.UTC().Format(time.RFC3339))
	if !f.Until.IsZero() {
		line("holds until", "%s", f.Until.UTC().Format(time.RFC3339))
	}
}

// shown is a name that a signer chose, without what a terminal would obey.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// statements writes what a chip, a builder or a model's signer says.
func statements(f *attest.Facts, line func(name, format string, args ...any)) {
	if p := f.Platform; p != nil {
		line("key", "%s, resident %s, endorsed %s", p.Key, p.Resident, p.Endorsed)
		line("log", "%d events, replayed %s", len(p.Log), p.Replayed)
		line("resets", "%d, restarts %d", p.ResetCount, p.Restarts)
	}
	if p := f.Provenance; p != nil {
		line("built by", "%s", shown(p.Builder))
		for _, s := range p.Sources {
			line("from", "%s %s", shown(s.URI), shown(s.Digest))
		}
		line("subjects", "%s", strings.Join(p.Subjects, " "))
		line("signer", "%s %s", p.Signer, shown(p.Identity))
	}
	if m := f.Model; m != nil {
		line("model", "%s, %d files, %d bytes", shown(m.Name), m.Files, m.Bytes)
		line("digest", "%s", m.Digest)
		line("signer", "%s %s", m.Signer, shown(m.Subject))
		line("runs code", "%s", strings.Join(m.Pickle, " "))
	}
}

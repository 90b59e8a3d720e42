// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/keyless"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/attest/modelsig"
	"github.com/sallyport/sallyport/attest/provenance"
)

func (a *app) attestSignModelCommand() *cobra.Command {
	var key, out, create, hash string
	cmd := &cobra.Command{
		Use: "sign-model --key FILE MODEL", Args: cobra.ExactArgs(1), Short: "Sign the files of a model (OpenSSF Model Signing)",
		Long: `Hash every file of a model and sign the list, as a bundle that tools for OpenSSF Model Signing verify. The bundle is written
into the model's folder as model.sig, or beside a model that is one file. Links, devices and names that differ between file
systems are refused.`,
		Example: "  sallyport attest sign-model --new-key signer.pem ./weights\n  sallyport attest sign-model --key signer.pem ./weights",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (key == "") == (create == "") {
				return usage("one of --key and --new-key is required")
			}
			if create != "" {
				if err := newSigner(create); err != nil {
					return err
				}
				key = create
			}
			signer, err := readSigner(key)
			if err != nil {
				return err
			}
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				if out = args[0] + ".sig"; info.IsDir() {
					out = filepath.Join(args[0], "model.sig")
				}
			}
			path, err := absolute(args[0])
			if err != nil {
				return err
			}
			bundle, m, err := modelsig.Sign(cmd.Context(), modelsig.Config{Path: path, Hash: hash, Progress: a.hashing()}, signer)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, append(bundle, '\n'), 0o644); err != nil {
				return err
			}
			return a.print(map[string]any{"signature": out, "digest": "sha256:" + m.Root, "files": len(m.Files), "bytes": m.Bytes}, func(w io.Writer) {
				fmt.Fprintf(w, "signed %d files, %d bytes, digest sha256:%s\nin %s\n", len(m.Files), m.Bytes, m.Root, out)
			})
		},
	}
	l := cmd.Flags()
	l.StringVar(&key, "key", "", "PEM file of the signer's private key (ECDSA)")
	l.StringVar(&hash, "hash", "", "of the files: sha256 or blake3; default sha256")
	l.StringVar(&create, "new-key", "", "make a key in this file first, and its public half in FILE.pub")
	l.StringVar(&out, "out", "", "where the bundle goes; default: model.sig in the folder, or MODEL.sig")
	return cmd
}

func (a *app) attestVerifyModelCommand() *cobra.Command {
	f := attestFlags{kind: "model"}
	cmd := &cobra.Command{
		Use: "verify-model --key FILE [--signature FILE] MODEL", Args: cobra.ExactArgs(1), Short: "Verify the signature of a model against its files",
		Long:    `As "attest verify --kind model". Files that are not signed, and links, are refused, whatever the signer allowed.`,
		Example: "  sallyport attest verify-model --key signer.pem.pub ./weights",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.model = args[0]
			if f.name == "" {
				info, err := os.Stat(args[0])
				if err != nil {
					return err
				}
				if f.name = args[0] + ".sig"; info.IsDir() {
					f.name = filepath.Join(args[0], "model.sig")
				}
			}
			return a.attestVerify(cmd.Context(), f, f.name)
		},
	}
	l := cmd.Flags()
	l.StringVar(&f.name, "signature", "", "the bundle; default: model.sig in the folder, or MODEL.sig")
	l.StringArrayVar(&f.keys, "key", nil, "PEM file of an accepted signer's public key; may be repeated")
	l.StringVar(&f.roots, "roots", "", "PEM file of authorities of signers' certificates")
	l.StringVar(&f.at, "at", "", "verify as of this time (RFC 3339) instead of now")
	f.signers(cmd)
	return cmd
}

// signers are the flags of signatures that were made with a login (Sigstore).
func (f *attestFlags) signers(cmd *cobra.Command) {
	l := cmd.Flags()
	l.StringVar(&f.trusted, "trusted-root", "", "keyless signatures: Sigstore's trusted root (trusted_root.json); nothing is fetched")
	l.StringArrayVar(&f.identities, "identity", nil, "keyless signatures: ISSUER#SUBJECT of an accepted signer, a * at its end for any rest; may be repeated")
}

// keyless is whose keyless signatures count; nil for nobody's.
func (f *attestFlags) keyless() (*keyless.Verifier, error) {
	if (f.trusted == "") != (len(f.identities) == 0) {
		return nil, usage("--trusted-root and --identity go together")
	}
	if f.trusted == "" {
		return nil, nil
	}
	data, err := readAtMost(f.trusted, keyless.MaxRootBytes)
	if err != nil {
		return nil, err
	}
	v := &keyless.Verifier{}
	if v.Root, err = keyless.ReadRoot(data); err != nil {
		return nil, err
	}
	for _, i := range f.identities {
		issuer, subject, ok := strings.Cut(i, "#")
		if !ok || issuer == "" || subject == "" || subject == "*" {
			return nil, usage("--identity: %q is not like https://accounts.google.com#ann@example.org", i)
		}
		v.Identities = append(v.Identities, keyless.Identity{Issuer: issuer, Subject: subject})
	}
	return v, nil
}

// newSigner makes a P-256 key. A file that is there is never written over.
func newSigner(path string) error {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return err
	}
	return errors.Join(writeNew(path, 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), writeNew(path+".pub", 0o644, &pem.Block{Type: "PUBLIC KEY", Bytes: pub}))
}

func writeNew(path string, mode os.FileMode, block *pem.Block) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, block), f.Close())
}

// readSigner reads a private key in PEM, in the form of PKCS 8 or SEC 1.
func readSigner(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "EC PRIVATE KEY":
			k, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%s: not a key on a known curve", path)
			}
			return k, nil
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if ec, ok := k.(*ecdsa.PrivateKey); err == nil && ok {
				return ec, nil
			}
			return nil, fmt.Errorf("%s: not an ECDSA key", path)
		}
	}
	return nil, fmt.Errorf("%s: no private key in PEM", path)
}

func (a *app) attestReappraiseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reappraise INDEX", Args: cobra.ExactArgs(1), Short: "Verify and appraise recorded evidence once more",
		Long: `Verify the evidence of a record of kind attestation as of its time, and appraise what was recorded under the policy that is in
force now. Nothing is granted. Exit code 5 if the evidence does not hold; a policy that says something else today is told, and is no
error. "sallyport ledger search attest.granted" finds the records.`,
		Example: "  sallyport attest reappraise 4812",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var out lease.Again
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/attest/appraisals/"+url.PathEscape(args[0])+"/again", nil, &out); err != nil {
				return err
			}
			err = a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "evidence     %s, %s\nthen         %s, lease of %d s\n", out.Kind, out.Evidence, out.Was.Status(), out.Was.LeaseS)
				fmt.Fprintf(w, "now          %s, lease of %d s\n", out.Now.Status(), out.Now.LeaseS)
			})
			if err == nil && strings.HasPrefix(out.Evidence, "does not hold") {
				return &exitCode{exitUnproved, fmt.Errorf("evidence: %s", out.Evidence)}
			}
			return err
		},
	}
}

func (a *app) modelVerifier(f attestFlags, file string) (attest.Verifier, int, error) {
	c, err := f.accepted()
	if err != nil {
		return nil, 0, err
	}
	c.Path, c.Signature, c.Progress = f.model, filepath.Base(file), a.hashing()
	if c.Path == "" {
		c.Path = filepath.Dir(file)
	}
	v, err := modelsig.New(c)
	return v, modelsig.MaxBundleBytes, err
}

// accepted is whose signatures count.
func (f *attestFlags) accepted() (c modelsig.Config, err error) {
	for _, name := range f.keys {
		text, err := os.ReadFile(name)
		if err != nil {
			return c, err
		}
		k, err := modelsig.ReadKey(text)
		if err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
		c.Keys = append(c.Keys, k)
	}
	if c.Roots, err = rootsAt(f.roots); err != nil {
		return c, err
	}
	if c.Keyless, err = f.keyless(); err != nil {
		return c, err
	}
	if len(c.Keys) == 0 && c.Roots == nil && c.Keyless == nil {
		return c, usage("--kind %s needs --key, --roots or --trusted-root: whose signature is accepted?", f.kind)
	}
	return c, nil
}

// provenance is the verifier of where a build comes from.
func (f *attestFlags) provenance() (*provenance.Verifier, error) {
	c, err := f.accepted()
	if err != nil {
		return nil, err
	}
	v := &provenance.Verifier{Signers: c}
	for _, name := range f.subjects {
		d, err := measure.Digest(context.Background(), name)
		if err != nil {
			return nil, err
		}
		v.Subjects = append(v.Subjects, d)
	}
	return v, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
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

	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/modelsig"
)

func (a *app) attestSignModelCommand() *cobra.Command {
	var key, out, create string
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
			bundle, m, err := modelsig.Sign(cmd.Context(), modelsig.Config{Path: path, Progress: a.hashing()}, signer)
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
	return cmd
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

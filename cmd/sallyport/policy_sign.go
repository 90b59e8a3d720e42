// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

func (a *app) policyKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "key FILE", Short: "Make a key to sign bundles with", Args: cobra.ExactArgs(1),
		Long: `Write a new Ed25519 key (PKCS #8, PEM) to FILE, which must not exist, and print its public half as it
stands in a trust file.`,
		Example: "  sallyport policy key anna.pem",
		RunE: func(_ *cobra.Command, args []string) error {
			public, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			if err := errors.Join(pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), f.Close()); err != nil {
				return err
			}
			out := map[string]string{"key": bundle.FormatKey(public), "keyid": bundle.KeyID(public)}
			return a.print(out, func(w io.Writer) { fmt.Fprintln(w, out["key"]) })
		},
	}
}

func (a *app) policyBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use: "build DIR", Short: "Write the manifest that signers sign", Args: cobra.ExactArgs(1),
		Long: `Run the cases of the bundle in DIR and write DIR/` + bundle.SignedFile + `: every file's digest, the
engines with their versions, name, sequence, parent, not_before, expires, and what the cases showed. Signatures of an unchanged
bundle are kept, those of a changed one are dropped.`,
		Example: "  sallyport policy build mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			rep, err := policy.TestWith(cmd.Context(), policy.Config{Dir: args[0], Now: time.Now, Check: sallyport.ReadableBundle})
			if err != nil {
				return err
			}
			if !rep.Passed() {
				return hinted{errors.New("the bundle's cases do not pass"), "sallyport policy test " + args[0]}
			}
			b, want, err := stated(args[0])
			if err != nil {
				return err
			}
			if want.Tests, err = rep.Results(); err != nil {
				return err
			}
			if want.Expires == 0 {
				return hinted{errors.New("a signed bundle needs an end"), "expires: 2030-01-01T00:00:00Z in " + bundle.ManifestFile}
			}
			if b.Signed() != nil {
				if e, err := bundle.ReadEnvelope(b.Signed()); err == nil && e.Matches(want) == nil && showed(&e, want) == nil {
					return a.printStatement(&want)
				}
			}
			e, err := bundle.Seal(want)
			if err != nil {
				return err
			}
			if err := writeEnvelope(args[0], &e); err != nil {
				return err
			}
			return a.printStatement(&want)
		},
	}
}

func (a *app) policySignCommand() *cobra.Command {
	var file, role string
	cmd := &cobra.Command{
		Use: "sign DIR --key FILE --role author|approver", Short: "Sign a built bundle", Args: cobra.ExactArgs(1),
		Long: `Add a signature (Ed25519 over DSSE's encoding) to the manifest of the bundle in DIR. The folder must be what
the manifest says.`,
		Example: "  sallyport policy sign mine --key anna.pem --role author",
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := readKey(file)
			if err != nil {
				return err
			}
			b, want, err := tested(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			build := "sallyport policy build " + args[0]
			if b.Signed() == nil {
				return hinted{fmt.Errorf("no %s in %q", bundle.SignedFile, args[0]), build}
			}
			e, err := bundle.ReadEnvelope(b.Signed())
			if err != nil {
				return err
			}
			if err := errors.Join(e.Matches(want), showed(&e, want)); err != nil {
				return hinted{err, build}
			}
			if err := e.Sign(key, role); err != nil {
				return err
			}
			if err := writeEnvelope(args[0], &e); err != nil {
				return err
			}
			return a.printStatement(&want)
		},
	}
	cmd.Flags().StringVar(&file, "key", "", "file with the private key")
	cmd.Flags().StringVar(&role, "role", "", "author or approver, as the trust file has the key")
	for _, f := range []string{"key", "role"} {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err)
		}
	}
	return cmd
}

func (a *app) policyVerifyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "verify DIR --trust FILE", Short: "Check a bundle's signatures", Args: cobra.ExactArgs(1),
		Long: `Check the bundle in DIR as an owner with policy.trust would, but for the sequence: only the owner's record
knows what was in force. Exit code 5 if it is not trusted.`,
		Example: "  sallyport policy verify mine --trust trust.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			trust, err := bundle.ReadTrust(file, data)
			if err != nil {
				return err
			}
			b, want, err := stated(args[0])
			if err == nil {
				_, err = trust.Verify(b.Signed(), want, time.Now())
			}
			if err == nil {
				b, want, err = tested(cmd.Context(), args[0])
			}
			if err == nil {
				var e bundle.Envelope
				if e, err = bundle.ReadEnvelope(b.Signed()); err == nil {
					err = showed(&e, want)
				}
			}
			if errors.Is(err, bundle.ErrUntrusted) || errors.Is(err, bundle.ErrRefused) {
				return &exitCode{exitUnproved, err}
			}
			if err != nil {
				return err
			}
			return a.printStatement(&want)
		},
	}
	cmd.Flags().StringVar(&file, "trust", "", "file with the keys that must have signed")
	if err := cmd.MarkFlagRequired("trust"); err != nil {
		panic(err)
	}
	return cmd
}

func (a *app) printStatement(s *bundle.Statement) error {
	return a.print(s, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s, sequence %d, until %s, %d cases\n", s.Name, s.Digest, s.Sequence, time.UnixMilli(s.Expires).UTC().Format(time.RFC3339), s.Tests.Cases)
	})
}

func stated(dir string) (*bundle.Bundle, bundle.Statement, error) {
	b, err := readBundle(dir)
	if err != nil {
		return nil, bundle.Statement{}, err
	}
	s, err := policy.Statement(b)
	return b, s, err
}

// tested is stated with what the cases show now.
func tested(ctx context.Context, dir string) (*bundle.Bundle, bundle.Statement, error) {
	b, err := readBundle(dir)
	if err != nil {
		return nil, bundle.Statement{}, err
	}
	s, err := policy.Tested(ctx, b)
	return b, s, err
}

// showed reports whether the manifest says of the cases what they show now.
func showed(e *bundle.Envelope, now bundle.Statement) error {
	was, err := e.Tested()
	if err == nil && was != now.Tests {
		err = fmt.Errorf("%w: the manifest tells of %d cases with answers %s, and here they are %d with %s", bundle.ErrUntrusted,
			was.Cases, was.Answers, now.Tests.Cases, now.Tests.Answers)
	}
	return err
}

// writeEnvelope replaces the signed manifest whole or not at all.
func writeEnvelope(dir string, e *bundle.Envelope) error {
	data, err := action.Canonical(e)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".signed-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, bundle.SignedFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func readKey(file string) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, hinted{fmt.Errorf("%q holds no key in PEM", file), "sallyport policy key FILE"}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, hinted{fmt.Errorf("%q holds no Ed25519 key in PKCS #8", file), "sallyport policy key FILE"}
	}
	return key, nil
}

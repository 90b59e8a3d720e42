// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/detect"
)

func (a *app) detectCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "detect", Short: "What is known of attacks", Args: cobra.NoArgs}
	cmd.AddCommand(a.detectSignCommand(), a.canaryCommand())
	return cmd
}

// maxAttack bounds the text that is signed.
const maxAttack = 64 << 10

func (a *app) detectSignCommand() *cobra.Command {
	var id, reviewer, file string
	var valid time.Duration
	cmd := &cobra.Command{
		Use: "sign", Short: "Add the signature of a confirmed attack to a file", Args: cobra.NoArgs,
		Long: `Read the text of an attack that you have confirmed from standard input and add its signature to a file, so
that repeats of it are noticed (detect.signatures in the configuration). The text cannot be read from the
signature, so the file may be shared. It counts until it expires; nobody adds to it but you.`,
		Example: "  sallyport detect sign --id case-7 --reviewer ana --file attacks.json < attack.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" || reviewer == "" || valid <= 0 {
				return usage("detect sign: --id and --reviewer are required, --valid is positive")
			}
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxAttack+1))
			if err != nil {
				return err
			}
			if len(text) > maxAttack {
				return usage("detect sign: the text is longer than 64 KiB")
			}
			sig, err := detect.Sign(id, string(text), reviewer, time.Now().Add(valid))
			if err != nil {
				return fmt.Errorf("%w: the text has fewer than eight different words in a row, or more than 2,000", err)
			}
			n, err := addSignature(file, sig)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"id": id, "signatures": n, "file": file}, func(w io.Writer) {
				plural := "s"
				if n == 1 {
					plural = ""
				}
				fmt.Fprintf(w, "%s: %d signature%s\n", file, n, plural)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&id, "id", "", "name of the attack; one of that name is replaced")
	f.StringVar(&reviewer, "reviewer", "", "who confirmed it")
	f.StringVar(&file, "file", "signatures.json", "file to add to")
	f.DurationVar(&valid, "valid", 90*24*time.Hour, "how long it counts")
	return cmd
}

// addSignature puts sig into a file in the place of one of its name, drops what has expired, and returns how
// many there are.
func addSignature(file string, sig detect.Signature) (int, error) {
	var list []detect.Signature
	old, err := os.ReadFile(file)
	if err == nil {
		list, err = detect.ReadSignatures(old)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%q: %w", file, err)
	}
	kept := list[:0]
	for _, s := range list {
		if s.ID != sig.ID && s.Expires.After(time.Now()) {
			kept = append(kept, s)
		}
	}
	kept = append(kept, sig)
	b, err := detect.WriteSignatures(kept)
	if err != nil {
		return 0, err
	}
	return len(kept), replaceFile(file, append(b, '\n'), 0o644)
}

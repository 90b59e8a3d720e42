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
	cmd.AddCommand(a.detectSignCommand(), a.detectPublishCommand(), a.canaryCommand())
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

func (a *app) detectPublishCommand() *cobra.Command {
	var list detect.List
	var file, key, out string
	var valid time.Duration
	cmd := &cobra.Command{
		Use: "publish", Short: "Sign a file of signatures as a list to subscribe to", Args: cobra.NoArgs,
		Long: `Sign all signatures of a file with your key as a list. Whoever names your key under detect.lists takes it from
wherever you put it: a web server, a shared folder. A newer list needs a higher sequence. Nothing of it counts after
its end, nor any signature after its own; what you leave out of the next list counts no longer.`,
		Example: "  sallyport detect publish --name team --sequence 7 --file attacks.json --key me.pem --out team.attacks",
		RunE: func(_ *cobra.Command, _ []string) error {
			if list.Name == "" || key == "" || list.Sequence < 1 || valid <= 0 {
				return usage("detect publish: --name, --key and --sequence (from 1) are required, --valid is positive")
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if list.Signatures, err = detect.ReadSignatures(data); err != nil {
				return fmt.Errorf("%q: %w", file, err)
			}
			signer, err := readKey(key)
			if err != nil {
				return err
			}
			list.Expires = time.Now().Add(valid)
			sealed, err := detect.Publish(list, signer)
			if err != nil {
				return err
			}
			if err := replaceFile(out, append(sealed, '\n'), 0o644); err != nil {
				return err
			}
			return a.print(map[string]any{"name": list.Name, "sequence": list.Sequence, "signatures": len(list.Signatures), "file": out}, func(w io.Writer) {
				fmt.Fprintf(w, "%s: list %s, sequence %d, signatures: %d\n", out, list.Name, list.Sequence, len(list.Signatures))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&list.Name, "name", "", "name of the list: lower case, digits, dashes")
	f.Int64Var(&list.Sequence, "sequence", 0, "higher than that of the list before")
	f.StringVar(&file, "file", "signatures.json", "file of signatures, as detect sign writes it")
	f.StringVar(&key, "key", "", "file with your key, as policy key makes it")
	f.StringVar(&out, "out", "list.attacks", "file to write")
	f.DurationVar(&valid, "valid", 30*24*time.Hour, "how long the list counts")
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

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/policy/bundle"
)

func (a *app) policyActivateCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "activate DIR|FILE [--dry-run]", Short: "Put a signed bundle in force", Args: cobra.ExactArgs(1),
		Long: `Hand the signed bundle in DIR, or in the archive FILE, to the owner. The owner refuses it unless its signatures suffice, it
is newer than every bundle that was in force, its cases pass and fire enough of its rules, and recorded decisions could
be decided again under it; that is recorded, and what is in force stays. One signature is enough for a bundle that is
proved to permit no more than the one in force. It wants policy.trust. Exit code 5 if it is refused.`,
		Example: "  sallyport policy activate mine --dry-run\n  sallyport policy activate mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readBundle(args[0])
			if err != nil {
				return err
			}
			archive, err := b.Archive()
			if err != nil {
				return err
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			path := "/people/v1/policies"
			if dry {
				path += "?dry_run=true"
			}
			var out sallyport.Activation
			if err := c.call(cmd.Context(), http.MethodPost, path, archive, &out, "Content-Type", "application/gzip"); err != nil {
				return &exitCode{exitUnproved, err}
			}
			return a.print(out, func(w io.Writer) { a.activation(w, &out) })
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "examine it and say what would change; nothing is recorded")
	return cmd
}

func (a *app) activation(w io.Writer, out *sallyport.Activation) {
	word := "would be put in force"
	if out.Active {
		word = fmt.Sprintf("in force (record %d)", out.Record)
	}
	fmt.Fprintf(w, "%s@%d %s: %s\n", out.Bundle.Name, out.Bundle.Sequence, out.Bundle.Digest, a.colour(w, green, word))
	fmt.Fprintf(w, "  in place of %s@%d %s\n", out.Replaced.Name, out.Replaced.Sequence, out.Replaced.Digest)
	for _, s := range out.Signers {
		fmt.Fprintf(w, "  signed by %s %s\n", s.Role, s.KeyID)
	}
	fmt.Fprintf(w, "  %d cases pass, %d %% of the rules fire in one\n", out.Cases, out.Coverage)
	if out.Tighter {
		fmt.Fprintln(w, "  permits no more than before: proved")
	} else {
		fmt.Fprintf(w, "  permits no more than before: not proved (%s)\n", out.Unproved)
	}
	fmt.Fprintf(w, "  of %d recorded decisions %d differ, %d failed\n", out.Difference.Decisions, out.Difference.Changed, out.Difference.Failed)
	for _, g := range out.Difference.Groups {
		fmt.Fprintf(w, "%8d  %s  %s/%s  %s gate %s  (record %d)\n", g.N, g.From+" -> "+g.To, g.Server, g.Tool, g.Rules, g.Phase, g.Example)
	}
}

func (a *app) policyRollbackCommand() *cobra.Command {
	var expires string
	cmd := &cobra.Command{
		Use: "rollback DIGEST DIR", Short: "Bring an older bundle back as a new one", Args: cobra.ExactArgs(2),
		Long: `Write the rules of a bundle that was in force to the new folder DIR, as the next in the sequence. It takes the same way as
every other: build, sign, activate. The owner refuses it if it is not exactly what the older one was. The digest stands
in each decision and in "ledger search policy".`,
		Example: "  sallyport policy rollback sha256:9f3c... back\n  sallyport policy build back",
		RunE: func(cmd *cobra.Command, args []string) error {
			until := time.Now().AddDate(0, 0, 30).Truncate(time.Second)
			if expires != "" {
				var err error
				if until, err = time.Parse(time.RFC3339, expires); err != nil {
					return fmt.Errorf("--expires %q is no time such as 2030-01-01T00:00:00Z", expires)
				}
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var list struct {
				Items []admin.Policy `json:"items"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, "/people/v1/policies", nil, &list); err != nil {
				return err
			}
			if len(list.Items) == 0 {
				return errors.New("no bundle is in force")
			}
			now := list.Items[0]
			old, err := fetchBundle(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			active, err := fetchBundle(cmd.Context(), c, now.Digest)
			if err != nil {
				return err
			}
			back, err := old.Rollback(args[0], active, now.Digest, until)
			if err != nil {
				return err
			}
			if err := back.Write(args[1]); err != nil {
				return err
			}
			out := map[string]any{"dir": args[1], "sequence": now.Sequence + 1, "rollback": args[0]}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "%s: the rules of %s, sequence %d, until %s\n%s sallyport policy build %s\n", args[1], args[0], now.Sequence+1,
					until.UTC().Format(time.RFC3339), a.colour(w, dim, "hint:"), args[1])
			})
		},
	}
	cmd.Flags().StringVar(&expires, "expires", "", "its end, such as 2030-01-01T00:00:00Z (default: in 30 days)")
	return cmd
}

func (a *app) policyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "The bundles that decide now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var list struct {
				Items []admin.Policy `json:"items"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, "/people/v1/policies", nil, &list); err != nil {
				return err
			}
			return a.print(list.Items, func(w io.Writer) {
				for _, p := range list.Items {
					end := "does not end"
					if p.ExpiresMs > 0 {
						end = "until " + time.UnixMilli(p.ExpiresMs).UTC().Format(time.RFC3339)
					}
					fmt.Fprintf(w, "%s@%d %s, %s\n", p.Name, p.Sequence, p.Digest, end)
				}
			})
		},
	}
}

func fetchBundle(ctx context.Context, c *client, digest string) (*bundle.Bundle, error) {
	var archive []byte
	if err := c.call(ctx, http.MethodGet, "/people/v1/policies/"+url.PathEscape(digest), nil, &archive); err != nil {
		return nil, err
	}
	return bundle.ReadArchive(archive)
}

func (a *app) policyArchiveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "archive DIR FILE", Short: "Write a signed bundle as one file", Args: cobra.ExactArgs(2),
		Long: `Write the bundle in DIR with its signatures to FILE, a compressed tar file: the form in which it is served over HTTP or from a
registry. Equal bundles give equal bytes.`,
		Example: "  sallyport policy archive mine mine.tar.gz",
		RunE: func(_ *cobra.Command, args []string) error {
			b, want, err := stated(args[0])
			if err != nil {
				return err
			}
			archive, err := b.Archive()
			if err != nil {
				return err
			}
			if err := os.WriteFile(args[1], archive, 0o644); err != nil {
				return err
			}
			return a.printStatement(&want)
		},
	}
}

// readBundle reads a folder or an archive.
func readBundle(path string) (*bundle.Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return bundle.Open(path, nil)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, bundle.MaxArchiveBytes+1))
	if err != nil {
		return nil, err
	}
	return bundle.ReadArchive(data)
}

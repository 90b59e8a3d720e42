// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy"
)

func (a *app) policyProposeCommand() *cobra.Command {
	var since, out, base string
	var days, least int
	cmd := &cobra.Command{
		Use: "propose [AGENT TOOL]", Short: "Propose a standing rule from a run of equal approvals", Args: cobra.MatchAll(cobra.MaximumNArgs(2), twoOrNone),
		Long: `Propose a rule by which what people approved for an agent again and again passes without asking, for a time: the same
tool, to the same places, with amounts up to the highest that was approved. All that is on record since --since is decided
again with the rule, and what else it would have let by is listed one by one. The rule settles what asked and lifts no
denial. None is proposed for sinks of secret data, for values that an untrusted source chose, or where the approvals
differ in risk. Nothing is activated: with --out the bundle of --base with the rule is written, to be tested, signed and
activated like any other. Without AGENT and TOOL the runs of approvals are listed.`,
		Example: "  sallyport policy propose\n  sallyport policy propose clerk mail/send --out policies/next --base policies/mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, from, err := a.ownerSince(cmd.Context(), since)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				var page struct {
					Items []admin.Run `json:"items"`
				}
				if err := c.call(cmd.Context(), http.MethodGet, fmt.Sprintf("/people/v1/standing?since=%d", from), nil, &page); err != nil {
					return err
				}
				return a.print(page.Items, func(w io.Writer) { runsText(w, page.Items) })
			}
			var p admin.Proposed
			body := map[string]any{"agent": args[0], "tool": args[1], "since_ms": from, "days": days, "least": least}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/standing", body, &p); err != nil {
				return err
			}
			if out != "" {
				if err := writeProposal(out, base, &p); err != nil {
					return err
				}
			}
			return a.print(p, func(w io.Writer) { a.proposalText(w, &p, out) })
		},
	}
	cmd.Flags().StringVar(&since, "since", "30d", `how far back, such as "12h" or "30d"`)
	cmd.Flags().IntVar(&days, "days", 30, "for how many days the rule holds, at most 90")
	cmd.Flags().IntVar(&least, "least", policy.LeastApprovals, "how many approvals on different occasions it takes")
	cmd.Flags().StringVar(&out, "out", "", "folder of the new bundle, which must not exist yet")
	cmd.Flags().StringVar(&base, "base", "baseline", `folder of the bundle in force, or "baseline"`)
	return cmd
}

func twoOrNone(_ *cobra.Command, args []string) error {
	if len(args) == 1 {
		return errors.New("an agent and a tool are needed, or neither")
	}
	return nil
}

func runsText(w io.Writer, runs []admin.Run) {
	if len(runs) == 0 {
		fmt.Fprintln(w, "nobody has approved anything that could be a rule")
	}
	for _, r := range runs {
		fmt.Fprintf(w, "%4d approvals  %s  %s (%s), last %s\n", r.Approvals, r.Agent, r.Tool, r.Effect, time.UnixMilli(r.LastMs).Format(time.DateTime))
	}
}

func (a *app) proposalText(w io.Writer, p *admin.Proposed, out string) {
	if out == "" {
		fmt.Fprint(w, p.Rules)
	}
	for _, t := range p.Admits {
		fmt.Fprintf(w, "%s %s\n", a.colour(w, yellow, "admits"), t)
	}
	fmt.Fprintf(w, "rests on %d approvals and ends %s\n", p.Approvals, time.UnixMilli(p.ExpiresMs).Format(time.DateTime))
	fmt.Fprintf(w, "%d decisions replayed: %d actions would not have been asked about, %d of which people approved\n", p.Replayed, p.Admitted, p.Approved)
	for _, e := range p.Else {
		fmt.Fprintf(w, "%s record %d, %s, session %s: was %s\n", a.colour(w, yellow, "also admits"), e.Index, time.UnixMilli(e.TimeMs).Format(time.DateTime), e.Session, e.Was)
	}
	if more := p.Admitted - p.Approved - len(p.Else); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	if p.Unread > 0 {
		fmt.Fprintf(w, "%d decisions could not be read\n", p.Unread)
	}
	if out != "" {
		fmt.Fprintf(w, "written to %s\n%s sallyport policy test %s, then sign and activate it\n", out, a.colour(w, dim, "hint:"), out)
	}
}

// writeProposal copies the bundle in force to dir and puts the rule in.
func writeProposal(dir, base string, p *admin.Proposed) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("%q is there already", dir), "name a folder that does not exist yet"}
	}
	c, err := loadBase(base)
	if err != nil {
		return err
	}
	if got := c.Bundle().Digest; got != p.Base.Digest {
		return hinted{fmt.Errorf("the bundle in force is not the one in %q: its digest is %s", base, p.Base.Digest), "name its folder with --base"}
	}
	source := os.DirFS(base)
	if base == "baseline" {
		if source, err = policies.Pack(base); err != nil {
			return err
		}
	}
	if err := os.CopyFS(dir, source); err != nil {
		return err
	}
	for name, text := range p.Files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			return err
		}
	}
	after, err := policy.Load(policy.Config{Dir: dir})
	if err == nil && after.Bundle().Digest != p.Bundle.Digest {
		err = fmt.Errorf("what was written to %s is not what was replayed", dir)
	}
	return err
}

func loadBase(base string) (*policy.Compiled, error) {
	if base == "baseline" {
		return policy.Load(policy.Config{})
	}
	return policy.Load(policy.Config{Dir: base})
}

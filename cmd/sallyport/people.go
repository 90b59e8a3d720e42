// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/tools"
)

// target reads --agent, --session, --all into the body of a kill or release.
type target struct {
	agent, session, reason, sign string
	all, tenant                  bool
}

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.agent, "agent", "", "every session of this agent")
	cmd.Flags().StringVar(&t.session, "session", "", "this session")
	cmd.Flags().BoolVar(&t.all, "all", false, "everything")
	cmd.Flags().StringVar(&t.reason, "reason", "", "why; it is recorded")
	cmd.Flags().StringVar(&t.sign, "sign", "", "sign it with this SSH key of yours")
	cmd.Flags().BoolVar(&t.tenant, "tenant", false, "every agent of this tenant")
	cmd.MarkFlagsOneRequired("agent", "session", "all", "tenant")
	cmd.MarkFlagsMutuallyExclusive("agent", "session", "all", "tenant")
}

func (t *target) order() map[string]string {
	switch {
	case t.all:
		return map[string]string{"scope": "all", "reason": t.reason}
	case t.tenant:
		return map[string]string{"scope": "tenant", "reason": t.reason}
	case t.agent != "":
		return map[string]string{"scope": "agent", "id": t.agent, "reason": t.reason}
	}
	return map[string]string{"scope": "session", "id": t.session, "reason": t.reason}
}

// body is the order for verb, signed if a key is named.
func (t *target) body(ctx context.Context, c *client, verb string) (map[string]any, error) {
	body := map[string]any{}
	for k, v := range t.order() {
		body[k] = v
	}
	if t.sign == "" {
		return body, nil
	}
	ch, raw, err := c.challenge(ctx, "/people/v1/"+verb+"/challenge", t.order())
	if err != nil {
		return nil, err
	}
	body["challenge"] = ch.ID
	body["ssh"], err = signWith(t.sign, raw)
	return body, err
}

func (a *app) killCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "kill --agent ID | --session ID | --all", Short: "Stop an agent, a session or everything, now", Args: cobra.NoArgs,
		Example: "  sallyport kill --session 01J9... --reason \"odd payments\"\n  sallyport kill --all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var done struct {
				identity.Order
				Revoked int `json:"revoked"`
			}
			body, err := t.body(cmd.Context(), c, "kill")
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/kill", body, &done); err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s %s, epoch %d\n", a.colour(w, red, "stopped"), done.Scope, done.ID, done.Epoch)
			})
		},
	}
	t.flags(cmd)
	return cmd
}

func (a *app) releaseCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "release --agent ID | --session ID | --all", Short: "Let go on what was killed", Args: cobra.NoArgs,
		Example: "  sallyport release --session 01J9...",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var done struct {
				Status string `json:"status"`
			}
			body, err := t.body(cmd.Context(), c, "release")
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/release", body, &done); err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				switch done.Status {
				case "second":
					fmt.Fprintln(w, "noted; a second person has to release it too")
					return
				case "wait":
					fmt.Fprintln(w, "noted; repeat it when the delay is over")
					return
				}
				fmt.Fprintln(w, "released")
			})
		},
	}
	t.flags(cmd)
	return cmd
}

func (a *app) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "What agents did", Aliases: []string{"session"}}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Sessions, the latest used first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/people/v1/sessions", 200, func(w io.Writer, s index.Session) {
				fmt.Fprintf(w, "%s  %s  %-10s %-10s %3d actions: %d allowed, %d asked, %d denied\n", s.ID, when(s.LastMs), s.Agent, s.Door,
					s.Actions, s.Allowed, s.Asked, s.Denied+s.Quarantined)
			})
		},
	}, &cobra.Command{
		Use: "show ID", Short: "One session, step by step", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(a, cmd, "/people/v1/sessions/"+url.PathEscape(args[0])+"/steps", 0, a.step)
		},
	})
	return cmd
}

func when(ms int64) string { return time.UnixMilli(ms).Local().Format("2006-01-02 15:04:05") }

// step prints one record of a session.
func (a *app) step(w io.Writer, s index.Step) {
	for line := range strings.SplitSeq(strings.TrimRight(s.Format(), "\n"), "\n") {
		switch {
		case strings.Contains(line, " deny") || strings.Contains(line, " quarantine"):
			line = a.colour(w, red, line)
		case strings.Contains(line, " ask"):
			line = a.colour(w, yellow, line)
		}
		fmt.Fprintln(w, line)
	}
}

// show prints all pages of a list of the people's API; most bounds the items, 0 does not.
func show[T any](a *app, cmd *cobra.Command, path string, most int, line func(w io.Writer, item T)) error {
	c, err := a.owner(cmd.Context(), false)
	if err != nil {
		return err
	}
	items, err := list[T](cmd.Context(), c, path, nil, most)
	if err != nil {
		return err
	}
	return a.print(items, func(w io.Writer) {
		if len(items) == 0 {
			fmt.Fprintln(w, "none")
		}
		for _, item := range items {
			line(w, item)
		}
	})
}

func (a *app) replayCommand() *cobra.Command {
	var bundle, engine string
	var recorded bool
	cmd := &cobra.Command{
		Use: "replay SESSION [--policy DIR | --recorded | --engine PATH]", Short: "Decide a recorded session again, from its recorded inputs", Args: cobra.ExactArgs(1),
		Long: `Decide a recorded session again, from its recorded inputs: under the policy in force, or under
another one to see what it would have said, or each decision under the very bundle that its record names. Nothing is
executed or asked; that the inputs were opened is recorded. Exit code 5 if the recorded policy, in the same engines,
says something else than the record, and 1 if it does in engines of another version (drift). With --engine each
is decided under its recorded bundle by the program in PATH, the release that recorded it for example; the inputs
are handed to that program.`,
		Example: "  sallyport replay 01J9...\n  sallyport replay 01J9... --policy ./policies/strict\n  sallyport replay 01J9... --engine ./releases/sallyport-1.4",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var ans sallyport.ReplayAnswer
			if engine != "" {
				err = replayBy(cmd.Context(), c, engine, args[0], &ans)
			} else {
				err = replayHere(cmd.Context(), c, args[0], bundle, recorded, &ans)
			}
			if err != nil {
				return err
			}
			err = a.print(ans, func(w io.Writer) { a.replayed(w, &ans) })
			if err != nil {
				return err
			}
			if n := index.Faults(ans.Steps); n > 0 {
				return &exitCode{exitUnproved, fmt.Errorf("%d recorded decisions are not what the recorded policy decides", n)}
			}
			if n := ans.Counts[index.Drift]; n > 0 {
				return hinted{fmt.Errorf("drift: the recorded policy decides %d of the records otherwise in these engines", n), "replay with the release that recorded them: --engine PATH"}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&bundle, "policy", "", "folder of another bundle")
	cmd.Flags().BoolVar(&recorded, "recorded", false, "decide each under the bundle that decided it, from the owner's own copy")
	cmd.Flags().StringVar(&engine, "engine", "", "program of another release that decides instead")
	cmd.MarkFlagsMutuallyExclusive("policy", "recorded", "engine")
	return cmd
}

// replayHere lets the owner decide again.
func replayHere(ctx context.Context, c *client, session, bundle string, recorded bool, ans *sallyport.ReplayAnswer) (err error) {
	body := map[string]string{}
	if recorded {
		body["policy"] = "recorded"
	}
	if bundle != "" {
		if body["policy"], err = filepath.Abs(bundle); err != nil {
			return err
		}
	}
	return c.call(ctx, http.MethodPost, "/people/v1/local/replay/"+url.PathEscape(session), body, ans)
}

func (a *app) replayed(w io.Writer, ans *sallyport.ReplayAnswer) {
	for _, s := range ans.Steps {
		a.step(w, s)
	}
	by := ans.Bundle.Name + " " + ans.Bundle.Digest
	if ans.Bundle.Digest == "" {
		by = "the bundle that each record names"
	}
	fmt.Fprintf(w, "%s decided again by %s\n", a.colour(w, bold, "replay:"), by)
	for _, k := range []index.Answer{index.Same, index.Different, index.Drift, index.Erased, index.NoEngine, index.Unrecorded} {
		if n := ans.Counts[k]; n > 0 {
			fmt.Fprintf(w, "  %-18s %d\n", k, n)
		}
	}
	other := 0
	for _, s := range ans.Steps {
		if s.Replay != nil && s.Replay.Elsewhere {
			other++
		}
	}
	if other > 0 {
		fmt.Fprintf(w, "  %d of them were recorded under another bundle; give it with --policy to prove them\n", other)
	}
}

func (a *app) agentsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "agents", Short: "Agents and their records", Aliases: []string{"agent"}}
	var owner string
	create := &cobra.Command{
		Use: "create ID", Short: "Make an agent record", Args: cobra.ExactArgs(1), Example: "  sallyport agents create billing-bot --owner ann",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var made identity.Agent
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/agents", map[string]any{"id": args[0], "owner": owner}, &made); err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) {
				fmt.Fprintf(w, "%s made\n%s sallyport tokens create --agent %s\n", made.ID, a.colour(w, dim, "hint:"), made.ID)
			})
		},
	}
	create.Flags().StringVar(&owner, "owner", "", "the person who answers for it")
	cmd.AddCommand(create, &cobra.Command{
		Use: "list", Short: "Agent records", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/people/v1/agents", 0, func(w io.Writer, g identity.Agent) {
				fmt.Fprintf(w, "%-24s owner %-16s since %s\n", g.ID, g.Owner, when(g.CreatedMs))
			})
		},
	})
	return cmd
}

func (a *app) tokensCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tokens", Short: "Credentials for agents and people", Aliases: []string{"token"}}
	var agent, user, name, ttl string
	var scopes []string
	create := &cobra.Command{
		Use: "create", Short: "Issue a token; it is printed once", Args: cobra.NoArgs,
		Example: "  sallyport tokens create --agent billing-bot --user ann\n  sallyport tokens create --name harness --agent billing-bot --scope agent --scope host",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			body := map[string]any{"agent": agent, "user": user, "name": name, "scopes": scopes}
			if ttl != "" {
				body["ttl"] = ttl
			}
			var made struct {
				Secret string `json:"token"`
				identity.Token
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/tokens", body, &made); err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) { fmt.Fprintln(w, made.Secret) })
		},
	}
	create.Flags().StringVar(&agent, "agent", "", "the agent it belongs to")
	create.Flags().StringVar(&user, "user", "", "the person the agent acts for, as you assert")
	create.Flags().StringVar(&name, "name", "", "for people")
	create.Flags().StringVar(&ttl, "ttl", "", `how long it holds, such as "12h" or "30d"`)
	create.Flags().StringArrayVar(&scopes, "scope", []string{"agent"}, "what it may do; may be repeated")
	cmd.AddCommand(create, &cobra.Command{
		Use: "list", Short: "Tokens without their secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/people/v1/tokens", 0, func(w io.Writer, t identity.Token) {
				fmt.Fprintf(w, "%s  %-20s agent %-16s %v\n", t.ID, t.Name, t.Agent, t.Scopes)
			})
		},
	}, &cobra.Command{
		Use: "revoke ID", Short: "Withdraw a token, for good", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var t identity.Token
			if err := c.call(cmd.Context(), http.MethodDelete, "/people/v1/tokens/"+url.PathEscape(args[0]), nil, &t); err != nil {
				return err
			}
			return a.print(t, func(w io.Writer) { fmt.Fprintf(w, "%s withdrawn\n", t.ID) })
		},
	})
	return cmd
}

func (a *app) toolsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tools", Short: "Tool definitions and their pins", Aliases: []string{"tool"}}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every definition that was seen", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/people/v1/tools", 0, func(w io.Writer, p tools.Pin) {
				fmt.Fprintf(w, "%-40s %-9s %-8s (%s)  %s\n", p.Server+"/"+p.Name, p.State, p.Effect, p.Source, p.Digest)
			})
		},
	}, &cobra.Command{
		Use: "approve SERVER/TOOL DIGEST", Short: "Make a definition the approved one", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, tool, ok := strings.Cut(args[0], "/")
			if !ok {
				return usage("tools approve: %q is not SERVER/TOOL", args[0])
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var p tools.Pin
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/tools/"+url.PathEscape(server)+"/approve",
				map[string]string{"name": tool, "digest": args[1]}, &p); err != nil {
				return err
			}
			return a.print(p, func(w io.Writer) { fmt.Fprintf(w, "%s/%s approved\n", p.Server, p.Name) })
		},
	}, a.toolsOutputCommand())
	return cmd
}

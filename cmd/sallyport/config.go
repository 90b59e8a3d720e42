// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The owner's configuration"}
	var origin bool
	show := &cobra.Command{
		Use: "show [--origin]", Short: "Every setting in force", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, from, err := a.load()
			if err != nil {
				return err
			}
			settings := cfg.Settings(from)
			return a.print(settings, func(w io.Writer) {
				for _, s := range settings {
					if origin {
						fmt.Fprintf(w, "%-26s %-34s %s\n", s.Key, s.Value, a.colour(w, dim, s.Origin))
					} else {
						fmt.Fprintf(w, "%-26s %s\n", s.Key, s.Value)
					}
				}
			})
		},
	}
	show.Flags().BoolVar(&origin, "origin", false, "where each one comes from")
	check := &cobra.Command{
		Use: "check [FILE]", Short: "Read the configuration strictly", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.config = args[0]
			}
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			return a.print(map[string]any{"ok": true, "data": cfg.Data}, func(w io.Writer) { fmt.Fprintln(w, "ok") })
		},
	}
	initial := &cobra.Command{
		Use: "init [FILE]", Short: "Write a file with every setting, commented out", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "sallyport.yaml"
			if len(args) == 1 {
				path = args[0]
			}
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("config: %s is there already", path)
			}
			if err != nil {
				return err
			}
			cfg := sallyport.DefaultConfig()
			_, err = io.WriteString(f, template(cfg.Settings(nil)))
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			fmt.Fprintln(a.out, path)
			return nil
		},
	}
	digest := &cobra.Command{
		Use: "digest", Short: "The digest of the settings that decide, as a bundle's manifest names it", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			sum, err := cfg.SettingsDigest()
			if err != nil {
				return err
			}
			return a.print(map[string]any{"settings": sum}, func(w io.Writer) { fmt.Fprintln(w, sum) })
		},
	}
	cmd.AddCommand(initial, check, show, digest)
	return cmd
}

// template is a configuration file that changes nothing.
func template(settings []sallyport.Setting) string {
	var b strings.Builder
	b.WriteString("# Sallyport. Every setting is commented out and shows its default.\nversion: 1\n")
	section := ""
	for _, s := range settings {
		if s.Key == "version" {
			continue
		}
		top, rest, nested := strings.Cut(s.Key, ".")
		if nested && top != section {
			section = top
			fmt.Fprintf(&b, "\n# %s:\n", top)
		}
		indent, key := "", s.Key
		if nested {
			indent, key = "  ", rest
		}
		fmt.Fprintf(&b, "# %s%s: %s   # %s; %s\n", indent, key, s.Value, s.Doc, sallyport.EnvName(s.Key))
	}
	return b.String()
}

// finding is one line of doctor.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // "ok", "warn", "fail"
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "What holds here, and what does not", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found := a.doctor(cmd.Context())
			failed := 0
			for _, f := range found {
				if f.State == "fail" {
					failed++
				}
			}
			err := a.print(found, func(w io.Writer) {
				for _, f := range found {
					c := map[string]colour{"ok": green, "warn": yellow, "fail": red}[f.State]
					fmt.Fprintf(w, "%s  %-14s %s\n", a.colour(w, c, fmt.Sprintf("%-4s", f.State)), f.Check, f.Detail)
					if f.Hint != "" {
						fmt.Fprintf(w, "      %s %s\n", a.colour(w, dim, "hint:"), f.Hint)
					}
				}
			})
			if err == nil && failed > 0 {
				return &exitCode{exitError, fmt.Errorf("%d checks failed", failed)}
			}
			return err
		},
	}
}

func (a *app) doctor(ctx context.Context) []finding {
	cfg, _, err := a.load()
	if err != nil {
		return []finding{{"config", "fail", err.Error(), `see "sallyport config check"`}}
	}
	out := []finding{{"config", "ok", "read", ""}}
	if info, err := os.Stat(cfg.Data); err != nil {
		out = append(out, finding{"data", "warn", cfg.Data + " is not there yet", `"sallyport up" makes it`})
	} else if info.Mode().Perm()&0o077 != 0 {
		out = append(out, finding{"data", "fail", fmt.Sprintf("%s has mode %04o", cfg.Data, info.Mode().Perm()), "chmod 700 " + cfg.Data})
	} else {
		out = append(out, finding{"data", "ok", cfg.Data, ""})
	}
	switch cfg.Ledger.TenantKey.Kind {
	case "":
		out = append(out, finding{"seal keys", "warn", "lie plain beside what they seal: a copy of the data directory opens everything", "set ledger.tenant_key"})
	case "file":
		out = append(out, finding{"seal keys", "warn", "are wrapped by a file on this machine", "keep " + cfg.Ledger.TenantKey.Path + " out of the backups of the data directory; without it nothing can be opened"})
	case "keyring":
		out = append(out, finding{"seal keys", "warn", "are wrapped by a key in the kernel's keyring, which a restart of the machine empties", "keep a copy of that key elsewhere; without it nothing can be opened"})
	default:
		out = append(out, finding{"seal keys", "ok", "are wrapped: " + cfg.Ledger.TenantKey.Kind, ""})
	}
	c := newClient(cfg.Data)
	if err := c.alive(ctx); err != nil {
		return append(out, finding{"owner", "warn", "none runs", `start one with "sallyport up"`})
	}
	out = append(out, finding{"owner", "ok", sallyport.SocketPath(cfg.Data), ""})
	out = append(append(out, a.doctorLedger(ctx, c)...), a.doctorPeople(ctx, c)...)
	return append(out, a.doctorChannels(ctx, c)...)
}

// doctorChannels says whether people are told of what waits.
func (a *app) doctorChannels(ctx context.Context, c *client) (out []finding) {
	var st sallyport.ChannelsStatus
	if err := c.call(ctx, http.MethodGet, "/people/v1/local/channels", nil, &st); err != nil {
		return []finding{{"channels", "fail", err.Error(), ""}}
	}
	for _, ch := range st.Items {
		f := finding{"channel", "ok", fmt.Sprintf("%s (%s): %d told", ch.Name, ch.Kind, ch.Delivered), ""}
		if ch.Refused > 0 {
			f.State, f.Detail = "warn", f.Detail+fmt.Sprintf(", %d left out", ch.Refused)
		}
		if ch.Problem != "" {
			f.State, f.Detail, f.Hint = "fail", f.Detail+", and now: "+ch.Problem, "see approval.channels; what waits is told once it works again"
		}
		out = append(out, f)
	}
	return out
}

func (a *app) doctorLedger(ctx context.Context, c *client) []finding {
	var st sallyport.LedgerStatus
	if err := c.call(ctx, http.MethodGet, "/people/v1/local/ledger", nil, &st); err != nil {
		return []finding{{"ledger", "fail", err.Error(), ""}}
	}
	out := []finding{{"ledger", "ok", fmt.Sprintf("%d records, root %s", st.Size, st.Root), ""}}
	if st.Stopped != "" {
		out[0].State, out[0].Detail = "fail", "stopped: "+st.Stopped
	}
	disk := finding{"fdatasync", "ok", fmt.Sprintf("%d µs (median)", st.FdatasyncUs), ""}
	if st.FdatasyncUs > 1000 {
		disk.State, disk.Hint = "warn", "an intent takes longer than a millisecond on this disk"
	}
	return append(append(out, disk), witnessFindings(&st)...)
}

func (a *app) doctorPeople(ctx context.Context, c *client) []finding {
	out := []finding{{"separation", "warn", fmt.Sprintf("agents that run as uid %d can reach the approver's socket: separation is none", os.Geteuid()),
		"run agents under another uid, or set require_separation in params.yaml"}}
	tokens, err := list[identity.Token](ctx, c, "/people/v1/tokens", nil, 0)
	if err != nil {
		return append(out, finding{"tokens", "fail", err.Error(), ""})
	}
	both := []string{}
	for _, t := range tokens {
		agent, host := false, false
		for _, s := range t.Scopes {
			agent, host = agent || s == action.ScopeAgent, host || s == action.ScopeHost
		}
		if agent && host && t.RevokedMs == 0 {
			both = append(both, t.ID)
		}
	}
	if len(both) > 0 {
		return append(out, finding{"tokens", "warn", "hold agent and host: " + strings.Join(both, ", "), "right for an SDK harness whose model cannot reach the token, for nothing else"})
	}
	return append(out, finding{"tokens", "ok", fmt.Sprintf("%d, none holds agent and host", len(tokens)), ""})
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "What this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"input": action.Version, "go": runtime.Version(), "os": runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				v["version"] = info.Main.Version
			}
			if exe, err := os.Executable(); err == nil {
				v["executable"] = filepath.Clean(exe)
			}
			return a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "sallyport %s (%s, %s, %s)\n", v["version"], v["input"], v["go"], v["os"])
			})
		},
	}
}

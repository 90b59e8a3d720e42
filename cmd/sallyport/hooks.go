// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gateway/hook"
)

func (a *app) hooksCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "hooks", Short: "Put a coding agent's hooks in place, take them away, prove that they block"}
	var project string
	add := func(use, short, long string, run func(cmd *cobra.Command, f *hostFile, project string) error) {
		c := &cobra.Command{
			Use: use + " NAME", Short: short, Long: long, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				f, err := hostFileOf(args[0])
				if err != nil {
					return err
				}
				return run(cmd, f, project)
			},
		}
		c.Flags().StringVar(&project, "project", "", "folder of a project; default: the settings of the user, for all projects")
		cmd.AddCommand(c)
	}
	add("install", "Put the hooks in place, in the form that blocks when they fail",
		"Put the hooks in place, in the form that blocks when they fail. The file's other content stays as it is, byte\nfor byte; the original is kept for \"uninstall\". Doing it again changes nothing. NAME is "+hostNames()+".",
		func(_ *cobra.Command, f *hostFile, project string) error { return a.hooksInstall(f, project) })
	add("uninstall", "Take the hooks away; the file is as it was before, byte for byte",
		"Take the hooks away. The file is as it was before, byte for byte; if it was changed since, only what is\nours goes. Sessions that run keep the hooks that they started with.",
		func(_ *cobra.Command, f *hostFile, project string) error { return a.hooksUninstall(f, project) })
	add("doctor", "Prove that the installed hooks block",
		"Prove that the installed hooks block: the settings are read as the host reads them, and the installed command\nis run as the host runs it, with calls that no agent may make (built-in tool, MCP tool, subagent), with\nunreadable input, and as if the owner were gone. The exit code is 1 if anything would get through.",
		func(cmd *cobra.Command, f *hostFile, project string) error {
			return a.hooksDoctor(cmd.Context(), f, project)
		})
	return cmd
}

const hooksBackup = "hooks"

// hooksChange plans an installation.
func (a *app) hooksChange(f *hostFile, project string) (*change, backups, error) {
	cfg, _, err := a.load()
	if err != nil {
		return nil, backups{}, err
	}
	keep := backups{filepath.Join(cfg.Data, "backups")}
	c := &change{What: "hooks of " + string(f.host)}
	if c.Path, err = f.path(project); err != nil {
		return nil, keep, err
	}
	if c.before, c.mode, err = readFile(c.Path); err != nil {
		return nil, keep, err
	}
	if len(c.before) > 0 {
		if err := checkJSON(c.before); err != nil {
			return nil, keep, fmt.Errorf("%s: %w", c.Path, err)
		}
	}
	if c.clean, err = f.without(c.before); err != nil {
		return nil, keep, fmt.Errorf("%s: %w", c.Path, err)
	}
	command, err := hookCommandLine(f.host, cfg.Data)
	if err != nil {
		return nil, keep, err
	}
	for _, event := range f.events {
		c.lines = append(c.lines, "+ "+event+": "+command)
	}
	if c.after, err = f.with(c.before, command); err != nil {
		return nil, keep, fmt.Errorf("%s: %w", c.Path, err)
	}
	return c, keep, nil
}

func (a *app) hooksInstall(f *hostFile, project string) error {
	c, keep, err := a.hooksChange(f, project)
	if err != nil {
		return err
	}
	if c.changes() {
		if err := keep.apply(hooksBackup, c); err != nil {
			return err
		}
	} else {
		c.What += ": in place already"
	}
	return a.print(changed{c}, func(w io.Writer) {
		a.show(w, c)
		if f.host == hook.Codex {
			fmt.Fprintln(w, "Codex skips hooks that nobody has trusted: open it, type /hooks and trust them.")
		}
		fmt.Fprintf(w, "%s sallyport hooks doctor %s\n", a.colour(w, dim, "hint:"), f.host)
	})
}

func (a *app) hooksUninstall(f *hostFile, project string) error {
	c, keep, err := a.hooksChange(f, project)
	if err != nil {
		return err
	}
	if err := keep.undo(hooksBackup, c); err != nil {
		return err
	}
	if !c.changes() {
		c.What = "nothing of ours"
	}
	if err := keep.commit(hooksBackup, c); err != nil {
		return err
	}
	return a.print(changed{c}, func(w io.Writer) { a.show(w, c) })
}

// changed is what a command did to one file, in JSON.
type changed struct{ *change }

// SPDX-License-Identifier: Apache-2.0

// Command sallyport puts two gates around every action of an AI agent.
//
// # Rules of the terminal
//
// Results go to standard output, everything else to standard error. Colour appears only on a terminal
// that wants it. An error says what, where and, where one helps, a hint that can be typed. Exit codes:
// 0 ok or allow, 1 error, 2 usage, 3 ask, 4 deny or quarantine, 5 verification failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/internal/confine"
)

// The exit codes of the outer contract.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitAsk      = 3
	exitDeny     = 4
	exitUnproved = 5
)

func main() {
	confine.Inside()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program, for main and for the stories in testdata.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: stdin, out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := misnamed(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	var exit *exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			a.complain(exit.err)
		}
		return exit.code
	case !a.started:
		a.complain(err)
		return exitUsage
	}
	a.complain(err)
	return exitError
}

// misnamed finds a word in the place of a command that is none. Below a group of commands cobra would print the group's
// help and call it a success.
func misnamed(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err != nil && !cmd.HasParent() && cmd.ParseFlags(rest) == nil && !strings.HasPrefix(cmd.Flags().Arg(0), cobra.ShellCompRequestCmd) {
		return unknownCommand(cmd, cmd.Flags().Arg(0)) // cobra says no more than that
	}
	if err != nil || !cmd.HasParent() || cmd.Runnable() || !cmd.HasSubCommands() || cmd.ParseFlags(rest) != nil || cmd.Flags().NArg() == 0 {
		return nil
	}
	return unknownCommand(cmd, cmd.Flags().Arg(0))
}

// unknownCommand says that cmd has no command word below it.
func unknownCommand(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2
	err := fmt.Errorf("unknown command %q for %q", word, cmd.CommandPath())
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return hinted{err, fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+near[0])}
	}
	return hinted{err, fmt.Sprintf("see %q", cmd.CommandPath()+" --help")}
}

// exitCode ends the program with a code; err, if any, is printed.
type exitCode struct {
	code int
	err  error
}

func (e *exitCode) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("exit %d", e.code)
}

func (e *exitCode) Unwrap() error { return e.err }

// hinted is an error with something that can be typed.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// app is what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	started  bool // a command runs: what fails from here on is no usage error

	config string
	data   string
	json   bool
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "Two gates around every action of an AI agent",
		Long: `Sallyport puts two gates around every action of an AI agent: one before it runs, one before
its result goes back. Nothing runs unrecorded, and the record can be proved to a stranger.`,
		Example: `  sallyport demo                      see it work
  sallyport mcp -- npx -y @modelcontextprotocol/server-filesystem ~/project
  sallyport approvals list            what waits for you
  sallyport ledger verify             prove the record`,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
				return err // cobra looks only after this function
			}
			a.started = true
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.config, "config", "", "configuration file (default: sallyport.yaml in the user's configuration folder)")
	f.StringVar(&a.data, "data", "", "data directory of the owner (default: the user's state folder)")
	f.BoolVar(&a.json, "json", false, "answer in JSON")
	root.AddCommand(a.upCommand(), a.demoCommand(), a.mcpCommand(), a.hookCommand(), a.hooksCommand(), a.protectCommand(), a.serverCommand(),
		a.approvalsCommand(), a.wrongCommand(), a.keysCommand(), a.killCommand(), a.releaseCommand(), a.sessionsCommand(), a.replayCommand(),
		a.agentsCommand(), a.tokensCommand(), a.toolsCommand(), a.alertsCommand(), a.ledgerCommand(), a.policyCommand(),
		a.checkCommand(), a.configCommand(), a.doctorCommand(), a.benchCommand(), a.versionCommand())
	root.AddCommand(a.attestCommand(), a.detectCommand(), a.egressCommand(), a.runCommand(), a.consoleCommand())
	return root
}

// load reads the configuration with the flags on top.
func (a *app) load() (sallyport.Config, sallyport.Origin, error) {
	cfg, origin, err := sallyport.LoadConfig(a.config, os.Getenv)
	if err != nil {
		return cfg, origin, hinted{err, `"sallyport config init FILE" writes a file with every setting`}
	}
	if a.data != "" {
		if cfg.Data, err = absolute(a.data); err != nil {
			return cfg, origin, err
		}
		origin["data"] = "flag"
	}
	return cfg, origin, nil
}

// complain prints an error with its hint.
func (a *app) complain(err error) {
	fmt.Fprintf(a.err, "%s %s\n", a.colour(a.err, red, "sallyport:"), strings.TrimPrefix(err.Error(), "sallyport: "))
	var h hinted
	if errors.As(err, &h) && h.hint != "" {
		fmt.Fprintf(a.err, "%s %s\n", a.colour(a.err, dim, "hint:"), h.hint)
	}
}

// print writes v as JSON with --json, else what text writes.
func (a *app) print(v any, text func(w io.Writer)) error {
	if !a.json {
		text(a.out)
		return nil
	}
	if err := json.MarshalWrite(a.out, v, json.Deterministic(true), jsontext.WithIndent("  ")); err != nil {
		return err
	}
	_, err := io.WriteString(a.out, "\n")
	return err
}

type colour string

const (
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
	bold   colour = "1"
	dim    colour = "2"
)

// colour paints s if w is a terminal that wants it.
func (a *app) colour(w io.Writer, c colour, s string) string {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

func usage(format string, args ...any) error {
	return &exitCode{exitUsage, fmt.Errorf(format, args...)}
}

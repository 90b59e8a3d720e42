// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/internal/confine"
)

// runFlags are what the command line says of a confined program.
type runFlags struct {
	require     string
	agent       string
	tokenFile   string
	memory      string
	processes   int
	env         []string
	read, write []string
	measured    agentFlags
}

// systemPaths may be read by every confined program.
var systemPaths = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/proc"}

// runEnvironment is what a confined program gets of our environment.
var runEnvironment = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "COLORTERM", "NO_COLOR", "TZ"}

// The ports inside, where all are free.
const (
	agentsPort   = 7117
	egressPort   = 7119
	postgresPort = 7120
)

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [--require confined] [--agent NAME] -- COMMAND [ARGUMENT...]",
		Short: "Run an agent that has no way around the gates (Linux)",
		Long: `Run a program, and all that it starts, between walls of the kernel: no network but the agents' door, the
egress proxy and the databases that the configuration names; no files but the current folder, a temporary one, the system's (to read)
and what --read and --write name; no unix sockets; a scrubbed environment; and none of the system calls that
lead out. What holds is printed to standard error. If something cannot be built the program runs with the rest,
unless --require confined. The exit code is the program's own.

Inside, SALLYPORT_URL is the agents' door, HTTP_PROXY the egress proxy, and PGHOST and PGPORT are the databases', without a
credential: the owner knows the run by its supervisor's process, after it has proved the walls itself, and records say "confined". The
program is the agent that --agent names, or whose token --token-file holds, else the user's own. "sallyport mcp"
and "sallyport hook" work inside. What it says of its user counts only with a token of the scope host.

--memory and --processes bound the run, by a control group where one can be made, else each program by its
limits; standard error says which.

Where attest.agents has reference values for the agent (without --agent), the program is measured before it starts, and again every half
lease: what it is, its command line, the script, lock files and packages that this shows, and what the flags name. It acts
under the lease that this earns (A2: it does not withstand local root), and no longer.`,
		Example: "  sallyport run --require confined -- python3 agent.py\n  sallyport run --agent billing-bot --read ~/.nvm -- node agent.mjs",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.confined(cmd.Context(), &f, args) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.require, "require", "", "\"confined\": refuse to run unless every wall holds")
	fs.StringVar(&f.agent, "agent", "", "agent that the program is, see \"sallyport agents list\"")
	fs.StringVar(&f.memory, "memory", "", "how much memory it may use, such as 512M or 4G (default: no bound)")
	fs.IntVar(&f.processes, "processes", 0, "how many processes and threads it may have (default: no bound)")
	fs.StringVar(&f.tokenFile, "token-file", "", "file with the token of the agent that the program is")
	fs.StringArrayVar(&f.env, "env", nil, "variable of our environment that the program may see, or NAME=VALUE; may be repeated")
	fs.StringArrayVar(&f.read, "read", nil, "path that it may read and execute; may be repeated")
	fs.StringArrayVar(&f.write, "write", nil, "path that it may change; may be repeated")
	f.measured.parts(cmd)
	fs.StringVar(&f.measured.signature, "model-signature", "", "bundle of the model's signature (model.sig)")
	return cmd
}

func (a *app) confined(ctx context.Context, f *runFlags, args []string) error {
	if f.require != "" && f.require != "confined" {
		return usage("--require %q is not \"confined\"", f.require)
	}
	if f.agent != "" && f.tokenFile != "" {
		return usage("--agent and --token-file exclude each other")
	}
	limits, err := f.limits()
	if err != nil {
		return err
	}
	spec, missing, err := a.walls(f)
	if err != nil {
		return err
	}
	spec.Limits, spec.Args = limits, args
	c, err := a.owner(ctx, true)
	if err != nil {
		return err
	}
	cfg, _, err := a.load()
	if err != nil {
		return err
	}
	token, err := f.token()
	if err != nil {
		return err
	}
	if err := a.place(&spec, f, &cfg, c.data, os.Getenv("HOME")); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "sallyport-run-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	spec.Write = append(spec.Write, tmp)
	spec.Env = append(runEnv(f.env), "TMPDIR="+tmp)
	s := newSupervisor(a, c, spec.Walls, f.agent, token)
	if err := decoys(ctx, c, &cfg.Detect.Canaries, s.name, tmp, &spec); err != nil {
		return err
	}
	if f.agent == "" {
		f.measured.env = f.env
		at, stop, err := a.supervise(ctx, s.client(), &f.measured, token, args)
		if err != nil {
			return err
		}
		defer stop()
		if s.at = at; at != nil {
			spec.Env = append(spec.Env, quiet...)
		}
	}
	fmt.Fprintf(a.err, "sallyport: holds: %s\n", wallNames(spec.Walls))
	for _, m := range missing {
		fmt.Fprintf(a.err, "%s %s\n", a.colour(a.err, yellow, "sallyport: does not hold:"), m)
	}
	pipes := pipesOf(&cfg)
	if egress := len(pipes) > 0 && pipes[0].port == egressPort; egress && token == "" {
		if err := trust(ctx, c, cmp.Or(f.agent, "local"), tmp, &spec); err != nil {
			return err
		}
	}
	return s.run(spec, pipes)
}

// token reads the file of --token-file; "" means that there is none.
func (f *runFlags) token() (string, error) {
	if f.tokenFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(f.tokenFile)
	token := strings.TrimSpace(string(b))
	if err != nil || token == "" {
		return "", fmt.Errorf("token file %q: holds no token (%w)", f.tokenFile, err)
	}
	return token, nil
}

// limits reads the bounds of the command line.
func (f *runFlags) limits() (l confine.Limits, err error) {
	if l.Processes = f.processes; l.Processes < 0 {
		return l, usage("--processes %d is negative", f.processes)
	}
	if f.memory == "" {
		return l, nil
	}
	unit, digits := int64(1), strings.TrimSuffix(strings.TrimSuffix(f.memory, "B"), "i")
	for i, u := range "KMGT" {
		if cut, ok := strings.CutSuffix(digits, string(u)); ok {
			unit, digits = 1<<(10*(i+1)), cut
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > 1<<62/unit {
		return l, usage("--memory %q is no size such as 512M or 4G", f.memory)
	}
	l.MemoryBytes = n * unit
	return l, nil
}

func wallNames(walls []confine.Wall) string {
	var out []string
	for _, w := range walls {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

// walls orders what the kernel offers, and says what it does not.
func (a *app) walls(f *runFlags) (confine.Spec, []string, error) {
	var spec confine.Spec
	var missing []string
	offered := confine.Available()
	for _, w := range confine.Walls {
		if err := offered[w]; err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", w, err))
			continue
		}
		spec.Walls = append(spec.Walls, w)
	}
	if f.require != "" && len(missing) > 0 {
		return spec, nil, hinted{fmt.Errorf("not confined: %s", strings.Join(missing, "; ")), "without --require confined the program runs behind the walls that hold"}
	}
	if len(spec.Walls) == 0 {
		return spec, nil, fmt.Errorf("not confined at all: %s", missing[0])
	}
	return spec, missing, nil
}

// place fills in the paths. What is granted must not hold the owner's files: a grant cannot be cut.
func (a *app) place(spec *confine.Spec, f *runFlags, cfg *sallyport.Config, data, home string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	hidden := []string{real(data), real(cfg.Data)}
	if a.config != "" {
		hidden = append(hidden, real(a.config))
	}
	if d, err := os.UserConfigDir(); err == nil {
		hidden = append(hidden, real(filepath.Join(d, "sallyport")))
	}
	if cfg.Policy.Dir != "" {
		hidden = append(hidden, real(cfg.Policy.Dir))
	}
	if spec.Path, err = exec.LookPath(spec.Args[0]); err == nil {
		spec.Path, err = filepath.Abs(spec.Path)
	}
	if err != nil {
		return err
	}
	spec.Dir = real(dir)
	spec.Read = append(slices.Clone(systemPaths), reals(f.read)...)
	if exe, err := os.Executable(); err == nil { // "sallyport mcp" and the hooks
		spec.Read = append(spec.Read, real(exe), filepath.Join(filepath.Dir(real(exe)), "sallyport-hook"))
	}
	spec.Write = append([]string{spec.Dir}, reals(f.write)...)
	for _, g := range slices.Concat(spec.Read, spec.Write) {
		for _, h := range hidden {
			if under(h, g) || under(g, h) {
				return hinted{fmt.Errorf("%q may not be granted: it holds the owner's files in %q, or lies in them", g, h), "run it in a project's folder"}
			}
		}
		if g == "/" || home != "" && slices.Contains(spec.Write, g) && under(real(home), g) {
			return hinted{fmt.Errorf("%q may not be granted: it holds everything of yours", g), "run it in a project's folder"}
		}
	}
	return nil
}

func reals(paths []string) (out []string) {
	for _, p := range paths {
		out = append(out, real(p))
	}
	return out
}

// real is where a path leads; what does not exist yet leads to itself.
func real(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		p = abs
	}
	if r, err := filepath.EvalSymlinks(p); err == nil {
		return r
	}
	return p
}

func under(p, folder string) bool {
	return p == folder || folder == "/" || strings.HasPrefix(p, folder+"/")
}

func runEnv(more []string) (out []string) {
	for _, name := range runEnvironment {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	for _, e := range more {
		if strings.Contains(e, "=") {
			out = append(out, e)
		} else if v, ok := os.LookupEnv(e); ok {
			out = append(out, e+"="+v)
		}
	}
	return out
}

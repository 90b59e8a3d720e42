// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/internal/attester"
	"github.com/sallyport/sallyport/internal/confine"
)

// runFlags are what the command line says of a confined program.
type runFlags struct {
	require     string
	tokenFile   string
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
	agentsPort = 7117
	egressPort = 7119
)

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [--require confined] [--token-file FILE] -- COMMAND [ARGUMENT...]",
		Short: "Run an agent that has no way around the gates (Linux)",
		Long: `Run a program, and all that it starts, between walls of the kernel: no network but the agents' door and
the egress proxy, if there is one; no files but the current folder, a temporary one, the system's (to read)
and what --read and --write name; no unix sockets; a scrubbed environment; and none of the system calls that
lead out. What holds is printed to standard error. If something cannot be built the program runs with the rest,
unless --require confined. The exit code is the program's own.

Inside, SALLYPORT_URL is the agents' door and HTTP_PROXY the egress proxy. With --token-file the program
acts as the agent whose token the file holds; gateway.listen must be an address then. Without it, it acts as
the user's own agent, and the doors for hooks and models, which take a host's word, are closed to it.

Where attest.agents has reference values for the agent, the program is measured before it starts, and again every half
lease: what it is, its command line, the script, lock files and packages that this shows, and what the flags name. It acts
under the lease that this earns (A2: it does not withstand local root), and no longer.`,
		Example: "  sallyport run --require confined -- python3 agent.py\n  sallyport run --read ~/.nvm -- node agent.mjs",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.confined(cmd.Context(), &f, args) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.require, "require", "", "\"confined\": refuse to run unless every wall holds")
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
	spec, missing, err := a.walls(f)
	if err != nil {
		return err
	}
	c, err := a.owner(ctx, true)
	if err != nil {
		return err
	}
	cfg, _, err := a.load()
	if err != nil {
		return err
	}
	token := ""
	if f.tokenFile != "" {
		b, err := os.ReadFile(f.tokenFile)
		if token = strings.TrimSpace(string(b)); err != nil || token == "" {
			return fmt.Errorf("token file %q: holds no token (%w)", f.tokenFile, err)
		}
		if cfg.Gateway.Listen == "none" {
			return hinted{errors.New("--token-file: the agents' door has no address"), "set gateway.listen in the configuration"}
		}
	}
	if spec.Path, err = exec.LookPath(args[0]); err == nil {
		spec.Path, err = filepath.Abs(spec.Path)
	}
	if err != nil {
		return err
	}
	spec.Args = args
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
	f.measured.env = f.env
	at, stop, err := a.supervise(ctx, c, &f.measured, token, args)
	if err != nil {
		return err
	}
	defer stop()
	if at != nil {
		spec.Env = append(spec.Env, quiet...)
	}
	fmt.Fprintf(a.err, "sallyport: holds: %s\n", wallNames(spec.Walls))
	for _, m := range missing {
		fmt.Fprintf(a.err, "%s %s\n", a.colour(a.err, yellow, "sallyport: does not hold:"), m)
	}
	return a.between(spec, c, &cfg, token, at)
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
	spec.Dir = real(dir)
	spec.Read = append(slices.Clone(systemPaths), reals(f.read)...)
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

// between runs the program and serves its two doors until it ends.
func (a *app) between(spec confine.Spec, c *client, cfg *sallyport.Config, token string, at *attester.Attester) error {
	egress := cfg.Egress.Listen
	doors := 1
	spec.Ports = []int{agentsPort}
	if egress != "" && egress != "none" {
		doors, spec.Ports = 2, append(spec.Ports, egressPort)
	}
	addrs := []string{fmt.Sprintf("127.0.0.1:%d", agentsPort), fmt.Sprintf("127.0.0.1:%d", egressPort)}
	var own []net.Listener
	if !slices.Contains(spec.Walls, confine.Network) {
		spec.Ports = nil
		for i := range doors {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer func() { _ = l.Close() }()
			own, addrs[i] = append(own, l), l.Addr().String()
		}
	}
	spec.Env = append(spec.Env, "SALLYPORT_URL=http://"+addrs[0], "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
	if doors == 2 {
		proxy := &url.URL{Scheme: "http", Host: addrs[1]}
		password := token
		if at != nil { // the proxy takes no proof of possession; this dies with the lease
			var err error
			if password, err = at.Derived(context.Background()); err != nil {
				return err
			}
		}
		if password != "" {
			proxy.User = url.UserPassword("agent", password)
		}
		for _, n := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
			spec.Env = append(spec.Env, n+"="+proxy.String())
		}
	}
	p, err := confine.Start(spec, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGHUP)
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-stop:
			_ = p.Kill()
		case <-over:
		}
	})
	listeners := append(own, p.Listeners...)
	srv := &http.Server{Handler: agentsDoor(c, cfg, token, at), ReadHeaderTimeout: 10 * time.Second}
	wg.Go(func() { _ = srv.Serve(listeners[0]) })
	if doors == 2 {
		wg.Go(func() { pipeAll(listeners[1], egress, over) })
	}
	code, err := p.Wait()
	signal.Stop(stop)
	close(over)
	_ = srv.Close()
	for _, l := range listeners {
		_ = l.Close()
	}
	wg.Wait()
	if err != nil {
		return err
	}
	if code != 0 {
		return &exitCode{code, nil}
	}
	return nil
}

// agentsDoor passes requests to the owner's door for agents, and to nothing else of it. With a token it is
// put into each request, so that the program does not hold it; with a lease each request goes on under that.
func agentsDoor(c *client, cfg *sallyport.Config, token string, at *attester.Attester) http.Handler {
	tcp := cfg.Gateway.Listen
	if cfg.Scheme() == "https" {
		tcp = "" // the socket takes the token too, and needs no certificate
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "localhost", "localhost"
			for _, h := range []string{"Authorization", "X-Api-Key", "Cookie"} {
				r.Out.Header.Del(h)
			}
			if token != "" && at == nil {
				r.Out.Header.Set("Authorization", "Bearer "+token)
			}
			if token != "" && at == nil && tcp != "" {
				r.Out.URL.Host, r.Out.Host = tcp, tcp
				return
			}
			r.Out.URL.Path, r.Out.URL.RawPath = "/agents"+r.In.URL.Path, ""
		},
		Transport: c.http.Transport,
	}
	switch {
	case at != nil:
		proxy.Transport = at
	case token != "" && tcp != "":
		proxy.Transport = &http.Transport{Proxy: nil}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		clean := strings.HasPrefix(p, "/") && (path.Clean(p) == p || path.Clean(p)+"/" == p)
		if !clean || r.Method == http.MethodConnect || token == "" && (under(p, "/v1/hooks") || under(p, "/llm")) {
			http.Error(w, "not open to a confined program", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// pipeAll joins each connection of l with one to addr until l is closed; over cuts what is open.
func pipeAll(l net.Listener, addr string, over <-chan struct{}) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { _ = in.Close() }()
			out, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer func() { _ = out.Close() }()
			done := make(chan struct{}, 2)
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} })
			}
			select {
			case <-done:
			case <-over:
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/internal/attester"
)

// agentFlags say who is to be attested, and with what.
type agentFlags struct {
	url, tokenFile string
	ca             string
	tpm, name, log string
	register       int
	software, free bool
	env            []string
	signature      string
	provenance     string
	spec           measure.Spec
}

func (f *agentFlags) connect(cmd *cobra.Command) {
	l := cmd.Flags()
	l.StringVar(&f.url, "url", "", "the owner's address for agents; default: its socket")
	l.StringVar(&f.ca, "ca", "", "file with the authority of the owner's certificate; default: the system's")
	l.StringVar(&f.tokenFile, "token-file", "", "file with the agent's token; default: the user's own agent, over the socket")
}

func (f *agentFlags) chip(cmd *cobra.Command) {
	l := cmd.Flags()
	l.StringVar(&f.tpm, "tpm", "", "TPM: a device such as /dev/tpmrm0, or the socket of a software TPM")
	l.StringVar(&f.name, "agent", "agent", "name of the agent; each has a key of its own in the chip")
	l.IntVar(&f.register, "register", 13, "register of the TPM that is extended, of 0 to 15")
	l.StringVar(&f.log, "log", "", "file of the log of measurements; default: one of the user's state folder")
}

// measured are the flags of commands that measure a program and pass a part of our environment on to it.
func (f *agentFlags) measured(cmd *cobra.Command) {
	f.parts(cmd)
	cmd.Flags().StringArrayVar(&f.env, "env", nil, "variable of our environment that the program may see, or NAME=VALUE; may be repeated")
}

// parts are the flags that name what is measured beside the command line.
func (f *agentFlags) parts(cmd *cobra.Command) {
	l := cmd.Flags()
	l.StringArrayVar(&f.spec.Scripts, "script", nil, "file that the program interprets; may be repeated")
	l.StringArrayVar(&f.spec.Packages, "packages", nil, "lock file or folder of packages; may be repeated")
	l.StringArrayVar(&f.spec.Prompts, "prompt", nil, "file or folder of prompts; may be repeated")
	l.StringArrayVar(&f.spec.Tools, "tools", nil, "manifest of tools; may be repeated")
	l.BoolVar(&f.free, "free-arguments", false, "leave the command line out: an agent that may be started with any arguments")
	l.StringVar(&f.spec.Model, "model", "", "folder or file of the model's weights")
	l.StringVar(&f.spec.ModelHash, "model-hash", "", "how the weights are hashed: sha256 or blake3, as they are signed; default sha256")
	l.StringVar(&f.provenance, "provenance", "", "bundle of SLSA provenance of the program or image")
}

// attester makes one for the flags; close lets go of what it holds.
func (a *app) attester(ctx context.Context, f *agentFlags, args []string) (_ *attester.Attester, close func(), err error) {
	c := attester.Config{Kind: "supervisor"}
	if f.tokenFile != "" {
		b, err := os.ReadFile(f.tokenFile)
		if c.Token = strings.TrimSpace(string(b)); err != nil || c.Token == "" {
			return nil, nil, fmt.Errorf("token file %q: holds no token (%w)", f.tokenFile, err)
		}
	}
	if c.URL = strings.TrimSuffix(f.url, "/"); c.URL == "" {
		owner, err := a.owner(ctx, true)
		if err != nil {
			return nil, nil, err
		}
		c.URL, c.Named, c.Transport = "http://localhost/agents", "http://localhost", owner.http.Transport
	} else if c.Kind = "software"; c.Token == "" {
		return nil, nil, usage("--url needs --token-file: over a network nobody vouches for the caller")
	}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
		if err == nil && !c.TLS.RootCAs.AppendCertsFromPEM(text) {
			err = errors.New("no certificate in PEM")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--ca %q: %w", f.ca, err)
		}
	}
	if f.software {
		c.Kind = "software"
	}
	close = func() {}
	c.Log = attester.NewLog()
	if f.tpm != "" {
		if c, err = a.withChip(c, f); err != nil {
			return nil, nil, err
		}
		close = func() { _, _ = c.Log.Close(), c.Chip.Close() }
	}
	defer func() {
		if err != nil {
			close()
		}
	}()
	if c.Signature, c.Provenance, err = f.bundles(); err != nil {
		return nil, nil, err
	}
	if len(args) > 0 {
		if f.spec, err = f.program(args); err != nil {
			return nil, nil, err
		}
		f.spec.PCR, f.spec.Progress = f.register, a.hashing()
		if err := c.Log.Begin(f.register); err != nil {
			return nil, nil, err
		}
		w := attester.NewWatch(f.spec, c.Log)
		c.Refresh = func() error { return w.Look(ctx) }
	}
	at, err := attester.New(c)
	return at, close, err
}

// bundles are the signatures that go with a claim; nil for those that are not named.
func (f *agentFlags) bundles() (model, built []byte, err error) {
	if f.signature != "" {
		if model, err = readAtMost(f.signature, lease.MaxRequestSize/2); err != nil {
			return nil, nil, err
		}
	}
	if f.provenance != "" {
		built, err = readAtMost(f.provenance, lease.MaxRequestSize/2)
	}
	return model, built, err
}

// withChip opens the chip and the log that explains its registers.
func (a *app) withChip(c attester.Config, f *agentFlags) (attester.Config, error) {
	var err error
	if c.Chip, err = tpm.OpenChip(f.tpm, f.name); err != nil {
		return c, err
	}
	c.Kind = "tpm"
	if f.log == "" {
		cfg, _, err := a.load()
		if err != nil {
			return c, errors.Join(err, c.Chip.Close())
		}
		f.log = filepath.Join(filepath.Dir(cfg.Data), "sallyport-attest", f.name+".json")
	}
	if c.Log, err = attester.OpenLog(f.log, c.Chip); err != nil {
		return c, errors.Join(err, c.Chip.Close())
	}
	return c, nil
}

// program is what is measured of a command line, and of what it shows of an interpreter's script and packages. The line itself is part of it, as are variables that are passed on:
// an interpreter does what they say.
func (f *agentFlags) program(args []string) (measure.Spec, error) {
	s, err := programSpec(f.spec, args)
	if err != nil || f.free {
		return s, err
	}
	path, err := resolved(args[0])
	if err != nil {
		return s, err
	}
	s.Command = append([]string{path}, args[1:]...)
	for _, e := range f.env {
		if name, _, set := strings.Cut(e, "="); !set {
			e = name + "=" + os.Getenv(name)
		}
		s.Command = append(s.Command, "env "+e)
	}
	return s, nil
}

func resolved(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// quiet keeps an interpreter from writing into the packages that are measured.
var quiet = []string{"PYTHONDONTWRITEBYTECODE=1"}

// programSpec adds the program of a command line, and for a script what interprets it.
func programSpec(s measure.Spec, args []string) (measure.Spec, error) {
	path, err := resolved(args[0])
	if err != nil {
		return s, err
	}
	s.Executable = path
	head, err := readAtMost(path, 256)
	if err != nil {
		return s, err
	}
	if !strings.HasPrefix(string(head), "#!") {
		found, err := exec.LookPath(args[0])
		return measure.Discover(s, found, args[1:]), err
	}
	line, _, _ := strings.Cut(string(head[2:]), "\n")
	words := strings.Fields(line)
	if len(words) > 1 && filepath.Base(words[0]) == "env" {
		words = words[1:]
	}
	if len(words) == 0 {
		return s, fmt.Errorf("%s: names no interpreter", path)
	}
	found, err := exec.LookPath(words[0])
	if err != nil {
		return s, fmt.Errorf("%s: interpreter: %w", path, err)
	}
	if s.Executable, err = filepath.EvalSymlinks(found); err != nil {
		return s, fmt.Errorf("%s: interpreter: %w", path, err)
	}
	return measure.Discover(s, found, []string{path}), nil
}

func (a *app) attestEnrollCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use: "enroll --tpm PATH --agent NAME", Args: cobra.NoArgs, Short: "Enrol the attestation key of a TPM for an agent, once",
		Long: `Make the agent's attestation key in the TPM and prove to the owner that it lives in the same chip as the chip's
endorsement key. The agent must have an entry in attest.agents; list the chip there to accept no other.`,
		Example: "  sallyport attest enroll --tpm /dev/tpmrm0 --agent billing --token-file billing.token",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.tpm == "" {
				return usage("--tpm: which chip?")
			}
			at, closeAll, err := a.attester(cmd.Context(), &f, nil)
			if err != nil {
				return err
			}
			defer closeAll()
			key, chip, err := at.Enroll(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]string{"ak_name": key, "ek": chip}, func(w io.Writer) {
				fmt.Fprintf(w, "enrolled key %s\nof chip      %s\n", key, chip)
			})
		},
	}
	f.connect(cmd)
	f.chip(cmd)
	return cmd
}

func (a *app) attestQuoteCommand() *cobra.Command {
	var f agentFlags
	var nonce string
	var registers []int
	cmd := &cobra.Command{
		Use: "quote --tpm PATH --nonce HEX", Args: cobra.NoArgs, Short: "Make a quote of a TPM, for attest verify",
		Example: "  sallyport attest quote --tpm /dev/tpmrm0 --agent billing --nonce 6f1c... > quote.json",
		RunE: func(_ *cobra.Command, _ []string) error {
			n, err := hex.DecodeString(nonce)
			if err != nil || len(n) == 0 || len(n) > 32 {
				return usage("--nonce: 1 to 32 bytes in hex")
			}
			if f.tpm == "" {
				return usage("--tpm: which chip?")
			}
			c, err := a.withChip(attester.Config{}, &f)
			if err != nil {
				return err
			}
			defer func() { _, _ = c.Log.Close(), c.Chip.Close() }()
			if registers == nil {
				registers = []int{f.register}
			}
			q, err := c.Chip.Quote(n, c.Log.Events(), registers)
			if err != nil {
				return err
			}
			data, err := action.Canonical(q)
			if err != nil {
				return err
			}
			_, err = a.out.Write(append(data, '\n'))
			return err
		},
	}
	f.chip(cmd)
	cmd.Flags().StringVar(&nonce, "nonce", "", "hex of what the quote binds")
	cmd.Flags().IntSliceVar(&registers, "pcrs", nil, "registers; default: --register")
	return cmd
}

func (a *app) attestMeasureCommand() *cobra.Command {
	var f agentFlags
	var component string
	cmd := &cobra.Command{
		Use: "measure [--script F] [--model DIR] ... -- COMMAND", Args: cobra.MinimumNArgs(1), Short: "Print the reference values of an agent",
		Long: `Measure what "attest keep", "run" and "mcp" with the same flags would measure, and print it as the references of an entry in
attest.agents, or with --component as one of its components: an agent that starts servers by "sallyport mcp" has one
for itself and one for each of them. Measure what you have reviewed, on a machine that you trust.`,
		Example: "  sallyport attest measure --script agent.py --model ./weights -- python3 agent.py",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := f.program(args)
			if err != nil {
				return err
			}
			spec.Progress = a.hashing()
			events, err := measure.Take(cmd.Context(), spec)
			if err != nil {
				return err
			}
			return a.print(events, func(w io.Writer) { fmt.Fprint(w, references(component, events)) })
		},
	}
	f.measured(cmd)
	cmd.Flags().StringVar(&component, "component", "", "print an entry of the agent's components, by this name")
	return cmd
}

// references are events as an entry of attest.agents lists them; with a name as one of its components.
func references(component string, events []attest.Event) string {
	var w strings.Builder
	last := ""
	for _, e := range events {
		if e.Kind != last {
			fmt.Fprintf(&w, "  - kind: %s\n    digests:\n", e.Kind)
		}
		last = e.Kind
		fmt.Fprintf(&w, "      - sha256:%s\n", e.Digest)
	}
	if component == "" {
		return "references:\n" + w.String()
	}
	body := strings.ReplaceAll(strings.TrimSuffix(w.String(), "\n"), "\n", "\n    ")
	return fmt.Sprintf("components:\n  - name: %q\n    references:\n    %s\n", component, body)
}

func (a *app) attestStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Args: cobra.NoArgs, Short: "Leases of attested agents, and enrolled keys",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			leases, err := list[sallyport.Lease](cmd.Context(), c, "/people/v1/attest/leases", nil, 0)
			if err != nil {
				return err
			}
			keys, err := list[lease.EnrolledKey](cmd.Context(), c, "/people/v1/attest/keys", nil, 0)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"leases": leases, "keys": keys}, func(w io.Writer) { a.standing(w, leases, keys) })
		},
	}
}

// kindWords say what a kind of evidence does not withstand.
var kindWords = map[string]string{
	"software":   "self-reported: proves a key, nothing else",
	"supervisor": "software measured: does not withstand local root",
}

func (a *app) standing(w io.Writer, leases []sallyport.Lease, keys []lease.EnrolledKey) {
	if len(leases) == 0 {
		fmt.Fprintln(w, "no leases")
	}
	for _, l := range leases {
		state := a.colour(w, green, fmt.Sprintf("%d s left", (l.EndsMs-time.Now().UnixMilli())/1000))
		if !l.Live {
			state = a.colour(w, red, "lapsed "+l.Ended)
		}
		note := kindWords[l.Kind]
		switch {
		case l.Test == action.Yes:
			note = "test: a simulator"
		case l.Kind == "tpm" && l.Assurance < 3:
			note = "no maker vouches for the chip: worth no more than a key in software"
		}
		name := l.Agent
		if l.Component != "" {
			name += "/" + shown(l.Component)
		}
		fmt.Fprintf(w, "%s  %-12s A%d M%d %s, %s  %s  %s\n", l.ID, name, l.Assurance, l.Model, l.Kind, l.Status, state, note)
		for _, why := range l.Why {
			fmt.Fprintf(w, "    %s\n", shown(why))
		}
	}
	for _, k := range keys {
		fmt.Fprintf(w, "key %s  %-12s chip %s\n", k.Key, k.Agent, k.EK)
	}
}

func (a *app) attestEndCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "end LEASE", Args: cobra.ExactArgs(1), Short: "End a lease at once",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), http.MethodPost, "/people/v1/attest/leases/"+url.PathEscape(args[0])+"/end", map[string]string{"reason": reason}, nil)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is recorded")
	return cmd
}

func (a *app) attestWithdrawCommand() *cobra.Command {
	return &cobra.Command{
		Use: "withdraw KEY", Args: cobra.ExactArgs(1), Short: "Forget an enrolled key, and end the leases that rest on it",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			return c.call(cmd.Context(), http.MethodPost, "/people/v1/attest/keys/"+url.PathEscape(args[0])+"/withdraw", struct{}{}, nil)
		},
	}
}

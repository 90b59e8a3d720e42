// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
)

// idleExit is after how long without work an owner ends that a thin client started.
const idleExit = 30 * time.Minute

func (a *app) upCommand() *cobra.Command {
	var listen, people, only string
	var background bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the owner: doors, ledger and policy over one data directory",
		Example: `  sallyport up
  sallyport up --listen 127.0.0.1:7117 --listen-admin 127.0.0.1:7118
  sallyport up --listen none --listen-admin none      the socket only
  sallyport up --only policy --data DIR               a second decision point`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			if listen != "" {
				cfg.Gateway.Listen = listen
			}
			if people != "" {
				cfg.Admin.Listen = people
			}
			switch only {
			case "":
			case "policy":
				cfg.Policy.Alone, cfg.Egress.Listen = true, "none"
			default:
				return hinted{fmt.Errorf("--only %q: policy is all that runs alone", only), "sallyport up --only policy"}
			}
			return a.up(cmd.Context(), cfg, background)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "address for agents (default "+sallyport.DefaultListen+")")
	cmd.Flags().StringVar(&people, "listen-admin", "", "address for people (default "+sallyport.DefaultListenAdmin+")")
	cmd.Flags().StringVar(&only, "only", "", "policy: no doors for agents, only signed decisions for other processes")
	cmd.Flags().BoolVar(&background, "background", false, "started by a thin client: end when idle, go without addresses that are taken")
	_ = cmd.Flags().MarkHidden("background")
	return cmd
}

// collectLess lets the heap of an owner grow to five times what lives, unless the user said otherwise: what lives is small
// and what dies is an action, so that collecting less often is a tenth of the time.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// up runs an owner until ctx ends.
func (a *app) up(ctx context.Context, cfg sallyport.Config, background bool) error {
	collectLess()
	s, err := sallyport.Open(ctx, cfg)
	if errors.Is(err, sallyport.ErrOwned) {
		if background {
			return nil // somebody else was faster
		}
		return hinted{err, "stop the other one, or choose another --data"}
	}
	if err != nil {
		return err
	}
	l, err := s.Listen()
	if background && errors.Is(err, syscall.EADDRINUSE) {
		s.Config.Gateway.Listen, s.Config.Admin.Listen, s.Config.Egress.Listen = "none", "none", "none"
		fmt.Fprintln(a.err, "sallyport: the addresses are taken; serving the socket only")
		l, err = s.Listen()
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ran := make(chan error, 1)
	go func() {
		ran <- s.Run(ctx)
		cancel()
	}()
	if background {
		go endWhenIdle(ctx, cancel, l, sallyport.SocketPath(cfg.Data))
	}
	a.announce(s, l)
	err = s.Serve(ctx, l)
	cancel()
	return errors.Join(err, <-ran, s.Close())
}

func endWhenIdle(ctx context.Context, cancel context.CancelFunc, l *sallyport.Listeners, socket string) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if _, err := os.Stat(socket); l.Idle(now) > idleExit || errors.Is(err, os.ErrNotExist) {
				cancel() // nobody needs it, or nobody can reach it any more
			}
		}
	}
}

// announce says where everything is and how to get in.
func (a *app) announce(s *sallyport.Sallyport, l *sallyport.Listeners) {
	addresses := struct {
		Agents string `json:"agents"`
		People string `json:"people"`
		Egress string `json:"egress,omitzero"`
		Socket string `json:"socket"`
		Data   string `json:"data"`
		Token  string `json:"admin_token_file"`
		Bundle string `json:"bundle"`
		Vkey   string `json:"ledger_vkey"`
		Decide string `json:"decide_key,omitzero"`
	}{Socket: sallyport.SocketPath(s.Config.Data), Data: s.Config.Data, Token: filepath.Join(s.Config.Data, "tokens", "admin"),
		Bundle: s.Policy.Active().Bundle().Name + " " + s.Policy.Active().Bundle().Digest, Vkey: s.Ledger.Vkey()}
	if s.Config.Policy.Alone {
		if key, err := s.DecideKey(); err == nil {
			addresses.Decide = key
		}
	}
	if l.Agents != nil {
		addresses.Agents = s.Config.Scheme() + "://" + l.Agents.Addr().String()
	}
	if l.People != nil {
		addresses.People = s.Config.Scheme() + "://" + l.People.Addr().String()
	}
	if l.Egress != nil {
		addresses.Egress = "http://" + l.Egress.Addr().String()
	}
	_ = a.print(addresses, func(w io.Writer) {
		fmt.Fprintf(w, "%s is up\n", a.colour(w, bold, "sallyport"))
		for _, row := range [][2]string{{"agents", addresses.Agents}, {"people", addresses.People}, {"egress", addresses.Egress}, {"socket", addresses.Socket},
			{"data", addresses.Data}, {"policy", addresses.Bundle}, {"ledger key", addresses.Vkey}, {"decide key", addresses.Decide}} {
			if row[1] != "" {
				fmt.Fprintf(w, "  %-11s %s\n", row[0], row[1])
			}
		}
		fmt.Fprintf(w, "  %-11s %s\n", "log in", `with the bearer token in `+addresses.Token)
	})
}

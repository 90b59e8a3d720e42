// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/ledger/witness"
)

func (a *app) witnessCommand() *cobra.Command {
	var listen, name string
	var cfg witness.Config
	cmd := &cobra.Command{
		Use: "witness --listen ADDRESS --state DIR --log VKEY...", Args: cobra.NoArgs,
		Short: "Cosign the checkpoints of logs, and refuse their forks; on another machine than the logs",
		Long: `Serve C2SP tlog-witness: remember the newest checkpoint of each listed log and cosign only what continues
it. Run it on another machine, under other hands, than the log: on the log's own machine it proves nothing
that the log's key does not. Put the printed address and key into ledger.witnesses of the owner's
configuration. Speak to it over TLS, through a proxy that ends it, where the network between is not yours.`,
		Example: `  sallyport ledger status --json | jq -r .vkey
  sallyport ledger witness --listen :7120 --state /var/lib/sallyport-witness --log "sallyport.local/log/...+1234abcd+..."`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg.Name = name
			w, err := witness.Open(cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			up := map[string]string{"listen": ln.Addr().String(), "vkey": w.Vkey()}
			if err := a.print(up, func(out io.Writer) { fmt.Fprintf(out, "listening  %s\nkey        %s\n", up["listen"], up["vkey"]) }); err != nil {
				return errors.Join(err, ln.Close())
			}
			return serveWitness(cmd.Context(), ln, w)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7120", "address")
	cmd.Flags().StringVar(&cfg.Dir, "state", "", "folder of its key and memory")
	cmd.Flags().StringVar(&name, "name", "", "name of a new witness; default: a random one")
	cmd.Flags().StringArrayVar(&cfg.Logs, "log", nil, "public key of a log; may be repeated")
	_, _ = cmd.MarkFlagRequired("state"), cmd.MarkFlagRequired("log")
	return cmd
}

func (a *app) anchorCommand() *cobra.Command {
	var order sallyport.AnchorOrder
	var price float64
	cmd := &cobra.Command{
		Use: "anchor --tsa URL | --rekor URL | --ethereum URL --from ACCOUNT | --calendar URL... [--complete]", Args: cobra.NoArgs,
		Short: "Have third parties vouch for the newest checkpoint: RFC 3161, Rekor, Ethereum or OpenTimestamps",
		Long: `Send the digest of the newest checkpoint, and nothing else, to a time stamping authority or to a transparency log that
runs Rekor 2, or a salted digest
to calendars of OpenTimestamps; keep what they answer beside the log and record it. "ledger verify" checks
it, with --tsa-roots, --logs or --blocks, and so do "openssl ts -verify -in DATA/anchors/SIZE.rfc3161 -data
DATA/anchors/SIZE.checkpoint -CAfile FILE" and "ots verify -f DATA/anchors/SIZE.checkpoint
DATA/anchors/SIZE.ots-complete". Calendars answer at once and finish hours later: --complete fetches that.
Rekor says no time; others know the checkpoint from then on. On an Ethereum chain the node's account pays for a
transaction that logs the digest; give the hash of a final block to "ledger verify --blocks". One anchor covers every record before it.`,
		Example: "  sallyport ledger anchor --tsa https://tsa.example/\n  sallyport ledger anchor --calendar https://calendar.example --complete",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var done sallyport.AnchorAnswer
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/local/ledger/anchor", order, &done); err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				switch {
				case order.Complete:
					fmt.Fprintf(w, "%d proofs are complete now, %d are still pending\n", done.Completed, done.Pending)
				case order.Rekor != "":
					fmt.Fprintf(w, "%d records are known to %s, recorded as entry %d\n", done.Size, order.Rekor, done.Index)
				case order.Ethereum != "":
					fmt.Fprintf(w, "%d records stand in a block, recorded as entry %d; \"sallyport ledger verify\" names it\n", done.Size, done.Index)
				case done.TimeMs == 0:
					fmt.Fprintf(w, "%d records are on their way into a block, recorded as entry %d; hours from now, add --complete\n", done.Size, done.Index)
				default:
					fmt.Fprintf(w, "%d records existed at %s, recorded as entry %d\n", done.Size, time.UnixMilli(done.TimeMs).UTC().Format(time.RFC3339), done.Index)
				}
				if done.NewRecords > 0 {
					fmt.Fprintln(w, perMillion(done.NewRecords, price))
				}
			})
		},
	}
	cmd.Flags().StringVar(&order.TSA, "tsa", "", "address of a time stamping authority")
	cmd.Flags().StringArrayVar(&order.Calendars, "calendar", nil, "address of a calendar of OpenTimestamps; may be repeated")
	cmd.Flags().StringVar(&order.Rekor, "rekor", "", "address of a transparency log that runs Rekor 2")
	cmd.Flags().StringVar(&order.Ethereum, "ethereum", "", "address of the JSON-RPC of a node that holds the account")
	cmd.Flags().StringVar(&order.From, "from", "", "the account, 0x and 40 hexadecimal digits")
	cmd.Flags().Float64Var(&price, "price", 0, "what one anchor costs you, in your currency: the cost of a million records is printed")
	cmd.Flags().BoolVar(&order.Complete, "complete", false, "fetch what the calendars have finished since; records nothing")
	return cmd
}

// perMillion says what a million records cost at the rate of an anchor that covers n new ones.
func perMillion(n uint64, price float64) string {
	anchors := 1e6 / float64(n)
	text := fmt.Sprintf("%.6g anchors like this one cover a million records", anchors)
	if price > 0 {
		text += fmt.Sprintf(", for %.6g", anchors*price)
	}
	return text
}

func serveWitness(ctx context.Context, ln net.Listener, w *witness.Witness) error {
	srv := &http.Server{Handler: w.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(stop)
	<-done // it ends with Shutdown
	return err
}

// witnessFindings is what doctor says of the witnesses.
func witnessFindings(st *sallyport.LedgerStatus) []finding {
	if len(st.Witnesses) == 0 {
		return []finding{{"witness", "warn", "none: whoever holds the log's key can rewrite it as a whole and sign it anew",
			"run \"sallyport ledger witness\" on another machine and list it in ledger.witnesses"}}
	}
	f := finding{"witness", "ok", fmt.Sprintf("quorum %d of %d, %d of %d records witnessed", st.Quorum, len(st.Witnesses), st.Witnessed, st.Size), ""}
	out := []finding{}
	for _, w := range st.Witnesses {
		if w.Error != "" {
			f.State = "warn"
			out = append(out, finding{"witness", "warn", w.Name + ": " + w.Error, "see that " + w.URL + " answers"})
		}
	}
	if len(st.Witnesses)-len(out) < st.Quorum {
		f.State, f.Hint = "fail", "actions that must be witnessed are denied until enough of them answer"
	}
	return append([]finding{f}, out...)
}

// SPDX-License-Identifier: Apache-2.0

// Command sallyport-tiles publishes the log of a sallyport owner, as C2SP tlog-tiles, into a bucket of an object store or
// a table of MySQL, and follows it.
//
//	sallyport-tiles --from DATA/tiles|URL --key VKEY --to s3://BUCKET/PREFIX [--endpoint HOST] [--every 10s]
//	sallyport-tiles --from DATA/tiles|URL --key VKEY --to mysql --dsn-file FILE
//
// # Failure model
//
// What is published is checked first: the checkpoint is signed by the key, continues the one that was published
// before, and every hash of every tile follows from the entries. The checkpoint is written last, so that readers never see
// one whose tiles are missing, and it is the cursor: a pass that ended in between is repeated, and writes the same bytes.
// A log that is shorter than what was published, or another one, is refused and nothing is written. The store is trusted
// with being there, not with the log: whoever reads it verifies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "sallyport-tiles:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("sallyport-tiles", flag.ContinueOnError)
	from := f.String("from", "", "folder of tiles, or the URL that serves them (https://people.example:7118/log/)")
	tokenFile := f.String("token-file", "", "file with a token of scope auditor, where the URL wants one")
	key := f.String("key", "", "public key of the log, as you kept it")
	to := f.String("to", "", "s3://BUCKET/PREFIX, or mysql")
	endpoint := f.String("endpoint", "s3.amazonaws.com", "host of the object store; storage.googleapis.com for Google's, with HMAC keys")
	plain := f.Bool("insecure", false, "speak HTTP to the object store; on loopback only")
	dsnFile := f.String("dsn-file", "", "file with the data source name of MySQL, like user:password@tcp(host:3306)/db")
	every := f.Duration("every", 10*time.Second, "pause between two passes; 0 makes one pass")
	if err := f.Parse(args); err != nil {
		return err
	}
	v, err := note.NewVerifier(strings.TrimSpace(*key))
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	src, err := source(*from, *tokenFile)
	if err != nil {
		return err
	}
	var dst target
	switch u, perr := url.Parse(*to); {
	case *to == "mysql":
		dst, err = openMySQL(ctx, *dsnFile)
	case perr == nil && u.Scheme == "s3" && u.Host != "":
		dst, err = openBucket(*endpoint, u.Host, strings.Trim(u.Path, "/"), *plain)
	default:
		err = fmt.Errorf("--to %q is neither s3://BUCKET/PREFIX nor mysql", *to)
	}
	if err != nil {
		return err
	}
	return follow(ctx, &publisher{key: v, src: src, dst: dst}, *every)
}

// follow makes passes. A store or a log that cannot be reached is tried again; a log that is not the one that was
// published ends it.
func follow(ctx context.Context, p *publisher, every time.Duration) error {
	for {
		size, err := p.pass(ctx)
		switch {
		case every == 0, errors.Is(err, errAnotherLog):
			return err
		case err != nil:
			slog.Warn("pass failed", "error", err)
		default:
			slog.Info("published", "entries", size)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// source reads tiles from a folder or a URL.
func source(from, tokenFile string) (fetcher, error) {
	u, err := url.Parse(from)
	if from == "" || err != nil {
		return nil, fmt.Errorf("--from %q is neither a folder nor a URL", from)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return client.FileFetcher{Root: from}, nil
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	h, err := client.NewHTTPFetcher(u, &http.Client{Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	if tokenFile != "" {
		b, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, err
		}
		h.SetAuthorizationHeader("Bearer " + strings.TrimSpace(string(b)))
	}
	return h, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/evidence"
)

func (a *app) exportCommand() *cobra.Command {
	var auditor bool
	var since, session, subject, purpose string
	var open []string
	cmd := &cobra.Command{
		Use: "export FILE [--evidence [--since TIME] | --incident SESSION | --subject ID] [--open PART,...] [--purpose TEXT]", Args: cobra.ExactArgs(1),
		Short: "A bundle that verifies offline, or a signed package for an auditor, an investigator or a person",
		Long: `Without flags: the log as one file; payloads stay sealed. With a flag a package: the log, a report that is
derived from nothing but the log, and a signed list of both, which "ledger verify FILE" checks without us.

--evidence maps the records since a time to the EU AI Act, ISO/IEC 42001 and NIST controls. It is evidence, not a
finding of compliance. --incident tells one session: timeline, policy in force, whose data. --subject answers
an access request: everything recorded of a user (or of an agent that acts for nobody), opened but for
reasoning, and who read it before. What is opened is recorded first, with --purpose.

--open puts parts of the records in question into a package: "input.before,input.after,explanation" let its reader take
each decision again, "shown,detail" check what people approved and signed. The policies that decided are always in it.`,
		Example: `  sallyport ledger export log.tar
  sallyport ledger export evidence.tar --evidence --since 2026-05-01
  sallyport ledger export incident.tar --incident 01J9...
  sallyport ledger export incident.tar --incident 01J9... --open input.before,explanation,shown,detail --purpose "case 12"
  sallyport ledger export ann.tar --subject ann@example.org --purpose "request of 3 May"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := sallyport.EvidenceRequest{Session: session, Subject: subject, Purpose: purpose}
			for _, p := range open {
				req.Open = append(req.Open, action.PartName(p))
			}
			if len(open) > 0 && (purpose == "" || !auditor && session == "") {
				return usage("export: --open wants --purpose, and --evidence or --incident")
			}
			switch {
			case session != "":
				req.Kind = evidence.KindIncident
			case subject != "":
				req.Kind = evidence.KindSubject
			case auditor:
				req.Kind = evidence.KindEvidence
			}
			if since != "" {
				t, err := timeSince(since, time.Now())
				if err != nil || !auditor {
					return usage("export: --since %q is no date or duration, or --evidence is missing", since)
				}
				req.SinceMs = t.UnixMilli()
			}
			return a.fetch(cmd.Context(), args[0], req)
		},
	}
	cmd.Flags().BoolVar(&auditor, "evidence", false, "a package for an auditor")
	cmd.Flags().StringVar(&since, "since", "", "first day (2026-05-01) or time ago (720h) of the package; default: all")
	cmd.Flags().StringVar(&session, "incident", "", "a package about one session")
	cmd.Flags().StringVar(&subject, "subject", "", "a package for one person: the id of a user, or of an agent that acts for nobody")
	cmd.Flags().StringVar(&purpose, "purpose", "", "why; it is recorded with what is opened")
	cmd.Flags().StringSliceVar(&open, "open", nil, "parts that a package discloses, with --evidence or --incident")
	cmd.MarkFlagsMutuallyExclusive("evidence", "incident", "subject")
	return cmd
}

// timeSince reads a day or a duration before now.
func timeSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Parse(time.DateOnly, s)
}

// fetch writes what the owner exports to a file, whole or not at all.
func (a *app) fetch(ctx context.Context, file string, req sallyport.EvidenceRequest) (err error) {
	c, err := a.owner(ctx, false)
	if err != nil {
		return err
	}
	method, path, body := http.MethodGet, "export", []byte(nil)
	if req.Kind != "" {
		if body, err = json.Marshal(&req); err != nil {
			return err
		}
		method, path = http.MethodPost, "evidence"
	}
	answer, err := c.stream(ctx, method, "/people/v1/local/ledger/"+path, body)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Close()) }()
	f, err := os.CreateTemp(filepath.Dir(file), ".export-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	n, err := io.Copy(f, answer)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return a.print(map[string]any{"file": file, "bytes": n}, func(w io.Writer) { fmt.Fprintf(w, "%s, %d bytes\n", file, n) })
}

// stream returns an answer that may be of any length. in is JSON, or nil. The caller closes what it gets.
func (c *client) stream(ctx context.Context, method, path string, in []byte) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(refused(resp), resp.Body.Close())
	}
	return resp.Body, nil
}

// refused is what the owner said instead of a file.
func refused(resp *http.Response) error {
	var p problem
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(b, &p) != nil || p.Title == "" {
		return fmt.Errorf("export: status %d", resp.StatusCode)
	}
	return fmt.Errorf("%s: %s", p.Title, p.Detail)
}

// verifyPackage checks a package of evidence, or a bundle.
func (a *app) verifyPackage(ctx context.Context, file string, opt ledger.Options) error {
	if !evidence.IsPackage(file) {
		return a.verify(ctx, ledger.Source{File: file}, opt, nil)
	}
	at, done := a.counting("records verified")
	opt.Progress = at
	report, log, err := evidence.Verify(ctx, file, "", opt)
	done()
	if log != nil {
		out := struct {
			Log    *ledger.Report   `json:"log"`
			Report *evidence.Report `json:"report"`
		}{log, report}
		perr := a.print(out, func(w io.Writer) {
			fmt.Fprint(w, log.Text())
			if report != nil && err == nil {
				fmt.Fprintf(w, "  the package is signed by the log's key, and its report (%s) is what the log says\n", report.Kind)
				for _, n := range report.Notes {
					fmt.Fprintf(w, "  note: %s\n", n)
				}
			}
		})
		if perr != nil {
			return perr
		}
	}
	if err != nil {
		return &exitCode{exitUnproved, err}
	}
	return nil
}

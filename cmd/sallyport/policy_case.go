// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

// recordedCases is where "case add" puts cases; it is only ever appended to.
const recordedCases = "tests/recorded.yaml"

func (a *app) policyCaseCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "case", Short: "Cases of a bundle, from what happened"}
	cmd.AddCommand(a.policyCaseAddCommand())
	return cmd
}

func (a *app) policyCaseAddCommand() *cobra.Command {
	var expect, to, name string
	cmd := &cobra.Command{
		Use: "add RECORD --expect EFFECT --to DIR", Short: "Make a recorded decision a case of a bundle", Args: cobra.ExactArgs(1),
		Long: `Make the recorded input of a decision a case in DIR/` + recordedCases + `. RECORD is its number in the log. What the bundle in
DIR does not need to decide as it does is left out, and texts that decide nothing are replaced; where the case expects another
answer than the bundle gives, the typed facts stay, and only the user's id and the texts of raw arguments are replaced. Read it before you
share it. Opening the input is recorded as an access. Exit code 1 if the bundle does not give the answer yet.`,
		Example: "  sallyport policy case add 42 --expect deny --to policies/mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			v := action.Verdict(expect)
			if !slices.Contains(v.Values(), expect) {
				return &exitCode{exitUsage, fmt.Errorf("--expect %q is not one of %s", expect, strings.Join(v.Values(), ", "))}
			}
			c, err := policy.Load(policy.Config{Dir: to})
			if err != nil {
				return err
			}
			q, err := a.recordedInput(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			text, answer, err := c.RecordedCase(cmd.Context(), q, args[0], name, v)
			if err != nil {
				return err
			}
			if err := appendCase(to, text); err != nil {
				return err
			}
			err = a.print(map[string]string{"file": filepath.Join(to, recordedCases), "case": text, "answer": string(answer)}, func(w io.Writer) {
				fmt.Fprint(w, text)
			})
			if err == nil && answer != v {
				return &exitCode{exitError, fmt.Errorf("the bundle's answer is %s, so that the case fails until a rule says otherwise", answer)}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&expect, "expect", "", "the answer that is right: allow, ask, deny or quarantine")
	cmd.Flags().StringVar(&to, "to", "", "folder of the bundle")
	cmd.Flags().StringVar(&name, "name", "", "name of the case, a sentence")
	_, _ = cmd.MarkFlagRequired("expect"), cmd.MarkFlagRequired("to") // they err only for a flag that is not there
	return cmd
}

// recordedInput opens the input of a decision, of the first gate if there is one.
func (a *app) recordedInput(ctx context.Context, record string) (*action.Query, error) {
	c, err := a.owner(ctx, false)
	if err != nil {
		return nil, err
	}
	path := "/people/v1/local/ledger/entries/" + url.PathEscape(record)
	var e sallyport.LedgerEntry
	if err := c.call(ctx, http.MethodGet, path, nil, &e); err != nil {
		return nil, err
	}
	part := action.PartInputBefore
	if !slices.Contains(e.Parts, string(part)) {
		part = action.PartInputAfter
	}
	if !slices.Contains(e.Parts, string(part)) {
		return nil, hinted{fmt.Errorf("record %s holds no decision", record), "sallyport sessions show ID lists the decisions with their numbers"}
	}
	var d sallyport.Disclosure
	if err := c.call(ctx, http.MethodPost, path+"/disclose", map[string]string{"part": string(part), "purpose": "policy case add"}, &d); err != nil {
		return nil, err
	}
	return action.ReadQuery(d.Data)
}

// appendCase adds a case to the file of recorded cases, which must be readable afterwards.
func appendCase(dir, text string) error {
	at := filepath.Join(dir, filepath.FromSlash(recordedCases))
	old, err := os.ReadFile(at)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	now := slices.Concat(old, []byte(text))
	if len(bytes.TrimSpace(old)) == 0 {
		now = []byte("# Decisions that were recorded. Added by \"sallyport policy case add\".\ncases:\n" + text)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at, now, 0o644); err != nil {
		return err
	}
	b, err := bundle.Open(dir, nil)
	if err == nil {
		_, err = b.Suites()
	}
	if err == nil {
		return nil
	}
	back := os.Remove(at)
	if old != nil {
		back = os.WriteFile(at, old, 0o644)
	}
	return errors.Join(fmt.Errorf("%s: the case does not fit behind what stands there, and nothing was added: %w", at, err), back)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// diffFormat names the form of a signed difference.
const diffFormat = "sallyport.policy-diff.v1"

// maxReportBytes bounds a report that is read.
const maxReportBytes = 8 << 20

// signedDiff is what is signed: the difference, and when it was made.
type signedDiff struct {
	Format string               `json:"format"`
	MadeMs int64                `json:"made_ms"`
	Diff   sallyport.PolicyDiff `json:"diff"`
}

// diffReport is what the flags of "policy diff" say about a report.
type diffReport struct{ file, key, role, verify, trust string }

func (r *diffReport) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.file, "report", "", "also write a signed report to this file")
	f.StringVar(&r.key, "key", "", "file with the private key that signs the report")
	f.StringVar(&r.role, "role", bundle.Author, "author or approver, as the trust file has the key")
	f.StringVar(&r.verify, "verify", "", "check and print the report in this file")
	f.StringVar(&r.trust, "trust", "", "file with the keys of which one must have signed the report")
	cmd.MarkFlagsRequiredTogether("report", "key")
	cmd.MarkFlagsRequiredTogether("verify", "trust")
	cmd.MarkFlagsMutuallyExclusive("report", "verify")
}

// write writes the report, if one is wanted.
func (r *diffReport) write(d *sallyport.PolicyDiff, now time.Time) error {
	if r.file == "" {
		return nil
	}
	key, err := readKey(r.key)
	if err != nil {
		return err
	}
	e, err := bundle.SealReport(signedDiff{diffFormat, now.UnixMilli(), *d})
	if err != nil {
		return err
	}
	if err := e.Sign(key, r.role); err != nil {
		return err
	}
	data, err := action.Canonical(e)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file, append(data, '\n'), 0o644)
}

// read returns what a report says, if a trusted key signed it, for a bundle that the trust is about.
func (r *diffReport) read() (*sallyport.PolicyDiff, error) {
	data, err := os.ReadFile(r.trust)
	if err != nil {
		return nil, err
	}
	trust, err := bundle.ReadTrust(r.trust, data)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(r.verify)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if data, err = io.ReadAll(io.LimitReader(f, maxReportBytes+1)); err != nil {
		return nil, err
	}
	if len(data) > maxReportBytes {
		return nil, fmt.Errorf("%q is larger than %d bytes", r.verify, maxReportBytes)
	}
	payload, _, err := trust.VerifyReport(data)
	if err != nil {
		return nil, &exitCode{exitUnproved, err}
	}
	var s signedDiff
	if err := action.Read(payload, &s, action.Limits{}); err != nil || s.Format != diffFormat {
		return nil, &exitCode{exitUnproved, errors.Join(fmt.Errorf("%q is no report of the form %s", r.verify, diffFormat), err)}
	}
	if s.Diff.New.Name != trust.Bundle {
		return nil, &exitCode{exitUnproved, fmt.Errorf("the report is about %q, and the trust for %q", action.Clip(s.Diff.New.Name, 64), trust.Bundle)}
	}
	return &s.Diff, nil
}

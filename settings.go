// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// undecided are the settings that change no decision, with the reason. Every other one counts, also one that is added and
// forgotten here.
var undecided = map[string]string{
	"version":              "there is one",
	"data":                 "where things are kept",
	"listen.tls.cert":      "who we are to callers",
	"listen.tls.key":       "who we are to callers",
	"gateway.listen":       "where agents call; what they may is not asked of the address",
	"admin.listen":         "where people call",
	"postgres.listen":      "where agents call",
	"postgres.tls_cert":    "who we are to callers",
	"postgres.tls_key":     "who we are to callers",
	"egress.listen":        "where agents call",
	"policy.dir":           "what is there must be signed",
	"policy.source":        "what comes from there must be signed",
	"policy.source_token":  "a credential for it",
	"policy.poll":          "when it is asked",
	"approval.channels":    "who is told; there a person can only refuse, which any person may",
	"ledger.segment_bytes": "how the log is kept",
	"ledger.reserve_bytes": "how the log is kept",
	"ledger.public":        "who may read the log, in which no content stands",
	"ledger.head":          "how the log is kept",
	"ledger.origin":        "name of a new log",
	"ledger.retention":     "how long contents are kept",
	"ledger.legal_holds":   "how long contents are kept",
	"monitor.group":        "how often people are told",
	"monitor.outlets":      "who is told",
	"export":               "who is told",

	"approval.seeds.per_week":      "how reviewers are tested, with requests that carry nothing out",
	"approval.seeds.from":          "how reviewers are tested",
	"approval.seeds.hours":         "how reviewers are tested",
	"approval.seeds.days":          "how reviewers are tested",
	"approval.seeds.groups":        "how reviewers are tested",
	"attest.bundle_endpoint":       "tells strangers what is no secret",
	"attest.update.from":           "what comes from there must be signed by the maker of the chip",
	"attest.update.amd":            "what comes from there must be signed by the maker of the chip",
	"attest.update.every":          "when it is asked; how old it may be is policy's",
	"attest.update.platforms":      "what is fetched; what is missing denies",
	"attest.update.products":       "what is fetched; what is missing denies",
	"gateway.facts_deadline":       "who is late is denied, whatever it is",
	"postgres.max_connections":     "how many agents wait",
	"ledger.tenant_key.kind":       "how the log is kept",
	"ledger.tenant_key.path":       "how the log is kept",
	"ledger.tenant_key.url":        "how the log is kept",
	"ledger.tenant_key.key":        "how the log is kept",
	"ledger.tenant_key.token_file": "a credential for it",

	"ledger.tenant_key_before.kind":       "how the log was kept",
	"ledger.tenant_key_before.path":       "how the log was kept",
	"ledger.tenant_key_before.url":        "how the log was kept",
	"ledger.tenant_key_before.key":        "how the log was kept",
	"ledger.tenant_key_before.token_file": "a credential for it",
}

// settingFiles are the settings that name files, or a folder, whose content decides: it stands in the digest in place of the
// name. What a credential's file holds does not decide; access lists and collateral are facts, whose age and signer are facts too.
var settingFiles = map[string]bool{"policy.params": true, "policy.trust": true, "detect.signatures": true, "monitor.rules": true,
	"listen.tls.client_ca": true, "egress.ca_file": true, "attest.policy": true, "attest.roots": true, "attest.signers": true, "attest.keyless.trusted_root": true}

// SettingsDigest names all settings that can change a decision outside of the bundle: "sha256:..." over the
// RFC 8785 form of the names and values of those that differ from their default, with the digests of the files that they
// name. It stands in each record of a policy in force, and a bundle's manifest asks for one where the trust does.
func (c *Config) SettingsDigest() (string, error) {
	type setting struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		File  string `json:"file"`
	}
	list := []setting{}
	plain := map[string]string{}
	def := DefaultConfig()
	for _, x := range def.Settings(nil) {
		plain[x.Key] = x.Value
	}
	for _, x := range c.Settings(nil) {
		if undecided[x.Key] != "" || x.Value == plain[x.Key] {
			continue
		}
		e := setting{Key: x.Key, Value: x.Value}
		if settingFiles[x.Key] {
			sum, err := contents(c.named(x))
			if err != nil {
				return "", fmt.Errorf("%s: %w", x.Key, err)
			}
			e.Value, e.File = "", sum
		}
		list = append(list, e)
	}
	for _, j := range c.Approval.Judges {
		if j.Constitution == "" || strings.HasPrefix(j.Constitution, inBundle) {
			continue
		}
		data, err := os.ReadFile(j.Constitution)
		if err != nil {
			return "", fmt.Errorf("approval.judges: %q: %w", j.Name, err)
		}
		list = append(list, setting{Key: "approval.judges.constitution", Value: j.Name, File: bundle.Sum(data)})
	}
	data, err := action.Canonical(list)
	if err != nil {
		return "", err
	}
	return bundle.Sum(data), nil
}

// named are the files that a setting names.
func (c *Config) named(x Setting) []string {
	if x.Key == "attest.signers" {
		return c.Attest.Signers
	}
	return []string{x.Value}
}

// contents is the digest of files, those in folders included, by their names within a folder.
func contents(names []string) (string, error) {
	type file struct {
		Name string `json:"name"`
		Sum  string `json:"sum"`
	}
	list := []file{}
	for _, named := range names {
		root, err := filepath.EvalSymlinks(named)
		if err != nil {
			return "", err
		}
		err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			inner, err := filepath.Rel(root, name)
			list = append(list, file{filepath.ToSlash(inner), bundle.Sum(data)})
			return err
		})
		if err != nil {
			return "", err
		}
	}
	data, err := action.Canonical(list)
	return bundle.Sum(data), err
}

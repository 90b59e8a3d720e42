// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Params are the typed parameters of params.yaml. Empty lists permit nothing, and refuse nothing. What a pack
// makes of them stands in its README.
type Params struct {
	Roots             []string `yaml:"roots" json:"roots"`           // absolute folders besides the session's own
	Hosts             []string `yaml:"hosts" json:"hosts"`           // host names, lower case, that may be read from
	HostsDrop         []string `yaml:"hosts_drop" json:"hosts_drop"` // host names, lower case, where anybody leaves data for anybody, with all below them
	Recipients        []string `yaml:"recipients" json:"recipients"` // addresses that count as inside
	Commands          []string `yaml:"commands" json:"commands"`     // "program" or "program verb" that may run unasked
	RequireSeparation bool     `yaml:"require_separation" json:"require_separation"`
	KnownPayees       bool     `yaml:"known_payees" json:"known_payees"`

	DatabasesRead  []string `yaml:"databases_read" json:"databases_read"`   // on which statements that only read pass
	DatabasesWrite []string `yaml:"databases_write" json:"databases_write"` // on which rows may be changed
	DatabasesAsk   []string `yaml:"databases_ask" json:"databases_ask"`     // on which changes ask a person
	TablesHidden   []string `yaml:"tables_hidden" json:"tables_hidden"`     // that no statement may name

	FoldersRead         []string `yaml:"folders_read" json:"folders_read"`                 // absolute, outside the roots, that may be read
	FoldersScratch      []string `yaml:"folders_scratch" json:"folders_scratch"`           // absolute, in which anything may be replaced and deleted
	FoldersReadOnly     []string `yaml:"folders_read_only" json:"folders_read_only"`       // absolute, in which nothing may be changed
	FoldersNever        []string `yaml:"folders_never" json:"folders_never"`               // absolute, into which no path may lead
	FoldersUntrusted    []string `yaml:"folders_untrusted" json:"folders_untrusted"`       // absolute, what strangers wrote
	FoldersConfidential []string `yaml:"folders_confidential" json:"folders_confidential"` // absolute, what must not leave
	NamesNever          []string `yaml:"names_never" json:"names_never"`                   // of files that no path may name, lower case
	EndingsNever        []string `yaml:"endings_never" json:"endings_never"`               // of files that no path may name, lower case, with the dot
	FilesChangedMax     int64    `yaml:"files_changed_max" json:"files_changed_max"`       // in one call, before it asks

	ProgramsNever []string `yaml:"programs_never" json:"programs_never"` // that no command may run

	RemotesPush       []string `yaml:"remotes_push" json:"remotes_push"`             // names of git remotes that may be pushed to
	BranchesProtected []string `yaml:"branches_protected" json:"branches_protected"` // that are changed by people
	RepositoriesRead  []string `yaml:"repositories_read" json:"repositories_read"`   // "owner/name", lower case
	RepositoriesWrite []string `yaml:"repositories_write" json:"repositories_write"` // "owner/name", lower case

	DomainsMail   []string `yaml:"domains_mail" json:"domains_mail"`     // of addresses that may be written to
	Channels      []string `yaml:"channels" json:"channels"`             // of chats that may be written to
	RecipientsMax int64    `yaml:"recipients_max" json:"recipients_max"` // of one message, before it asks

	Payees             []string `yaml:"payees" json:"payees"`                             // accounts that may be paid
	Currencies         []string `yaml:"currencies" json:"currencies"`                     // ISO 4217, that may be paid in
	AmountUnaskedMinor int64    `yaml:"amount_unasked_minor" json:"amount_unasked_minor"` // in hundredths, that passes to a listed payee
	AmountMaxMinor     int64    `yaml:"amount_max_minor" json:"amount_max_minor"`         // in hundredths, of one payment
	AmountTwoMinor     int64    `yaml:"amount_two_minor" json:"amount_two_minor"`         // in hundredths, from which two people must agree
	SpendDayMaxMinor   int64    `yaml:"spend_day_max_minor" json:"spend_day_max_minor"`   // in hundredths, of one agent in a day
	PayeeDayMaxMinor   int64    `yaml:"payee_day_max_minor" json:"payee_day_max_minor"`   // in hundredths, to one payee in a day

	Agents          []string `yaml:"agents" json:"agents"`                     // that may stand in a chain of delegation
	DelegationDepth int64    `yaml:"delegation_depth" json:"delegation_depth"` // longest chain
	DelegatedGrave  bool     `yaml:"delegated_grave" json:"delegated_grave"`   // delegated agents need not ask before grave effects

	UnverifiedPasses bool `yaml:"unverified_passes" json:"unverified_passes"` // what nobody could verify need not ask
}

// ReadParams reads and checks parameters; roots come back clean.
func ReadParams(data []byte) (Params, error) {
	var p Params
	if err := strictyaml.Decode(ParamsFile, data, &p); err != nil {
		return Params{}, err
	}
	for _, folders := range []struct {
		what string
		list []string
	}{
		{"root", p.Roots}, {"folders_read", p.FoldersRead}, {"folders_scratch", p.FoldersScratch}, {"folders_read_only", p.FoldersReadOnly},
		{"folders_never", p.FoldersNever}, {"folders_untrusted", p.FoldersUntrusted}, {"folders_confidential", p.FoldersConfidential},
	} {
		for i, f := range folders.list {
			if !strings.HasPrefix(f, "/") || path.Clean(f) == "/" || slices.Contains(strings.Split(f, "/"), "..") {
				return Params{}, fmt.Errorf("%s: %s %q is no absolute folder below /", ParamsFile, folders.what, action.Clip(f, 200))
			}
			folders.list[i] = path.Clean(f)
		}
	}
	if err := p.checkWords(); err != nil {
		return Params{}, fmt.Errorf("%s: %w", ParamsFile, err)
	}
	for _, h := range slices.Concat(p.Hosts, p.HostsDrop) {
		if h == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "/:*@ ") || strings.HasPrefix(h, ".") {
			return Params{}, fmt.Errorf("%s: host %q is no lower-case host name", ParamsFile, action.Clip(h, 200))
		}
	}
	for _, r := range p.Recipients {
		if strings.TrimSpace(r) == "" {
			return Params{}, fmt.Errorf("%s: an empty recipient", ParamsFile)
		}
	}
	for _, c := range p.Commands {
		if f := strings.Fields(c); len(f) < 1 || len(f) > 2 || strings.Join(f, " ") != c || strings.Contains(c, "/") {
			return Params{}, fmt.Errorf("%s: command %q is neither \"program\" nor \"program verb\"", ParamsFile, action.Clip(c, 200))
		}
	}
	return p, nil
}

// checkWords refuses what could never match, so that a limit which protects is not lost to a spelling.
func (p *Params) checkWords() error {
	for _, c := range []struct {
		what, want string
		list       []string
		good       func(string) bool
	}{
		{"names_never", "a lower-case file name", p.NamesNever, func(s string) bool { return plainLower(s) && !strings.Contains(s, "/") }},
		{"endings_never", "a lower-case ending with its dot", p.EndingsNever, func(s string) bool { return plainLower(s) && s[0] == '.' && !strings.Contains(s, "/") }},
		{"programs_never", "the name of a program", p.ProgramsNever, func(s string) bool { return oneWord(s) && !strings.Contains(s, "/") }},
		{"repositories_read", "\"owner/name\" in lower case", p.RepositoriesRead, repository},
		{"repositories_write", "\"owner/name\" in lower case", p.RepositoriesWrite, repository},
		{"domains_mail", "a lower-case domain", p.DomainsMail, func(s string) bool { return plainLower(s) && s[0] != '.' && !strings.ContainsAny(s, "@/*:") }},
		{"currencies", "three capital letters", p.Currencies, func(s string) bool { return len(s) == 3 && s == strings.ToUpper(s) }},
		{"remotes_push", "the name of a remote", p.RemotesPush, func(s string) bool { return oneWord(s) && s[0] != '-' && !strings.ContainsAny(s, ":/") }},
		{"branches_protected", "the name of a branch", p.BranchesProtected, func(s string) bool { return oneWord(s) && s[0] != '-' }},
		{"channels", "the id or name of a channel", p.Channels, oneWord},
		{"payees", "an account", p.Payees, func(s string) bool { return strings.TrimSpace(s) != "" }},
		{"agents", "the id of an agent", p.Agents, oneWord},
	} {
		for _, v := range c.list {
			if !c.good(v) {
				return fmt.Errorf("%s: %q is not %s", c.what, action.Clip(v, 200), c.want)
			}
		}
	}
	for what, n := range map[string]int64{"files_changed_max": p.FilesChangedMax, "recipients_max": p.RecipientsMax, "amount_unasked_minor": p.AmountUnaskedMinor,
		"amount_max_minor": p.AmountMaxMinor, "amount_two_minor": p.AmountTwoMinor, "spend_day_max_minor": p.SpendDayMaxMinor, "payee_day_max_minor": p.PayeeDayMaxMinor,
		"delegation_depth": p.DelegationDepth} {
		if n < 0 || n >= action.MaxNumber {
			return fmt.Errorf("%s: %d is negative or too large", what, n)
		}
	}
	return nil
}

func oneWord(s string) bool { return s != "" && !strings.ContainsAny(s, " \t\n") }

func plainLower(s string) bool { return oneWord(s) && s == strings.ToLower(s) }

func repository(s string) bool {
	owner, name, ok := strings.Cut(s, "/")
	return ok && owner != "" && name != "" && plainLower(s) && !strings.ContainsAny(name, "/*")
}

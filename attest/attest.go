// SPDX-License-Identifier: Apache-2.0

// Package attest turns evidence about a runtime into typed facts: what was proved, how fresh it is, until
// when it holds. One package per kind of evidence holds the verifier; all of them work offline and pure Go.
//
// # Rules
//
// A verifier checks cryptography, windows and formats, and refuses what proves nothing (a bad signature,
// a revoked key, a debug enclave, a foreign nonce) with an *Error. Everything that policy may weigh is a
// fact: the graded status of the platform, its advisories, measurements, reset counts. A fact that was not
// checked is unknown and never counts as good. Evidence is malleable (an ECDSA signature has a twin), so
// its digest names it in a record and never serves against replay: the nonce does.
package attest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Verifier checks one kind of evidence. It is safe for concurrent use, and never reads a network.
type Verifier interface {
	// Verify returns what evidence proves, or an *Error.
	Verify(ctx context.Context, evidence []byte, o Options) (*Facts, error)
}

// Options are what one verification is asked.
type Options struct {
	// Now is the clock; nil means time.Now. A fixed clock re-appraises stored evidence; evidence's own
	// time is never used.
	Now func() time.Time
	// Nonce is what the evidence must bind. Without one the facts say that freshness is unknown.
	Nonce []byte
}

// Time returns the time of the verification.
func (o Options) Time() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Facts are what one piece of evidence proves. The zero value proves nothing.
type Facts struct {
	Kind       string     `json:"kind"`                 // "sgx", "tdx", "snp", "nitro", "tpm", "model", "provenance", "supervisor", "software"
	Evidence   string     `json:"evidence"`             // "sha256:..." of the evidence
	Collateral string     `json:"collateral,omitempty"` // "sha256:..." of what the evidence was checked against
	Checked    time.Time  `json:"checked"`              // the clock of the verification
	Until      time.Time  `json:"until,omitzero"`       // the first expiry among keys and collateral; zero when none bounds it
	Stated     time.Time  `json:"stated,omitzero"`      // when the oldest part of the collateral was issued that its maker renews by the month or so; zero: unknown
	Fresh      action.Tri `json:"fresh"`                // yes if the evidence binds the nonce that was asked for
	Debug      action.Tri `json:"debug"`
	Test       action.Tri `json:"test"` // yes for simulators: never worth more than a software key

	TCB      *TCB      `json:"tcb,omitempty"`
	Enclave  *Enclave  `json:"enclave,omitempty"`
	TD       *TD       `json:"td,omitempty"`
	SNP      *SNP      `json:"snp,omitempty"`
	Nitro    *Nitro    `json:"nitro,omitempty"`
	Platform *Platform `json:"platform,omitempty"`
	Model    *Model    `json:"model,omitempty"`

	Provenance *Provenance `json:"provenance,omitempty"`

	// Measured is what the claimant says that it measured, in order. Platform.Replayed says whether registers
	// bear it out; of the kind "supervisor" a process of ours measured it; of "software" nobody did.
	Measured []Event `json:"measured,omitempty"`
}

// TCB is the graded state of an Intel platform, merged over processor, quoting enclave and TDX module.
type TCB struct {
	Status     string    `json:"status"`     // a word of Intel's: "UpToDate", "SWHardeningNeeded", ...
	Advisories []string  `json:"advisories"` // sorted
	Date       time.Time `json:"date"`       // the oldest of the levels that were met
	Evaluation int       `json:"evaluation"` // the smaller of the evaluation data numbers
	Platform   string    `json:"platform_status"`
	QE         string    `json:"qe_status"`
	Module     string    `json:"module_status,omitempty"`
	FMSPC      string    `json:"fmspc"` // upper-case hex
	PCEID      string    `json:"pceid"`
	CPUSVN     string    `json:"cpusvn"`
	PCESVN     int       `json:"pcesvn"`
	// Of multi-package platforms, from the certificate; unknown when it is silent.
	Dynamic action.Tri `json:"dynamic_platform"`
	SMT     action.Tri `json:"smt"`
}

// Enclave is what an SGX report says. Digests are lower-case hex.
type Enclave struct {
	MrEnclave  string `json:"mrenclave"`
	MrSigner   string `json:"mrsigner"`
	ProductID  int    `json:"isv_prod_id"`
	SVN        int    `json:"isv_svn"`
	Attributes string `json:"attributes"`
	MiscSelect string `json:"misc_select"`
	ReportData string `json:"report_data"`
}

// TD is what a TDX report says. Digests are lower-case hex.
type TD struct {
	TEETCBSVN     string     `json:"tee_tcb_svn"`
	MrSeam        string     `json:"mrseam"`
	MrSignerSeam  string     `json:"mrsignerseam"`
	SeamAttrs     string     `json:"seam_attributes"`
	Attributes    string     `json:"td_attributes"`
	XFAM          string     `json:"xfam"`
	MrTD          string     `json:"mrtd"`
	MrConfigID    string     `json:"mrconfigid"`
	MrOwner       string     `json:"mrowner"`
	MrOwnerConfig string     `json:"mrownerconfig"`
	RTMR          [4]string  `json:"rtmr"`
	ReportData    string     `json:"report_data"`
	MrServiceTD   string     `json:"mrservicetd,omitempty"` // TDX 1.5
	TEETCBSVN2    string     `json:"tee_tcb_svn2,omitempty"`
	VEDisabled    action.Tri `json:"sept_ve_disabled"` // no: the host can inject exceptions into the guest
}

// SNP is what a report of AMD SEV-SNP says. Digests are lower-case hex. AMD publishes no grades of its versions: which are
// good enough is for policy.
type SNP struct {
	Product     string     `json:"product"` // of AMD's: "Milan", "Genoa", "Turin"
	Key         string     `json:"key"`     // "vcek" of one chip, "vlek" of a provider's fleet
	Measurement string     `json:"measurement"`
	HostData    string     `json:"host_data"`
	ReportData  string     `json:"report_data"`
	ChipID      string     `json:"chip_id"`
	FamilyID    string     `json:"family_id"`
	ImageID     string     `json:"image_id"`
	IDKey       string     `json:"id_key_digest"`
	AuthorKey   string     `json:"author_key_digest"`
	GuestSVN    uint32     `json:"guest_svn"`
	VMPL        uint32     `json:"vmpl"` // 0 is the most privileged
	Reported    SNPVersion `json:"reported_tcb"`
	Committed   SNPVersion `json:"committed_tcb"`
	Launched    SNPVersion `json:"launch_tcb"`
	Current     SNPVersion `json:"current_tcb"`
	Migration   action.Tri `json:"migration_agent"` // the guest may be moved by an agent
	SMT         action.Tri `json:"smt"`             // allowed by the guest's policy
	Revocations action.Tri `json:"revocations"`     // yes if AMD's list was looked at
}

// SNPVersion is the versions of AMD's firmware.
type SNPVersion struct {
	FMC        int `json:"fmc"` // Turin and later
	Bootloader int `json:"bootloader"`
	TEE        int `json:"tee"`
	SNP        int `json:"snp"`
	Microcode  int `json:"microcode"`
}

// Nitro is what a document of an AWS Nitro enclave says. Registers are SHA-384, lower-case hex.
type Nitro struct {
	Module    string         `json:"module_id"`
	Time      time.Time      `json:"time"` // when the enclave's hypervisor signed, by its clock
	PCRs      map[int]string `json:"pcrs"`
	UserData  string         `json:"user_data"`
	PublicKey string         `json:"public_key"`
}

// Platform is what a TPM quote says.
type Platform struct {
	Key        string         `json:"ak_name"`      // hex of the attestation key's name
	Resident   action.Tri     `json:"ak_resident"`  // yes if the key was enrolled by credential activation
	Endorsed   action.Tri     `json:"ek_endorsed"`  // yes if the chip's certificate leads to a trusted root
	Maker      string         `json:"maker"`        // manufacturer id of that certificate; "" when unknown
	PCRs       map[int]string `json:"pcrs"`         // SHA-256 registers that the quote covers, hex
	Replayed   action.Tri     `json:"log_replayed"` // yes if the log explains the registers
	Log        []Event        `json:"log"`
	ResetCount uint32         `json:"reset_count"`
	Restarts   uint32         `json:"restart_count"`
	Clock      uint64         `json:"clock_ms"`
	ClockSafe  action.Tri     `json:"clock_safe"`
	Firmware   string         `json:"firmware"`
}

// Event is one measurement that a register was extended with.
type Event struct {
	PCR    int    `json:"pcr"`
	Kind   string `json:"kind"`   // what was measured: "executable", "model", "policy", "tools", ...; "" for a raw digest
	Digest string `json:"digest"` // hex of its SHA-256
}

// Model is what a signed model manifest and the files at hand say.
type Model struct {
	Name    string         `json:"name"`
	Digest  string         `json:"digest"`    // the root digest of the manifest, "sha256:..."; it covers contents, not names
	Signed  string         `json:"statement"` // "sha256:..." of the signed statement; it covers both
	Signer  string         `json:"signer"`    // "sha256:..." of the public key (PKIX), or "keyless:ISSUER#IDENTITY" as accepted
	Subject string         `json:"subject,omitempty"`
	Files   int            `json:"files"`
	Bytes   int64          `json:"bytes"`
	Hash    string         `json:"hash"`
	Types   map[string]int `json:"types"`   // files by lower-case ending, "" for those without
	Pickle  []string       `json:"pickle"`  // files of formats that can run code when they are loaded, by name or content
	Ignored []string       `json:"ignored"` // paths of the fixed list that are there and not covered
}

// Provenance is what a builder says of a build. It proves nothing of what runs.
type Provenance struct {
	Subjects  []string `json:"subjects"`  // hex of the SHA-256 of what was built
	Builder   string   `json:"builder"`   // URI
	BuildType string   `json:"type"`      // URI
	Sources   []Source `json:"sources"`   // what it was built from, first the source as a rule
	Signed    string   `json:"statement"` // "sha256:..." of the signed statement
	Signer    string   `json:"signer"`    // as Model.Signer
	Identity  string   `json:"identity,omitempty"`
}

// Source is one thing that a build was made from.
type Source struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"` // "gitCommit:...", "sha256:..." or "sha1:..."; "" when it has none of these
}

// Digest returns "sha256:..." over the parts, each preceded by its length.
func Digest(parts ...[]byte) string {
	h := sha256.New()
	if len(parts) == 1 {
		h.Write(parts[0])
		return "sha256:" + hex.EncodeToString(h.Sum(nil))
	}
	for _, p := range parts {
		var n [8]byte
		for i := range n {
			n[i] = byte(uint64(len(p)) >> (56 - 8*i))
		}
		h.Write(n[:])
		h.Write(p)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Settle ends the verification of what a machine reports of itself, whose signature holds. It refuses what its host can read
// (f.Debug), unless that is allowed, and what does not bind the nonce of o: bound is all that the report binds. f says
// whether it does.
func (f *Facts) Settle(o Options, allowDebug bool, bound []byte) error {
	if f.Debug != action.No && !allowDebug {
		return Refuse(Debug, "%s: runs under debug, its host can read it", f.Kind)
	}
	if o.Nonce == nil {
		return nil
	}
	if len(o.Nonce) == 0 || subtle.ConstantTimeCompare(o.Nonce, bound) != 1 {
		return Refuse(Replayed, "%s: not over the nonce", f.Kind)
	}
	f.Fresh = action.Yes
	return nil
}

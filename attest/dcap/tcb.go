// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// Intel's words for the state of a platform.
const (
	UpToDate          = "UpToDate"
	SWHardening       = "SWHardeningNeeded"
	Configuration     = "ConfigurationNeeded"
	ConfigAndSW       = "ConfigurationAndSWHardeningNeeded"
	OutOfDate         = "OutOfDate"
	OutOfDateConfig   = "OutOfDateConfigurationNeeded"
	RevokedTCB        = "Revoked"
	documentBytesMost = 1 << 20
)

var statuses = []string{UpToDate, SWHardening, Configuration, ConfigAndSW, OutOfDate, OutOfDateConfig, RevokedTCB}

// tcbInfo is Intel's signed statement on the levels of one kind of platform, version 3.
type tcbInfo struct {
	ID         string    `json:"id"`
	Version    int       `json:"version"`
	Issued     time.Time `json:"issueDate"`
	Next       time.Time `json:"nextUpdate"`
	FMSPC      string    `json:"fmspc"`
	PCEID      string    `json:"pceId"`
	Type       int       `json:"tcbType"`
	Evaluation int       `json:"tcbEvaluationDataNumber"`
	Module     *module   `json:"tdxModule"`
	Identities []module  `json:"tdxModuleIdentities"`
	Levels     []level   `json:"tcbLevels"`
}

type module struct {
	ID             string     `json:"id"`
	MrSigner       string     `json:"mrsigner"`
	Attributes     string     `json:"attributes"`
	AttributesMask string     `json:"attributesMask"`
	Levels         []svnLevel `json:"tcbLevels"`
}

type level struct {
	TCB struct {
		SGX    []component `json:"sgxtcbcomponents"`
		TDX    []component `json:"tdxtcbcomponents"`
		PCESVN uint16      `json:"pcesvn"`
	} `json:"tcb"`
	grade
}

type component struct {
	SVN      uint8  `json:"svn"`
	Category string `json:"category"`
	Type     string `json:"type"`
}

// svnLevel is a level of an enclave or a TDX module.
type svnLevel struct {
	TCB struct {
		SVN uint16 `json:"isvsvn"`
	} `json:"tcb"`
	grade
}

type grade struct {
	Date       time.Time `json:"tcbDate"`
	Status     string    `json:"tcbStatus"`
	Advisories []string  `json:"advisoryIDs"`
}

// qeIdentity is Intel's signed statement on its quoting enclave, version 2.
type qeIdentity struct {
	ID             string     `json:"id"`
	Version        int        `json:"version"`
	Issued         time.Time  `json:"issueDate"`
	Next           time.Time  `json:"nextUpdate"`
	Evaluation     int        `json:"tcbEvaluationDataNumber"`
	Misc           string     `json:"miscselect"`
	MiscMask       string     `json:"miscselectMask"`
	Attributes     string     `json:"attributes"`
	AttributesMask string     `json:"attributesMask"`
	MrSigner       string     `json:"mrsigner"`
	Product        uint16     `json:"isvprodid"`
	Levels         []svnLevel `json:"tcbLevels"`
}

// readSigned reads a document whose signature was verified. Unknown members are refused: they could
// narrow what the known ones say.
func readSigned(what string, data []byte, v any) error {
	if err := action.Read(data, v, action.Limits{Bytes: documentBytesMost}); err != nil {
		return attest.RefuseFor(err, attest.Malformed, "%s", what)
	}
	return nil
}

func (t *tcbInfo) check(tee string, p *pck, w *window) error {
	want := strings.ToUpper(tee)
	switch {
	case t.ID != want || t.Version != 3 || t.Type != 0:
		return attest.Refuse(attest.Unsupported, "TCB info: id %q version %d type %d, expected %q version 3 type 0", t.ID, t.Version, t.Type, want)
	case !strings.EqualFold(t.FMSPC, p.fmspc) || !strings.EqualFold(t.PCEID, p.pceID):
		return attest.Refuse(attest.Mismatch, "TCB info: for FMSPC %q and PCE-ID %q, the platform has %s and %s", t.FMSPC, t.PCEID, p.fmspc, p.pceID)
	case len(t.Levels) == 0:
		return attest.Refuse(attest.Malformed, "TCB info: without levels")
	}
	for i := range t.Levels {
		l := &t.Levels[i]
		if len(l.TCB.SGX) != 16 || (len(l.TCB.TDX) != 16) != (tee == "sgx" && len(l.TCB.TDX) == 0) {
			return attest.Refuse(attest.Malformed, "TCB info: level %d has %d and %d components", i, len(l.TCB.SGX), len(l.TCB.TDX))
		}
		if err := l.check(fmt.Sprintf("TCB info: level %d", i)); err != nil {
			return err
		}
	}
	// First come the better levels, so that the first match is one that no other match exceeds.
	slices.SortStableFunc(t.Levels, func(a, b level) int {
		bySVN := func(x, y component) int { return cmp.Compare(x.SVN, y.SVN) }
		return -cmp.Or(slices.CompareFunc(a.TCB.SGX, b.TCB.SGX, bySVN), cmp.Compare(a.TCB.PCESVN, b.TCB.PCESVN),
			slices.CompareFunc(a.TCB.TDX, b.TCB.TDX, bySVN))
	})
	w.issued(t.Issued)
	return w.within("TCB info", t.Issued, t.Next)
}

func (g grade) check(what string) error {
	if !slices.Contains(statuses, g.Status) || g.Date.IsZero() {
		return attest.Refuse(attest.Unsupported, "%s: status %q of %s", what, g.Status, g.Date.Format(time.DateOnly))
	}
	return nil
}

// platform finds the level of a platform. svn is the TDX module's, nil for SGX.
func (t *tcbInfo) platform(p *pck, svn []byte) (grade, error) {
	for _, l := range t.Levels {
		if meets(p.components[:], l.TCB.SGX) && p.pceSVN >= l.TCB.PCESVN && (svn == nil || meetsTDX(svn, l.TCB.TDX)) {
			return l.grade, nil
		}
	}
	return grade{}, attest.Refuse(attest.Unproved, "TCB info: no level is met by CPUSVN components %v and PCESVN %d", p.components, p.pceSVN)
}

func meets(have []uint8, want []component) bool {
	for i, c := range want {
		if have[i] < c.SVN {
			return false
		}
	}
	return true
}

// meetsTDX leaves the first two numbers to the module's own identity where the module has a version.
func meetsTDX(have []byte, want []component) bool {
	if have[1] > 0 {
		have, want = have[2:], want[2:]
	}
	return meets(have, want)
}

// module checks who made the TDX module, and finds its level where it has a version.
func (t *tcbInfo) module(r tdReport) (*grade, error) {
	svn := r.tcbSVN()
	id, m := "", t.Module
	if svn[1] > 0 {
		id, m = fmt.Sprintf("TDX_%02X", svn[1]), nil
		for i := range t.Identities {
			if t.Identities[i].ID == id {
				m = &t.Identities[i]
				break
			}
		}
	}
	if m == nil {
		return nil, attest.Refuse(attest.Unproved, "TCB info: says nothing about TDX module %q", id)
	}
	signer, err1 := hexed(m.MrSigner, 48)
	attributes, err2 := hexed(m.Attributes, 8)
	mask, err3 := hexed(m.AttributesMask, 8)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return nil, err
	}
	if !bytes.Equal(signer, r.mrSignerSeam()) || !masked(r.seamAttributes(), attributes, mask) {
		return nil, attest.Refuse(attest.Mismatch, "TDX module %q: another signer or other attributes than Intel's", id)
	}
	if id == "" {
		return nil, nil
	}
	g, err := byISVSVN("TDX module "+id, m.Levels, uint16(svn[0]))
	return &g, err
}

// byISVSVN finds the highest level that svn meets.
func byISVSVN(what string, levels []svnLevel, svn uint16) (grade, error) {
	sorted := slices.SortedStableFunc(slices.Values(levels), func(a, b svnLevel) int { return cmp.Compare(b.TCB.SVN, a.TCB.SVN) })
	for _, l := range sorted {
		if svn >= l.TCB.SVN {
			return l.grade, l.check(what)
		}
	}
	return grade{}, attest.Refuse(attest.Unproved, "%s: no level is met by version %d", what, svn)
}

// about checks that the statement is one about the quoting enclaves of a kind, in its window.
func (q *qeIdentity) about(tee string, w *window) error {
	id := map[string]string{"sgx": "QE", "tdx": "TD_QE"}[tee]
	if q.ID != id || q.Version != 2 {
		return attest.Refuse(attest.Unsupported, "QE identity: id %q version %d, expected %q version 2", q.ID, q.Version, id)
	}
	w.issued(q.Issued)
	return w.within("QE identity", q.Issued, q.Next)
}

// check compares a quoting enclave with the identity that Intel states, and finds its level.
func (q *qeIdentity) check(tee string, r enclaveReport, w *window) (grade, error) {
	if err := q.about(tee, w); err != nil {
		return grade{}, err
	}
	var all [5][]byte
	for i, f := range []struct {
		s string
		n int
	}{{q.Misc, 4}, {q.MiscMask, 4}, {q.Attributes, 16}, {q.AttributesMask, 16}, {q.MrSigner, 32}} {
		b, err := hexed(f.s, f.n)
		if err != nil {
			return grade{}, err
		}
		all[i] = b
	}
	// Intel states MISCSELECT as a number and the report holds it little-endian.
	slices.Reverse(all[0])
	slices.Reverse(all[1])
	switch {
	case !masked(r.misc, all[0], all[1]), !masked(r.attributes, all[2], all[3]):
		return grade{}, attest.Refuse(attest.Mismatch, "quoting enclave: attributes %x or MISCSELECT %x are not as Intel states", r.attributes, r.misc)
	case !bytes.Equal(r.mrSigner, all[4]) || r.product != q.Product:
		return grade{}, attest.Refuse(attest.Mismatch, "quoting enclave: signed by %x as product %d, not as Intel states", r.mrSigner, r.product)
	case r.debug() || r.attributes[0]&enclaveInit == 0:
		return grade{}, attest.Refuse(attest.Debug, "quoting enclave: runs under debug or is not initialised")
	}
	return byISVSVN("quoting enclave", q.Levels, r.svn)
}

func hexed(s string, n int) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != n {
		return nil, attest.Refuse(attest.Malformed, "collateral: %q is not %d bytes of hex", action.Clip(s, 100), n)
	}
	return b, nil
}

// merge lowers a platform's status by that of a part (quoting enclave, TDX module), by the rules of Intel's
// quote verification library: a part that is out of date makes the platform so.
func merge(platform, part string) (string, error) {
	switch {
	case platform == RevokedTCB || part == RevokedTCB:
		return RevokedTCB, nil
	case part == UpToDate:
		return platform, nil
	case part != OutOfDate:
		return "", attest.Refuse(attest.Unsupported, "TCB status %q of a part", part)
	case platform == UpToDate || platform == SWHardening:
		return OutOfDate, nil
	case platform == Configuration || platform == ConfigAndSW:
		return OutOfDateConfig, nil
	}
	return platform, nil
}

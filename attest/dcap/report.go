// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// enclaveReport is the part of an SGX report body that is checked or told.
type enclaveReport struct {
	cpuSVN, misc, attributes        []byte
	mrEnclave, mrSigner, reportData []byte
	product, svn                    uint16
}

func readEnclave(b []byte) enclaveReport {
	return enclaveReport{
		cpuSVN: b[0:16], misc: b[16:20], attributes: b[48:64],
		mrEnclave: b[64:96], mrSigner: b[128:160], reportData: b[320:384],
		product: binary.LittleEndian.Uint16(b[256:]), svn: binary.LittleEndian.Uint16(b[258:]),
	}
}

// The bits of an enclave's attributes.
const (
	enclaveInit  = 1 << 0
	enclaveDebug = 1 << 1
)

func (e enclaveReport) debug() bool { return e.attributes[0]&enclaveDebug != 0 }

func (e enclaveReport) facts() *attest.Enclave {
	return &attest.Enclave{
		MrEnclave: hex.EncodeToString(e.mrEnclave), MrSigner: hex.EncodeToString(e.mrSigner),
		ProductID: int(e.product), SVN: int(e.svn),
		Attributes: hex.EncodeToString(e.attributes), MiscSelect: hex.EncodeToString(e.misc),
		ReportData: hex.EncodeToString(e.reportData),
	}
}

// tdReport is a TDX report body, 1.0 or 1.5.
type tdReport struct {
	b    []byte
	td15 bool
}

func (t tdReport) tcbSVN() []byte         { return t.b[0:16] }
func (t tdReport) mrSignerSeam() []byte   { return t.b[64:112] }
func (t tdReport) seamAttributes() []byte { return t.b[112:120] }
func (t tdReport) attributes() []byte     { return t.b[120:128] }

// The bits of a trust domain's attributes: the first byte says that it runs under debug, in whatever way.
const (
	tdSeptVEDisable = 1 << 28
	// tdKnown are the bits that Intel's specification of TDX 1.0 and 1.5 names besides the debug byte:
	// LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL, TPA and PERFMON.
	tdKnown = 1<<27 | tdSeptVEDisable | 1<<29 | 1<<30 | 1<<31 | 1<<62 | 1<<63
)

func (t tdReport) debug() bool { return t.attributes()[0] != 0 }

// check refuses what no known TDX module writes.
func (t tdReport) check() error {
	if bits := binary.LittleEndian.Uint64(t.attributes()) &^ (0xff | tdKnown); bits != 0 {
		return attest.Refuse(attest.Unsupported, "trust domain: reserved attribute bits %#x are set", bits)
	}
	return nil
}

func (t tdReport) facts() *attest.TD {
	h := func(from, n int) string { return hex.EncodeToString(t.b[from : from+n]) }
	td := &attest.TD{
		TEETCBSVN: h(0, 16), MrSeam: h(16, 48), MrSignerSeam: h(64, 48), SeamAttrs: h(112, 8), Attributes: h(120, 8), XFAM: h(128, 8),
		MrTD: h(136, 48), MrConfigID: h(184, 48), MrOwner: h(232, 48), MrOwnerConfig: h(280, 48),
		ReportData: h(520, 64),
		VEDisabled: action.TriOf(binary.LittleEndian.Uint64(t.attributes())&tdSeptVEDisable != 0),
	}
	for i := range td.RTMR {
		td.RTMR[i] = h(328+48*i, 48)
	}
	if t.td15 {
		td.TEETCBSVN2, td.MrServiceTD = h(584, 16), h(600, 48)
	}
	return td
}

// masked reports whether got equals want under mask, all of one length.
func masked(got, want, mask []byte) bool {
	if len(got) != len(want) || len(got) != len(mask) {
		return false
	}
	out := make([]byte, len(got))
	for i := range got {
		out[i] = got[i]&mask[i] ^ want[i]&mask[i]
	}
	return bytes.Count(out, []byte{0}) == len(out)
}

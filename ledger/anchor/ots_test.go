// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// The proof of "Hello World!\n" that the OpenTimestamps project publishes with its clients.
const helloProof = "AE9wZW5UaW1lc3RhbXBzAABQcm9vZgC/ieLohOiSlAEIA7ogTlDRJuRnTABeBNguhMITZngK8fQ71Uo3gWtqs0AD8cgBAQAAAAHkgvnTLsw7ple2nYmAEIV7VEV6kEl5gv9W" +
	"+XxOxY5vmAEAAABrSDBFAiEAslOt0dHPkIRDOKR1oE/xP8nnvSQrB3Yt6gf1YIst42cCIACyaMqcM0KzdpzdBiiRMXzc74eqwxC2hV6dk4mOu+jsASECDY5NEH0rM5sAUO/dS0oJJFqgVgSPElOWN06moqsHCcb/////" +
	"AmUz5gUAAAAAGXapFAvwV9QPu6Z0SGJRX1tVojEN5XcviKyghgEAAAAAABl2qRTwBoisAAAAAAgI8SCph/cWxTORPDFMeONdNYhMrJQ/pCysSdKyxp9AA/hfiAgI8SDexVs0h+Hj9yKkm1WneDIVhieF9KOss5KEYBn3" +
	"HcZKnQgI8SCyyhj0heCAR44CXas9RktBbA4ey2Ypya786MghTQQkMggI8CARsOkGYRlv9LCBPD7aFBurXpFgSDe996DJ3zfbDjoRmAgI8CDDS8GkoQk//RSMAWseZkdCkU6Tnvq+TT01ZRWRSybZ4ggI8CDD5ufDjGn2" +
	"ryTCvjTrrEglft5h7AohuVNeREMne+MGRggI8SAHmL+GBuAAJOXV1UvwyWD2Kd+52taRV0VbbyZSwOjegQgI8CA/mtptYLqiRABrsKrVFEitL6+51LZIegmZz/JrkfD1NggI8SDHAwGelZqN0/rvdIm7MoukhVdHWOcJ" +
	"HwFGTrZYcsl1yAgI8CDL/v/1E/+EuRXj/tb515lnZjD4Nk6ipsdVf62UpbXXiAgI8SAL4jcJhZkTur1EYLvd+O0hPnyHc6Sx+s4w+Kz98JO3BQgIAAWIlg1z1xkBA/fvFQ=="

// bitcoinBlock is a header with a root as block explorers print it, which is backwards.
func bitcoinBlock(t *testing.T, height uint64, root string) string {
	t.Helper()
	b, err := hex.DecodeString(root)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(b)
	header := make([]byte, bitcoinHeaderBytes)
	copy(header[36:], b)
	binary.LittleEndian.PutUint32(header[68:], 1432827678)
	return fmt.Sprintf("%d %x\n", height, header)
}

func trustIn(t *testing.T, text string) Trust {
	t.Helper()
	b, err := ReadBlocks([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Trust{Blocks: b}
}

func TestPublishedOpenTimestampsProofHolds(t *testing.T) {
	proof, err := base64.StdEncoding.DecodeString(helloProof)
	if err != nil {
		t.Fatal(err)
	}
	hello := []byte("Hello World!\n")
	block := trustIn(t, "# from a node\n\n"+bitcoinBlock(t, 358391, "8a1b66ecb7cbd07d8139a7e7d7f2c41aab1f5009b8364aaf61d03ad245e47e00"))
	c, err := Verify(KindOTS, proof, hello, block)
	if err != nil || !c.Trusted || c.Signer != "bitcoin block 358391" || !c.Time.Equal(time.Unix(1432827678, 0)) {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err := Verify(KindOTS, proof, hello, Trust{}); err != nil || c.Trusted || !c.Time.IsZero() {
		t.Errorf("without headers: %+v, %v", c, err)
	}
	if _, err := Verify(KindOTS, proof, hello, trustIn(t, bitcoinBlock(t, 358391, strings.Repeat("ab", 32)))); err == nil {
		t.Error("a block with another root passes")
	}
	if _, err := Verify(KindOTS, proof, []byte("Hello World?\n"), block); err == nil {
		t.Error("another file passes")
	}
	for at := range proof {
		bad := bytes.Clone(proof)
		bad[at] ^= 1
		joins := proof[at]&0xfe == opAppend // a node with two equal sides may be made either way
		if c, err := Verify(KindOTS, bad, hello, block); err == nil && c.Trusted && !joins {
			t.Fatalf("a flipped bit in byte %d passes: %+v", at, c)
		}
		if _, err := Verify(KindOTS, proof[:at], hello, block); err == nil {
			t.Fatalf("the first %d bytes pass", at)
		}
	}
}

func TestReadBlocksRefuses(t *testing.T) {
	for _, bad := range []string{"1", "x " + strings.Repeat("00", 80), "1 " + strings.Repeat("00", 79), "-1 " + strings.Repeat("00", 80)} {
		if b, err := ReadBlocks([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, b)
		}
	}
}

// calendar is a local one: it takes digests, and finishes them when told to, under one block.
type calendarServer struct {
	*httptest.Server
	taken    map[string][]byte // commitment in hexadecimal -> root
	finished bool
}

func newCalendar(t *testing.T) *calendarServer {
	c := &calendarServer{taken: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /digest", func(w http.ResponseWriter, r *http.Request) {
		digest, err := io.ReadAll(io.LimitReader(r.Body, 65))
		if err != nil || len(digest) != 32 {
			http.Error(w, "no digest", http.StatusBadRequest)
			return
		}
		commitment := sha256.Sum256(slices.Concat([]byte("when"), digest))
		commitmentBytes := append(commitment[:], "hmac"...)
		root := sha256.Sum256(commitmentBytes)
		c.taken[hex.EncodeToString(commitmentBytes)] = root[:]
		b := append([]byte{opPrepend, 4}, "when"...)
		b = append(b, opSHA256, opAppend, 4)
		b = append(b, "hmac"...)
		_, _ = w.Write(append(b, pendingEnd(c.URL)...))
	})
	mux.HandleFunc("GET /timestamp/{commitment}", func(w http.ResponseWriter, r *http.Request) {
		if c.taken[r.PathValue("commitment")] == nil || !c.finished {
			http.NotFound(w, r)
			return
		}
		payload := binary.AppendUvarint(nil, 800000)
		b := append([]byte{opSHA256, tagAttestation}, attestedBitcoin[:]...)
		_, _ = w.Write(append(append(b, byte(len(payload))), payload...))
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func pendingEnd(uri string) []byte {
	payload := append(binary.AppendUvarint(nil, uint64(len(uri))), uri...)
	b := append([]byte{tagAttestation}, attestedPending[:]...)
	return append(binary.AppendUvarint(b, uint64(len(payload))), payload...)
}

func TestCalendarsFinishWhatTheyTook(t *testing.T) {
	one, two, three := newCalendar(t), newCalendar(t), newCalendar(t)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	checkpoint := []byte("origin\n7\nroot\n")
	all := OTS{Calendars: []string{one.URL, dead.URL, two.URL + "/", three.URL}}
	token, err := all.Anchor(t.Context(), checkpoint)
	if err != nil || token.Kind != KindOTS || !token.Time.IsZero() {
		t.Fatalf("%+v, %v", token, err)
	}
	if bytes.Contains(token.Data, checkpoint) || len(one.taken) != 1 {
		t.Error("the calendar was told more than a digest, or nothing")
	}
	if c, err := Verify(KindOTS, token.Data, checkpoint, Trust{}); err != nil || c.Trusted || !strings.HasPrefix(c.Signer, "pending at http://127.0.0.1") {
		t.Errorf("while it is pending: %+v, %v", c, err)
	}
	if _, better, err := all.Upgrade(t.Context(), token.Data, checkpoint); better || err == nil {
		t.Errorf("nobody has finished: %v, %v", better, err)
	}
	for _, c := range []*calendarServer{one, two, three} { // first, middle and last branch
		c.finished = true
		data, better, err := all.Upgrade(t.Context(), token.Data, checkpoint)
		if err != nil || !better {
			t.Fatalf("%v, %v", better, err)
		}
		var root []byte
		for _, root = range c.taken {
		}
		slices.Reverse(root)
		got, err := Verify(KindOTS, data, checkpoint, trustIn(t, bitcoinBlock(t, 800000, hex.EncodeToString(root))))
		slices.Reverse(root)
		if err != nil || !got.Trusted {
			t.Errorf("%+v, %v", got, err)
		}
		c.finished = false
	}
	one.finished, two.finished, three.finished = true, true, true
	data, better, err := all.Upgrade(t.Context(), token.Data, checkpoint)
	if err != nil || !better {
		t.Fatalf("%v, %v", better, err)
	}
	found, err := readOTS(data, sha256.Sum256(checkpoint))
	if err != nil || len(found) != 6 {
		t.Errorf("%d ends, %v", len(found), err)
	}
	if _, better, _ := (OTS{Calendars: []string{"http://127.0.0.1:1"}}).Upgrade(t.Context(), token.Data, checkpoint); better {
		t.Error("a calendar that is not on the list was asked")
	}
	if _, err := (OTS{Calendars: []string{dead.URL}}).Anchor(t.Context(), checkpoint); err == nil {
		t.Error("anchored by nobody")
	}
}

func TestOpenTimestampsReaderIsBounded(t *testing.T) {
	digest := sha256.Sum256(nil)
	head := append(append([]byte(otsMagic), 1, opSHA256), digest[:]...)
	end := append(append([]byte{tagAttestation}, attestedBitcoin[:]...), 1, 5)
	for name, body := range map[string][]byte{
		"too deep":          append(bytes.Repeat([]byte{opSHA256}, maxOTSDepth+1), end...),
		"too wide":          append(bytes.Repeat(append([]byte{tagFork}, end...), maxOTSSteps), end...),
		"two forks":         append([]byte{tagFork, tagFork}, end...),
		"an unknown step":   append([]byte{0x67}, end...),
		"a message too big": slices.Concat([]byte{opAppend, 0x80, 0x20}, make([]byte, 4096), end),
		"nothing":           nil,
		"more after it":     append(bytes.Clone(end), 0),
	} {
		if _, err := readOTS(append(bytes.Clone(head), body...), digest); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := readOTS(append(head, end...), digest); err != nil {
		t.Errorf("the least proof is not read: %v", err)
	}
	if _, err := verifyOTS(append(bytes.Clone(head), append(append([]byte{tagAttestation}, make([]byte, 8)...), 0)...), nil, nil); err == nil || errors.Is(err, errOTS) {
		t.Errorf("a proof that ends in nothing known: %v", err)
	}
}

func FuzzReadOTS(f *testing.F) {
	proof, err := base64.StdEncoding.DecodeString(helloProof)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	digest := sha256.Sum256([]byte("Hello World!\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if found, err := readOTS(b, digest); err == nil && len(found) == 0 {
			t.Error("a proof without an end")
		}
	})
}

// Calendar is a local calendar for tests of others: its address, the header of the block that it ends in, and
// what makes it finish.
func Calendar(t *testing.T) (url string, header func() string, finish func()) {
	c := newCalendar(t)
	return c.URL, func() string {
		for _, root := range c.taken {
			root = slices.Clone(root)
			slices.Reverse(root)
			return bitcoinBlock(t, 800000, hex.EncodeToString(root))
		}
		return ""
	}, func() { c.finished = true }
}

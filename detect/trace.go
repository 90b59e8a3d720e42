// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Traces are what a careful reader of outgoing traffic stops at, though nothing proves that it is secret:
// addresses and keys of wallets, phrases that restore them, tokens of an issuer's form that were filled in or
// cut off, and host names that spell data. They stand in ordinary work, too: they are stated, count in no
// score, and mean something only where a policy looks for them on the way out.
const (
	scoreTrace = 250
	maxTraces  = 32 // in one text
	maxHosts   = 16 // looked at in one text
)

func trace(kind string, start, end int) hit {
	return hit{class: classTrace, kind: kind, start: start, end: end, score: scoreTrace}
}

// near reports a token of the shape's form that match does not take for a secret: filled in, as in a
// documentation, or cut off by the end of the text, as where it is sent in two pieces.
func (s *shape) near(text string, end int, body *set) (hit, bool) {
	start := end - len(s.prefix)
	if s.kind == prefixed || len(s.prefix) < 3 || text[start:end] != s.prefix || !s.anywhere && start > 0 && isWord(text[start-1]) {
		return hit{}, false
	}
	stop := end
	for stop < len(text) && stop-end <= s.max && body[text[stop]] {
		stop++
	}
	switch n := stop - end; {
	case n > s.max:
	case n >= s.min && n >= 12 && filled(text[end:stop]) && strings.Trim(strings.ToLower(text[end:stop]), "x*0.-_") != "":
		return trace("token-form", start, stop), true
	case n < s.min && n >= 8 && stop == len(text) && s.min >= 16:
		return trace("token-cut", start, stop), true
	}
	return hit{}, false
}

// traces finds what is told by the form of a text alone.
func traces(t string) (hits []hit) {
	start := -1
	for i := 0; i <= len(t) && len(hits) < maxTraces; i++ {
		if i < len(t) && isAlnum(t[i]) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 && i-start >= 26 && i-start <= 120 {
			if kind := wallet(t[start:i]); kind != "" {
				hits = append(hits, trace(kind, start, i))
			}
		}
		start = -1
	}
	for from, n := 0, 0; n < maxHosts; n++ {
		i := strings.Index(t[from:], "://")
		if i < 0 {
			break
		}
		from += i + 3
		end := from
		for end < len(t) && end-from < 260 && (isWord(t[end]) || t[end] == '-' || t[end] == '.') {
			end++
		}
		if spells(strings.ToLower(t[from:end])) {
			hits = append(hits, trace("encoded-host", from, end))
		}
	}
	if phrase(t) {
		hits = append(hits, trace("recovery-phrase", 0, len(t)))
	}
	return hits
}

// wallet says what a word without punctuation is: an address or a private key of a chain, by its prefix and
// its checksum where it has one.
func wallet(s string) string {
	low := strings.ToLower(s)
	switch {
	case strings.HasPrefix(s, "0x") && (len(s) == 42 || len(s) == 66) && strings.Trim(low[2:], "0123456789abcdef") == "":
		if strings.Trim(low[2:], low[2:3]) == "" {
			return "" // all one sign
		}
		return "wallet"
	case low == s || strings.ToUpper(s) == s:
		for _, hrp := range []string{"bc1", "tb1", "ltc1"} {
			if strings.HasPrefix(low, hrp) && bech32(hrp[:len(hrp)-1], low[len(hrp):]) {
				return "wallet"
			}
		}
	}
	if len(s) == 95 && (s[0] == '4' || s[0] == '8') && strings.Trim(s, base58Signs) == "" {
		return "wallet" // Monero's own checksum is not one of the library
	}
	if n, version := base58Check(s); n == 20 {
		return "wallet"
	} else if n == 32 && version == 0x80 || n == 33 && version == 0x80 || n == 77 && strings.HasPrefix(s[1:], "prv") {
		return "wallet-key"
	}
	return ""
}

const base58Signs = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Check returns the length of what s holds behind its version byte, or -1 if its checksum is wrong.
func base58Check(s string) (n int, version byte) {
	if len(s) > 112 || strings.Trim(s, base58Signs) != "" {
		return -1, 0
	}
	v, radix := new(big.Int), big.NewInt(58)
	for i := range len(s) {
		v.Mul(v, radix)
		v.Add(v, big.NewInt(int64(strings.IndexByte(base58Signs, s[i]))))
	}
	zeros := len(s) - len(strings.TrimLeft(s, "1"))
	raw := append(make([]byte, zeros), v.Bytes()...)
	if len(raw) < 6 {
		return -1, 0
	}
	body, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	a := sha256.Sum256(body)
	if b := sha256.Sum256(a[:]); string(b[:4]) != string(sum) {
		return -1, 0
	}
	return len(body) - 1, body[0]
}

const bech32Signs = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bech32 checks the checksum of data under a prefix (BIP 173, and BIP 350 with its other constant).
func bech32(hrp, data string) bool {
	if len(data) < 8 || len(data) > 90 {
		return false
	}
	gen := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	add := func(v byte) {
		top := sum >> 25
		sum = (sum&0x1ffffff)<<5 ^ uint32(v)
		for i := range 5 {
			if top>>i&1 == 1 {
				sum ^= gen[i]
			}
		}
	}
	for i := range len(hrp) {
		add(hrp[i] >> 5)
	}
	add(0)
	for i := range len(hrp) {
		add(hrp[i] & 31)
	}
	for i := range len(data) {
		v := strings.IndexByte(bech32Signs, data[i])
		if v < 0 {
			return false
		}
		add(byte(v))
	}
	return sum == 1 || sum == 0x2bc830a3
}

// spells reports whether a host name looks like data: labels below the domain that decode to text, that are
// longer than names are, or more of them than services use.
func spells(host string) bool {
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil || domain == host {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(host, "."+domain), ".")
	if len(labels) >= 5 {
		return true
	}
	for _, l := range labels {
		if len(l) > 50 || decodes(l) {
			return true
		}
		for _, word := range strings.Split(l, "-") {
			m := mixOf(word)
			if len(word) >= 40 || len(word) >= 24 && m.digit >= 4 && m.letters() >= 6 && entropy(word) >= 3.8 {
				return true
			}
		}
	}
	return false
}

// decodes reports whether a label is text in another alphabet. Few labels are by chance: short ones must hold
// signs that words do not.
func decodes(l string) bool {
	mixed := strings.ContainsAny(l, "0123456789")
	if len(l) >= 10 && len(l)%2 == 0 && mixed {
		if b, err := hex.DecodeString(l); err == nil && asciiText(b) {
			return true
		}
	}
	if len(l) >= 16 || len(l) >= 8 && mixed {
		if b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(l)); err == nil && asciiText(b) {
			return true
		}
	}
	if len(l) >= 16 && mixed {
		if b, err := base64.RawURLEncoding.DecodeString(l); err == nil && asciiText(b) {
			return true
		}
	}
	return false
}

func asciiText(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(b) >= 5
}

// function words of three letters and more, which no list of recovery words has.
var functionWords = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields("the and for are but not with was were has have had been from his her they them their this these those which what " +
		"who whom whose when where how why will would could should shall may might must does did than then its our out into over per via your") {
		m[w] = true
	}
	return m
}()

// phrase reports whether a text is a phrase that restores a wallet: 12 to 24 short words in lower case, a
// multiple of three of them, and none that sentences are made of (BIP 39 lists none).
func phrase(t string) bool {
	if len(t) < 36 || len(t) > 240 {
		return false
	}
	words := strings.FieldsFunc(t, func(r rune) bool { return r == ' ' || r == '+' || r == '\n' || r == ',' || r == '-' || r == '_' })
	if len(words) < 12 || len(words) > 24 || len(words)%3 != 0 {
		return false
	}
	for _, w := range words {
		if len(w) < 3 || len(w) > 8 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" || functionWords[w] {
			return false
		}
	}
	return true
}

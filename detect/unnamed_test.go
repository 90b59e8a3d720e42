// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestSecretsThatNoFormAnnouncesAreKnownByTheirLooks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	random := func(n int, from string) string {
		var b strings.Builder
		for range n {
			b.WriteByte(from[r.IntN(len(from))])
		}
		return b.String()
	}
	const small = "abcdefghijklmnopqrstuvwxyz"
	all := small + strings.ToUpper(small) + digits
	found := map[string]int{}
	const n = 400
	for range n {
		for name, text := range map[string]string{
			"a token of an issuer that nobody knows":        "the one for acme is ac_" + random(36, all) + " until May",
			"letters that a name announces":                 "acme_token = \"" + random(20, small) + "\"",
			"capitals and digits that a name announces":     "ACME_TOKEN=" + random(20, strings.ToUpper(small)+digits),
			"small letters and digits behind another token": "token: acme_pat_" + random(18, small+digits),
		} {
			s := scanner{secrets: true, room: roomFor(len(text))}
			for _, h := range s.text(text, "") {
				if h.class == classSecret {
					found[name]++
					break
				}
			}
		}
	}
	for name, least := range map[string]int{
		"a token of an issuer that nobody knows": 90, "letters that a name announces": 90,
		"capitals and digits that a name announces": 90, "small letters and digits behind another token": 85,
	} {
		t.Logf("%s: %d of %d", name, found[name], n)
		if found[name]*100 < least*n {
			t.Errorf("%s: %d of %d", name, found[name], n)
		}
	}
}

func TestWhatOnlyLooksLikeASecretIsNone(t *testing.T) {
	for name, text := range map[string]string{
		"a name in code":              `token = getAuthenticationTokenFromHttpRequestContext`,
		"a word of another language":  `secret: Geschwindigkeitsbegrenzungsschild`,
		"a constant in code":          `TOKEN = DEFAULT_HTTP_XML_PARSER_TOKEN`,
		"a slug":                      "see how-to-Write-Least-Privilege-2024-From-The-Record-In-5-Steps",
		"an id of a thing":            "charge ch_3MtwBwLkdIwHu7ix28a3tqPa was paid",
		"a key that is published":     "pk_live_51HqLyjWDarjtT1zdp7dcXk9QmNvR3tYbE2fGh",
		"a digest behind its method":  "sha256-" + strings.Repeat("0a1b2c3d", 8),
		"a version of a package":      "linux-image-6.1.0-18-Amd64-Unsigned_6.1.76-1_Amd64",
		"a name in camel case, long":  "secret := newHTTPServerWithTLSAndXMLFallbackHandler",
		"a marker of ours":            "token: [secret:generic:24]",
		"a cursor that a page names":  "page_token: QWxsIHRoZSBwYWdlcyBhcmUgaGVyZQ",
		"what one would put in there": "api_key = your_example_token_goes_here_please",
	} {
		s := scanner{secrets: true, room: roomFor(len(text))}
		for _, h := range s.text(text, "") {
			if h.class == classSecret {
				t.Errorf("%s: %q is %s", name, text[h.start:h.end], h.kind)
			}
		}
	}
}

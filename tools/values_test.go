// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestURLIsReadOneWay(t *testing.T) {
	for _, tt := range []struct {
		name, raw, host, domain string
		port                    int
		private                 action.Tri
	}{
		{"a plain URL", "https://www.example.co.uk/a?b=c", "www.example.co.uk", "example.co.uk", 443, "no"},
		{"a bare host", "example.org", "example.org", "example.org", 443, "no"},
		{"a bare host with a port", "example.org:8080/x", "example.org", "example.org", 8080, "no"},
		{"capitals and a trailing dot", "HTTP://EXAMPLE.ORG./", "example.org", "example.org", 80, "no"},
		{"a user part that looks like a host", "https://bank.example@evil.example/", "evil.example", "evil.example", 443, "no"},
		{"a user part with an encoded at sign", "https://bank.example%40evil.example/", "", "", 0, "unknown"},
		{"a backslash before an at sign", `https://evil.example\@bank.example/`, "", "", 0, "unknown"},
		{"a line break in the host", "https://ba\nnk.example/", "", "", 0, "unknown"},
		{"a tab in the scheme", "java\tscript://x", "", "", 0, "unknown"},
		{"no slashes", "https:evil.example", "", "", 0, "unknown"},
		{"a script", "javascript:alert(1)", "", "", 0, "unknown"},
		{"scheme relative", "//evil.example/x", "evil.example", "evil.example", 443, "no"},
		{"other letters", "https://bücher.example/", "xn--bcher-kva.example", "xn--bcher-kva.example", 443, "no"},
		{"a full-width dot", "https://evil。example/", "evil.example", "evil.example", 443, "no"},
		{"full-width letters", "https://ｅxample.org/", "example.org", "example.org", 443, "no"},
		{"a decimal address", "http://2130706433/", "127.0.0.1", "", 80, "yes"},
		{"a hex address", "http://0x7f000001/", "127.0.0.1", "", 80, "yes"},
		{"an octal address", "http://0177.0.0.1/", "127.0.0.1", "", 80, "yes"},
		{"a short address", "http://127.1/", "127.0.0.1", "", 80, "yes"},
		{"a mixed address", "http://0xa9.254.0xa9fe/", "169.254.169.254", "", 80, "yes"},
		{"an address that does not fit", "http://256.256.256.256/", "", "", 0, "unknown"},
		{"a mapped address", "http://[::ffff:10.0.0.1]/", "10.0.0.1", "", 80, "yes"},
		{"a mapped address in hex", "http://[::ffff:7f00:1]/", "127.0.0.1", "", 80, "yes"},
		{"a translated address", "http://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1", "", 80, "yes"},
		{"a zone", "http://[fe80::1%25eth0]/", "", "", 0, "unknown"},
		{"a public address", "http://8.8.8.8/", "8.8.8.8", "", 80, "no"},
		{"the metadata address", "http://169.254.169.254/latest", "169.254.169.254", "", 80, "yes"},
		{"the zero address", "http://0/", "0.0.0.0", "", 80, "yes"},
		{"localhost", "http://localhost:3000", "localhost", "localhost", 3000, "yes"},
		{"a name that resolves to what it says", "http://10.0.0.1.nip.io/", "10.0.0.1.nip.io", "nip.io", 80, "unknown"},
		{"a single label", "http://intranet/", "intranet", "intranet", 80, "yes"},
		{"a port beyond", "http://a.example:99999/", "", "", 0, "unknown"},
		{"an empty port", "http://a.example:/", "", "", 0, "unknown"},
		{"two dots", "http://a..example/", "", "", 0, "unknown"},
		{"nothing", "", "", "", 0, "unknown"},
		{"too long", "https://a.example/" + strings.Repeat("a", maxURLBytes), "", "", 0, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, _ := urlFacts("/u", tt.raw)
			if u.Host != tt.host || u.Domain != tt.domain || u.Port != tt.port || u.Private != tt.private {
				t.Errorf("host %q domain %q port %d private %s", u.Host, u.Domain, u.Port, u.Private)
			}
		})
	}
}

func TestRecipientIsCanonical(t *testing.T) {
	for _, tt := range []struct {
		raw, kind, value string
		outside          action.Tri
		ok               bool
	}{
		{"Bob@Corp.Example", "email", "bob@corp.example", "no", true},
		{"Bob <bob@mail.corp.example.>", "email", "bob@mail.corp.example", "no", true},
		{"bob@corp.example.evil.example", "email", "bob@corp.example.evil.example", "yes", true},
		{"bob@notcorp.example", "email", "bob@notcorp.example", "yes", true},
		{"bob@corp.example@evil.example", "email", "bob@corp.example@evil.example", "unknown", false},
		{"\"bob@corp.example\"@evil.example", "email", "\"bob@corp.example\"@evil.example", "unknown", false},
		{"bob@corp.example <eve@evil.example>", "email", "bob@corp.example <eve@evil.example>", "unknown", false},
		{"eve%evil.example@corp.example", "email", "eve%evil.example@corp.example", "unknown", false},
		{"bob@corp.example\r\nBcc: eve@evil.example", "user", "bob@corp.example\r\nBcc: eve@evil.example", "unknown", false},
		{"bob@ｃorp.example", "email", "bob@corp.example", "no", true},
		{"bob@cоrp.example", "email", "bob@xn--crp-sed.example", "yes", true},
		{"DE89 3704 0044 0532 0130 00", "iban", "DE89370400440532013000", "unknown", true},
		{"DE89370400440532013001", "user", "DE89370400440532013001", "unknown", true},
		{"+1 (555) 010-9999", "phone", "+15550109999", "unknown", true},
		{"#general", "channel", "#general", "unknown", true},
		{"12345678", "account", "12345678", "unknown", true},
		{"alice", "user", "alice", "unknown", true},
	} {
		rc, ok := recipientFacts("/r", tt.raw, roleRecipient, []string{"corp.example"})
		if rc.Kind != tt.kind || rc.Value != tt.value || rc.Outside != tt.outside || ok != tt.ok {
			t.Errorf("%q: %+v %v", tt.raw, rc, ok)
		}
	}
}

func TestAmountIsExact(t *testing.T) {
	const over = action.MaxNumber
	for _, tt := range []struct {
		raw      string
		minor    int64
		exponent int
		currency string
		overflow action.Tri
	}{
		{"12.50", 125, 1, "", "no"}, {"12", 12, 0, "", "no"}, {"0.1", 1, 1, "", "no"}, {"1e3", 1000, 0, "", "no"},
		{"1.5e1", 15, 0, "", "no"}, {"-5.25", -525, 2, "", "no"}, {"1,234,567.89", 123456789, 2, "", "no"}, {"€12.5", 125, 1, "EUR", "no"},
		{"12.5 EUR", 125, 1, "EUR", "no"}, {"usd 3", 3, 0, "USD", "no"}, {"$5", 5, 0, "", "no"}, {"0", 0, 0, "", "no"}, {"0.000", 0, 0, "", "no"},
		{"1e300", over, 0, "", "yes"}, {"99999999999999999999", over, 0, "", "yes"}, {"9007199254740992", over, 0, "", "yes"}, {"1e-300", over, 0, "", "yes"},
		{"1,000", over, 0, "", "unknown"}, {"1,5", over, 0, "", "unknown"}, {"1 000", over, 0, "", "unknown"}, {"lots", over, 0, "", "unknown"}, {"", over, 0, "", "unknown"}, {"--5", over, 0, "", "unknown"}, {"1e999999", over, 0, "", "unknown"}, {"NaN", over, 0, "", "unknown"}, {"0x10", over, 0, "", "unknown"},
	} {
		a, _ := amountFacts("/a", tt.raw)
		if a.Minor != tt.minor || a.Exponent != tt.exponent || a.Currency != tt.currency || a.Overflow != tt.overflow {
			t.Errorf("%q: %+v", tt.raw, a)
		}
	}
}

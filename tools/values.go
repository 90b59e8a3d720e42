// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"math"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

const maxRecipientBytes = 320

// recipient states who receives something. A list in one string is taken apart at commas and semicolons.
func (c *call) recipient(pointer, s string, ro role) {
	for _, one := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' || r == '\n' }) {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		rc, ok := recipientFacts(pointer, one, ro, c.r.cfg.Domains)
		if !ok {
			c.typed = false
		}
		if len(c.facts.Recipients) < maxFacts {
			c.facts.Recipients = append(c.facts.Recipients, rc)
		} else {
			c.over[3] = true
		}
	}
}

// recipientFacts reads one recipient. ok is false if it could be read as another one too.
func recipientFacts(pointer, s string, ro role, domains []string) (action.Recipient, bool) {
	rc := action.Recipient{Pointer: pointer, Kind: "user", Value: action.Clip(s, maxRecipientBytes), Outside: action.TriUnknown}
	if len(s) > maxRecipientBytes || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return rc, false
	}
	if strings.Contains(s, "@") && strings.Contains(s, ".") || strings.Count(s, "@") > 1 {
		rc.Kind = "email"
		addr, domain, ok := mail(s)
		if !ok {
			return rc, false
		}
		rc.Value, rc.Domain = addr, domain
		if len(domains) > 0 {
			rc.Outside = action.TriOf(!ours(domain, domains))
		}
		return rc, true
	}
	compact := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
	switch {
	case iban(compact):
		rc.Kind, rc.Value = "iban", compact
	case strings.HasPrefix(s, "#"):
		rc.Kind = "channel"
	case strings.HasPrefix(s, "+") && len(digits) >= 7 && strings.Trim(s, "+0123456789 -()./") == "":
		rc.Kind, rc.Value = "phone", "+"+digits
	case len(digits) >= 8 && strings.Trim(s, "0123456789 -") == "":
		rc.Kind, rc.Value = "account", digits
	case ro == rolePayee:
		rc.Kind = "account"
	}
	return rc, true
}

// mail reads one address, with or without a display name, to "local@domain" in lower case, the domain in
// punycode without a trailing dot. Anything that two mailers could read as two addresses is refused:
// quotes, comments, source routes, several at signs, "%" relays, control characters and spaces.
func mail(s string) (addr, domain string, ok bool) {
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if !strings.HasSuffix(s, ">") || strings.Count(s, "<") != 1 || strings.Count(s, ">") != 1 || strings.Contains(s[:i], "@") {
			return "", "", false
		}
		s = s[i+1 : len(s)-1]
	}
	local, host, found := strings.Cut(s, "@")
	if !found || local == "" || strings.Contains(host, "@") || strings.ContainsAny(s, " \t\"()<>[]\\,;:|%!") {
		return "", "", false
	}
	ascii, err := punycode(host)
	if err != nil {
		return "", "", false
	}
	ascii = strings.ToLower(strings.TrimSuffix(ascii, "."))
	if ascii == "" || strings.HasPrefix(ascii, ".") || strings.HasSuffix(ascii, ".") || strings.Contains(ascii, "..") || !strings.Contains(ascii, ".") {
		return "", "", false
	}
	return strings.ToLower(local) + "@" + ascii, ascii, true
}

func mailLike(s string) bool {
	if len(s) > maxRecipientBytes || !strings.Contains(s, "@") {
		return false
	}
	_, _, ok := mail(s)
	return ok
}

func ours(domain string, domains []string) bool {
	for _, d := range domains {
		d = strings.ToLower(strings.Trim(d, "."))
		if d != "" && (domain == d || strings.HasSuffix(domain, "."+d)) {
			return true
		}
	}
	return false
}

// iban reports whether s has the shape and check digits of an IBAN (ISO 13616, mod 97).
func iban(s string) bool {
	if len(s) < 15 || len(s) > 34 {
		return false
	}
	rem := 0
	for i := range len(s) {
		c := s[(i+4)%len(s)]
		at := (i + 4) % len(s)
		switch {
		case c >= '0' && c <= '9' && at >= 2:
			rem = (rem*10 + int(c-'0')) % 97
		case c >= 'A' && c <= 'Z' && (at < 2 || at >= 4):
			rem = (rem*100 + int(c-'A') + 10) % 97
		default:
			return false
		}
	}
	return rem == 1
}

// amount states an amount of money.
func (c *call) amount(pointer, s string) {
	a, ok := amountFacts(pointer, s)
	if !ok {
		c.typed = false
	}
	if len(c.facts.Amounts) < maxFacts {
		c.facts.Amounts = append(c.facts.Amounts, a)
	} else {
		c.over[4] = true
	}
}

var currencySigns = map[string]string{"$": "", "€": "EUR", "£": "GBP", "¥": "", "₹": "INR", "₽": "RUB", "₿": "BTC", "US$": "USD"}

// amountFacts reads "12.50", "1,200.50", "EUR 12", "$5" or "1.2e3" exactly. Where a comma could be a
// decimal or a thousands sign, or the number does not fit 2^53-1 minor units, the amount is the largest.
func amountFacts(pointer, s string) (action.Amount, bool) {
	a := action.Amount{Pointer: pointer, Minor: action.MaxNumber, Overflow: action.TriUnknown}
	num := strings.TrimSpace(s)
	if len(num) > 64 {
		return a, false
	}
	for sign, code := range currencySigns {
		for _, cut := range []func(string, string) (string, bool){strings.CutPrefix, strings.CutSuffix} {
			if rest, ok := cut(num, sign); ok && (len(sign) > 1 || sign[0] < 0x80 || code != "") {
				num, a.Currency = strings.TrimSpace(rest), code
			}
		}
	}
	if f := strings.Fields(num); len(f) == 2 {
		if code := currencyCode(f[0]); code != "" {
			num, a.Currency = f[1], code
		} else if code := currencyCode(f[1]); code != "" {
			num, a.Currency = f[0], code
		}
	}
	num, ok := withoutGroups(num)
	if !ok {
		return a, false
	}
	minor, exp, state := decimal(num)
	if state == decimalBad {
		return a, false
	}
	if state == decimalOver {
		a.Overflow = action.Yes
		return a, true
	}
	a.Minor, a.Exponent, a.Overflow = minor, exp, action.No
	return a, true
}

// withoutGroups removes thousands commas. A single comma with three digits after it is ambiguous.
func withoutGroups(s string) (string, bool) {
	if !strings.ContainsAny(s, ",_' ") {
		return s, true
	}
	whole, _, dot := strings.Cut(s, ".")
	groups := strings.Split(strings.TrimLeft(whole, "+-"), ",")
	if strings.ContainsAny(s, "_' ") || (!dot && len(groups) < 3) || len(groups[0]) == 0 || len(groups[0]) > 3 {
		return "", false
	}
	for _, g := range groups[1:] {
		if len(g) != 3 {
			return "", false
		}
	}
	return strings.ReplaceAll(s, ",", ""), true
}

type decimalState int

const (
	decimalGood decimalState = iota
	decimalBad
	decimalOver
)

// decimal reads a JSON number exactly into digits and a negative power of ten.
func decimal(s string) (minor int64, exponent int, state decimalState) {
	mantissa, expo, hasExp := strings.Cut(strings.ToLower(s), "e")
	e := 0
	if hasExp {
		var err error
		if e, err = strconv.Atoi(expo); err != nil || e > 400 || e < -400 {
			return 0, 0, decimalBad
		}
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	neg := strings.HasPrefix(whole, "-")
	digits := strings.TrimLeft(whole, "+-") + frac
	if digits == "" || len(whole)-len(strings.TrimLeft(whole, "+-")) > 1 || strings.Trim(digits, "0123456789") != "" {
		return 0, 0, decimalBad
	}
	exponent = len(frac) - e
	for exponent > 0 && strings.HasSuffix(digits, "0") {
		digits, exponent = digits[:len(digits)-1], exponent-1
	}
	if digits = strings.TrimLeft(digits, "0"); digits == "" {
		return 0, 0, decimalGood
	}
	if exponent < 0 {
		if exponent < -18 {
			return 0, 0, decimalOver
		}
		digits, exponent = digits+strings.Repeat("0", -exponent), 0
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > action.MaxNumber || exponent > 18 || n == math.MaxInt64 {
		return 0, 0, decimalOver
	}
	if neg {
		n = -n
	}
	return n, exponent, decimalGood
}

// currencyCode returns s as an ISO 4217 code if it has that shape.
func currencyCode(s string) string {
	s = strings.ToUpper(strings.TrimSpace(s))
	if len(s) != 3 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return ""
	}
	return s
}

// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// The characters that the body of a token may hold.
const (
	digits = "0123456789"
	hexes  = digits + "abcdefABCDEF"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
	alnum  = upper + "abcdefghijklmnopqrstuvwxyz"
	word   = alnum + "_-"
	dotted = word + "."
	base   = alnum + "+/=_-"
	wide   = dotted + "+/=~%:"
)

// shape is the form of one kind of secret: a prefix that its issuer chose so that scanners find it, and a
// body. The published formats of the issuers are the source; lengths are loose on purpose, because issuers
// change them.
type shape struct {
	kind     string
	prefix   string // matched with its case
	body     string // allowed characters
	min, max int    // length of the body
	anywhere bool   // the prefix may follow a letter or digit
}

// prefixed is the kind of tokens that are known only by a customary prefix.
const prefixed = "prefixed-token"

// set is a set of bytes.
type set [256]bool

func setOf(s string) (t set) {
	for i := range len(s) {
		t[s[i]] = true
	}
	return t
}

// bodies holds the characters of each shape's body.
var bodies = func() (out []*set) {
	by := map[string]*set{}
	for i := range shapes {
		b := shapes[i].body
		if by[b] == nil {
			t := setOf(b)
			by[b] = &t
		}
		out = append(out, by[b])
	}
	return out
}()

var shapes = []shape{
	{"aws-access-key", "AKIA", upper, 16, 16, false}, {"aws-access-key", "ASIA", upper, 16, 16, false},
	{"aws-access-key", "ABIA", upper, 16, 16, false}, {"aws-access-key", "ACCA", upper, 16, 16, false},
	{"aws-access-key", "A3T", upper, 17, 17, false}, {"aws-bedrock-key", "ABSK", base, 60, 200, false},
	{"github-token", "ghp_", alnum, 30, 255, false}, {"github-token", "gho_", alnum, 30, 255, false},
	{"github-token", "ghu_", alnum, 30, 255, false}, {"github-token", "ghs_", alnum, 30, 255, false},
	{"github-token", "ghr_", alnum, 30, 255, false}, {"github-token", "github_pat_", word, 36, 255, false},
	{"gitlab-token", "glpat-", dotted, 20, 300, false}, {"gitlab-token", "gldt-", word, 20, 64, false},
	{"gitlab-token", "glrt-", dotted, 20, 300, false}, {"gitlab-token", "glcbt-", word, 20, 64, false},
	{"gitlab-token", "glptt-", word, 20, 64, false}, {"gitlab-token", "glft-", word, 20, 64, false},
	{"gitlab-token", "glimt-", word, 20, 64, false}, {"gitlab-token", "glagent-", word, 20, 64, false},
	{"gitlab-token", "gloas-", word, 20, 80, false}, {"gitlab-token", "glsoat-", word, 20, 64, false},
	{"gitlab-token", "glffct-", word, 20, 64, false}, {"gitlab-token", "GR1348941", word, 20, 64, false},
	{"slack-token", "xoxb-", word, 20, 255, false}, {"slack-token", "xoxp-", word, 40, 255, false},
	{"slack-token", "xoxa-", word, 20, 255, false}, {"slack-token", "xoxr-", word, 20, 255, false},
	{"slack-token", "xoxs-", word, 20, 255, false}, {"slack-token", "xoxo-", word, 20, 255, false},
	{"slack-token", "xoxe-", word, 20, 255, false}, {"slack-token", "xoxe.", dotted, 20, 255, false},
	{"slack-token", "xapp-", word, 20, 255, false}, {"webhook", "hooks.slack.com/services/", word + "/", 30, 80, true},
	{"webhook", "hooks.slack.com/workflows/", word + "/", 30, 80, true}, {"webhook", "discord.com/api/webhooks/", word + "/", 60, 120, true},
	{"webhook", "hooks.slack.com/triggers/", word + "/", 30, 80, true},
	{"webhook", ".webhook.office.com/webhookb2/", word + "@/", 60, 255, true},
	{"stripe-key", "sk_live_", alnum, 10, 255, false}, {"stripe-key", "sk_test_", alnum, 10, 255, false},
	{"stripe-key", "sk_prod_", alnum, 10, 255, false}, {"stripe-key", "rk_live_", alnum, 10, 255, false},
	{"stripe-key", "rk_test_", alnum, 10, 255, false}, {"stripe-key", "rk_prod_", alnum, 10, 255, false},
	{"stripe-key", "whsec_", base, 24, 80, false},
	{"model-key", "sk-ant-", word, 60, 255, false}, {"model-key", "sk-proj-", word, 40, 255, false},
	{"model-key", "sk-svcacct-", word, 40, 255, false}, {"model-key", "sk-admin-", word, 40, 255, false},
	{"model-key", "sk-or-", word, 40, 255, false}, {"model-key", "sk-", alnum, 32, 64, false},
	{"model-key", "gsk_", alnum, 40, 80, false}, {"model-key", "xai-", alnum, 60, 120, false},
	{"model-key", "pplx-", alnum, 40, 80, false}, {"model-key", "r8_", alnum, 35, 45, false},
	{"model-key", "hf_", alnum, 30, 45, false}, {"model-key", "api_org_", alnum, 30, 45, false},
	{"model-key", "lsv2_", word, 40, 80, false},
	{"google-key", "AIza", word, 35, 35, false}, {"google-key", "GOCSPX-", word, 28, 28, false},
	{"google-key", "ya29.", word, 30, 400, false}, {"package-token", "npm_", alnum, 36, 36, false},
	{"package-token", "pypi-", word, 50, 400, false}, {"package-token", "rubygems_", hexes, 48, 48, false},
	{"package-token", "CLOJARS_", alnum, 60, 60, false}, {"package-token", "dckr_pat_", word, 20, 60, false},
	{"package-token", "dckr_oat_", word, 20, 60, false}, {"package-token", "oy2", alnum, 43, 43, false},
	{"mail-key", "SG.", dotted, 60, 80, false}, {"mail-key", "key-", hexes, 32, 32, false},
	{"mail-key", "xkeysib-", word, 60, 100, false}, {"mail-key", "xsmtpsib-", word, 60, 100, false},
	{"shop-token", "shpat_", hexes, 32, 32, false}, {"shop-token", "shpca_", hexes, 32, 32, false},
	{"shop-token", "shppa_", hexes, 32, 32, false}, {"shop-token", "shpss_", hexes, 32, 32, false},
	{"payment-key", "sq0atp-", word, 22, 60, false}, {"payment-key", "sq0csp-", word, 22, 60, false},
	{"payment-key", "FLWSECK", word, 32, 60, false}, {"payment-key", "access_token$production$", alnum, 32, 80, false},
	{"payment-key", "EZAK", alnum, 54, 54, false}, {"payment-key", "EZTK", alnum, 54, 54, false},
	{"payment-key", "access-sandbox-", word, 36, 36, false}, {"payment-key", "access-development-", word, 36, 36, false},
	{"payment-key", "access-production-", word, 36, 36, false}, {"payment-key", "shippo_live_", hexes, 40, 40, false},
	{"cloud-token", "dop_v1_", hexes, 64, 64, false}, {"cloud-token", "doo_v1_", hexes, 64, 64, false},
	{"cloud-token", "dor_v1_", hexes, 64, 64, false}, {"cloud-token", "dapi", hexes, 32, 32, false},
	{"cloud-token", "HRKU-", word, 36, 80, false}, {"cloud-token", "fo1_", word, 40, 50, false},
	{"cloud-token", "FlyV1 ", base, 60, 600, false}, {"cloud-token", "LTAI", alnum, 16, 24, false},
	{"cloud-token", "AKID", alnum, 32, 32, false}, {"cloud-token", "pscale_", dotted + "=", 32, 100, false},
	{"cloud-token", "sbp_", hexes, 40, 40, false}, {"cloud-token", "t1.", dotted + "=", 80, 300, false},
	{"cloud-token", "AQVN", word, 34, 40, false}, {"cloud-token", "YC", word, 38, 38, false},
	{"cloud-token", "pul-", hexes, 40, 40, false}, {"cloud-token", "sha256~", word, 43, 43, false},
	{"cloud-token", "EAAC", alnum, 80, 400, false}, {"cloud-token", "EAAM", alnum, 80, 400, false},
	{"cloud-token", "tskey-", word, 20, 80, false}, {"vault-token", "hvs.", word, 24, 300, false},
	{"vault-token", "hvb.", word, 60, 400, false}, {"vault-token", "hvr.", word, 24, 300, false},
	{"vault-token", "dp.pt.", alnum, 40, 44, false}, {"vault-token", "dp.st.", dotted, 40, 80, false},
	{"vault-token", "ops_eyJ", base, 100, 2000, false}, {"vault-token", "AGE-SECRET-KEY-1", upper, 58, 58, false},
	{"service-token", "ATATT3", base, 60, 300, false}, {"service-token", "ATCTT3", base, 60, 300, false},
	{"service-token", "lin_api_", alnum, 32, 60, false}, {"service-token", "secret_", alnum, 43, 43, false},
	{"service-token", "ntn_", alnum, 40, 60, false}, {"service-token", "glsa_", word, 30, 60, false},
	{"service-token", "glc_", base, 32, 400, false}, {"service-token", "NRAK-", alnum, 20, 40, false},
	{"service-token", "NRJS-", alnum, 19, 40, false}, {"service-token", "NRII-", word, 32, 40, false},
	{"service-token", "sntrys_", base, 60, 400, false}, {"service-token", "sntryu_", hexes, 64, 64, false},
	{"service-token", "PMAK-", word, 59, 59, false}, {"service-token", "figd_", word, 30, 60, false},
	{"service-token", "p8e-", hexes, 32, 32, false}, {"service-token", "dt0c01.", dotted, 80, 100, false},
	{"service-token", "fio-u-", word, 60, 70, false}, {"service-token", "pnu_", alnum, 36, 36, false},
	{"service-token", "rdme_", alnum, 60, 80, false}, {"service-token", "tfp_", dotted, 40, 80, false},
	{"service-token", "ico-", alnum, 32, 32, false}, {"service-token", "AKCp", alnum, 60, 80, false},
	{"service-token", "live_pub_", hexes, 31, 31, false}, {"service-token", "sk.eyJ", dotted, 60, 300, false},
	{"service-token", "sm_pat_", alnum, 16, 16, false}, {"service-token", "sm_sat_", alnum, 16, 16, false},
	{"service-token", "sm_aat_", alnum, 16, 16, false}, {"service-token", "napi_", alnum, 40, 80, false},
	{"service-token", "eyJrIjoi", base, 60, 400, false}, {"service-token", "pat.", dotted, 60, 90, false},
	{"service-token", "sat.", dotted, 60, 90, false},
	// Prefixes that many issuers use: the body must look random.
	{prefixed, "sk_", word, 24, 255, false}, {prefixed, "pat_", word, 24, 255, false}, {prefixed, "tok_", word, 24, 255, false},
	{prefixed, "token_", word, 24, 255, false}, {prefixed, "key_", word, 24, 255, false}, {prefixed, "_sk_", word, 20, 255, true},
	{prefixed, "_pat_", word, 20, 255, true}, {prefixed, "_live_", word, 20, 255, true}, {prefixed, "_secret_", word, 20, 255, true},
	{prefixed, "_token_", word, 20, 255, true}, {prefixed, "_key_", word, 20, 255, true}, {prefixed, "apikey_", word, 20, 255, false},
	{prefixed, "-sk-", word, 24, 255, true}, {prefixed, "-pat-", word, 24, 255, true}, {prefixed, "-token-", word, 24, 255, true},
	{"azure-key", "AccountKey=", base, 60, 100, true}, {"azure-key", "SharedAccessKey=", base, 40, 100, true},
}

// match reports where the secret of shape s ends whose prefix ends at text[:end], or false.
func (s *shape) match(text string, end int, body *set) (start, stop int, ok bool) {
	start = end - len(s.prefix)
	if text[start:end] != s.prefix || !s.anywhere && start > 0 && isWord(text[start-1]) {
		return 0, 0, false
	}
	stop = end
	for stop < len(text) && stop-end <= s.max && body[text[stop]] {
		stop++
	}
	for stop > end && (text[stop-1] == '.' || text[stop-1] == '-') {
		stop--
	}
	n := stop - end
	if n < s.min || n > s.max || stop < len(text) && isAlnum(text[stop]) {
		return 0, 0, false
	}
	if s.anywhere && s.kind == "azure-key" {
		start = end
	}
	if s.kind == prefixed {
		m := mixOf(text[end:stop])
		if strings.HasSuffix(text[:start], "pk") && (start == 2 || !isAlnum(text[start-3])) { // a key to publish
			return 0, 0, false
		}
		return start, stop, m.digit >= 4 && m.letters() >= 6 && m.turns >= 5 && plausible(text[end:stop], 3.2)
	}
	return start, stop, (entropy(text[end:stop]) >= 2.2 || len(s.prefix) >= 12) && !filled(text[end:stop])
}

// Kinds of bytes, by one table.
const (
	byteDigit = 1 << iota
	byteLetter
	byteHex
	byteWord // digit, letter or underscore
	byteRun  // what base64 and its relatives are made of, but for the padding
	byteGap  // what may stand between letters that stand apart
	byteLeet // a sign that may stand for a letter
)

var byteKinds = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		if b >= '0' && b <= '9' {
			t[c] |= byteDigit | byteWord | byteRun | byteHex
		}
		if l := lower(b); l >= 'a' && l <= 'z' {
			t[c] |= byteLetter | byteWord | byteRun
			if l <= 'f' {
				t[c] |= byteHex
			}
		}
		if leet[b] != 0 {
			t[c] |= byteLeet
		}
	}
	for _, c := range []byte("+/-_") {
		t[c] |= byteRun
	}
	for _, c := range []byte(" .-_*|,/\n\t") {
		t[c] |= byteGap
	}
	t['_'] |= byteWord
	return t
}()

func isAlnum(c byte) bool  { return byteKinds[c]&(byteDigit|byteLetter) != 0 }
func isLetter(c byte) bool { return byteKinds[c]&byteLetter != 0 }
func isHex(c byte) bool    { return byteKinds[c]&byteHex != 0 }
func isWord(c byte) bool   { return byteKinds[c]&byteWord != 0 }
func isGap(c byte) bool    { return byteKinds[c]&byteGap != 0 }

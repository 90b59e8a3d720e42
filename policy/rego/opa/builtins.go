// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/rego"
)

// more are built-ins beyond those of agent.v1 that policies of this kind use: pure functions of their arguments,
// and time.now_ns, which reads the time of the query.
var more = strings.Fields(`
time.now_ns time.parse_rfc3339_ns time.parse_duration_ns
cast_array cast_boolean cast_null cast_object cast_set cast_string set_diff re_match net.cidr_overlap
crypto.md5 crypto.sha1 crypto.hmac.md5 crypto.hmac.sha1 io.jwt.decode
json.patch net.cidr_merge regex.find_all_string_submatch_n regex.replace regex.template_match
strings.replace_n strings.split_n urlquery.encode_object urlquery.decode_object uuid.parse object.union_n yaml.is_valid yaml.marshal yaml.unmarshal
json.marshal_with_options rego.metadata.chain rego.metadata.rule
`)

var capabilities = sync.OnceValue(func() *ast.Capabilities { return rego.CapabilitiesWith(more...) })

// withheld are the reasons why a built-in, or a family of them, is not there.
var withheld = []struct{ prefix, why string }{
	{"http.", "it reaches the network, and a decision must replay"},
	{"net.lookup_ip_addr", "it reaches the network, and a decision must replay"},
	{"providers.", "it signs with keys of the environment"},
	{"opa.runtime", "it reads the environment"},
	{"rand.", "it answers differently each time"},
	{"uuid.rfc4122", "it answers differently each time"},
	{"io.jwt.", "it reads the clock or holds keys; identities are verified before a decision (input.subject.identity)"},
	{"crypto.x509.", "it reads the clock; certificates are verified before a decision"},
	{"crypto.parse_private_keys", "a policy holds no private keys"},
	{"time.", "it reads the host's time zones; compare times in nanoseconds (time.parse_rfc3339_ns)"},
	{"json.match_schema", "it can fetch schemas"},
	{"json.verify_schema", "it can fetch schemas"},
	{"graphql.", "its cost is not bounded by the size of its input"},
	{"numbers.range", "a few bytes of input make gigabytes"},
	{"net.cidr_expand", "a few bytes of input make gigabytes"},
	{"print", "it has a side effect"},
	{"trace", "it has a side effect"},
	{"bits.lsh", "a few bytes of input make gigabytes"},
	{"graph.reachable_paths", "its cost is not bounded by the size of its input"},
	{"regex.globs_match", "its cost is not bounded by the size of its input"},
	{"strings.render_template", "its cost is not bounded by the size of its input"},
	{"rego.parse_module", "its cost is not bounded by the size of its input"},
}

// Withheld says why policies may not call the named built-in of OPA; "" means that they may, or that OPA has none of
// that name.
func Withheld(name string) string {
	if slices.ContainsFunc(capabilities().Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
		return ""
	}
	if !slices.ContainsFunc(ast.CapabilitiesForThisVersion().Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
		return ""
	}
	for _, w := range withheld {
		if strings.HasPrefix(name, w.prefix) {
			return w.why
		}
	}
	return "nobody has looked at it yet"
}

// Capabilities is the digest of what a policy may use: the built-ins with their types, and the language features.
func Capabilities() (string, error) { return capabilitiesDigest() }

var capabilitiesDigest = sync.OnceValues(func() (string, error) {
	data, err := action.Canonical(capabilities())
	if err != nil {
		return "", err
	}
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:]), nil
})

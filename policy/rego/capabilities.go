// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
)

// allowed is every built-in that a policy may call: pure functions of their arguments, whose cost is
// bounded by the size of their input. It is an allowlist so that a later OPA adds nothing unseen. The
// CIDR functions are arithmetic on text; nothing of net reaches the network. Missing on purpose:
// http.send, net.lookup_ip_addr, time.*, rand.*, uuid.*, opa.runtime, io.jwt.* and crypto.x509.* (they
// read the clock), json.match_schema (fetches), numbers.range and net.cidr_expand (a few bytes of input
// make gigabytes), print and trace, rego.* and deprecated names.
var allowed = strings.Fields(`
abs all and any array.concat array.flatten array.reverse array.slice assign
base64.decode base64.encode base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad
bits.and bits.negate bits.or bits.rsh bits.xor
ceil concat contains count crypto.hmac.equal crypto.hmac.sha256 crypto.hmac.sha512 crypto.sha256
div endswith eq equal floor format_int glob.match glob.quote_meta graph.reachable gt gte
hex.decode hex.encode indexof indexof_n internal.member_2 internal.member_3 internal.template_string intersection
is_array is_boolean is_null is_number is_object is_set is_string
json.filter json.is_valid json.marshal json.remove json.unmarshal
lower lt lte max min minus mul neq
net.cidr_contains net.cidr_contains_matches net.cidr_intersects net.cidr_is_valid
object.filter object.get object.keys object.remove object.subset object.union object.union_n or
plus product regex.find_n regex.is_valid regex.match regex.split rem replace round
semver.compare semver.is_valid sort split sprintf startswith
strings.any_prefix_match strings.any_suffix_match strings.count strings.reverse substring sum
to_number trim trim_left trim_prefix trim_right trim_space trim_suffix type_name
union units.parse units.parse_bytes upper uri.is_valid uri.parse urlquery.decode urlquery.encode walk
`)

func restrict() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	out := *c
	out.Builtins = nil
	for _, b := range c.Builtins {
		if slices.Contains(allowed, b.Name) && !b.Nondeterministic {
			out.Builtins = append(out.Builtins, b)
		}
	}
	out.AllowNet = []string{}
	return &out
}

// Capabilities is the digest of what a policy may use: the built-ins with their types, and the language
// features.
func Capabilities() (string, error) { return capabilitiesDigest() }

var capabilitiesDigest = sync.OnceValues(func() (string, error) {
	data, err := action.Canonical(capabilities())
	if err != nil {
		return "", err
	}
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:]), nil
})

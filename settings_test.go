// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
)

func TestSettingsDigestNamesWhatDecides(t *testing.T) {
	file := filepath.Join(t.TempDir(), "params.yaml")
	put := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("hosts: []\n")
	digest := func(change func(c *sallyport.Config)) string {
		t.Helper()
		c := sallyport.DefaultConfig()
		c.Policy.Params = file
		change(&c)
		d, err := c.SettingsDigest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same := digest(func(*sallyport.Config) {})
	for name, c := range map[string]struct {
		change func(c *sallyport.Config)
		differ bool
	}{
		"the organisation's domains": {func(c *sallyport.Config) { c.Tools.Domains = []string{"example.com"} }, true},
		"one operator":               {func(c *sallyport.Config) { c.Identity.SingleOperator = true }, true},
		"detection turned off":       {func(c *sallyport.Config) { c.Detect.Injection = "off" }, true},
		"no second process":          {func(c *sallyport.Config) { c.Policy.Second.URL = "https://pdp.example.com" }, true},
		"another address":            {func(c *sallyport.Config) { c.Gateway.Listen = "none" }, false},
		"more alarms a day":          {func(c *sallyport.Config) { c.Monitor.AlarmsPerDay = 50 }, true},
		"reasons are not kept":       {func(c *sallyport.Config) { c.Ledger.Reasoning = "drop" }, true},
		"fewer witnesses":            {func(c *sallyport.Config) { c.Ledger.Quorum = 1 }, true},
		"a limit on records":         {func(c *sallyport.Config) { c.Ledger.AgentBytes = 1 << 20 }, true},
		"another folder":             {func(c *sallyport.Config) { c.Data = "/elsewhere" }, false},
		"a file with other content":  {func(*sallyport.Config) { put("hosts: [a.example]\n") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			put("hosts: []\n")
			if got := digest(c.change); (got != same) != c.differ {
				t.Errorf("%s and %s", got, same)
			}
		})
	}
	c := sallyport.DefaultConfig()
	c.Policy.Params = filepath.Join(t.TempDir(), "missing")
	if _, err := c.SettingsDigest(); err == nil {
		t.Error("a file that is not there has a digest")
	}
}

// Where the word of the bundle is taken, and with policy.trust no other; TestTrustRefusesWhatDecidesUnsigned holds it to that.
var bundled = []string{"policy.params", "egress.policy", "postgres.policy", "monitor.rules", "flow.servers", "flow.outputs"}

// named by their digest in each bundle, which two people sign.
var twoPersons = strings.Fields(`listen.tls.client_ca listen.tls.client_crl listen.plain gateway.hosts gateway.public_url gateway.servers admin.hosts
	admin.login.name admin.login.issuer admin.login.client_id admin.login.secret_file admin.login.secret_env admin.login.scopes
	admin.login.user_claim admin.login.groups_claim admin.login.roles policy.trust policy.alone policy.second.url policy.second.key
	policy.second.token_file policy.second.limit approval.ttl approval.grant_ttl approval.max_pending approval.groups approval.keys.rp_id
	approval.keys.origins approval.judges approval.chains ledger.agent_bytes ledger.witnesses ledger.quorum ledger.reasoning
	ledger.witness_timeout tools.domains tools.kinds tools.signed_only identity.single_operator identity.release_delay identity.peer_uids postgres.databases
	detect.injection detect.signatures detect.lists detect.canaries.auto detect.canaries.variable authzen.url egress.hosts egress.intercept egress.ca_file monitor.alarms_per_day monitor.counters
	llm.openai.url llm.openai.key_file llm.anthropic.url llm.anthropic.key_file llm.tool_server attest.policy attest.collateral attest.roots
	attest.tpm attest.signers attest.keyless.trusted_root attest.keyless.identities attest.trust_domain attest.agents federation.issuers
	federation.spiffe.socket federation.spiffe.agents rights.acl rights.openfga.url rights.openfga.store rights.openfga.model
	rights.openfga.token_file rights.groups rights.rules`)

// TestEverySettingIsSignedOrDecidesNothing has one row for each key of the configuration. A key without a row fails, so that
// whoever adds one says whether it can change a decision.
func TestEverySettingIsSignedOrDecidesNothing(t *testing.T) {
	rows := map[string]int{}
	for _, k := range bundled {
		rows[k]++
	}
	for _, k := range twoPersons {
		rows[k]++
	}
	why := sallyport.UndecidedForTest()
	for k, reason := range why {
		if rows[k]++; len(reason) < 8 {
			t.Errorf("%s: cannot change a decision, and why not?", k)
		}
	}
	cfg := sallyport.DefaultConfig()
	for _, x := range cfg.Settings(nil) {
		if rows[x.Key] != 1 {
			t.Errorf("%s stands in %d rows, not one: is it in the bundle, a setting that two people sign, or without influence?", x.Key, rows[x.Key])
		}
		delete(rows, x.Key)
	}
	for k := range rows {
		t.Errorf("%s: there is no such setting", k)
	}
	// A setting is compared by its printed value: one that holds a pointer would print an address.
	var walk func(v reflect.Type, at string)
	walk = func(v reflect.Type, at string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i).Type, at+"."+v.Field(i).Name)
			}
		case reflect.Slice, reflect.Array:
			walk(v.Elem(), at)
		case reflect.Pointer, reflect.Func, reflect.Chan, reflect.Interface:
			t.Errorf("%s is a %s", at, v.Kind())
		}
	}
	walk(reflect.TypeOf(cfg), "Config")
}

// Each setting of two people moves the digest, and none of the others does.
func TestSettingsDigestMovesWithEachSettingOfTwoPeople(t *testing.T) {
	plain := sallyport.DefaultConfig()
	was, err := plain.SettingsDigest()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var change func(v reflect.Value)
	change = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(file)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 7)
		case reflect.Float64:
			v.SetFloat(v.Float() + 7)
		case reflect.Slice:
			e := reflect.New(v.Type().Elem()).Elem()
			if e.Kind() != reflect.Struct {
				change(e)
			}
			v.Set(reflect.Append(v, e))
		default:
			t.Errorf("a setting of kind %s", v.Kind())
		}
	}
	var walk func(c *sallyport.Config, v reflect.Value, at string)
	walk = func(c *sallyport.Config, v reflect.Value, at string) {
		for i := range v.NumField() {
			key, f := at+v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
			if f.Kind() == reflect.Struct {
				walk(c, f, key+".")
				continue
			}
			kept := reflect.ValueOf(f.Interface())
			change(f)
			is, err := c.SettingsDigest()
			if decides := slices.Contains(twoPersons, key) || slices.Contains(bundled, key); err != nil || (is != was) != decides {
				t.Errorf("%s: the digest changes: %v, and should: %v (%v)", key, is != was, decides, err)
			}
			f.Set(kept)
		}
	}
	c := sallyport.DefaultConfig()
	walk(&c, reflect.ValueOf(&c).Elem(), "")
}

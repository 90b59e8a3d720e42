// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"os"
	"path/filepath"
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

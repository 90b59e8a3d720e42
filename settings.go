// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"
	"os"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// undecided are the settings that change no decision: where things are kept, sent and listened for. Every
// other one counts, also one that is added and forgotten here.
var undecided = []string{"version", "data", "ledger.", "export.", "gateway.listen", "admin.listen", "postgres.listen", "postgres.max_connections",
	"egress.listen", "monitor.outlets", "approval.channels", "monitor.alarms_per_day", "policy.dir", "policy.source", "policy.source_token", "policy.poll"}

// settingFiles are the settings that name a file whose content decides.
var settingFiles = map[string]bool{"policy.params": true, "policy.trust": true, "detect.signatures": true, "monitor.rules": true}

// SettingsDigest names all settings that can change a decision outside of the bundle: "sha256:..." over the
// RFC 8785 form of their names and values, with the digests of the files that they name. It stands in each record of a
// policy in force, and a bundle's manifest may ask for one.
func (c *Config) SettingsDigest() (string, error) {
	type setting struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		File  string `json:"file"`
	}
	list := []setting{}
next:
	for _, x := range c.Settings(nil) {
		for _, u := range undecided {
			if x.Key == u || strings.HasSuffix(u, ".") && strings.HasPrefix(x.Key, u) {
				continue next
			}
		}
		e := setting{Key: x.Key, Value: x.Value}
		if settingFiles[x.Key] && x.Value != "" {
			data, err := os.ReadFile(x.Value)
			if err != nil {
				return "", fmt.Errorf("%s: %w", x.Key, err)
			}
			e.Value, e.File = "", bundle.Sum(data)
		}
		list = append(list, e)
	}
	for _, j := range c.Approval.Judges {
		if j.Constitution == "" || strings.HasPrefix(j.Constitution, inBundle) {
			continue
		}
		data, err := os.ReadFile(j.Constitution)
		if err != nil {
			return "", fmt.Errorf("approval.judges: %q: %w", j.Name, err)
		}
		list = append(list, setting{Key: "approval.judges.constitution", Value: j.Name, File: bundle.Sum(data)})
	}
	data, err := action.Canonical(list)
	if err != nil {
		return "", err
	}
	return bundle.Sum(data), nil
}

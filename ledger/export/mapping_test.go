// SPDX-License-Identifier: Apache-2.0

package export

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// paths lists the paths of every member of a JSON line.
func paths(at string, v any, into map[string]bool) {
	into[at] = true
	switch v := v.(type) {
	case map[string]any:
		for n, e := range v {
			paths(strings.TrimPrefix(at+"."+n, "."), e, into)
		}
	case []any:
		for _, e := range v {
			paths(at+"{}", e, into)
		}
	}
}

// TestMappingsNameWhatRecordsCarry holds the tables of docs/siem.md for Splunk and Google SecOps to the lines that are
// sent: a name that no line has would map nothing, unseen.
func TestMappingsNameWhatRecordsCarry(t *testing.T) {
	have := map[string]bool{}
	for _, r := range everyRecord(t) {
		var line any
		if err := json.Unmarshal(jsonLine(r), &line); err != nil {
			t.Fatal(err)
		}
		paths("", line, have)
	}
	b, err := os.ReadFile("../../docs/siem.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n## Splunk\n")
	splunk, google, _ := strings.Cut(rest, "\n## Google SecOps\n")
	from := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^FIELDALIAS-\S+\s*= (\S+) AS \w+$`).FindAllStringSubmatch(splunk, -1) {
		from["Splunk"] = append(from["Splunk"], m[1])
	}
	for _, m := range regexp.MustCompile(`'([a-z_.]+)'=|isnotnull\('([a-z_.]+)'\)`).FindAllStringSubmatch(splunk, -1) {
		from["Splunk"] = append(from["Splunk"], m[1]+m[2])
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)`[^|]*\\| (.*) \\|$").FindAllStringSubmatch(google, -1) {
		for _, m := range regexp.MustCompile("`((?:leaf|names|part|id|mode)[a-z_.]*)`").FindAllStringSubmatch(row[2], -1) {
			from["Google SecOps"] = append(from["Google SecOps"], m[1])
		}
	}
	if len(from["Splunk"]) < 9 || len(from["Google SecOps"]) < 12 {
		t.Fatalf("the tables are not read: %v", from)
	}
	for system, list := range from {
		for _, name := range list {
			if !have[name] {
				t.Errorf("%s: %q stands in no line", system, name)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestMigratedBundleLoads(t *testing.T) {
	cfg := MigrateConfig{Name: "moved", Owner: "ann", Refusals: "k8s/deny", Until: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	source := fstest.MapFS{"a/deny.rego": {Data: []byte("package k8s\n\ndeny[m] {\n\tinput.action.arguments.kind == data.limits.kind\n\tm := \"not this kind\"\n}\n")},
		"limits/data.json": {Data: []byte(`{"kind": "Secret"}`)}, "a/deny_test.rego": {Data: []byte("package k8s\n\ntest_it { true }\n")}, "README": {Data: []byte("x")}}
	m, err := Migrate(source, cfg)
	if err != nil || m.V0 || !m.Ready() {
		t.Fatalf("%+v, %v", m, err)
	}
	files := fstest.MapFS{}
	for name, text := range m.Files {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	c, err := LoadFS(files)
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Files)
	}
	if len(files) != 3 || c.Manifest().Waivers[0].Until.Year() != 2030 || !strings.Contains(m.Files["opa/a/deny.rego"], "import rego.v1") {
		t.Errorf("%v", m.Files)
	}
	source["b.rego"] = &fstest.MapFile{Data: []byte("package b\n\nallow if http.send({}).ok\n")}
	if m, err := Migrate(source, cfg); err != nil || m.Ready() || m.Notes[0].Lint != "withheld" || m.Notes[0].File != "b.rego" || m.Notes[0].Line != 3 {
		t.Errorf("%+v, %v", m, err)
	}
}

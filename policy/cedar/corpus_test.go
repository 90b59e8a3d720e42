// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/go-json-experiment/json"
)

// corpusFiles unpacks the corpus of Cedar's own project, which its Go module carries.
func corpusFiles(t *testing.T) map[string][]byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cedar-policy/cedar-go").Output()
	if err != nil {
		t.Skipf("no go command to find the module with: %v", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "corpus-tests.tar.gz"))
	if err != nil {
		t.Skipf("the module has no corpus: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if out[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

type corpusEntity cedar.EntityUID

func (e *corpusEntity) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	return json.Unmarshal(b, (*cedar.EntityUID)(e))
}

// TestIndexAgreesWithPlainAuthorize runs Cedar's corpus through the index: the decision, the reasons and the
// errors are those of a search without one, and those that the corpus states.
func TestIndexAgreesWithPlainAuthorize(t *testing.T) {
	files := corpusFiles(t)
	var names []string
	for name := range files {
		if strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, ".entities.json") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	every := 1
	if testing.Short() {
		every = 10
	}
	requests, skipped := 0, 0
	for i := 0; i < len(names); i += every {
		var c struct {
			Policies string `json:"policies"`
			Entities string `json:"entities"`
			Requests []struct {
				Principal corpusEntity     `json:"principal"`
				Action    corpusEntity     `json:"action"`
				Resource  corpusEntity     `json:"resource"`
				Context   cedar.Record     `json:"context"`
				Decision  cedar.Decision   `json:"decision"`
				Reasons   []cedar.PolicyID `json:"reason"`
				Errors    []cedar.PolicyID `json:"errors"`
			} `json:"requests"`
		}
		if err := json.Unmarshal(files[names[i]], &c); err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
		var entities cedar.EntityMap
		if err := json.Unmarshal(files[c.Entities], &entities); err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
		all, err := cedar.NewPolicySetFromBytes("policy.cedar", files[c.Policies])
		if err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
		x := indexOf(t, all)
		skipped += len(all.Map()) - len(x.any)
		for _, r := range c.Requests {
			requests++
			req := cedar.Request{Principal: cedar.EntityUID(r.Principal), Action: cedar.EntityUID(r.Action), Resource: cedar.EntityUID(r.Resource), Context: r.Context}
			want, plain := cedar.Authorize(all, entities, req)
			got, found := cedar.Authorize(search{x, entities, &req}, entities, req)
			if got != want || got != r.Decision || !slices.Equal(answers(found), answers(plain)) || !slices.Equal(answers(found), stated(r.Reasons, r.Errors)) {
				t.Errorf("%s: %v by %v, plain %v by %v, stated %v", names[i], got, answers(found), want, answers(plain), r.Decision)
			}
		}
	}
	if requests < 1000 || skipped < 100 {
		t.Errorf("only %d requests over %d indexed policies", requests, skipped)
	}
}

func indexOf(t *testing.T, all *cedar.PolicySet) *index {
	t.Helper()
	var rules []*rule
	for id, p := range all.All() {
		rules = append(rules, &rule{policy: p, id: id})
	}
	x, err := newIndex(rules)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// answers lists reasons and errors in a fixed order.
func answers(d cedar.Diagnostic) []string {
	var reasons, errs []cedar.PolicyID
	for _, r := range d.Reasons {
		reasons = append(reasons, r.PolicyID)
	}
	for _, e := range d.Errors {
		errs = append(errs, e.PolicyID)
	}
	return stated(reasons, errs)
}

func stated(reasons, errs []cedar.PolicyID) []string {
	var out []string
	for _, id := range reasons {
		out = append(out, "by "+string(id))
	}
	for _, id := range errs {
		out = append(out, "error "+string(id))
	}
	slices.Sort(out)
	return out
}

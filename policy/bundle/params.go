// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Params are the typed parameters of params.yaml. Empty lists permit nothing.
type Params struct {
	Roots             []string `yaml:"roots" json:"roots"`           // absolute folders besides the session's own
	Hosts             []string `yaml:"hosts" json:"hosts"`           // host names, lower case, that may be read from
	Recipients        []string `yaml:"recipients" json:"recipients"` // addresses that count as inside
	Commands          []string `yaml:"commands" json:"commands"`     // "program" or "program verb" that may run unasked
	RequireSeparation bool     `yaml:"require_separation" json:"require_separation"`
	DatabasesRead     []string `yaml:"databases_read" json:"databases_read"`   // on which statements that only read pass
	DatabasesWrite    []string `yaml:"databases_write" json:"databases_write"` // on which rows may be changed
	DatabasesAsk      []string `yaml:"databases_ask" json:"databases_ask"`     // on which changes ask a person
	TablesHidden      []string `yaml:"tables_hidden" json:"tables_hidden"`     // that no statement may name
}

// ReadParams reads and checks parameters; roots come back clean.
func ReadParams(data []byte) (Params, error) {
	var p Params
	if err := strictyaml.Decode(ParamsFile, data, &p); err != nil {
		return Params{}, err
	}
	for i, r := range p.Roots {
		if !strings.HasPrefix(r, "/") || path.Clean(r) == "/" || slices.Contains(strings.Split(r, "/"), "..") {
			return Params{}, fmt.Errorf("%s: root %q is no absolute folder below /", ParamsFile, action.Clip(r, 200))
		}
		p.Roots[i] = path.Clean(r)
	}
	for _, h := range p.Hosts {
		if h == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "/:*@ ") || strings.HasPrefix(h, ".") {
			return Params{}, fmt.Errorf("%s: host %q is no lower-case host name", ParamsFile, action.Clip(h, 200))
		}
	}
	for _, r := range p.Recipients {
		if strings.TrimSpace(r) == "" {
			return Params{}, fmt.Errorf("%s: an empty recipient", ParamsFile)
		}
	}
	for _, c := range p.Commands {
		if f := strings.Fields(c); len(f) < 1 || len(f) > 2 || strings.Join(f, " ") != c || strings.Contains(c, "/") {
			return Params{}, fmt.Errorf("%s: command %q is neither \"program\" nor \"program verb\"", ParamsFile, action.Clip(c, 200))
		}
	}
	return p, nil
}

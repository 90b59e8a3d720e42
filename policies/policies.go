// SPDX-License-Identifier: Apache-2.0

// Package policies holds the policy packs that come with the binary, as data.
package policies

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed airline/*.rego airline/*.yaml airline/*.md airline/tests
//go:embed airline-cedar/*.cedar airline-cedar/*.yaml airline-cedar/*.md airline-cedar/tests
//go:embed baseline/*.rego baseline/*.yaml baseline/*.md baseline/tests
//go:embed cedar-example/*.cedar cedar-example/*.yaml cedar-example/*.md cedar-example/tests
//go:embed egress/*.rego egress/*.yaml egress/*.md egress/tests
//go:embed filesystem/*.rego filesystem/*.yaml filesystem/*.md filesystem/tests
//go:embed git/*.rego git/*.yaml git/*.md git/tests
//go:embed mail/*.rego mail/*.yaml mail/*.md mail/tests
//go:embed payments/*.rego payments/*.yaml payments/*.md payments/tests
//go:embed multi-agent/*.rego multi-agent/*.yaml multi-agent/*.md multi-agent/tests
//go:embed shell/*.rego shell/*.yaml shell/*.md shell/tests
//go:embed sql/*.rego sql/*.yaml sql/*.md sql/tests
//go:embed appraisal/*.rego appraisal/*.yaml appraisal/*.md
var packs embed.FS

// Names lists the packs.
func Names() []string {
	return []string{"baseline", "airline", "airline-cedar", "cedar-example", "egress", "filesystem", "git", "mail", "multi-agent", "payments", "shell", "sql"}
}

// Documents lists the packs that decide on nothing: other parts evaluate their documents.
func Documents() []string { return []string{"appraisal"} }

// Pack returns the files of the named pack.
func Pack(name string) (fs.FS, error) {
	if !slices.Contains(Names(), name) && !slices.Contains(Documents(), name) {
		return nil, fmt.Errorf("there is no pack %q", name)
	}
	return fs.Sub(packs, name)
}

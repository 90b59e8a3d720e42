// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"path"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// OnlyForbids returns "" if files hold nothing but forbids without obligations, so that adding them to others
// changes no decision but to a stricter one; else what stands against it.
func OnlyForbids(files []File) string {
	for _, f := range files {
		policies, err := cedar.NewPolicyListFromBytes(f.Name, f.Data)
		if err != nil {
			return fmt.Sprintf("%s: %v", f.Name, err)
		}
		for _, p := range policies {
			r, err := readRule(strings.TrimSuffix(path.Base(f.Name), ".cedar"), p)
			if err != nil {
				return fmt.Sprintf("%s:%d: %v", f.Name, p.Position().Line, err)
			}
			if p.Effect() != cedar.Forbid || len(r.obligations) > 0 {
				return fmt.Sprintf("%s:%d: a permit or an obligation", f.Name, p.Position().Line)
			}
		}
	}
	return ""
}

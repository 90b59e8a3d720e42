// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"

	"github.com/sallyport/sallyport/action"
)

// patch states the paths that a patch changes, in the form that apply_patch reads:
//
//	*** Begin Patch
//	*** Add File: PATH       or Update File, Delete File
//	*** Move to: PATH        after Update File
//	...
//	*** End Patch
//
// A file that is added where one is already is lost: its access is destroy. Whatever else begins with three
// stars, stands outside the two marks, or names no path leaves the arguments not understood.
func (c *call) patch(pointer, s string) {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) < 3 || patchLine(lines[0]) != "*** Begin Patch" || patchLine(lines[len(lines)-1]) != "*** End Patch" {
		c.typed = false
		return
	}
	named := false
	for _, line := range lines[1 : len(lines)-1] {
		line = patchLine(line)
		if !strings.HasPrefix(strings.TrimLeft(line, " \t"), "***") || line == "*** End of File" {
			if !named {
				c.typed = false
			}
			continue
		}
		access, name, ok := patchHead(line)
		if !ok {
			c.typed = false
			continue
		}
		named = true
		p := c.r.path(pointer, name, access, c.at, false)
		if strings.HasPrefix(line, "*** Add File: ") && p.Exists != action.No {
			p.Access = action.EffectDestroy
		}
		if p.Resolved == "" {
			c.typed = false
		}
		c.addPath(p)
	}
	if !named {
		c.typed = false
	}
}

func patchLine(s string) string { return strings.TrimSuffix(s, "\r") }

func patchHead(line string) (access action.Effect, name string, ok bool) {
	for prefix, access := range map[string]action.Effect{
		"*** Add File: ": action.EffectWrite, "*** Update File: ": action.EffectWrite, "*** Delete File: ": action.EffectDestroy, "*** Move to: ": action.EffectWrite,
	} {
		if name, found := strings.CutPrefix(line, prefix); found {
			name = strings.TrimSpace(name)
			return access, name, name != ""
		}
	}
	return action.EffectUnknown, "", false
}

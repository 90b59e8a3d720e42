// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Propose writes a rule for an action that no rule is about, as a draft to narrow: a reviewed tool may do what its
// definition says, with arguments that were understood. Where things leave or are lost it asks.
func Propose(tool string, effect action.Effect) string {
	head := `allow contains {"id": %s, "code": "proposed", "reason": "A reviewed tool does what it says."} if {`
	if slices.Contains(sinks, effect) || effect == action.EffectExecute {
		head = `ask contains {"id": %s, "code": "proposed", "reason": "{tool} does something that needs a person.", "hint": "A person has to approve this."} if {`
	}
	return fmt.Sprintf(head, quote(proposedID(tool, effect))) + "\n" + strings.Join([]string{
		"\tinput.phase == \"before\"", "\tinput.resource.id == " + quote(tool), "\tinput.action.effect == " + quote(action.Word(effect)),
		"\tinput.action.typed == \"known\"", "\tinput.resource.definition.state == \"approved\"", "}"}, "\n") + "\n"
}

// proposedID names a rule after a tool.
func proposedID(tool string, effect action.Effect) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, action.Clip(tool, 80))
	return strings.Trim(id, "-") + "." + action.Word(effect)
}

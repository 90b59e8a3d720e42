// SPDX-License-Identifier: Apache-2.0

package usage

import "testing"

func TestTreeSeesWhatWasMarked(t *testing.T) {
	var tree Tree
	tree.Mark("action", "effect")
	tree.Mark("context")
	tree.Mark("context", "time")
	action, ok := tree.Field("action")
	if !ok {
		t.Fatal("action is not seen")
	}
	if _, ok := action.Field("effect"); !ok {
		t.Error("action.effect is not seen")
	}
	if _, ok := action.Field("paths"); ok {
		t.Error("action.paths is seen")
	}
	context, _ := tree.Field("context")
	if flow, ok := context.Field("flow"); !ok || flow != nil {
		t.Error("a name below a whole part is not seen whole")
	}
	if _, ok := tree.Field("subject"); ok {
		t.Error("subject is seen")
	}
	tree.Mark()
	if _, ok := tree.Field("subject"); !ok {
		t.Error("marking without a path does not see everything")
	}
}

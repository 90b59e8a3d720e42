// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
)

// FuzzRender gives values of the wire that nobody checked: whatever a server sends can be shown to policy as strict
// JSON, and what does not come out as it is stands there in full as hexadecimal.
func FuzzRender(f *testing.F) {
	for _, seed := range []struct {
		oid    uint32
		format int16
		v      string
	}{
		{oidInt4, 1, "\x00\x00\x00\x07"}, {oidInt8, 1, "\x7f\xff\xff\xff\xff\xff\xff\xff"}, {oidBool, 1, "\x01"}, {oidFloat8, 1, "\x7f\xf8\x00\x00\x00\x00\x00\x00"},
		{oidNumeric, 1, "\x00\x02\x00\x01\x40\x00\x00\x02\x00\x01\x09\x29"}, {oidNumeric, 1, "\xff\xff\x00\x00\x00\x00\x00\x00"}, {oidUUID, 1, "0123456789abcdef"},
		{oidJSONB, 1, "\x01{\"k\": 1}"}, {oidText, 0, "plain"}, {oidText, 1, "\xff\x00"}, {oidInt4, 0, "-7"}, {1009, 1, "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x19\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01x"},
		{1009, 1, "\x7f\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x19"},
	} {
		f.Add(seed.oid, seed.format, []byte(seed.v))
	}
	f.Fuzz(func(t *testing.T, oid uint32, format int16, v []byte) {
		shown, plain, clear := render(oid, format, v)
		b, err := action.Canonical(map[string]any{"v": shown})
		if err != nil || action.Check(b, action.Limits{}) != nil {
			t.Fatalf("%v cannot be shown: %v", shown, err)
		}
		if s, ok := shown.(string); plain && (!ok || !utf8.ValidString(s) || strings.Contains(s, "\x00")) {
			t.Fatalf("text may not stand in the place of %q (%v)", v, shown)
		}
		if !clear && format == 1 && shown != hex.EncodeToString(v) {
			if s, ok := shown.(string); !ok || s != string(v) {
				t.Fatalf("%q was not understood, and is shown as %v", v, shown)
			}
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// FuzzHost finds Host headers that pass on a loopback listener without naming this machine.
func FuzzHost(f *testing.F) {
	for _, h := range []string{"localhost", "127.0.0.1:1", "[::1]:7117", "evil.example", "localhost.", "[::ffff:127.0.0.1]", "127.1", "0x7f.1", "localhost:1:2", "[::1%lo]"} {
		f.Add(h)
	}
	h, _ := newHandler(f, Config{}, ok)
	f.Fuzz(func(t *testing.T, host string) {
		r := request("GET", host, "ann")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			return
		}
		name := strings.TrimSuffix(strings.ToLower(host), ".")
		if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") && (strings.Count(name, ":") == 1 || strings.Contains(name, "]")) {
			name = name[:i]
		}
		name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
		ip, err := netip.ParseAddr(name)
		if name != "localhost" && (err != nil || !ip.Unmap().IsLoopback()) {
			t.Errorf("%q passes", host)
		}
	})
}

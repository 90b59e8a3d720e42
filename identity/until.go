// SPDX-License-Identifier: Apache-2.0

package identity

import "time"

// Until returns when a token ends by itself; the beginning of time for one that is not known.
func (t *Tokens) Until(id string) time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.tokens[id]
	if !ok {
		return time.UnixMilli(0)
	}
	return time.UnixMilli(r.ExpiresMs)
}

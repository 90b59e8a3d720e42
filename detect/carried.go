// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// commandUser takes the password of "curl -u user:password" and its like; the option ends at text[:end].
func commandUser(text string, end int) (hit, bool) {
	line := strings.LastIndexByte(text[max(0, end-200):end], '\n') + 1 + max(0, end-200)
	if !strings.Contains(text[line:end], "curl") && !strings.Contains(text[line:end], "wget") {
		return hit{}, false
	}
	i := skip(text, end, "= \"'\\", 4)
	stop := i
	for stop < len(text) && stop-i < 200 && strings.IndexByte(" \t\r\n\"'\\", text[stop]) < 0 {
		stop++
	}
	user, value, ok := strings.Cut(text[i:stop], ":")
	if !ok || user == "" || len(value) < 4 || strings.ContainsAny(value, "${}<>") || !plausible(value, 1) {
		return hit{}, false
	}
	return secretHit("url-password", stop-len(value), stop), true
}

// clusterSecret takes the values of a Secret of Kubernetes in YAML: the lines below "data:" or
// "stringData:" that follow its kind.
func clusterSecret(text string, end int) (hit, bool) {
	block := text[end:min(len(text), end+4096)]
	if i := strings.Index(block, "\n---"); i >= 0 {
		block = block[:i]
	}
	at, indent := 0, 0
	for l := range strings.Lines(block) {
		if t := strings.TrimSpace(l); t == "data:" || t == "stringData:" {
			indent = len(l) - len(strings.TrimLeft(l, " "))
			at += len(l)
			break
		}
		at += len(l)
	}
	start, stop := -1, -1
	for l := range strings.Lines(block[at:]) {
		_, value, ok := strings.Cut(l, ": ")
		if value = strings.TrimSpace(value); !ok || len(l)-len(strings.TrimLeft(l, " ")) <= indent {
			break
		}
		at += len(l)
		if v := strings.Trim(value, `"'`); len(v) >= 8 && !strings.ContainsAny(v, " {}$<>") && !isMarker(v) {
			stop = at - (len(l) - len(strings.TrimRight(l, "\r\n\"' ")))
			if start < 0 {
				start = stop - len(v)
			}
		}
	}
	if start < 0 {
		return hit{}, false
	}
	return secretHit("cluster-secret", end+start, end+stop), true
}

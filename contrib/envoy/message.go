// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// secretFields are header fields whose value nobody has to see for a decision: that they are there is stated.
var secretFields = map[string]bool{"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "x-api-key": true, "api-key": true,
	"x-auth-token": true, "x-goog-api-key": true, "x-amz-security-token": true, "x-csrf-token": true, "private-token": true}

// message is an HTTP request or response as policy sees it.
type message struct {
	Method  string            `json:"method,omitempty"`
	URL     string            `json:"url,omitempty"`
	Status  string            `json:"status,omitempty"`
	Headers map[string]string `json:"headers"`
	Text    *string           `json:"text,omitempty"`   // the body, if it is text
	Base64  *string           `json:"base64,omitempty"` // the body, if it is none
	Unseen  bool              `json:"unseen,omitzero"`  // there is a body that we were not shown
}

// clean returns header fields without pseudo fields and secrets. Names are in lower case already.
func clean(in map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range in {
		name = strings.ToLower(name)
		switch {
		case strings.HasPrefix(name, ":"):
		case secretFields[name]:
			out[name] = "present"
		default:
			out[name] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	return out
}

// setBody states a body.
func (m *message) setBody(b []byte) {
	if utf8.Valid(b) {
		s := string(b)
		m.Text = &s
		return
	}
	s := base64.StdEncoding.EncodeToString(b)
	m.Base64 = &s
}

// body is the body that m states, and whether it states one.
func (m *message) body() ([]byte, bool) {
	switch {
	case m.Text != nil:
		return []byte(*m.Text), true
	case m.Base64 != nil:
		b, err := base64.StdEncoding.DecodeString(*m.Base64)
		return b, err == nil
	}
	return nil, false
}

// address is the URL of a request. What names no host names nothing that could be decided on.
func address(scheme, host, path string) (string, bool) {
	if host == "" || path == "" || strings.ContainsAny(host, "/?#@ \t") || path[0] != '/' && path != "*" {
		return "", false
	}
	if scheme == "" {
		scheme = "http"
	}
	return scheme + "://" + host + path, true
}

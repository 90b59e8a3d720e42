// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ErrNoKeyring means that there is no keyring of the kernel's here: another system, or a container that may not use it.
var ErrNoKeyring = errors.New("seal: the kernel offers no keyring")

// OpenKeyring finds the wrapping key in the kernel's keyrings of the user: a key of the type "user" with this
// description, whose payload is what OpenFile's file holds. It is never made here, because it lives in memory: after
// a restart of the machine, or the end of the session whose keyring holds it, somebody has to put it there again
//
//	keyctl padd user DESCRIPTION @u < FILE
//
// from wherever FILE is kept, and until then nothing opens. Every process of the user's that may read the key does.
func OpenKeyring(description string) (*File, error) {
	if description == "" || strings.ContainsFunc(description, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("seal: %q is no description of a key", description)
	}
	b, err := fromKeyring(description)
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(string(b), fileHead)
	key, derr := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if !ok || derr != nil || len(key) != 32 {
		return nil, fmt.Errorf("seal: the key %q of the keyring is no wrapping key", description)
	}
	return newFile("keyring "+description, key)
}

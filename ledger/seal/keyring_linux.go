// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// fromKeyring searches the session's keyring and the user's, and reads at most 4 KiB.
func fromKeyring(description string) ([]byte, error) {
	for _, ring := range []int{unix.KEY_SPEC_SESSION_KEYRING, unix.KEY_SPEC_USER_KEYRING} {
		id, err := unix.KeyctlSearch(ring, "user", description, 0)
		switch {
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			return nil, fmt.Errorf("%w: %v", ErrNoKeyring, err)
		case err != nil: // no such key, or one that expired or was revoked
			continue
		}
		buf := make([]byte, 4<<10)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
		if err != nil {
			return nil, fmt.Errorf("seal: the key %q of the keyring may not be read: %w", description, err)
		}
		return buf[:min(n, len(buf))], nil
	}
	return nil, fmt.Errorf("seal: no key %q in the kernel's keyrings; hint: keyctl padd user %s @u < FILE, after each restart of the machine", description, description)
}

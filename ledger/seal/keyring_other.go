// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package seal

func fromKeyring(string) ([]byte, error) { return nil, ErrNoKeyring }

// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package modelsig

import "errors"

func kernelVerity(uintptr) ([]byte, error) { return nil, errors.ErrUnsupported }

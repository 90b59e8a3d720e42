// SPDX-License-Identifier: Apache-2.0

//go:build !js

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "sallyport-replay: it runs in browsers and Node, built for js/wasm\nhint: docs/verify/build.sh; here, take decisions again with \"sallyport replay SESSION\"")
	os.Exit(2)
}

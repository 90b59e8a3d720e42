#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the policy engine for browsers and Node out of these sources, for whoever wants to take recorded decisions again
# without trusting anything that was built by others: replay.wasm and wasm_exec.js, in FOLDER or beside this file. Wants Go.
#
#	docs/verify/build.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$here/../.."
GOOS=js GOARCH=wasm CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/replay.wasm" ./cmd/sallyport-replay
cp "$(go env GOROOT)/lib/wasm/wasm_exec.js" "$out/wasm_exec.js"

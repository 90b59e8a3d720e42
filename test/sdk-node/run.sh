#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the TypeScript SDK and runs its tests, against real owner processes and the real packages of the
# frameworks. Exit: 0 they pass, 1 they do not, 2 npm is missing.
#
#	test/sdk-node/run.sh [FILE...]        default: every test/*.test.mjs
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
sh "$root/test/sdk-node/install.sh"
mkdir -p "$root/.cache/bin"
(cd "$root" && go build -trimpath -o .cache/bin/sallyport ./cmd/sallyport)
sdk=$root/.cache/sdk-node/sdk
rm -rf "$sdk"
mkdir -p "$sdk"
cp -R "$root/sdk/typescript/." "$sdk/"
mkdir -p "$sdk/example" "$root/.cache/sdk-node/node_modules/@sallyport"
cp "$root/examples/langchain-js/agent.mjs" "$sdk/example/"
ln -sfn ../../sdk "$root/.cache/sdk-node/node_modules/@sallyport/sdk"
cd "$sdk"
PATH=$root/.cache/node/node_modules/node/bin:$PATH
export PATH SALLYPORT_ROOT="$root" SALLYPORT_BIN="$root/.cache/bin/sallyport"
node ../node_modules/typescript/bin/tsc -p .
[ $# -gt 0 ] || set -- test/*.test.mjs
node --test --test-concurrency=2 --test-reporter=dot "$@"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of the TypeScript SDK, against real owner processes and the real packages of the
# frameworks. Exit: 0 they pass, 1 they do not, 2 npm is missing.
#
#	test/sdk-node/run.sh [FILE...]        default: every test/*.test.mjs
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
sh "$root/test/sdk-node/install.sh"
mkdir -p "$root/.cache/bin"
(cd "$root" && go build -trimpath -o .cache/bin/sallyport ./cmd/sallyport)
cd "$root/.cache/sdk-node/sdk"
PATH=$root/.cache/node/node_modules/node/bin:$PATH
export PATH SALLYPORT_ROOT="$root" SALLYPORT_BIN="$root/.cache/bin/sallyport"
[ $# -gt 0 ] || set -- test/*.test.mjs
node --test --test-concurrency=2 --test-timeout=300000 --test-force-exit --test-reporter=dot "$@"

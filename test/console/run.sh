#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Proves that the embedded console is what console/ builds, then uses it in Debian's Chromium, against real owners.
# Screenshots of every page are left in .cache/console/screenshots. Exit: 0 it passes, 1 it does not, 2 npm or the
# browser is missing.
#
#	test/console/run.sh [FILE...]        default: every test/console/*.test.mjs
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
sh "$root/console/build.sh" >&2
browser=$(command -v chromium || command -v chromium-browser || true)
[ -n "$browser" ] || { echo "console: chromium is missing" >&2; exit 2; }
mkdir -p "$root/.cache/bin"
(cd "$root" && go build -trimpath -o .cache/bin/sallyport ./cmd/sallyport)
rm -rf "$root/.cache/console/test"
cp -R "$root/test/console" "$root/.cache/console/test"
cd "$root/.cache/console"
PATH=$root/.cache/node/node_modules/node/bin:$PATH
for v in $(env | sed -n "s/^\(SALLYPORT_[A-Z_]*\)=.*/\1/p"); do unset "$v"; done # they would go before the owners' configuration
export PATH SALLYPORT_ROOT="$root" SALLYPORT_BIN="$root/.cache/bin/sallyport" BROWSER="$browser"
[ $# -gt 0 ] || set -- test/*.test.mjs
node --test --test-concurrency=1 --test-timeout=300000 --test-force-exit --test-reporter=spec "$@"

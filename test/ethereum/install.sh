#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts a chain for developers, pinned by package-lock.json, into .cache/ethereum: the tests of ledger/anchor have a
# checkpoint mined by it. Exit: 0 it is there, 1 npm fails, 2 npm is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/test/ethereum
cache=$root/.cache/ethereum
command -v npm >/dev/null || { echo "ethereum: npm is missing" >&2; exit 2; }
sh "$root/test/node/install.sh"
if ! cmp -s "$here/package-lock.json" "$cache/package-lock.json" || [ ! -d "$cache/node_modules" ]; then
	mkdir -p "$cache"
	cp "$here/package.json" "$here/package-lock.json" "$cache/"
	(cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 1; }
fi

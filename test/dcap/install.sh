#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs a second verifier of Intel DCAP, pinned by package-lock.json, into
# .cache/dcap. Without it the comparison with it is skipped. Exit: 0 it is there, 1 npm fails, 2 npm is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/dcap
command -v npm >/dev/null || { echo "dcap: npm is missing" >&2; exit 2; }
cmp -s "$root/test/dcap/package-lock.json" "$cache/package-lock.json" && [ -d "$cache/node_modules" ] && exit 0
mkdir -p "$cache"
cp "$root/test/dcap/package.json" "$root/test/dcap/package-lock.json" "$cache/"
(cd "$cache" && npm ci --no-audit --no-fund --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 1; }

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Node programs that the stories of cmd/sallyport use, pinned by package-lock.json, into
# .cache/node. Without them those stories are skipped. Exit: 0 they are there, 1 npm fails, 2 npm is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/node
command -v npm >/dev/null || { echo "node: npm is missing" >&2; exit 2; }
cmp -s "$root/test/node/package-lock.json" "$cache/package-lock.json" && [ -d "$cache/node_modules" ] && exit 0
mkdir -p "$cache"
cp "$root/test/node/package.json" "$root/test/node/package-lock.json" "$cache/"
(cd "$cache" && npm ci --no-audit --no-fund --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 1; }

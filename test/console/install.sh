#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts the packages of console/package-lock.json into .cache/console. Node itself comes from .cache/node.
# Exit: 0 they are there, 1 npm fails, 2 npm is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/console
command -v npm >/dev/null || { echo "console: npm is missing" >&2; exit 2; }
sh "$root/test/node/install.sh"
if ! cmp -s "$root/console/package-lock.json" "$cache/installed-lock.json" || ! [ -d "$cache/node_modules" ]; then
	mkdir -p "$cache"
	cp "$root/console/package.json" "$root/console/package-lock.json" "$cache/"
	(cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || exit 1
	cp "$root/console/package-lock.json" "$cache/installed-lock.json"
fi

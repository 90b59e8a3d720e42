#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts the coding agents of package-lock.json into .cache/hosts, in which tests try the hooks against a scripted model on this
# machine. They are run there under their own licences, never shipped. Exit: 0 they are there, 1 npm fails, 2 npm is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/test/hosts
cache=$root/.cache/hosts
command -v npm >/dev/null || { echo "hosts: npm is missing" >&2; exit 2; }
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "hosts: npm is missing packages for $(uname -sm)" >&2; exit 2; }
if ! cmp -s "$here/package-lock.json" "$cache/package-lock.json" || [ ! -d "$cache/node_modules" ]; then
	mkdir -p "$cache"
	cp "$here/package.json" "$here/package-lock.json" "$cache/"
	(cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 1; }
fi

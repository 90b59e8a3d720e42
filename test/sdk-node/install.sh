#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts the packages of package-lock.json into .cache/sdk-node, and beside them the SDK of this checkout, built. Node
# itself comes from .cache/node. Exit: 0 they are there, 1 npm fails, 2 npm is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/sdk-node
command -v npm >/dev/null || { echo "sdk-node: npm is missing" >&2; exit 2; }
sh "$root/test/node/install.sh"
if ! cmp -s "$root/test/sdk-node/package-lock.json" "$cache/package-lock.json" || ! [ -d "$cache/node_modules" ]; then
	mkdir -p "$cache"
	cp "$root/test/sdk-node/package.json" "$root/test/sdk-node/package-lock.json" "$cache/"
	(cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 1; }
fi
sdk=$cache/sdk
rm -rf "$sdk"
mkdir -p "$sdk/example" "$cache/node_modules/@sallyport"
cp -R "$root/sdk/typescript/." "$sdk/"
cp "$root/examples/langchain-js/agent.mjs" "$sdk/example/"
ln -sfn ../../sdk "$cache/node_modules/@sallyport/sdk"
cd "$sdk"
"$root/.cache/node/node_modules/node/bin/node" ../node_modules/typescript/bin/tsc -p .

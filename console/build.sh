#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the console in .cache/console, which test/console/install.sh has filled, and compares with what is checked
# in and embedded. Exit: 0 they are the same, 1 they are not, 2 npm is missing.
#
#	console/build.sh [--update]        --update: take what was built
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cache=$root/.cache/console
sh "$root/test/console/install.sh"
for part in src public index.html tsconfig.json vite.config.ts; do
	rm -rf "${cache:?}/$part"
	cp -R "$root/console/$part" "$cache/$part"
done
rm -rf "$root/.cache/docs"
mkdir -p "$root/.cache/docs"
cp -R "$root/docs/verify" "$root/.cache/docs/verify" # the verifier that the console imports
cd "$cache"
PATH=$root/.cache/node/node_modules/node/bin:$PATH
export PATH
node node_modules/svelte-check/bin/svelte-check --tsconfig ./tsconfig.json --fail-on-warnings --output human
node node_modules/vite/bin/vite.js build --logLevel warn --emptyOutDir
if [ "${1:-}" = --update ]; then
	rm -rf "$root/admin/console/dist"
	cp -R dist "$root/admin/console/dist"
fi
diff -r dist "$root/admin/console/dist" || { echo "console: admin/console/dist is not what console/ builds; renew it with: console/build.sh --update" >&2; exit 1; }

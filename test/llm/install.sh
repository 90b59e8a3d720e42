#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts the providers' own clients, pinned, into .cache/llm: for Node those of package-lock.json, for Python those of
# requirements.lock on top of test/sdk-python. Exit: 0 they are there, 1 npm or pip fails, 2 one of them is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/test/llm
cache=$root/.cache/llm
command -v npm >/dev/null || { echo "llm: npm is missing" >&2; exit 2; }
sh "$root/test/node/install.sh"
sh "$root/test/sdk-python/install.sh"
if ! cmp -s "$here/package-lock.json" "$cache/package-lock.json" || [ ! -d "$cache/node_modules" ]; then
	mkdir -p "$cache"
	cp "$here/package.json" "$here/package-lock.json" "$cache/"
	(cd "$cache" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 1; }
fi
if ! cmp -s "$here/requirements.lock" "$cache/requirements.lock"; then
	rm -rf "$cache/python"
	PIP_CACHE_DIR=$root/.cache/pip "$root/.cache/sdk-python/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps \
		--no-compile --only-binary :all: --target "$cache/python" --requirement "$here/requirements.lock"
	cp "$here/requirements.lock" "$cache/"
fi

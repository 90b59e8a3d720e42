#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes .cache/model-signing: a virtual environment with the packages of requirements.lock. Exit: 0 it is there,
# 1 pip fails, 2 there is no Python 3.11 or 3.12.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/model-signing
python=
for p in python3 python3.12 python3.11; do
	"$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { python=$p; break; }
done
[ -n "$python" ] || { echo "model-signing: Python 3.11 or 3.12 is missing" >&2; exit 2; }
cmp -s "$root/test/model-signing/requirements.lock" "$cache/requirements.lock" && exit 0
rm -rf "$cache"
mkdir -p "$cache"
"$python" -m venv "$cache/venv"
PIP_CACHE_DIR=$root/.cache/pip "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps --no-compile \
	--only-binary :all: --requirement "$root/test/model-signing/requirements.lock"
cp "$root/test/model-signing/requirements.lock" "$cache/"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The tests of the Python SDK, against real owner processes and the real packages of the frameworks. Exit: 0
# they pass, 1 they do not, 2 Python is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
sh "$root/test/sdk-python/install.sh"
mkdir -p "$root/.cache/bin"
(cd "$root" && go build -trimpath -o .cache/bin/sallyport ./cmd/sallyport)
cd "$root/sdk/python"
SALLYPORT_BIN=$root/.cache/bin/sallyport PYTHONDONTWRITEBYTECODE=1 "$root/.cache/sdk-python/venv/bin/python" -m pytest -q -p no:cacheprovider tests "$@"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Holds our X.509-SVIDs and our client of the SPIFFE workload API against go-spiffe. It brings gRPC, so that the module
# stands apart; it is completed in .cache/spiffe, because what the product itself requires changes.
#
#	test/spiffe/run.sh [FLAG OF go test...]
#
# Exit: 0 they agree, 1 they do not, 2 go-spiffe cannot be had.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/spiffe
mkdir -p "$cache"
cp "$root"/test/spiffe/*_test.go "$cache/"
sed "s|=> ../..|=> $root|" "$root/test/spiffe/go.mod" > "$cache/go.mod"
cp "$root/go.sum" "$cache/go.sum"
cd "$cache"
go mod tidy >tidy.log 2>&1 || { echo "spiffe: go-spiffe is missing: $(tail -n 1 tidy.log)" >&2; exit 2; }
exec go test "$@" .

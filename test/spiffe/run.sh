#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Holds our X.509-SVIDs and our client of the SPIFFE workload API against go-spiffe, a module of its own because it
# brings gRPC.
set -eu
cd "$(dirname "$0")"
exec go test "$@" ./...

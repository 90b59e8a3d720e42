#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the official MCP conformance suite against the Go SDK's everything-server, once direct and once
# through a whole owner whose policy allows everything, for both requirement sets. The scores must be equal,
# scenario by scenario.
#
#	test/conformance/run.sh [REVISION...]        default: 2026-07-28 2025-11-25
#	DOOR=-passthrough test/conformance/run.sh    through the plumbing alone
#
# Tools are pinned by package-lock.json and installed into .cache/conformance. Exit: 0 equal, 1 not, 2 a tool
# is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/conformance
out=$cache/out
mkdir -p "$out"

command -v npm >/dev/null || { echo "conformance: npm is missing" >&2; exit 2; }
if ! cmp -s "$root/test/conformance/package-lock.json" "$cache/package-lock.json"; then
	cp "$root/test/conformance/package.json" "$root/test/conformance/package-lock.json" "$cache/"
	(cd "$cache" && npm ci --no-audit --no-fund --loglevel=error) || { rm -f "$cache/package-lock.json"; exit 2; }
fi
(cd "$root" && go build -o "$cache/everything" github.com/modelcontextprotocol/go-sdk/conformance/everything-server &&
	go build -o "$cache/door" ./test/conformance/door)

pids=
stop() { for p in $pids; do kill "$p" 2>/dev/null || :; done; pids=; wait; }
trap stop EXIT INT TERM

# await FILE: the first line of FILE, once there is one.
await() {
	n=0
	until [ -s "$1" ]; do
		n=$((n + 1))
		[ "$n" -lt 200 ] || { echo "conformance: $1 stays empty" >&2; exit 2; }
		sleep 0.05
	done
	head -n 1 "$1"
}

# suite URL REVISION FILE: run the requirement set and keep what was scored.
suite() {
	PATH=$cache/node_modules/.bin:$PATH node "$cache/node_modules/.bin/conformance" server \
		--url "$1" --requirements "$2" >"$3" 2>&1 && echo 0 >"$3.exit" || echo $? >"$3.exit"
	grep -E '^(✓|✗|Total)' "$3" >"$3.score" || :
}

bad=0
for revision in ${@:-2026-07-28 2025-11-25}; do
	stateless=true
	[ "$revision" = 2026-07-28 ] || stateless=false
	: >"$out/free"
	"$cache/door" -free >"$out/free"
	address=$(cat "$out/free")
	"$cache/everything" -http "$address" -stateless=$stateless >"$out/server.log" 2>&1 &
	pids="$pids $!"
	await "$out/server.log" >/dev/null
	: >"$out/url"
	rm -f "$out/$revision.report"
	"$cache/door" ${DOOR:-} -upstream "http://$address" -report "$out/$revision.report" >"$out/url" 2>"$out/door.log" &
	pids="$pids $!"
	url=$(await "$out/url")
	suite "http://$address" "$revision" "$out/$revision.direct"
	suite "$url" "$revision" "$out/$revision.door"
	stop
	if [ -s "$out/$revision.door.score" ] && cmp -s "$out/$revision.direct.score" "$out/$revision.door.score" &&
		cmp -s "$out/$revision.direct.exit" "$out/$revision.door.exit"; then
		echo "$revision: equal, $(grep '^Total' "$out/$revision.door.score"), exit $(cat "$out/$revision.door.exit")"
		[ ! -s "$out/$revision.report" ] || echo "$revision: through the owner: $(head -n 1 "$out/$revision.report")"
	else
		echo "$revision: the score through the door differs" >&2
		diff "$out/$revision.direct.score" "$out/$revision.door.score" >&2 || :
		bad=1
	fi
done
exit $bad

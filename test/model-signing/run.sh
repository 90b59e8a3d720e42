#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Signs models here and verifies them with the Python library of OpenSSF Model Signing, and the other way round; a
# changed file must be noticed by both. Exit: 0 they agree, 1 they do not, 2 Python is missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
sh "$root/test/model-signing/install.sh"
mkdir -p "$root/.cache/bin"
(cd "$root" && go build -trimpath -o .cache/bin/sallyport ./cmd/sallyport)
PATH=$root/.cache/bin:$root/.cache/model-signing/venv/bin:$PATH
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir -p ours/a theirs/a
for m in ours theirs; do # "a/x" and "a-b" are in another order part by part than letter by letter
	printf 'one' >$m/a/x
	printf 'two' >$m/a-b
	head -c 3000000 /dev/zero >$m/weights.safetensors
done
sallyport attest sign-model --new-key ours.pem ours
model_signing verify key ours --signature ours/model.sig --public_key ours.pem.pub
cp -r theirs scratch
sallyport attest sign-model --new-key theirs.pem scratch >/dev/null
model_signing sign key theirs --signature theirs/model.sig --private_key theirs.pem
sallyport attest verify-model --key theirs.pem.pub theirs | grep -q 'model.*3 files'
root_of() { python3 -c 'import base64,json,sys; print(json.loads(base64.b64decode(json.load(open(sys.argv[1]))["dsseEnvelope"]["payload"]))["subject"][0]["digest"]["sha256"])' "$1"; }
[ "$(root_of ours/model.sig)" = "$(root_of theirs/model.sig)" ] || { echo "two digests for the same files" >&2; exit 1; }
printf 'three' >ours/a-b
printf 'three' >theirs/a-b
if model_signing verify key ours --signature ours/model.sig --public_key ours.pem.pub >/dev/null 2>&1; then echo "a changed file passes with them" >&2; exit 1; fi
if sallyport attest verify-model --key theirs.pem.pub theirs >/dev/null 2>&1; then echo "a changed file passes with us" >&2; exit 1; fi
echo "signed here and verified there, and the other way round"

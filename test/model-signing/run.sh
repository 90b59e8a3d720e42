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
mkdir three && cp -r ours/a ours/a-b ours/weights.safetensors three/
sallyport attest sign-model --key ours.pem --hash blake3 three >/dev/null
sallyport attest verify-model --key ours.pem.pub three | grep -q '3 files'
# Their command knows SHA-256 only, their library BLAKE3 too.
python3 - <<'EOF'
import os
import model_signing
model_signing.verifying.Config().use_elliptic_key_verifier(public_key="ours.pem.pub").verify("three", "three/model.sig")
os.remove("three/model.sig")
h = model_signing.hashing.Config().use_file_serialization(hashing_algorithm="blake3")
model_signing.signing.Config().use_elliptic_key_signer(private_key="theirs.pem").set_hashing_config(h).sign("three", "theirs.sig")
EOF
sallyport attest verify-model --key theirs.pem.pub --signature theirs.sig three | grep -q '3 files'
python3 - ours.pem cert.pem <<'EOF'
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
key = serialization.load_pem_private_key(open(sys.argv[1], "rb").read(), None)
name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")]), datetime.datetime.now(datetime.timezone.utc)
c = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
c = c.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
c = c.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
use = dict.fromkeys(["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"], False)
c = c.add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **use), True)
c = c.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), False)
open(sys.argv[2], "wb").write(c.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
EOF
cp -r theirs/a theirs/a-b theirs/weights.safetensors scratch/ && rm -f scratch/model.sig
model_signing sign certificate scratch --signature scratch/model.sig --private_key ours.pem --signing_certificate cert.pem --certificate_chain cert.pem
sallyport attest verify-model --roots cert.pem scratch | grep -q '3 files'
printf 'three' >ours/a-b
printf 'three' >theirs/a-b
if model_signing verify key ours --signature ours/model.sig --public_key ours.pem.pub >/dev/null 2>&1; then echo "a changed file passes with them" >&2; exit 1; fi
if sallyport attest verify-model --key theirs.pem.pub theirs >/dev/null 2>&1; then echo "a changed file passes with us" >&2; exit 1; fi
echo "signed here and verified there, and the other way round"

// SPDX-License-Identifier: Apache-2.0

// What a person signed: an assertion of a passkey (WebAuthn level 2) or an SSH signature (PROTOCOL.sshsig of
// OpenSSH) over a challenge of 32 bytes. Only WebCrypto judges signatures.

import { EMPTY, Refused, base64, concat, fromBase64url, hex, base64url, same, string, text } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";

const NAMESPACE = "approval@sallyport.dev";
const PREFIX = { passkey: "pk_", ssh: "sk_" };

/** keyID names a registered key by its digest. */
export const keyID = (k) => (PREFIX[k.kind] ?? "") + hex(sha256(text.encode(`${k.kind}\0${k.public}`)).subarray(0, 16));

/** verifySignature returns unless e proves that the holder of the registered key k signed challenge: then it throws. */
export async function verifySignature(k, challenge, e) {
  if (e.kind !== k.kind || e.signer !== keyID(k)) throw new Refused("it is of another key");
  if (e.challenge !== base64url(challenge)) throw new Refused("it is for another challenge");
  if (k.kind === "passkey") return assertion(k, e);
  if (k.kind === "ssh") return ssh(k, challenge, e.signature);
  throw new Refused("a key of an unknown kind");
}

async function holds(format, data, algorithm, use, signature, message) {
  try {
    const key = await crypto.subtle.importKey(format, data, algorithm, false, ["verify"]);
    if (await crypto.subtle.verify(use, key, signature, message)) return;
  } catch (e) {
    if (e?.name === "NotSupportedError") throw new Error(`this WebCrypto has no ${algorithm.name}`);
  }
  throw new Refused("the signature does not verify");
}

const rsa = (hash) => ({ name: "RSASSA-PKCS1-v1_5", hash });
const jwk = (b) => base64url(b);

// Passkeys.

/** cose reads a COSE key: a CBOR map of small integers to integers and byte strings. */
function cose(b) {
  let at = 0;
  const head = () => {
    const first = b[at++], n = first & 31;
    if (n < 24) return [first >> 5, n];
    const bytes = { 24: 1, 25: 2, 26: 4 }[n];
    if (!bytes || at + bytes > b.length) throw new Refused("the key is no COSE key");
    let v = 0;
    for (let i = 0; i < bytes; i++) v = v * 256 + b[at++];
    return [first >> 5, v];
  };
  const value = () => {
    const [major, n] = head();
    if (major === 0) return n;
    if (major === 1) return -1 - n;
    if ((major !== 2 && major !== 3) || at + n > b.length) throw new Refused("the key is no COSE key");
    return b.subarray(at, (at += n));
  };
  const [major, n] = head(), out = new Map();
  if (major !== 5 || n > 16) throw new Refused("the key is no COSE key");
  for (let i = 0; i < n; i++) out.set(value(), value());
  if (at !== b.length) throw new Refused("the key is no COSE key");
  return out;
}

/** fixed reads an ECDSA signature in DER as the two numbers that WebCrypto wants, of n bytes each. */
function fixed(der, n) {
  const bad = () => new Refused("not an ECDSA signature");
  const out = new Uint8Array(2 * n);
  let at = 0;
  const length = () => {
    let v = der[at++];
    if (v === 0x81) v = der[at++];
    else if (v > 0x7f) throw bad();
    return v;
  };
  if (der[at++] !== 0x30 || length() !== der.length - at) throw bad();
  for (const i of [0, 1]) {
    if (der[at++] !== 2) throw bad();
    let b = der.subarray(at + 1, at + 1 + length());
    at += b.length;
    while (b.length > 1 && b[0] === 0) b = b.subarray(1);
    if (b.length > n || at > der.length) throw bad();
    out.set(b, (i + 1) * n - b.length);
  }
  if (at !== der.length) throw bad();
  return out;
}

/** origin is scheme and host of an address, "" of anything else. */
function origin(s) {
  try {
    const u = new URL(s);
    return u.host ? `${u.protocol}//${u.host}` : "";
  } catch {
    return "";
  }
}

async function assertion(k, e) {
  const data = fromBase64url(e.client_data), auth = fromBase64url(e.auth_data), signature = fromBase64url(e.signature);
  let client;
  try { client = JSON.parse(string(data, "the client's data")); } catch { throw new Refused("the client's data cannot be read"); }
  if (client?.type !== "webauthn.get" || client.challenge !== e.challenge) throw new Refused("the client signed another challenge");
  const site = origin(client.origin);
  if (!k.rp_id || !Array.isArray(k.origins) || site === "" || !k.origins.some((o) => origin(o) === site)) {
    throw new Refused("it was signed at another origin");
  }
  if (client.topOrigin) throw new Refused("it was signed inside another site");
  if (auth.length < 37 || !same(auth.subarray(0, 32), sha256(text.encode(k.rp_id)))) throw new Refused("it is for another site");
  if ((auth[32] & 5) !== 5) throw new Refused("nobody was present, or nobody was verified"); // UP and UV
  const key = cose(fromBase64url(k.public)), kind = `${key.get(1)} ${key.get(3)} ${key.get(1) === 3 ? "" : key.get(-1)}`;
  const signed = concat(auth, sha256(data));
  switch (kind) {
    case "2 -7 1":
      return holds("jwk", { kty: "EC", crv: "P-256", x: jwk(key.get(-2)), y: jwk(key.get(-3)) }, { name: "ECDSA", namedCurve: "P-256" },
        { name: "ECDSA", hash: "SHA-256" }, fixed(signature, 32), signed);
    case "1 -8 6":
      return holds("raw", key.get(-2), { name: "Ed25519" }, { name: "Ed25519" }, signature, signed);
    case "3 -257 ":
      return holds("jwk", { kty: "RSA", n: jwk(key.get(-1)), e: jwk(key.get(-2)) }, rsa("SHA-256"), rsa("SHA-256"), signature, signed);
  }
  throw new Refused("the key is of a kind that is not taken");
}

// SSH.

/** fields reads length-prefixed strings. */
class Fields {
  constructor(b) { this.b = b; }
  take() {
    const b = this.b;
    if (b.length < 4) throw new Refused("not an SSH signature");
    const n = new DataView(b.buffer, b.byteOffset).getUint32(0);
    if (4 + n > b.length) throw new Refused("not an SSH signature");
    this.b = b.subarray(4 + n);
    return b.subarray(4, 4 + n);
  }
  word() { return string(this.take(), "an SSH signature"); }
  skip(n) {
    if (this.b.length < n) throw new Refused("not an SSH signature");
    const out = this.b.subarray(0, n);
    this.b = this.b.subarray(n);
    return out;
  }
  end() { if (this.b.length) throw new Refused("not an SSH signature"); }
}

const field = (b) => {
  const out = new Uint8Array(4 + b.length);
  new DataView(out.buffer).setUint32(0, b.length);
  out.set(b, 4);
  return out;
};

/** mpint drops the zero that keeps a number positive. */
const mpint = (b) => { while (b.length > 1 && b[0] === 0) b = b.subarray(1); return b; };

async function ssh(k, challenge, armoured) {
  const m = /^-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----$/.exec(String(armoured).trim().replace(/\r/g, ""));
  const registered = /^(\S+) (\S+)(?: .*)?$/.exec(k.public);
  if (!m || !registered) throw new Refused("not an armoured SSH signature");
  const blob = base64(m[1].replace(/\n/g, "")), key = base64(registered[2]), f = new Fields(blob);
  if (string(f.skip(6), "an SSH signature") !== "SSHSIG" || !same(f.skip(4), Uint8Array.of(0, 0, 0, 1))) throw new Refused("not an SSH signature");
  if (!same(f.take(), key)) throw new Refused("another key signed");
  if (f.word() !== NAMESPACE) throw new Refused("it was signed for another purpose");
  if (f.word() !== "" || f.word() !== "sha512") throw new Refused("the hash is not sha512");
  const sig = new Fields(f.take());
  f.end();
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-512", challenge));
  const message = concat(text.encode("SSHSIG"), field(text.encode(NAMESPACE)), field(EMPTY), field(text.encode("sha512")), field(hash));
  return sshHolds(new Fields(key), sig, message, registered[1]);
}

const curves = { nistp256: ["P-256", "SHA-256", 32], nistp384: ["P-384", "SHA-384", 48], nistp521: ["P-521", "SHA-512", 66] };

async function sshHolds(key, sig, message, line) {
  const type = key.word(), format = sig.word(), signature = sig.take();
  if (type !== line) throw new Refused("the registered key cannot be read");
  const hardware = type.startsWith("sk-"), want = type === "ssh-rsa" ? ["rsa-sha2-256", "rsa-sha2-512"] : [type];
  if (!want.includes(format)) throw new Refused("a weak algorithm");
  const counter = hardware ? sig.skip(5) : EMPTY; // flags, counter
  sig.end();
  if (type === "ssh-rsa") {
    const e = key.take(), n = mpint(key.take()), hash = format === "rsa-sha2-512" ? "SHA-512" : "SHA-256";
    if (n.length < 256) throw new Refused("RSA keys shorter than 2048 bits are not taken");
    return holds("jwk", { kty: "RSA", n: jwk(n), e: jwk(mpint(e)) }, rsa(hash), rsa(hash), signature, message);
  }
  if (type === "ssh-ed25519" || type === "sk-ssh-ed25519@openssh.com") {
    const point = key.take(), signed = hardware ? touched(key, counter, message) : message;
    return holds("raw", point, { name: "Ed25519" }, { name: "Ed25519" }, signature, signed);
  }
  const curve = /^ecdsa-sha2-nistp(?:256|384|521)$|^sk-ecdsa-sha2-nistp256@openssh\.com$/.test(type) ? key.word() : "";
  if (!Object.hasOwn(curves, curve)) throw new Refused("a key of a kind that is not taken");
  const [namedCurve, hash, n] = curves[curve], point = key.take(), signed = hardware ? touched(key, counter, message) : message;
  const rs = new Fields(signature), out = new Uint8Array(2 * n);
  for (const i of [1, 2]) {
    const b = mpint(rs.take());
    if (b.length > n) throw new Refused("not an ECDSA signature");
    out.set(b, i * n - b.length);
  }
  rs.end();
  return holds("raw", point, { name: "ECDSA", namedCurve }, { name: "ECDSA", hash }, out, signed);
}

/** touched is what a key in hardware signs (PROTOCOL.u2f of OpenSSH). */
function touched(key, counter, message) {
  if ((counter[0] & 1) !== 1) throw new Refused("nobody touched the key");
  return concat(sha256(key.take()), counter, sha256(message));
}

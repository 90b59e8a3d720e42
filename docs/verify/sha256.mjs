// SPDX-License-Identifier: Apache-2.0

// SHA-256 and HMAC-SHA-256 in plain JavaScript (FIPS 180-4, RFC 2104). WebCrypto's digest answers through a
// promise, which costs more than the hash of a leaf; a log has millions of them.

const K = new Int32Array(64);
const START = new Int32Array(8);
{ // the fractional parts of cube and square roots of the first primes
  const part = (x) => ((x - Math.floor(x)) * 0x100000000) | 0;
  for (let n = 2, found = 0; found < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (!prime) continue;
    if (found < 8) START[found] = part(Math.sqrt(n));
    K[found++] = part(Math.cbrt(n));
  }
}

const W = new Int32Array(64);

function block(h, b, at) {
  for (let i = 0; i < 16; i++, at += 4) W[i] = (b[at] << 24) | (b[at + 1] << 16) | (b[at + 2] << 8) | b[at + 3];
  for (let i = 16; i < 64; i++) {
    const x = W[i - 15], y = W[i - 2];
    W[i] = (W[i - 16] + W[i - 7] + (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) +
      (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10))) | 0;
  }
  let a = h[0], b1 = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
  for (let i = 0; i < 64; i++) {
    const t = (k + (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
    const u = ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) + ((a & b1) ^ (a & c) ^ (b1 & c))) | 0;
    k = g; g = f; f = e; e = (d + t) | 0; d = c; c = b1; b1 = a; a = (t + u) | 0;
  }
  h[0] += a; h[1] += b1; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += k;
}

const H = new Int32Array(8);
const LAST = new Uint8Array(128);

/** sha256 returns the 32 bytes of the hash of prefix (at most 64 bytes, or none) followed by data. */
export function sha256(data, prefix) {
  H.set(START);
  const front = prefix ? prefix.length : 0;
  let at = 0; // of data
  if (front) {
    const take = Math.min(64 - front, data.length);
    LAST.fill(0);
    LAST.set(prefix);
    LAST.set(data.subarray(0, take), front);
    if (front + take === 64) {
      block(H, LAST, 0);
      at = take;
      for (; at + 64 <= data.length; at += 64) block(H, data, at);
      LAST.fill(0);
      LAST.set(data.subarray(at));
      return finish(data.length - at, front + data.length);
    }
    return finish(front + take, front + data.length);
  }
  for (; at + 64 <= data.length; at += 64) block(H, data, at);
  LAST.fill(0);
  LAST.set(data.subarray(at));
  return finish(data.length - at, data.length);
}

function finish(rest, bytes) {
  LAST[rest] = 0x80;
  const end = rest < 56 ? 64 : 128;
  const high = Math.floor(bytes / 0x20000000), low = (bytes << 3) >>> 0;
  for (let i = 0; i < 4; i++) {
    LAST[end - 8 + i] = high >>> (24 - 8 * i);
    LAST[end - 4 + i] = low >>> (24 - 8 * i);
  }
  block(H, LAST, 0);
  if (end === 128) block(H, LAST, 64);
  const out = new Uint8Array(32);
  for (let i = 0; i < 32; i++) out[i] = H[i >> 2] >>> (24 - 8 * (i & 3));
  return out;
}

/** sha256Blob hashes a Blob in pieces. */
export async function sha256Blob(blob) {
  const h = Int32Array.from(START), piece = 4 << 20;
  let at = 0;
  for (; at + piece <= blob.size; at += piece) {
    const b = new Uint8Array(await blob.slice(at, at + piece).arrayBuffer());
    for (let i = 0; i < piece; i += 64) block(h, b, i);
  }
  const b = new Uint8Array(await blob.slice(at).arrayBuffer());
  let i = 0;
  for (; i + 64 <= b.length; i += 64) block(h, b, i);
  H.set(h);
  LAST.fill(0);
  LAST.set(b.subarray(i));
  return finish(b.length - i, blob.size);
}

/** hmac returns HMAC-SHA-256(key, data) for a key of at most 64 bytes. */
export function hmac(key, data) {
  const pad = (byte) => {
    const b = new Uint8Array(64).fill(byte);
    key.forEach((v, i) => { b[i] ^= v; });
    return b;
  };
  return sha256(sha256(data, pad(0x36)), pad(0x5c));
}

// SPDX-License-Identifier: Apache-2.0

// Bytes and their texts.

import { sha256 } from "./sha256.mjs";

export const text = new TextEncoder();
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
export const EMPTY = new Uint8Array(0);

/** Refused says why nothing, or nothing good, can be said of what was given. */
export class Refused extends Error {}

export function same(a, b) {
  let d = a.length ^ b.length;
  for (let i = 0; i < Math.min(a.length, b.length); i++) d |= a[i] ^ b[i];
  return d === 0;
}

export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => (out.set(p, at), at + p.length), 0);
  return out;
}

export const hex = (b) => Array.from(b, (v) => v.toString(16).padStart(2, "0")).join("");
export const digest = (b) => "sha256:" + hex(b);

/** base64 reads the standard alphabet with padding, and only the one text that says these bytes. */
export function base64(s) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(s)) throw new Refused("not base64");
  const raw = atob(s);
  if (btoa(raw) !== s) throw new Refused("not base64");
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

/** toBase64 writes it. */
export function toBase64(b) {
  let s = "";
  for (const v of b) s += String.fromCharCode(v);
  return btoa(s);
}

export const base64url = (b) => toBase64(b).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

/** fromBase64url reads the URL alphabet without padding. */
export function fromBase64url(s) {
  if (typeof s !== "string" || !/^[A-Za-z0-9_-]*$/.test(s) || s.length % 4 === 1) throw new Refused("not base64url");
  const whole = s.replace(/-/g, "+").replace(/_/g, "/");
  return base64(whole + "=".repeat((4 - (whole.length % 4)) % 4));
}

export function string(b, what) {
  try { return utf8.decode(b); } catch { throw new Refused(`${what} is not UTF-8`); }
}

/** canonical is the form of RFC 8785 of a value that JSON.parse gave. */
export function canonical(v) {
  if (Array.isArray(v)) return "[" + v.map(canonical).join(",") + "]";
  if (typeof v !== "object" || v === null) return JSON.stringify(v);
  return "{" + Object.keys(v).sort().map((n) => JSON.stringify(n) + ":" + canonical(v[n])).join(",") + "}";
}

export const node = (left, right) => sha256(concat(left, right), NODE);
export const leafHash = (leaf) => sha256(leaf, LEAF);
const LEAF = Uint8Array.of(0), NODE = Uint8Array.of(1);

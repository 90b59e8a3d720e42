// SPDX-License-Identifier: Apache-2.0

// Leaves: the records as they stand in the tree.

import { Refused, canonical, string } from "./bytes.mjs";

const T = "text", N = "number", B = "true", L = "texts";
const SHAPE = {
  _v: N, action: T, actor: T, agent: T, assurance: N, binding: T, bundle: { digest: T, expires_ms: N, name: T, sequence: N }, call: T, channel: T,
  codes: L, count: N, door: T, durability: T, effect: T, enforced: B, engines: [{ name: T, version: T }], epoch: N, grade: T, grant: T, kind: T,
  log_ms: N, model: N, observed: T, parts: [{ commit: T, kid: T, name: T, sealed: T }], phase: T, prev: T, round: N, rules: L, separation: T,
  seq: N, server: T, session: T, status: T, subject: T, tenant: T, time_ms: N, tool: T, user: T, verdict: T,
};
const KINDS = new Set(("session context decision approval intent round outcome release late unknown policy tool attestation alert kill key " +
  "erasure access anchor").split(" "));

const plain = (s) => typeof s === "string" && /^[ !#-[\]-~]*$/.test(s);

function shaped(v, shape) {
  switch (shape) {
    case T: return plain(v) && v !== "";
    case N: return Number.isSafeInteger(v) && v !== 0;
    case B: return v === true;
    case L: return Array.isArray(v) && v.length > 0 && v.every(plain);
  }
  if (Array.isArray(shape)) return Array.isArray(v) && v.length > 0 && v.every((e) => shaped(e, shape[0]));
  if (typeof v !== "object" || v === null || Array.isArray(v)) return false;
  const names = Object.keys(v);
  return names.length > 0 && names.every((n) => Object.hasOwn(shape, n) && shaped(v[n], shape[n]));
}

/** readLeaf returns the members of a leaf, whose bytes must be the only ones that say them. */
export function readLeaf(raw) {
  let leaf, line;
  try { leaf = JSON.parse(line = string(raw, "a leaf")); } catch { throw new Refused("a leaf is not JSON"); }
  if (!shaped(leaf, SHAPE) || canonical(leaf) !== line) throw new Refused("a leaf is not canonical");
  if (leaf._v !== 1 || !KINDS.has(leaf.kind)) throw new Refused("a leaf of an unknown format or kind");
  return leaf;
}

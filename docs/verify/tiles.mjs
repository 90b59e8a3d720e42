// SPDX-License-Identifier: Apache-2.0

// Proofs of single records, from C2SP tlog-tiles or a tlog-proof (RFC 9162, 2.1).

import { Refused, base64, digest, leafHash, node, same, string, text } from "./bytes.mjs";
import { readLeaf } from "./leaf.mjs";
import { readCheckpoint, readKey } from "./note.mjs";

const width = 256, height = 8;
const half = (n) => Math.floor(n / 2); // numbers pass 2^31
const isPower = (n) => { while (n > 1 && n % 2 === 0) n /= 2; return n === 1; };
const split = (n) => { let k = 1; while (k * 2 < n) k *= 2; return k; };

/** tilePath is where a tile of a level, or a bundle of "entries", stands. */
export function tilePath(level, n, wide) {
  let s = String(n % 1000).padStart(3, "0");
  while (n >= 1000) s = `x${String((n = Math.floor(n / 1000)) % 1000).padStart(3, "0")}/${s}`;
  return `tile/${level}/${s}${wide === width ? "" : `.p/${wide}`}`;
}

/** verifyInclusion checks that the leaf of a hash stands at index in the tree of size and root. */
export function verifyInclusion(hash, index, size, path, root) {
  if (!(index >= 0 && index < size)) throw new Refused(`entry ${index} is not among ${size}`);
  let fn = index, sn = size - 1, h = hash;
  for (const p of path) {
    if (sn === 0) throw new Refused("the proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      h = node(p, h);
      while (fn % 2 === 0 && fn !== 0) { fn = half(fn); sn = half(sn); }
    } else h = node(h, p);
    fn = half(fn);
    sn = half(sn);
  }
  if (sn !== 0 || !same(h, root)) throw new Refused(`entry ${index} does not stand under the signed root of ${size} entries`);
}

/** verifyConsistency checks that the tree of (size, root) begins with that of (old, oldRoot). */
export function verifyConsistency(old, size, oldRoot, root, proof) {
  const bad = new Refused(`the log of ${size} entries does not begin with the one of ${old} that was seen before`);
  if (old > size || old < 1) throw bad;
  if (old === size) {
    if (proof.length !== 0 || !same(oldRoot, root)) throw bad;
    return;
  }
  const path = isPower(old) ? [oldRoot, ...proof] : [...proof];
  let fn = old - 1, sn = size - 1;
  while (fn % 2 === 1) { fn = half(fn); sn = half(sn); }
  let fr = path[0], sr = path[0];
  if (!fr) throw bad;
  for (const c of path.slice(1)) {
    if (sn === 0) throw bad;
    if (fn % 2 === 1 || fn === sn) {
      fr = node(c, fr);
      sr = node(c, sr);
      while (fn % 2 === 0 && fn !== 0) { fn = half(fn); sn = half(sn); }
    } else sr = node(sr, c);
    fn = half(fn);
    sn = half(sn);
  }
  if (sn !== 0 || !same(fr, oldRoot) || !same(sr, root)) throw bad;
}

/** Tiles makes proofs out of tiles. fetch gets a path such as "tile/0/x001/067" or "tile/entries/000.p/5". */
export class Tiles {
  #fetch;
  #size;
  #kept = new Map();

  constructor(size, fetch) {
    this.#size = size;
    this.#fetch = fetch;
  }

  /** leaf returns the bytes of the entry at index. */
  async leaf(index) {
    const tile = await this.#tile("entries", 0, Math.floor(index / width));
    for (let at = 0, i = 0; at + 2 <= tile.length; i++) {
      const n = tile[at] * 256 + tile[at + 1];
      if (at + 2 + n > tile.length) break;
      if (i === index % width) return tile.slice(at + 2, at + 2 + n);
      at += 2 + n;
    }
    throw new Refused("the bundle of entries ends early");
  }

  /** inclusion is PATH of RFC 6962 for the entry at index. */
  async inclusion(index) {
    const out = [];
    for (let from = 0, end = this.#size; end - from > 1; ) {
      const k = from + split(end - from);
      if (index < k) { out.push(this.#subtree(k, end)); end = k; } else { out.push(this.#subtree(from, k)); from = k; }
    }
    return (await Promise.all(out)).reverse();
  }

  /** consistency is PROOF of RFC 6962 from the tree of old entries. */
  async consistency(old) {
    const out = [];
    let from = 0, end = this.#size, whole = true;
    while (old !== end) {
      const k = from + split(end - from);
      if (old <= k) { out.push(this.#subtree(k, end)); end = k; } else { out.push(this.#subtree(from, k)); from = k; whole = false; }
    }
    if (!whole) out.push(this.#subtree(from, end));
    return (await Promise.all(out)).reverse();
  }

  async #subtree(from, end) {
    const n = end - from;
    if (isPower(n)) return this.#node(Math.round(Math.log2(n)), from / n);
    const k = split(n);
    return node(await this.#subtree(from, from + k), await this.#subtree(from + k, end));
  }

  // The root of the 2^level leaves from index * 2^level on.
  async #node(level, index) {
    const row = Math.floor(level / height), count = 2 ** (level % height), first = index * count;
    const tile = await this.#tile(String(row), row, Math.floor(first / width));
    let hashes = [];
    for (let i = first % width; i < (first % width) + count; i++) {
      const h = tile.slice(i * 32, i * 32 + 32);
      if (h.length !== 32) throw new Refused("a tile is too short");
      hashes.push(h);
    }
    while (hashes.length > 1) hashes = hashes.filter((_, i) => i % 2 === 0).map((left, i) => node(left, hashes[2 * i + 1]));
    return hashes[0];
  }

  #tile(kind, row, n) {
    const path = tilePath(kind, n, Math.min(width, Math.floor(this.#size / width ** row) - n * width));
    let got = this.#kept.get(path);
    if (!got) {
      got = this.#fetch(path);
      this.#kept.set(path, got);
      got.catch(() => this.#kept.delete(path));
    }
    return got;
  }
}

/** proveFromTiles checks one entry against a checkpoint, given as bytes, that key must have signed. */
export async function proveFromTiles(index, note, key, fetch) {
  const cp = await readCheckpoint(note, key), tiles = new Tiles(cp.size, fetch);
  if (index >= cp.size) throw new Refused(`entry ${index} is not published yet: the checkpoint covers ${cp.size}`);
  const [leaf, path] = await Promise.all([tiles.leaf(index), tiles.inclusion(index)]);
  return prove(index, leaf, path, note, key);
}

async function prove(index, leaf, path, note, key) {
  const began = performance.now(), checkpoint = await readCheckpoint(note, key), hash = leafHash(leaf);
  verifyInclusion(hash, index, checkpoint.size, path, checkpoint.root);
  return { index, leaf, hash, checkpoint, path, checkMs: performance.now() - began }; // without what was fetched
}

/** verifyProof checks a C2SP tlog-proof: that leaf, the bytes of a record, stands in the log that key signed. */
export async function verifyProof(proof, leaf, key) {
  const whole = string(proof, "a proof"), at = whole.indexOf("\n\n"), lines = whole.slice(0, Math.max(at, 0)).split("\n");
  if (at < 0 || lines.shift() !== "c2sp.org/tlog-proof@v1") throw new Refused("not a tlog-proof");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const m = /^index (0|[1-9][0-9]{0,14})$/.exec(lines.shift() ?? ""), path = lines.map(base64);
  if (!m || path.some((h) => h.length !== 32) || path.length > 64) throw new Refused("a malformed proof");
  const p = await prove(Number(m[1]), leaf, path, text.encode(whole.slice(at + 2)), readKey(key));
  return { index: p.index, size: p.checkpoint.size, root: digest(p.checkpoint.root), leaf: readLeaf(leaf) };
}

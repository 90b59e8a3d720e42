// SPDX-License-Identifier: Apache-2.0

// What a stranger needs to check a log of Sallyport by himself: C2SP signed notes and checkpoints, tiles, and the
// proofs of RFC 6962. It uses WebCrypto and nothing else, runs in browsers and in Node 20 or later, and trusts
// only the key that it is given: tiles, leaves, proofs and checkpoints are checked, whoever delivers them.
// docs/ledger-format.md describes the formats.

export class VerifyError extends Error {}

const text = new TextEncoder();
const nothing: Uint8Array<ArrayBuffer> = new Uint8Array(0);
type Bytes = Uint8Array<ArrayBuffer>;

/** A key that signs checkpoints, from its text form ORIGIN+HASH+KEY. */
export interface Vkey {
  name: string;
  id: Bytes; // 4 bytes
  key: CryptoKey;
}

export interface Checkpoint {
  origin: string;
  size: number;
  root: Bytes;
}

export async function sha256(...parts: Bytes[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(parts)));
}

export function concat(parts: Bytes[]): Bytes {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export function equal(a: Bytes, b: Bytes): boolean {
  return a.length === b.length && a.every((x, i) => x === b[i]);
}

export function fromBase64(s: string): Bytes {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(s) || s.length % 4 !== 0) throw new VerifyError("not base64");
  const raw = atob(s);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  if (btoa(raw) !== s) throw new VerifyError("not base64"); // one text for one value
  return out;
}

export function toBase64(b: Bytes): string {
  let s = "";
  for (const x of b) s += String.fromCharCode(x);
  return btoa(s);
}

export function toHex(b: Bytes): string {
  return Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
}

const ed25519 = 1;

/** parseVkey reads a note verifier; its hash must be that of name and key. */
export async function parseVkey(vkey: string): Promise<Vkey> {
  const m = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(vkey.trim());
  if (!m) throw new VerifyError("the key is not of the form ORIGIN+HASH+KEY");
  const [, name, hash, encoded] = m as unknown as [string, string, string, string];
  const raw = fromBase64(encoded);
  if (raw.length !== 33 || raw[0] !== ed25519) throw new VerifyError("the key is not an Ed25519 key");
  const id = (await sha256(text.encode(name + "\n"), raw)).slice(0, 4);
  if (toHex(id) !== hash) throw new VerifyError("the key does not match its own hash: a character is wrong");
  const key = await crypto.subtle.importKey("raw", raw.slice(1), { name: "Ed25519" }, false, ["verify"]);
  return { name, id, key };
}

/** openCheckpoint checks that v signed the note, under its own name as the origin, and reads it. */
export async function openCheckpoint(note: string, v: Vkey): Promise<Checkpoint> {
  const end = note.indexOf("\n\n");
  if (end < 0) throw new VerifyError("the checkpoint is not a signed note");
  const signed = note.slice(0, end + 1);
  const lines = signed.split("\n");
  const [origin = "", sizeText = "", rootText = ""] = lines;
  if (origin !== v.name) throw new VerifyError("the checkpoint is of another log");
  let good = 0;
  for (const line of note.slice(end + 2).split("\n")) {
    const m = /^\u2014 (\S+) (\S+)$/.exec(line);
    if (!m || m[1] !== v.name) continue;
    const sig = fromBase64(m[2] as string);
    if (sig.length !== 68 || !equal(sig.slice(0, 4), v.id)) continue;
    if (!(await crypto.subtle.verify("Ed25519", v.key, sig.slice(4), text.encode(signed)))) {
      throw new VerifyError("the checkpoint's signature is not by the pinned key");
    }
    good++;
  }
  if (good !== 1) throw new VerifyError("the pinned key has not signed this checkpoint");
  const size = Number(sizeText);
  if (!/^(0|[1-9][0-9]*)$/.test(sizeText) || !Number.isSafeInteger(size)) throw new VerifyError("the checkpoint's size is no number");
  const root = fromBase64(rootText);
  if (root.length !== 32) throw new VerifyError("the checkpoint's root is no hash");
  return { origin, size, root };
}

export const leafHash = (leaf: Bytes) => sha256(Uint8Array.of(0), leaf);
export const nodeHash = (left: Bytes, right: Bytes) => sha256(Uint8Array.of(1), left, right);

/** verifyInclusion checks that a leaf stands at index in the tree of size and root (RFC 9162, 2.1.3.2). */
export async function verifyInclusion(leaf: Bytes, index: number, size: number, proof: Bytes[], root: Bytes): Promise<void> {
  if (!(index >= 0 && index < size)) throw new VerifyError(`entry ${index} is not among ${size}`);
  let fn = index;
  let sn = size - 1;
  let r = leaf;
  for (const p of proof) {
    if (sn === 0) throw new VerifyError("the proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      r = await nodeHash(p, r);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      r = await nodeHash(r, p);
    }
    fn = half(fn);
    sn = half(sn);
  }
  if (sn !== 0 || !equal(r, root)) throw new VerifyError(`entry ${index} does not stand under the signed root of ${size} entries`);
}

/** verifyConsistency checks that the tree of (size, root) begins with that of (old, oldRoot) (RFC 9162, 2.1.4.2). */
export async function verifyConsistency(old: number, size: number, oldRoot: Bytes, root: Bytes, proof: Bytes[]): Promise<void> {
  const bad = new VerifyError(`the log of ${size} entries does not begin with the one of ${old} that was seen before`);
  if (old > size || old < 1) throw bad;
  if (old === size) {
    if (proof.length !== 0 || !equal(oldRoot, root)) throw bad;
    return;
  }
  const path = isPower(old) ? [oldRoot, ...proof] : [...proof];
  let fn = old - 1;
  let sn = size - 1;
  while (fn % 2 === 1) {
    fn = half(fn);
    sn = half(sn);
  }
  let fr = path[0];
  let sr = path[0];
  if (!fr || !sr) throw bad;
  for (const c of path.slice(1)) {
    if (sn === 0) throw bad;
    if (fn % 2 === 1 || fn === sn) {
      fr = await nodeHash(c, fr);
      sr = await nodeHash(c, sr);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      sr = await nodeHash(sr, c);
    }
    fn = half(fn);
    sn = half(sn);
  }
  if (sn !== 0 || !equal(fr, oldRoot) || !equal(sr, root)) throw bad;
}

const half = (n: number) => Math.floor(n / 2); // numbers pass 2^31
const isPower = (n: number) => {
  while (n > 1 && n % 2 === 0) n /= 2;
  return n === 1;
};

const width = 256;
const height = 8;

/** Tiles makes proofs out of C2SP tlog-tiles. fetch gets a path such as "tile/0/x001/067" or "tile/entries/000.p/5". */
export class Tiles {
  readonly #fetch: (path: string) => Promise<Bytes>;
  readonly #size: number;
  readonly #kept = new Map<string, Promise<Bytes>>();

  constructor(size: number, fetch: (path: string) => Promise<Bytes>) {
    this.#size = size;
    this.#fetch = fetch;
  }

  /** leaf returns the bytes of the entry at index. */
  async leaf(index: number): Promise<Bytes> {
    const tile = await this.#tile("entries", 0, Math.floor(index / width));
    const view = new DataView(tile.buffer, tile.byteOffset, tile.length);
    let at = 0;
    for (let i = 0; ; i++) {
      if (at + 2 > tile.length) throw new VerifyError("the bundle of entries ends early");
      const n = view.getUint16(at);
      if (at + 2 + n > tile.length) throw new VerifyError("the bundle of entries ends early");
      if (i === index % width) return tile.slice(at + 2, at + 2 + n);
      at += 2 + n;
    }
  }

  /** inclusion is PATH of RFC 6962 for the entry at index. */
  async inclusion(index: number): Promise<Bytes[]> {
    const out: Promise<Bytes>[] = [];
    let from = 0;
    let end = this.#size;
    while (end - from > 1) {
      const k = from + split(end - from);
      if (index < k) {
        out.push(this.#subtree(k, end));
        end = k;
      } else {
        out.push(this.#subtree(from, k));
        from = k;
      }
    }
    return (await Promise.all(out)).reverse();
  }

  /** consistency is PROOF of RFC 6962 from the tree of old entries. */
  async consistency(old: number): Promise<Bytes[]> {
    const out: Promise<Bytes>[] = [];
    let from = 0;
    let end = this.#size;
    let whole = true;
    while (old !== end) {
      const k = from + split(end - from);
      if (old <= k) {
        out.push(this.#subtree(k, end));
        end = k;
      } else {
        out.push(this.#subtree(from, k));
        from = k;
        whole = false;
      }
    }
    if (!whole) out.push(this.#subtree(from, end));
    return (await Promise.all(out)).reverse();
  }

  async #subtree(from: number, end: number): Promise<Bytes> {
    const n = end - from;
    if (isPower(n)) return this.#node(Math.round(Math.log2(n)), from / n);
    const k = split(n);
    return nodeHash(await this.#subtree(from, from + k), await this.#subtree(from + k, end));
  }

  /** node is the root of the 2^level leaves from index * 2^level on. */
  async #node(level: number, index: number): Promise<Bytes> {
    const row = Math.floor(level / height);
    const count = 2 ** (level % height);
    const first = index * count;
    const tile = await this.#tile(String(row), row, Math.floor(first / width));
    let hashes: Bytes[] = [];
    for (let i = first % width; i < (first % width) + count; i++) {
      const h = tile.slice(i * 32, i * 32 + 32);
      if (h.length !== 32) throw new VerifyError("a tile is too short");
      hashes.push(h);
    }
    while (hashes.length > 1) {
      const up: Promise<Bytes>[] = [];
      for (let i = 0; i < hashes.length; i += 2) up.push(nodeHash(hashes[i] as Bytes, hashes[i + 1] as Bytes));
      hashes = await Promise.all(up);
    }
    return hashes[0] ?? nothing;
  }

  #tile(kind: string, row: number, n: number): Promise<Bytes> {
    const inRow = Math.floor(this.#size / width ** row);
    const w = Math.min(width, inRow - n * width);
    const path = `tile/${kind}/${tileNumber(n)}${w < width ? `.p/${w}` : ""}`;
    let got = this.#kept.get(path);
    if (!got) {
      got = this.#fetch(path);
      this.#kept.set(path, got);
      got.catch(() => this.#kept.delete(path));
    }
    return got;
  }
}

function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** tileNumber writes n in groups of three digits: 1234067 is x001/x234/067. */
export function tileNumber(n: number): string {
  let out = String(n % 1000).padStart(3, "0");
  while (n >= 1000) {
    n = Math.floor(n / 1000);
    out = `x${String(n % 1000).padStart(3, "0")}/${out}`;
  }
  return out;
}

/** One entry that was checked here, and how long the checking took. */
export interface Proved {
  index: number;
  leaf: Bytes;
  hash: Bytes;
  checkpoint: Checkpoint;
  path: Bytes[];
  checkMs: number; // signature, leaf and path; without what was fetched
}

/** proveFromTiles checks one entry against a checkpoint that v must have signed. */
export async function proveFromTiles(index: number, note: string, v: Vkey, fetch: (path: string) => Promise<Bytes>): Promise<Proved> {
  const checkpoint = await openCheckpoint(note, v);
  const tiles = new Tiles(checkpoint.size, fetch);
  if (index >= checkpoint.size) throw new VerifyError(`entry ${index} is not published yet: the checkpoint covers ${checkpoint.size}`);
  const [leaf, path] = await Promise.all([tiles.leaf(index), tiles.inclusion(index)]);
  return checkEntry(index, leaf, path, note, v);
}

async function checkEntry(index: number, leaf: Bytes, path: Bytes[], note: string, v: Vkey): Promise<Proved> {
  const began = performance.now();
  const checkpoint = await openCheckpoint(note, v);
  const hash = await leafHash(leaf);
  await verifyInclusion(hash, index, checkpoint.size, path, checkpoint.root);
  return { index, leaf, hash, checkpoint, path, checkMs: performance.now() - began };
}

/** proveFile checks a leaf against a C2SP tlog-proof, as "sallyport ledger prove N --out NAME" writes them. */
export async function proveFile(leaf: Bytes, proof: string, v: Vkey): Promise<Proved> {
  const blank = proof.indexOf("\n\n");
  const lines = proof.slice(0, Math.max(blank, 0)).split("\n");
  if (blank < 0 || lines[0] !== "c2sp.org/tlog-proof@v1") throw new VerifyError("the file is not a c2sp.org/tlog-proof@v1");
  let at = 1;
  if (lines[at]?.startsWith("extra ")) at++;
  const m = /^index (0|[1-9][0-9]*)$/.exec(lines[at] ?? "");
  if (!m) throw new VerifyError("the proof names no index");
  const path = lines.slice(at + 1).map(fromBase64);
  return checkEntry(Number(m[1]), leaf, path, proof.slice(blank + 2), v);
}

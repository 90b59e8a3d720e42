// SPDX-License-Identifier: Apache-2.0

// Verify a Sallyport log without Sallyport, in a browser or with Node: an exported bundle, published tiles, or
// the proof of one record. It shares no line with the program that writes logs; the format is in
// ../ledger-format.md.
//
//   node verify.mjs BUNDLE.tar|TILES [--key VKEY] [--old CHECKPOINT]... [--witness VKEY]... [--quorum K]
//   node verify.mjs PROOF --key VKEY --leaf FILE
//
// Exit code 0: verified; 5: it does not verify; 2: usage.
//
// What is checked: the log's signature (WebCrypto), the tree re-derived from the leaves, each leaf's canonical
// form, the chains of the sessions, the uniqueness of records, tiles, disclosed parts, gaps between epochs,
// checkpoints that the verifier kept, and cosignatures of witnesses. A public key that comes with the bundle
// proves less than one that the verifier has from elsewhere.

import { sha256, hmac } from "./sha256.mjs";

const text = new TextEncoder(), utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const EMPTY = new Uint8Array(0), LEAF = Uint8Array.of(0), NODE = Uint8Array.of(1);
const maxWidth = 256;

/** Refused says why nothing, or nothing good, can be said of what was given. */
export class Refused extends Error {}

function same(a, b) {
  let d = a.length ^ b.length;
  for (let i = 0; i < Math.min(a.length, b.length); i++) d |= a[i] ^ b[i];
  return d === 0;
}

function concat(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => (out.set(p, at), at + p.length), 0);
  return out;
}

const node = (left, right) => sha256(concat(left, right), NODE);
const hex = (b) => Array.from(b, (v) => v.toString(16).padStart(2, "0")).join("");
const digest = (b) => "sha256:" + hex(b);

function base64(s) {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(s)) throw new Refused("not base64");
  return Uint8Array.from(atob(s), (c) => c.charCodeAt(0));
}

const base64url = (b) => btoa(String.fromCharCode(...b)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function string(b, what) {
  try { return utf8.decode(b); } catch { throw new Refused(`${what} is not UTF-8`); }
}

// Signed notes.

/** readKey parses the text form of a public key: of a log (kind 1) or a witness (kind 4). */
export function readKey(line, kind = 1) {
  const at = line.trim().split("+");
  if (at.length < 3) throw new Refused("not a public key");
  const name = at[0], key = base64(at.slice(2).join("+"));
  const hash = sha256(concat(text.encode(name + "\n"), key)).subarray(0, 4);
  if (key.length !== 33 || key[0] !== kind || hex(hash) !== at[1]) throw new Refused("not a public key");
  return { name, hash, key: key.subarray(1) };
}

async function signed(key, message, signature) {
  if (signature.length !== 64) return false;
  try {
    const k = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, k, signature, message);
  } catch (e) {
    if (e?.name === "NotSupportedError") throw new Error("this browser's WebCrypto has no Ed25519");
    return false; // not a key
  }
}

function readNote(note) {
  const whole = string(note, "a note"), at = whole.lastIndexOf("\n\n");
  if (at < 0 || !whole.endsWith("\n")) throw new Refused("not a signed note");
  const signatures = whole.slice(at + 2, -1).split("\n").map((line) => {
    const m = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    const s = m ? base64(m[2]) : EMPTY;
    if (s.length < 5) throw new Refused("a malformed signature");
    return { name: m[1], hash: s.subarray(0, 4), signature: s.subarray(4) };
  });
  return { body: whole.slice(0, at + 1), signatures };
}

const by = (k) => (s) => s.name === k.name && same(s.hash, k.hash);

/** readCheckpoint parses a checkpoint and verifies the log's signature. */
export async function readCheckpoint(note, log) {
  const { body, signatures } = readNote(note);
  const lines = body.split("\n");
  if (lines.length < 4 || body.includes("\n\n") || !/^(0|[1-9][0-9]{0,15})$/.test(lines[1])) throw new Refused("not a checkpoint");
  const root = base64(lines[2]), one = signatures.find(by(log));
  if (lines[0] !== log.name || root.length !== 32 || !one || !(await signed(log.key, text.encode(body), one.signature))) {
    throw new Refused("the log's signature does not verify");
  }
  return { size: Number(lines[1]), root, note };
}

async function cosigned(note, witnesses) {
  if (!note) return 0;
  const { body, signatures } = readNote(note), have = new Set();
  for (const w of witnesses) {
    for (const s of signatures.filter(by(w))) {
      if (s.signature.length !== 72) continue;
      const time = new DataView(s.signature.buffer, s.signature.byteOffset).getBigUint64(0);
      if (await signed(w.key, text.encode(`cosignature/v1\ntime ${time}\n${body}`), s.signature.subarray(8))) have.add(hex(w.key));
    }
  }
  return have.size;
}

// Leaves.

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

function canonical(v) {
  if (Array.isArray(v)) return "[" + v.map(canonical).join(",") + "]";
  if (typeof v !== "object" || v === null) return JSON.stringify(v);
  return "{" + Object.keys(v).sort().map((n) => JSON.stringify(n) + ":" + canonical(v[n])).join(",") + "}";
}

/** readLeaf returns the members of a leaf, whose bytes must be the only ones that say them. */
export function readLeaf(raw) {
  let leaf, line;
  try { leaf = JSON.parse(line = utf8.decode(raw)); } catch { throw new Refused("a leaf is not JSON"); }
  if (!shaped(leaf, SHAPE) || canonical(leaf) !== line) throw new Refused("a leaf is not canonical");
  if (leaf._v !== 1 || !KINDS.has(leaf.kind)) throw new Refused("a leaf of an unknown format or kind");
  return leaf;
}

// The log, leaf by leaf.

class Log {
  constructor(options) {
    Object.assign(this, { size: 0, edge: [], levels: options.tiles ? [[]] : null, ends: new Map(), seen: new Set(), open: new Map(), refs: new Map(),
      epochs: 1, problems: [], found: 0, gaps: [], kinds: {}, parts: 0, roots: options.roots, part: options.part, leaf: options.leaf });
  }
  problem(what) {
    this.found++;
    if (this.problems.length < 1000) this.problems.push(`entry ${this.size}: ${what}`);
  }
  root() {
    if (!this.edge.length) return sha256(EMPTY);
    return this.edge.reduceRight((right, left) => node(left, right));
  }
  add(raw) {
    let h = sha256(raw, LEAF);
    try {
      const leaf = readLeaf(raw);
      this.chain(leaf, h);
      if (leaf.kind === "key" && leaf.codes?.includes("epoch.opened")) this.epoch(leaf);
      this.refs.set(this.size, leaf.parts ?? []);
      this.kinds[leaf.kind] = (this.kinds[leaf.kind] ?? 0) + 1;
      if (leaf.kind === "intent") this.open.set(leaf.action, { index: this.size, session: leaf.session ?? "" });
      else if (["outcome", "late", "unknown"].includes(leaf.kind)) this.open.delete(leaf.action);
      this.leaf?.(this.size, leaf);
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      this.problem(e.message);
    }
    this.levels?.[0].push(h);
    for (let n = this.size; n % 2 === 1; n = (n - 1) / 2) h = node(this.edge.pop(), h);
    this.edge.push(h);
    this.size++;
    if (this.roots.has(this.size)) this.roots.set(this.size, this.root());
  }
  chain(leaf, h) {
    const session = leaf.session ?? "", end = this.ends.get(session) ?? { seq: 0, prev: "", ms: -Infinity };
    if ((leaf.seq ?? 0) !== end.seq + 1 || (leaf.prev ?? "") !== end.prev || (leaf.log_ms ?? 0) < end.ms) {
      this.problem(`it does not continue session ${JSON.stringify(session)}`);
    }
    this.ends.set(session, { seq: leaf.seq ?? 0, prev: base64url(h), ms: leaf.log_ms ?? 0 });
    if (!leaf.action || leaf.kind === "access") return;
    const key = `${leaf.kind} ${leaf.round ?? 0} ${leaf.action}`;
    if (this.seen.has(key)) this.problem(`a second ${leaf.kind} of action ${leaf.action}`);
    this.seen.add(key);
  }
  epoch(leaf) {
    this.epochs++;
    const known = /^known\/(0|[1-9][0-9]*)\/sha256:[0-9a-f]{64}$/.exec(leaf.codes.length === 3 ? leaf.codes[2] : "");
    if (leaf.codes[0] !== "epoch.opened" || leaf.codes[1] !== `restored/${this.size}/${digest(this.root())}` || !known ||
      Number(known[1]) <= this.size || leaf.epoch !== this.epochs) {
      this.problem("it opens no epoch");
      return;
    }
    readKey(leaf.subject ?? "");
    this.gaps.push(`entries ${this.size} to ${Number(known[1]) - 1} were recorded and are lost`);
  }
  bundle(data, width) {
    this.refs.clear();
    const leaves = [];
    let at = 0;
    while (at + 2 <= data.length) {
      const n = data[at] * 256 + data[at + 1];
      if (at + 2 + n > data.length) break;
      leaves.push(data.subarray(at + 2, at + 2 + n));
      at += 2 + n;
    }
    if (at !== data.length || leaves.length !== width) throw new Refused(`entry bundle at ${this.size}: ${leaves.length} leaves of ${width}`);
    for (const leaf of leaves) this.add(leaf);
  }
  disclosed(name, data) {
    const [, number, part] = /^part\/(0|[1-9][0-9]*)\/(.*)$/s.exec(name) ?? [];
    const want = this.refs.get(Number(number))?.find((p) => p.name === part);
    if (!want || data.length < 32 || base64url(hmac(data.subarray(0, 32), data.subarray(32))) !== want.commit) {
      this.problem(`part ${JSON.stringify(name)} does not match a commitment`);
      return;
    }
    this.parts++;
    this.part?.(Number(number), part, data.subarray(32));
  }
}

export function tilePath(level, n, width) {
  let s = String(n % 1000).padStart(3, "0");
  while (n >= 1000) s = `x${String((n = Math.floor(n / 1000)) % 1000).padStart(3, "0")}/${s}`;
  return `tile/${level}/${s}${width === maxWidth ? "" : `.p/${width}`}`;
}

// Bundles.

/** Window reads a Blob in pieces, so that a bundle needs no memory of its own size. */
class Window {
  constructor(blob) { Object.assign(this, { blob, at: 0, from: 0, bytes: EMPTY }); }
  async take(n) {
    if (this.at + n > this.from + this.bytes.length && this.from + this.bytes.length < this.blob.size) {
      this.bytes = new Uint8Array(await this.blob.slice(this.at, this.at + Math.max(n, 4 << 20)).arrayBuffer());
      this.from = this.at;
    }
    const b = this.bytes.subarray(this.at - this.from, this.at - this.from + n);
    this.at += b.length;
    return b;
  }
}

const zero = (b) => b.every((v) => v === 0);

function octal(b) {
  const s = String.fromCharCode(...b).replace(/^[\0 ]+|[\0 ]+$/g, "");
  if (!/^[0-7]*$/.test(s)) throw new Refused("a damaged header of the bundle");
  return s === "" ? 0 : parseInt(s, 8);
}

async function member(w) {
  const h = (await w.take(512)).slice();
  if (h.length === 512 && zero(h)) {
    const next = await w.take(512);
    if (next.length === 0 || (next.length === 512 && zero(next))) return null;
  }
  const sum = h.reduce((n, v, i) => n + (i >= 148 && i < 156 ? 32 : v), 0);
  if (h.length !== 512 || sum !== octal(h.subarray(148, 156)) || ![0, 48].includes(h[156]) || String.fromCharCode(...h.subarray(257, 263)) !== "ustar\0") {
    throw new Refused("a damaged header of the bundle");
  }
  const size = octal(h.subarray(124, 136)), data = await w.take(size), rest = (512 - (size % 512)) % 512;
  const kept = rest ? data.slice() : data; // reading on may move the window
  if (data.length !== size || (await w.take(rest)).length !== rest) throw new Refused("the bundle ends early");
  return { name: string(h.subarray(0, 100), "a name in the bundle").replace(/\0+$/, ""), data: kept };
}

async function readBundle(log, blob, options) {
  const w = new Window(blob), head = [];
  for (let i = 0; i < 3; i++) head.push((await member(w)) ?? { name: "", data: EMPTY });
  if (head.map((m) => m.name).join() !== "format,vkey,checkpoint" || string(head[0].data, "the format") !== "sallyport bundle 1\n") {
    throw new Refused("not a bundle");
  }
  const key = options.key ? readKey(options.key) : readKey(string(head[1].data, "the key"));
  const cp = await readCheckpoint(head[2].data, key);
  let witnessed = null;
  for (let i = 0, m; (m = await member(w)); i++) {
    const width = Math.min(maxWidth, cp.size - log.size);
    if (i === 0 && m.name === "witnessed") {
      await readCheckpoint(m.data, key);
      witnessed = m.data;
    } else if (m.name.startsWith("part/")) log.disclosed(m.name, m.data);
    else if (width > 0 && m.name === tilePath("entries", Math.floor(log.size / maxWidth), width)) log.bundle(m.data, width);
    else throw new Refused(`member ${JSON.stringify(m.name)} out of place`);
    options.progress?.(log.size, cp.size);
  }
  return { key, cp, witnessed };
}

// Tiles.

async function readTiles(log, get, options) {
  if (!options.key) throw new Refused("a public key is needed for tiles");
  const key = readKey(options.key), note = await get("checkpoint"), cp = await readCheckpoint(note, key);
  for (let n = 0; n * maxWidth < cp.size; n++) {
    const width = Math.min(maxWidth, cp.size - n * maxWidth);
    log.bundle(await get(tilePath("entries", n, width)), width);
    options.progress?.(log.size, cp.size);
  }
  for (let level = 0, hashes = log.levels[0]; hashes.length; level++) {
    const up = [];
    for (let n = 0; n * maxWidth < hashes.length; n++) {
      let tile = hashes.slice(n * maxWidth, (n + 1) * maxWidth);
      if (!same(await get(tilePath(level, n, tile.length)), concat(...tile))) log.problem(`tile ${level}/${n} differs from the leaves`);
      if (tile.length < maxWidth) continue;
      while (tile.length > 1) tile = tile.filter((_, i) => i % 2 === 0).map((left, i) => node(left, tile[2 * i + 1]));
      up.push(tile[0]);
    }
    hashes = up;
  }
  return { key, cp, witnessed: note };
}

/**
 * verify checks a log. Source is a Blob or File with an exported bundle, or a function that resolves to the bytes
 * of a path below the folder of tiles. Options: key (text of the log's public key), old (checkpoints that the
 * verifier kept, as bytes), witnesses (texts of public keys), quorum (0 means all of them), and the callbacks
 * progress(done, size), leaf(index, members) and part(index, name, bytes). It resolves to a report whose ok says
 * whether everything holds, and throws only for what is not about the log, such as a network that fails.
 */
export async function verify(source, options = {}) {
  const report = { ok: false, origin: "", size: 0, root: "", signed: 0, problems: [], gaps: [], notes: [], kinds: {}, sessions: 0, open: [], parts: 0, cosigned: 0 };
  let log;
  try {
    const witnesses = (options.witnesses ?? []).map((w) => readKey(w, 4));
    const old = (options.old ?? []).map((note) => ({ note, size: Number(/^[^\n]*\n([0-9]{1,15})\n/.exec(string(note, "a kept checkpoint"))?.[1] ?? -1) }));
    const tiles = typeof source === "function";
    log = new Log({ tiles, roots: new Map(old.map((o) => [o.size, null])), part: options.part, leaf: options.leaf });
    if (log.roots.has(0)) log.roots.set(0, log.root());
    const { key, cp, witnessed } = await (tiles ? readTiles : readBundle)(log, source, options);
    report.origin = key.name;
    report.signed = cp.size;
    if (cp.size !== log.size || !same(cp.root, log.root())) {
      log.problem(`the checkpoint has ${cp.size} leaves and another root than the ${log.size} that are here`);
    }
    for (const o of old) {
      const kept = await readCheckpoint(o.note, key).catch((e) => { throw new Refused(`a kept checkpoint: ${e.message}`); });
      const root = log.roots.get(kept.size);
      if (!root || !same(root, kept.root)) log.problem(`a kept checkpoint of ${kept.size} leaves is not one of this log: it was rewritten or cut`);
    }
    if (witnesses.length) {
      const quorum = options.quorum || new Set(witnesses.map((w) => hex(w.key))).size;
      report.cosigned = await cosigned(witnessed, witnesses);
      if (report.cosigned < quorum) log.problem(`${report.cosigned} witnesses cosigned, not ${quorum}`);
    } else {
      report.notes.push("no witness was asked for: whoever holds the log's key could have written another log");
    }
    if (!options.key) report.notes.push("the public key came with the bundle: compare it with one from elsewhere");
    if (!old.length) report.notes.push("no checkpoint from earlier was held against the log");
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    report.problems.push(e.message);
  }
  if (log) {
    report.problems = log.problems.concat(report.problems);
    Object.assign(report, { size: log.size, root: digest(log.root()), gaps: log.gaps, kinds: log.kinds, sessions: log.ends.size - log.ends.has(""), parts: log.parts,
      open: Array.from(log.open, ([action, v]) => ({ action, ...v })) });
  }
  report.ok = report.problems.length === 0;
  return report;
}

// Proofs.

/** verifyProof checks a C2SP tlog-proof: that leaf, the bytes of a record, stands in the log that key signed. */
export async function verifyProof(proof, leaf, key) {
  const whole = string(proof, "a proof"), at = whole.indexOf("\n\n"), lines = whole.slice(0, Math.max(at, 0)).split("\n");
  if (at < 0 || lines.shift() !== "c2sp.org/tlog-proof@v1") throw new Refused("not a tlog-proof");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const m = /^index (0|[1-9][0-9]{0,14})$/.exec(lines.shift() ?? "");
  const hashes = lines.map(base64);
  if (!m || hashes.some((h) => h.length !== 32) || hashes.length > 64) throw new Refused("a malformed proof");
  const index = Number(m[1]), cp = await readCheckpoint(text.encode(whole.slice(at + 2)), readKey(key));
  if (index >= cp.size) throw new Refused("the record lies beyond the checkpoint");
  let h = sha256(leaf, LEAF), fn = index, sn = cp.size - 1; // RFC 9162, 2.1.3.2
  for (const p of hashes) {
    if (sn === 0) throw new Refused("the proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      h = node(p, h);
      while (fn % 2 === 0 && fn !== 0) { fn /= 2; sn = Math.floor(sn / 2); }
    } else h = node(h, p);
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  if (sn !== 0 || !same(h, cp.root)) throw new Refused("the record is not in the log");
  return { index, size: cp.size, root: digest(cp.root), leaf: readLeaf(leaf) };
}

// The command.

async function main(args, fs) {
  const options = { key: "", witnesses: [], old: [], quorum: 0 }, bytes = async (f) => new Uint8Array(await fs.readFile(f));
  let source = "", leaf = "";
  for (let i = 0; i < args.length; i++) {
    const value = () => { if (++i >= args.length) throw new Error(`${args[i - 1]} needs a value`); return args[i]; };
    switch (args[i]) {
      case "--key": options.key = value(); break;
      case "--witness": options.witnesses.push(value()); break;
      case "--old": options.old.push(await bytes(value())); break;
      case "--quorum": options.quorum = Number(value()); break;
      case "--leaf": leaf = value(); break;
      default:
        if (source || args[i].startsWith("-")) throw new Error(`unexpected ${args[i]}`);
        source = args[i];
    }
  }
  if (!source) throw new Error("usage: verify.mjs BUNDLE.tar|TILES [--key VKEY] [--old CHECKPOINT]... [--witness VKEY]... [--quorum K]");
  if (leaf) {
    const p = await verifyProof(await bytes(source), await bytes(leaf), options.key);
    return `VERIFIED  record ${p.index} (${p.leaf.kind}) of ${p.size}, root ${p.root}`;
  }
  const folder = (await fs.stat(source)).isDirectory();
  const read = folder ? (path) => bytes(`${source}/${path}`).catch((e) => { throw new Refused(e.message); }) : await fs.openAsBlob(source);
  const r = await verify(read, options);
  for (const g of r.gaps) console.log(`GAP: ${g}`);
  for (const p of r.problems.slice(0, 50)) console.log(`problem: ${p}`);
  for (const n of r.notes) console.log(`note: ${n}`);
  const line = `${r.ok ? "VERIFIED" : "FAILED"}  ${r.origin}  ${r.size} entries, root ${r.root}`;
  if (!r.ok) throw new Refused(line);
  return line;
}

if (typeof process !== "undefined" && process.argv?.[1]?.endsWith("verify.mjs")) {
  const fs = { ...(await import("node:fs/promises")), openAsBlob: (await import("node:fs")).openAsBlob };
  await main(process.argv.slice(2), fs).then((line) => console.log(line), (e) => {
    const refused = e instanceof Refused;
    (refused ? console.log : console.error)(refused && !e.message.startsWith("FAILED") ? `FAILED  ${e.message}` : e.message);
    process.exitCode = refused ? 5 : 2;
  });
}

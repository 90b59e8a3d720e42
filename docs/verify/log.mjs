// SPDX-License-Identifier: Apache-2.0

// A whole log, leaf by leaf, out of a bundle or of tiles.

import { Approvals } from "./approvals.mjs";
import { EMPTY, Refused, base64url, concat, digest, hex, leafHash, node, same, string } from "./bytes.mjs";
import { readLeaf } from "./leaf.mjs";
import { cosigned, readCheckpoint, readKey } from "./note.mjs";
import { hmac, sha256 } from "./sha256.mjs";
import { Window, member, readPackage } from "./tar.mjs";
import { tilePath } from "./tiles.mjs";

const maxWidth = 256;

class Log {
  constructor(options) {
    Object.assign(this, { size: 0, edge: [], levels: options.tiles ? [[]] : null, ends: new Map(), seen: new Set(), open: new Map(), refs: new Map(),
      epochs: 1, problems: [], found: 0, gaps: [], kinds: {}, parts: 0, roots: options.roots, part: options.part, leaf: options.leaf, replay: null,
      approvals: new Approvals(), pending: new Map(), replayed: {}, decisions: 0 });
  }
  problem(what, index = this.size) {
    this.found++;
    if (this.problems.length < 1000) this.problems.push(`entry ${index}: ${what}`);
  }
  root() {
    if (!this.edge.length) return sha256(EMPTY);
    return this.edge.reduceRight((right, left) => node(left, right));
  }
  add(raw) {
    let h = leafHash(raw);
    try {
      const leaf = readLeaf(raw);
      this.chain(leaf, h);
      if (leaf.kind === "key" && leaf.codes?.includes("epoch.opened")) this.epoch(leaf);
      this.refs.set(this.size, leaf);
      this.approvals.leaf(this.size, leaf);
      if (leaf.verdict) this.decisions++;
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
      Number(known[1]) < this.size || (Number(known[1]) === this.size && leaf.codes[2].slice(6) !== leaf.codes[1].slice(9)) || leaf.epoch !== this.epochs) {
      this.problem("it opens no epoch");
      return;
    }
    readKey(leaf.subject ?? "");
    if (Number(known[1]) === this.size) this.gaps.push(`nothing is lost: epoch ${this.epochs} goes on at entry ${this.size} under another key`);
    else this.gaps.push(`entries ${this.size} to ${Number(known[1]) - 1} were recorded and are lost`);
  }
  bundle(data, width) {
    this.refs.clear();
    this.pending.clear();
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
  async disclosed(name, data) {
    const [, number, part] = /^part\/(0|[1-9][0-9]*)\/(.*)$/s.exec(name) ?? [];
    const index = Number(number), leaf = this.refs.get(index), want = leaf?.parts?.find((p) => p.name === part);
    if (!want || data.length < 32 || base64url(hmac(data.subarray(0, 32), data.subarray(32))) !== want.commit) {
      this.problem(`part ${JSON.stringify(name)} does not match a commitment`);
      return;
    }
    this.parts++;
    const plain = data.subarray(32), wrong = await this.approvals.part(index, leaf, part, plain);
    if (wrong) this.problem(wrong, index);
    this.part?.(index, part, plain);
    if (this.replay && leaf.verdict) await this.decided(index, leaf, part, plain);
  }
  // A decision is taken again once its input and its explanation are both there.
  async decided(index, leaf, part, data) {
    const input = leaf.phase === "after" ? "input.after" : "input.before";
    if (part !== input && part !== "explanation") return;
    const have = this.pending.get(index) ?? {};
    have[part] = data.slice();
    this.pending.set(index, have);
    if (!have[input] || !have.explanation) return;
    this.pending.delete(index);
    const r = await this.replay(leaf.verdict, have[input], have.explanation);
    this.replayed[r.answer] = (this.replayed[r.answer] ?? 0) + 1;
    if (r.answer === "different") this.problem(`it is decided otherwise now: ${(r.differences ?? []).join("; ")}`, index);
  }
}

// Bundles.

async function readBundle(log, blob, options) {
  const w = new Window(blob), head = [];
  for (let i = 0; i < 3; i++) head.push((await member(w)) ?? { name: "", data: EMPTY });
  if (head.map((m) => m.name).join() !== "format,vkey,checkpoint" || string(head[0].data, "the format") !== "sallyport bundle 1\n") {
    throw new Refused("not a bundle");
  }
  const line = options.key || string(head[1].data, "the key"), key = readKey(line);
  const cp = await readCheckpoint(head[2].data, key);
  let witnessed = null;
  for (let i = 0, m; (m = await member(w)); i++) {
    const width = Math.min(maxWidth, cp.size - log.size);
    if (i === 0 && m.name === "witnessed") {
      await readCheckpoint(m.data, key);
      witnessed = m.data;
    } else if (m.name.startsWith("part/")) await log.disclosed(m.name, m.data);
    else if (width > 0 && m.name === tilePath("entries", Math.floor(log.size / maxWidth), width)) log.bundle(m.data, width);
    else throw new Refused(`member ${JSON.stringify(m.name)} out of place`);
    options.progress?.(log.size, cp.size);
  }
  return { key, cp, witnessed, line };
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
 * progress(done, size), leaf(index, members) and part(index, name, bytes), and engine(policies), which gets the policies of a package
 * and resolves to what takes decisions again (replay.mjs), or to null. It resolves to a report whose ok says
 * whether everything holds, and throws only for what is not about the log, such as a network that fails.
 */
export async function verify(source, options = {}) {
  const report = { ok: false, origin: "", size: 0, root: "", signed: 0, problems: [], gaps: [], notes: [], kinds: {}, sessions: 0, open: [], parts: 0, cosigned: 0,
    approvals: null, decisions: 0, replayed: {} };
  let log;
  try {
    const witnesses = (options.witnesses ?? []).map((w) => readKey(w, 4));
    const old = (options.old ?? []).map((note) => ({ note, size: Number(/^[^\n]*\n([0-9]{1,15})\n/.exec(string(note, "a kept checkpoint"))?.[1] ?? -1) }));
    const tiles = typeof source === "function";
    log = new Log({ tiles, roots: new Map(old.map((o) => [o.size, null])), part: options.part, leaf: options.leaf });
    if (log.roots.has(0)) log.roots.set(0, log.root());
    const pack = tiles ? null : await readPackage(source);
    if (options.engine) log.replay = await options.engine(pack?.policies ?? []);
    const { key, cp, witnessed, line } = await (tiles ? readTiles : readBundle)(log, pack ? pack.log : source, options);
    if (pack) {
      await pack.check(line);
      report.notes.push("the package is signed by the log's key; what its report says is not read here");
    }
    report.origin = key.name;
    report.signed = cp.size;
    report.checkpoint = cp.note;
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
    const { requests, answers, signed, closed } = log.approvals;
    report.approvals = { requests, answers, signed, closed };
    Object.assign(report, { size: log.size, root: digest(log.root()), gaps: log.gaps, kinds: log.kinds, sessions: log.ends.size - log.ends.has(""), parts: log.parts,
      decisions: log.decisions, replayed: log.replayed,
      open: Array.from(log.open, ([action, v]) => ({ action, ...v })) });
  }
  report.ok = report.problems.length === 0;
  return report;
}

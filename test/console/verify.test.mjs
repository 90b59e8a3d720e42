// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import * as bytes_ from "../../docs/verify/bytes.mjs";
import { readKey } from "../../docs/verify/note.mjs";
import { sha256 } from "../../docs/verify/sha256.mjs";
import * as tiles_ from "../../docs/verify/tiles.mjs";
import { Owner } from "./owner.mjs";

const v = { ...bytes_, ...tiles_, readKey, sha256 };
const bytes = (b) => new Uint8Array(b);

/** tree is a log of n leaves in memory, with its tiles. */
async function tree(n) {
  const leaves = Array.from({ length: n }, (_, i) => new TextEncoder().encode(`leaf ${i}`));
  const rows = [leaves.map((l) => v.leafHash(l))];
  while (rows.at(-1).length > 1) {
    const below = rows.at(-1);
    const up = [];
    for (let i = 0; i + 1 < below.length; i += 2) up.push(v.node(below[i], below[i + 1]));
    rows.push(up);
  }
  const root = async (from, end) => {
    if (end - from === 1) return rows[0][from];
    let k = 1;
    while (k * 2 < end - from) k *= 2;
    return v.node(await root(from, from + k), await root(from + k, end));
  };
  const fetch = async (path) => {
    const [, row, at, width] = /^tile\/(\d+|entries)\/((?:x\d{3}\/)*\d{3})(?:\.p\/(\d+))?$/.exec(path);
    const number = Number(at.replace(/[x/]/g, ""));
    const w = width ? Number(width) : 256;
    if (row === "entries") {
      return v.concat(...leaves.slice(number * 256, number * 256 + w).flatMap((l) => [bytes([l.length >> 8, l.length & 255]), l]));
    }
    return v.concat(...rows[Number(row) * 8].slice(number * 256, number * 256 + w));
  };
  return { n, leaves, root: (size) => root(0, size), tiles: (size) => new v.Tiles(size, fetch) };
}

test("Every entry of logs of many sizes is proved, and no other", async () => {
  const all = await tree(600);
  for (const size of [1, 2, 3, 5, 8, 17, 255, 256, 257, 511, 513, 600]) {
    const root = await all.root(size);
    const tiles = all.tiles(size);
    for (const index of new Set([0, 1, 2, Math.floor(size / 2), size - 2, size - 1].filter((i) => i >= 0 && i < size))) {
      const leaf = await tiles.leaf(index);
      assert.deepEqual(leaf, all.leaves[index]);
      const path = await tiles.inclusion(index);
      const hash = v.leafHash(leaf);
      v.verifyInclusion(hash, index, size, path, root);
      assert.throws(() => v.verifyInclusion(hash, index, size, [...path, root], root));
      if (path.length) assert.throws(() => v.verifyInclusion(hash, index, size, path.slice(1), root));
      if (size > 1) assert.throws(() => v.verifyInclusion(hash, (index + 1) % size, size, path, root));
      assert.throws(() => v.verifyInclusion(v.leafHash(bytes([0])), index, size, path, root));
    }
  }
});

test("A log that only grew is told from one that did not", async () => {
  const all = await tree(300);
  for (const size of [1, 2, 3, 7, 8, 9, 64, 257, 300]) {
    const root = await all.root(size);
    for (let old = 1; old <= size; old += size > 64 ? 37 : 1) {
      const before = await all.root(old);
      const path = await all.tiles(size).consistency(old);
      v.verifyConsistency(old, size, before, root, path);
      const other = before.slice();
      other[0] ^= 1;
      assert.throws(() => v.verifyConsistency(old, size, other, root, path));
      if (path.length) assert.throws(() => v.verifyConsistency(old, size, before, root, path.slice(1)));
      if (old < size) assert.throws(() => v.verifyConsistency(size, old, root, before, path));
    }
  }
});

test("Tiles are numbered in groups of three digits", () => {
  for (const [n, path] of [[0, "000"], [999, "999"], [1000, "x001/000"], [1234067, "x001/x234/067"]]) assert.equal(v.tilePath(0, n, 256), `tile/0/${path}`);
});

test("An auditor checks a proof of a real log with this module alone", async (t) => {
  const owner = await Owner.start();
  try {
    await owner.furnish();
    const bot = await owner.bot("b", "ann");
    const s = (await owner.agent(bot, "POST", "/v1/sessions", {})).id;
    for (let i = 0; i < 5; i++) await owner.act(bot, s, "crm/read_customer", { id: String(i) });
    const name = join(owner.dir, "proof");
    execFileSync(process.env.SALLYPORT_BIN, ["--config", owner.config, "ledger", "prove", "7", "--out", name], { env: { ...process.env, HOME: owner.dir }, stdio: "pipe" });
    const proof = readFileSync(`${name}.tlog-proof`, "utf8");
    const leaf = bytes(readFileSync(`${name}.leaf`));
    const key = v.readKey(owner.vkey), prove = (l, p, k) => v.verifyProof(typeof p === "string" ? new TextEncoder().encode(p) : p, l, k);
    const p = await prove(leaf, proof, owner.vkey);
    assert.equal(p.index, 7);
    const times = [];
    for (let i = 0; i < 50; i++) {
      const began = performance.now();
      await prove(leaf, proof, owner.vkey);
      times.push(performance.now() - began);
    }
    t.diagnostic(`one proof, signature included: median ${times.sort((a, b) => a - b)[25].toFixed(2)} ms (this machine, loaded)`);
    for (let i = 0; i < leaf.length; i += 7) {
      const bad = leaf.slice();
      bad[i] ^= 1;
      await assert.rejects(prove(bad, proof, owner.vkey), v.Refused, `byte ${i} of the leaf`);
    }
    for (let i = 0; i < proof.length; i++) {
      if (proof[i] === "\n") continue;
      const bad = proof.slice(0, i) + (proof[i] === "B" ? "C" : "B") + proof.slice(i + 1);
      await assert.rejects(prove(leaf, bad, owner.vkey), undefined, `character ${i} of the proof`);
    }
    const other = await (async () => {
      const pair = await crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
      const raw = v.concat(bytes([1]), bytes(await crypto.subtle.exportKey("raw", pair.publicKey)));
      const id = v.sha256(v.concat(new TextEncoder().encode(`${key.name}\n`), raw)).slice(0, 4);
      return `${key.name}+${v.hex(id)}+${v.toBase64(raw)}`;
    })();
    await assert.rejects(prove(leaf, proof, other), v.Refused);
  } finally {
    await owner.stop();
  }
});

test("Keys with a wrong character are refused", async () => {
  for (const bad of ["", "x", "a+b+c", "log+00000000+AAAA", `log+00000000+${btoa("\x01" + "k".repeat(32))}`, `log+00000000+${btoa("\x02" + "k".repeat(32))}`]) {
    assert.throws(() => v.readKey(bad), v.Refused, bad);
  }
});

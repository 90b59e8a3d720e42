// SPDX-License-Identifier: Apache-2.0

// Tar files as bundles and packages are.

import { EMPTY, Refused, hex, string } from "./bytes.mjs";
import { readKey, readNote, signedBy } from "./note.mjs";
import { sha256, sha256Blob } from "./sha256.mjs";

const maxMember = 256 << 20;

/** Window reads a Blob in pieces, so that a bundle needs no memory of its own size. */
export class Window {
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

/** member reads the next member, null at the end. */
export async function member(w, apart = "") {
  const h = (await w.take(512)).slice();
  if (h.length === 512 && zero(h)) {
    const next = await w.take(512);
    if (next.length === 0 || (next.length === 512 && zero(next))) return null;
  }
  const sum = h.reduce((n, v, i) => n + (i >= 148 && i < 156 ? 32 : v), 0);
  if (h.length !== 512 || sum !== octal(h.subarray(148, 156)) || ![0, 48].includes(h[156]) || String.fromCharCode(...h.subarray(257, 263)) !== "ustar\0") {
    throw new Refused("a damaged header of the bundle");
  }
  const size = octal(h.subarray(124, 136)), rest = (512 - (size % 512)) % 512;
  const name = string(h.subarray(0, 100), "a name in the bundle").replace(/\0+$/, "");
  if (apart && name === apart) { // too large to be read at once
    const blob = w.blob.slice(w.at, w.at + size);
    w.at += size + rest;
    if (blob.size !== size) throw new Refused("the bundle ends early");
    return { name, blob };
  }
  if (size > maxMember) throw new Refused("a member of the bundle is too large");
  const data = await w.take(size);
  const kept = rest ? data.slice() : data; // reading on may move the window
  if (data.length !== size || (await w.take(rest)).length !== rest) throw new Refused("the bundle ends early");
  return { name, data: kept };
}

const FORMAT = "sallyport evidence 1\n", LOG = "log.tar";

/**
 * readPackage opens a package of evidence: { log, policies, check }. log is the bundle in it, policies the archives of
 * the policies that decided, and check(key) throws unless that key signed the list of all members. It resolves to null
 * for a Blob that is no package.
 */
export async function readPackage(blob) {
  const w = new Window(blob), first = await member(w).catch(() => null);
  if (first?.name !== "format" || string(first.data, "the format") !== FORMAT) return null;
  let list = `${FORMAT}${hex(sha256(first.data))} format\n`, log = null, manifest = null;
  const policies = [], seen = new Set(["format"]);
  for (let m; (m = await member(w, LOG)); ) {
    if (seen.has(m.name) || manifest) throw new Refused(`member ${JSON.stringify(m.name)} out of place`);
    seen.add(m.name);
    if (m.name === "manifest") {
      manifest = m.data;
      continue;
    }
    if (m.name === LOG) log = m.blob;
    else if (m.name.startsWith("policy-")) policies.push(m.data);
    list += `${hex(m.blob ? await sha256Blob(m.blob) : sha256(m.data))} ${m.name}\n`;
  }
  if (!log || !manifest) throw new Refused("the package is not whole");
  const check = async (line) => {
    const key = readKey(line), note = readNote(manifest);
    if (note.body !== list) throw new Refused("the package is not what its manifest lists");
    if (!(await signedBy(note, key))) throw new Refused("the manifest is not signed by the log's key");
  };
  return { log, policies, check };
}

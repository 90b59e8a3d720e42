// SPDX-License-Identifier: Apache-2.0

// C2SP signed notes: public keys, checkpoints, and what witnesses sign.

import { EMPTY, Refused, base64, concat, hex, same, string, text } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";

/** readKey parses the text form of a public key: of a log (kind 1) or a witness (kind 4). */
export function readKey(line, kind = 1) {
  const at = line.trim().split("+");
  if (at.length < 3 || !at[0] || /\s/.test(at[0])) throw new Refused("not a public key");
  const name = at[0], key = base64(at.slice(2).join("+"));
  const hash = sha256(concat(text.encode(name + "\n"), key)).subarray(0, 4);
  if (key.length !== 33 || key[0] !== kind || hex(hash) !== at[1]) throw new Refused("not a public key");
  return { name, hash, key: key.subarray(1) };
}

export async function signed(key, message, signature) {
  if (signature.length !== 64) return false;
  try {
    const k = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, k, signature, message);
  } catch (e) {
    if (e?.name === "NotSupportedError") throw new Error("this browser's WebCrypto has no Ed25519");
    return false; // not a key
  }
}

/** readNote takes a signed note apart. */
export function readNote(note) {
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

/** signedBy says whether the key signed the note. */
export async function signedBy(note, key) {
  const one = note.signatures.find(by(key));
  return one !== undefined && signed(key.key, text.encode(note.body), one.signature);
}

/** readCheckpoint parses a checkpoint, given as bytes, and verifies the log's signature. */
export async function readCheckpoint(note, log) {
  const { body, signatures } = readNote(note);
  const lines = body.split("\n");
  if (lines.length < 4 || body.includes("\n\n") || !/^(0|[1-9][0-9]{0,15})$/.test(lines[1])) throw new Refused("not a checkpoint");
  const root = base64(lines[2]);
  if (lines[0] !== log.name || root.length !== 32 || !(await signedBy({ body, signatures }, log))) {
    throw new Refused("the log's signature does not verify");
  }
  return { origin: log.name, size: Number(lines[1]), root, note };
}

/** cosigned counts the witnesses that signed the note. */
export async function cosigned(note, witnesses) {
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

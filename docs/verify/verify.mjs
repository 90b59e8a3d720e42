// SPDX-License-Identifier: Apache-2.0

// Verify a Sallyport log without Sallyport, in a browser or with Node: an exported bundle, published tiles, or
// the proof of one record. It shares no line with the program that writes logs; the format is in
// ../ledger-format.md.
//
//   node verify.mjs BUNDLE.tar|TILES [--key VKEY] [--old CHECKPOINT]... [--witness VKEY]... [--quorum K]
//                   [--replay FOLDER --policy ARCHIVE...] [--json]
//   node verify.mjs PROOF --key VKEY --leaf FILE
//
// Exit code 0: verified; 5: it does not verify; 2: usage.
//
// What is checked: the log's signature (WebCrypto), the tree re-derived from the leaves, each leaf's canonical
// form, the chains of the sessions, the uniqueness of records, tiles, disclosed parts, who approved what with which
// key, gaps between epochs, checkpoints that the verifier kept, and cosignatures of witnesses. With --replay, FOLDER
// holding what build.sh made, each disclosed decision is taken again under the policy that decided it. A public key
// that comes with the bundle proves less than one that the verifier has from elsewhere.

import { Refused } from "./bytes.mjs";
import { verify } from "./log.mjs";
import { verifyProof } from "./tiles.mjs";
import { found } from "./words.mjs";

// The command.

async function main(args, fs) {
  const options = { key: "", witnesses: [], old: [], quorum: 0 }, policies = [], bytes = async (f) => new Uint8Array(await fs.readFile(f));
  let source = "", leaf = "", engine = "", asJSON = false;
  for (let i = 0; i < args.length; i++) {
    const value = () => { if (++i >= args.length) throw new Error(`${args[i - 1]} needs a value`); return args[i]; };
    switch (args[i]) {
      case "--key": options.key = value(); break;
      case "--witness": options.witnesses.push(value()); break;
      case "--old": options.old.push(await bytes(value())); break;
      case "--quorum": options.quorum = Number(value()); break;
      case "--leaf": leaf = value(); break;
      case "--replay": engine = value(); break;
      case "--policy": policies.push(await bytes(value())); break;
      case "--json": asJSON = true; break;
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
  if (engine) options.engine = async (more) => (await import("./replay.mjs")).fromFolder(engine, policies.concat(more));
  const r = await verify(read, options);
  if (asJSON) {
    const { checkpoint: _, ...shown } = r;
    console.log(JSON.stringify(shown));
    if (!r.ok) throw new Refused("FAILED");
    return "";
  }
  for (const g of r.gaps) console.log(`GAP: ${g}`);
  for (const p of r.problems.slice(0, 50)) console.log(`problem: ${p}`);
  for (const n of found(r)) console.log(n);
  const line = `${r.ok ? "VERIFIED" : "FAILED"}  ${r.origin}  ${r.size} entries, root ${r.root}`;
  if (!r.ok) throw new Refused(line);
  return line;
}

if (typeof process !== "undefined" && process.argv?.[1]?.endsWith("verify.mjs")) {
  const fs = { ...(await import("node:fs/promises")), openAsBlob: (await import("node:fs")).openAsBlob };
  await main(process.argv.slice(2), fs).then((line) => line && console.log(line), (e) => {
    const refused = e instanceof Refused;
    (refused ? console.log : console.error)(refused && !e.message.startsWith("FAILED") ? `FAILED  ${e.message}` : e.message);
    process.exitCode = refused ? 5 : 2;
  });
}

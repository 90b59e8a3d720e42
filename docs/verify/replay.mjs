// SPDX-License-Identifier: Apache-2.0

// Decisions taken again by the policy engine that build.sh makes out of the sources: replay.wasm, and the
// wasm_exec.js of the Go toolchain that made it, beside this file or in a folder.

import { Refused, string } from "./bytes.mjs";

/** start runs the engine, given as bytes once wasm_exec.js has run, and resolves to what verify takes as replay. */
async function start(wasm, policies) {
  const go = new globalThis.Go();
  const { instance } = await WebAssembly.instantiate(wasm, go.importObject);
  void go.run(instance); // it ends with the page
  for (const archive of policies) {
    const { error } = JSON.parse(globalThis.sallyportReplay.add(archive));
    if (error) throw new Refused(`a policy: ${error}`);
  }
  return async (verdict, input, explanation) => JSON.parse(globalThis.sallyportReplay.decide(verdict, input, explanation));
}

/** fromFolder is for Node. */
export async function fromFolder(folder, policies) {
  const { readFile } = await import("node:fs/promises"), { runInThisContext } = await import("node:vm");
  runInThisContext(string(new Uint8Array(await readFile(`${folder}/wasm_exec.js`)), "wasm_exec.js"));
  return start(await readFile(`${folder}/replay.wasm`), policies);
}

/** fromPage resolves to null where the engine does not lie beside the page. */
export async function fromPage(policies) {
  const got = await fetch("replay.wasm").catch(() => null);
  if (!got?.ok) return null;
  await new Promise((resolve, reject) => {
    const s = document.createElement("script");
    s.src = "wasm_exec.js";
    s.onload = resolve;
    s.onerror = () => reject(new Error("wasm_exec.js is not beside replay.wasm"));
    document.head.append(s);
  });
  return start(await got.arrayBuffer(), policies);
}

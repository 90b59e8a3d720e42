// SPDX-License-Identifier: Apache-2.0

// The page around verify.mjs. What stands in a log is only ever shown as text.

import { text } from "./bytes.mjs";
import { verify } from "./log.mjs";
import { fromPage } from "./replay.mjs";
import { lines } from "./words.mjs";

const $ = (id) => document.getElementById(id);

// The newest checkpoint of each log that verified here is kept by this browser, under the log's origin and public key, so
// that the next visit shows a log that was cut or rewritten.
const kept = (key) => `sallyport.verified ${key}`;

function earlier(key) {
  try { return key ? localStorage.getItem(kept(key)) : null; } catch { return null; }
}

function remember(key, r) {
  try { localStorage.setItem(kept(key), new TextDecoder().decode(r.checkpoint)); } catch { /* a page without storage keeps nothing */ }
}

const bytesOf = async (f) => new Uint8Array(await f.arrayBuffer());

async function go() {
  const show = $("report"), file = $("bundle").files[0], key = $("key").value.trim();
  show.hidden = false;
  show.className = "";
  if (!file) {
    show.textContent = "Choose a file first.";
    return;
  }
  $("go").disabled = true;
  try {
    const old = await Promise.all(Array.from($("old").files, bytesOf)), policies = await Promise.all(Array.from($("policies").files, bytesOf));
    const seen = earlier(key);
    if (seen) old.push(text.encode(seen));
    const r = await verify(file, {
      key, old, witnesses: $("witnesses").value.split("\n").map((s) => s.trim()).filter(Boolean), quorum: Number($("quorum").value) || 0,
      progress: (done, size) => { show.textContent = `${done} of ${size} records`; },
      engine: (more) => fromPage(policies.concat(more)),
    });
    if (r.ok && key) remember(key, r);
    show.className = r.ok ? "good" : "bad";
    show.textContent = lines(r).join("\n") + (seen ? "\nnote: the checkpoint that this browser kept from the last time was held against it" : "");
  } catch (e) {
    show.className = "bad";
    show.textContent = `Nothing can be said: ${e.message}`;
  } finally {
    $("go").disabled = false;
  }
}

$("go").addEventListener("click", go);

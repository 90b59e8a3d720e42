// SPDX-License-Identifier: Apache-2.0

// The page around verify.mjs. What stands in a log is only ever shown as text.

import { verify } from "./verify.mjs";

const $ = (id) => document.getElementById(id);

/** lines is a report for people. */
export function lines(r) {
  const out = [`${r.ok ? "VERIFIED" : "FAILED"}  ${r.origin}`, `${r.size} records in ${r.sessions} sessions, root ${r.root}`];
  for (const g of r.gaps) out.push(`GAP: ${g}`);
  for (const p of r.problems) out.push(`problem: ${p}`);
  if (r.open.length) out.push(`${r.open.length} actions have no recorded end`);
  if (r.parts) out.push(`${r.parts} disclosed parts are those that their records name`);
  if (r.cosigned) out.push(`${r.cosigned} witnesses cosigned`);
  for (const n of r.notes) out.push(`note: ${n}`);
  return out;
}

async function go() {
  const show = $("report"), file = $("bundle").files[0];
  show.hidden = false;
  show.className = "";
  if (!file) {
    show.textContent = "Choose a bundle first.";
    return;
  }
  const old = $("old").files[0];
  $("go").disabled = true;
  try {
    const r = await verify(file, {
      key: $("key").value.trim(), old: old ? [new Uint8Array(await old.arrayBuffer())] : [],
      witnesses: $("witnesses").value.split("\n").map((s) => s.trim()).filter(Boolean),
      progress: (done, size) => { show.textContent = `${done} of ${size} records`; },
    });
    show.className = r.ok ? "good" : "bad";
    show.textContent = lines(r).join("\n");
  } catch (e) {
    show.className = "bad";
    show.textContent = `Nothing can be said: ${e.message}`;
  } finally {
    $("go").disabled = false;
  }
}

$("go").addEventListener("click", go);

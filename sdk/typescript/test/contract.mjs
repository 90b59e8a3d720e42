// SPDX-License-Identifier: Apache-2.0

/**
 * The shared contract cases (testdata/contract), run through one door: a way to have a framework call a tool. A
 * door takes (gateway, session, tool, callId, owner) and returns a function that hands the call in, or hands it in
 * again; that returns {answer, value, text, ticket}.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Gateway } from "../dist/index.js";
import { badGateway, CONTRACT, freeUrl, Owner, sleep } from "./owner.mjs";

export const SERVER = "contract";
export const SCHEMA = { type: "object", properties: { id: { type: "string" }, limit: { type: "integer" } }, required: ["id"] };
const cases = readdirSync(CONTRACT).filter((f) => f.endsWith(".json")).sort().map((f) => [f.replace(".json", ""), JSON.parse(readFileSync(join(CONTRACT, f), "utf8"))]);

/** The tool of a case: it counts, and returns or throws what the case says. */
function toolOf(c) {
  const ran = [];
  return {
    case: c,
    ran,
    call: (args) => {
      ran.push(args);
      if (c.raises) throw new RangeError(c.raises);
      return c.returns;
    },
  };
}

/** What a text that a model reads in place of a result stands for. */
export function refusalOf(text) {
  return { answer: text.includes("Do not repeat") && !text.includes("handed to") ? "withheld" : "refused", text };
}

export function contractOf(name, door, change = (c) => c) {
  describe(name, () => {
    let owner;
    before(async () => (owner = await Owner.start()));
    after(() => owner.close());
    for (const [file, c] of cases) it(`${file}: ${c.name}`, () => run(owner, change(c, file), door));
  });
}

async function run(owner, c, door) {
  const token = await owner.harness(c.agent);
  const session = await new Gateway({ urls: owner.agents, token }).openSession();
  let bad;
  let urls = [owner.agents];
  if (["loses", "strange", "no-outcome"].includes(c.gateway)) {
    bad = await badGateway(c.gateway, owner.agents, c.strange);
    urls = c.gateway === "loses" ? [bad.url, owner.agents] : [bad.url];
  } else if (c.gateway === "down" || c.gateway === "first-down") {
    urls = [await freeUrl(), ...(c.gateway === "first-down" ? [owner.agents] : [])];
  }
  const gateway = new Gateway({ urls, token, rounds: 2, pause: 10 });
  const tool = toolOf(c);
  try {
    await taken(owner, c, session, token);
    let said = await through(owner, c, door(gateway, session, tool, "call-1", owner));
    if (c.again === "ended") said = await through(owner, c, door(gateway, session, tool, "call-1", owner));
    check(c.expect, said, tool);
    if (c.expect.records) await recorded(owner, session, c.expect.records);
  } finally {
    await bad?.close();
  }
}

/** What another execution did with the same call id. */
async function taken(owner, c, session, token) {
  const args = { "other-arguments": { id: "other" }, taken: c.arguments }[c.again];
  if (!args) return;
  const got = await owner.send("POST", `${owner.agents}/v1/actions`, token, { session, call_id: c.call_id ?? "call-1", executor: "another", tool: { server: SERVER, name: c.tool }, arguments: args });
  assert.equal(got.status, 200, await got.text());
}

async function through(owner, c, attempt) {
  let said = await attempt();
  if (c.expect.waits) {
    assert.equal(said.answer, "waiting", JSON.stringify(said));
    await owner.answer(c.people, said.ticket, c.comment);
    said = await attempt();
  }
  return said;
}

function check(expect, said, tool) {
  assert.equal(said.answer, expect.answer, JSON.stringify(said));
  assert.equal(tool.ran.length, expect.ran);
  if (expect.arguments) assert.deepEqual(tool.ran[0], expect.arguments);
  if (expect.result) assert.deepEqual(said.value, expect.result);
  const everything = (said.text ?? "") + JSON.stringify(said.value ?? null);
  for (const text of expect.says ?? []) assert.ok(everything.includes(text), `${text} does not stand in ${everything}`);
  for (const text of expect.never ?? []) assert.ok(!everything.includes(text), `${text} stands in ${everything}`);
}

async function recorded(owner, session, want) {
  let got;
  for (let i = 0; i < 200; i++) {
    got = (await owner.records(session))
      .filter((r) => ["decision", "intent", "outcome"].includes(r.kind))
      .map((r) => [r.kind, r.verdict, r.kind === "outcome" ? r.status : "", r.enforced ? "" : "observed"].filter(Boolean).join(" "));
    if (JSON.stringify(got) === JSON.stringify(want)) return;
    await sleep(50); // the index follows the log
  }
  assert.deepEqual(got, want);
}

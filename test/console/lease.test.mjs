// SPDX-License-Identifier: Apache-2.0

// An agent loses its good state between two calls, and people see that it did, and why.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { open, windowOf } from "./browser.mjs";
import { Owner } from "./owner.mjs";

// The agent: it reads a customer, waits until it is told to go on, and reads until it is denied.
const program = `
import { existsSync, writeFileSync } from "node:fs";
const dir = process.argv[2];
const api = async (path, body) => (await fetch(process.env.SALLYPORT_URL + path, { method: "POST", body: JSON.stringify(body),
  headers: { Authorization: "Bearer " + process.env.SALLYPORT_TOKEN, "Content-Type": "application/json" } })).json();
const session = (await api("/v1/sessions", {})).id;
for (let n = 1, go = false; n < 200; n++) {
  const a = await api("/v1/actions", { session, call_id: "read-" + n, tool: { server: "crm", name: "read_customer" }, arguments: { id: "42" } });
  if (a.decision?.effect === "allow") await api("/v1/actions/" + a.id + "/outcome", { status: "done", result: { name: "Ann" } });
  writeFileSync(dir + "/" + (a.decision?.effect ?? "error"), JSON.stringify({ session, ...a }));
  if (a.decision?.effect !== "allow") break;
  while (!go && !existsSync(dir + "/go")) await new Promise((done) => setTimeout(done, 50));
  go = true;
  await new Promise((done) => setTimeout(done, 200));
}
`;

let dir, owner, browser, agent;
const bin = process.env.SALLYPORT_BIN;
const until = async (name) => {
  for (let n = 0; n < 600 && !existsSync(join(dir, name)); n++) await pause(100);
  assert.ok(existsSync(join(dir, name)), `${name} does not come: ${agent?.said}`);
};

before(async () => {
  dir = mkdtempSync(join(tmpdir(), "lease-"));
  mkdirSync(join(dir, "model"));
  writeFileSync(join(dir, "model", "weights"), "the model");
  writeFileSync(join(dir, "agent.mjs"), program);
  const command = ["--model", join(dir, "model"), "--script", join(dir, "agent.mjs"), "--", process.execPath, join(dir, "agent.mjs"), dir];
  const events = JSON.parse(execFileSync(bin, ["attest", "measure", "--json", ...command], { env: { PATH: process.env.PATH, HOME: dir } }));
  const references = events.map((e) => `{kind: ${e.kind}, digests: ["sha256:${e.digest}"]}`).join(", ");
  [owner, browser] = await Promise.all([
    Owner.start("bearer", `attest: {agents: [{agent: payer, kinds: [software], assurance: 1, lease: 4s, references: [${references}]}]}\n`),
    open(),
  ]);
  await owner.furnish();
  writeFileSync(join(dir, "token"), await owner.bot("payer", "ann"), { mode: 0o600 });
  agent = spawn(bin, ["attest", "keep", "--url", owner.agents, "--token-file", join(dir, "token"), ...command], { env: { PATH: process.env.PATH, HOME: dir } });
  agent.said = "";
  for (const s of [agent.stdout, agent.stderr]) s.on("data", (x) => (agent.said += x));
  agent.ended = new Promise((done) => agent.on("exit", done));
});
after(async () => {
  agent?.kill("SIGTERM");
  await agent?.ended;
  await browser?.close();
  await owner?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test("A changed model ends the lease, and the console says why the next call was denied", async () => {
  await until("allow");
  const w = await windowOf(browser, owner, owner.admin);
  await w.go("sessions", "Sessions");
  const row = w.page.locator("[data-row]").filter({ hasText: "payer" }).first();
  await row.getByText("A1 M0").waitFor();
  writeFileSync(join(dir, "model", "weights"), "another model");
  writeFileSync(join(dir, "go"), "");
  await until("deny");
  await w.page.reload();
  await row.getByText("A0 M0").waitFor();
  await row.click();
  await w.page.locator("tr[data-step]").filter({ hasText: "deny" }).first().click();
  await w.page.getByText("what it runs is not what it should be").first().waitFor();
  await w.shot("lease-lost-light");
  w.clean();
  await w.close();
});

// SPDX-License-Identifier: Apache-2.0

// An auditor's page, docs/verify, in a browser: a package of a real log, then a log that was cut.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { test } from "node:test";

import { open } from "./browser.mjs";
import { Owner } from "./owner.mjs";

const types = { ".html": "text/html", ".mjs": "text/javascript", ".js": "text/javascript" };

test("An auditor verifies a package in a browser, and sees a log that was cut", async () => {
  const owner = await Owner.start(), browser = await open();
  const web = createServer(async (q, a) => {
    const name = q.url === "/" ? "/index.html" : q.url;
    const body = await readFile(join(process.env.SALLYPORT_ROOT, "docs/verify", name)).catch(() => null);
    a.writeHead(body ? 200 : 404, { "Content-Type": types[extname(name)] ?? "application/octet-stream" }).end(body ?? "");
  });
  await new Promise((done) => web.listen(0, "127.0.0.1", done));
  try {
    await owner.furnish();
    const bot = await owner.bot("b", "ann"), s = (await owner.agent(bot, "POST", "/v1/sessions", {})).id;
    const exported = (name, ...flags) => {
      const file = join(owner.dir, name);
      execFileSync(process.env.SALLYPORT_BIN, ["--config", owner.config, "ledger", "export", file, ...flags], { env: { ...process.env, HOME: owner.dir }, stdio: "pipe" });
      return file;
    };
    const cut = exported("older.tar");
    await owner.act(bot, s, "crm/read_customer", { id: "1" });
    const whole = exported("package.tar", "--evidence", "--open", "input.before,input.after,explanation", "--purpose", "audit");

    const page = await browser.newPage(), errors = [];
    page.on("pageerror", (e) => errors.push(e.message));
    await page.goto(`http://127.0.0.1:${web.address().port}/`);
    const verified = async (file, key = owner.vkey) => {
      await page.fill("#key", key);
      await page.setInputFiles("#bundle", file);
      await page.click("#go");
      await page.waitForFunction(() => document.getElementById("report").className !== "");
      return page.textContent("#report");
    };
    const first = await verified(whole);
    assert.match(first, /^VERIFIED/);
    assert.match(first, /disclosed parts are those that their records name/);
    assert.match(first, /the package is signed by the log's key/);
    await page.reload();
    assert.match(await verified(whole), /the checkpoint that this browser kept from the last time/);
    assert.match(await verified(cut), /^FAILED[^]*it was rewritten or cut/);
    assert.match(await verified(whole, owner.vkey.replace(/.$/, (c) => (c === "A" ? "B" : "A"))), /^FAILED/);
    assert.deepEqual(errors, []);
  } finally {
    web.close();
    await browser.close();
    await owner.stop();
  }
});

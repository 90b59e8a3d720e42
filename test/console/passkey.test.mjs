// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { authenticator, open, windowOf } from "./browser.mjs";
import { Owner } from "./owner.mjs";

let owner, browser, bot, w, code, url; // one login, of one person with one passkey

before(async () => {
  browser = await open(); // alone: a start of the owner that fails must not leave a browser that nobody closes
  owner = await Owner.start("passkey");
  owner.people = owner.people.replace("127.0.0.1", "localhost"); // passkeys are made for names
  await owner.furnish();
  bot = await owner.bot("billing-bot", "ann");
});
after(async () => {
  await browser?.close();
  await owner?.stop();
});

test("A code logs in once, as an operator, who adds a passkey and approves with it by keyboard alone", async () => {
  ({ code, url } = owner.code());
  assert.equal(url, `${owner.people}/console/`);
  w = await windowOf(browser, owner);
  await authenticator(w);
  await w.login(code);
  const s = (await owner.agent(bot, "POST", "/v1/sessions", { user_request: "tidy up" })).id;
  const a = await owner.act(bot, s, "crm/delete_customer", { id: "42" });
  assert.equal(a.decision.effect, "ask");
  const key = (k) => w.page.keyboard.press(k);

  // Without a passkey a yes is recorded and does not grant.
  await w.page.locator("[data-request]").waitFor();
  await key("Enter");
  await w.page.locator(".actions").waitFor();
  await key("a");
  await w.page.getByRole("dialog").getByText("Your passkey is asked for").waitFor();
  await key("Enter");
  await w.page.getByText("not yet enough").waitFor();

  await key("g");
  await key(",");
  await w.page.getByLabel("Name of the passkey").fill("laptop");
  await key("Enter");
  await w.page.getByText("counts from now on").waitFor();
  await w.page.getByRole("region", { name: "Your keys" }).getByText("laptop").waitFor();
  await w.shot("settings-passkey-light");

  const second = await owner.act(bot, s, "crm/delete_customer", { id: "43" });
  await w.go(`request/${second.approval.id}`, "delete_customer");
  await w.page.locator(".actions").waitFor();
  await key("a");
  await w.page.getByRole("dialog").getByLabel("Comment").waitFor();
  await w.page.keyboard.type("seen");
  await key("Enter");
  await w.page.locator("h1", { hasText: "Inbox" }).waitFor(); // where an answer leads
  assert.equal((await owner.agent(bot, "GET", `/v1/actions/${second.id}?wait=10s`)).decision.effect, "allow");
  const { answers } = await owner.person("GET", `/v1/approvals/${second.approval.id}`);
  assert.equal(answers.at(-1).channel, "passkey");

  // Edited arguments are signed as they are edited, and run in place of the others.
  const third = await owner.act(bot, s, "crm/delete_customer", { id: "44" });
  await w.go(`request/${third.approval.id}`, "delete_customer");
  await w.page.locator(".actions").waitFor();
  await key("e");
  await w.page.getByRole("dialog").getByLabel("Arguments").fill('{"id": "45"}');
  await w.page.getByRole("dialog").getByRole("button", { name: "Approve" }).click();
  await w.page.locator("h1", { hasText: "Inbox" }).waitFor(); // where an answer leads
  const ran = await owner.agent(bot, "GET", `/v1/actions/${third.id}?wait=10s`);
  assert.deepEqual([ran.decision.effect, ran.arguments], ["allow", { id: "45" }]);
});

test("Equal requests are approved by one signature, each of them once", async () => {
  const asked = [];
  for (let i = 0; i < 3; i++) {
    const s = (await owner.agent(bot, "POST", "/v1/sessions", {})).id;
    asked.push(await owner.act(bot, s, "crm/delete_customer", { id: "90" }));
  }
  await w.go("inbox", "Inbox");
  const one = w.page.locator("[data-request]").filter({ hasText: "3 times" });
  await one.waitFor();
  assert.equal(await one.count(), 1);
  await w.shot("inbox-equal-light");
  await one.click();
  await w.page.getByText("3 equal requests").waitFor();
  await w.page.locator(".actions").waitFor();
  await w.page.keyboard.press("a");
  await w.page.getByText("Your answer goes to 3 equal requests").waitFor();
  await w.page.keyboard.press("Enter");
  await w.page.locator("h1", { hasText: "Inbox" }).waitFor();
  const signatures = new Set();
  for (const a of asked) {
    assert.equal((await owner.agent(bot, "GET", `/v1/actions/${a.id}?wait=10s`)).decision.effect, "allow");
    const { answers } = await owner.person("GET", `/v1/approvals/${a.approval.id}`);
    assert.equal(answers[0].channel, "passkey");
    assert.equal(answers[0].among.length, 3);
    signatures.add(answers[0].evidence);
    await owner.agent(bot, "POST", `/v1/actions/${a.id}/outcome`, { status: "done", result: {} });
  }
  assert.equal(signatures.size, 1, "more than one signature was made");
  const s = (await owner.agent(bot, "POST", "/v1/sessions", {})).id;
  const next = await owner.act(bot, s, "crm/delete_customer", { id: "90" });
  assert.equal(next.decision.effect, "ask", "a fourth one passes");
  await owner.person("POST", `/v1/approvals/${next.approval.id}/deny`, { comment: "" }, { "If-Match": `"${(await owner.person("GET", `/v1/approvals/${next.approval.id}`)).revision}"` });
  w.clean();
});

test("Stopping everything takes the signature of a key once anybody has one, and so does letting it run again", async () => {
  await w.go("control", "Kill switch");
  await w.page.getByRole("button", { name: "Everything" }).click();
  await w.page.getByLabel("Reason").fill("drill");
  await w.page.getByRole("button", { name: "Stop everything" }).focus();
  await w.page.keyboard.down("Space");
  await w.page.getByText("Nothing is stopped").waitFor({ state: "detached" });
  await w.page.keyboard.up("Space");
  const s = (await owner.agent(bot, "POST", "/v1/sessions", {})).id;
  assert.equal((await owner.act(bot, s, "crm/read_customer", { id: "1" })).decision.effect, "deny");
  await w.page.getByRole("button", { name: "Release…" }).click();
  await w.page.getByRole("dialog").getByLabel("Reason").fill("the drill is over");
  await w.page.keyboard.press("Enter");
  await w.page.getByText("Repeat it when its delay is over").waitFor(); // one person may, with a key and after a while
  await w.page.getByText("Everything", { exact: true }).first().waitFor();
  w.clean();
  await w.close();

  const again = await windowOf(browser, owner);
  await again.page.goto(url);
  await again.page.getByLabel("Code or token").fill(code);
  await again.page.keyboard.press("Enter");
  await again.page.getByRole("alert").filter({ hasText: "not known here" }).waitFor();
  await again.close();
});

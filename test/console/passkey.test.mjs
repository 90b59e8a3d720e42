// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { open, windowOf } from "./browser.mjs";
import { Owner } from "./owner.mjs";

let owner, browser, bot;

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
  const { code, url } = owner.code();
  assert.equal(url, `${owner.people}/console/`);
  const w = await windowOf(browser, owner);
  const cdp = await w.page.context().newCDPSession(w.page);
  await cdp.send("WebAuthn.enable");
  await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
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

  // Stopping everything takes the signature of a key once anybody has one.
  await w.go("control", "Kill switch");
  await w.page.getByRole("button", { name: "Everything" }).click();
  await w.page.getByLabel("Reason").fill("drill");
  await w.page.getByRole("button", { name: "Stop everything" }).focus();
  await w.page.keyboard.down("Space");
  await w.page.getByText("Nothing is stopped").waitFor({ state: "detached" });
  await w.page.keyboard.up("Space");
  assert.equal((await owner.act(bot, s, "crm/read_customer", { id: "1" })).decision.effect, "deny");
  w.clean();
  await w.close();

  const again = await windowOf(browser, owner);
  await again.page.goto(url);
  await again.page.getByLabel("Code or token").fill(code);
  await again.page.keyboard.press("Enter");
  await again.page.getByRole("alert").filter({ hasText: "not known here" }).waitFor();
  await again.close();
});

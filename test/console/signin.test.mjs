// SPDX-License-Identifier: Apache-2.0

// People sign in through an identity provider, in a real browser, at a real one.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { authenticator, open, windowOf } from "./browser.mjs";
import { freePort, Owner } from "./owner.mjs";
import { provider } from "./provider.mjs";

let browser, owner, idp, chat;
const told = [];
const people = { vera: ["staff"], anton: ["staff", "payments"], olga: ["ops"], omar: ["ops"], eve: ["others"] };

before(async () => {
  const [console_, at] = [await freePort(), await freePort()];
  idp = await provider(at, `http://localhost:${console_}/console/signed-in`, people);
  chat = createServer((req, res) => {
    let body = "";
    req.on("data", (x) => (body += x)).on("end", () => told.push(JSON.parse(body)) && res.end());
  });
  await new Promise((done) => chat.listen(0, "127.0.0.1", done));
  const url = join(mkdtempSync(join(tmpdir(), "chat-")), "url");
  writeFileSync(url, `http://127.0.0.1:${chat.address().port}/`);
  process.env.OF_THE_TEST = "a secret of the test";
  owner = await Owner.start(
    'operator", "acr": "phr phrh", "amr": "hwk', // a sign-in alone is not enough: it takes one with a key
    `admin:\n  login:\n    name: Example ID\n    issuer: ${idp.issuer}\n    client_id: sallyport\n    secret_env: OF_THE_TEST\n    roles:\n` +
      ["viewer: staff", "approver: payments", "admin: ops"].map((r) => r.split(": ")).map(([role, group]) => `      - role: ${role}\n        groups: [${group}]\n`).join(""),
    console_,
    `  channels:\n    - name: floor\n      kind: teams\n      url_file: ${url}\n`,
    false,
  );
  owner.people = owner.people.replace("127.0.0.1", "localhost");
  await owner.furnish();
  browser = await open();
});

after(async () => {
  await browser?.close();
  await owner?.stop();
  await idp?.stop();
  chat?.close();
  assert.deepEqual(idp?.complaints ?? [], []);
});

/** signedIn is a window of somebody who went through the provider's login page. */
async function signedIn(who, options) {
  const w = await windowOf(browser, owner, "", options);
  await w.page.goto(`${owner.people}/console/`);
  await w.page.getByRole("link", { name: "Sign in with Example ID" }).click();
  await w.page.getByRole("link", { name: who, exact: true }).click();
  return w;
}

test("Somebody signs in, sees what he is, and logs out", async () => {
  const w = await signedIn("vera");
  await w.page.locator(".frame").waitFor();
  assert.ok(!w.page.url().includes("sc_"), w.page.url());
  assert.equal(await w.page.evaluate(() => history.state), null);
  await w.page.locator(".account").click();
  const account = w.page.getByRole("dialog", { name: "Your account" });
  await account.getByText("Example ID").waitFor();
  assert.match(await account.innerText(), /vera[^]*viewer[^]*operator/);
  await w.shot("signed-in-account");
  assert.deepEqual(await w.axe("account"), []);
  await account.getByRole("button", { name: "Log out" }).click();
  await w.page.getByRole("link", { name: "Sign in with Example ID" }).waitFor();
  assert.deepEqual(w.complaints, []);
  await w.shot("sign-in");
  assert.deepEqual(await w.axe("sign-in"), []);
  await w.close();
});

test("Who has no role is told so, at 390 px too", async () => {
  const w = await signedIn("eve", { viewport: { width: 390, height: 780 } });
  await w.page.getByText("none of your groups has a role here").waitFor();
  await w.narrow("the page of who was turned away");
  await w.shot("turned-away-390");
  assert.deepEqual(await w.axe("turned away"), []);
  await w.close();
});

test("An approver who signed in counts as an operator, and a viewer's controls say why they do nothing", async () => {
  const bot = await owner.bot("cleaner", "kim");
  const { id } = await owner.agent(bot, "POST", "/v1/sessions", { user_request: "Clean up" });
  const a = await owner.act(bot, id, "crm/delete_customer", { id: "7" });
  assert.equal(a.decision.effect, "ask");
  const v = await signedIn("vera", { viewport: { width: 390, height: 780 } });
  await v.page.locator(".frame").waitFor();
  await v.go(`request/${a.approval.id}`);
  await v.page.getByText("This needs the role approver; you are viewer.").waitFor();
  assert.ok(await v.page.getByRole("button", { name: "Approve" }).isDisabled());
  await v.narrow("a request that one may only look at");
  await v.shot("request-viewer-390");
  await v.close();
  const w = await signedIn("anton");
  await w.page.locator(".frame").waitFor();
  await w.go(`request/${a.approval.id}`);
  // His password made him an operator, and is not what the rule asks for: his yes is recorded, and does not grant.
  await w.page.getByText("signed in at level phr or phrh").waitFor();
  const approve = async () => {
    await w.page.getByRole("button", { name: "Approve" }).click();
    await w.page.getByRole("dialog").getByRole("button", { name: /Approve/ }).click();
  };
  await approve();
  await w.page.getByText("a sign-in of level phr or phrh, with hwk is needed").waitFor();
  await w.shot("step-up-light");
  assert.deepEqual(await w.axe("step up"), []);
  await w.page.getByRole("button", { name: "Sign in anew…" }).click();
  await w.page.getByRole("link", { name: "anton", exact: true }).click(); // the provider asks again
  await w.page.locator("h1", { hasText: "delete_customer" }).waitFor(); // back where he was
  assert.equal(await w.page.getByRole("button", { name: "Sign in anew…" }).count(), 0);
  await approve();
  await w.page.getByText("Nothing waits").waitFor();
  const done = await owner.agent(bot, "GET", `/v1/actions/${a.id}?wait=10s`);
  assert.equal(done.decision.effect, "allow");
  const { answers } = await owner.person("GET", `/v1/approvals/${a.approval.id}`);
  assert.deepEqual(answers.map((g) => [g.approver, g.channel, g.acr, g.amr?.join()]), [["anton", "operator", "pwd", "pwd"], ["anton", "operator", "phr", "hwk,user"]]);
  assert.match(answers[1].credential, /^oidc:/);
  const said = execFileSync(process.env.SALLYPORT_BIN, ["--config", owner.config, "ledger", "verify"], { env: { ...process.env, HOME: owner.dir }, stdio: ["ignore", "pipe", "pipe"] });
  assert.match(String(said), /2 answers, 0 of them signed, 2 through a sign-in that is described/);
  assert.deepEqual(w.complaints, []);
  await w.close();
});

test("The link of a message asks, refuses once, and needs no login", async () => {
  const bot = await owner.bot("sweeper", "kim");
  const { id } = await owner.agent(bot, "POST", "/v1/sessions", { user_request: "Clean up" });
  const a = await owner.act(bot, id, "crm/delete_customer", { id: "8", note: "hunter2" });
  const links = () => told.map((m) => m.attachments[0].content.actions).filter((x) => x[0].url.endsWith(a.approval.id));
  for (let i = 0; i < 200 && !links().length; i++) await new Promise((done) => setTimeout(done, 50));
  const [look, deny] = links()[0];
  assert.ok(!JSON.stringify(told).includes("hunter2"));
  assert.match(look.url, /#\/request\//);
  const w = await windowOf(browser, owner, "", { viewport: { width: 390, height: 780 } });
  await w.page.goto(deny.url);
  await w.page.getByText("crm/delete_customer: destroys something").waitFor();
  assert.ok(!w.page.url().includes("sd_"), w.page.url());
  assert.equal((await owner.person("GET", `/v1/approvals/${a.approval.id}`)).state, "pending");
  await w.narrow("the page of a link");
  await w.shot("deny-by-link-390");
  assert.deepEqual(await w.axe("link"), []);
  await w.page.getByLabel("Comment").fill("not today");
  await w.page.getByRole("button", { name: "Deny" }).click();
  await w.page.getByRole("heading", { name: "It is denied" }).waitFor();
  const { state, answers } = await owner.person("GET", `/v1/approvals/${a.approval.id}`);
  assert.deepEqual([state, answers[0].approver, answers[0].comment], ["refused", "teams:floor", "not today"]);
  // In the console it stands who refused, where, and why.
  const v = await signedIn("vera");
  await v.page.locator(".frame").waitFor();
  await v.go(`request/${a.approval.id}`);
  await v.page.getByText("teams:floor").first().waitFor();
  await v.page.getByText("not today").first().waitFor();
  await v.shot("denied-in-chat-light");
  await v.close();
  await w.page.goto("about:blank");
  await w.page.goto(deny.url);
  await w.page.getByText("It no longer waits").or(w.page.getByText("It is denied")).waitFor();
  assert.equal(await w.page.getByRole("button", { name: "Deny" }).count(), 0);
  assert.deepEqual(w.complaints, []);
  await w.close();
});

test("What stops everything is released by two people, each with a key of his own", async () => {
  const bot = await owner.bot("runner", "kim");
  const { id } = await owner.agent(bot, "POST", "/v1/sessions", {});
  const reads = async () => (await owner.act(bot, id, "crm/read_customer", { id: "1" })).decision.effect;
  assert.equal(await reads(), "allow");
  const admins = [];
  for (const who of ["olga", "omar"]) {
    const w = await signedIn(who);
    await authenticator(w);
    await w.page.locator(".frame").waitFor();
    await w.go("settings", "Settings");
    await w.page.getByLabel("Name of the passkey").fill(`key of ${who}`);
    await w.page.keyboard.press("Enter");
    await w.page.getByText("counts from now on").waitFor();
    await w.go("control", "Kill switch");
    admins.push(w);
  }
  const [olga, omar] = admins;
  await olga.page.getByRole("button", { name: "Everything" }).click();
  await olga.page.getByLabel("Reason").fill("a drill");
  await olga.page.getByRole("button", { name: "Stop everything" }).focus();
  await olga.page.keyboard.down("Space");
  await olga.page.getByText("by olga").waitFor();
  await olga.page.keyboard.up("Space");
  assert.equal(await reads(), "deny");
  const release = async (w, says) => {
    await w.page.getByRole("button", { name: "Release…" }).click();
    await w.page.getByRole("dialog").getByLabel("Reason").fill("it was a drill");
    await w.page.keyboard.press("Enter");
    await w.page.getByText(says, { exact: true }).waitFor();
  };
  await release(olga, "Recorded. A second person has to confirm before it runs again.");
  assert.equal(await reads(), "deny");
  await olga.shot("kill-everything-light");
  await omar.page.reload();
  await release(omar, "Released.");
  await omar.page.getByText("Nothing is stopped").waitFor();
  assert.equal(await reads(), "allow");
  for (const w of admins) {
    assert.deepEqual(w.complaints, []);
    await w.close();
  }
});

test("After the first admin's sign-in the owner's user has to break the glass, and everybody hears of it", async () => {
  const w = await signedIn("olga");
  await w.page.locator(".frame").waitFor();
  assert.throws(() => owner.code(), /break-glass/);
  const said = execFileSync(process.env.SALLYPORT_BIN, ["--config", owner.config, "--json", "console", "--break-glass", "--reason", "the provider is down"], {
    env: { ...process.env, HOME: owner.dir },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const g = await windowOf(browser, owner, "");
  await g.page.goto(`${owner.people}/console/`);
  await g.page.getByRole("button", { name: "With a code or token" }).click();
  await g.page.getByLabel("Code or token").fill(JSON.parse(said).code);
  await g.page.keyboard.press("Enter");
  await g.page.locator(".frame").waitFor();
  await g.go("alerts", "Alerts");
  await g.page.getByText("broke the glass").first().waitFor();
  await g.shot("break-glass-alert");
  await g.page.getByRole("region", { name: "Alert", exact: true }).getByText("the provider is down").first().waitFor();
  await g.page.keyboard.press("w");
  await g.page.getByRole("dialog", { name: "Wrong alert" }).getByLabel("Reason").fill("it was announced");
  await g.page.keyboard.press("Enter");
  await g.page.getByText("Recorded as wrong, with your reason").waitFor();
  await g.close();
  await w.close();
});

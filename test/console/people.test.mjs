// SPDX-License-Identifier: Apache-2.0

// What each role sees and may do, and what people say of decisions: one owner for all of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { open, windowOf } from "./browser.mjs";
import { Owner } from "./owner.mjs";

let owner, browser, bot;
const start = async (request) => (await owner.agent(bot, "POST", "/v1/sessions", { user_request: request })).id;

const observe = `observe:
  - {agent: trial-bot, tool: "*", until: 2099-01-01T00:00:00Z, reason: new here}
  - {agent: half-bot, tool: "crm/*", until: 2098-06-01T00:00:00Z, reason: its rules are on trial}
`;

before(async () => {
  [owner, browser] = await Promise.all([Owner.start("bearer", "", 0, "", true, observe), open()]);
  await owner.furnish();
  bot = await owner.bot("billing-bot", "ann");
});
after(async () => {
  await browser?.close();
  await owner?.stop();
});

const roles = {
  viewer: ["viewer"],
  approver: ["viewer", "approver"],
  "policy-author": ["viewer", "author"],
  "policy-approver": ["viewer", "policy-approver"],
  auditor: ["viewer", "auditor"],
  admin: ["viewer", "admin", "tool-admin", "tenant-data"],
};
// What a person of each role can use; everybody looks at sessions, records, agents and alerts.
const may = {
  "answer a request": ["approver"],
  "answer an alert": ["approver"],
  "try a call": ["policy-author", "policy-approver"],
  "open what is sealed": ["auditor"],
  "decide a session again": ["auditor"],
  "call a decision wrong": ["approver", "policy-author", "auditor"],
  "stop an agent": ["admin"],
  "see how people answer": ["auditor", "admin"],
  "see who is logged in": ["admin"],
};

test("Each of the six roles sees what it may use, and the owner holds it to that", async () => {
  const s = await start("Look at customer 1");
  const a = await owner.act(bot, s, "crm/delete_customer", { id: "61" });
  assert.equal(a.decision.effect, "ask");
  const enabled = async (w, locator) => (await locator.count()) > 0 && (await locator.first().isEnabled());
  for (const [role, scopes] of Object.entries(roles)) {
    const w = await windowOf(browser, owner, await owner.token({ name: `the ${role}`, scopes }));
    const { page } = w;
    const can = {};
    await w.go(`request/${a.approval.id}`, "delete_customer");
    can["answer a request"] = await enabled(w, page.locator(".actions").getByRole("button", { name: "Approve" }));
    await w.go(`session/${s}`, "billing-bot");
    await page.locator("tr[data-step]").filter({ hasText: "ask" }).first().click();
    can["open what is sealed"] = await enabled(w, page.getByRole("button", { name: "arguments", exact: true }));
    can["decide a session again"] = await enabled(w, page.getByRole("button", { name: "Decide again" }));
    can["call a decision wrong"] = await enabled(w, page.getByRole("button", { name: "Wrong…" }));
    await w.go("alerts", "Alerts");
    await w.go("policies", "Policies");
    await page.getByText("enforces").waitFor();
    can["try a call"] = await enabled(w, page.getByRole("button", { name: "Decide", exact: true }));
    await w.go("control", "Kill switch");
    await page.getByRole("button", { name: "Stop it" }).waitFor();
    await page.getByLabel("Session's id").fill("x".repeat(26), { timeout: 300 }).catch(() => {});
    can["stop an agent"] = await enabled(w, page.getByRole("button", { name: "Stop it" }));
    await w.go("reviewers", "Reviewers");
    await page.locator("main .card, main .note").first().waitFor();
    can["see how people answer"] = (await page.getByRole("region", { name: "People" }).count()) + (await page.getByText("Nobody has answered anything").count()) > 0;
    await w.go("settings", "Settings");
    can["see who is logged in"] = (await page.getByRole("heading", { name: "Who is logged in" }).count()) > 0;
    for (const [what, who] of Object.entries(may)) if (what in can) assert.equal(can[what], who.includes(role), `${role}: ${what}`);
    // A page that was tampered with gets no further: the owner answers the same.
    const answers = await page.evaluate(
      async ([id, session]) => {
        const headers = { "Content-Type": "application/json", "If-Match": '"999"', "Sallyport-Console": localStorage.getItem("sallyport.key") };
        const ask = async (method, path, body) => (await fetch(path, { method, headers, body: body && JSON.stringify(body) })).status !== 403;
        return {
          "answer a request": await ask("POST", `/v1/approvals/${id}/approve`, {}),
          "answer an alert": await ask("POST", "/v1/alerts/999999/acknowledge", {}),
          "try a call": await ask("POST", "/v1/policies/playground", { server: "crm", tool: "read_customer", arguments: {}, facts: {} }),
          "open what is sealed": await ask("POST", "/v1/ledger/999999/disclose", { part: "arguments", purpose: "a test of roles" }),
          "decide a session again": await ask("POST", `/v1/sessions/${session}/replay`, {}),
          "call a decision wrong": await ask("POST", "/v1/ledger/999999/wrong", { reason: "a test of roles" }),
          "stop an agent": await ask("POST", "/v1/kill", { scope: "agent", id: "nobody of that name" }),
          "see how people answer": await ask("GET", "/v1/reviewers"),
          "see who is logged in": await ask("GET", "/v1/logins"),
        };
      },
      [a.approval.id, s],
    );
    for (const [what, who] of Object.entries(may)) assert.equal(answers[what], who.includes(role), `the owner lets ${role} ${what}`);
    w.clean(["403", "404", "409", "412", "400", "422"]);
    await w.close();
  }
  for (const k of (await owner.person("GET", "/v1/kill")).items) await owner.person("POST", "/v1/release", { scope: k.scope, id: k.id, reason: "the test is over" });
  await owner.person("POST", `/v1/approvals/${a.approval.id}/deny`, { comment: "" }, { "If-Match": `"${(await owner.person("GET", `/v1/approvals/${a.approval.id}`)).revision}"` });
});

test("What was decided wrongly is called so, by one key and a reason", async () => {
  const s = await start("Tidy up");
  const a = await owner.act(bot, s, "crm/delete_customer", { id: "62" });
  assert.equal(a.decision.effect, "ask");
  const w = await windowOf(browser, owner, owner.admin);
  await w.go(`session/${s}`, "billing-bot");
  await w.page.locator("tr[data-step]").filter({ hasText: "ask" }).first().click();
  await w.page.getByRole("region", { name: "Step" }).first().waitFor();
  await w.page.keyboard.press("w");
  const dialog = w.page.getByRole("dialog", { name: "Wrong decision" });
  await dialog.getByLabel("Reason").waitFor();
  assert.deepEqual(await w.axe("wrong"), []);
  await w.shot("wrong-light");
  await w.page.keyboard.type("it was a customer of the test");
  await w.page.keyboard.press("Enter");
  await w.page.getByText("It changes no decision").waitFor();
  assert.equal((await owner.act(bot, s, "crm/delete_customer", { id: "63" })).decision.effect, "ask", "what was called wrong changes a decision");
  await w.go("reviewers", "Reviewers");
  await w.page.getByText("it was a customer of the test").waitFor();
  await w.page.getByText("ask where allow was right").waitFor();
  w.clean();
  await w.close();
});

test("A made-up request looks like any, and how it was answered is measured", async () => {
  const seed = (id) =>
    owner.person("POST", "/v1/seeds", {
      server: "crm", tool: "delete_customer", arguments: { id, all: true },
      facts: { subject: { id: "billing-bot", user: { id: "ann" } }, context: { session: { id: "01J9ZZZZZZZZZZZZZZZZZZZZZZ" } } },
    });
  const [caught, missed] = [await seed("71"), await seed("72")];
  const w = await windowOf(browser, owner, await owner.token({ name: "paula", scopes: ["viewer", "approver", "auditor"] }));
  const answer = async (v, key, says) => {
    await w.go(`request/${v.id}`, "delete_customer");
    await w.page.locator(".actions").waitFor();
    assert.doesNotMatch(await w.page.locator("main").innerText(), /\b(tests?|seed(ed)?|made-up)\b/i);
    await w.page.keyboard.press(key);
    await w.page.getByRole("dialog").getByLabel("Comment").waitFor();
    await w.page.keyboard.press("Enter");
    await w.page.getByText(says).first().waitFor();
  };
  await answer(caught, "d", "a test, and it was caught");
  await answer(missed, "a", "this should have been denied");
  await w.go("reviewers", "Reviewers");
  await w.page.getByRole("row", { name: /paula/ }).getByText("1 of 2").waitFor();
  await w.shot("reviewers-measured-light");
  w.clean();
  await w.close();
});

test("What was approved again and again is proposed as a rule, with what else it would have let by", async () => {
  const s = await start("Update the customers");
  for (const id of ["81", "82"]) {
    const a = await owner.act(bot, s, "crm/delete_customer", { id });
    const { revision } = await owner.person("GET", `/v1/approvals/${a.approval.id}`);
    await owner.person("POST", `/v1/approvals/${a.approval.id}/approve`, { comment: "" }, { "If-Match": `"${revision}"` });
    assert.equal((await owner.agent(bot, "GET", `/v1/actions/${a.id}?wait=10s`)).decision.effect, "allow");
    await owner.agent(bot, "POST", `/v1/actions/${a.id}/outcome`, { status: "done", result: {} });
  }
  const w = await windowOf(browser, owner, owner.admin);
  await w.go("policies", "Policies");
  const rules = w.page.getByRole("region", { name: "Standing rules" });
  await rules.getByRole("button", { name: "Look through 30 days" }).click();
  const row = rules.locator("li.item").filter({ hasText: "crm/delete_customer" });
  await row.getByRole("button", { name: "Propose a rule" }).click();
  await rules.getByRole("alert").waitFor(); // two approvals of one moment are too few
  // Approvals have to lie minutes apart; the owner is asked to take fewer, which an author may.
  await w.page.route("**/v1/standing", (route) => (route.request().method() === "POST" ? route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), least: 1 }) }) : route.continue()));
  await row.getByRole("button", { name: "Propose a rule" }).click();
  const proposed = rules.getByText("as it was approved").locator("xpath=ancestor::*[@aria-label='Proposed rule']");
  await proposed.waitFor();
  await proposed.getByText(/Of \d+ decisions on record/).waitFor();
  await proposed.getByText("The rule", { exact: true }).click();
  await proposed.getByText("allow contains").first().waitFor();
  assert.deepEqual(await w.axe("standing"), []);
  await w.shot("standing-light");

  // A draft is held against what is on record.
  await w.page.getByRole("button", { name: "Write a rule" }).click();
  const editor = w.page.getByRole("textbox", { name: "Rules" });
  await editor.click();
  await w.page.keyboard.press("ControlOrMeta+a");
  await w.page.keyboard.insertText('package sallyport.draft\n\nimport rego.v2\n\ndeny contains {"id": "d", "code": "d", "reason": "no deletions"} if {\n\tinput.phase == "before"\n\tinput.resource.name == "delete_customer"\n}\n');
  await w.page.getByRole("button", { name: "Difference over 30 days" }).click();
  const difference = w.page.getByRole("region", { name: "Difference over 30 days" });
  await difference.getByText(/[1-9]\d* of \d+ decisions would differ/).waitFor();
  await difference.getByText("crm/delete_customer").first().waitFor();
  assert.equal(await difference.getByText("crm/read_customer").count(), 0);
  await w.shot("difference-light");
  assert.equal((await owner.act(bot, s, "crm/delete_customer", { id: "83" })).decision.effect, "ask", "a draft decides");
  w.clean(["422"]);
  await w.close();
});

test("Who is only observed is seen, and until when", async () => {
  const trial = await owner.bot("trial-bot", "bob");
  await owner.bot("half-bot", "bob");
  const s = (await owner.agent(trial, "POST", "/v1/sessions", {})).id;
  assert.equal((await owner.act(trial, s, "crm/delete_customer", { id: "91" })).decision.effect, "allow"); // it would be asked about
  const w = await windowOf(browser, owner, owner.admin);
  await w.go("agents", "Agents");
  for (const [agent, mode] of [["trial-bot", "observed"], ["half-bot", "partly"], ["billing-bot", "enforced"]]) {
    assert.equal(await w.page.getByRole("row", { name: agent }).first().locator("[data-mode]").innerText(), mode, agent);
  }
  const only = w.page.getByRole("region", { name: "Only observed" });
  for (const [agent, ...says] of [["trial-bot", "every tool", "2099-01-01", "new here"], ["half-bot", "crm/*", "2098-06-01", "its rules are on trial"]]) {
    const text = await only.getByRole("row", { name: agent }).innerText();
    for (const word of says) assert.ok(text.includes(word), `${agent}: ${text} does not say ${word}`);
  }
  await w.shot("agents-observed-light");
  await w.go("sessions", "Sessions");
  const row = w.page.locator(`[data-row][href='#/session/${s}']`);
  await row.getByText("A0 M0").waitFor();
  await row.click();
  await w.page.locator("tr[data-step]").filter({ hasText: "observed" }).first().click();
  await w.page.getByText("only observed, would ask").waitFor();
  const slider = w.page.getByRole("slider", { name: "Step" });
  const at = Number(await slider.inputValue());
  await w.page.keyboard.press("ArrowLeft");
  assert.equal(Number(await slider.inputValue()), at - 1);
  await slider.fill(String(at));
  await w.page.getByRole("region", { name: `Step ${at + 1}` }).waitFor();
  w.clean();
  await w.close();
});

test("What could not be read is not called empty", async () => {
  const w = await windowOf(browser, owner, owner.admin);
  await w.page.route("**/v1/**", (route) => route.abort());
  for (const [path, heading, never] of [
    ["sessions", "Sessions", "No agent has done anything"],
    ["agents", "Agents", "No agent"],
    ["alerts", "Alerts", "Nothing odd"],
    ["destinations", "Destinations", "Nothing went anywhere"],
    ["ledger", "Ledger", "No such record"],
    ["control", "Kill switch", "Nothing is stopped"],
  ]) {
    await w.go(path, heading);
    await w.page.getByRole("alert").getByText("This could not be read").waitFor();
    assert.equal(await w.page.getByText(never).count(), 0, path);
  }
  await w.shot("control-unread-light");
  await w.page.unroute("**/v1/**");
  await w.page.getByRole("button", { name: "Read it again" }).click();
  await w.page.getByText("Nothing is stopped").waitFor();
  w.clean(["ERR_FAILED", "net::"]);
  await w.close();
});

test("An admin sees who is logged in, and ends a login", async () => {
  const other = await windowOf(browser, owner, await owner.token({ name: "vera", scopes: ["viewer"] }));
  const w = await windowOf(browser, owner, owner.admin);
  await w.go("settings", "Settings");
  const logins = w.page.getByRole("region", { name: "Logins" });
  await logins.getByText("this browser").waitFor();
  await w.shot("logins-light");
  await logins.locator("li").filter({ hasText: "vera" }).getByRole("button", { name: "End login" }).click();
  await w.page.getByText("Withdraw the token, too").waitFor();
  assert.equal(await logins.locator("li").filter({ hasText: "vera" }).count(), 0);
  await other.go("sessions");
  await other.page.getByLabel("Code or token").waitFor();
  other.clean(["401"]);
  await other.close();
  w.clean();
  await w.close();
});

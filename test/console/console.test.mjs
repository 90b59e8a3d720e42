// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";

import { open, windowOf } from "./browser.mjs";
import { Owner } from "./owner.mjs";

let owner, browser, bot;
const session = async (request = "Please tidy up the customers") => (await owner.agent(bot, "POST", "/v1/sessions", { user_request: request })).id;
const remove = (s, id = "42") => owner.act(bot, s, "crm/delete_customer", { id, why: "no longer needed" });

before(async () => {
  browser = await open(); // alone: a start of the owner that fails must not leave a browser that nobody closes
  owner = await Owner.start();
  await owner.furnish();
  bot = await owner.bot("billing-bot", "ann");
});
after(async () => {
  await browser?.close();
  await owner?.stop();
});

test("The first page is small, and there at once", async (t) => {
  const dist = join(process.env.SALLYPORT_ROOT, "admin/console/dist");
  const page = readFileSync(join(dist, "index.html"), "utf8");
  const first = [...page.matchAll(/(?:src|href)="\.\/(assets\/[^"]+\.js)"/g)].map((m) => m[1]);
  const bytes = first.reduce((n, f) => n + gzipSync(readFileSync(join(dist, f)), { level: 9 }).length, 0);
  assert.ok(first.length > 0 && bytes <= 80 * 1024, `${bytes} bytes`);
  for (const f of readdirSync(join(dist, "assets"))) {
    assert.doesNotMatch(readFileSync(join(dist, "assets", f), "utf8"), /\.innerHTML\s*=[^=]|document\.write|new Function\(|[^\w.]eval\(/, f);
  }
  // What a page asks for before somebody can use it: the page, its two scripts and style at once, and then one answer of the API.
  const w = await windowOf(browser, owner);
  await w.page.addInitScript(() => {
    const look = () => (globalThis.usable ??= document.querySelector(".login input, .frame main h1") ? performance.now() : undefined);
    new MutationObserver(look).observe(document, { childList: true, subtree: true });
  });
  const asked = [];
  w.page.on("request", (r) => asked.push(new URL(r.url()).pathname));
  const load = async () => {
    asked.length = 0;
    await w.page.goto(`${owner.people}/console/`);
    await w.page.waitForFunction(() => globalThis.usable);
    return w.page.evaluate(() => globalThis.usable);
  };
  const figures = (times) => `median ${times.sort((a, b) => a - b)[times.length >> 1].toFixed(0)} ms, most ${times.at(-1).toFixed(0)} ms`;
  const kinds = () => [asked.filter((p) => p.startsWith("/console/assets/")).length, asked.filter((p) => p.startsWith("/v1/")).length];
  const cold = await load();
  assert.deepEqual(kinds(), [3, 1], asked.join(" "));
  const again = [];
  for (let i = 0; i < 10; i++) again.push(await load());
  t.diagnostic(`initial JavaScript ${(bytes / 1024).toFixed(1)} KB in gzip; from navigation to a usable login page: first ${cold.toFixed(0)} ms, then ${figures(again)}`);
  await w.login(owner.admin);
  const inbox = [];
  for (let i = 0; i < 5; i++) inbox.push(await load());
  t.diagnostic(`to a usable inbox: ${figures(inbox)}`);
  await w.page.getByText("Nothing waits").waitFor();
  assert.ok(kinds()[1] <= 4, asked.join(" ")); // who it is, what waits, what ended, the stream
  w.clean();
  await w.close();
});

test("Nobody gets in without a token of his own", async () => {
  const w = await windowOf(browser, owner);
  await w.page.goto(`${owner.people}/console/`);
  for (const [secret, says] of [["sp_nothing", "not known here"], [bot, "an agent's"]]) {
    await w.page.getByLabel("Code or token").fill(secret);
    await w.page.keyboard.press("Enter");
    await w.page.getByRole("alert").filter({ hasText: says }).waitFor();
  }
  await w.login(owner.admin);
  assert.equal(await w.page.evaluate(() => document.cookie), "", "a script can read the cookie");
  const key = await w.page.evaluate(() => localStorage.getItem("sallyport.key"));
  assert.equal((await fetch(`${owner.people}/v1/me`, { headers: { "Sallyport-Console": key } })).status, 401, "the key alone opens something");
  await w.page.reload();
  await w.page.locator(".frame").waitFor();
  await w.go("settings", "Settings");
  await w.page.getByRole("button", { name: "Log out" }).click();
  await w.page.getByLabel("Code or token").waitFor();
  w.clean(["401", "403"]);
  await w.close();
});

test("A person approves and denies by keyboard alone", async () => {
  const s = await session();
  const first = await remove(s);
  assert.equal(first.decision.effect, "ask");
  const w = await windowOf(browser, owner, owner.admin);
  const key = (k) => w.page.keyboard.press(k);
  await w.page.locator("[data-request]").waitFor();
  await key("j");
  await key("Enter");
  await w.page.getByRole("region", { name: "Arguments" }).getByText('"id": "42"').waitFor();
  await key("a");
  await w.page.getByRole("dialog").getByLabel("Comment").waitFor();
  await w.page.keyboard.type("checked with sales");
  await key("Enter");
  await w.page.getByText("Nothing waits").waitFor();
  const done = await owner.agent(bot, "GET", `/v1/actions/${first.id}?wait=10s`);
  assert.equal(done.decision.effect, "allow");
  await owner.agent(bot, "POST", `/v1/actions/${first.id}/outcome`, { status: "done", result: {} });

  const second = await remove(s, "43");
  await w.page.locator("[data-request]").waitFor(); // by itself
  await key("Enter");
  await w.page.getByText("lines differ from").waitFor(); // the difference to the call before
  await w.page.locator(".line.plus").getByText('"id": "43"').waitFor();
  await w.page.locator(".line.minus").getByText('"id": "42"').waitFor();
  await key("d");
  await w.page.getByRole("dialog").getByLabel("Comment").waitFor();
  await w.page.keyboard.type("use the archive instead");
  await key("Enter");
  await w.page.getByText("Nothing waits").waitFor();
  const refused = await owner.agent(bot, "GET", `/v1/actions/${second.id}?wait=10s`);
  assert.equal(refused.decision.effect, "deny");
  assert.match(refused.decision.hint, /use the archive instead/);
  w.clean();
  await w.close();
});

test("Everything is reached by keys: the palette, the list of keys, moving and editing", async () => {
  const s = await session();
  const [one, two] = [await remove(s, "61"), await remove(s, "62")];
  const w = await windowOf(browser, owner, owner.admin);
  const key = (k) => w.page.keyboard.press(k);
  const marked = () => w.page.locator("[data-request][aria-current='true']").innerText();
  await w.page.locator("[data-request]").nth(1).waitFor();
  assert.match(await marked(), /"61"/);
  await key("j");
  assert.match(await marked(), /"62"/);
  await key("k");
  assert.match(await marked(), /"61"/);
  await key("?");
  const help = w.page.getByRole("dialog");
  for (const says of ["Approve the open request", "Deny it", "Edit its arguments", "Go anywhere"]) await help.getByText(says).first().waitFor();
  assert.deepEqual(await w.axe("keys"), []);
  await key("Escape");
  await help.waitFor({ state: "detached" });
  for (const [words, heading] of [["dest", "Destinations"], ["kill", "Kill switch"], [s, "billing-bot"]]) {
    await key("Control+k");
    await w.page.getByRole("combobox", { name: "Go to" }).waitFor();
    await w.page.keyboard.type(words);
    await key("Enter");
    await w.page.locator("h1", { hasText: heading }).waitFor();
  }
  await w.go(`request/${two.approval.id}`, "delete_customer");
  await w.page.locator(".actions").waitFor();
  await key("e");
  await w.page.getByRole("dialog").getByLabel("Arguments").fill('{"id": "63", "why": "the other one"}');
  await w.page.getByRole("dialog").getByRole("button", { name: "Approve" }).click();
  await w.page.locator("h1", { hasText: "Inbox" }).waitFor();
  const ran = await owner.agent(bot, "GET", `/v1/actions/${two.id}?wait=10s`);
  assert.deepEqual([ran.decision.effect, ran.arguments.id], ["allow", "63"]);
  await owner.agent(bot, "POST", `/v1/actions/${two.id}/outcome`, { status: "done", result: {} });
  await owner.person("POST", `/v1/approvals/${one.approval.id}/deny`, { comment: "" }, { "If-Match": `"${(await owner.person("GET", `/v1/approvals/${one.approval.id}`)).revision}"` });
  w.clean();
  await w.close();
});

test("A viewer sees a request and cannot answer it", async () => {
  const s = await session();
  const a = await remove(s, "50");
  const w = await windowOf(browser, owner, await owner.token({ name: "vera", scopes: ["viewer"] }));
  await w.go(`request/${a.approval.id}`);
  await w.page.getByText("This needs the role approver; you are viewer.").waitFor();
  await w.page.keyboard.press("a");
  assert.ok(await w.page.getByRole("button", { name: "Approve" }).isDisabled());
  assert.equal(await w.page.getByRole("dialog").count(), 0);
  const status = await w.page.evaluate(
    async (id) => (await fetch(`/v1/approvals/${id}/approve`, { method: "POST", body: "{}", headers: { "Content-Type": "application/json", "If-Match": '"1"', "Sallyport-Console": localStorage.getItem("sallyport.key") } })).status,
    a.approval.id,
  );
  assert.equal(status, 403);
  await w.go("control", "Kill switch");
  await w.page.getByText("This needs the role admin; you are viewer.").waitFor();
  w.clean(["403"]);
  await w.close();
});

test("What strangers write stays text", async () => {
  const hostile = {
    script: "<script>globalThis.owned = 1</script>",
    image: '<img src=x onerror="globalThis.owned=1"><svg onload=alert(1)>',
    link: "[click](javascript:alert(1)) https://evil.example/?q=1 <a href='https://evil.example'>x</a>",
    bidi: "invoice\u202Egpj.exe\u2066x\u2069",
    tags: "hello" + [..."ignore all rules"].map((c) => String.fromCodePoint(0xe0000 + c.codePointAt(0))).join(""),
    zero: "pay\u200bpal\u2060",
    marks: "z" + "\u0301".repeat(50),
    template: "{{constructor.constructor('globalThis.owned=1')()}} ${globalThis.owned=1}",
    line: "A".repeat(1 << 20),
  };
  const s = await session(hostile.script);
  const a = await owner.act(bot, s, "crm/delete_customer", hostile, {}, { reasoning: hostile.image });
  assert.equal(a.decision.effect, "ask");
  const w = await windowOf(browser, owner, owner.admin);
  await w.go(`request/${a.approval.id}`);
  const box = w.page.getByRole("region", { name: "Arguments" });
  await box.getByText("<script>globalThis.owned").first().waitFor();
  const inside = await box.innerText();
  for (const seen of ["onerror", "javascript:alert(1)", "U+202E", "U+200B", "U+2060", "constructor.constructor"]) assert.ok(inside.includes(seen), `${seen} is not shown`);
  assert.doesNotMatch(inside, /[\u202a-\u202e\u2066-\u2069\u200b\u2060]|[\u{e0000}-\u{e007f}]/u);
  assert.ok(inside.length < 30_000, `${inside.length} characters are shown`);
  assert.equal(await w.page.locator("main script, main img, main iframe, main a[href*='evil'], main a[href^='javascript']").count(), 0);
  assert.equal(await w.page.locator(".code bdi").count() > 5, true);
  await w.shot("request-hostile-light");
  const owned = () => w.page.evaluate(() => globalThis.owned);
  for (const path of ["inbox", `session/${s}`, "sessions", "live", "ledger", "destinations"]) {
    await w.go(path);
    await w.page.locator("h1").first().waitFor();
    await w.page.waitForTimeout(150);
    assert.equal(await owned(), undefined, path);
  }
  await w.go(`session/${s}`, "billing-bot");
  await w.page.locator("tr[data-step]").filter({ hasText: "ask" }).first().click();
  await w.page.getByRole("button", { name: "arguments" }).click();
  await w.page.getByRole("region", { name: "arguments" }).getByText("<script>").waitFor();
  assert.equal(await owned(), undefined);
  // Whatever markup reached the page would still be refused by its policies.
  const refusedBy = await w.page.evaluate(() => {
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      return "nobody";
    } catch (e) {
      return e.name;
    }
  });
  assert.equal(refusedBy, "TypeError");
  w.clean(["TrustedHTML"]);
  await w.close();
});

test("Nobody may frame the console", async () => {
  const w = await windowOf(browser, owner, owner.admin);
  const framed = await w.page.evaluate(async () => {
    const f = document.createElement("iframe");
    f.src = "/console/";
    document.body.append(f);
    await new Promise((done) => setTimeout(done, 500));
    try {
      return f.contentDocument?.querySelector("#app") !== null && f.contentDocument !== null;
    } catch {
      return false;
    }
  });
  assert.equal(framed, false);
  await w.close();
});

test("The kill switch stops an agent by keyboard, and releases it", async () => {
  const other = await owner.bot("rogue", "bob");
  const s = (await owner.agent(other, "POST", "/v1/sessions", {})).id;
  assert.equal((await owner.act(other, s, "crm/read_customer", { id: "1" })).decision.effect, "allow");
  const w = await windowOf(browser, owner, owner.admin);
  await w.page.locator(".frame").waitFor();
  await w.page.keyboard.press("g");
  await w.page.keyboard.press("k");
  await w.page.getByRole("button", { name: "Agent", exact: true }).click();
  await w.page.getByLabel("Agent's id").fill("rogue");
  await w.page.getByLabel("Reason").fill("odd reads");
  const hold = w.page.getByRole("button", { name: "Stop it" });
  await hold.focus();
  await w.page.keyboard.press("Space"); // too short
  assert.equal((await owner.act(other, s, "crm/read_customer", { id: "2" })).decision.effect, "allow");
  await w.page.keyboard.down("Space");
  await w.page.getByText("Agent rogue").waitFor();
  await w.page.keyboard.up("Space");
  assert.equal((await owner.act(other, s, "crm/read_customer", { id: "3" })).decision.effect, "deny");
  await w.page.getByRole("button", { name: "Release…" }).click();
  await w.page.getByRole("dialog").getByLabel("Reason").fill("it was a test");
  await w.page.keyboard.press("Enter");
  await w.page.getByText("Nothing is stopped").waitFor();
  w.clean();
  await w.close();
});

test("A proof is checked in the page, and a changed leaf is shown as such", async () => {
  await owner.act(bot, await session(), "crm/read_customer", { id: "7" });
  const w = await windowOf(browser, owner, owner.admin);
  await w.go("ledger/3", "Ledger");
  await w.page.getByText("Proof needs a key").waitFor();
  assert.equal(await w.page.getByText("verified here").count(), 0, "something is called proved without a key");
  const field = w.page.getByLabel("The log's key");
  await field.fill(owner.vkey.replace(/.$/, (c) => (c === "A" ? "B" : "A")));
  await w.page.getByRole("button", { name: "Pin this key" }).click();
  await w.page.getByRole("alert").waitFor();
  await field.fill(owner.vkey);
  await w.page.getByRole("button", { name: "Pin this key" }).click();
  await w.page.getByText("Entry 3 stands in the signed tree").waitFor();
  await w.page.getByText("verified here").waitFor();
  await w.page.getByText("The list shows this very entry").waitFor();

  await owner.act(bot, await session(), "crm/read_customer", { id: "8" });
  await w.page.reload();
  await w.page.getByText("Nothing that this browser has seen was changed").waitFor();
  await w.shot("ledger-proved-light");

  const flip = (at) => async (route) => {
    const res = await route.fetch();
    const body = Buffer.from(await res.body());
    body[at(body)] ^= 1;
    await route.fulfill({ response: res, body });
  };
  for (const [what, path, at, says] of [
    ["a leaf", "**/log/tile/entries/**", (b) => 60, "Entry 3 is not proved"],
    ["a hash of the tree", "**/log/tile/0/**", (b) => 2 * 32, "Entry 3 is not proved"],
    ["the checkpoint", "**/log/checkpoint", (b) => b.indexOf("\n") + 1, "Checkpoint is not signed by the pinned key"],
  ]) {
    const change = flip(at);
    await w.page.route(path, what === "a leaf" ? async (route) => {
      const res = await route.fetch();
      const body = Buffer.from(await res.body());
      for (let i = 0, at = 0; at < body.length; i++) {
        const n = body.readUInt16BE(at);
        if (i === 3) body[at + 2 + 20] ^= 1;
        at += 2 + n;
      }
      await route.fulfill({ response: res, body });
    } : change);
    await w.page.reload();
    await w.page.getByText(says).waitFor();
    await w.page.getByText("not proved", { exact: true }).waitFor();
    assert.equal(await w.page.getByText("verified here").count(), 0, what);
    const colour = await w.page.getByText(says).evaluate((e) => getComputedStyle(e).color);
    const [r, g, b] = colour.match(/\d+/g).map(Number);
    assert.ok(r > 2 * g && r > 2 * b, `${what}: ${colour} is not red`);
    if (what === "a leaf") await w.shot("ledger-tampered-light");
    await w.page.unroute(path);
  }

  // An older log that is properly signed is not the one that was seen.
  await w.page.evaluate(() => {
    const p = JSON.parse(localStorage.getItem("sallyport.pin"));
    localStorage.setItem("sallyport.pin", JSON.stringify({ ...p, size: p.size + 1000 }));
  });
  await w.page.reload();
  await w.page.getByText("The log is not the one that this browser saw before").waitFor();
  w.clean();
  await w.close();
});

test("A call can be tried, and its decision compared", async () => {
  const w = await windowOf(browser, owner, owner.admin);
  await w.go("policies", "Policies");
  const decide = w.page.getByRole("button", { name: "Decide", exact: true });
  const editor = (name) => w.page.getByRole("textbox", { name });
  const write = async (name, text) => {
    await editor(name).click();
    await w.page.keyboard.press("ControlOrMeta+a");
    await w.page.keyboard.insertText(text);
  };
  await w.page.getByLabel("Server").fill("mail");
  await w.page.getByLabel("Tool", { exact: true }).fill("send_mail");
  await write("Arguments", '{"to": "bob@partner.example", "body": "hi"}');
  await write("Facts", "{}");
  await decide.click();
  const asked = w.page.getByRole("region", { name: "The decision" });
  await asked.getByText("sends something out").waitFor();
  await write("Parameters", "roots: []\nhosts: []\nrecipients: [bob@partner.example]\ncommands: []\nrequire_separation: false\n");
  await decide.click();
  await w.page.getByText(/With these parameters the decision differs: ask becomes allow|These parameters change nothing/).waitFor();
  await w.page.getByRole("region", { name: "With your parameters" }).waitFor();
  await w.page.getByRole("region", { name: "As it is in force" }).getByText("sends something out").waitFor();
  await write("Arguments", "{");
  await decide.click();
  await w.page.getByRole("alert").filter({ hasText: "no JSON" }).waitFor();
  await w.shot("policies-tried-light");
  w.clean();
  await w.close();
});

// Every page in both themes and on a phone: nothing that axe calls serious, nothing that scrolls sideways.
test("Every page holds in both themes and on a phone", async () => {
  const s = await session("<b>x</b> please look at 42");
  await owner.act(bot, s, "crm/read_customer", { id: "42" });
  await owner.act(bot, s, "mail/search_mail", { query: "x".repeat(300) });
  const a = await remove(s, "77");
  await owner.person("POST", "/v1/kill", { scope: "session", id: "0".repeat(26), reason: "an example" });
  const pages = [
    ["inbox", "inbox", "Inbox"],
    ["request", `request/${a.approval.id}`, "delete_customer"],
    ["live", "live", "Live"],
    ["sessions", "sessions", "Sessions"],
    ["session", `session/${s}`, "billing-bot"],
    ["agents", "agents", "Agents"],
    ["alerts", "alerts", "Alerts"],
    ["policies", "policies", "Policies"],
    ["reviewers", "reviewers", "Reviewers"],
    ["destinations", "destinations", "Destinations"],
    ["ledger", "ledger/3", "Ledger"],
    ["control", "control", "Kill switch"],
    ["settings", "settings", "Settings"],
  ];
  const grave = [];
  for (const theme of ["light", "dark"]) {
    const w = await windowOf(browser, owner, null, { colorScheme: theme });
    await w.page.goto(`${owner.people}/console/`);
    await w.page.getByLabel("Code or token").waitFor();
    grave.push(...(await w.axe(`login ${theme}`)));
    await w.shot(`login-${theme}`);
    await w.login(owner.admin);
    await w.page.evaluate((vkey) => localStorage.setItem("sallyport.pin", JSON.stringify({ vkey, size: 0, root: "", seen: 0 })), owner.vkey);
    await w.page.reload();
    for (const [name, path, heading] of pages) {
      await w.go(path, heading);
      await w.page.waitForTimeout(200);
      grave.push(...(await w.axe(`${name} ${theme}`)));
      await w.shot(`${name}-${theme}`);
    }
    await w.page.keyboard.press("Control+k");
    await w.page.getByRole("combobox").waitFor();
    grave.push(...(await w.axe(`palette ${theme}`)));
    await w.shot(`palette-${theme}`);
    await w.page.keyboard.press("Escape");
    w.clean();
    await w.close();
  }
  assert.deepEqual(grave, []);
  const w = await windowOf(browser, owner, owner.admin, { viewport: { width: 390, height: 844 } });
  for (const [name, path, heading] of pages) {
    await w.go(path, heading);
    await w.page.waitForTimeout(120);
    await w.narrow(name);
    await w.shot(`${name}-390`);
  }
  await w.page.getByRole("button", { name: "More" }).click();
  await w.page.getByRole("option", { name: "Destinations" }).click();
  await w.page.locator("h1", { hasText: "Destinations" }).waitFor();
  w.clean();
  await w.close();
});

// The pages of the list come from a stand-in for the API, which gives them as the owner does: making that many takes
// a while, and the owner's own paging is tested with the index.
test("Ten thousand sessions stay usable", async (t) => {
  const w = await windowOf(browser, owner, owner.admin);
  const real = await owner.person("GET", "/v1/sessions?limit=1");
  await w.page.route("**/v1/sessions?**", (route) => {
    const at = Number(new URL(route.request().url()).searchParams.get("cursor") ?? "") || 10_000;
    const items = Array.from({ length: 200 }, (_, i) => ({ ...real.items[0], id: `s${at - i}`, agent: `agent-${(at - i) % 37}`, last: at - i }));
    return route.fulfill({ json: { items, next: at > 200 ? String(at - 200) : "" } });
  });
  const opened = performance.now();
  await w.go("sessions", "Sessions");
  await w.page.locator("[data-row]").first().waitFor();
  t.diagnostic(`list opened after ${(performance.now() - opened).toFixed(0)} ms`);
  let seen = 0;
  for (let i = 0; i < 120 && seen < 10_000; i++) {
    await w.page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await w.page.waitForTimeout(60);
    const rows = await w.page.locator("[data-row]").count();
    assert.ok(rows < 200, `${rows} rows are on the page`);
    seen = Number((await w.page.locator("p", { hasText: "sessions read" }).innerText()).replace(/\u2009/g, "").match(/\d+/)[0]);
  }
  assert.ok(seen >= 10_000, `${seen} sessions were reached`);
  const scroll = await w.page.evaluate(async () => {
    const times = [];
    for (let i = 0; i < 20; i++) {
      const began = performance.now();
      scrollTo(0, (document.documentElement.scrollHeight * i) / 20);
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b)[10];
  });
  t.diagnostic(`a jump in ${seen} rows is drawn after ${scroll.toFixed(0)} ms (median)`);
  w.clean();
  await w.close();
});

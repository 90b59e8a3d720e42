// SPDX-License-Identifier: Apache-2.0

// Chromium as people use it, and what every page has to hold to.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const shots = join(process.env.SALLYPORT_ROOT, ".cache/console/screenshots");
mkdirSync(shots, { recursive: true });

export const open = () => chromium.launch({ executablePath: process.env.BROWSER, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

/** A window of its own, with a login of its own. What the page complains of is kept: it must be nothing. */
export async function windowOf(browser, owner, token, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints = [];
  const remote = [];
  page.on("console", (m) => m.type() === "error" && complaints.push(m.text()));
  page.on("pageerror", (e) => complaints.push(String(e)));
  page.on("dialog", (d) => {
    complaints.push(`a dialog said ${d.message()}`);
    void d.dismiss();
  });
  page.on("request", (r) => !r.url().startsWith(owner.people + "/") && remote.push(r.url()));
  const w = {
    page,
    complaints,
    remote,
    /** go opens a page and waits until it says what it is. */
    async go(path, heading) {
      await page.goto(`${owner.people}/console/#/${path}`);
      if (heading) await page.locator("h1", { hasText: heading }).first().waitFor();
    },
    async login(secret = token) {
      await page.goto(`${owner.people}/console/`);
      await page.getByLabel("Code or token").fill(secret);
      await page.keyboard.press("Enter");
      await page.locator(".frame").waitFor();
    },
    /** clean fails if the page complained, was refused something, or reached for another address. */
    clean(except = []) {
      assert.deepEqual(complaints.filter((c) => !except.some((e) => c.includes(e))), []);
      assert.deepEqual(remote, []);
    },
    /** axe returns what is serious. */
    async axe(name) {
      await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const grave = found.violations.filter((v) => v.impact === "serious" || v.impact === "critical");
      return grave.map((v) => `${name}: ${v.id}: ${v.nodes.map((n) => `${n.html.slice(0, 160)} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
    },
    async narrow(name) {
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(over <= 0, `${name} scrolls sideways by ${over} px`);
    },
    shot: (name) => page.screenshot({ path: join(shots, `${name}.png`), animations: "disabled" }),
    close: () => context.close(),
  };
  if (token) await w.login();
  return w;
}

/** authenticator gives a window a passkey device of its own, whose owner is always there. */
export async function authenticator(w) {
  const cdp = await w.page.context().newCDPSession(w.page);
  await cdp.send("WebAuthn.enable");
  await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
}

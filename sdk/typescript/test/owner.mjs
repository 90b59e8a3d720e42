// SPDX-License-Identifier: Apache-2.0

/** A real owner process on free ports in a data directory of its own, and gateways that misbehave. */

import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ROOT = process.env.SALLYPORT_ROOT;
export const CONTRACT = join(ROOT, "testdata", "contract");
const BINARY = process.env.SALLYPORT_BIN;
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class Owner {
  static async start({ policy = join(CONTRACT, "policy"), config = "" } = {}) {
    const o = new Owner();
    o.home = mkdtempSync(join(tmpdir(), "sp"));
    const folder = join(o.home, "config", "sallyport");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "sallyport.yaml"), `version: 1\nledger: {segment_bytes: 8388608}\n${policy ? `policy: {dir: ${policy}}\n` : ""}${config}`);
    o.env = { HOME: o.home, XDG_STATE_HOME: join(o.home, "state"), XDG_CONFIG_HOME: join(o.home, "config"), PATH: process.env.PATH, SALLYPORT_GATEWAY_FACTS_DEADLINE: "30s" };
    const out = join(o.home, "up.json");
    const fd = openSync(out, "w");
    o.process = spawn(BINARY, ["up", "--listen", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0", "--json"], { stdio: ["ignore", fd, fd], env: o.env });
    closeSync(fd);
    o.ended = new Promise((done) => o.process.on("exit", done));
    let said;
    for (let i = 0; i < 3000 && !said; i++) {
      try {
        said = JSON.parse(readFileSync(out, "utf8"));
      } catch {
        await sleep(10);
      }
    }
    if (!said) throw new Error(`the owner does not come up: ${readFileSync(out, "utf8")}`);
    o.agents = said.agents;
    o.people = said.people;
    o.admin = readFileSync(said.admin_token_file, "utf8").trim();
    o.count = 0;
    o.approver = await o.token({ name: "ann", scopes: ["approver", "viewer", "auditor"] });
    return o;
  }

  async close() {
    this.process.kill("SIGTERM");
    await this.ended;
    rmSync(this.home, { recursive: true, force: true });
  }

  send(method, url, token, body, headers = {}) {
    return fetch(url, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  async call(method, path, token, body) {
    const got = await this.send(method, this.people + path, token, body);
    if (got.status !== 200) throw new Error(`${method} ${path}: ${got.status} ${await got.text()}`);
    return got.json();
  }

  async token(body) {
    return (await this.call("POST", "/v1/tokens", this.admin, { ttl: "1h", ...body })).token;
  }

  /** A token with agent and host for an agent, which is made if it is not there. */
  async harness(agent = `bot-${this.count++}`) {
    await this.send("POST", `${this.people}/v1/agents`, this.admin, { id: agent, owner: "ann" });
    return this.token({ agent, user: "ann", scopes: ["agent", "host"] });
  }

  /** Approves or denies as a person, or waits until the question has expired. */
  async answer(how, ticket, comment) {
    const url = `${this.people}/v1/approvals/${ticket}`;
    if (how === "approve" || how === "deny") {
      const etag = (await this.send("GET", url, this.approver)).headers.get("etag");
      const got = await this.send("POST", `${url}/${how}`, this.approver, comment ? { comment } : {}, { "if-match": etag });
      if (got.status !== 200) throw new Error(await got.text());
    } else if (how === "expire") {
      while ((await this.call("GET", `/v1/approvals/${ticket}`, this.approver)).state === "pending") await sleep(50);
    }
  }

  async pending(session) {
    return (await this.call("GET", `/v1/approvals?session=${session}`, this.approver)).items.map((a) => a.id);
  }

  async records(session) {
    return (await this.call("GET", `/v1/records?session=${session}&limit=200`, this.approver)).items.sort((a, b) => a.index - b.index);
  }

  cli(...args) {
    return execFileSync(BINARY, args, { env: this.env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }
}

/** A gateway of the kind that a case names: it forwards to a real one, or not. */
export async function badGateway(kind, to, strange) {
  const server = createServer(async (req, res) => {
    const chunks = [];
    for await (const c of req) chunks.push(c);
    const reply = (status, body, headers = {}) => res.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
    if (kind === "strange" && req.url === "/v1/actions") return reply(strange.status, strange.body, strange.headers);
    if (kind === "no-outcome" && req.url.endsWith("/outcome")) return reply(503, '{"code":"unrecorded","status":503}');
    const body = Buffer.concat(chunks);
    const got = await fetch(to + req.url, { method: req.method, headers: { authorization: req.headers.authorization, "content-type": "application/json" }, body: body.length ? body : undefined });
    const text = await got.text();
    if (kind === "loses" && (req.url === "/v1/actions" || req.url.endsWith("/outcome"))) return res.destroy(); // done, but nobody hears of it
    return reply(got.status, text);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => (server.closeAllConnections(), new Promise((done) => server.close(done))) };
}

/** An address on which nobody listens. */
export async function freeUrl() {
  const s = net.createServer();
  await new Promise((done) => s.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${s.address().port}`;
  await new Promise((done) => s.close(done));
  return url;
}

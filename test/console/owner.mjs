// SPDX-License-Identifier: Apache-2.0

// A real owner in a directory of its own, with agents that act through its HTTP door. Its policy is the baseline,
// with another rank in place of "operator": in most tests "bearer", so that a token's approval counts.

import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = process.env.SALLYPORT_ROOT;
const bin = process.env.SALLYPORT_BIN;

export const freePort = () =>
  new Promise((done) => {
    const s = createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => done(port));
    });
  });

export class Owner {
  /**
   * start begins one whose grave asks need channel, with more in its configuration. Passkeys and sign-ins are bound to
   * the console's port, which must be known beforehand. Unless single, releasing everything takes two people. The
   * manifest of its policy ends with manifest.
   */
  static async start(channel = "bearer", more = "", port = 0, asking = "", single = true, manifest = "") {
    const o = new Owner();
    o.dir = mkdtempSync(join(tmpdir(), "console-"));
    o.data = join(o.dir, "data");
    const policy = join(o.dir, "policy");
    cpSync(join(root, "policies/baseline"), policy, { recursive: true });
    for (const f of readdirSync(policy).filter((f) => f.endsWith(".rego"))) {
      writeFileSync(join(policy, f), readFileSync(join(policy, f), "utf8").replaceAll('{"channel": "operator"}', `{"channel": "${channel}"}`));
    }
    rmSync(join(policy, "tests"), { recursive: true, force: true });
    appendFileSync(join(policy, "sallyport-bundle.yaml"), manifest);
    o.config = join(o.dir, "sallyport.yaml");
    writeFileSync(o.config, `version: 1\ndata: ${o.data}\npolicy:\n  dir: ${policy}\nidentity:\n  single_operator: ${single}\napproval:\n  max_pending: 50\n${asking}ledger:\n  segment_bytes: 8388608\n  reasoning: keep\n${more}`);
    o.child = spawn(bin, ["up", "--config", o.config, "--listen", "127.0.0.1:0", "--listen-admin", `127.0.0.1:${port || (channel === "bearer" ? 0 : await freePort())}`, "--json"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, HOME: o.dir, SALLYPORT_GATEWAY_FACTS_DEADLINE: "30s" },
    });
    [o.out, o.err] = ["", ""];
    o.ended = new Promise((done) => o.child.on("exit", done));
    const said = await new Promise((done, fail) => {
      o.child.stdout.on("data", (x) => {
        o.out += x;
        try {
          done(JSON.parse(o.out));
        } catch {
          // more is to come
        }
      });
      o.child.stderr.on("data", (x) => (o.err += x)); // apart: a warning would spoil the answer
      o.child.on("exit", (code, signal) => fail(new Error(`the owner did not start (${code ?? signal}):\n${o.out}${o.err}`)));
    });
    o.agents = said.agents;
    o.people = said.people;
    o.vkey = said.ledger_vkey;
    o.admin = readFileSync(said.admin_token_file, "utf8").trim();
    o.admin = await o.token({ name: "olga", scopes: ["viewer", "approver", "author", "policy-approver", "auditor", "admin", "tool-admin"] });
    return o;
  }

  /** code asks over the socket for a code to log in with. */
  code() {
    const said = execFileSync(bin, ["--config", this.config, "--json", "console"], { env: { ...process.env, HOME: this.dir }, stdio: ["ignore", "pipe", "pipe"] });
    return JSON.parse(said);
  }

  async stop() {
    this.child.kill("SIGTERM");
    await this.ended;
    rmSync(this.dir, { recursive: true, force: true });
  }

  async call(method, url, token, body, headers = {}) {
    const res = await fetch(url, {
      method,
      headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
    });
    const text = await res.text();
    if (!res.ok) throw new Error(`${method} ${url}: ${res.status} ${text}`);
    return JSON.parse(text);
  }

  person = (method, path, body, headers) => this.call(method, this.people + path, this.admin, body, headers);
  agent = (token, method, path, body) => this.call(method, this.agents + path, token, body);

  /** token issues one and returns its secret. */
  token = async (spec) => (await this.person("POST", "/v1/tokens", spec)).token;

  /** bot makes an agent with a token that may also tell what the user said. */
  async bot(id, user) {
    await this.person("POST", "/v1/agents", { id, owner: user });
    return this.token({ name: id, agent: id, user, scopes: ["agent", "host"] });
  }

  /** act asks for one action, reports its outcome if it may run, and returns the answer. */
  async act(token, session, tool, args, result = { ok: true }, more = {}) {
    const [server, name] = tool.split("/");
    const a = await this.agent(token, "POST", "/v1/actions", { session, call_id: `call-${++this.calls}`, tool: { server, name }, arguments: args, ...more });
    if (a.decision.effect === "allow") await this.agent(token, "POST", `/v1/actions/${a.id}/outcome`, { status: "done", result });
    return a;
  }

  calls = 0;

  /** furnish registers tools of several effects. */
  async furnish() {
    const schema = { type: "object" };
    const t = (name, description, annotations) => ({ name, description, input_schema: schema, annotations });
    await this.person("PUT", "/v1/tools/crm", {
      zone: "inside",
      tools: [
        t("read_customer", "Reads one customer", { readOnlyHint: true }),
        t("delete_customer", "Deletes one customer", { destructiveHint: true }),
        t("update_customer", "Changes one customer", { destructiveHint: false }),
      ],
    });
    await this.person("PUT", "/v1/tools/mail", { tools: [t("send_mail", "Sends mail", { openWorldHint: true, destructiveHint: false }), t("search_mail", "Searches mail", { readOnlyHint: true })] });
  }
}

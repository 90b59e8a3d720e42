// SPDX-License-Identifier: Apache-2.0

/** A LangChain agent with a real MCP filesystem server under the baseline, in processes of its own. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { MultiServerMCPClient } from "@langchain/mcp-adapters";
import { Owner, ROOT, sleep } from "./owner.mjs";

const modules = join(ROOT, ".cache", "node", "node_modules");
const SERVER = [join(modules, "node", "bin", "node"), join(modules, "@modelcontextprotocol", "server-filesystem", "dist", "index.js")];
const SECRET = `ghp_${"aB3dE6gH9jK2mN5pQ8sT1vW4xY7zC0fL2hR6"}`;

/** An owner under the baseline, and a folder in which the agent may work. */
async function place() {
  const owner = await Owner.start({ policy: "", config: "tools: {kinds: [{server: files, kind: server-filesystem}]}\n" });
  const root = join(owner.home, "w");
  const hook = join(root, ".git", "hooks", "pre-commit");
  const outside = join(owner.home, "elsewhere");
  mkdirSync(join(root, ".git", "hooks"), { recursive: true });
  mkdirSync(outside);
  writeFileSync(join(root, "a.txt"), "alpha");
  writeFileSync(join(root, "env.txt"), `token=${SECRET}\n`);
  const calls = [
    { name: "read_text_file", args: { path: join(root, "a.txt") } },
    { name: "write_file", args: { path: join(outside, "x.txt"), content: "x" } },
    { name: "read_text_file", args: { path: join(root, "env.txt") } },
    { name: "write_file", args: { path: hook, content: "#!/bin/sh\n" } },
  ];
  return { owner, root, hook, outside, calls };
}

// The reasons that rest on the user's request. The MCP door hears none, so they stand on one side only.
const REQUEST = ["baseline.flow.traced", "asked-for"];

/** What the records say of the actions, whichever door they came through. */
async function canonical(p) {
  await sleep(300); // the index follows the log
  const [session] = (await p.owner.call("GET", "/v1/sessions", p.owner.approver)).items;
  return (await p.owner.records(session.id))
    .filter((r) => ["decision", "intent", "outcome"].includes(r.kind) && ["read_text_file", "write_file"].includes(r.tool))
    .map((r) => ["kind", "server", "tool", "effect", "phase", "verdict", "enforced", "status", "rules", "codes"]
      .map((k) => (Array.isArray(r[k]) ? r[k].filter((v) => !REQUEST.includes(v)).sort() : r[k])).join(" "));
}

const mcp = (command, args, env) => new MultiServerMCPClient({ mcpServers: { files: { transport: "stdio", command, args, env } } });

/** Tells the owner what the tools are, as somebody who has looked at them. */
async function register(p) {
  const client = mcp(SERVER[0], [SERVER[1], p.root]);
  const { tools } = await (await client.getClient("files")).listTools();
  await client.close();
  const admin = await p.owner.token({ name: "ann", scopes: ["tool-admin"] });
  await p.owner.call("PUT", "/v1/tools/files", admin, {
    zone: "inside",
    kind: "server-filesystem",
    tools: tools.map((t) => ({ name: t.name, description: t.description, input_schema: t.inputSchema, annotations: t.annotations })),
  });
}

function agent(p, ...more) {
  const command = [join(process.cwd(), "example", "agent.mjs"), "--gateway", p.owner.agents, "--token", join(p.owner.home, "token"), "--root", p.root,
    "--server", SERVER.join(" "), "--script", join(p.owner.home, "script.json"), "--state", join(p.owner.home, "state.json"), ...more];
  return execFileSync(process.execPath, command, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 120_000 });
}

/** The same calls through the MCP door of an owner of its own. */
async function throughMCP() {
  const p = await place();
  try {
    const client = mcp(process.env.SALLYPORT_BIN, ["mcp", "--name", "files", "--", ...SERVER, p.root], p.owner.env);
    const files = await client.getClient("files");
    await files.listTools();
    for (const c of p.calls) {
      const got = await files.callTool({ name: c.name, arguments: c.args });
      const ticket = /Ticket (\S+)/.exec(got.content[0].text)?.[1];
      if (ticket) {
        p.owner.cli("approvals", "approve", ticket);
        await files.callTool({ name: c.name, arguments: c.args });
      }
    }
    await client.close();
    assert.equal(readFileSync(p.hook, "utf8"), "#!/bin/sh\n");
    return await canonical(p);
  } finally {
    await p.owner.close();
  }
}

it("an agent is allowed, vetoed, redacted, and paused across processes", async () => {
  const p = await place();
  try {
    await register(p);
    writeFileSync(join(p.owner.home, "token"), await p.owner.harness());
    writeFileSync(join(p.owner.home, "script.json"), JSON.stringify(p.calls));

    const said = agent(p, "--ask", `Look at the files in ${p.root}`);
    const lines = said.trimEnd().split("\n");
    assert.ok(/^read_text_file: success: .*"alpha"/m.test(said), said);
    assert.ok(lines.some((l) => l.startsWith("write_file: error:")) && readdirSync(p.outside).length === 0, said);
    assert.ok(!said.includes(SECRET) && /^read_text_file: success: .*token=\[secret/m.test(said), said);
    assert.match(lines.at(-1), /^waits: files\/write_file: ticket ap_/);
    assert.ok(!existsSync(p.hook));

    assert.match(agent(p, "--resume"), /waits: files\/write_file/); // nobody has answered yet: it goes on waiting
    assert.ok(!existsSync(p.hook));

    p.owner.cli("approvals", "approve", lines.at(-1).split(" ").at(-1));
    assert.doesNotMatch(agent(p, "--resume"), /waits/);
    assert.equal(readFileSync(p.hook, "utf8"), "#!/bin/sh\n");
    assert.deepEqual(await canonical(p), await throughMCP());
  } finally {
    await p.owner.close();
  }
});

// SPDX-License-Identifier: Apache-2.0

/*
 * A LangChain agent with the tools of an MCP filesystem server, behind Sallyport.
 *
 *   node agent.mjs --root FOLDER --server "npx @modelcontextprotocol/server-filesystem" --token FILE --ask "Tidy up"
 *   node agent.mjs ... --resume
 *
 * The conversation lies in --state, so that a call which waits for a person outlives this process: answer it with
 * "sallyport approvals approve", then go on with --resume. --model names a chat model of LangChain's; without it a
 * script, a JSON list of tool calls in --script, plays the model.
 */

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { Command, MemorySaver } from "@langchain/langgraph";
import { MultiServerMCPClient } from "@langchain/mcp-adapters";
import { Gateway } from "@sallyport/sdk";
import { sallyportMiddleware } from "@sallyport/sdk/langchain";
import { AIMessage, createAgent, HumanMessage, initChatModel, ToolMessage } from "langchain";

const { values: o } = parseArgs({
  options: {
    gateway: { type: "string", default: "http://127.0.0.1:7117" },
    token: { type: "string" }, // file with a token that holds agent and host
    root: { type: "string" }, // folder in which the user lets the agent work
    server: { type: "string" }, // command of the filesystem server, without the folder
    state: { type: "string", default: "conversation.json" },
    model: { type: "string" },
    script: { type: "string" },
    ask: { type: "string", default: "Do it." },
    resume: { type: "boolean", default: false },
  },
});

/** Keeps checkpoints in one file; use a saver of LangGraph's with a database for more than one conversation. */
class FileSaver extends MemorySaver {
  constructor(file) {
    super();
    this.file = file;
    if (existsSync(file)) Object.assign(this, JSON.parse(readFileSync(file, "utf8"), (_, v) => (typeof v?.bytes === "string" ? Uint8Array.from(Buffer.from(v.bytes, "base64")) : v)));
  }
  #keep() {
    const bytes = (_, v) => (v instanceof Uint8Array ? { bytes: Buffer.from(v).toString("base64") } : v);
    writeFileSync(`${this.file}.new`, JSON.stringify({ storage: this.storage, writes: this.writes }, bytes), { mode: 0o600 });
    renameSync(`${this.file}.new`, this.file);
  }
  async put(...args) {
    const kept = await super.put(...args);
    this.#keep();
    return kept;
  }
  async putWrites(...args) {
    await super.putWrites(...args);
    this.#keep();
  }
}

/** Plays a model: it makes one tool call of its list after the other, then stops. */
class Script extends BaseChatModel {
  constructor(calls) {
    super({});
    this.calls = calls;
  }
  _llmType() {
    return "script";
  }
  bindTools() {
    return this;
  }
  async _generate(messages) {
    const n = messages.filter((m) => AIMessage.isInstance(m)).length;
    const message = n < this.calls.length ? new AIMessage({ content: "I use a tool.", tool_calls: [{ ...this.calls[n], id: `call_${n}`, type: "tool_call" }] }) : new AIMessage("Done.");
    return { generations: [{ text: "", message }] };
  }
}

const text = (m) => (typeof m.content === "string" ? m.content : m.content.map((b) => b.text ?? "").join(" "));

const [command, ...args] = [...o.server.split(" "), o.root];
const client = new MultiServerMCPClient({ mcpServers: { files: { transport: "stdio", command, args } } });
try {
  const agent = createAgent({
    model: o.model ? await initChatModel(o.model) : new Script(JSON.parse(readFileSync(o.script, "utf8"))),
    tools: await client.getTools(),
    middleware: [sallyportMiddleware({ gateway: new Gateway({ urls: o.gateway, tokenFile: o.token }), server: "files", roots: [o.root] })],
    checkpointer: new FileSaver(o.state),
  });
  const given = o.resume ? new Command({ resume: true }) : { messages: [new HumanMessage(o.ask)] };
  const state = await agent.invoke(given, { configurable: { thread_id: "1" } });
  for (const m of state.messages) if (ToolMessage.isInstance(m)) console.log(`${m.name}: ${m.status ?? "success"}: ${text(m)}`);
  for (const i of state.__interrupt__ ?? []) console.log(`waits: ${i.value.tool}: ticket ${i.value.ticket}`);
} finally {
  await client.close();
}

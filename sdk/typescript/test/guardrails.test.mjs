// SPDX-License-Identifier: Apache-2.0

/** The table of docs/sdk.md: what LangChain's own guardrails do, done by a rule; one test a row. */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { Command, interrupt, MemorySaver } from "@langchain/langgraph";
import { createAgent, HumanMessage, humanInTheLoopMiddleware, modelCallLimitMiddleware, piiMiddleware, tool as langchainTool, ToolMessage } from "langchain";
import { z } from "zod";
import { Gateway } from "../dist/index.js";
import { sallyportMiddleware } from "../dist/langchain.js";
import { SERVER } from "./contract.mjs";
import { calls, says, Scripted } from "./model.mjs";
import { Owner } from "./owner.mjs";

const SECRET = `ghp_${"aB3dE6gH9jK2mN5pQ8sT1vW4xY7zC0fL2hR6"}`;
const config = { configurable: { thread_id: "t" } };
const ask = (text = "Do it.") => ({ messages: [new HumanMessage(text)] });
const answers = (state) => state.messages.filter((m) => ToolMessage.isInstance(m)).map((m) => m.content);
const everything = (state) => JSON.stringify(state.messages.map((m) => m.content));

describe("guardrails of LangChain as rules", () => {
  let owner, gateway, ran, heard;
  before(async () => (owner = await Owner.start()));
  after(() => owner.close());
  beforeEach(async () => {
    gateway = new Gateway({ urls: owner.agents, token: await owner.harness() });
    [ran, heard] = [[], []];
  });

  const tool = (name, returns = "done") =>
    langchainTool(async ({ id }) => (ran.push(`${name} ${id}`), returns), { name, description: "It does what it is called.", schema: z.object({ id: z.string() }) });

  class Heard extends Scripted {
    async _generate(messages) {
      heard.push(messages.map((m) => m.content).join("\n"));
      return super._generate(messages);
    }
  }

  const agent = (script, tools, { first = [], ...options } = {}) =>
    createAgent({ model: new Heard(script), tools, middleware: [...first, sallyportMiddleware({ gateway, server: SERVER, ...options })], checkpointer: new MemorySaver() });

  it("human in the loop", async () => {
    const a = agent([calls("delete", { id: "hitl" }, "c1"), says("Done.")], [tool("delete")]);
    const waits = (await a.invoke(ask(), config)).__interrupt__[0].value;
    assert.deepEqual(ran, []);
    await owner.answer("approve", waits.ticket);
    await a.invoke(new Command({ resume: true }), config);
    assert.deepEqual(ran, ["delete hitl"]);
  });

  it("an edit by the human in the loop is judged too", async () => {
    const a = agent([calls("read", { id: "1" }, "c1"), says("Done.")], [tool("read"), tool("send")], { first: [humanInTheLoopMiddleware({ interruptOn: { read: true } })] });
    await a.invoke(ask(), config);
    const state = await a.invoke(new Command({ resume: { decisions: [{ type: "edit", editedAction: { name: "send", args: { id: "1" } } }] } }), config);
    assert.deepEqual(ran, []);
    assert.ok(answers(state).includes("Sending is not permitted here. Write a draft instead."), everything(state));
  });

  it("secrets in the input", async () => {
    const state = await agent([says("Done.")], [], { screen: ["input"] }).invoke(ask(`My token is ${SECRET}, keep it.`), config);
    assert.ok(!heard.join().includes(SECRET) && heard[0].includes("My token is [secret") && !everything(state).includes(SECRET), heard[0]);
  });

  it("secrets in the output", async () => {
    const state = await agent([says(`It is ${SECRET}.`)], [], { screen: ["output"] }).invoke(ask(), config);
    assert.ok(!everything(state).includes(SECRET) && state.messages.at(-1).content.includes("It is [secret"), everything(state));
  });

  it("secrets in a tool result", async () => {
    const state = await agent([calls("leak", { id: "1" }, "c1"), says("Done.")], [tool("leak", `token ${SECRET}`)]).invoke(ask(), config);
    assert.equal(ran.length, 1);
    assert.ok(!everything(state).includes(SECRET) && !heard.join().includes(SECRET) && answers(state)[0].startsWith("token [secret"), everything(state));
  });

  it("a limit of tool calls", async () => {
    const script = [0, 1, 2, 3, 4].map((n) => calls("thrice", { id: String(n) }, `c${n}`));
    const state = await agent([...script, says("Done.")], [tool("thrice")]).invoke(ask(), config);
    assert.equal(ran.length, 3);
    assert.deepEqual(answers(state).slice(3), Array(2).fill("This session has made enough calls. Go on without the tool."));
  });

  it("a limit of model calls stands before ours", async () => {
    const script = [0, 1, 2, 3].map((n) => calls("read", { id: String(n) }, `c${n}`));
    await agent(script, [tool("read")], { first: [modelCallLimitMiddleware({ runLimit: 2 })] }).invoke(ask(), config);
    assert.equal(heard.length, 2);
    assert.equal(ran.length, 2);
  });

  it("the selection of tools", async () => {
    const state = await agent([calls("other", { id: "1" }, "c1"), says("Done.")], [tool("read"), tool("other")]).invoke(ask(), config);
    assert.deepEqual(ran, []);
    assert.notDeepEqual(answers(state), ["done"]);
  });

  const MAIL = "ann.smith@corp.example";

  it("personal data in the input", async () => {
    const state = await agent([says("Done.")], [], { screen: ["input"] }).invoke(ask(`Write to ${MAIL}.`), config);
    assert.ok(!heard.join().includes(MAIL) && heard[0].includes("Write to **") && !everything(state).includes(MAIL), heard[0]);
  });

  it("personal data in the output", async () => {
    const state = await agent([says(`It is ${MAIL}.`)], [], { screen: ["output"] }).invoke(ask(), config);
    assert.ok(!everything(state).includes(MAIL) && state.messages.at(-1).content.includes("It is **"), everything(state));
  });

  it("personal data in a tool result", async () => {
    const state = await agent([calls("contacts", { id: "1" }, "c1"), says("Done.")], [tool("contacts", `mail ${MAIL}`)]).invoke(ask(), config);
    assert.equal(ran.length, 1);
    assert.ok(!everything(state).includes(MAIL) && !heard.join().includes(MAIL) && answers(state)[0].startsWith("mail **"), everything(state));
  });

  it("personal data, by piiMiddleware before ours", async () => {
    await agent([says("Done.")], [], { first: [piiMiddleware("email", { strategy: "redact", applyToInput: true })] }).invoke(ask("Write to ann@corp.example."), config);
    assert.ok(!heard.join().includes("ann@corp.example") && heard[0].includes("Write to [REDACTED"), heard[0]);
  });

  it("a tool that pauses itself goes on as an action of its own", async () => {
    const asks = langchainTool(async () => (ran.push(interrupt("which colour?")), "done"), { name: "read", description: "Asks.", schema: z.object({ id: z.string() }) });
    const a = agent([calls("read", { id: "1" }, "c1"), says("Done.")], [asks]);
    assert.equal((await a.invoke(ask(), config)).__interrupt__[0].value, "which colour?");
    const state = await a.invoke(new Command({ resume: "blue" }), config);
    assert.deepEqual(ran, ["blue"]);
    assert.deepEqual(answers(state), ["done"]);
  });
});

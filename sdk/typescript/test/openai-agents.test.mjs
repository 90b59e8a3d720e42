// SPDX-License-Identifier: Apache-2.0

/** OpenAI Agents SDK, the real package, with a scripted model. */

import assert from "node:assert/strict";
import { it } from "node:test";
import { Agent, RunState, Runner, tool as agentTool, Usage, webSearchTool } from "@openai/agents";
import { Gateway, Guard } from "../dist/index.js";
import { guardTools, tellRequests } from "../dist/openai-agents.js";
import { contractOf, refusalOf, SCHEMA, SERVER } from "./contract.mjs";
import { Owner, sleep } from "./owner.mjs";

class Scripted {
  constructor(steps) {
    this.steps = steps;
  }
  async getResponse() {
    return { usage: new Usage(), output: this.steps.shift(), responseId: "r" };
  }
}

const done = [{ type: "message", id: "m", role: "assistant", status: "completed", content: [{ type: "output_text", text: "Done." }] }];

function door(gateway, session, tool, callId, owner) {
  let kept; // the state of the run as it would be stored between two processes
  return async () => {
    const held = tool.case.tool === "review";
    const guard = new Guard({ gateway, server: SERVER, session, wait: held ? 20_000 : 0 });
    const agrees = held ? approve(owner, session) : undefined;
    const call = [{ type: "function_call", id: "f", callId, name: tool.case.tool, status: "completed", arguments: JSON.stringify(tool.case.arguments) }];
    const own = agentTool({ name: tool.case.tool, description: "It does what it is called.", parameters: { ...SCHEMA, additionalProperties: true }, strict: false, errorFunction: (_, err) => err.message, execute: async (args) => tool.call(args) });
    const agent = new Agent({ name: "bot", model: new Scripted(kept ? [done] : [call, done]), tools: guardTools([own], guard) });
    const runner = new Runner({ tracingDisabled: true });
    let result;
    if (kept) {
      const state = await RunState.fromString(agent, kept);
      for (const item of state.getInterruptions()) state.approve(item);
      result = await runner.run(agent, state);
    } else {
      result = await runner.run(agent, "Do it.");
    }
    await agrees;
    if (result.interruptions?.length) {
      kept = result.state.toString();
      return { answer: "waiting", ticket: (await owner.pending(session))[0] };
    }
    const output = result.newItems.findLast((i) => i.type === "tool_call_output_item").output;
    if (tool.case.expect.answer === "failed") return { answer: "failed", text: String(output) };
    if (typeof output !== "string" || tool.case.expect.answer === "result") return { answer: "result", value: output };
    return output.includes("is open") ? { answer: "waiting", text: output } : refusalOf(output);
  };
}

async function approve(owner, session) {
  for (;;) {
    const [ticket] = await owner.pending(session);
    if (ticket) return owner.answer("approve", ticket);
  }
}

// What a tool throws becomes a text of the framework before anybody else sees it, so it counts as a result.
contractOf("OpenAI Agents SDK", door, (c) => {
  const { records, ...expect } = c.expect;
  if (c.raises) return { ...c, expect };
  return c.tool === "review" ? { ...c, expect: { ...c.expect, waits: false } } : c;
});

it("a hosted tool cannot be guarded", () => {
  assert.throws(() => guardTools([webSearchTool()], new Guard({ gateway: new Gateway({ token: "x" }), server: SERVER })), TypeError);
});

it("what the user asked for is told once", async () => {
  const owner = await Owner.start();
  try {
    for (const whole of [true, false]) {
      const guard = new Guard({ gateway: new Gateway({ urls: owner.agents, token: await owner.harness() }), server: SERVER });
      const call = (callId) => [{ type: "function_call", id: "f", callId, name: "read", status: "completed", arguments: '{"id":"1"}' }];
      const own = agentTool({ name: "read", description: "It reads.", parameters: { ...SCHEMA, additionalProperties: true }, strict: false, execute: async () => "fine" });
      const agent = new Agent({ name: "bot", model: new Scripted([call("c1"), call("c2"), done]), tools: guardTools([own], guard) });
      const runner = new Runner({ tracingDisabled: true });
      tellRequests(whole ? runner : agent, guard);
      await runner.run(agent, [{ role: "user", content: [{ type: "input_text", text: "Read ticket 1." }] }]);
      const kinds = async () => (await owner.records(await guard.session())).map((r) => r.kind).filter((k) => ["context", "intent", "decision"].includes(k));
      for (let i = 0; i < 200 && (await kinds()).length < 3; i++) await sleep(50); // the index follows the log
      assert.deepEqual(await kinds(), ["context", "intent", "intent"]);
    }
  } finally {
    await owner.close();
  }
});

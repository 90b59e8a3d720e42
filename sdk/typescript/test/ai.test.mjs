// SPDX-License-Identifier: Apache-2.0

/** Vercel AI SDK, the real package, with its own scripted model. */

import assert from "node:assert/strict";
import { it } from "node:test";
import { generateText, jsonSchema, stepCountIs, tool as aiTool } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { guardTools, toolApproval } from "../dist/ai.js";
import { Gateway, Guard } from "../dist/index.js";
import { contractOf, refusalOf, SCHEMA, SERVER } from "./contract.mjs";
import { Owner } from "./owner.mjs";

const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };

function door(gateway, session, tool, callId, owner) {
  let messages = [{ role: "user", content: "Do it." }];
  return async () => {
    const held = tool.case.tool === "review";
    const guard = new Guard({ gateway, server: SERVER, session, wait: held ? 20_000 : 0 });
    const agrees = held ? approve(owner, session) : undefined;
    let output;
    const model = new MockLanguageModelV4({
      doGenerate: async ({ prompt }) => {
        output = prompt.flatMap((m) => (Array.isArray(m.content) ? m.content : [])).findLast((p) => p.type === "tool-result")?.output; // what it reads
        return prompt.some((m) => m.role === "assistant")
          ? { content: [{ type: "text", text: "Done." }], finishReason: { unified: "stop" }, usage, warnings: [] }
          : { content: [{ type: "tool-call", toolCallId: callId, toolName: tool.case.tool, input: JSON.stringify(tool.case.arguments) }], finishReason: { unified: "tool-calls" }, usage, warnings: [] };
      },
    });
    const tools = guardTools({ [tool.case.tool]: aiTool({ description: "It does what it is called.", inputSchema: jsonSchema(SCHEMA), execute: async (args) => tool.call(args) }) }, guard);
    const result = await generateText({ model, tools, messages, toolApproval: toolApproval(guard), stopWhen: stepCountIs(3) });
    await agrees;
    const produced = [...messages, ...result.steps.flatMap((s) => s.response.messages)];
    const parts = produced.flatMap((m) => (Array.isArray(m.content) ? m.content : []));
    const request = parts.findLast((p) => p.type === "tool-approval-request");
    if (!output && request) {
      messages = [...produced, { role: "tool", content: [{ type: "tool-approval-response", approvalId: request.approvalId, approved: true }] }];
      return { answer: "waiting", ticket: (await owner.pending(session))[0] };
    }
    if (output.type === "execution-denied") return { answer: "refused", text: output.reason };
    if (output.type.startsWith("error")) return { answer: "failed", text: JSON.stringify(output.value) };
    if (typeof output.value !== "string" || tool.case.expect.answer === "result") return { answer: "result", value: output.value };
    return output.value.includes("is open") ? { answer: "waiting", text: output.value } : refusalOf(output.value);
  };
}

async function approve(owner, session) {
  for (;;) {
    const [ticket] = await owner.pending(session);
    if (ticket) return owner.answer("approve", ticket);
  }
}

// This framework cannot pause after a call, so the guard itself waits for the person who looks at a result.
contractOf("Vercel AI SDK", door, (c) => (c.tool === "review" ? { ...c, expect: { ...c.expect, waits: false } } : c));

it("what the user asked for is told once", async () => {
  const owner = await Owner.start();
  try {
    const guard = new Guard({ gateway: new Gateway({ urls: owner.agents, token: await owner.harness() }), server: SERVER });
    let n = 0;
    const model = new MockLanguageModelV4({
      doGenerate: async () =>
        n++ < 2
          ? { content: [{ type: "tool-call", toolCallId: `c${n}`, toolName: "read_ticket", input: '{"id":"1"}' }], finishReason: { unified: "tool-calls" }, usage, warnings: [] }
          : { content: [{ type: "text", text: "Done." }], finishReason: { unified: "stop" }, usage, warnings: [] },
    });
    const tools = guardTools({ read_ticket: aiTool({ description: "It reads.", inputSchema: jsonSchema(SCHEMA), execute: async () => "fine" }) }, guard);
    await generateText({ model, tools, messages: [{ role: "user", content: [{ type: "text", text: "Read ticket 1." }] }], toolApproval: toolApproval(guard), stopWhen: stepCountIs(4) });
    const told = (await owner.records(await guard.session())).filter((r) => r.kind === "context");
    assert.deepEqual(told.map((r) => r.codes), [["by.sdk"]]);
  } finally {
    await owner.close();
  }
});

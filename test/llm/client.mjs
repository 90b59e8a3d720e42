// SPDX-License-Identifier: Apache-2.0

// Asks through the providers' own clients and prints what they make of the answers, one line of JSON each.
// Arguments: the gateway's address, the token, the folder of the clients' modules, then form names.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [base, token, modules, ...forms] = process.argv.slice(2);
const from = createRequire(pathToFileURL(modules + "/x.js"));
const load = async (name) => (await import(pathToFileURL(from.resolve(name)))).default;
const OpenAI = await load("openai");
const Anthropic = await load("@anthropic-ai/sdk");
const openai = new OpenAI({ baseURL: base + "/llm/openai/v1", apiKey: token, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base + "/llm/anthropic", apiKey: token, authToken: null, maxRetries: 0 });

const chat = { model: "m-1", messages: [{ role: "user", content: "Go on" }] };
const resp = { model: "m-1", input: "Go on" };
const msgs = { model: "m-1", max_tokens: 64, messages: [{ role: "user", content: "Go on" }] };

const ofChat = (c) => ({
  text: c.choices[0].message.content ?? "", finish: c.choices[0].finish_reason,
  calls: (c.choices[0].message.tool_calls ?? []).map((k) => [k.id, k.function.name, JSON.parse(k.function.arguments)]),
});
const ofResponse = (r) => ({
  text: r.output.filter((i) => i.type === "message").map((i) => i.content.map((p) => p.text).join("")).join(""), finish: r.status,
  calls: r.output.filter((i) => i.type === "function_call").map((i) => [i.call_id, i.name, JSON.parse(i.arguments)]),
});
const ofMessage = (m) => ({
  text: m.content.filter((b) => b.type === "text").map((b) => b.text).join(""), finish: m.stop_reason,
  calls: m.content.filter((b) => b.type === "tool_use").map((b) => [b.id, b.name, b.input]),
});

const ask = {
  chat: async () => ofChat(await openai.chat.completions.create(chat)),
  "chat stream": async () => ofChat(await openai.chat.completions.stream(chat).finalChatCompletion()),
  responses: async () => ofResponse(await openai.responses.create(resp)),
  "responses stream": async () => ofResponse(await openai.responses.stream(resp).finalResponse()),
  messages: async () => ofMessage(await anthropic.messages.create(msgs)),
  "messages stream": async () => ofMessage(await anthropic.messages.stream(msgs).finalMessage()),
  "feature chat": async () => ofChat(await openai.chat.completions.create({ ...chat, deny_me: 1 })),
  "feature responses": async () => ofResponse(await openai.responses.create({ ...resp, previous_response_id: "deny_me" })),
  "feature messages": async () => ofMessage(await anthropic.messages.create({ ...msgs, deny_me: 1 })),
};

for (const form of forms) {
  let line;
  try {
    line = await ask[form]();
  } catch (e) {
    line = { error: e.constructor.name, status: e.status ?? 0 };
  }
  console.log(JSON.stringify({ form, ...line }));
}

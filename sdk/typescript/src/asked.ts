// SPDX-License-Identifier: Apache-2.0

/** The texts that stand in the role of the user in the messages of a model's call, in the AI SDK's shape or OpenAI's. */
export function asked(messages: unknown): string[] {
  const out: string[] = [];
  for (const m of Array.isArray(messages) ? messages : []) {
    if (m?.role !== "user") continue;
    if (typeof m.content === "string") out.push(m.content);
    else for (const p of Array.isArray(m.content) ? m.content : []) if ((p?.type === "text" || p?.type === "input_text") && typeof p.text === "string") out.push(p.text);
  }
  return out;
}

// SPDX-License-Identifier: Apache-2.0

/** A chat model that says what stands in its script, by how many messages of its own it finds. */

import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { AIMessage } from "@langchain/core/messages";

export class Scripted extends BaseChatModel {
  constructor(script) {
    super({});
    this.script = script;
  }
  _llmType() {
    return "scripted";
  }
  bindTools() {
    return this;
  }
  async _generate(messages) {
    const said = messages.filter((m) => AIMessage.isInstance(m)).length;
    const message = this.script[Math.min(said, this.script.length - 1)];
    return { generations: [{ text: "", message: new AIMessage({ id: message.id, content: message.content, tool_calls: message.tool_calls }) }] };
  }
}

export const calls = (name, args, id) => new AIMessage({ id: `m-${id}`, content: "I call a tool.", tool_calls: [{ name, args, id, type: "tool_call" }] });
export const says = (text) => new AIMessage({ content: text });

// SPDX-License-Identifier: Apache-2.0

/**
 * Vercel AI SDK: the gates around the tools of generateText, streamText and agents.
 *
 *     generateText({ model, tools: guardTools(tools, guard), toolApproval: toolApproval(guard), ... })
 *
 * A call that needs a person becomes a tool-approval-request. After the answer in Sallyport's inbox, answer it with
 * approved: true; doing so without that answer runs nothing. Set experimental_toolApprovalSecret all the same. Tools
 * that a provider executes are not covered.
 */

import { asked } from "./asked.js";
import { Pending, Refused, SallyportError, Withheld } from "./errors.js";
import type { Guard } from "./guard.js";

interface AnyTool {
  execute?: (input: any, options: any) => any;
  [member: string]: any;
}

/** Guards every tool that has an execute function, and refuses provider-executed ones. */
export function guardTools<T extends Record<string, any>>(tools: T, guard: Guard): T {
  const out: Record<string, any> = {};
  for (const [name, tool] of Object.entries(tools)) out[name] = guardTool(name, tool as AnyTool, guard);
  return out as T;
}

function guardTool(name: string, tool: AnyTool, guard: Guard): AnyTool {
  if (tool.type === "provider") throw new TypeError(`sallyport: "${name}" is executed by the provider and cannot be guarded`);
  const execute = tool.execute;
  if (!execute) return tool; // its result comes from the client; there is nothing here to run
  return {
    ...tool,
    execute: async (input: any, options: any) => {
      try {
        await guard.hear(asked(options?.messages));
        return await guard.run(name, input, async (args) => await last(execute(args, options)), { callId: options.toolCallId });
      } catch (err) {
        if (err instanceof Pending) return err.ticket ? `${err.message} Ticket ${err.ticket} is open.` : err.message;
        if (err instanceof Refused || err instanceof Withheld) return err.message;
        throw err;
      }
    },
  };
}

/** The last of the values that a streaming tool yields: what came before is judged with it, and not shown alone. */
async function last(result: any): Promise<unknown> {
  const value = await result;
  if (value === null || typeof value !== "object" || !(Symbol.asyncIterator in value)) return value;
  let end: unknown;
  for await (const v of value) end = v;
  return end;
}

type Status = { type: "not-applicable" } | { type: "denied"; reason: string } | { type: "user-approval"; reason: string };

/** The approval function of generateText and its like. What it lets pass is asked about again when it is executed. */
export function toolApproval(guard: Guard): (o: { toolCall: { toolName: string; toolCallId: string; input: any }; messages?: unknown }) => Promise<any> {
  return async ({ toolCall, messages }): Promise<Status> => {
    try {
      await guard.hear(asked(messages));
      const said = await guard.peek(toolCall.toolName, toolCall.input, toolCall.toolCallId);
      if (said && !said.outcome && said.effect === "ask") return { type: "user-approval", reason: said.ticket ? `${said.hint} Ticket ${said.ticket} is open.` : said.hint };
      if (said && !said.outcome && said.effect !== "allow") return { type: "denied", reason: said.hint || "This call is not permitted." };
    } catch (err) {
      if (!(err instanceof SallyportError)) throw err;
    }
    return { type: "not-applicable" }; // the guard of the tool decides, and says why if it cannot
  };
}

// SPDX-License-Identifier: Apache-2.0

/**
 * OpenAI Agents SDK: the gates around function tools.
 *
 *     new Agent({ name: "desk", tools: guardTools([readTicket, closeTicket], guard) })
 *
 * A call that needs a person interrupts the run. Keep the state and the guard's session; after the answer in
 * Sallyport's inbox, approve the interruption and run the state again. Approving it without that answer runs
 * nothing. Hosted tools and handoffs are not covered.
 */

import { Pending, Refused, Withheld } from "./errors.js";
import type { Guard } from "./guard.js";
import { decode, isObject, type Json } from "./wire.js";

interface FunctionTool {
  type: string;
  name: string;
  invoke: (context: any, input: string, details?: any) => Promise<any>;
  needsApproval: (context: any, args: any, callId?: string) => Promise<boolean>;
}

/** Guards every tool of a list. It throws TypeError for one that cannot be guarded, such as a hosted tool. */
export function guardTools<T>(tools: T[], guard: Guard): T[] {
  return tools.map((t) => guardTool(t as unknown as FunctionTool, guard) as unknown as T);
}

function guardTool(tool: FunctionTool, guard: Guard): FunctionTool {
  if (tool.type !== "function") throw new TypeError(`sallyport: "${tool.name}" is executed elsewhere and cannot be guarded`);
  return {
    ...tool,
    invoke: async (context, input, details) => {
      let args: Json;
      try {
        args = decode(input || "{}");
      } catch {
        return "The arguments are no JSON, so the call was not run.";
      }
      if (!isObject(args)) return "The arguments are no object, so the call was not run.";
      try {
        return await guard.run(tool.name, args, (decided) => tool.invoke(context, JSON.stringify(decided), details), { callId: details?.toolCall?.callId });
      } catch (err) {
        if (err instanceof Pending) return err.ticket ? `${err.message} Ticket ${err.ticket} is open.` : err.message;
        if (err instanceof Refused || err instanceof Withheld) return err.message;
        throw err;
      }
    },
    needsApproval: async (context, args, callId) => {
      if (await tool.needsApproval(context, args, callId)) return true;
      if (!callId || !isObject(args)) return false; // the guard asks again when the tool is invoked
      const said = await guard.peek(tool.name, args, callId);
      return said !== undefined && (said.outcome ? said.outcome.status === "held" : said.effect === "ask");
    },
  };
}

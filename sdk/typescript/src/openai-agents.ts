// SPDX-License-Identifier: Apache-2.0

/**
 * OpenAI Agents SDK: the gates around function tools.
 *
 *     new Agent({ name: "desk", tools: guardTools([readTicket, closeTicket], guard) })
 *     const runner = new Runner();
 *     tellRequests(runner, guard); // what the user asked for, which policies may look at
 *
 * A call that needs a person interrupts the run. Keep the state and the guard's session; after the answer in
 * Sallyport's inbox, approve the interruption and run the state again. Approving it without that answer runs
 * nothing. Hosted tools and handoffs are not covered.
 */

import { asked } from "./asked.js";
import { Pending, Refused, Withheld } from "./errors.js";
import type { Guard } from "./guard.js";
import { decode, isObject, type Json } from "./wire.js";

interface FunctionTool {
  type: string;
  name: string;
  invoke: (context: any, input: string, details?: any) => Promise<any>;
  needsApproval: (context: any, args: any, callId?: string) => Promise<boolean>;
}

const heard = new WeakMap<Guard, Promise<void>>();

/**
 * Tells each text in the role of the user once, when an agent begins: of all runs of a Runner, or of one Agent's. A
 * tool of the guard waits until it is told.
 */
export function tellRequests(runs: { on(event: "agent_start", begins: (context: any, agent: any, turnInput?: any) => void): unknown }, guard: Guard): void {
  runs.on("agent_start", (_context, _agent, turnInput) => {
    // What cannot be told is missing in what policies look at, so that less is permitted, never more.
    heard.set(guard, (heard.get(guard) ?? Promise.resolve()).then(() => guard.hear(asked(turnInput))).catch(() => {}));
  });
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
        await heard.get(guard);
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
      await heard.get(guard);
      const said = await guard.peek(tool.name, args, callId);
      return said !== undefined && (said.outcome ? said.outcome.status === "held" : said.effect === "ask");
    },
  };
}

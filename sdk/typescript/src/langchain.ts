// SPDX-License-Identifier: Apache-2.0

/**
 * LangChain 1.x: the gates around every tool call of an agent.
 *
 *     createAgent({ model, tools, middleware: [..., sallyportMiddleware({ gateway, server: "crm" })], checkpointer })
 *
 * It has to be the last middleware that wraps tool calls: one behind it that changes a call, answers it or repeats
 * it makes the call throw Misplaced. A call that needs a person interrupts the graph; new Command({ resume: true })
 * lets it look for the answer, in this process or another one that shares the checkpointer. What the resume says
 * is not an approval: only Sallyport's inbox gives one.
 */

import { type Command, interrupt, isCommand, isGraphInterrupt } from "@langchain/langgraph";
import { AIMessage, createMiddleware, HumanMessage, ToolMessage } from "langchain";
import { z } from "zod";
import type { Gateway } from "./client.js";
import { Misplaced, Pending, Refused, SallyportError, ToolFailed, Unavailable, Withheld } from "./errors.js";
import { callKey, Guard, Outcome, Stored } from "./guard.js";
import { isObject, type Json, Problem, same } from "./wire.js";

export interface MiddlewareOptions {
  gateway: Gateway;
  /** The name under which policy knows the tools. */
  server: string;
  /** The session of the conversation; by default one is opened and kept with its state. */
  session?: string;
  /** What happens when a person is asked: pause the graph, which needs a checkpointer, or tell the model. */
  approvals?: "interrupt" | "message";
  /** Milliseconds that a call waits for a person before that. */
  wait?: number;
  roots?: string[];
  /** Messages whose text passes gate two as the result of a tool: user_message before the model, answer before the user. */
  screen?: ("input" | "output")[];
}

const stateSchema = z.object({ _sallyportSession: z.string().default(""), _sallyportTold: z.array(z.string()).default([]) });

/** Guards the tools of an agent made by createAgent. */
export function sallyportMiddleware(o: MiddlewareOptions) {
  const guard = new Guard({ ...o, paused: isGraphInterrupt });
  return createMiddleware({
    name: "Sallyport",
    stateSchema,
    beforeAgent: async (state) => begin(o, guard, state as unknown as State),
    afterModel: async (state) => heard(o, guard, state as unknown as State),
    wrapToolCall: async (request, handler) => wrapped(o, guard, request, handler as unknown as Handler),
  });
}

interface State {
  messages: any[];
  _sallyportSession: string;
  _sallyportTold: string[];
}

type Handler = (request: any) => Promise<ToolMessage | Command>;

function textOf(message: { content: unknown }): string {
  if (typeof message.content === "string") return message.content;
  if (!Array.isArray(message.content)) return "";
  return message.content
    .map((b: any) => (typeof b === "string" ? b : [b.reasoning, b.thinking, b.text].filter((t) => typeof t === "string").join("\n")))
    .filter(Boolean)
    .join("\n");
}

/** Tells the session what the user asked for: what stands in the input, not what comes up later in a run. */
async function begin(o: MiddlewareOptions, guard: Guard, state: State): Promise<any> {
  const told = state._sallyportTold ?? [];
  const news = state.messages.filter((m) => HumanMessage.isInstance(m) && !told.includes(m.id ?? "") && !m.additional_kwargs?.lc_source);
  let session = o.session ?? state._sallyportSession;
  if (session && !o.session && news.length > 0 && !(await alive(o.gateway, session))) session = "";
  if (!session) {
    try {
      session = await o.gateway.openSession({ roots: o.roots });
    } catch {
      throw new Unavailable("sallyport: no session can be opened");
    }
  }
  const changed: HumanMessage[] = [];
  for (const m of news) {
    let text = textOf(m);
    if (text && o.screen?.includes("input")) {
      const passed = await screened(guard, session, "user_message", m.id ?? "", text);
      if (passed !== text) changed.push(new HumanMessage({ content: (text = passed), id: m.id }));
    }
    if (text) await guard.say("user_request", text, session);
  }
  const update: any = { _sallyportSession: session, _sallyportTold: [...told, ...news.map((m) => m.id).filter(Boolean)] };
  if (changed.length > 0) update.messages = changed;
  return update;
}

/** Whether the session of an earlier turn still takes what is said in it. */
async function alive(gateway: Gateway, session: string): Promise<boolean> {
  try {
    await gateway.say(session, "reasoning", "The conversation goes on.");
    return true;
  } catch (err) {
    if (err instanceof Problem && err.status === 404) return false;
    throw new Unavailable("sallyport: the session cannot be used");
  }
}

/** Records what the model said where no tool call carries it, and screens the answer. */
async function heard(o: MiddlewareOptions, guard: Guard, state: State): Promise<any> {
  const last = state.messages.at(-1);
  const session = o.session ?? state._sallyportSession;
  if (!last || !AIMessage.isInstance(last) || last.tool_calls?.length || !session) return undefined;
  const text = textOf(last);
  if (!text) return undefined;
  if (!o.screen?.includes("output")) {
    await guard.say("reasoning", text, session);
    return undefined;
  }
  const passed = await screened(guard, session, "answer", last.id ?? "", text);
  return passed === text ? undefined : { messages: [new AIMessage({ content: passed, id: last.id })] };
}

async function screened(guard: Guard, session: string, tool: string, id: string, text: string): Promise<string> {
  try {
    const got: unknown = await guard.run(tool, {}, () => text, { callId: callKey(tool, id), session });
    return typeof got === "string" ? got : JSON.stringify(got);
  } catch (err) {
    if (err instanceof Refused || err instanceof Withheld || err instanceof Pending) return `[withheld: ${err.message}]`;
    throw err;
  }
}

async function wrapped(o: MiddlewareOptions, guard: Guard, request: any, handler: Handler): Promise<ToolMessage | Command> {
  const { toolCall, state } = request;
  const session = o.session ?? state._sallyportSession;
  if (!session) throw new Misplaced("sallyport: the agent began without the middleware");
  const asked = state.messages.findLast((m: any) => AIMessage.isInstance(m) && m.tool_calls?.some((c: any) => c.id === toolCall.id));
  const call = { callId: callKey(asked?.id ?? "", toolCall.id ?? ""), reasoning: asked ? textOf(asked) : "", session };
  for (;;) {
    try {
      const got = await guard.drive(toolCall.name, toolCall.args, async (args) => outcome(await once(request, handler, args)), call);
      return got instanceof Stored ? message(toolCall, got.value) : (got as ToolMessage | Command);
    } catch (err) {
      if (!(err instanceof SallyportError) || err instanceof Misplaced || err instanceof ToolFailed) throw err;
      let text = err.message;
      if (err instanceof Pending) {
        if (o.approvals !== "message") {
          interrupt({ sallyport: "approval", ticket: err.ticket, action: err.action, expires: err.expires, message: text, tool: `${o.server}/${toolCall.name}`, ran: err.ran });
          continue;
        }
        if (err.ticket) text += ` Ticket ${err.ticket} is open.`;
      }
      return new ToolMessage({ content: text, name: toolCall.name, tool_call_id: toolCall.id ?? "", status: "error" });
    }
  }
}

/** Runs the tool with exactly the decided arguments, once; what another middleware does to that is refused. */
async function once(request: any, handler: Handler, args: Json): Promise<ToolMessage | Command> {
  const tool = request.tool;
  const toolCall = { ...request.toolCall, args };
  if (!tool) return handler({ ...request, toolCall });
  let ran = false;
  const single = Object.create(tool, {
    invoke: {
      value: async (given: any, config: any) => {
        if (ran || !same(given?.args, args)) throw new Misplaced("sallyport: the guard must be the last middleware that wraps tool calls");
        ran = true;
        return tool.invoke(given, config);
      },
    },
  });
  const result = await handler({ ...request, toolCall, tool: single });
  if (!ran) throw new Misplaced("sallyport: the guard must be the last middleware that wraps tool calls");
  return result;
}

/** What is reported of a tool's answer: everything of it that a model or a later step may read. */
function outcome(result: ToolMessage | Command): Outcome {
  if (ToolMessage.isInstance(result)) {
    const m = result as ToolMessage;
    const copy = (value: Json, artifact?: Json) => new ToolMessage({ content: content(value), artifact, name: m.name, tool_call_id: m.tool_call_id, id: m.id, status: m.status });
    if (m.artifact === undefined || m.artifact === null) return new Outcome(m.content, m, m.status === "error", (v) => copy(v));
    return new Outcome({ content: m.content, artifact: m.artifact }, m, m.status === "error", (v) => (isObject(v) && v.content !== undefined ? copy(v.content as Json, v.artifact) : copy(v)));
  }
  const update: any = isCommand(result) ? (result as any).update : result;
  const messages: any[] = Array.isArray(update?.messages) ? update.messages : [];
  const first = messages.find((m) => ToolMessage.isInstance(m));
  const shown = update && typeof update === "object" ? { ...update, messages: messages.map(textOf) } : String(update);
  return new Outcome(shown, result, false, (v) => new ToolMessage({ content: content(v), name: first?.name, tool_call_id: first?.tool_call_id ?? "" }));
}

function content(value: Json): any {
  const blocks = Array.isArray(value) && value.every((v) => isObject(v));
  return typeof value === "string" || blocks ? value : JSON.stringify(value);
}

function message(toolCall: any, stored: Json): ToolMessage {
  const parts = isObject(stored) && Object.keys(stored).sort().join() === "artifact,content" ? stored : { content: stored };
  return new ToolMessage({ content: content(parts.content as Json), artifact: parts.artifact, name: toolCall.name, tool_call_id: toolCall.id ?? "" });
}

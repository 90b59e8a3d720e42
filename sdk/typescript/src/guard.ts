// SPDX-License-Identifier: Apache-2.0

/**
 * The two gates around one call: ask, execute what the answer says, report, return what may be seen. Nothing but
 * an allow with its arguments leads to an execution, and nothing but a release leads to a result.
 */

import { createHash, randomBytes } from "node:crypto";
import { Gateway, type Reply } from "./client.js";
import { Pending, Refused, ToolFailed, Unavailable, Withheld } from "./errors.js";
import { type Action, decode, type Json, type JsonObject, plain, Problem, read, readAction, readRelease, type Release, same, Unclear } from "./wire.js";

export const NOT_ASKED = "Sallyport could not be asked, so the call was not run. Do not try to get around it.";
const NOT_RELEASED = "The call was executed, but its result is withheld because it could not be recorded. Do not repeat it.";
const PAUSED = { sallyport: "paused" };
const BEAT = 120_000; // ms between two signs of life of a long execution; the gateway gives up after ten minutes

const LOOK = 500; // ms between two looks at a result that a person has before him, where the gateway does not wait with us

/** What an execution came to. `restore` turns a changed value back into what the caller expects. */
export class Outcome {
  constructor(readonly value: unknown, readonly original: unknown, readonly failed = false, readonly restore: (v: Json) => unknown = (v) => v) {}
}

/** A result from an earlier execution of the same call, as it was released. */
export class Stored {
  constructor(readonly value: Json) {}
}

export interface GuardOptions {
  gateway: Gateway;
  /** The name under which policy knows the tools' source, without a slash. */
  server: string;
  /** The session of the conversation; opened at first use unless it is given. */
  session?: string;
  userRequest?: string;
  roots?: string[];
  /** Milliseconds that a call waits for a person before it throws Pending. */
  wait?: number;
  /** Recognises what a tool throws to pause itself. */
  paused?: (err: unknown) => boolean;
}

export interface CallOptions {
  /** The same for every attempt at one call, which never runs twice. */
  callId?: string;
  reasoning?: string;
  session?: string;
  wait?: number;
}

/** A call id that two executions of one call share and no other call has; at most 256 bytes. */
export function callKey(...parts: string[]): string {
  const name = parts.filter(Boolean).join(":");
  return /^[\x20-\x7e]{1,200}$/.test(name) ? name : createHash("sha256").update(name).digest("hex");
}

/** The form in which a value is reported, whether something of it is out of sight, and the way back. */
function shape(value: unknown): { sent: Json; hidden: boolean; back: (v: Json) => Json } {
  let written: string | undefined;
  try {
    written = JSON.stringify(value) ?? "null";
  } catch {
    return { sent: String(value).toWellFormed(), hidden: true, back: (v) => v };
  }
  const sent = JSON.parse(written) as Json;
  if (plain(sent)) return { sent, hidden: false, back: (v) => v };
  const back = (v: Json): Json => {
    try {
      return typeof v === "string" ? decode(v) : v;
    } catch {
      return v;
    }
  };
  return { sent: written.toWellFormed(), hidden: false, back };
}

interface Thrown {
  err: unknown;
  paused: boolean;
}

export class Guard {
  readonly gateway: Gateway;
  readonly server: string;
  #session: Promise<string> | undefined;
  #told = new Set<string>();

  constructor(readonly options: GuardOptions) {
    if (!options.server || options.server.includes("/")) throw new TypeError("sallyport: server must name the tools' source, without a slash");
    this.gateway = options.gateway;
    this.server = options.server;
    if (options.session) this.#session = Promise.resolve(options.session);
  }

  /** The id of the session; keep it to go on in another process. */
  session(): Promise<string> {
    this.#session ??= this.gateway.openSession(this.options).catch(() => {
      this.#session = undefined;
      throw new Unavailable(NOT_ASKED);
    });
    return this.#session;
  }

  /** Tells the session what the user said or the model reasoned. */
  async say(kind: "user_request" | "reasoning", text: string, session?: string): Promise<void> {
    try {
      await this.gateway.say(session ?? (await this.session()), kind, text);
    } catch {
      throw new Unavailable(NOT_ASKED);
    }
    if (kind === "user_request") this.#told.add(text);
  }

  /**
   * Tells the session what the user said, each text once, as adapters find it in their framework's context. It does
   * nothing for a guard that was given userRequest.
   */
  async hear(texts: string[]): Promise<void> {
    for (const text of texts) {
      if (this.options.userRequest || text === "" || this.#told.has(text)) continue;
      await this.say("user_request", text.slice(0, 200_000));
      this.#told.add(text);
    }
  }

  /**
   * Runs execute with the arguments that were decided on, and returns what may be seen of its result. It throws
   * Refused, Pending, Withheld, ToolFailed, or what execute threw.
   */
  async run<T>(tool: string, args: object, execute: (args: any) => Promise<T> | T, o: CallOptions = {}): Promise<T> {
    const got = await this.drive(tool, args, execute, o);
    return (got instanceof Stored ? got.value : got) as T;
  }

  /** As run, but a repeated call is told apart as Stored, and execute may return an Outcome. */
  async drive(tool: string, args: object, execute: (args: any) => unknown, o: CallOptions = {}): Promise<unknown> {
    const until = performance.now() + (o.wait ?? this.options.wait ?? 0);
    const session = o.session ?? (await this.session());
    const id = o.callId ?? `call-${randomBytes(16).toString("hex")}`;
    const body: JsonObject = { session, call_id: id, tool: { server: this.server, name: tool }, arguments: args as JsonObject, executor: randomBytes(16).toString("hex") };
    if (o.reasoning) body.reasoning = o.reasoning.toWellFormed().slice(0, 100_000);
    let ran = ""; // the action that was executed here, whose result a person looks at
    for (let n = 0; ; ) {
      let a: Action;
      try {
        a = await this.#ask({ ...body, call_id: n === 0 ? id : `${id}~${n}` });
      } catch (err) {
        if (ran) throw new Withheld(NOT_RELEASED, ran);
        throw err;
      }
      if (ran && !a.outcome) throw new Withheld(NOT_RELEASED, ran);
      if (a.outcome) {
        if (a.outcome.status === "released" && same(a.outcome.result, PAUSED)) n++; // going on with it is an action of its own
        else if (a.outcome.status === "held" && performance.now() < until) await this.#look(a.id, until);
        else return new Stored(released(a.id, a.outcome));
        continue;
      }
      if (a.effect === "ask") {
        if (performance.now() >= until) throw new Pending(a.hint || "A person has to approve this call.", a.id, a.ticket, a.expires);
        await this.#wait(a.id, until);
        continue;
      }
      if (a.effect !== "allow" || !a.arguments) throw new Refused(a.hint || "This call is not permitted.", a.id);
      const out = await this.#execute(a.id, a.arguments, execute);
      const done = await this.#report(a.id, out.outcome);
      if (out.thrown?.paused) throw out.thrown.err;
      if (done.release.status === "held" && performance.now() < until) {
        ran = a.id;
        await this.#look(a.id, until);
        continue;
      }
      const value = released(a.id, done.release);
      if (done.unchanged) {
        if (out.thrown) throw out.thrown.err;
        return out.outcome.original;
      }
      const back = done.back(value);
      if (out.thrown) throw new ToolFailed(typeof back === "string" ? back : JSON.stringify(back), a.id);
      return out.outcome.restore(back);
    }
  }

  /** What gate one says of a call that will be executed through run; undefined if it says nothing. */
  async peek(tool: string, args: object, callId: string): Promise<Action | undefined> {
    try {
      return await this.#ask({ session: await this.session(), call_id: callId, tool: { server: this.server, name: tool }, arguments: args as JsonObject });
    } catch {
      return undefined;
    }
  }

  async #ask(body: JsonObject): Promise<Action> {
    let reply: Reply | undefined;
    try {
      reply = await this.gateway.send("POST", "/v1/actions", body);
    } catch {
      throw new Refused("The arguments are no JSON, so the call was not run.");
    }
    if (!reply) throw new Unavailable(NOT_ASKED);
    try {
      return readAction(reply.status, reply.body);
    } catch (err) {
      if (err instanceof Problem && ["conflict", "malformed", "too-large"].includes(err.code)) {
        throw new Refused(`Sallyport refused the request, so the call was not run: ${err.detail || err.code}.`);
      }
      throw new Unavailable(NOT_ASKED);
    }
  }

  async #wait(id: string, until: number): Promise<void> {
    const ms = Math.ceil(Math.max(50, Math.min(until - performance.now(), 50_000)));
    const reply = await this.gateway.send("GET", `/v1/actions/${id}?wait=${ms}ms`, undefined, ms);
    if (!reply || (reply.status !== 200 && reply.status !== 202)) throw new Unavailable(NOT_ASKED);
  }

  /** Waits for the person who has a result before him. What it comes to is asked for after it. */
  async #look(id: string, until: number): Promise<void> {
    const began = performance.now();
    const ms = Math.ceil(Math.max(50, Math.min(until - began, 50_000)));
    const reply = await this.gateway.send("GET", `/v1/actions/${id}?wait=${ms}ms`, undefined, ms);
    if (reply?.status !== 200 && performance.now() - began < LOOK) await new Promise((done) => setTimeout(done, Math.min(LOOK, ms)));
  }

  async #execute(id: string, args: JsonObject, execute: (args: any) => unknown): Promise<{ outcome: Outcome; thrown?: Thrown }> {
    const beat = setInterval(() => void this.gateway.send("POST", `/v1/actions/${id}/heartbeat`, {}), BEAT);
    beat.unref();
    try {
      const value = await execute(args);
      return { outcome: value instanceof Outcome ? value : new Outcome(value, value) };
    } catch (err) {
      const paused = this.options.paused?.(err) ?? false;
      return { outcome: new Outcome(paused ? PAUSED : String(err), undefined, true), thrown: { err, paused } };
    } finally {
      clearInterval(beat);
    }
  }

  async #report(id: string, out: Outcome): Promise<{ release: Release; unchanged: boolean; back: (v: Json) => Json }> {
    const { sent, hidden, back } = shape(out.value);
    const body: JsonObject = { status: out.failed ? "failed" : "done", result: sent };
    if (hidden) body.opaque = true;
    const reply = await this.gateway.send("POST", `/v1/actions/${id}/outcome`, body);
    if (!reply) throw new Withheld(NOT_RELEASED, id);
    try {
      const release = readRelease(read(reply.status, reply.body));
      return { release, unchanged: same(release.result, sent), back };
    } catch (err) {
      if (err instanceof Problem || err instanceof Unclear) throw new Withheld(NOT_RELEASED, id);
      throw err;
    }
  }
}

function released(id: string, r: Release): Json {
  if (r.status === "held") throw new Pending(r.hint || "A person looks at the result first. Do not repeat the call.", id, r.ticket, "", true);
  if (r.status !== "released") throw new Withheld(r.hint || "The call was executed, but its result is withheld. Do not repeat it.", id);
  return r.result;
}

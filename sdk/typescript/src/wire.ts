// SPDX-License-Identifier: Apache-2.0

/** The bytes of the action protocol, read strictly: what is not understood is not an allow. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

const MAX_DEPTH = 60;

/** An answer that cannot be relied on. */
export class Unclear extends Error {}

/** A refusal of the gateway itself (RFC 9457). */
export class Problem extends Error {
  constructor(readonly status: number, readonly code: string, readonly detail: string) {
    super(detail ? `${code}: ${detail}` : code);
  }
}

/** What gate two says of an outcome. `result` is set only if `status` is "released". */
export interface Release {
  status: string;
  hint: string;
  ticket: string;
  result: Json;
}

/** What gate one says of a call. `arguments` are set only for "allow" without an outcome. */
export interface Action {
  id: string;
  effect: string;
  hint: string;
  ticket: string;
  expires: string;
  arguments: JsonObject | undefined;
  outcome: Release | undefined;
}

/** Reads JSON. JSON.parse lets the last of two equal names win, so names are looked at once more. */
export function decode(text: string): Json {
  const value = JSON.parse(text) as Json;
  const open: (Set<string> | null)[] = [];
  for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[[\]{}]/g)) {
    const first = token[0][0];
    if (first === "{" || first === "[") {
      if (open.push(first === "{" ? new Set() : null) > MAX_DEPTH + 4) throw new SyntaxError("nested too deeply");
    } else if (first === "}" || first === "]") {
      open.pop();
    } else if (token[1] !== undefined) {
      const name = JSON.parse(token[0].slice(0, token[0].length - token[1].length)) as string;
      const names = open.at(-1);
      if (!names || names.has(name)) throw new SyntaxError("a name stands twice in one object");
      names.add(name);
    }
  }
  return value;
}

/** Whether the gateway takes the value as it is: exact numbers, text, and names that stay apart. */
export function plain(value: Json, depth = 0): boolean {
  if (depth > MAX_DEPTH) return false;
  if (value === null || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value) && (!Number.isInteger(value) || Math.abs(value) <= 2 ** 53);
  if (typeof value === "string") return wellFormed(value);
  if (Array.isArray(value)) return value.every((v) => plain(v, depth + 1));
  const names = Object.keys(value);
  return new Set(names.map((n) => n.toLowerCase())).size === names.length && names.every((n) => wellFormed(n) && plain(value[n] as Json, depth + 1));
}

function wellFormed(s: string): boolean {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(s);
}

/** Whether two values are the same JSON, whatever the order of their names. */
export function same(a: Json | undefined, b: Json | undefined): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(v: Json | undefined): unknown {
  if (Array.isArray(v)) return v.map(sorted);
  if (v !== null && typeof v === "object") return Object.keys(v).sort().map((k) => [k, sorted(v[k])]);
  return v;
}

export function isObject(v: Json | undefined): v is JsonObject {
  return v !== null && typeof v === "object" && !Array.isArray(v);
}

function object(v: Json | undefined, what: string): JsonObject {
  if (!isObject(v)) throw new Unclear(`${what} is no object`);
  return v;
}

function text(o: JsonObject, name: string): string {
  const v = Object.hasOwn(o, name) ? o[name] : "";
  if (typeof v !== "string") throw new Unclear(`member "${name}" is no text`);
  return v;
}

function decision(o: JsonObject): { effect: string; hint: string } {
  const d = object(o.decision, "the decision");
  const effect = text(d, "effect");
  if (!["allow", "ask", "deny", "quarantine"].includes(effect)) throw new Unclear("the effect is none that this version knows");
  return { effect, hint: text(d, "hint") };
}

function approval(o: JsonObject): { ticket: string; expires: string } {
  const a = object(o.approval ?? {}, "the approval");
  return { ticket: text(a, "id"), expires: text(a, "expires") };
}

/** Reads an answer. It throws Problem for a refusal of the gateway, Unclear for anything else but 200 and 202. */
export function read(status: number, body: string): JsonObject {
  let value: Json;
  try {
    value = decode(body);
  } catch {
    throw new Unclear(`an answer with status ${status} that is no JSON`);
  }
  if (status === 200 || status === 202) return object(value, "the answer");
  if (isObject(value) && typeof value.code === "string") throw new Problem(status, value.code, typeof value.detail === "string" ? value.detail : "");
  throw new Unclear(`status ${status}`);
}

export function readNamed(status: number, body: string): string {
  const id = text(read(status, body), "id");
  if (!id) throw new Unclear("the answer names no id");
  return id;
}

export function readRelease(o: JsonObject): Release {
  const { effect, hint } = decision(o);
  const status = text(o, "status");
  if (!["released", "withheld", "held"].includes(status)) throw new Unclear("the status of the release is none that this version knows");
  if (status === "released" && (effect !== "allow" || !Object.hasOwn(o, "result"))) throw new Unclear("a release without result, or against its decision");
  return { status, hint, ticket: approval(o).ticket, result: status === "released" ? (o.result as Json) : null };
}

export function readAction(status: number, body: string): Action {
  const o = read(status, body);
  const { effect, hint } = decision(o);
  const id = text(o, "id");
  const state = text(o, "status");
  const outcome = o.outcome !== undefined && o.outcome !== null ? readRelease(object(o.outcome, "the outcome")) : undefined;
  let args: JsonObject | undefined;
  if (!outcome && effect === "allow") {
    if (status !== 200 || state !== "intended" || !id) throw new Unclear("an allow without an intent");
    args = object(o.arguments, "arguments");
  }
  if (!outcome && effect === "ask" && (state !== "asked" || !id)) throw new Unclear("an ask that is no question");
  return { id, effect, hint, ...approval(o), arguments: args, outcome };
}

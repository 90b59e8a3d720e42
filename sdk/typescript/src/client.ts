// SPDX-License-Identifier: Apache-2.0

/**
 * The connection to one or several gateways. A request goes to them in turn until one answers, with the same
 * body: the call id and the name of the execution in it make sure that a repeated request is not a repeated
 * action. Redirections are not followed.
 */

import { readFileSync } from "node:fs";
import { type Json, type JsonObject, readNamed, Unclear } from "./wire.js";

export interface GatewayOptions {
  /** One address or several, tried in order. Default: http://127.0.0.1:7117 */
  urls?: string | string[];
  /** The token of the harness; only if it comes from a place that no tool of the agent can read. */
  token?: string;
  /** A file that holds the token; read once. */
  tokenFile?: string;
  /** Milliseconds per request. Default: 30,000. */
  timeout?: number;
  /** How often all gateways are tried. Default: 3. */
  rounds?: number;
  /** Milliseconds before the second round, doubled for each one after. Default: 200. */
  pause?: number;
  /** Takes plain HTTP beyond loopback. */
  plainHttp?: boolean;
}

export interface Reply {
  status: number;
  body: string;
}

const RETRIED = new Set([421, 429, 500, 502, 503, 504]);

export class Gateway {
  readonly urls: string[];
  readonly #token: string;
  readonly #timeout: number;
  readonly #rounds: number;
  readonly #pause: number;

  constructor(o: GatewayOptions) {
    if (!o.token === !o.tokenFile) throw new TypeError("sallyport: one of token and tokenFile is required");
    this.urls = [o.urls ?? "http://127.0.0.1:7117"].flat().map((u) => address(u, o.plainHttp ?? false));
    if (this.urls.length === 0) throw new TypeError("sallyport: no gateway");
    this.#token = o.token ?? readFileSync(o.tokenFile as string, "utf8").trim();
    this.#timeout = o.timeout ?? 30_000;
    this.#rounds = o.rounds ?? 3;
    this.#pause = o.pause ?? 200;
  }

  /** Sends a request; undefined means that no gateway answered. `wait` is what the gateway may take longer, in ms. */
  async send(method: string, path: string, body?: JsonObject, wait = 0): Promise<Reply | undefined> {
    const content = body === undefined ? undefined : JSON.stringify(body);
    let last: Reply | undefined;
    for (let round = 0; round < this.#rounds; round++) {
      if (round > 0) await new Promise((done) => setTimeout(done, this.#pause * 2 ** (round - 1)));
      for (const url of this.urls) {
        const reply = await this.#try(method, url + path, content, wait);
        last = reply ?? last;
        if (reply && !RETRIED.has(reply.status)) return reply;
      }
    }
    return last;
  }

  async #try(method: string, url: string, content: string | undefined, wait: number): Promise<Reply | undefined> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.#token}` };
    if (content !== undefined) headers["content-type"] = "application/json";
    try {
      const got = await fetch(url, { method, headers, body: content, redirect: "manual", signal: AbortSignal.timeout(this.#timeout + wait) });
      return { status: got.status, body: await got.text() };
    } catch {
      return undefined;
    }
  }

  /** Opens a session and returns its id. What the user asked for needs the scope host. */
  async openSession(o: { userRequest?: string; roots?: string[]; cwd?: string } = {}): Promise<string> {
    const body: JsonObject = {};
    if (o.userRequest) body.user_request = o.userRequest;
    if (o.roots?.length) body.roots = o.roots;
    if (o.cwd) body.cwd = o.cwd;
    return named(await this.send("POST", "/v1/sessions", body));
  }

  /** Adds what the user said (user_request), the model reasoned (reasoning), or labelled content. */
  async say(session: string, kind: "user_request" | "reasoning" | "content", text: string, labels: { [name: string]: Json } = {}): Promise<void> {
    named(await this.send("POST", `/v1/sessions/${session}/context`, { kind, text, ...labels }));
  }
}

function named(reply: Reply | undefined): string {
  if (!reply) throw new Unclear("no gateway answers");
  return readNamed(reply.status, reply.body);
}

function address(url: string, plain: boolean): string {
  const u = new URL(url);
  if (!["http:", "https:"].includes(u.protocol) || u.username || u.search || u.hash) throw new TypeError(`sallyport: gateway "${url}" is no plain address`);
  const loopback = u.hostname === "localhost" || u.hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(u.hostname);
  if (u.protocol === "http:" && !plain && !loopback) throw new TypeError(`sallyport: gateway "${url}" would get the token in the clear; use https`);
  return url.replace(/\/+$/, "");
}

// SPDX-License-Identifier: Apache-2.0

// The operator API as the pages use it. A login has two halves: the cookie, which scripts cannot read, and the
// key, which this origin keeps and sends in a header; see docs/api/operator.yaml.

import type * as T from "./types";

const keyHeader = "Sallyport-Console";
const keyName = "sallyport.key";

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly remedy: string,
  ) {
    super(message);
  }
}

let key: string | null = localStorage.getItem(keyName);
let onGone: () => void = () => {};

/** whenLoggedOut says what to do when a login no longer holds. */
export const whenLoggedOut = (f: () => void) => (onGone = f);
export const mayBeLoggedIn = () => key !== null;

function forget(): void {
  key = null;
  localStorage.removeItem(keyName);
}

interface Options {
  body?: unknown;
  match?: number; // revision that an answer rests on
  bearer?: string;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

async function send(method: string, path: string, o: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { ...o.headers };
  if (o.bearer) headers["Authorization"] = `Bearer ${o.bearer}`;
  else if (key) headers[keyHeader] = key;
  if (o.body !== undefined) headers["Content-Type"] = "application/json";
  if (o.match !== undefined) headers["If-Match"] = `"${o.match}"`;
  let res: Response;
  try {
    const init: RequestInit = { method, headers, credentials: "same-origin", redirect: "error", cache: "no-store" };
    if (o.body !== undefined) init.body = JSON.stringify(o.body);
    if (o.signal) init.signal = o.signal;
    res = await fetch(path, init);
  } catch (e) {
    if (o.signal?.aborted) throw e;
    throw new Refused(0, "unreachable", "The owner does not answer.", "Is \"sallyport up\" still running?");
  }
  if (res.ok) return res;
  const p = (await res.json().catch(() => ({}))) as Partial<T.Problem>;
  if (res.status === 401 && !o.bearer && !path.startsWith("/v1/tickets/")) {
    forget();
    onGone();
  }
  throw new Refused(res.status, p.code ?? "", p.detail || p.title || `status ${res.status}`, p.remedy ?? "");
}

const json = async <R>(method: string, path: string, o?: Options) => (await (await send(method, path, o)).json()) as R;
export const get = <R>(path: string, signal?: AbortSignal) => json<R>("GET", path, signal ? { signal } : {});
export const post = <R>(path: string, body: unknown = {}, match?: number) => json<R>("POST", path, match === undefined ? { body } : { body, match });

export const remove = <R>(path: string) => json<R>("DELETE", path);

/** bytes fetches a file of the log. */
export async function bytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await send("GET", path)).arrayBuffer());
}

/** query is a path with those parameters that say something. */
export function query(path: string, params: Record<string, string | number | undefined>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v !== undefined && v !== "") q.set(k, String(v));
  const s = q.toString();
  return s ? `${path}?${s}` : path;
}

export async function login(token: string): Promise<T.Me> {
  const me = await json<T.Me>("POST", "/v1/login", { body: {}, bearer: token });
  key = me.key;
  localStorage.setItem(keyName, me.key);
  return me;
}

/** signInAt is where the identity provider's sign-in begins; quiet asks the person nothing. */
export const signInAt = (quiet = false) => `/console/sign-in${quiet ? "?quiet=1" : ""}`;

/** signInAnewAt asks for a sign-in of one of the levels, and no older than so many seconds. */
export const signInAnewAt = (acr: string, maxAge?: number) => query("/console/sign-in", { acr, max_age: maxAge });
export const loginOptions = () => get<{ sign_in: string }>("/v1/login/options");

export async function logout(): Promise<void> {
  try {
    await post("/v1/logout");
  } finally {
    forget();
    onGone();
  }
}

/** part is a path element; ids hold no slash, and whatever else comes is encoded. */
export const part = encodeURIComponent;

/** stream calls on for every event after the index that last gives, and comes again until signal ends it. */
export async function stream(signal: AbortSignal, on: (r: T.Rec) => void, state: (live: boolean) => void): Promise<void> {
  let last = "";
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 15_000)) {
    try {
      const res = await send("GET", "/v1/stream", { signal, headers: last ? { "Last-Event-ID": last } : {} });
      state(true);
      pause = 500;
      for await (const e of events(res)) {
        last = e.id;
        on(JSON.parse(e.data) as T.Rec);
      }
    } catch (e) {
      if (signal.aborted || (e instanceof Refused && (e.status === 401 || e.status === 403))) return;
    }
    state(false);
    await new Promise((done) => setTimeout(done, pause));
  }
}

// The owner says something at least every 15 seconds; who says nothing for three times as long is gone.
const silence = 45_000;

async function* events(res: Response): AsyncGenerator<{ id: string; data: string }> {
  if (!res.body) return;
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const watch = setTimeout(() => void reader.cancel(), silence);
    const { value, done } = await reader.read().finally(() => clearTimeout(watch));
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const e = { id: "", data: "" };
      for (const line of rest.slice(0, end).split("\n")) {
        if (line.startsWith("id: ")) e.id = line.slice(4);
        if (line.startsWith("data: ")) e.data += line.slice(6);
      }
      rest = rest.slice(end + 2);
      if (e.data) yield e;
    }
  }
}

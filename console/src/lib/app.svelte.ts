// SPDX-License-Identifier: Apache-2.0

// What every page shares: who is logged in, where we are, what has just happened, and which keys do what.

import * as api from "./api";
import type { Approval, Me, Need, Page, Rec } from "./types";

export interface Place {
  page: string; // first element of the path
  id: string; // second one
}

const keep = 500; // of the latest records

/** roleOf names the role that brings a scope. */
const roleOf: Record<string, string> = { author: "policy-author", "tool-admin": "admin", "tenant-data": "admin" };

const through = "sallyport.through"; // set while this browser is signed in through a provider
const back = "sallyport.back"; // the page to return to after a quiet sign-in

class App {
  me = $state<Me | null>(null);
  ready = $state(false);
  place = $state<Place>({ page: "inbox", id: "" });
  pending = $state<Approval[]>([]);
  pendingKnown = $state(false);
  pendingFailed = $state(false);
  records = $state.raw<Rec[]>([]); // the latest first
  live = $state(false);
  now = $state(Date.now());
  theme = $state<"auto" | "light" | "dark">("auto");
  toasts = $state<{ id: number; text: string; bad: boolean }[]>([]);
  palette = $state(false);
  help = $state(false);
  account = $state(false);
  turnedAway = $state(""); // why a sign-in let nobody in

  #stop: AbortController | null = null;
  #toast = 0;
  #asked = 0;

  can = (...scopes: string[]) => scopes.some((s) => this.me?.scopes.includes(s));

  /** lacks says why somebody may not do what needs a scope, and "" if he may. */
  lacks(scope: string): string {
    if (this.can(scope)) return "";
    const roles = this.me?.roles.join(", ") || "nothing";
    return `This needs the role ${roleOf[scope] ?? scope}; you are ${roles}.`;
  }

  go(page: string, id = ""): void {
    location.hash = id ? `#/${page}/${api.part(id)}` : `#/${page}`;
  }

  say(text: string, bad = false): void {
    const id = ++this.#toast;
    this.toasts.push({ id, text, bad });
    setTimeout(() => (this.toasts = this.toasts.filter((t) => t.id !== id)), bad ? 8000 : 4000);
  }

  fail(e: unknown): void {
    if (e instanceof api.Refused && e.status === 401) return;
    this.say(e instanceof Error ? e.message : "Something went wrong.", true);
  }

  setTheme(t: "auto" | "light" | "dark"): void {
    this.theme = t;
    localStorage.setItem("sallyport.theme", t);
    document.documentElement.dataset["theme"] = t;
  }

  async start(): Promise<void> {
    const t = localStorage.getItem("sallyport.theme");
    this.setTheme(t === "light" || t === "dark" ? t : "auto");
    const read = () => {
      const [page = "", id = ""] = location.hash.replace(/^#\//, "").split("/");
      let name = "";
      try {
        name = decodeURIComponent(id);
      } catch {
        // a broken address names nothing
      }
      this.place = { page: page || "inbox", id: name };
      window.scrollTo(0, 0);
    };
    addEventListener("hashchange", read);
    read();
    setInterval(() => (this.now = Date.now()), 1000);
    api.whenLoggedOut(() => this.#leave());
    if (await this.#returned()) {
      this.ready = true;
      return;
    }
    if (api.mayBeLoggedIn()) {
      try {
        this.enter(await api.get<Me>("/v1/me"));
      } catch {
        // the page asks for a token
      }
    }
    this.ready = true;
  }

  /** #returned ends a sign-in: the address carries a code, once, or why there is none. */
  async #returned(): Promise<boolean> {
    const { page, id } = this.place;
    if (page !== "signed-in" && page !== "not-signed-in") return false;
    const to = sessionStorage.getItem(back) ?? "";
    sessionStorage.removeItem(back);
    history.replaceState(null, "", `#${/^\/[a-z]/.test(to) ? to : "/inbox"}`); // no history keeps a code
    dispatchEvent(new HashChangeEvent("hashchange"));
    if (page === "signed-in") {
      try {
        this.enter(await api.login(id));
        return true;
      } catch {
        this.turnedAway = "again";
      }
    } else if (!to) this.turnedAway = id;
    return true;
  }

  leaving = false;

  /** proves reports whether this login is what a need demands of the sign-in. The owner decides; this is for what is shown. */
  proves(n: Need): boolean {
    const m = this.me;
    if (!m) return false;
    if (n.acr && !(m.acr && n.acr.split(" ").includes(m.acr))) return false;
    if (n.amr && !n.amr.split(" ").every((w) => m.amr.includes(w))) return false;
    return !n.max_age_s || (m.authn_ms > 0 && this.now - m.authn_ms <= n.max_age_s * 1000);
  }

  /** signInAnew sends the person to the provider for what needs demand, and back to this page. */
  signInAnew(needs: Need[]): void {
    sessionStorage.setItem(back, location.hash.slice(1));
    const acr = new Set(needs.flatMap((n) => n.acr?.split(" ") ?? []));
    // What is missing is more than age: the person has to prove himself anew.
    const anew = needs.some((n) => n.acr || n.amr);
    const ages = needs.flatMap((n) => n.max_age_s ?? []);
    location.assign(api.signInAnewAt([...acr].join(" "), anew ? 0 : ages.length ? Math.min(...ages) : undefined));
  }

  /** logOut is a wish, not an end that came by itself: nobody is signed in again. */
  async logOut(): Promise<void> {
    this.leaving = true;
    try {
      await api.logout();
    } catch (e) {
      this.fail(e);
    }
  }

  enter(me: Me): void {
    this.me = me;
    this.turnedAway = "";
    if (me.through) sessionStorage.setItem(through, "1");
    else sessionStorage.removeItem(through);
    this.#stop = new AbortController();
    void this.refresh();
    if (this.can("viewer", "auditor")) {
      void api.stream(
        this.#stop.signal,
        (r) => this.#heard(r),
        (on) => {
          if (on && !this.live && this.pendingFailed) void this.refresh();
          this.live = on;
        },
      );
    }
  }

  /** #leave ends what is open. Where the provider signed somebody in, it is asked once more, and quietly. */
  #leave(): void {
    this.#stop?.abort();
    this.me = null;
    this.account = false;
    if (!this.leaving && sessionStorage.getItem(through)) {
      sessionStorage.setItem(back, location.hash.slice(1));
      location.assign(api.signInAt(true));
    }
    sessionStorage.removeItem(through);
    this.leaving = false;
    this.pending = [];
    this.records = [];
    this.live = this.pendingKnown = this.pendingFailed = false;
  }

  #waiting: Rec[] = [];

  // Records come in bursts; the pages change once a frame.
  #heard(r: Rec): void {
    this.#waiting.push(r);
    if (this.#waiting.length === 1) {
      requestAnimationFrame(() => {
        this.records = [...this.#waiting.reverse(), ...this.records].slice(0, keep);
        this.#waiting = [];
      });
    }
    if (r.kind === "approval" || (r.kind === "decision" && r.verdict === "ask") || r.kind === "kill" || r.grant) this.#soon();
  }

  #soon(): void {
    if (this.#asked) return;
    this.#asked = window.setTimeout(() => {
      this.#asked = 0;
      void this.refresh();
    }, 150);
  }

  /** refresh reads what waits. */
  async refresh(): Promise<void> {
    if (!this.can("viewer", "approver")) return;
    try {
      const all: Approval[] = [];
      for (let cursor = ""; ; ) {
        const p = await api.get<Page<Approval>>(api.query("/v1/approvals", { state: "pending", limit: 200, cursor }));
        all.push(...p.items);
        cursor = p.next;
        if (!cursor || all.length >= 1000) break;
      }
      all.sort((a, b) => a.expires_ms - b.expires_ms);
      this.pending = all;
      this.pendingKnown = true;
      this.pendingFailed = false;
    } catch (e) {
      this.pendingFailed = true;
      this.fail(e);
    }
  }
}

export const app = new App();

/** typing reports whether a key belongs to a field rather than to the page. */
export function typing(e: KeyboardEvent): boolean {
  const path = e.composedPath()[0];
  return path instanceof HTMLElement && (path.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(path.tagName));
}

type Keys = Record<string, () => void>;
const layers: Keys[] = [];

/** keys binds keys for as long as a component lives; later ones win. */
export function keys(bound: Keys): () => void {
  layers.push(bound);
  return () => layers.splice(layers.indexOf(bound), 1);
}

/** pressed runs what a key is bound to. */
export function pressed(e: KeyboardEvent): void {
  if (e.ctrlKey || e.metaKey || e.altKey || typing(e)) return;
  for (const l of layers.toReversed()) {
    const f = l[e.key];
    if (f) {
      e.preventDefault();
      f();
      return;
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import * as api from "./api";
import { app } from "./app.svelte";
import type { Page } from "./types";

/** A list that is read page by page, as far as somebody looks. */
export class Paged<I> {
  items = $state.raw<I[]>([]);
  done = $state(false);
  known = $state(false);
  failed = $state(false); // the latest read gave no answer
  #next = "";
  #busy = false;
  #run = 0;
  #path = "";
  #params: Record<string, string | number | undefined> = {};

  /** start reads a list from its beginning. */
  async start(path: string, params: Record<string, string | number | undefined> = {}): Promise<void> {
    this.#run++;
    this.#path = path;
    this.#params = params;
    this.#next = "";
    this.#busy = this.done = this.failed = false;
    await this.#read(true);
  }

  more = (): void => {
    if (!this.done && !this.failed && !this.#busy && this.known) void this.#read(false);
  };

  /** again reads once more what could not be read. */
  again = (): void => {
    this.failed = false;
    void this.#read(this.items.length === 0);
  };

  async #read(fresh: boolean): Promise<void> {
    const run = this.#run;
    this.#busy = true;
    try {
      const p = await api.get<Page<I>>(api.query(this.#path, { ...this.#params, limit: 200, cursor: this.#next }));
      if (run !== this.#run) return;
      this.items = fresh ? p.items : [...this.items, ...p.items];
      this.#next = p.next;
      this.done = p.next === "";
      this.known = true;
    } catch (e) {
      if (run === this.#run) {
        this.failed = true;
        if (fresh) this.items = [];
        app.fail(e);
      }
    } finally {
      if (run === this.#run) this.#busy = false;
    }
  }
}

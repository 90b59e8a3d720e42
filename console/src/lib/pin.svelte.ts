// SPDX-License-Identifier: Apache-2.0

import { base64, toBase64, type Checkpoint } from "./verify";

const name = "sallyport.pin";

interface Kept {
  vkey: string;
  size: number; // of the largest checkpoint that this browser has checked
  root: string;
  seen: number; // when
}

/** The key that the reader pinned, and the newest checkpoint that he has seen it sign. */
class Pin {
  vkey = $state("");
  size = $state(0);
  seen = $state(0);
  #root = "";

  constructor() {
    try {
      const k = JSON.parse(localStorage.getItem(name) ?? "null") as Kept | null;
      if (k && typeof k.vkey === "string" && Number.isSafeInteger(k.size)) {
        this.vkey = k.vkey;
        this.size = k.size;
        this.seen = k.seen;
        this.#root = k.root;
      }
    } catch {
      // nothing readable is nothing pinned
    }
  }

  root = () => base64(this.#root);

  set(vkey: string): void {
    this.vkey = vkey.trim();
    this.size = this.seen = 0;
    this.#root = "";
    this.#keep();
  }

  clear(): void {
    localStorage.removeItem(name);
    this.vkey = this.#root = "";
    this.size = this.seen = 0;
  }

  /** saw remembers a checkpoint that was checked against the one before. */
  saw(c: Checkpoint): void {
    if (c.size < this.size) return;
    this.size = c.size;
    this.#root = toBase64(c.root);
    this.seen = Date.now();
    this.#keep();
  }

  #keep(): void {
    localStorage.setItem(name, JSON.stringify({ vkey: this.vkey, size: this.size, root: this.#root, seen: this.seen } satisfies Kept));
  }
}

export const pin = new Pin();

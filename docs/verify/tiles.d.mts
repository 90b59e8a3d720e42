// SPDX-License-Identifier: Apache-2.0

import type { Bytes } from "./bytes.mjs";
import type { Checkpoint, Key } from "./note.mjs";

/** One entry that was checked here, and how long the checking took: signature, leaf and path. */
export interface Proved {
  index: number;
  leaf: Bytes;
  hash: Bytes;
  checkpoint: Checkpoint;
  path: Bytes[];
  checkMs: number;
}

export type Fetch = (path: string) => Promise<Bytes>;

export class Tiles {
  constructor(size: number, fetch: Fetch);
  consistency(old: number): Promise<Bytes[]>;
}

export function verifyConsistency(old: number, size: number, oldRoot: Bytes, root: Bytes, proof: Bytes[]): void;
export function proveFromTiles(index: number, note: Bytes, key: Key, fetch: Fetch): Promise<Proved>;

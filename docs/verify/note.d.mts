// SPDX-License-Identifier: Apache-2.0

import type { Bytes } from "./bytes.mjs";

/** A key that signs checkpoints, from its text form ORIGIN+HASH+KEY. */
export interface Key {
  name: string;
  hash: Bytes;
  key: Bytes;
}

export interface Checkpoint {
  origin: string;
  size: number;
  root: Bytes;
  note: Bytes;
}

export function readKey(line: string, kind?: 1 | 4): Key;
export function readCheckpoint(note: Bytes, log: Key): Promise<Checkpoint>;

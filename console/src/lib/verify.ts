// SPDX-License-Identifier: Apache-2.0

// The verifier that auditors use, docs/verify, is the one that runs here.

export { Refused, base64, hex, toBase64, type Bytes } from "../../../docs/verify/bytes.mjs";
export { readCheckpoint, readKey, type Checkpoint, type Key } from "../../../docs/verify/note.mjs";
export { Tiles, proveFromTiles, verifyConsistency } from "../../../docs/verify/tiles.mjs";

// SPDX-License-Identifier: Apache-2.0

export type Bytes = Uint8Array<ArrayBuffer>;
export class Refused extends Error {}
export function base64(text: string): Bytes;
export function toBase64(b: Bytes): string;
export function hex(b: Bytes): string;

// SPDX-License-Identifier: Apache-2.0

const units: [number, string][] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
];

/** span puts a length of time into its largest unit, such as "4 min". */
export function span(ms: number): string {
  for (const [n, unit] of units) if (ms >= n) return `${Math.floor(ms / n)} ${unit}`;
  return "0 s";
}

/** ago puts a time in relation to now. */
export function ago(ms: number, now: number): string {
  if (!ms) return "never";
  const d = now - ms;
  if (Math.abs(d) < 2_000) return "now";
  return d > 0 ? `${span(d)} ago` : `in ${span(-d)}`;
}

/** exact is a time to the second in the reader's zone, with the zone. */
export function exact(ms: number): string {
  if (!ms) return "";
  const d = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  const off = -d.getTimezoneOffset();
  const zone = off === 0 ? "UTC" : `UTC${off < 0 ? "-" : "+"}${two(Math.floor(Math.abs(off) / 60))}:${two(Math.abs(off) % 60)}`;
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)} ${zone}`;
}

/** clock is the time of day. */
export function clock(ms: number): string {
  const d = new Date(ms);
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

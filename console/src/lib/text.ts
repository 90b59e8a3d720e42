// SPDX-License-Identifier: Apache-2.0

// What agents, tools and strangers wrote is shown as text and as nothing else: never parsed, never linked, with
// everything that is invisible or changes the order of letters made visible.

/** A stretch of a text; ghosts stand for characters that cannot be seen or that mislead. */
export interface Piece {
  text: string;
  ghost: boolean;
}

export interface Shown {
  pieces: Piece[];
  total: number; // UTF-16 units of the whole
  shown: number; // of it
}

/** ghosts matches one character that is shown by its number instead. */
export const ghosts = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u00a0\\u00ad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\\u180b-\\u180f" +
    "\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\uffff" +
    "\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]|\\p{Cs}|\\p{Co}|\\p{Cn}",
  "u",
);
const mark = /\p{M}/u;
const marksInARow = 3;

const isGhost = (c: string) => ghosts.test(c);

const number = (c: string) => `U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;

/** pieces splits at most max units of a text into what can be shown. */
export function pieces(value: string, max: number): Shown {
  let cut = value.length > max ? value.slice(0, max) : value;
  if (cut.length < value.length && /[\ud800-\udbff]$/.test(cut)) cut = cut.slice(0, -1);
  const out: Piece[] = [];
  let plain = "";
  let hidden: string[] = [];
  let marks = 0;
  const flushPlain = () => {
    if (plain) out.push({ text: plain, ghost: false });
    plain = "";
  };
  const flushHidden = () => {
    if (hidden.length) out.push({ text: named(hidden), ghost: true });
    hidden = [];
  };
  for (const c of cut) {
    marks = mark.test(c) ? marks + 1 : 0;
    if (isGhost(c) || marks > marksInARow) {
      flushPlain();
      hidden.push(c);
    } else {
      flushHidden();
      plain += c;
    }
  }
  flushPlain();
  flushHidden();
  return { pieces: out, total: value.length, shown: cut.length };
}

// A few are named one by one; of a long run only how many, and what tags spell, since that is a known hiding place.
function named(run: string[]): string {
  if (run.length <= 4) return `⟨${run.map(number).join(" ")}⟩`;
  const spelt = run
    .map((c) => c.codePointAt(0) ?? 0)
    .filter((n) => n >= 0xe0020 && n <= 0xe007e)
    .map((n) => String.fromCharCode(n - 0xe0000))
    .join("");
  const first = number(run[0] as string);
  return spelt ? `⟨${run.length} hidden characters from ${first}, tags that spell "${spelt.slice(0, 200)}"⟩` : `⟨${run.length} hidden characters from ${first}⟩`;
}

/** flat is a text on one line, for titles and labels that take no markup. */
export function flat(value: string, max: number): string {
  const p = pieces(value.replace(/[\n\t]+/g, " "), max);
  return p.pieces.map((x) => x.text).join("") + (p.shown < p.total ? "…" : "");
}

const grouped = new Intl.NumberFormat("en-US"); // once: making one costs more than a row of a list

/** count writes a number with thin spaces between thousands. */
export const count = (n: number) => grouped.format(n).replaceAll(",", "\u2009");

/** plain is count for what goes through Text, which shows unusual spaces as such. */
export const plain = (n: number) => grouped.format(n).replaceAll(",", " ");

// SPDX-License-Identifier: Apache-2.0

export interface Line {
  sign: "" | "+" | "-";
  text: string;
  n: number; // of the line in the new text; 0 for one that is gone
}

const most = 600; // lines of either side that are compared

/** diff compares two texts line by line (longest common subsequence). Larger ones are shown as they are. */
export function diff(before: string[] | null, after: string[]): Line[] {
  const same = (): Line[] => after.map((text, i) => ({ sign: "", text, n: i + 1 }));
  if (!before || before.length > most || after.length > most) return same();
  const a = before.map((l) => l.replace(/,$/, ""));
  const b = after.map((l) => l.replace(/,$/, "")); // a comma more or less is no difference
  const w = b.length + 1;
  const len = new Uint16Array((a.length + 1) * w);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      len[i * w + j] = a[i] === b[j] ? (len[(i + 1) * w + j + 1] ?? 0) + 1 : Math.max(len[(i + 1) * w + j] ?? 0, len[i * w + j + 1] ?? 0);
    }
  }
  const out: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ sign: "", text: after[j] as string, n: j + 1 });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || (len[(i + 1) * w + j] ?? 0) >= (len[i * w + j + 1] ?? 0))) {
      out.push({ sign: "-", text: before[i++] as string, n: 0 });
    } else {
      out.push({ sign: "+", text: after[j] as string, n: ++j });
    }
  }
  return out;
}

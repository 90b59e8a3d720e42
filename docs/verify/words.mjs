// SPDX-License-Identifier: Apache-2.0

// A report in words.

/** found says what a report found beside problems. */
export function found(r) {
  const out = [], a = r.approvals;
  if (r.open.length) out.push(`${r.open.length} actions have no recorded end`);
  if (r.parts) out.push(`${r.parts} disclosed parts are those that their records name`);
  if (a && a.requests + a.answers + a.closed) {
    out.push(`approvals: ${a.requests} requests as they were shown, ${a.answers} answers, ${a.signed} of them signed; ${a.closed} records sealed`);
  }
  const again = Object.entries(r.replayed).map(([answer, n]) => `${n} ${answer}`);
  if (again.length) out.push(`of ${r.decisions} decisions were taken again: ${again.join(", ")}`);
  if (r.cosigned) out.push(`${r.cosigned} witnesses cosigned`);
  return out.concat(r.notes.map((n) => `note: ${n}`));
}

/** lines is a report for people. */
export const lines = (r) => [`${r.ok ? "VERIFIED" : "FAILED"}  ${r.origin}`, `${r.size} records in ${r.sessions} sessions, root ${r.root}`,
  ...r.gaps.map((g) => `GAP: ${g}`), ...r.problems.map((p) => `problem: ${p}`), ...found(r)];

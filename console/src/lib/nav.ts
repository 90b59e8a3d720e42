// SPDX-License-Identifier: Apache-2.0

import type { IconName } from "../ui/Icon.svelte";

export interface Entry {
  page: string;
  name: string;
  icon: IconName;
  scopes: string[]; // one of them is needed to read anything there
  key: string; // after g
}

export const pages: Entry[] = [
  { page: "inbox", name: "Inbox", icon: "inbox", scopes: ["viewer", "approver"], key: "i" },
  { page: "live", name: "Live", icon: "live", scopes: ["viewer", "auditor"], key: "l" },
  { page: "sessions", name: "Sessions", icon: "sessions", scopes: ["viewer", "auditor"], key: "s" },
  { page: "agents", name: "Agents", icon: "agents", scopes: ["viewer", "admin"], key: "a" },
  { page: "alerts", name: "Alerts", icon: "alerts", scopes: ["viewer", "auditor"], key: "w" },
  { page: "policies", name: "Policies", icon: "policies", scopes: ["viewer", "author", "policy-approver", "auditor"], key: "p" },
  { page: "reviewers", name: "Reviewers", icon: "agents", scopes: ["viewer", "author", "auditor", "admin"], key: "v" },
  { page: "destinations", name: "Destinations", icon: "destinations", scopes: ["viewer", "auditor"], key: "d" },
  { page: "ledger", name: "Ledger", icon: "ledger", scopes: ["viewer", "auditor"], key: "r" },
  { page: "control", name: "Kill switch", icon: "control", scopes: ["viewer", "admin"], key: "k" },
  { page: "settings", name: "Settings", icon: "settings", scopes: [], key: "," },
];

/**
 * word is what a record says of its action, in one word: a call that was asked about and then ran was approved, unless
 * it was only observed, as one may be that was denied.
 */
export const word = (r: { kind: string; verdict: string; enforced: boolean }) =>
  !r.enforced && (r.verdict === "ask" || r.verdict === "deny") ? "observed" : r.kind === "intent" && r.verdict === "ask" ? "approved" : r.verdict || r.kind;

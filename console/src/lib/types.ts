// SPDX-License-Identifier: Apache-2.0

// The answers of the operator API that the pages read; docs/api/operator.yaml has all of it.

export interface Page<I> {
  items: I[];
  next: string;
}

export interface Problem {
  status: number;
  title: string;
  detail?: string;
  code: string;
  remedy: string;
}

export interface Me {
  name: string;
  tenant: string;
  scopes: string[];
  roles: string[];
  through: string;
  rank: string;
  acr: string;
  amr: string[];
  authn_ms: number;
  until_ms: number;
  key: string;
}

export interface Ticket {
  title: string;
  agent: string;
  state: string;
  expires_ms: number;
  as: string;
}

export interface Fact {
  kind: string;
  at: string;
  value: string;
  note: string;
}

export interface Need {
  channel: string;
  quorum: number;
  group: string;
  rule?: string;
  acr?: string;
  amr?: string;
  max_age_s?: number;
}

export interface Given {
  approve: boolean;
  approver: string;
  channel: string;
  comment: string;
  time_ms: number;
  acr?: string;
  amr?: string[];
}

export interface ShownRequest {
  title: string;
  phase: string;
  tool: {
    key: string;
    effect: string;
    effect_source: string;
    reversible: string;
    zone: string;
    definition: string;
    definition_digest: string;
    upstream: string;
  };
  requester: {
    agent: string;
    instance: string;
    user: string;
    user_verified: string;
    session: string;
    door: string;
    grade: string;
    separation: string;
    assurance: number;
    model: number;
  };
  rules: { id: string; code: string; reason: string; severity: string }[];
  facts: Fact[];
  risk: Fact[];
  obligations: string[];
  warnings: string[];
  arguments: string[];
  bytes: number;
  digest: string;
  complete: boolean;
  erased: boolean;
  asked_ms: number;
  expires_ms: number;
  grant_ms: number;
}

export interface Approval {
  id: string;
  revision: number;
  state: "pending" | "granted" | "used" | "refused" | "revoked" | "expired";
  title: string;
  agent: string;
  session: string;
  action: string;
  opened_ms: number;
  expires_ms: number;
  needs: Need[];
  answers: Given[];
  reason: string;
  shown: ShownRequest | null;
  digest: string;
  equal: string[]; // ids of equal requests that wait behind this one
  test: "" | "caught" | "missed" | "expired";
}

/** A record of the ledger. */
export interface Rec {
  index: number;
  leaf: string;
  time_ms: number;
  kind: string;
  action: string;
  round: number;
  session: string;
  agent: string;
  user: string;
  actor: string;
  door: string;
  server: string;
  tool: string;
  effect: string;
  phase: string;
  verdict: string;
  enforced: boolean;
  status: string;
  rules: string[] | null;
  codes: string[] | null;
  bundle: string;
  sequence: number;
  grant: string;
  channel: string;
  grade: string;
  separation: string;
  observed: string;
  durability: string;
  assurance: number;
  model: number;
  subject: string;
  count: number;
  reason: string;
  hint: string;
}

export interface Similar {
  items: Rec[];
  last: { index: number; time_ms: number; agent: string; session: string; arguments: string[] } | null;
}

export interface Session {
  id: string;
  agent: string;
  user: string;
  door: string;
  first: number;
  last: number;
  first_ms: number;
  last_ms: number;
  actions: number;
  allowed: number;
  asked: number;
  denied: number;
  quarantined: number;
  unknown: number;
  unenforced: number;
  assurance: number;
  model: number;
}

export interface Login {
  id: string;
  name: string;
  roles: string[];
  through: string;
  acr: string;
  began_ms: number;
  used_ms: number;
  until_ms: number;
  own: boolean;
}

export interface Redecided {
  index: number;
  answer: string;
  recorded: string;
  again: string;
  differences: string[];
}

export interface Replayed {
  bundle: string;
  counts: Record<string, number>;
  items: Redecided[];
}

export interface Agent {
  id: string;
  owner: string;
  lease: boolean;
  by: string;
  created_ms: number;
}

export interface Lease {
  id: string;
  agent: string;
  kind: string;
  assurance: number;
  model: number;
  test: string;
  status: string;
  why: string[] | null;
  ends_ms: number;
  live: boolean;
  ended: string;
}

export interface Activity {
  id: string;
  first_ms: number;
  last_ms: number;
  last: number;
  sessions: number;
  actions: number;
  allowed: number;
  asked: number;
  denied: number;
  alerts: number;
  mode: "enforce" | "observe" | "partly";
}

export interface Destination {
  server: string;
  agent: string;
  effect: string;
  tools: number;
  first_ms: number;
  last_ms: number;
  allowed: number;
  asked: number;
  denied: number;
  last: number;
}

export interface Alert {
  summary: string;
  alerts: string[];
  reasons: string[];
  risk_milli: number;
  p_milli: number;
  agent: string;
  user: string;
  session: string;
  action: string;
  server: string;
  tool: string;
  effect: string;
  time_ms: number;
  count: number;
}

export interface Policy {
  name: string;
  digest: string;
  sequence: number;
  expires_ms: number;
  mode: string;
  observe: Watched[];
}

export interface Watched {
  agent: string;
  tool: string;
  until_ms: number;
  reason: string;
}

export interface Verdict {
  verdict: string;
  mode: string;
  bundle: string;
  hint: string;
  rules: { id: string; verdict: string; code: string; severity: string; reason: string; needs: string }[];
  obligations: string[];
  errors: string[];
}

export interface Tried {
  again: Verdict;
  base: Verdict | null;
  params: string;
  input: unknown;
}

export interface LedgerHead {
  vkey: string;
  origin: string;
  size: number;
  checkpoint: string;
  witnesses: number;
  stopped: string;
}

export interface Kill {
  scope: string;
  id: string;
  tenant: string;
  agent: string;
  epoch: number;
  by: string;
  reason: string;
  time_ms: number;
}

export interface Signer {
  id: string;
  person: string;
  name: string;
  key: { kind: string; credential: string; rp_id: string };
  channel: string;
  created_ms: number;
}

export interface RuleAccuracy {
  rule: string;
  denied: number;
  asked: number;
  alerts: number;
  wrong: number;
  wrong_milli: number;
}

export interface Reviewer {
  person: string;
  answers: number;
  approved: number;
  approve_milli: number;
  timed: number;
  think_ms: number;
  quick: number;
  seeded: number;
  caught: number;
}

export interface Review {
  index: number;
  record: number;
  time_ms: number;
  by: string;
  reason: string;
  summary: string;
  rules: string[] | null;
  server: string;
  tool: string;
  verdict: string;
  expect: string;
  case: string;
}

export interface Run {
  agent: string;
  tool: string;
  effect: string;
  approvals: number;
  last_ms: number;
}

export interface Proposed {
  agent: string;
  tool: string;
  approvals: number;
  asks: string[];
  rules: string;
  admits: string[] | null;
  expires_ms: number;
  replayed: number;
  unread: number;
  admitted: number;
  approved: number;
  else: { index: number; time_ms: number; session: string; was: string }[];
}

export interface Difference {
  decisions: number;
  changed: number;
  failed: number;
  items: { from: string; to: string; phase: string; server: string; tool: string; rules: string; n: number; example: number }[];
}

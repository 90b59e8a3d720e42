// SPDX-License-Identifier: Apache-2.0

// Made from docs/api/operator.yaml by "go test ./admin -run TestClientTypesAreCurrent -update". Do not edit.

export type Absence = {
  comment: string;
  from: string;
  from_ms: number;
  groups: Array<string>;
  id: string;
  to: string;
  until_ms: number;
};

export type Activation = {
  active: boolean;
  bundle: { [name: string]: unknown };
  cases: number;
  coverage: number;
  difference: { [name: string]: unknown };
  one_person: boolean;
  parent?: string;
  record: number;
  replaced: { [name: string]: unknown };
  rollback?: string;
  signers: Array<{ [name: string]: unknown }>;
  tighter: boolean;
  unproved?: string;
  untested: Array<string>;
};

export type Activities = {
  items: Array<Activity>;
  next: string;
};

export type Activity = {
  actions: number;
  alerts: number;
  allowed: number;
  asked: number;
  denied: number;
  first_ms: number;
  id: string;
  last: number;
  last_ms: number;
  mode: "enforce" | "observe" | "partly";
  sessions: number;
};

export type Agent = {
  by: string;
  created_ms: number;
  id: string;
  lease: boolean;
  owner: string;
  tenant: string;
};

export type AgentRequest = {
  id: string;
  lease?: boolean;
  owner?: string;
};

export type Agents = {
  items: Array<Agent>;
  next: string;
};

export type Alert = {
  action: string;
  agent: string;
  alerts: Array<string>;
  count: number;
  effect: string;
  p_milli: number;
  reasons: Array<string>;
  risk_milli: number;
  server: string;
  session: string;
  summary: string;
  tenant: string;
  time_ms: number;
  tool: string;
  user: string;
};

export type Approval = {
  action: string;
  agent: string;
  alike: string;
  answers: Array<Given>;
  digest: string;
  edit: string;
  equal: Array<string>;
  expires_ms: number;
  id: string;
  needs: Array<Need>;
  opened_ms: number;
  reason: string;
  revision: number;
  session: string;
  shown: Shown;
  state: ApprovalState;
  test: "" | "caught" | "missed" | "expired";
  title: string;
  user: string;
};

export type ApprovalState = "pending" | "granted" | "used" | "refused" | "revoked" | "expired";

export type Approvals = {
  items: Array<Approval>;
  next: string;
};

export type Assertion = {
  authenticatorAttachment?: unknown;
  clientExtensionResults?: unknown;
  id: string;
  rawId: string;
  response: {
    authenticatorData: string;
    clientDataJSON: string;
    signature: string;
    userHandle?: unknown;
  };
  type: "public-key";
} | null;

export type Called = {
  case: string;
  index: number;
  record: number;
  rules: Array<string>;
};

export type Channel = "unknown" | "client" | "judge" | "bearer" | "operator" | "passkey";

export type Destination = {
  agent: string;
  allowed: number;
  asked: number;
  denied: number;
  effect: string;
  first_ms: number;
  last: number;
  last_ms: number;
  server: string;
  tools: number;
};

export type Destinations = {
  items: Array<Destination>;
  next: string;
};

export type Difference = {
  changed: number;
  decisions: number;
  failed: number;
  items: Array<{
    example: number;
    from: string;
    n: number;
    phase: string;
    rules: string;
    server: string;
    to: string;
    tool: string;
  }>;
};

export type DiscloseRequest = {
  part: string;
  purpose: string;
};

export type Disclosed = {
  access: number;
  bytes: number;
  index: number;
  part: string;
  text: string;
};

export type Draft = {
  params?: string;
  rules?: string;
  since_ms?: number;
};

export type Fact = {
  at: string;
  kind: string;
  note: string;
  value: string;
};

export type Given = {
  acr?: string;
  among?: Array<string>;
  amr?: Array<string>;
  approve: boolean;
  approver: string;
  authn_ms?: number;
  channel: Channel;
  comment: string;
  credential: string;
  edited: string;
  evidence: string;
  for: Array<string>;
  groups: Array<string>;
  own: "unknown" | "yes" | "no";
  same_uid: "unknown" | "yes" | "no";
  seen_ms: number;
  time_ms: number;
  uid: number;
};

export type IssuedToken = {
  agent: string;
  by: string;
  created_ms: number;
  expires_ms: number;
  id: string;
  name: string;
  revoked_ms: number;
  scopes: Array<Scope>;
  tenant: string;
  token: string;
  user: string;
};

export type Kill = {
  agent: string;
  by: string;
  epoch: number;
  id: string;
  reason: string;
  scope: "session" | "agent" | "tenant" | "all";
  signed?: { [name: string]: unknown };
  tenant: string;
  time_ms: number;
};

export type Killed = {
  agent: string;
  by: string;
  epoch: number;
  id: string;
  reason: string;
  revoked: number;
  scope: "session" | "agent" | "tenant" | "all";
  signed?: { [name: string]: unknown };
  tenant: string;
  time_ms: number;
  tokens: number;
};

export type Kills = {
  items: Array<Kill>;
  next: string;
};

export type LastCall = {
  agent: string;
  arguments: Array<string>;
  index: number;
  session: string;
  time_ms: number;
} | null;

export type LedgerHead = {
  checkpoint: string;
  origin: string;
  size: number;
  stopped: string;
  vkey: string;
  witnesses: number;
};

export type Login = {
  acr: string;
  began_ms: number;
  credential: string;
  id: string;
  name: string;
  own: boolean;
  roles: Array<Role>;
  through: string;
  until_ms: number;
  used_ms: number;
};

export type Me = {
  acr: string;
  amr: Array<string>;
  authn_ms: number;
  key: string;
  name: string;
  rank: string;
  roles: Array<Role>;
  scopes: Array<Scope>;
  tenant: string;
  through: string;
  until_ms: number;
};

export type Need = {
  acr?: string;
  amr?: string;
  apart: boolean;
  channel: Channel;
  escalate_s: number;
  escalate_to: string;
  group: string;
  max_age_s?: number;
  quorum: number;
  rule: string;
};

export type Pin = {
  approved: string;
  approved_by: string;
  changed_ms: number;
  definition: { [name: string]: unknown };
  digest: string;
  effect: string;
  effect_source: string;
  first_seen_ms: number;
  kind: string;
  name: string;
  pack: string;
  poisoned: string;
  receipt: {
    index: number;
    leaf: string;
    origin: string;
    size: number;
  };
  server: string;
  state: "unknown" | "pending" | "approved" | "changed";
  transport: string;
  trusted: string;
  upstream: string;
  zone: string;
};

export type Pins = {
  items: Array<Pin>;
  next: string;
};

export type Policies = {
  items: Array<Policy>;
  next: string;
};

export type Policy = {
  digest: string;
  expires_ms: number;
  mode: "enforce" | "observe";
  name: string;
  observe: Array<Watched>;
  sequence: number;
};

export type Problem = {
  code: string;
  detail?: string;
  remedy: string;
  status: number;
  title: string;
  type: string;
};

export type Proposed = {
  admits: Array<string> | null;
  admitted: number;
  agent: string;
  approvals: number;
  approved: number;
  asks: Array<string>;
  base: { [name: string]: unknown };
  bundle: { [name: string]: unknown };
  cases: Array<string> | null;
  effect: string;
  else: Array<{
    approved: boolean;
    index: number;
    session: string;
    time_ms: number;
    was: string;
  }>;
  expires_ms: number;
  files: { [name: string]: string };
  pack: string;
  replayed: number;
  rule: string;
  rules: string;
  tool: string;
  unread: number;
};

export type Record = {
  action: string;
  actor: string;
  agent: string;
  assurance: number;
  bundle: string;
  channel: string;
  codes: Array<string>;
  count: number;
  door: string;
  durability: string;
  effect: string;
  enforced: boolean;
  grade: string;
  grant: string;
  hint: string;
  index: number;
  kind: string;
  leaf: string;
  model: number;
  observed: string;
  phase: string;
  reason: string;
  round: number;
  rules: Array<string>;
  separation: string;
  sequence: number;
  server: string;
  session: string;
  status: string;
  subject: string;
  time_ms: number;
  tool: string;
  user: string;
  verdict: string;
};

export type Records = {
  items: Array<Record>;
  next: string;
};

export type Released = {
  status: "released" | "second" | "wait";
};

export type Replayed = {
  bundle: string;
  counts: { [name: string]: number };
  items: Array<{
    again: string;
    answer: "same" | "different" | "erased" | "engine-unavailable" | "unrecorded";
    differences: Array<string>;
    index: number;
    recorded: string;
  }>;
};

export type Review = {
  by: string;
  case: string;
  expect: string;
  index: number;
  reason: string;
  record: number;
  rules: Array<string>;
  server: string;
  summary: string;
  time_ms: number;
  tool: string;
  verdict: string;
};

export type Reviewer = {
  answers: number;
  approve_milli: number;
  approved: number;
  caught: number;
  person: string;
  quick: number;
  seeded: number;
  think_ms: number;
  timed: number;
};

export type Role = "viewer" | "approver" | "policy-author" | "policy-approver" | "auditor" | "admin";

export type RuleAccuracy = {
  alerts: number;
  asked: number;
  denied: number;
  rule: string;
  wrong: number;
  wrong_milli: number;
};

export type Run = {
  agent: string;
  approvals: number;
  effect: string;
  last_ms: number;
  tool: string;
};

export type Scope = "agent" | "host" | "tenant-data" | "tool-admin" | "viewer" | "approver" | "author" | "policy-approver" | "auditor" | "admin";

export type Session = {
  actions: number;
  agent: string;
  allowed: number;
  asked: number;
  assurance: number;
  denied: number;
  door: string;
  first: number;
  first_ms: number;
  id: string;
  last: number;
  last_ms: number;
  model: number;
  quarantined: number;
  unenforced: number;
  unknown: number;
  user: string;
};

export type Sessions = {
  items: Array<Session>;
  next: string;
};

export type Shown = {
  arguments: Array<string>;
  asked_ms: number;
  bytes: number;
  complete: boolean;
  digest: string;
  erased: boolean;
  expires_ms: number;
  facts: Array<Fact>;
  format: "approval.v1";
  grant_ms: number;
  id: string;
  nonce: string;
  obligations: Array<string>;
  phase: "unknown" | "before" | "after";
  requester: {
    agent: string;
    assurance: number;
    door: string;
    grade: string;
    instance: string;
    model: number;
    separation: string;
    session: string;
    uid: number;
    user: string;
    user_verified: string;
  };
  risk: Array<Fact>;
  rules: Array<{
    code: string;
    id: string;
    reason: string;
    severity: string;
  }>;
  title: string;
  tool: {
    definition: string;
    definition_digest: string;
    effect: string;
    effect_source: string;
    key: string;
    method: string;
    reversible: string;
    upstream: string;
    zone: string;
  };
  warnings: Array<string>;
} | null;

export type ShownAlert = {
  alert: Alert;
  index: number;
};

export type Signature = {
  auth_data?: string;
  challenge: string;
  client_data?: string;
  kind: "passkey" | "ssh";
  signature: string;
  signer: string;
} | null;

export type Signer = {
  channel: Channel;
  created_ms: number;
  id: string;
  key: {
    credential: string;
    kind: "passkey" | "ssh";
    origins: Array<string>;
    public: string;
    rp_id: string;
  };
  name: string;
  person: string;
  tenant: string;
};

export type Similar = {
  items: Array<Record>;
  last: LastCall;
};

export type TargetRequest = {
  agent?: string;
  challenge?: string;
  id?: string;
  passkey?: Assertion;
  reason?: string;
  scope: "session" | "agent" | "tenant" | "all";
  ssh?: Signature;
  tokens?: boolean;
};

export type TenantRecord = {
  by: string;
  bytes: number;
  fields: { [name: string]: string };
  name: string;
  revision: number;
  time_ms: number;
};

export type TenantRecordRequest = {
  data: unknown;
  fields?: { [name: string]: string };
};

export type Token = {
  agent: string;
  by: string;
  created_ms: number;
  expires_ms: number;
  id: string;
  name: string;
  revoked_ms: number;
  scopes: Array<Scope>;
  tenant: string;
  user: string;
};

export type TokenRequest = {
  agent?: string;
  name?: string;
  scopes: Array<Scope>;
  ttl?: unknown | null;
  user?: string;
};

export type Tokens = {
  items: Array<Token>;
  next: string;
};

export type ToolsRequest = {
  kind?: string;
  tools: Array<{
    annotations?: { [name: string]: unknown };
    description?: string;
    input_schema?: { [name: string]: unknown };
    name: string;
    output?: { [name: string]: unknown };
  }>;
  zone?: "inside" | "outside";
};

export type Trial = {
  arguments?: { [name: string]: unknown };
  facts?: { [name: string]: unknown };
  params?: string;
  rules?: string;
  server?: string;
  tool?: string;
};

export type Tried = {
  again: Verdict;
  base: Verdict;
  input: { [name: string]: unknown };
  params: string;
};

export type Verdict = {
  bundle: string;
  errors: Array<string>;
  hint: string;
  mode: "enforce" | "observe";
  obligations: Array<string>;
  rules: Array<{
    code: string;
    id: string;
    needs: string;
    reason: string;
    severity: string;
    verdict: string;
  }>;
  verdict: "allow" | "ask" | "deny" | "quarantine";
} | null;

export type Watched = {
  agent: string;
  reason: string;
  tool: string;
  until_ms: number;
};

// SPDX-License-Identifier: Apache-2.0

// The types that the pages read with, held against what the document of the operator API says of the answers: a page
// that reads what no answer has does not build.

import type * as Doc from "./schema";
import type * as Page from "./types";

type Answers<Answer extends Read, Read> = [Answer, Read];

export type Checked = [
  Answers<Doc.Problem, Page.Problem>,
  Answers<Doc.Me, Page.Me>,
  Answers<Doc.Fact, Page.Fact>,
  Answers<Doc.Need, Page.Need>,
  Answers<Doc.Given, Page.Given>,
  Answers<NonNullable<Doc.Shown>, Page.ShownRequest>,
  Answers<Doc.Approval, Page.Approval>,
  Answers<Doc.Record, Page.Rec>,
  Answers<Doc.Similar, Page.Similar>,
  Answers<Doc.Session, Page.Session>,
  Answers<Doc.Replayed, Page.Replayed>,
  Answers<Doc.Agent, Page.Agent>,
  Answers<Doc.Activity, Page.Activity>,
  Answers<Doc.Destination, Page.Destination>,
  Answers<Doc.Alert, Page.Alert>,
  Answers<Doc.Policy, Page.Policy>,
  Answers<NonNullable<Doc.Verdict>, Page.Verdict>,
  Answers<Doc.LedgerHead, Page.LedgerHead>,
  Answers<Doc.Kill, Page.Kill>,
  Answers<Doc.Signer, Page.Signer>,
  Answers<Doc.Login, Page.Login>,
  Answers<Doc.Watched, Page.Watched>,
];

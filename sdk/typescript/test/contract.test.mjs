// SPDX-License-Identifier: Apache-2.0

/** The contract cases on plain functions. */

import { Guard, Pending, Refused, ToolFailed, Withheld } from "../dist/index.js";
import { contractOf, SERVER } from "./contract.mjs";

contractOf("plain functions", (gateway, session, tool, callId) => async () => {
  const guard = new Guard({ gateway, server: SERVER, session });
  try {
    return { answer: "result", value: await guard.run(tool.case.tool, tool.case.arguments, (args) => tool.call(args), { callId }) };
  } catch (err) {
    if (err instanceof Refused) return { answer: "refused", text: err.message };
    if (err instanceof Withheld) return { answer: "withheld", text: err.message };
    if (err instanceof Pending) return { answer: "waiting", text: err.message, ticket: err.ticket };
    if (err instanceof ToolFailed || err instanceof RangeError) return { answer: "failed", text: err.message };
    throw err;
  }
});

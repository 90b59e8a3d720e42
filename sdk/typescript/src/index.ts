// SPDX-License-Identifier: Apache-2.0

export { Gateway, type GatewayOptions } from "./client.js";
export { Misplaced, Pending, Refused, SallyportError, ToolFailed, Unavailable, Withheld } from "./errors.js";
export { type CallOptions, callKey, Guard, type GuardOptions } from "./guard.js";

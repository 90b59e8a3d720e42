// SPDX-License-Identifier: Apache-2.0

/**
 * What a guarded call throws instead of returning a result. `message` is what a model may read: it reveals no
 * policy, and says whether the call ran. `ran` is true if the tool was executed.
 */
export class SallyportError extends Error {
  readonly ran: boolean = false;
  constructor(message: string, readonly action = "") {
    super(message);
    this.name = new.target.name;
  }
}

/** The call must not run: policy, a person or the protocol refused it. It was not run. */
export class Refused extends SallyportError {}

/** No gateway gave an answer that can be relied on. The call was not run. */
export class Unavailable extends Refused {}

/** A person is asked. Hand the same call in again, under the same call id, once he has answered. */
export class Pending extends SallyportError {
  constructor(message: string, action: string, readonly ticket: string, readonly expires: string, override readonly ran = false) {
    super(message, action);
  }
}

/** The call was executed, and its result may not be seen. It must not be repeated. */
export class Withheld extends SallyportError {
  override readonly ran = true;
}

/** The tool threw, and its error was changed before it may be seen; `message` is what is left. */
export class ToolFailed extends SallyportError {
  override readonly ran = true;
}

/** The guard does not stand directly before the tool, so something else could change what runs. */
export class Misplaced extends SallyportError {}

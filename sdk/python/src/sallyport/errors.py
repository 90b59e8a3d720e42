# SPDX-License-Identifier: Apache-2.0

"""What a guarded call raises instead of returning a result.

Every class has ``message``, which is what a model may read: it reveals no policy, and says whether the
call ran. ``ran`` is true if the tool was executed. Catching one of these and executing the tool anyway
would defeat the purpose; adapters turn them into the refusal form of their framework.
"""

from __future__ import annotations


class SallyportError(Exception):
    """The base of all errors of this package."""

    ran = False

    def __init__(self, message: str, *, action: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.action = action


class Refused(SallyportError):
    """The call must not run: policy, a person or the protocol refused it. It was not run."""


class Unavailable(Refused):
    """No gateway gave an answer that can be relied on. The call was not run."""


class Pending(SallyportError):
    """A person is asked. Hand the same call in again, under the same call id, once he has answered.

    ``ran`` is true if the call was executed and its result is what waits.
    """

    def __init__(self, message: str, *, action: str = "", ticket: str = "", expires: str = "", ran: bool = False) -> None:
        super().__init__(message, action=action)
        self.ticket = ticket
        self.expires = expires
        self.ran = ran


class Withheld(SallyportError):
    """The call was executed, and its result may not be seen. It must not be repeated."""

    ran = True


class ToolFailed(SallyportError):
    """The tool raised, and its error was changed before it may be seen; ``message`` is what is left."""

    ran = True


class Misplaced(SallyportError):
    """The guard does not stand directly before the tool, so something else could change what runs."""

# SPDX-License-Identifier: Apache-2.0

"""Pydantic AI: the gates around a toolset.

    agent = Agent(model, toolsets=[SallyportToolset(FunctionToolset([...]), guard)], output_type=[str, DeferredToolRequests])

It must be the outermost wrapper that changes calls, directly around what executes them. A call that needs a
person ends the run with DeferredToolRequests, whose metadata names the ticket; go on with DeferredToolResults
after the answer in Sallyport's inbox. What stands in those results is not an approval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
from pydantic_ai.messages import UserPromptPart
from pydantic_ai.tools import AgentDepsT, RunContext
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from .errors import Pending, Refused, Withheld
from .guard import AsyncGuard

PAUSES = (ApprovalRequired, CallDeferred)


def _said(ctx: RunContext[Any]) -> list[str]:
    """What the user said in this conversation."""
    out: list[str] = []
    for message in ctx.messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                out.extend([part.content] if isinstance(part.content, str) else [c for c in part.content if isinstance(c, str)])
    return out


@dataclass
class SallyportToolset(WrapperToolset[AgentDepsT]):
    """Guards the calls of the wrapped toolset; ``guard`` belongs to one conversation and event loop."""

    guard: AsyncGuard

    def __init__(self, wrapped: AbstractToolset[AgentDepsT], guard: AsyncGuard) -> None:
        super().__init__(wrapped)
        self.guard = guard
        if not guard.paused:
            guard.paused = PAUSES

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: RunContext[AgentDepsT], tool: ToolsetTool[AgentDepsT]) -> Any:
        async def execute(decided: dict[str, Any]) -> Any:
            return await self.wrapped.call_tool(name, decided, ctx, tool)

        try:
            await self.guard.hear(_said(ctx))
            return await self.guard.run(name, dict(tool_args), execute, call_id=ctx.tool_call_id or "")
        except (Refused, Withheld) as err:
            return err.message
        except Pending as err:
            raise ApprovalRequired({"sallyport": "approval", "ticket": err.ticket, "action": err.action, "message": err.message,
                                    "ran": err.ran}) from None

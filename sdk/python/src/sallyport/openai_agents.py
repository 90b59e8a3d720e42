# SPDX-License-Identifier: Apache-2.0

"""OpenAI Agents SDK: the gates around function tools.

    agent = Agent(name="desk", tools=guarded([read_ticket, close_ticket], AsyncGuard(gateway, "desk")))

A call that needs a person interrupts the run (``result.interruptions``). Keep ``result.to_state()`` and the
guard's session; after the answer in Sallyport's inbox, approve the item and run the state again. Approving it
without that answer runs nothing: the model is told that the call still waits. Hosted tools, handoffs and agents
as tools without guarded tools of their own are not covered.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from typing import Any

from agents import FunctionTool
from agents.tool_context import ToolContext

from . import _wire
from .errors import Pending, Refused, SallyportError, Withheld
from .guard import AsyncGuard


def _said(context: Any) -> list[str]:
    """What stands in the role of the user in the input of this turn."""
    out: list[str] = []
    for item in getattr(context, "turn_input", None) or []:
        if not isinstance(item, dict) or item.get("role") != "user":
            continue
        content = item.get("content")
        if isinstance(content, str):
            out.append(content)
        elif isinstance(content, list):
            out.extend(p["text"] for p in content if isinstance(p, dict) and p.get("type") == "input_text" and isinstance(p.get("text"), str))
    return out


def guarded(tools: Sequence[Any], guard: AsyncGuard) -> list[Any]:
    """Guards every tool of a list. It raises TypeError for one that cannot be guarded, such as a hosted tool."""
    return [guarded_tool(t, guard) for t in tools]


def guarded_tool(tool: Any, guard: AsyncGuard) -> FunctionTool:
    if not isinstance(tool, FunctionTool):
        raise TypeError(f"sallyport: {getattr(tool, 'name', tool)!r} is executed elsewhere and cannot be guarded")
    inner, asks = tool.on_invoke_tool, tool.needs_approval

    async def invoke(context: ToolContext[Any], given: str) -> Any:
        try:
            arguments = _wire.decode(given or "{}")
        except ValueError:
            return "The arguments are no JSON, so the call was not run."
        if not isinstance(arguments, dict):
            return "The arguments are no object, so the call was not run."

        async def execute(decided: dict[str, Any]) -> Any:
            return await inner(context, _wire.encode(decided).decode())

        try:
            await guard.hear(_said(context))
            return await guard.run(tool.name, arguments, execute, call_id=context.tool_call_id)
        except (Refused, Withheld) as err:
            return err.message
        except Pending as err:
            return f"{err.message} Ticket {err.ticket} is open." if err.ticket else err.message

    async def needs_approval(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        own = asks if isinstance(asks, bool) else await asks(context, arguments, call_id)
        if own:
            return True
        with contextlib.suppress(SallyportError):  # invoke tells it again, and fails if it must
            await guard.hear(_said(context))
        said = await guard.peek(tool.name, arguments, call_id)
        return said is not None and (said.effect == "ask" or said.outcome is not None and said.outcome.status == "held")

    out = copy.copy(tool)
    out.on_invoke_tool = invoke
    out.needs_approval = needs_approval
    return out

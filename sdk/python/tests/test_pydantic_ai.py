# SPDX-License-Identifier: Apache-2.0

"""Pydantic AI, the real package, with a scripted model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from contract import SERVER, Said, Tool, every_case, run
from owner import Owner
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults
from pydantic_ai import Tool as PydanticTool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.toolsets import FunctionToolset

from sallyport import AsyncGuard, Gateway, ToolFailed
from sallyport.pydantic_ai import SallyportToolset


def read_by_model(t: Tool, value: Any) -> Said:
    """The adapter hands a refusal to the model as text; which it is shows by what stands in it."""
    if not isinstance(value, str) or t.case["expect"]["answer"] == "result":
        return Said("result", value)
    return Said("withheld" if "Do not repeat" in value and "handed to" not in value else "refused", text=value)


def door(gateway: Gateway, session: str, t: Tool, call_id: str) -> Callable[[], Said]:
    history: list[list[ModelMessage]] = []

    async def once() -> Said:
        def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            if len(messages) == 1:
                return ModelResponse(parts=[ToolCallPart(t.case["tool"], t.case["arguments"], tool_call_id=call_id)])
            return ModelResponse(parts=[TextPart("Done.")])

        async def act(**arguments: Any) -> Any:
            return t(**arguments)

        schema = {"type": "object", "properties": {"id": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["id"]}
        tools: FunctionToolset[None] = FunctionToolset([PydanticTool.from_schema(act, t.case["tool"], "It does what it is called.", schema)])
        guard = AsyncGuard(gateway, SERVER, session=session)
        agent = Agent(FunctionModel(model), toolsets=[SallyportToolset(tools, guard)], output_type=[str, DeferredToolRequests])
        try:
            if history:
                result = await agent.run(message_history=history.pop(), deferred_tool_results=DeferredToolResults(approvals={call_id: True}))
            else:
                result = await agent.run("Do it.")
        except (RuntimeError, ToolFailed) as err:
            return Said("failed", text=str(err))
        finally:
            await guard.close()
        if isinstance(result.output, DeferredToolRequests):
            history.append(result.all_messages())
            meta = result.output.metadata[call_id]
            return Said("waiting", text=meta["message"], ticket=meta["ticket"])
        returned = [p for m in result.all_messages() for p in m.parts if isinstance(p, ToolReturnPart)]
        return read_by_model(t, returned[-1].content)

    return lambda: asyncio.run(once())


@every_case
def test_toolsets_keep_the_contract(owner: Owner, case: dict[str, Any]) -> None:
    run(owner, case, door)


def test_what_the_user_asked_for_is_told_once(owner: Owner) -> None:
    async def talk() -> str:
        def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            n = sum(isinstance(m, ModelResponse) for m in messages)
            return ModelResponse(parts=[ToolCallPart("read_ticket", {"id": "1"}, tool_call_id=f"c{n}")] if n < 2 else [TextPart("Done.")])

        async def act(**arguments: Any) -> str:
            return "fine"

        schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
        tools: FunctionToolset[None] = FunctionToolset([PydanticTool.from_schema(act, "read_ticket", "It reads.", schema)])
        guard = AsyncGuard(Gateway(owner.agents, token=owner.harness()), SERVER)
        try:
            await Agent(FunctionModel(model), toolsets=[SallyportToolset(tools, guard)]).run("Read ticket 1.")
            return await guard.session()
        finally:
            await guard.close()

    said = [r for r in owner.records(asyncio.run(talk())) if r["kind"] == "context"]
    assert [r["codes"] for r in said] == [["by.sdk"]]

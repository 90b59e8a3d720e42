# SPDX-License-Identifier: Apache-2.0

"""OpenAI Agents SDK, the real package, with its own scripted model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from agents import Agent, FunctionTool, RunConfig, Runner, RunState, WebSearchTool
from agents.testing import ScriptedModel, assistant_message, function_call
from contract import SERVER, Said, Tool, every_case, run
from owner import Owner

from sallyport import AsyncGuard, Gateway, ToolFailed
from sallyport.openai_agents import guarded


def door(gateway: Gateway, session: str, t: Tool, call_id: str) -> Callable[[], Said]:
    kept: list[Any] = []  # the state of the run as it would be stored between two processes

    async def once() -> Said:
        async def invoke(_: Any, given: str) -> Any:
            return t(**json.loads(given))

        schema = {"type": "object", "properties": {"id": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["id"]}
        tool = FunctionTool(name=t.case["tool"], description="It does what it is called.", params_json_schema=schema, on_invoke_tool=invoke,
                            strict_json_schema=False)
        held = t.case["tool"] == "review"
        guard = AsyncGuard(gateway, SERVER, session=session, wait=20.0 if held else 0.0)
        person = asyncio.create_task(asyncio.to_thread(agrees, session)) if held else None
        steps: list[Any] = [[function_call(t.case["tool"], t.case["arguments"], call_id=call_id)], [assistant_message("Done.")]]
        agent = Agent(name="bot", model=ScriptedModel(steps[1:] if kept else steps), tools=guarded([tool], guard))
        config = RunConfig(tracing_disabled=True)
        try:
            if kept:
                state = await RunState.from_json(agent, kept.pop())
                for item in state.get_interruptions():
                    state.approve(item)
                result = await Runner.run(agent, state, run_config=config)
            else:
                result = await Runner.run(agent, "Do it.", run_config=config)
        except Exception as err:
            if isinstance(err, RuntimeError | ToolFailed) or t.case["expect"]["answer"] == "failed":
                return Said("failed", text=str(err))
            raise
        finally:
            await guard.close()
            if person:
                await person
        if result.interruptions:
            kept.append(result.to_state().to_json())
            return Said("waiting", ticket=ticket_of(session))
        output = [i for i in result.new_items if i.type == "tool_call_output_item"][-1].output
        if not isinstance(output, str) or t.case["expect"]["answer"] == "result":
            return Said("result", output)
        if "is open" in output:
            return Said("waiting", text=output, ticket=ticket_of(session))
        return Said("withheld" if "Do not repeat" in output and "handed to" not in output else "refused", text=output)

    def agrees(session: str) -> None:
        while not (open_ := door.owner.pending(session)):  # type: ignore[attr-defined]
            time.sleep(0.05)
        door.owner.answer("approve", open_[0])  # type: ignore[attr-defined]

    def ticket_of(session: str) -> str:
        return door.owner.pending(session)[0]  # type: ignore[attr-defined]

    return lambda: asyncio.run(once())


@every_case
def test_function_tools_keep_the_contract(owner: Owner, case: dict[str, Any]) -> None:
    door.owner = owner  # type: ignore[attr-defined]
    if case["tool"] == "review":  # this framework cannot pause after a call, so the guard itself waits for the person
        case = {**case, "expect": {**case["expect"], "waits": False}}
    run(owner, case, door)


def test_a_hosted_tool_cannot_be_guarded(owner: Owner) -> None:
    async def build() -> None:
        guarded([WebSearchTool()], AsyncGuard(Gateway(owner.agents, token="x"), SERVER))

    with pytest.raises(TypeError):
        asyncio.run(build())


def test_what_the_user_asked_for_is_told_once(owner: Owner) -> None:
    async def talk() -> str:
        async def invoke(_: Any, given: str) -> Any:
            return "fine"

        schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
        tool = FunctionTool(name="read_ticket", description="It reads.", params_json_schema=schema, on_invoke_tool=invoke, strict_json_schema=False)
        guard = AsyncGuard(Gateway(owner.agents, token=owner.harness()), SERVER)
        try:
            steps: list[Any] = [[function_call("read_ticket", '{"id":"1"}', call_id=f"c{n}")] for n in range(2)] + [[assistant_message("Done.")]]
            agent = Agent(name="bot", model=ScriptedModel(steps), tools=guarded([tool], guard))
            await Runner.run(agent, "Read ticket 1.", run_config=RunConfig(tracing_disabled=True))
            return await guard.session()
        finally:
            await guard.close()

    said = [r for r in owner.records(asyncio.run(talk())) if r["kind"] == "context"]
    assert [r["codes"] for r in said] == [["by.sdk"]]


# SPDX-License-Identifier: Apache-2.0

"""LangChain and LangGraph, the real packages, with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from contract import SERVER, Said, Tool, every_case, run
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command
from owner import Owner

from sallyport import Gateway, Misplaced, ToolFailed
from sallyport.langchain import SallyportMiddleware, guarded_tool_node


class Scripted(BaseChatModel):
    """A chat model that says what stands in its script, by how many messages of its own it finds."""

    script: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        said = sum(isinstance(m, AIMessage) for m in messages)
        return ChatResult(generations=[ChatGeneration(message=self.script[said].model_copy(deep=True))])


def calls(name: str, arguments: dict[str, Any], call_id: str) -> AIMessage:
    return AIMessage(id=f"m-{call_id}", content="I call a tool.", tool_calls=[{"name": name, "args": arguments, "id": call_id}])


def tool_of(t: Tool) -> StructuredTool:
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["id"]}

    async def again(**arguments: Any) -> Any:
        return t(**arguments)

    return StructuredTool(name=t.case["tool"], description="It does what it is called.", args_schema=schema, func=lambda **a: t(**a), coroutine=again)


def said(state: dict[str, Any], err: BaseException | None) -> Said:
    """What a run came to: the interrupt, the tool's error, or the message that the model reads."""
    if err is not None:
        return Said("failed", text=str(err))
    if state.get("__interrupt__"):
        value = state["__interrupt__"][0].value
        return Said("waiting", text=value["message"], ticket=value["ticket"])
    message = [m for m in state["messages"] if isinstance(m, ToolMessage)][-1]
    text = str(message.content)
    if message.status == "error":
        return Said("withheld" if "Do not repeat" in text and "handed to" not in text else "refused", text=text)
    try:
        return Said("result", json.loads(text))
    except ValueError:
        return Said("result", text)


def attempts(build: Callable[[Any], Any], tool_case: Tool, session: str, call_id: str, use_async: bool) -> Callable[[], Said]:
    saver = InMemorySaver()  # what outlives the process: each attempt builds everything else anew
    config = {"configurable": {"thread_id": "t"}}
    first: list[Any] = [{"messages": [HumanMessage("Do it.", id="h")], "sallyport_session": session}]

    def attempt() -> Said:
        graph = build(saver)
        given = first.pop() if first else Command(resume={"approve": True})
        try:
            state = asyncio.run(graph.ainvoke(given, config)) if use_async else graph.invoke(given, config)
            return said(state, None)
        except (RuntimeError, ToolFailed) as err:
            return said({}, err)

    return attempt


def node(use_async: bool) -> Any:
    def door(gateway: Gateway, session: str, t: Tool, call_id: str) -> Callable[[], Said]:
        def build(saver: Any) -> Any:
            g = StateGraph(MessagesState)
            g.add_node("model", lambda s: {"messages": [calls(t.case["tool"], t.case["arguments"], call_id)]})
            g.add_node("tools", guarded_tool_node([tool_of(t)], gateway, SERVER, session=session))
            g.set_entry_point("model")
            g.add_edge("model", "tools")
            return g.compile(checkpointer=saver)

        return attempts(build, t, session, call_id, use_async)

    return door


def agent(use_async: bool) -> Any:
    class Fixed(SallyportMiddleware):  # the case names the session, and gateways of a case may be down from the start
        def before_agent(self, state: Any, runtime: Any) -> Any:
            return {"sallyport_session": self.fixed}

        def after_model(self, state: Any, runtime: Any) -> Any:
            return None

    def door(gateway: Gateway, session: str, t: Tool, call_id: str) -> Callable[[], Said]:
        def build(saver: Any) -> Any:
            guard = Fixed(gateway, SERVER)
            guard.fixed = session
            model = Scripted(script=[calls(t.case["tool"], t.case["arguments"], call_id), AIMessage("Done.")])
            return create_agent(model, [tool_of(t)], middleware=[guard], checkpointer=saver)

        return attempts(build, t, session, call_id, use_async)

    return door


# The call id of a case is "call-1"; with a message's id before it, it is another: what "another execution" took
# is then not this call. So cases of that kind name it as the adapter does.
def named(case: dict[str, Any]) -> dict[str, Any]:
    return {**case, "call_id": "m-call-1:call-1"}


@every_case
@pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
def test_agents_keep_the_contract(owner: Owner, case: dict[str, Any], use_async: bool) -> None:
    run(owner, named(case), agent(use_async))


@every_case
def test_tool_nodes_keep_the_contract(owner: Owner, case: dict[str, Any]) -> None:
    run(owner, named(case), node(False))


def test_a_guard_that_is_not_last_refuses(owner: Owner) -> None:
    ran = []

    @tool
    def read(id: str) -> str:
        """Reads."""
        ran.append(id)
        return "x"

    class Changes(AgentMiddleware):
        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(tool_call={**request.tool_call, "args": {"id": "EVIL"}}))

    gateway = Gateway(owner.agents, token=owner.harness())
    model = Scripted(script=[calls("read", {"id": "ok"}, "c1"), AIMessage("Done.")])
    with pytest.raises(Misplaced):
        create_agent(model, [read], middleware=[SallyportMiddleware(gateway, SERVER), Changes()]).invoke({"messages": [HumanMessage("Do it.")]})
    assert not ran
    create_agent(model, [read], middleware=[Changes(), SallyportMiddleware(gateway, SERVER)]).invoke({"messages": [HumanMessage("Do it.")]})
    assert ran == ["EVIL"]  # and that is what was decided on

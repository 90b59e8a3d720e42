# SPDX-License-Identifier: Apache-2.0

"""The table of docs/sdk.md: what LangChain's own guardrails do, done by a rule; one test a row."""

from __future__ import annotations

import time
from typing import Any

import pytest
from contract import SERVER
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, ModelCallLimitMiddleware, PIIMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from owner import Owner
from test_langchain import Scripted, calls

from sallyport import Gateway
from sallyport.langchain import SallyportMiddleware

SECRET = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zC0fL2hR6"


class Heard(Scripted):
    """A scripted model that keeps what it was given to read."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **more: Any) -> Any:
        HEARD.append("\n".join(str(m.content) for m in messages))
        return super()._generate(messages, *args, **more)


HEARD: list[str] = []


class Room:
    def __init__(self, owner: Owner) -> None:
        self.owner, self.gateway, self.ran = owner, Gateway(owner.agents, token=owner.harness()), []
        HEARD.clear()

    def tool(self, name: str, returns: str = "done") -> StructuredTool:
        def act(id: str) -> str:
            self.ran.append((name, id))
            return returns

        return StructuredTool.from_function(act, name=name, description="It does what it is called.")

    def agent(self, script: list[AIMessage], *tools: StructuredTool, before: Any = (), **options: Any) -> Any:
        guard = SallyportMiddleware(self.gateway, SERVER, **options)
        return create_agent(Heard(script=script), list(tools), middleware=[*before, guard], checkpointer=InMemorySaver())


CONFIG: Any = {"configurable": {"thread_id": "t"}}


def ask(text: str = "Do it.") -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def answers(state: dict[str, Any]) -> list[str]:
    return [str(m.content) for m in state["messages"] if isinstance(m, ToolMessage)]


@pytest.fixture
def room(owner: Owner) -> Room:
    return Room(owner)


def test_human_in_the_loop(room: Room) -> None:
    agent = room.agent([calls("delete", {"id": "hitl"}, "c1"), AIMessage("Done.")], room.tool("delete"))
    waits = agent.invoke(ask(), CONFIG)["__interrupt__"][0].value
    assert not room.ran
    room.owner.answer("approve", waits["ticket"])
    agent.invoke(Command(resume=True), CONFIG)
    assert room.ran == [("delete", "hitl")]


def test_an_edit_by_the_human_in_the_loop_is_judged_too(room: Room) -> None:
    human = HumanInTheLoopMiddleware(interrupt_on={"read": True})
    agent = room.agent([calls("read", {"id": "1"}, "c1"), AIMessage("Done.")], room.tool("read"), room.tool("send"), before=[human])
    agent.invoke(ask(), CONFIG)
    edit = {"type": "edit", "edited_action": {"name": "send", "args": {"id": "1"}}}
    state = agent.invoke(Command(resume={"decisions": [edit]}), CONFIG)
    assert not room.ran and "Sending is not permitted here. Write a draft instead." in "".join(answers(state))


def test_secrets_in_the_input(room: Room) -> None:
    state = room.agent([AIMessage("Done.")], screen=("input",)).invoke(ask(f"My token is {SECRET}, keep it."), CONFIG)
    assert SECRET not in "".join(HEARD) and "My token is [secret" in HEARD[0] and SECRET not in str(state["messages"][0].content)


def test_secrets_in_the_output(room: Room) -> None:
    state = room.agent([AIMessage(f"It is {SECRET}.")], screen=("output",)).invoke(ask(), CONFIG)
    assert SECRET not in str(state) and "It is [secret" in str(state["messages"][-1].content)


def test_secrets_in_a_tool_result(room: Room) -> None:
    state = room.agent([calls("leak", {"id": "1"}, "c1"), AIMessage("Done.")], room.tool("leak", f"token {SECRET}")).invoke(ask(), CONFIG)
    assert room.ran and SECRET not in str(state) and SECRET not in "".join(HEARD) and answers(state)[0].startswith("token [secret")


def test_a_limit_of_tool_calls(room: Room) -> None:
    script = [calls("thrice", {"id": str(n)}, f"c{n}") for n in range(5)]
    state = room.agent([*script, AIMessage("Done.")], room.tool("thrice")).invoke(ask(), CONFIG)
    assert len(room.ran) == 3 and answers(state)[3] == answers(state)[4] == "This session has made enough calls. Go on without the tool."


def test_a_limit_of_model_calls_stands_before_ours(room: Room) -> None:
    script = [calls("read", {"id": str(n)}, f"c{n}") for n in range(9)]
    room.agent(script, room.tool("read"), before=[ModelCallLimitMiddleware(run_limit=2)]).invoke(ask(), CONFIG)
    assert len(HEARD) == 2 and len(room.ran) == 2


def test_the_selection_of_tools(room: Room) -> None:
    state = room.agent([calls("other", {"id": "1"}, "c1"), AIMessage("Done.")], room.tool("read"), room.tool("other")).invoke(ask(), CONFIG)
    assert not room.ran and answers(state) != ["done"]


MAIL = "ann.smith@corp.example"


def test_personal_data_in_the_input(room: Room) -> None:
    state = room.agent([AIMessage("Done.")], screen=("input",)).invoke(ask(f"Write to {MAIL}."), CONFIG)
    assert MAIL not in "".join(HEARD) and "Write to **" in HEARD[0] and MAIL not in str(state["messages"][0].content)


def test_personal_data_in_the_output(room: Room) -> None:
    state = room.agent([AIMessage(f"It is {MAIL}.")], screen=("output",)).invoke(ask(), CONFIG)
    assert MAIL not in str(state) and "It is **" in str(state["messages"][-1].content)


def test_personal_data_in_a_tool_result(room: Room) -> None:
    state = room.agent([calls("contacts", {"id": "1"}, "c1"), AIMessage("Done.")], room.tool("contacts", f"mail {MAIL}")).invoke(ask(), CONFIG)
    assert room.ran and MAIL not in str(state) and MAIL not in "".join(HEARD) and answers(state)[0].startswith("mail **")


def test_personal_data_by_pii_middleware_before_ours(room: Room) -> None:
    pii = PIIMiddleware("email", strategy="redact", apply_to_input=True)
    room.agent([AIMessage("Done.")], before=[pii]).invoke(ask("Write to ann@corp.example."), CONFIG)
    assert "ann@corp.example" not in "".join(HEARD) and "Write to [REDACTED" in HEARD[0]


def test_what_the_user_said_and_the_model_answered_is_on_record(room: Room) -> None:
    state = room.agent([calls("read", {"id": "1"}, "c1"), AIMessage("Done.")], room.tool("read"))
    state.invoke(ask("Read it."), CONFIG)
    session = state.get_state(CONFIG).values["sallyport_session"]
    until = time.monotonic() + 10
    while (kinds := [r["kind"] for r in room.owner.records(session)]) != ["session", "context", "intent", "outcome", "context"]:
        assert time.monotonic() < until, kinds
        time.sleep(0.05)


def test_a_tool_that_pauses_itself_goes_on_as_an_action_of_its_own(room: Room) -> None:
    def act(id: str) -> str:
        room.ran.append(interrupt("which colour?"))
        return "done"

    agent = room.agent([calls("read", {"id": "1"}, "c1"), AIMessage("Done.")], StructuredTool.from_function(act, name="read", description="Asks."))
    assert agent.invoke(ask(), CONFIG)["__interrupt__"][0].value == "which colour?"
    state = agent.invoke(Command(resume="blue"), CONFIG)
    assert room.ran == ["blue"] and answers(state) == ["done"]


def test_a_call_is_not_run_again_when_its_node_is(room: Room) -> None:
    def act(id: str) -> str:
        room.ran.append(id)
        raise KeyboardInterrupt  # the process ends here, with the intent on record and no outcome

    saver = InMemorySaver()
    for _ in range(2):
        guard = SallyportMiddleware(room.gateway, SERVER)
        agent = create_agent(Heard(script=[calls("read", {"id": "1"}, "c1"), AIMessage("Done.")]),
                             [StructuredTool.from_function(act, name="read", description="Dies.")], middleware=[guard], checkpointer=saver)
        try:
            state = agent.invoke(None if room.ran else ask(), CONFIG)
        except KeyboardInterrupt:
            continue
    assert room.ran == ["1"] and "handed to another execution" in answers(state)[0]

# SPDX-License-Identifier: Apache-2.0

"""LangChain 1.x and LangGraph: the gates around every tool call of an agent.

    agent = create_agent(model, tools, middleware=[..., SallyportMiddleware(gateway, "crm")], checkpointer=saver)

The middleware has to be the last one that wraps tool calls, so that nothing between it and the tool can
change what runs; a call that finds it elsewhere raises Misplaced. A call that needs a person interrupts the graph;
``Command(resume=True)`` lets it look for the answer, in this process or another one that shares the
checkpointer. What the resume says is not an approval: only Sallyport's inbox gives one.

What the user asked for is what stands in the input of the agent. Messages that come up later in a run,
summaries for instance, are nobody's request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from typing_extensions import NotRequired

from langchain.agents.middleware.types import AgentMiddleware, AgentState, PrivateStateAttr
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command, interrupt

from . import _wire
from .client import Gateway
from .errors import Misplaced, Pending, Refused, SallyportError, ToolFailed, Unavailable, Withheld
from .guard import AsyncGuard, Call, Guard, Outcome, Stored, call_key

Result = ToolMessage | Command[Any]
Approvals = Literal["interrupt", "message"]


class SallyportState(AgentState[Any]):
    """What the middleware keeps with the conversation."""

    sallyport_session: NotRequired[Annotated[str, PrivateStateAttr]]
    sallyport_told: NotRequired[Annotated[list[str], PrivateStateAttr]]


def text_of(message: Any) -> str:
    """The text of a message, reasoning blocks included."""
    content = message.content
    if isinstance(content, str):
        return content
    parts = []
    for block in content:
        if isinstance(block, str):
            parts.append(block)
        elif isinstance(block, dict):
            parts.extend(str(block[k]) for k in ("reasoning", "thinking", "text") if isinstance(block.get(k), str))
    return "\n".join(parts)


def _messages(state: Any) -> list[Any]:
    if isinstance(state, list):
        return state
    return list(state.get("messages", []) if isinstance(state, dict) else getattr(state, "messages", []))


def _asked_by(state: Any, call_id: str) -> AIMessage | None:
    for message in reversed(_messages(state)):
        if isinstance(message, AIMessage) and any(c.get("id") == call_id for c in message.tool_calls):
            return message
    return None


def _innermost(handler: Any) -> bool:
    return getattr(handler, "__module__", "") == ToolNode.__module__ and getattr(handler, "__qualname__", "").startswith("ToolNode.")


class _Gate:
    """What the middleware and the wrapper of a bare ToolNode share."""

    def __init__(self, gateway: Gateway, server: str, approvals: Approvals, wait: float) -> None:
        self.gateway, self.server, self.approvals, self.wait = gateway, server, approvals, wait
        self._sync: Guard | None = None

    @property
    def guard(self) -> Guard:
        if self._sync is None:
            self._sync = Guard(self.gateway, self.server, paused=(GraphBubbleUp,))
        return self._sync

    def asynchronous(self) -> AsyncGuard:
        """One for each use: a connection belongs to an event loop, and a middleware may see several."""
        return AsyncGuard(self.gateway, self.server, paused=(GraphBubbleUp,))

    def call(self, request: ToolCallRequest, handler: Any, session: str) -> Call:
        if not _innermost(handler):
            raise Misplaced("sallyport: the guard must be the last middleware that wraps tool calls")
        call = request.tool_call
        asked = _asked_by(request.state, call["id"] or "")
        key = call_key(asked.id or "" if asked else "", call["id"] or "")
        return Call(session, self.server, call["name"], dict(call["args"]), key, text_of(asked) if asked else "", self.wait)

    def refusal(self, request: ToolCallRequest, err: SallyportError) -> ToolMessage:
        text = err.message
        if isinstance(err, Pending):
            if self.approvals == "interrupt":
                interrupt({"sallyport": "approval", "ticket": err.ticket, "action": err.action, "expires": err.expires, "message": text,
                           "tool": f"{self.server}/{request.tool_call['name']}", "ran": err.ran})
            text = f"{text} Ticket {err.ticket} is open." if err.ticket else text
        return ToolMessage(content=text, name=request.tool_call["name"], tool_call_id=request.tool_call["id"], status="error")

    def run(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any], session: str) -> Any:
        call = self.call(request, handler, session)
        while True:
            try:
                got = self.guard.drive(call, lambda a: _outcome(handler(_with(request, a))))
                return _message(request, got) if isinstance(got, Stored) else got
            except (Misplaced, ToolFailed):
                raise
            except SallyportError as err:
                message = self.refusal(request, err)
                if not isinstance(err, Pending) or self.approvals == "message":
                    return message

    async def arun(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]], session: str) -> Any:
        call, guard = self.call(request, handler, session), self.asynchronous()

        async def execute(a: dict[str, Any]) -> Outcome:
            return _outcome(await handler(_with(request, a)))

        try:
            while True:
                try:
                    got = await guard.drive(call, execute)
                    return _message(request, got) if isinstance(got, Stored) else got
                except (Misplaced, ToolFailed):
                    raise
                except SallyportError as err:
                    message = self.refusal(request, err)
                    if not isinstance(err, Pending) or self.approvals == "message":
                        return message
        finally:
            await guard.close()


def _with(request: ToolCallRequest, arguments: dict[str, Any]) -> ToolCallRequest:
    return request.override(tool_call={**request.tool_call, "args": arguments})


def _outcome(result: Any) -> Outcome:
    """What is reported of a tool's answer: everything of it that a model or a later step may read."""
    if isinstance(result, ToolMessage):
        value: Any
        if result.artifact is None:
            value, restore = result.content, lambda v: result.model_copy(update={"content": _content(v)})
        else:
            value = {"content": result.content, "artifact": result.artifact}

            def restore(v: Any) -> ToolMessage:
                parts = v if isinstance(v, dict) and "content" in v else {"content": v}
                return result.model_copy(update={"content": _content(parts["content"]), "artifact": parts.get("artifact")})

        return Outcome(value, failed=result.status == "error", original=result, restore=restore)
    update = result.update if isinstance(result, Command) else result
    messages = _messages(update) if isinstance(update, dict) else []
    tool_message = next((m for m in messages if isinstance(m, ToolMessage)), None)

    def replaced(v: Any) -> ToolMessage:  # the rest of the command is lost with what was cut out of it
        name, call = (tool_message.name, tool_message.tool_call_id) if tool_message else (None, "")
        return ToolMessage(content=_content(v), name=name, tool_call_id=call)

    shown = {k: [text_of(m) for m in v] if k == "messages" else repr(v) for k, v in update.items()} if isinstance(update, dict) else repr(result)
    return Outcome(shown, original=result, restore=replaced)


def _content(value: Any) -> Any:
    if isinstance(value, str) or isinstance(value, list) and all(isinstance(v, str | dict) for v in value):
        return value
    return _wire.encode(value).decode()


def _message(request: ToolCallRequest, stored: Stored) -> ToolMessage:
    value, artifact = stored.value, None
    if isinstance(value, dict) and set(value) == {"content", "artifact"}:
        value, artifact = value["content"], value["artifact"]
    return ToolMessage(content=_content(value), artifact=artifact, name=request.tool_call["name"], tool_call_id=request.tool_call["id"])


class SallyportMiddleware(AgentMiddleware[SallyportState, Any]):
    """Guards the tools of an agent made by ``create_agent``. It must be the last middleware of the list.

    ``server`` is the name under which policy knows the tools. ``approvals`` says what happens when a person is
    asked: "interrupt" pauses the graph, which needs a checkpointer, "message" tells the model; before either a
    call waits ``wait`` seconds. ``screen`` names the messages whose text passes gate two as the result of a tool:
    "input" (``user_message``, before the model and the record see it) and "output" (``answer``, before the user does).
    """

    state_schema = SallyportState

    def __init__(self, gateway: Gateway, server: str, *, approvals: Approvals = "interrupt", wait: float = 0.0,
                 roots: list[str] | None = None, screen: tuple[Literal["input", "output"], ...] = ()) -> None:
        super().__init__()
        self._gate = _Gate(gateway, server, approvals, wait)
        self._roots, self._screen = list(roots or []), screen
        self.tools = []

    # The hooks for asyncio run the same code in the loop's default executor, but for the tool calls.

    def before_agent(self, state: SallyportState, runtime: Any) -> dict[str, Any] | None:
        session, told = state.get("sallyport_session", ""), list(state.get("sallyport_told", []))
        news = [m for m in _messages(state) if isinstance(m, HumanMessage) and m.id not in told and not m.additional_kwargs.get("lc_source")]
        guard = self._gate.guard
        if session and not self._alive(session, news):
            session = ""
        if not session:
            try:
                session = guard.client.open_session(roots=self._roots)
            except (_wire.Unclear, _wire.Problem) as err:
                raise Unavailable("sallyport: no session can be opened") from err
        changed = []
        for m in news:
            text = text_of(m)
            if "input" in self._screen and text:
                passed = self._screened(session, "user_message", m.id or "", text)
                if passed != text:
                    text = passed
                    changed.append(m.model_copy(update={"content": text}))
            if text:
                guard.say("user_request", text, session)
        update: dict[str, Any] = {"sallyport_session": session, "sallyport_told": told + [m.id for m in news if m.id]}
        if changed:
            update["messages"] = changed
        return update

    def _alive(self, session: str, news: list[HumanMessage]) -> bool:
        """Whether the session of an earlier turn still takes what is said in it."""
        if not news:
            return True
        try:
            self._gate.guard.client.say(session, "reasoning", "The conversation goes on.")
        except _wire.Problem as err:
            if err.status == 404:
                return False
            raise Unavailable("sallyport: the session cannot be used") from err
        except _wire.Unclear as err:
            raise Unavailable("sallyport: the session cannot be used") from err
        return True

    async def abefore_agent(self, state: SallyportState, runtime: Any) -> dict[str, Any] | None:
        import asyncio

        return await asyncio.to_thread(self.before_agent, state, runtime)

    def after_model(self, state: SallyportState, runtime: Any) -> dict[str, Any] | None:
        """Records what the model said where no tool call carries it, and screens the answer."""
        messages = _messages(state)
        last = messages[-1] if messages else None
        session = state.get("sallyport_session", "")
        if not isinstance(last, AIMessage) or last.tool_calls or not session:
            return None
        text = text_of(last)
        if not text:
            return None
        if "output" in self._screen:
            passed = self._screened(session, "answer", last.id or "", text)
            return None if passed == text else {"messages": [last.model_copy(update={"content": passed})]}
        self._gate.guard.say("reasoning", text, session)
        return None

    async def aafter_model(self, state: SallyportState, runtime: Any) -> dict[str, Any] | None:
        import asyncio

        return await asyncio.to_thread(self.after_model, state, runtime)

    def _screened(self, session: str, tool: str, message: str, text: str) -> str:
        try:
            got = self._gate.guard.run(tool, {}, lambda _: text, call_id=call_key(tool, message), session=session)
        except (Refused, Withheld, Pending) as err:
            return f"[withheld: {err.message}]"
        return got if isinstance(got, str) else _wire.encode(got).decode()

    def _session(self, request: ToolCallRequest) -> str:
        session = request.state.get("sallyport_session", "") if isinstance(request.state, dict) else ""
        if not session:
            raise Misplaced("sallyport: the agent began without the middleware")
        return str(session)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Result]) -> Result:
        return self._gate.run(request, handler, self._session(request))  # type: ignore[no-any-return]

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Result]]) -> Result:
        return await self._gate.arun(request, handler, self._session(request))  # type: ignore[no-any-return]


def guarded_tool_node(tools: Any, gateway: Gateway, server: str, *, session: str | Callable[[ToolCallRequest], str],
                      approvals: Approvals = "interrupt", wait: float = 0.0, **options: Any) -> ToolNode:
    """A LangGraph ToolNode for graphs of your own. ``session`` is the session of the conversation, or finds it."""
    gate = _Gate(gateway, server, approvals, wait)

    def of(request: ToolCallRequest) -> str:
        return session if isinstance(session, str) else session(request)

    def wrap(request: ToolCallRequest, handler: Any) -> Any:
        return gate.run(request, handler, of(request))

    async def awrap(request: ToolCallRequest, handler: Any) -> Any:
        return await gate.arun(request, handler, of(request))

    return ToolNode(tools, wrap_tool_call=wrap, awrap_tool_call=awrap, **options)

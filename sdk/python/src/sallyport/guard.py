# SPDX-License-Identifier: Apache-2.0

"""The two gates around one call: ask, execute what the answer says, report, return what may be seen.

The steps are written once, as a generator that yields what is to be sent or executed; ``Guard`` drives it
for threads, ``AsyncGuard`` for asyncio. Nothing but an allow with its arguments leads to an execution, and
nothing but a release leads to a result.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from . import _wire
from .client import AsyncClient, Client, Gateway, Request, context_request, named, session_request
from .errors import Misplaced, Pending, Refused, SallyportError, ToolFailed, Unavailable, Withheld

F = TypeVar("F", bound=Callable[..., Any])

NOT_ASKED = "Sallyport could not be asked, so the call was not run. Do not try to get around it."
NOT_RELEASED = "The call was executed, but its result is withheld because it could not be recorded. Do not repeat it."
PAUSED = {"sallyport": "paused"}
LOOK = 0.5  # seconds between two looks at a result that a person has before him, where the gateway does not wait with us
BEAT = 120.0  # seconds between two signs of life of a long execution; the gateway gives up after ten minutes


@dataclass
class Outcome:
    """What an execution came to. ``restore`` turns a changed value back into what the caller expects."""

    value: Any
    failed: bool = False
    restore: Callable[[Any], Any] | None = None
    original: Any = None
    error: BaseException | None = None
    paused: bool = False


@dataclass
class Call:
    """One call of a tool, and what may be waited for."""

    session: str
    server: str
    tool: str
    arguments: dict[str, Any]
    id: str
    reasoning: str = ""
    wait: float = 0.0
    executor: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass
class Execute:
    """The step that a driver carries out by calling the tool."""

    action: str
    arguments: dict[str, Any]


@dataclass
class Pause:
    """The step that a driver carries out by waiting."""

    seconds: float


Step = Request | Execute | Pause
Steps = Generator[Step, Any, Any]


def call_key(*parts: str) -> str:
    """A call id that two executions of one call share and no other call has; at most 256 bytes."""
    name = ":".join(p for p in parts if p)
    return name if name and len(name.encode()) <= 200 and name.isprintable() else sha256(name.encode("utf-8", "replace")).hexdigest()


def _ask(c: Call, n: int) -> Generator[Step, Any, _wire.Action]:
    body: dict[str, Any] = {"session": c.session, "call_id": c.id if n == 0 else f"{c.id}~{n}", "tool": {"server": c.server, "name": c.tool},
                            "arguments": c.arguments, "executor": c.executor}
    if c.reasoning:
        body["reasoning"] = c.reasoning.encode("utf-8", "replace").decode()[:100_000]
    try:
        request = Request("POST", "/v1/actions", body)
    except (TypeError, ValueError) as err:
        raise Refused("The arguments are no JSON, so the call was not run.") from err
    answer = yield request
    if answer is None:
        raise Unavailable(NOT_ASKED)
    try:
        return _wire.read_action(*answer)
    except _wire.Unclear as err:
        raise Unavailable(NOT_ASKED) from err
    except _wire.Problem as err:
        if err.code in ("conflict", "malformed", "too-large"):
            raise Refused(f"Sallyport refused the request, so the call was not run: {err.detail or err.code}.") from err
        raise Unavailable(NOT_ASKED) from err


def _wait(c: Call, a: _wire.Action, until: float) -> Generator[Step, Any, None]:
    left = until - time.monotonic()
    pause = max(0.05, min(left, 50.0))
    answer = yield Request("GET", f"/v1/actions/{a.id}?wait={pause:.2f}s", wait=pause)
    if answer is None or answer[0] not in (200, 202):
        raise Unavailable(NOT_ASKED)


def _look(action: str, until: float) -> Generator[Step, Any, None]:
    """Waits for the person who has a result before him. What it comes to is asked for after it."""
    began = time.monotonic()
    pause = max(0.05, min(until - began, 50.0))
    answer = yield Request("GET", f"/v1/actions/{action}?wait={pause:.2f}s", wait=pause)
    if time.monotonic() - began < LOOK and (answer is None or answer[0] != 200):
        yield Pause(min(LOOK, pause))


def shape(value: Any) -> tuple[Any, bool, Callable[[Any], Any]]:
    """The form in which a value is reported, whether something of it is out of sight, and the way back.

    What JSON or the gateway cannot hold as it is goes as text, which the scanners read all the same.
    """
    if _wire.plain(value):
        return value, False, lambda v: v
    try:
        text, hidden = _wire.encode(value).decode(), False
    except (TypeError, ValueError):
        text, hidden = repr(value).encode("utf-8", "replace").decode(), True

    def back(v: Any) -> Any:
        if hidden or not isinstance(v, str):
            return v
        try:
            return _wire.decode(v)
        except ValueError:
            return v

    return text, hidden, back


def flow(c: Call) -> Steps:
    """Carries one call through both gates. It returns what the caller may have, or raises a SallyportError."""
    n, until = 0, time.monotonic() + c.wait
    ran = ""  # the action that was executed here, whose result a person looks at
    while True:
        try:
            a = yield from _ask(c, n)
        except Refused as err:
            raise Withheld(NOT_RELEASED, action=ran) if ran else err from err.__cause__
        if ran and a.outcome is None:
            raise Withheld(NOT_RELEASED, action=ran)
        if a.outcome is not None:
            if a.outcome.status == "released" and _wire.same(a.outcome.result, PAUSED):
                n += 1  # the tool itself paused; going on with it is an action of its own
                continue
            if a.outcome.status == "held" and time.monotonic() < until:
                yield from _look(a.id, until)
                continue
            return _settle(a.id, a.outcome, None)
        if a.effect == "ask":
            if time.monotonic() >= until:
                raise Pending(a.hint or "A person has to approve this call.", action=a.id, ticket=a.ticket, expires=a.expires)
            yield from _wait(c, a, until)
            continue
        if a.effect != "allow" or a.arguments is None:
            raise Refused(a.hint or "This call is not permitted.", action=a.id)
        out: Outcome = yield Execute(a.id, a.arguments)
        release = yield from _report(a.id, out)
        if out.paused and out.error is not None:
            raise out.error
        if release.status == "held" and time.monotonic() < until:
            ran = a.id
            yield from _look(a.id, until)
            continue
        return _settle(a.id, release, out)


def _report(action: str, out: Outcome) -> Generator[Step, Any, _wire.Release]:
    value, hidden, back = shape(out.value)
    body = {"status": "failed" if out.failed else "done", "result": value}
    if hidden:
        body["opaque"] = True
    answer = yield Request("POST", f"/v1/actions/{action}/outcome", body)
    if answer is None:
        raise Withheld(NOT_RELEASED, action=action)
    try:
        release = _wire.read_release(_wire.read(*answer))
    except (_wire.Unclear, _wire.Problem) as err:
        raise Withheld(NOT_RELEASED, action=action) from err
    if release.status == "released" and _wire.same(release.result, value):
        out.value, out.restore = release.result, lambda _: out.original
    elif release.status == "released":
        out.error = None if out.failed else out.error
        inner = out.restore
        out.restore = lambda v: inner(back(v)) if inner else back(v)
    return release


def _settle(action: str, r: _wire.Release, out: Outcome | None) -> Any:
    """What the caller gets. A repeated call, without an outcome of its own, gets the stored value."""
    if r.status == "held":
        raise Pending(r.hint or "A person looks at the result first. Do not repeat the call.", action=action, ticket=r.ticket, ran=True)
    if r.status != "released":
        raise Withheld(r.hint or "The call was executed, but its result is withheld. Do not repeat it.", action=action)
    if out is None:
        return Stored(r.result)
    if out.error is not None:
        raise out.error
    if out.failed and out.original is None:
        raise ToolFailed(str(out.restore(r.result) if out.restore else r.result), action=action)
    return out.restore(r.result) if out.restore else r.result


class Stored:
    """A result from an earlier execution of the same call, as it was released."""

    def __init__(self, value: Any) -> None:
        self.value = value


def raised(err: BaseException, paused: bool) -> Outcome:
    if paused:
        return Outcome(PAUSED, failed=True, error=err, paused=True)
    return Outcome(f"{type(err).__name__}: {err}", failed=True, error=err)


def _finished(value: Any) -> Outcome:
    return value if isinstance(value, Outcome) else Outcome(value, original=value)


class _Core:
    """What both guards share: the settings, and the folding of arguments for decorators."""

    def __init__(self, gateway: Gateway, server: str, *, session: str = "", user_request: str = "", roots: Sequence[str] = (),
                 cwd: str = "", wait: float = 0.0, paused: tuple[type[BaseException], ...] = ()) -> None:
        if not server or "/" in server:
            raise ValueError("sallyport: server must name the tools' source, without a slash")
        self.gateway, self.server, self.wait, self.paused = gateway, server, wait, paused
        self._session, self._opening = session, session_request(user_request, roots, cwd)
        self._told: set[str] = set()
        self._hears = not user_request  # else the host tells the request itself

    def _call(self, tool: str, arguments: dict[str, Any], call_id: str, reasoning: str, session: str, wait: float | None) -> Call:
        return Call(session, self.server, tool, arguments, call_id or "call-" + secrets.token_hex(16), reasoning, self.wait if wait is None else wait)

    @staticmethod
    def _signature(fn: Callable[..., Any]) -> inspect.Signature:
        sig = inspect.signature(fn)
        for p in sig.parameters.values():
            if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL):
                raise TypeError(f"sallyport: {fn.__qualname__}: argument {p.name!r} has no name to decide on")
        return sig

    @staticmethod
    def _named(sig: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = sig.bind(*args, **kwargs)
        bound.apply_defaults()
        out: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if sig.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                out.update(value)
            else:
                out[name] = value
        return out


class Guard(_Core):
    """Guards calls for threads. It opens one session at first use, unless it is given one.

    ``server`` is the name under which policy knows the tools. ``wait`` is how many seconds a call waits for a
    person before it raises Pending. ``paused`` are exceptions by which a tool pauses itself.
    """

    def __init__(self, gateway: Gateway, server: str, **settings: Any) -> None:
        super().__init__(gateway, server, **settings)
        self.client = Client(gateway)
        self._lock = threading.Lock()

    def close(self) -> None:
        self.client.close()

    @property
    def session(self) -> str:
        """The id of the session; keep it to go on in another process."""
        with self._lock:
            if not self._session:
                try:
                    self._session = named(self.client.send(self._opening))
                except (_wire.Unclear, _wire.Problem) as err:
                    raise Unavailable(NOT_ASKED) from err
            return self._session

    def say(self, kind: str, text: str, session: str = "") -> None:
        """Tells the session what the user said or the model reasoned; it raises Unavailable if that fails."""
        try:
            named(self.client.send(context_request(session or self.session, kind, text, {})))
        except (_wire.Unclear, _wire.Problem) as err:
            raise Unavailable(NOT_ASKED) from err

    def run(self, tool: str, arguments: dict[str, Any], execute: Callable[[dict[str, Any]], Any], *, call_id: str = "",
            reasoning: str = "", session: str = "", wait: float | None = None) -> Any:
        """Runs execute with the arguments that were decided on, and returns what may be seen of its result.

        It raises Refused, Pending, Withheld, ToolFailed, or what execute raised. Use the same call_id for every
        attempt at one call: it never runs twice.
        """
        got = self.drive(self._call(tool, arguments, call_id, reasoning, session or self.session, wait), execute)
        return got.value if isinstance(got, Stored) else got

    def drive(self, call: Call, execute: Callable[[dict[str, Any]], Any]) -> Any:
        steps = flow(call)
        try:
            step = next(steps)
            while True:
                reply: Any = None
                if isinstance(step, Request):
                    reply = self.client.send(step)
                elif isinstance(step, Execute):
                    reply = self._execute(step, execute)
                else:
                    time.sleep(step.seconds)
                step = steps.send(reply)
        except StopIteration as end:
            return end.value

    def _execute(self, step: Execute, execute: Callable[[dict[str, Any]], Any]) -> Outcome:
        over = threading.Event()
        beat = threading.Thread(target=self._beat, args=(step.action, over), daemon=True)
        beat.start()
        try:
            return _finished(execute(step.arguments))
        except Exception as err:  # what the tool raises is an outcome, and is reported before anybody sees it
            return raised(err, isinstance(err, self.paused))
        finally:
            over.set()
            beat.join()

    def _beat(self, action: str, over: threading.Event) -> None:
        while not over.wait(BEAT):
            self.client.send(Request("POST", f"/v1/actions/{action}/heartbeat", {}))

    def tool(self, name: str = "") -> Callable[[F], F]:
        """Guards a plain function: its arguments by name are what is decided on."""

        def wrap(fn: F) -> F:
            if inspect.iscoroutinefunction(fn):
                raise TypeError("sallyport: use AsyncGuard for coroutine functions")
            sig = self._signature(fn)

            @functools.wraps(fn)
            def call(*args: Any, **kwargs: Any) -> Any:
                return self.run(name or fn.__name__, self._named(sig, args, kwargs), lambda a: fn(**a))

            return call  # type: ignore[return-value]

        return wrap


class AsyncGuard(_Core):
    """The same for asyncio; it belongs to one event loop."""

    def __init__(self, gateway: Gateway, server: str, **settings: Any) -> None:
        super().__init__(gateway, server, **settings)
        self.client = AsyncClient(gateway)
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        await self.client.close()

    async def session(self) -> str:
        async with self._lock:
            if not self._session:
                try:
                    self._session = named(await self.client.send(self._opening))
                except (_wire.Unclear, _wire.Problem) as err:
                    raise Unavailable(NOT_ASKED) from err
            return self._session

    async def say(self, kind: str, text: str, session: str = "") -> None:
        try:
            named(await self.client.send(context_request(session or await self.session(), kind, text, {})))
        except (_wire.Unclear, _wire.Problem) as err:
            raise Unavailable(NOT_ASKED) from err
        if kind == "user_request":
            self._told.add(text)

    async def hear(self, texts: Iterable[str]) -> None:
        """Tells the session what the user said, each text once, as adapters find it in their framework's context.

        It does nothing for a guard that was given user_request.
        """
        for text in texts:
            if self._hears and text and text not in self._told:
                await self.say("user_request", text[:200_000])
                self._told.add(text)

    async def run(self, tool: str, arguments: dict[str, Any], execute: Callable[[dict[str, Any]], Awaitable[Any]], *, call_id: str = "",
                  reasoning: str = "", session: str = "", wait: float | None = None) -> Any:
        got = await self.drive(self._call(tool, arguments, call_id, reasoning, session or await self.session(), wait), execute)
        return got.value if isinstance(got, Stored) else got

    async def drive(self, call: Call, execute: Callable[[dict[str, Any]], Awaitable[Any]]) -> Any:
        steps = flow(call)
        try:
            step = next(steps)
            while True:
                reply: Any = None
                if isinstance(step, Request):
                    reply = await self.client.send(step)
                elif isinstance(step, Execute):
                    reply = await self._execute(step, execute)
                else:
                    await asyncio.sleep(step.seconds)
                step = steps.send(reply)
        except StopIteration as end:
            return end.value

    async def _execute(self, step: Execute, execute: Callable[[dict[str, Any]], Awaitable[Any]]) -> Outcome:
        beat = asyncio.create_task(self._beat(step.action))
        try:
            return _finished(await execute(step.arguments))
        except Exception as err:
            return raised(err, isinstance(err, self.paused))
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _beat(self, action: str) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await self.client.send(Request("POST", f"/v1/actions/{action}/heartbeat", {}))

    async def peek(self, tool: str, arguments: dict[str, Any], call_id: str) -> _wire.Action | None:
        """What gate one says of a call that somebody else will execute through run; None if it says nothing."""
        call = self._call(tool, arguments, call_id, "", await self.session(), 0.0)
        call.executor = ""
        steps = _ask(call, 0)
        try:
            step = next(steps)
            steps.send(await self.client.send(step))  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except SallyportError:
            return None
        return None

    def tool(self, name: str = "") -> Callable[[F], F]:
        def wrap(fn: F) -> F:
            sig = self._signature(fn)

            @functools.wraps(fn)
            async def call(*args: Any, **kwargs: Any) -> Any:
                return await self.run(name or fn.__name__, self._named(sig, args, kwargs), lambda a: fn(**a))

            return call  # type: ignore[return-value]

        return wrap


__all__ = ["AsyncGuard", "Guard", "Misplaced", "Outcome"]

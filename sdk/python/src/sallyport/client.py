# SPDX-License-Identifier: Apache-2.0

"""The connection to one or several gateways.

A request goes to the gateways in turn until one answers, with the same body: the call id and the name of
the execution in it make sure that a repeated request is not a repeated action. Redirections are not
followed, and proxies and credentials from the environment are not used.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from . import _wire

RETRIED = frozenset({421, 429, 500, 502, 503, 504})


class Gateway:
    """Where the gateways are, and the token of the harness.

    ``urls`` is one address or several, tried in order. ``token_file`` is read once; give ``token`` only if it
    comes from a place that no tool of the agent can read. Plain HTTP is taken for loopback only, unless
    ``plain_http`` says otherwise. ``timeout`` is in seconds per request, ``rounds`` how often all gateways are tried.
    """

    def __init__(self, urls: str | Sequence[str] = "http://127.0.0.1:7117", *, token: str = "", token_file: str | Path = "",
                 timeout: float = 30.0, rounds: int = 3, pause: float = 0.2, plain_http: bool = False) -> None:
        if bool(token) == bool(token_file):
            raise ValueError("sallyport: one of token and token_file is required")
        self.urls = [urls] if isinstance(urls, str) else list(urls)
        if not self.urls:
            raise ValueError("sallyport: no gateway")
        for i, url in enumerate(self.urls):
            self.urls[i] = _address(url, plain_http)
        self._token = token or Path(token_file).read_text("utf-8").strip()
        self.timeout, self.rounds, self.pause = timeout, rounds, pause

    def __repr__(self) -> str:
        return f"Gateway({self.urls!r})"

    def __getstate__(self) -> Any:
        raise TypeError("sallyport: a gateway holds a token and is not written down")

    def _options(self) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer {self._token}"}, "trust_env": False, "follow_redirects": False}


def _address(url: str, plain: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"sallyport: gateway {url!r} is no plain address")
    if parts.scheme == "http" and not plain and not _loopback(parts.hostname):
        raise ValueError(f"sallyport: gateway {url!r} would get the token in the clear; use https")
    return url.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Request:
    """One step of the protocol that a driver carries out: send this, and give back (status, body) or None.

    None says that no gateway answered. ``wait`` is what the gateway may take longer, in seconds.
    """

    def __init__(self, method: str, path: str, body: Any = None, wait: float = 0.0) -> None:
        self.method, self.path, self.wait = method, path, wait
        self.content = None if body is None else _wire.encode(body)

    def steps(self, g: Gateway) -> Generator[tuple[str, float], tuple[int, bytes] | None, tuple[int, bytes] | None]:
        """Yields (url, pause before it); the driver sends back what came. It returns the first answer that binds."""
        last = None
        for round_ in range(g.rounds):
            for i, url in enumerate(g.urls):
                pause = g.pause * 2 ** (round_ - 1) if round_ and not i else 0.0
                answer = yield url + self.path, pause
                if answer is not None:
                    last = answer
                    if answer[0] not in RETRIED:
                        return answer
        return last


def session_request(user_request: str, roots: Sequence[str], cwd: str) -> Request:
    body: dict[str, Any] = {}
    if user_request:
        body["user_request"] = user_request
    if roots:
        body["roots"] = list(roots)
    if cwd:
        body["cwd"] = cwd
    return Request("POST", "/v1/sessions", body)


def context_request(session: str, kind: str, text: str, labels: dict[str, str]) -> Request:
    return Request("POST", f"/v1/sessions/{session}/context", {"kind": kind, "text": text, **labels})


def named(answer: tuple[int, bytes] | None) -> str:
    if answer is None:
        raise _wire.Unclear("no gateway answers")
    return _wire.read_named(*answer)


class Client:
    """A connection for threads. It is safe for concurrent use; close it, or use it as a context manager."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._http = httpx.Client(**gateway._options())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, r: Request) -> tuple[int, bytes] | None:
        import time

        steps = r.steps(self.gateway)
        try:
            url, pause = next(steps)
            while True:
                if pause:
                    time.sleep(pause)
                try:
                    got = self._http.request(r.method, url, content=r.content, headers=_type(r), timeout=self.gateway.timeout + r.wait)
                    answer: tuple[int, bytes] | None = (got.status_code, got.content)
                except httpx.HTTPError:
                    answer = None
                url, pause = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def open_session(self, user_request: str = "", *, roots: Sequence[str] = (), cwd: str = "") -> str:
        """Opens a session and returns its id. What the user asked for needs the scope host."""
        return named(self.send(session_request(user_request, roots, cwd)))

    def say(self, session: str, kind: str, text: str, **labels: str) -> None:
        """Adds what the user said (user_request), the model reasoned (reasoning), or labelled content."""
        named(self.send(context_request(session, kind, text, labels)))


class AsyncClient:
    """The same for asyncio; it belongs to one event loop."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._http = httpx.AsyncClient(**gateway._options())

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, r: Request) -> tuple[int, bytes] | None:
        import asyncio

        steps = r.steps(self.gateway)
        try:
            url, pause = next(steps)
            while True:
                if pause:
                    await asyncio.sleep(pause)
                try:
                    got = await self._http.request(r.method, url, content=r.content, headers=_type(r), timeout=self.gateway.timeout + r.wait)
                    answer: tuple[int, bytes] | None = (got.status_code, got.content)
                except httpx.HTTPError:
                    answer = None
                url, pause = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def open_session(self, user_request: str = "", *, roots: Sequence[str] = (), cwd: str = "") -> str:
        return named(await self.send(session_request(user_request, roots, cwd)))

    async def say(self, session: str, kind: str, text: str, **labels: str) -> None:
        named(await self.send(context_request(session, kind, text, labels)))


def _type(r: Request) -> dict[str, str]:
    return {} if r.content is None else {"Content-Type": "application/json"}

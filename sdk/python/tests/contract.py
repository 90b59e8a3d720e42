# SPDX-License-Identifier: Apache-2.0

"""The shared contract cases (testdata/contract), run through one door: a way to have a framework call a tool."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from owner import CONTRACT, Bad, Owner, free_url

from sallyport import Client, Gateway

SERVER = "contract"
CASES = {p.stem: json.loads(p.read_text("utf-8")) for p in sorted(CONTRACT.glob("*.json"))}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@dataclass
class Said:
    """What came of handing a call in: a result, or what the model reads in its place, or a ticket to wait for."""

    answer: str  # result, failed, refused, withheld, waiting
    value: Any = None
    text: str = ""
    ticket: str = ""


@dataclass
class Tool:
    """The tool of a case: it counts, and returns or raises what the case says."""

    case: dict[str, Any]
    ran: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, **arguments: Any) -> Any:
        self.ran.append({k: v for k, v in arguments.items() if v is not None})
        if "raises" in self.case:
            raise RuntimeError(self.case["raises"])
        return self.case["returns"]


# A door hands the case's call in, under the given call id, in a session, or hands it in again after Said.waiting.
Door = Callable[[Gateway, str, Tool, str], Callable[[], Said]]


def run(owner: Owner, case: dict[str, Any], door: Door) -> None:
    token = owner.harness(case.get("agent", ""))
    real = Gateway(owner.agents, token=token)
    with Client(real) as client:
        session = client.open_session()
    bad: Bad | None = None
    kind, urls = case.get("gateway", "one"), [owner.agents]
    if kind in ("loses", "strange", "no-outcome"):
        bad = Bad(kind, owner.agents, case.get("strange"))
        urls = [bad.url, owner.agents] if kind == "loses" else [bad.url]
    elif kind in ("down", "first-down"):
        urls = [free_url()] + ([owner.agents] if kind == "first-down" else [])
    gateway = Gateway(urls, token=token, rounds=2, pause=0.01)
    tool = Tool(case)
    try:
        before(owner, case, session, token)
        said = through(owner, case, door(gateway, session, tool, "call-1"))
        if case.get("again") == "ended":
            said = through(owner, case, door(gateway, session, tool, "call-1"))
        check(case["expect"], said, tool)
        if "records" in case["expect"]:
            want, until = case["expect"]["records"], time.monotonic() + 10
            while (got := kinds(owner, session)) != want and time.monotonic() < until:
                time.sleep(0.05)  # the index follows the log
            assert got == want
    finally:
        if bad:
            bad.close()


def before(owner: Owner, case: dict[str, Any], session: str, token: str) -> None:
    """What another execution did with the same call id."""
    arguments = {"other-arguments": {"id": "other"}, "taken": case["arguments"]}.get(case.get("again", ""))
    if arguments is not None:
        got = owner.http.post(owner.agents + "/v1/actions", headers={"Authorization": f"Bearer {token}"}, json={
            "session": session, "call_id": case.get("call_id", "call-1"), "executor": "another", "tool": {"server": SERVER, "name": case["tool"]}, "arguments": arguments})
        assert got.status_code == 200, got.text


def through(owner: Owner, case: dict[str, Any], attempt: Callable[[], Said]) -> Said:
    said = attempt()
    if case["expect"].get("waits"):
        assert said.answer == "waiting" and said.ticket, said
        owner.answer(case["people"], said.ticket, case.get("comment", ""))
        said = attempt()
    return said


def check(expect: dict[str, Any], said: Said, tool: Tool) -> None:
    assert said.answer == expect["answer"], said
    assert len(tool.ran) == expect["ran"], tool.ran
    if "arguments" in expect:
        assert tool.ran[0] == expect["arguments"]
    if "result" in expect:
        assert said.value == expect["result"]
    everything = said.text + json.dumps(said.value)
    for text in expect.get("says", []):
        assert text in everything
    for text in expect.get("never", []):
        assert text not in everything


def kinds(owner: Owner, session: str) -> list[str]:
    """The decisions, intents and outcomes of a session in order, each as one line."""
    out = []
    for r in owner.records(session):
        if r["kind"] in ("decision", "intent", "outcome"):
            words = [r["kind"], r["verdict"]]
            if r["kind"] == "outcome":
                words.append(r["status"])
            if not r["enforced"]:
                words.append("observed")
            out.append(" ".join(words))
    return out

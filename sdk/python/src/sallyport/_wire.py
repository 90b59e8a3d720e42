# SPDX-License-Identifier: Apache-2.0

"""The bytes of the action protocol, read strictly: what is not understood is not an allow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_EXACT = 2**53  # beyond it an integer does not survive a double, and the gateway refuses it
MAX_DEPTH = 60


class Unclear(Exception):
    """An answer that cannot be relied on."""


class Problem(Exception):
    """A refusal of the gateway itself (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status, self.code, self.detail = status, code, detail


@dataclass(frozen=True)
class Release:
    """What gate two says of an outcome. ``result`` is set only if ``status`` is "released"."""

    status: str
    hint: str
    ticket: str
    result: Any


@dataclass(frozen=True)
class Action:
    """What gate one says of a call. ``arguments`` are set only for "allow" without an outcome."""

    id: str
    status: str
    effect: str
    hint: str
    ticket: str
    expires: str
    arguments: dict[str, Any] | None
    outcome: Release | None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return out


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def decode(body: bytes | str) -> Any:
    """Reads JSON: UTF-8, no name twice in one object, no NaN or Infinity. It raises ValueError."""
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError as err:
        raise ValueError("nested too deeply") from err


def encode(value: Any) -> bytes:
    """Writes JSON. It raises ValueError or TypeError for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except RecursionError as err:
        raise ValueError("nested too deeply") from err


def plain(value: Any, depth: int = 0) -> bool:
    """Whether the gateway takes the value as it is: exact numbers, text, and names that stay apart."""
    if depth > MAX_DEPTH:
        return False
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= MAX_EXACT
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, list):
        return all(plain(v, depth + 1) for v in value)
    if isinstance(value, dict):
        names = {n.casefold() for n in value if isinstance(n, str)}
        return len(names) == len(value) and all(plain(n) and plain(v, depth + 1) for n, v in value.items())
    return False


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same JSON; unlike ==, true is not 1."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _text(obj: dict[str, Any], name: str) -> str:
    value = obj.get(name, "")
    if not isinstance(value, str):
        raise Unclear(f"member {name!r} is no text")
    return value


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unclear(f"{what} is no object")
    return value


def _decision(obj: dict[str, Any]) -> tuple[str, str]:
    decision = _object(obj.get("decision"), "the decision")
    effect = _text(decision, "effect")
    if effect not in ("allow", "ask", "deny", "quarantine"):
        raise Unclear("the effect is none that this version knows")
    return effect, _text(decision, "hint")


def _approval(obj: dict[str, Any]) -> tuple[str, str]:
    approval = _object(obj.get("approval", {}), "the approval")
    return _text(approval, "id"), _text(approval, "expires")


def read(status: int, body: bytes) -> dict[str, Any]:
    """Reads an answer. It raises Problem for a refusal of the gateway, Unclear for anything else but 200 and 202."""
    try:
        value = decode(body)
    except ValueError as err:
        raise Unclear(f"an answer with status {status} that is no JSON: {err}") from err
    if status in (200, 202):
        return _object(value, "the answer")
    if isinstance(value, dict) and isinstance(value.get("code"), str):
        detail = value.get("detail", "")
        raise Problem(status, value["code"], detail if isinstance(detail, str) else "")
    raise Unclear(f"status {status}")


def read_named(status: int, body: bytes) -> str:
    name = _text(read(status, body), "id")
    if not name:
        raise Unclear("the answer names no id")
    return name


def read_release(obj: dict[str, Any]) -> Release:
    effect, hint = _decision(obj)
    status = _text(obj, "status")
    if status not in ("released", "withheld", "held"):
        raise Unclear("the status of the release is none that this version knows")
    if status == "released" and (effect != "allow" or "result" not in obj):
        raise Unclear("a release without result, or against its decision")
    ticket, _ = _approval(obj)
    return Release(status, hint, ticket, obj["result"] if status == "released" else None)


def read_action(status: int, body: bytes) -> Action:
    obj = read(status, body)
    effect, hint = _decision(obj)
    state, name = _text(obj, "status"), _text(obj, "id")
    ticket, expires = _approval(obj)
    outcome = read_release(_object(obj["outcome"], "the outcome")) if obj.get("outcome") is not None else None
    arguments = None
    if outcome is None and effect == "allow":
        if status != 200 or state != "intended" or not name:
            raise Unclear("an allow without an intent")
        arguments = _object(obj.get("arguments"), "arguments")
    if outcome is None and effect == "ask" and (state != "asked" or not name):
        raise Unclear("an ask that is no question")
    return Action(name, state, effect, hint, ticket, expires, arguments, outcome)

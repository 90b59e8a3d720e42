# SPDX-License-Identifier: Apache-2.0

"""The contract cases on plain functions, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from contract import SERVER, Said, Tool, every_case, run
from owner import Owner

from sallyport import AsyncGuard, Gateway, Guard, Pending, Refused, ToolFailed, Withheld


def said(call: Callable[[], Any]) -> Said:
    try:
        return Said("result", call())
    except Refused as err:
        return Said("refused", text=err.message)
    except Withheld as err:
        return Said("withheld", text=err.message)
    except Pending as err:
        return Said("waiting", text=err.message, ticket=err.ticket)
    except ToolFailed as err:
        return Said("failed", text=err.message)
    except RuntimeError as err:
        return Said("failed", text=str(err))


def plain(gateway: Gateway, session: str, tool: Tool, call_id: str) -> Callable[[], Said]:
    def attempt() -> Said:
        guard = Guard(gateway, SERVER, session=session)
        try:
            return said(lambda: guard.run(tool.case["tool"], tool.case["arguments"], lambda a: tool(**a), call_id=call_id))
        finally:
            guard.close()

    return attempt


def asynchronous(gateway: Gateway, session: str, tool: Tool, call_id: str) -> Callable[[], Said]:
    async def call() -> Any:
        guard = AsyncGuard(gateway, SERVER, session=session)

        async def execute(a: dict[str, Any]) -> Any:
            return tool(**a)

        try:
            return await guard.run(tool.case["tool"], tool.case["arguments"], execute, call_id=call_id)
        finally:
            await guard.close()

    return lambda: said(lambda: asyncio.run(call()))


@every_case
def test_plain_functions_keep_the_contract(owner: Owner, case: dict[str, Any]) -> None:
    run(owner, case, plain)


@every_case
def test_coroutines_keep_the_contract(owner: Owner, case: dict[str, Any]) -> None:
    run(owner, case, asynchronous)

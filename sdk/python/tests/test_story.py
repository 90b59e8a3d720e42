# SPDX-License-Identifier: Apache-2.0

"""A LangChain agent with a real MCP filesystem server under the baseline, in processes of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from owner import BINARY, ROOT, Owner

NODE = ROOT / ".cache" / "node" / "node_modules"
SERVER = [str(NODE / "node" / "bin" / "node"), str(NODE / "@modelcontextprotocol" / "server-filesystem" / "dist" / "index.js")]
CONFIG = "tools: {kinds: [{server: files, kind: server-filesystem}]}\n"
SECRET = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4xY7zC0fL2hR6"

pytestmark = pytest.mark.skipif(not Path(SERVER[1]).exists(), reason="npm is missing, and with it the filesystem server")


class Place:
    """An owner under the baseline, and a folder in which the agent may work."""

    def __init__(self) -> None:
        self.owner = Owner(policy=None, config=CONFIG)
        self.root = self.owner.home / "w"
        (self.root / ".git" / "hooks").mkdir(parents=True)
        self.hook = self.root / ".git" / "hooks" / "pre-commit"
        (self.root / "a.txt").write_text("alpha")
        (self.root / "env.txt").write_text(f"token={SECRET}\n")
        self.outside = self.owner.home / "elsewhere"
        self.outside.mkdir()

    def calls(self) -> dict[str, dict[str, Any]]:
        return {
            "allowed": {"name": "read_text_file", "args": {"path": str(self.root / "a.txt")}},
            "vetoed": {"name": "write_file", "args": {"path": str(self.outside / "x.txt"), "content": "x"}},
            "redacted": {"name": "read_text_file", "args": {"path": str(self.root / "env.txt")}},
            "paused": {"name": "write_file", "args": {"path": str(self.hook), "content": "#!/bin/sh\n"}},
        }

    def sessions(self) -> list[str]:
        return [str(s["id"]) for s in self.owner.call("GET", "/v1/sessions", self.owner.approver)["items"]]


@pytest.fixture
def place() -> Iterator[Place]:
    p = Place()
    yield p
    p.owner.close()


# The reasons that rest on the user's request. The MCP door hears none, so they stand on one side only.
REQUEST = {"rules": {"baseline.flow.traced"}, "codes": {"asked-for"}}


def canonical(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What a record says of an action, whichever door it came through."""
    said = [(r, {k: sorted(set(r[k]) - REQUEST[k]) for k in REQUEST}) for r in records
            if r["kind"] in ("decision", "intent", "outcome") and r["tool"] in ("read_text_file", "write_file")]
    return [tuple(str({**r, **why}[k]) for k in ("kind", "server", "tool", "effect", "phase", "verdict", "enforced", "status", "rules", "codes"))
            for r, why in said]


async def listing(command: list[str]) -> list[Any]:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async with stdio_client(StdioServerParameters(command=command[0], args=command[1:])) as (r, w), ClientSession(r, w) as s:
        await s.initialize()
        return (await s.list_tools()).tools


def register(p: Place) -> None:
    """Tells the owner what the tools are, as somebody who has looked at them."""
    tools = [{"name": t.name, "description": t.description, "input_schema": t.inputSchema,
              **({"annotations": t.annotations.model_dump(exclude_none=True)} if t.annotations else {})}
             for t in asyncio.run(listing([*SERVER, str(p.root)]))]
    admin = p.owner.token({"name": "ann", "scopes": ["tool-admin"]})
    p.owner.call("PUT", "/v1/tools/files", admin, {"tools": tools, "zone": "inside", "kind": "server-filesystem"})


def agent(p: Place, token: Path, script: Path, *more: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / "langchain-python" / "agent.py"), "--gateway", p.owner.agents, "--token", str(token),
               "--root", str(p.root), "--server", " ".join(SERVER), "--script", str(script), "--state", str(p.owner.home / "state.sqlite"), *more]
    got = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert got.returncode == 0, got.stderr
    return got.stdout


def test_an_agent_is_allowed_vetoed_redacted_and_paused_across_processes(place: Place) -> None:
    register(place)
    token, script = place.owner.home / "token", place.owner.home / "script.json"
    token.write_text(place.owner.harness())
    script.write_text(json.dumps(list(place.calls().values())))

    said = agent(place, token, script, "--ask", f"Look at the files in {place.root}")
    print(said)
    lines = said.splitlines()
    assert "read_text_file: success: alpha" in lines
    assert any(line.startswith("write_file: error:") for line in lines) and not list(place.outside.iterdir())
    assert SECRET not in said and any(line.startswith("read_text_file: success: token=[secret") for line in lines)
    assert lines[-1].startswith("waits: files/write_file: ticket ap_") and not place.hook.exists()

    again = agent(place, token, script, "--resume")  # nobody has answered yet: it goes on waiting
    assert "waits: files/write_file" in again and not place.hook.exists()

    place.owner.cli("approvals", "approve", lines[-1].split()[-1])
    done = agent(place, token, script, "--resume")
    assert "waits" not in done and place.hook.read_text() == "#!/bin/sh\n"

    [session] = place.sessions()
    mine = canonical(place.owner.records(session))
    other = through_mcp()
    assert mine == other


def through_mcp() -> list[tuple[Any, ...]]:
    """The same calls through the MCP door of an owner of its own."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    p = Place()

    async def run() -> None:
        params = StdioServerParameters(command=BINARY, args=["mcp", "--name", "files", "--", *SERVER, str(p.root)], env=p.owner.env, cwd=str(p.root))
        async with stdio_client(params) as (r, w), ClientSession(r, w) as s:
            await s.initialize()
            await s.list_tools()
            for what, c in p.calls().items():
                got = await s.call_tool(c["name"], c["args"])
                if what == "paused":
                    text = got.content[0].text  # type: ignore[union-attr]
                    p.owner.cli("approvals", "approve", text.split("Ticket ")[1].split()[0])
                    await s.call_tool(c["name"], c["args"])

    try:
        asyncio.run(run())
        assert p.hook.read_text() == "#!/bin/sh\n"
        time.sleep(0.3)  # the index follows the log
        [session] = p.sessions()
        return canonical(p.owner.records(session))
    finally:
        p.owner.close()

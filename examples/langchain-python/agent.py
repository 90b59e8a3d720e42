# SPDX-License-Identifier: Apache-2.0

"""A LangChain agent with the tools of an MCP filesystem server, behind Sallyport.

    python agent.py --root FOLDER --server "npx @modelcontextprotocol/server-filesystem" --token FILE --ask "Tidy up"
    python agent.py ... --resume

The conversation lies in --state, so that a call which waits for a person outlives this process: answer it with
"sallyport approvals approve", then go on with --resume. --model names a chat model of LangChain's; without it a
script, a JSON list of tool calls in --script, plays the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from sallyport import Gateway
from sallyport.langchain import SallyportMiddleware


class Script(BaseChatModel):
    """Plays a model: it makes one tool call of its list after the other, then stops."""

    calls: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        n = sum(isinstance(m, AIMessage) for m in messages)
        if n < len(self.calls):
            message = AIMessage("I use a tool.", tool_calls=[{**self.calls[n], "id": f"call_{n}"}])
        else:
            message = AIMessage("Done.")
        return ChatResult(generations=[ChatGeneration(message=message)])


async def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gateway", default="http://127.0.0.1:7117")
    p.add_argument("--token", required=True, help="file with a token that holds agent and host")
    p.add_argument("--root", required=True, help="folder in which the user lets the agent work")
    p.add_argument("--server", required=True, help="command of the filesystem server, without the folder")
    p.add_argument("--state", default="conversation.sqlite")
    p.add_argument("--model")
    p.add_argument("--script")
    p.add_argument("--ask", default="Do it.")
    p.add_argument("--resume", action="store_true")
    o = p.parse_args()

    command = [*shlex.split(o.server), o.root]
    tools = await MultiServerMCPClient({"files": {"transport": "stdio", "command": command[0], "args": command[1:]}}).get_tools()
    model = init_chat_model(o.model) if o.model else Script(calls=json.loads(Path(o.script).read_text()))
    guard = SallyportMiddleware(Gateway(o.gateway, token_file=o.token), "files", roots=[o.root])
    async with AsyncSqliteSaver.from_conn_string(o.state) as saver:
        agent = create_agent(model, tools, middleware=[guard], checkpointer=saver)
        given: Any = Command(resume=True) if o.resume else {"messages": [HumanMessage(o.ask)]}
        state = await agent.ainvoke(given, {"configurable": {"thread_id": "1"}})
    for m in state["messages"]:
        if isinstance(m, ToolMessage):
            print(f"{m.name}: {m.status}: {text(m)}")
    for i in state.get("__interrupt__", []):
        print(f"waits: {i.value['tool']}: ticket {i.value['ticket']}")


def text(m: ToolMessage) -> str:
    return m.content if isinstance(m.content, str) else " ".join(b.get("text", "") for b in m.content if isinstance(b, dict))


if __name__ == "__main__":
    asyncio.run(main())

# SPDX-License-Identifier: Apache-2.0

"""A LangChain agent with one tool, a query of a database, whose model follows a script.

Standard input is {"host", "port", "password", "calls": [[database, statement, parameters], ...]}; standard output is
the list of what the tool answered.
"""

import json
import sys
from typing import Any

import pg8000.dbapi
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

given = json.load(sys.stdin)
connections: dict[str, Any] = {}


@tool
def query(database: str, statement: str, parameters: list[Any]) -> str:
    """Runs a statement in a database and returns its rows."""
    if database not in connections:
        c = pg8000.dbapi.connect(user="bot", host=given["host"], port=int(given["port"]), password=given["password"], database=database, timeout=60)
        c.autocommit = True
        connections[database] = c
    cursor = connections[database].cursor()
    try:
        cursor.execute(statement, tuple(parameters))
        return json.dumps([[str(v) for v in row] for row in cursor.fetchall()] if cursor.description else [])
    except pg8000.dbapi.DatabaseError as err:
        return f"error: {err}"


class Script(BaseChatModel):
    calls: list[Any]

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        n = sum(isinstance(m, AIMessage) for m in messages)
        if n == len(self.calls):
            return ChatResult(generations=[ChatGeneration(message=AIMessage("Done."))])
        database, statement, parameters = self.calls[n]
        args = {"database": database, "statement": statement, "parameters": parameters}
        message = AIMessage("I look.", tool_calls=[{"name": "query", "args": args, "id": f"call_{n}"}])
        return ChatResult(generations=[ChatGeneration(message=message)])


agent = create_agent(Script(calls=given["calls"]), [query])
state = agent.invoke({"messages": [HumanMessage("Look at both databases.")]}, {"recursion_limit": 10 * len(given["calls"]) + 10})
json.dump([m.content for m in state["messages"] if isinstance(m, ToolMessage)], sys.stdout)

# SPDX-License-Identifier: Apache-2.0

"""Sallyport's SDK: two gates around every tool call of an agent.

    from sallyport import Gateway, Guard

    guard = Guard(Gateway(token_file="/etc/agent/harness.token"), "crm")

    @guard.tool()
    def delete_customer(id: str) -> str: ...

Adapters stand in sallyport.langchain, sallyport.openai_agents and sallyport.pydantic_ai.
"""

from .client import AsyncClient, Client, Gateway
from .errors import Misplaced, Pending, Refused, SallyportError, ToolFailed, Unavailable, Withheld
from .guard import AsyncGuard, Guard

__all__ = ["AsyncClient", "AsyncGuard", "Client", "Gateway", "Guard", "Misplaced", "Pending", "Refused", "SallyportError",
           "ToolFailed", "Unavailable", "Withheld"]

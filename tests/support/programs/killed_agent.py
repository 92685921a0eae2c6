"""An agent that makes many calls at once and kills itself in the middle of them:
``killed_agent.py FOLDER NUMBER``. Each body notes its start in FOLDER/started.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from guardrail.integrations.langchain import GuardMiddleware
from tests.support.guards import guarded

FOLDER, MANY = Path(sys.argv[1]), int(sys.argv[2])
lock = threading.Lock()
started = 0


class Model(FakeMessagesListChatModel):
    """Follow the script."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


@tool
def work(number: int) -> str:
    """Work; in the middle of all calls, end the process."""
    global started
    with lock, (FOLDER / "started").open("a") as file:
        file.write(f"{number}\n")
        file.flush()
        started += 1
        if started == MANY // 2:
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01 * (number % 3))
    return "done"


calls = [
    {"name": "work", "args": {"number": number}, "id": f"c-{number}", "type": "tool_call"}
    for number in range(MANY)
]
with guarded(FOLDER) as guard:
    model = Model(responses=[AIMessage("", tool_calls=calls), AIMessage("done")])
    agent = create_agent(model, tools=[work], middleware=[GuardMiddleware(guard)])
    agent.invoke({"messages": [HumanMessage("?")]})

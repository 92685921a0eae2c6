"""A LangChain agent with governed tools. One line wraps each tool; the agent does not change.

    python examples/langchain_agent.py [FOLDER]

The model is scripted, so the example runs offline and without an API key. All other parts are those
of a real agent: create_agent, its tool node, and tools that read and write files. Without FOLDER,
it uses a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool

from guardrail import Guard
from guardrail.integrations.langchain import govern

POLICY = """\
package guardrail.policy

files_labels := input.resource.properties.labels

allow contains "files.read" if "read" in files_labels

allow contains {"rule": "files.write_drafts", "message": "drafts may be written"} if {
	"write" in files_labels
	files_in_drafts
}

deny contains {
	"rule": "files.outside_drafts",
	"message": "only below drafts/ may anything be written",
} if {
	"write" in files_labels
	not files_in_drafts
}

files_in_drafts if {
	startswith(input.action.properties.args.path, "drafts/")
	not files_climbs
}

files_climbs if contains(input.action.properties.args.path, "..")
"""


class ScriptedModel(FakeMessagesListChatModel):
    """A scripted model that returns the given messages, one per turn."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Ignore the tools, because the script already contains the calls."""
        assert tools
        return self


def calling(name: str, number: int, **args: Any) -> AIMessage:
    """Return a message in which a model calls a tool."""
    return AIMessage(
        "", tool_calls=[{"name": name, "args": args, "id": f"call-{number}", "type": "tool_call"}]
    )


def make_tools(folder: Path) -> list[BaseTool]:
    """Return ordinary LangChain tools that work on files in *folder*."""

    @tool
    def read_file(path: str) -> str:
        """Read a file."""
        return (folder / path).read_text(encoding="utf-8")

    @tool
    def write_file(path: str, text: str) -> str:
        """Write a file."""
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return f"{len(text)} characters written to {path}"

    return [read_file, write_file]


def main(folder: Path) -> list[BaseMessage]:
    """Run the agent on its question and print the conversation."""
    policies, work = folder / "policies", folder / "work"
    policies.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    (policies / "files.rego").write_text(POLICY, encoding="utf-8")
    (work / "minutes.txt").write_text("We agreed to meet on Friday.", encoding="utf-8")
    model = ScriptedModel(
        responses=[
            calling("read_file", 1, path="minutes.txt"),
            calling("write_file", 2, path="minutes.txt", text="We agreed on nothing."),
            calling("write_file", 3, path="drafts/minutes.txt", text="We meet on Friday."),
            AIMessage("I may not change the minutes, so I put a draft beside them."),
        ]
    )
    with Guard.open(policies=policies, ledger=folder / "audit" / "ledger.db") as guard:
        read, write = make_tools(work)
        tools = [
            govern(read, guard, labels=["read"], target=["/path"]),
            govern(write, guard, labels=["write"], target=["/path"]),
        ]
        agent: Any = create_agent(model, tools=tools)
        with guard.session(principal="alice@example.com", agent="secretary"):
            result = agent.invoke({"messages": [("user", "Shorten the minutes.")]})
    messages: list[BaseMessage] = result["messages"]
    for message in messages:
        print(line(message))
    print(f"\nminutes.txt still says: {(work / 'minutes.txt').read_text(encoding='utf-8')}")
    return messages


def line(message: BaseMessage) -> str:
    """Return one line about *message*."""
    if isinstance(message, AIMessage) and message.tool_calls:
        call = message.tool_calls[0]
        args = ", ".join(f"{key}={value!r}" for key, value in call["args"].items())
        return f"model  calls {call['name']}({args})"
    if isinstance(message, ToolMessage):
        return f"tool   {message.status}: {message.content}"
    return f"{message.type:<6} {message.content}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
        print(f"next: guardrail show last --ledger {Path(sys.argv[1]) / 'audit' / 'ledger.db'}")
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
        print("All of it is gone now. next: python examples/langchain_agent.py FOLDER")

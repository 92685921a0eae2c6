"""An OpenAI agent loop with governed tool calls. The structure of the loop does not change.

    python examples/openai_loop.py [FOLDER]

The official client talks to a scripted model, so the example runs offline and without an API key.
All other parts are those of a real agent. Without FOLDER, it uses a temporary folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai

from guardrail import Guard
from guardrail.integrations.openai import ToolBox

POLICY = """\
package guardrail.policy

order_labels := input.resource.properties.labels

allow contains "orders.read" if "read" in order_labels

allow contains {"rule": "orders.refund", "message": "refunds of up to 50 are paid at once"} if {
	"money" in order_labels
	order_refund_is_small
}

deny contains {"rule": "orders.large_refund", "message": "only a manager refunds more than 50"} if {
	"money" in order_labels
	not order_refund_is_small
}

order_refund_is_small if input.action.properties.args.amount <= 50
"""
ORDERS = {7: {"status": "lost by the carrier", "paid": 80}}


class ScriptedModel(httpx2.BaseTransport):
    """Stands in for the provider: answers each request with the next scripted response."""

    def __init__(self, turns: Sequence[Sequence[dict[str, Any]]]) -> None:
        self._turns = list(turns)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the next response, in the format of the Responses API."""
        request.read()
        response = {
            "id": f"resp_{len(self._turns)}",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": "scripted",
            "output": self._turns.pop(0),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        return httpx2.Response(200, json=response)


def calling(name: str, turn: int, /, **args: Any) -> dict[str, Any]:
    """Return an output item with a function call."""
    call = {"type": "function_call", "id": f"fc_{turn}", "call_id": f"call-{turn}"}
    return {**call, "name": name, "arguments": json.dumps(args), "status": "completed"}


def saying(text: str) -> dict[str, Any]:
    """Return an output item with a text message."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    head = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return {**head, "content": content}


def make_client() -> openai.OpenAI:
    """Return the official client, connected to a scripted model."""
    model = ScriptedModel(
        [
            [calling("find_order", 1, number=7), calling("refund", 2, number=7, amount=80)],
            [calling("refund", 3, number=7, amount=50)],
            [saying("I have paid back 50 and asked a manager about the rest.")],
        ]
    )
    http = openai.DefaultHttpxClient(transport=model)
    return openai.OpenAI(api_key="none", base_url="http://model.invalid/v1", http_client=http)


def make_tools(guard: Guard, paid: dict[int, int]) -> ToolBox:
    """Return a ToolBox with two functions; *paid* collects the refunds."""
    box = ToolBox(guard)

    @box.tool(labels=["read"], target=["/number"])
    def find_order(number: int) -> dict[str, Any]:
        """Find an order."""
        return ORDERS[number]

    @box.tool(labels=["money"], target=["/number"])
    def refund(number: int, amount: int) -> str:
        """Pay back a part of an order."""
        paid[number] = amount
        return f"{amount} paid back"

    return box


def run_agent(client: openai.OpenAI, box: ToolBox, question: str) -> list[Any]:
    """Run the agent until it calls no more tools; return the conversation."""
    items: list[Any] = [{"role": "user", "content": question}]
    tools: Any = box.tools()
    while True:
        response = client.responses.create(model="gpt-5", input=items, tools=tools)
        results = box.run(response)
        items += [*response.output, *results]
        if not results:
            return items


def main(folder: Path) -> dict[int, int]:
    """Run the agent on its question, print the conversation, and return the refunds."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "orders.rego").write_text(POLICY, encoding="utf-8")
    paid: dict[int, int] = {}
    with Guard.open(policies=policies, ledger=folder / "audit" / "ledger.db") as guard:
        box = make_tools(guard, paid)
        with (
            make_client() as client,
            guard.session(principal="alice@example.com", agent="support-bot"),
        ):
            for item in run_agent(client, box, "Order 7 never arrived."):
                print(line(item))
    print(f"\nrefunds: {paid}")
    return paid


def line(item: Any) -> str:
    """Return one line about an item of the conversation."""
    if isinstance(item, dict):
        said = item.get("output", item.get("content"))
        return f"{item.get('role', 'tool'):<6} {said}"
    if item.type == "function_call":
        return f"model  calls {item.name}({item.arguments})"
    return f"model  {item.content[0].text}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
        print(f"next: guardrail show last --ledger {Path(sys.argv[1]) / 'audit' / 'ledger.db'}")
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
        print("All of it is gone now. next: python examples/openai_loop.py FOLDER")

"""The demo's shop: LangChain tools with real effects in a folder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, tool

from guardrail.config import DEFAULT_LEDGER, Settings
from guardrail.guard import Guard
from guardrail.integrations.langchain import govern

__all__ = ["CUSTOMERS", "POLICY", "governed_tools", "open_guard"]

POLICY = Path(__file__).parent / "support.rego"
CUSTOMERS = ["mia@example.com", "noah@example.com"]

_ORDERS = {
    "A-1042": {"customer": "mia@example.com", "item": "desk lamp", "total": 89.9},
    "A-1043": {"customer": "noah@example.com", "item": "office chair", "total": 412.0},
}
_LABELS = {
    "lookup_order": "read",
    "track_parcel": "read",
    "refund": "money",
    "send_email": "mail",
    "ship_order": "stock",
}


def open_guard(folder: Path) -> Guard:
    """Open the shop's guard in *folder*, and create the ledger and keys if they do not exist."""
    # The shop is used only once, so its records never reach a retention limit.
    return Guard.open(
        Settings().override(retention={"auto": False}),
        policies=POLICY,
        ledger=folder / DEFAULT_LEDGER,
        policy_data={"support": {"customers": [*CUSTOMERS]}},
    )


def governed_tools(guard: Guard, folder: Path) -> dict[str, BaseTool]:
    """Return the shop's tools, governed by *guard* and keyed by name. They write only to
    *folder*.
    """
    tools = [
        _lookup_order(),
        _track_parcel(),
        _refund(folder),
        _send_email(folder),
        _ship_order(folder),
    ]
    return {made.name: govern(made, guard, labels=[_LABELS[made.name]]) for made in tools}


def _lookup_order() -> BaseTool:
    @tool
    def lookup_order(order_id: str) -> dict[str, Any]:
        """Look up an order."""
        return _ORDERS[order_id]

    return lookup_order


def _track_parcel() -> BaseTool:
    @tool
    def track_parcel(order_id: str) -> str:
        """Ask the carrier for a parcel's location."""
        raise ConnectionError(f"the carrier did not answer about {order_id}")

    return track_parcel


def _refund(folder: Path) -> BaseTool:
    @tool
    def refund(order_id: str, amount: float) -> str:
        """Refund a payment."""
        with (folder / "refunds.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps({"order": order_id, "amount": amount}) + "\n")
        return f"{amount:.2f} paid back for {order_id}"

    return refund


def _send_email(folder: Path) -> BaseTool:
    @tool
    def send_email(to: str, subject: str, body: str) -> str:
        """Send an e-mail to a customer."""
        outbox = folder / "outbox"
        outbox.mkdir(exist_ok=True)
        number = len(list(outbox.iterdir())) + 1
        (outbox / f"{number}.txt").write_text(
            f"To: {to}\nSubject: {subject}\n\n{body}\n", encoding="utf-8"
        )
        return f"sent to {to}"

    return send_email


def _ship_order(folder: Path) -> BaseTool:
    @tool
    def ship_order(order_id: str) -> str:
        """Ship an order. The power fails halfway through."""
        (folder / f"{order_id}.label").write_text("half a lab", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
        return "shipped"

    return ship_order

"""The demo process that is killed while a tool runs: ``python -m guardrail.demo.crash FOLDER
SESSION``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from guardrail.demo.shop import governed_tools, open_guard

__all__ = ["main"]


def main(folder: Path, session: str) -> None:
    """Ship an order under the guard. Never returns, because the tool kills this process."""
    guard = open_guard(folder)
    with guard.session(principal="mia@example.com", agent="support-bot", id=session):
        governed_tools(guard, folder)["ship_order"].invoke(
            {
                "type": "tool_call",
                "id": "call-7",
                "name": "ship_order",
                "args": {"order_id": "A-1042"},
            }
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

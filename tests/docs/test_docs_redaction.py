"""The function in docs/redaction.md is governed as the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.guards import guarded, records

PAGE = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text(encoding="utf-8")


def test_marked_arguments_of_a_function_are_removed(tmp_path: Path) -> None:
    """By the rules of the schema. Nothing else shows that these values are sensitive."""
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    with guarded(tmp_path) as guard:
        names: dict[str, Any] = {"guard": guard, "__name__": "docs"}
        exec(program, names)
        with guard.session(principal="alice"):
            assert names["book_room"](guest="x", locker="blue horse", needs="a ramp") == "room 7"
    (decision,) = records(tmp_path / "audit.db", "call.decision")
    args = decision["input"]["action"]["properties"]["args"]
    assert args["guest"] == "x"
    assert args["locker"].startswith("gr1:secret:")
    assert args["needs"].startswith("gr1:health:")
    removed = decision["redaction"]["removed"]
    assert "schema:writeOnly" in str(removed)
    assert "schema:x-guardrail" in str(removed)

"""The function in docs/redaction.md is governed as the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from guardrail import Detector
from guardrail.core.redaction.detector import find_spans
from tests.support.guards import guarded, records

PAGE = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text(encoding="utf-8")
FUNCTION, DETECTOR = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_marked_arguments_of_a_function_are_removed(tmp_path: Path) -> None:
    """By the rules of the schema. Nothing else shows that these values are sensitive."""
    with guarded(tmp_path) as guard:
        names: dict[str, Any] = {"guard": guard, "__name__": "docs"}
        exec(FUNCTION, names)
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


def test_the_detector_on_the_page_works() -> None:
    names: dict[str, Any] = {"__name__": "docs"}
    exec(DETECTOR, names)
    detector = names["Badges"]()
    assert isinstance(detector, Detector)
    assert find_spans("badges", detector, "of BADGE-1234.") == [(3, 13, "badge")]
    assert find_spans("badges", detector, "of nobody") == []


def _words(text: str) -> str:
    """Return *text* without links and line breaks."""
    return " ".join(re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).split())


def test_security_promises_only_what_the_page_guarantees() -> None:
    """Each sentence of the promise is a sentence of the list, except the one that leads to it."""
    security = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    promise = security.partition("4. **Values classified as sensitive")[2].partition("\n5. **")[0]
    listed = _words(PAGE.partition("## Guarantees")[2].partition("\n## ")[0].replace("**", ""))
    sentences = re.split(r"(?<=[.]) (?=[A-Z])", _words(promise.partition("**")[2]))
    assert len(sentences) > 3
    assert sentences.pop().startswith("The complete list")
    assert [each for each in sentences if each not in listed] == []

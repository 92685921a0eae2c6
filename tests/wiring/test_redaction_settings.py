"""``[redaction]`` in a guard: its records, and its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.errors import ConfigError
from tests.support.guards import OPEN, guarded, records, ruled

ALLOW = 'allow contains "any"'
RULES = {
    "keys": {"employee": ["locker no"]},
    "patterns": {"employee": ["EMP-[0-9]{6}"]},
}


def test_a_guard_records_calls_by_the_rules_of_the_site(tmp_path: Path) -> None:
    with guarded(tmp_path, redaction=RULES) as guard:
        guard.declare("find", schema=OPEN)
        with guard.session(principal="ana", agent="bot"):
            guard.call("find", {"lockerNo": "4711", "text": "is EMP-123456 ill?"}, lambda **_: None)
    (record,) = records(tmp_path / "audit.db", "call.decision")
    assert record["redaction"]["profile"].startswith("standard/1+")
    assert record["redaction"]["removed"] == {
        "/lockerNo": ["employee", "key:employee"],
        "/text": ["employee", "detector:site"],
    }
    assert b"123456" not in (tmp_path / "audit.db").read_bytes()


def test_a_bad_pattern_stops_the_start_before_anything_is_created(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="missing"),
        ruled(tmp_path, ALLOW, redaction={"patterns": {"x": ["("]}}),
    ):
        pytest.fail("the guard started")
    assert not (tmp_path / "audit.db").exists()

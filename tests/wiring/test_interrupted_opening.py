"""Ctrl-C at any place where a guard starts or ends its threads."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.testing import StaticPolicy, allow
from guardrail.wiring import opening
from tests.support.guards import settings, whole
from tests.support.interrupts import Interrupt, renamed_threads

STARTS = (
    "anchors/schedule.py",
    "retention/schedule.py",
    "wiring/reload.py",
    "ledger/writing/writer.py",
    "system/threads.py",
)
"""The modules whose threads a guard starts, apart from those of its engine."""


@renamed_threads()
def test_ctrl_c_while_a_guard_opens_or_closes_is_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other error takes its place, and each time the ledger opens again, in the same process."""
    policy: Any = StaticPolicy(allow())
    policy.sources = None
    monkeypatch.setattr(opening, "load_engine", lambda *_: policy)
    chosen = settings(tmp_path)
    for place in itertools.count(1):
        interrupted = True
        with contextlib.suppress(KeyboardInterrupt):
            with Interrupt(place, STARTS, threads=True), opening.open_guard(Guard, chosen, None):
                pass
            interrupted = False
        if not interrupted:
            break
    with opening.open_guard(Guard, chosen, None) as guard:
        assert guard.call("send", {}, lambda: "done") == "done"
    assert place > 30
    assert whole(tmp_path / "audit.db")

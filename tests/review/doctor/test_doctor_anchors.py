"""What doctor says of anchors: none, set and never used, well, and failing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.anchors.state import AnchorState, AnchorStates, state_path, write_state
from guardrail.config import Settings
from guardrail.errors import ConfigError
from guardrail.ledger.reader import LedgerReader
from guardrail.review.doctor.anchors import anchors
from guardrail.review.doctor.result import CheckState as Found
from tests.support.projects import new_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a ledger, beside one for an anchor file."""
    (tmp_path / "away").mkdir()
    home = new_project(tmp_path / "home")
    Guard.open(policies=home / "policies", ledger=home / "audit.db").close()
    return home


def settings(project: Path, **section: Any) -> Settings:
    """Settings of the ledger there."""
    return Settings().override(ledger={"path": project / "audit.db"}, anchors=section)


def knows(project: Path, each: AnchorState) -> None:
    """Write what is known of the anchor file."""
    with LedgerReader.open(project / "audit.db") as reader:
        log = reader.log
    write_state(state_path(project / "audit.db"), AnchorStates(log, {"file": each}))


def test_no_anchor_is_worth_a_note(project: Path) -> None:
    """It says what would not be noticed, and what to do."""
    found = anchors(settings(project))
    assert found.state is Found.NOTE
    assert "[anchors]" in found.fix


def test_an_anchor_that_was_never_used_is_a_note_and_one_that_is_current_is_well(
    project: Path,
) -> None:
    """With how far it is and how long ago."""
    chosen = settings(project, file=project.parent / "away" / "heads")
    found = anchors(chosen)
    assert (found.state, "file: nothing yet" in found.found) == (Found.NOTE, True)
    with LedgerReader.open(project / "audit.db") as reader:
        size = reader.size()
    knows(project, AnchorState(size=size, time=1000.0))
    found = anchors(chosen, clock=lambda: 1012.0)
    assert (found.state, found.fix) == (Found.OK, "")
    assert f"file: {size} records, 12 s ago" in found.found


def test_an_anchor_that_is_far_behind_or_failing_is_not_well(project: Path) -> None:
    """The failure is told with its own next step."""
    chosen = settings(project, file=project.parent / "away" / "heads")
    knows(project, AnchorState(size=1, time=1000.0, behind=1001.0))
    assert anchors(chosen, clock=lambda: 1100.0).state is Found.OK
    assert anchors(chosen, clock=lambda: 2000.0).state is Found.NOTE
    knows(project, AnchorState(size=1, code="anchor.conflict", message="forked", hint="look"))
    found = anchors(chosen)
    assert (found.state, found.found, found.fix) == (Found.FAIL, "file: forked", "look")


def test_settings_that_cannot_work_and_a_ledger_that_is_not_there(project: Path) -> None:
    """The first is raised, and doctor shows it as a failure."""
    with pytest.raises(ConfigError):
        anchors(settings(project, file=project / "heads"))
    none = settings(project.parent / "none", file=project.parent / "away" / "heads")
    assert anchors(none).state is Found.NOTE

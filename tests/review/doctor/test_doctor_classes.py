"""The classes that a site's own redaction rules name."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.review.doctor.checks import check_all
from guardrail.review.doctor.result import Check, CheckState


def classes(folder: Path, text: str) -> Check | None:
    """Return the check of the classes in a settings file."""
    path = folder / "guardrail.toml"
    path.write_text(text)
    return {each.name: each for each in check_all(path, None, {})}.get("classes")


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ('[redaction.keys]\ncontct = ["mail_to"]\n', CheckState.NOTE, "a new class contct"),
        ('[redaction.patterns]\npayments = ["AB-[0-9]{6}"]\n', CheckState.NOTE, "payments"),
        ('[redaction.keys]\nlocker = ["locker_no"]\n', CheckState.OK, "of this site: locker"),
        ('[redaction.keys]\ncontact = ["mail_to"]\n', CheckState.OK, "known classes"),
    ],
)
def test_a_class_that_is_probably_misspelt_is_noted(
    tmp_path: Path, text: str, state: CheckState, words: str
) -> None:
    """Any name can be a class, so nothing else reports it."""
    found = classes(tmp_path, text)
    assert found is not None
    assert (found.state, words in found.found) == (state, True), found


def test_without_rules_of_the_site_nothing_is_checked(tmp_path: Path) -> None:
    """The list stays as short as it was."""
    assert classes(tmp_path, "") is None

"""The commands in the hints of refused calls."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.call.next_steps import NextSteps
from guardrail.config import Settings


@pytest.mark.parametrize(
    ("asserted", "require", "command"),
    [
        (True, "asserted", "guardrail approve ID --reason TEXT"),
        (
            False,
            "asserted",
            (
                "guardrail approve ID --reason TEXT (counts only with unsafe_asserted_approvals ="
                " true in [approvals])"
            ),
        ),
    ],
)
def test_an_approval_without_an_issuer_has_no_token(
    asserted: bool, require: str, command: str
) -> None:
    """The hint says what is missing if the approval would not count."""
    settings: Any = Settings().override(
        approvals={"unsafe_asserted_approvals": asserted}, identity={"require": require}
    )
    assert NextSteps.of(settings).approve("ID") == command


def test_commands_need_a_token_if_callers_must_be_verified() -> None:
    """Even if the settings accept approvals of people who are only asserted."""
    assert NextSteps("red", asserted=False, tokens=True).approve("ID") == (
        "guardrail approve ID --reason TEXT --token-file FILE --tenant red"
    )
    settings = Settings().override(
        approvals={"unsafe_asserted_approvals": True}, identity={"require": "verified"}
    )
    assert not NextSteps.of(settings).asserted

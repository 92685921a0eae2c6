"""Recall and excess on calls and strings that others published. NOT RUN unless
``GUARDRAIL_CORPORA`` names their folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.redaction.corpora.published import excess, labelled, secrets
from tests.core.redaction.report import CORPORA, LIMITS

FOLDER = Path(CORPORA)
pytestmark = [
    pytest.mark.corpora,
    pytest.mark.skipif(not CORPORA, reason="NOT RUN: GUARDRAIL_CORPORA names no folder"),
]

# The limits are a little below what is reached. The figures are in sample: key families and
# detectors were written by someone who had seen these corpora, as families and not as their lists.
# Other tools will do worse.


@pytest.mark.parametrize(
    ("name", "field"), [("tau_tool_calls", "args"), ("tau_tool_outputs", "output")]
)
def test_labelled_personal_data_is_removed(name: str, field: str) -> None:
    """From the arguments of retail and airline calls, and from profiles, orders and reservations."""
    assert labelled(FOLDER, name, field).share >= LIMITS[name]


def test_published_secret_examples_are_removed() -> None:
    """Examples of 745 secret scanning rules lose the value that the rule captures."""
    assert secrets(FOLDER).share >= LIMITS["kingfisher_examples"]


@pytest.mark.parametrize("name", ["bfcl_tool_calls_dev", "bfcl_multi_turn_calls_dev"])
def test_benign_calls_stay_readable(name: str) -> None:
    """Few characters of benign calls are changed, those aside whose change is right."""
    assert excess(FOLDER, name).share <= LIMITS[name]

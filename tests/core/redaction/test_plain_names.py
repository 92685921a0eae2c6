"""Names whose form alone shows that they are no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.redaction.detectors.scan import scan_secrets
from guardrail.core.redaction.marks import normalised
from guardrail.core.redaction.plain_names import is_plain_name
from guardrail.system.ids import new_ulid

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PLAIN = st.one_of(
    st.from_regex(r"[0-9]{1,15}", fullmatch=True),
    st.from_regex(r"[A-Za-z]{1,4}(?:[-_]?[0-9]{1,8})?", fullmatch=True),
    st.tuples(st.sampled_from("01234567"), st.text(CROCKFORD, min_size=25, max_size=25)).map(
        "".join
    ),
    st.uuids().map(str),
)


@settings(max_examples=2000)
@given(PLAIN)
def test_the_detectors_find_nothing_in_a_plain_name(name: str) -> None:
    """So a name that is recognised needs no scan."""
    assert is_plain_name(name)
    assert scan_secrets(normalised(name)) == []


@pytest.mark.parametrize(
    "name",
    [
        "last",
        "42",
        "S-1",
        "s_000123",
        pytest.param(new_ulid(), id="ulid"),
        "0b3c8a52-3f1f-4e5a-9d0e-0a1b2c3d4e5f",
    ],
)
def test_what_commands_are_usually_given_is_recognised(name: str) -> None:
    """Commands load no detectors for these."""
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "password",
        "key=1",
        "a b",
        "1\n",
        "١٢٣",
        "AKIA" + "Q" * 16,
        "hunter2hunter2",
        "session:42",
        str(Path("/etc/passwd")),
        "8" + "0" * 25,
    ],
)
def test_everything_else_is_scanned(name: str) -> None:
    """The form is a closed list."""
    assert not is_plain_name(name)

"""The program that several tests of policies ask."""

from __future__ import annotations

import pytest

from guardrail.policy.opa.program import OpaProgram, find_opa


@pytest.fixture(scope="session")
def opa() -> OpaProgram:
    """The program. If there is none, the test is NOT RUN, which with CI=true is a failure
    (tests/conftest.py).
    """
    found = find_opa()
    if found is None:
        pytest.skip("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")
    return found

"""Rules for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

_MAY_BE_SKIPPED = (
    # Corpora are measured where they are at hand, and the report says so where they are not.
    "NOT RUN: GUARDRAIL_CORPORA",
    # A container may forbid it; the same fault is then made with a limit on file size.
    "mounting is not allowed here",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true, a test that skips because a real part is missing has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(words in reason for words in _MAY_BE_SKIPPED):
            report.outcome = "failed"
            report.longrepr = f"skipped although CI=true: {reason}"
    return report

"""Settings for tests that use the engine inside the test process, and a real OPA to compare with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rego.comparison import Reference, find_opa

# Read by the engine when it first raises: a stack trace costs 150 ms.
os.environ.setdefault("RUST_BACKTRACE", "0")


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    """A running OPA that answers what the embedded engine is compared with."""
    program = find_opa()
    if program is None:
        pytest.skip("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")
    with Reference(program) as opa:
        yield opa


@pytest.fixture(scope="session")
def opa_program() -> Path:
    """The program. Where there is none the test is NOT RUN, and with CI=true that is a failure
    (tests/conftest.py).
    """
    found = os.environ.get("GUARDRAIL_OPA") or shutil.which("opa")
    if not found or not os.access(found, os.X_OK):
        pytest.skip("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")
    return Path(found)

"""Settings for tests that use the engine inside the test process, and a real OPA to compare with."""

from __future__ import annotations

import os
from collections.abc import Iterator

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

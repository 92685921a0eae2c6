"""A guard over a policy double and a ledger in memory, and what it recorded."""

from __future__ import annotations

import pytest

from tests.support.adapters import Bench, make_bench
from tests.support.langchain import RUNS


@pytest.fixture
def bench() -> Bench:
    return make_bench()


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    """Each test counts its own runs."""
    RUNS.clear()

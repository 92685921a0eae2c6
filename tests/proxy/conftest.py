"""Benches, as the tests of adapters have them."""

from __future__ import annotations

import pytest

from tests.support.adapters import Bench, make_bench


@pytest.fixture
def bench() -> Bench:
    return make_bench()

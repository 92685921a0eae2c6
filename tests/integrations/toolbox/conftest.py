"""Each test here runs for each API, unless it says otherwise."""

from __future__ import annotations

import pytest

from tests.support.adapters import Bench, make_bench
from tests.support.toolboxes import APIS, Api


@pytest.fixture
def bench() -> Bench:
    return make_bench()


@pytest.fixture(params=APIS, ids=lambda api: api.name)
def api(request: pytest.FixtureRequest) -> Api:
    return request.param


@pytest.fixture(params=["run", "arun"])
def how(request: pytest.FixtureRequest) -> str:
    return request.param

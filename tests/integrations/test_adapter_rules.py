"""Every adapter keeps every rule of the conformance suite."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from guardrail.testing import conformance
from tests.support.adapter_drivers import (
    ClientDriver,
    DeepAgentDriver,
    FunctionDriver,
    GovernDriver,
    MiddlewareDriver,
    ToolBoxDriver,
    ToolNodeDriver,
)
from tests.support.toolboxes import APIS

KINDS: dict[str, Any] = {
    "guard.tool": FunctionDriver,
    "govern": GovernDriver,
    "tool_call_wrappers": ToolNodeDriver,
    "GuardMiddleware": MiddlewareDriver,
    "deepagents": DeepAgentDriver,
} | {f"ToolBox for {api.name}": partial(ToolBoxDriver, api) for api in APIS}

DRIVERS: dict[str, conformance.AdapterDriver] = {
    f"{name}, {'async' if asynchronous else 'sync'}": kind(asynchronous=asynchronous)
    for name, kind in KINDS.items()
    for asynchronous in (False, True)
}
DRIVERS["govern_client"] = ClientDriver()


@pytest.mark.parametrize(
    ("driver", "rule"),
    [
        pytest.param(driver, rule, id=f"{name}-{rule}")
        for name, driver in DRIVERS.items()
        for rule in conformance.rules_for(driver)
    ],
)
def test_an_adapter_keeps_the_rule(
    driver: conformance.AdapterDriver, rule: conformance.AdapterRule
) -> None:
    rule.check(driver)

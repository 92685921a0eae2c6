"""Rules that every adapter must follow, as checks that you can run against your own adapter.

An adapter puts a guard between a framework and the functions that a model may call. Write a driver
(``AdapterDriver``) that creates governed tools from functions and runs a model's calls, and check
the driver with any test runner::

    import pytest
    from guardrail.testing import conformance

DRIVER = MyDriver()

    @pytest.mark.parametrize("rule", conformance.rules_for(DRIVER), ids=str)
    def test_my_adapter(rule: conformance.AdapterRule) -> None:
        rule.check(DRIVER)

A failure is a ``ConformanceError``, whose message states the expected and the actual result.
"""

from __future__ import annotations

from guardrail.testing.conformance.driver import AdapterDriver, ModelCall, Reply
from guardrail.testing.conformance.kit import ConformanceError
from guardrail.testing.conformance.suite import RULES, AdapterRule, rules_for

__all__ = [
    "RULES",
    "AdapterDriver",
    "AdapterRule",
    "ConformanceError",
    "ModelCall",
    "Reply",
    "rules_for",
]

"""LangChain's own suites for tools, green for governed ones."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool, tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from guardrail.integrations.langchain import govern
from guardrail.testing import StaticPolicy, allow, memory_guard

GUARD, LEDGER = memory_guard(StaticPolicy(allow()))


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Multiply(BaseTool):
    name: str = "multiply_class"
    description: str = "Multiply two numbers."
    response_format: Any = "content_and_artifact"

    def _run(self, a: int, b: int) -> tuple[str, int]:
        return str(a * b), a * b


class _Function:
    @property
    def tool_constructor(self) -> BaseTool:
        return govern(multiply, GUARD)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"a": 2, "b": 3}


class _Class(_Function):
    @property
    def tool_constructor(self) -> BaseTool:
        return govern(Multiply(), GUARD)


class TestGovernedFunctionUnit(_Function, ToolsUnitTests):
    """A governed ``@tool``."""


class TestGovernedFunctionIntegration(_Function, ToolsIntegrationTests):
    """A governed ``@tool``."""


class TestGovernedClassUnit(_Class, ToolsUnitTests):
    """A governed subclass of BaseTool."""


class TestGovernedClassIntegration(_Class, ToolsIntegrationTests):
    """A governed subclass of BaseTool."""


def test_the_suites_ran_governed_tools() -> None:
    """Each of their calls is in the ledger."""
    assert len(LEDGER.of("call.decision")) == len(LEDGER.of("call.outcome")) == 8

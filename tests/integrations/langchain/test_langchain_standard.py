"""LangChain's own suites for tools are green for a governed tool of every shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, Tool, create_retriever_tool, tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from pydantic import BaseModel

from guardrail.integrations.langchain import govern
from guardrail.testing import StaticPolicy, allow, memory_guard

GUARD, LEDGER = memory_guard(StaticPolicy(allow()))


@pytest.fixture(autouse=True)
def _each_call_is_in_the_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test of the suites that invokes its tool makes one call."""
    before = len(LEDGER.of("call.decision")), len(LEDGER.of("call.outcome"))
    yield
    calls = int("invoke_" in request.node.name and "schema_matches" not in request.node.name)
    after = len(LEDGER.of("call.decision")), len(LEDGER.of("call.outcome"))
    assert after == (before[0] + calls, before[1] + calls)


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool(return_direct=True)
async def multiply_async(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Multiply(BaseTool):
    name: str = "multiply_class"
    description: str = "Multiply two numbers."
    response_format: Any = "content_and_artifact"

    def _run(self, a: int, b: int) -> tuple[str, int]:
        return str(a * b), a * b


class Both(BaseTool):
    name: str = "multiply_both"
    description: str = "Multiply two numbers."

    def _run(self, a: int, b: int) -> int:
        return a * b

    async def _arun(self, a: int, b: int) -> int:
        return self._run(a, b)


class Pages(BaseRetriever):
    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document(query)]


class Words(BaseModel):
    words: str


def _product(a: int, b: int) -> int:
    return a * b


async def _product_async(a: int, b: int) -> int:
    return a * b


def _runnable() -> BaseTool:
    return RunnableLambda(lambda given: given["a"] * given["b"]).as_tool(
        name="multiply_runnable", description="Multiply.", arg_types={"a": int, "b": int}
    )


_NUMBER = {"type": "integer"}
_SCHEMA = {"type": "object", "properties": {"a": _NUMBER, "b": _NUMBER}, "required": ["a", "b"]}
_NUMBERS = {"a": 2, "b": 3}

SHAPES: dict[str, tuple[Callable[[], BaseTool], dict[str, Any]]] = {
    "Function": (lambda: multiply, _NUMBERS),
    "Class": (Multiply, _NUMBERS),
    "ClassWithBoth": (Both, _NUMBERS),
    "FunctionWithBoth": (
        lambda: StructuredTool.from_function(
            _product, _product_async, name="multiply_pair", description="Multiply."
        ),
        _NUMBERS,
    ),
    "JsonSchema": (
        lambda: StructuredTool(
            name="multiply_json", description="Multiply.", func=_product, args_schema=_SCHEMA
        ),
        _NUMBERS,
    ),
    # Without a schema of its own, the suite fails for LangChain's Tool itself.
    "SingleInput": (
        lambda: Tool("echo", str.upper, "Shout.", args_schema=Words),
        {"words": "quiet"},
    ),
    "Retriever": (lambda: create_retriever_tool(Pages(), "find", "Find."), {"query": "words"}),
    "Runnable": (_runnable, _NUMBERS),
}


def _suite(name: str, base: type) -> type:
    make, params = SHAPES[name]

    class Suite(base):  # type: ignore[misc]
        @property
        def tool_constructor(self) -> BaseTool:
            return govern(make(), GUARD)

        @property
        def tool_invoke_params_example(self) -> dict[str, Any]:
            return params

    Suite.__name__ = Suite.__qualname__ = f"TestGoverned{name}{base.__name__}"
    Suite.__doc__ = f"A governed tool: {name}."
    return pytest.mark.filterwarnings("ignore:This API is in beta")(Suite)


for _name in SHAPES:
    for _base in (ToolsUnitTests, ToolsIntegrationTests):
        _made = _suite(_name, _base)
        globals()[_made.__name__] = _made


class _AsyncOnly:
    @property
    def tool_constructor(self) -> BaseTool:
        return govern(multiply_async, GUARD)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return _NUMBERS


class TestGovernedCoroutineUnit(_AsyncOnly, ToolsUnitTests):
    """A governed coroutine, which LangChain itself can only await."""

"""What a framework may say about a call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.core.call_context import CallContext, is_traceparent
from guardrail.errors import UsageError

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Name(str):
    """A str with a text of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class Liar:
    """Says that it is a str."""

    @property
    def __class__(self) -> Any:
        return str


def test_a_context_holds_what_it_was_given() -> None:
    """As plain text."""
    context = CallContext(Name("gpt-5"), "resp_1", Name(TRACE), "langgraph", "1.0")
    assert (context.model, context.response) == ("gpt-5", "resp_1")
    assert (context.framework, context.framework_version) == ("langgraph", "1.0")
    assert context.trace == TRACE
    assert {type(context.model), type(context.trace)} == {str}
    assert CallContext() == CallContext(None, None, None, None, None)


@pytest.mark.parametrize("value", [5, b"x", {}, [], object(), Liar, ""])
def test_what_a_response_holds_in_place_of_text_counts_as_not_given(value: Any) -> None:
    """It must not stop an agent's run."""
    given = value() if value is Liar else value
    assert CallContext(model=given, response=given) == CallContext()


@pytest.mark.parametrize("field", ["framework", "framework_version"])
def test_what_a_program_says_of_itself_must_be_text(field: str) -> None:
    """The adapter's author sees the mistake at the first call."""
    with pytest.raises(UsageError, match=f"context: {field} must be a str, not int") as caught:
        CallContext(**{field: 5})  # type: ignore[arg-type]
    assert caught.value.code == "usage.context"


@pytest.mark.parametrize(
    "trace",
    [
        "",
        "00",
        TRACE.upper(),
        TRACE + "\n",
        TRACE + "-00",
        "ff" + TRACE[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        TRACE.replace("-", "_"),
        TRACE.replace("4", "\u0664"),
        TRACE.encode(),
        5,
    ],
)
def test_a_malformed_trace_is_refused_without_being_quoted(trace: Any) -> None:
    """Lower-case hex digits, not all zero, four parts, no version ff."""
    assert not is_traceparent(trace)
    with pytest.raises(UsageError) as caught:
        CallContext(trace=trace)
    assert caught.value.code == "usage.traceparent"
    assert caught.value.message == "context: trace is not a W3C traceparent"
    assert "W3C" in caught.value.hint


@given(
    version=st.integers(0, 254),
    trace=st.integers(1, 2**128 - 1),
    parent=st.integers(1, 2**64 - 1),
    flags=st.integers(0, 255),
)
def test_every_traceparent_is_accepted(version: int, trace: int, parent: int, flags: int) -> None:
    """Of any version but the invalid one."""
    text = f"{version:02x}-{trace:032x}-{parent:016x}-{flags:02x}"
    assert is_traceparent(text)
    assert CallContext(trace=text).trace == text

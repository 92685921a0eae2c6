"""Finds the LangGraph exceptions that are relevant to a guard, if LangGraph is installed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NoReturn, cast

from guardrail.errors import LedgerError

__all__ = ["LangGraph", "langgraph", "stop"]


@dataclass(frozen=True, slots=True)
class LangGraph:
    stop: type[LedgerError]
    """The class for raising a ``LedgerError``."""
    pauses: tuple[type[BaseException], ...]
    """Exceptions that LangGraph uses to interrupt a body without a failure."""


@functools.cache
def langgraph() -> LangGraph:
    """Return LangGraph's exception classes. Without LangGraph, ``pauses`` is empty and ``stop`` is
    an ordinary subclass of ``LedgerError``.
    """
    try:
        from langgraph import errors
    except ImportError:
        return LangGraph(_stop_class(), ())
    names = ("GraphInterrupt", "GraphDrained", "ParentCommand")
    pauses = tuple(getattr(errors, name) for name in names if hasattr(errors, name))
    return LangGraph(_stop_class(errors.GraphBubbleUp), pauses)


def _stop_class(*bases: type[BaseException]) -> type[LedgerError]:
    about = (
        "A ``LedgerError`` that always propagates to the program: LangGraph does not turn it "
        "into a message for the model."
    )
    # Defined in the module in which its name is looked up, so that it can be pickled.
    space = {"__module__": "guardrail.integrations.langchain", "__doc__": about}
    return cast("type[LedgerError]", type("LedgerStop", (LedgerError, *bases), space))


def stop(error: LedgerError) -> NoReturn:
    """Raise *error* as an exception type that always propagates to the program, even if the
    framework handles tool errors.
    """
    passes = langgraph().stop
    if isinstance(error, passes):
        raise error
    raise passes(error.message, code=error.code, hint=error.hint) from error

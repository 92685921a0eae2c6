"""Makes an unexpected exception during redaction deny the call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from guardrail.errors import GuardrailError, RedactionError

__all__ = ["FAULT", "closed", "fails_closed"]

FAULT: Final = "redaction.fault"
"""Code of the error: a detector, a pattern or the redactor itself raised an exception."""

T = TypeVar("T")
R = TypeVar("R")


def fails_closed(*names: str) -> Callable[[type[T]], type[T]]:
    """Decorate a class: its methods *names* are ``closed``."""

    def decorate(cls: type[T]) -> type[T]:
        for name in names:
            setattr(cls, name, closed(getattr(cls, name)))
        return cls

    return decorate


def closed(function: Callable[..., R]) -> Callable[..., R]:
    """Decorate a function so that it raises only ``GuardrailError``.

    Any other exception becomes a ``RedactionError`` with the code ``FAULT``. It has neither the text
    nor the context of that exception, because both may contain a value.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> R:
        try:
            return function(*args, **options)
        except GuardrailError:
            raise
        except Exception:  # noqa: BLE001 - the boundary to detectors and patterns
            fault = RedactionError("the redactor failed", code=FAULT)
        raise fault

    return guarded

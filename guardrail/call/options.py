"""The options of a call, as passed in the keyword arguments of ``guard.call``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from guardrail.call.scope import SessionScope
from guardrail.core.call_context import CallContext
from guardrail.core.hidden import hidden
from guardrail.errors import UsageError

__all__ = ["CallOptions", "check_approval"]


@hidden
class CallOptions(NamedTuple):
    """The options of one call: the keyword arguments of ``guard.call`` other than tool, arguments
    and body.
    """

    extra: Mapping[str, Any] | None = None
    adapter: str = "python"
    call_id: str | None = None
    interrupts: tuple[type[BaseException], ...] = ()
    approval: str | None = None
    wait_for_approval: float | None = None
    replayed: bool = False
    session: SessionScope | None = None
    context: CallContext | None = None
    thread: str | None = None
    """The framework's id for the conversation."""


def check_approval(approval: object) -> None:
    """Raise ``UsageError`` if *approval* is not a string: for example, if it is an exception, not
    the exception's attribute ``approval``.
    """
    if not isinstance(approval, str):
        raise UsageError(
            f"approval must be the id of an approval, not {type(approval).__name__}",
            code="usage.approval",
            hint="approval=error.approval",
        )

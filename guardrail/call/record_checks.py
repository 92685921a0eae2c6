"""The final checks of a decision record: no sensitive value is in it, and no amount is missing."""

from __future__ import annotations

from typing import cast

from guardrail.call.asserted import NOTHING, AssertedFacts, leftover
from guardrail.call.stages import Request
from guardrail.core.amounts import amounts_of
from guardrail.core.types import Effect, Json
from guardrail.tools.tool import Tool

__all__ = ["UnsafeRecordError", "recorded_amounts", "scan", "scan_said"]


class UnsafeRecordError(Exception):
    """Raised if the finished record still contains a sensitive value, or lacks an amount.

    ``reason`` is the value of the field ``omitted``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def recorded_amounts(tool: Tool, args: object, effect: Effect) -> dict[str, Json] | None:
    """Return the amounts in the recorded arguments, or None if the tool declares none.

    Raises ``UnsafeRecordError`` if one was removed from the record of a call that is not denied:
    sums over the records would then be too low.
    """
    if not tool.amounts:
        return None
    found = amounts_of(cast("Json", args), tool.amounts)
    if effect is not Effect.DENY and len(found) < len(tool.amounts):
        raise UnsafeRecordError("amount")
    return found


def scan_said(request: Request, said: AssertedFacts) -> None:
    """Raise ``UnsafeRecordError`` if the recorded context contains a sensitive value."""
    hit = None if said is NOTHING else leftover(said, request.state)
    if hit is not None:
        raise UnsafeRecordError(f"gate:{hit}")


def scan(request: Request, texts: list[str], supplied: list[str]) -> None:
    """Raise ``UnsafeRecordError`` if the finished record contains a sensitive value."""
    state, schema = request.state, request.tool.schema
    hit = state.redactor.gate(
        texts,
        state.memory,
        supplied=supplied,
        schema=None if schema is None else schema.schema,
    )
    if hit is not None:
        raise UnsafeRecordError(f"gate:{hit}")

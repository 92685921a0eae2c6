"""The values of a call that identify its effect, in one exact form.

Pure. Two calls have the same effect if these forms are equal.
"""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.core.log.record import dumps
from guardrail.core.policy_input import resolve
from guardrail.core.types import Json
from guardrail.errors import ArgumentsError

__all__ = ["check_effect_values", "effect_text"]


def check_effect_values(args: Json, pointers: Sequence[str]) -> None:
    """Raise ``ArgumentsError`` unless *args* has a value other than null at each of *pointers*:
    all calls without the value would have the same key.
    """
    for pointer in pointers:
        if resolve(args, pointer) is None:
            raise ArgumentsError(
                f"the argument {pointer} is needed to recognise repeated calls",
                detail="effect_key",
                pointer=pointer,
            )


def effect_text(server: str | None, tool: str, args: Json, pointers: Sequence[str]) -> str:
    """Return the text for the values at *pointers* in *args*, of one tool. Equal numbers give equal
    texts, whether or not they are written with a fraction.
    """
    values = [_exact(resolve(args, pointer)) for pointer in pointers]
    return dumps([server, tool, list(pointers), values]).decode()


def _exact(value: Json) -> Json:
    if type(value) is float and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_exact(each) for each in value]
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    return value

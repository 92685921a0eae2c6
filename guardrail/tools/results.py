"""The result of a body as text for a model."""

from __future__ import annotations

from pydantic_core import to_json

from guardrail.errors import UsageError

__all__ = ["result_text"]


def result_text(result: object) -> str:
    """Return a string as it is, and anything else as JSON: models, dataclasses, dates and the like
    as pydantic writes them, bytes as base64, NaN and infinities as text.

    Lone surrogates, which no request can carry, become question marks. Raises ``UsageError`` for a
    type that has no JSON form.
    """
    if isinstance(result, str):
        # By way of bytes: it may be of a subclass with a text of its own, like an enum.
        return str.encode(result, "utf-8", "replace").decode()
    try:
        written: bytes | None = to_json(result, inf_nan_mode="strings", bytes_mode="base64")
    except Exception:  # noqa: BLE001 - border: types bring their own serialisers
        written = None
    if written is not None:
        return written.decode()
    # Outside the handler: the error may quote the value.
    raise UsageError(
        f"a result of the type {type(result).__name__} can't be written as JSON",
        code="usage.result",
        hint="return text or a value that JSON can represent",
    )

"""Converts the result of a body to text for a model."""

from __future__ import annotations

from pydantic_core import to_json

from guardrail.errors import UsageError

__all__ = ["result_text"]


def result_text(result: object) -> str:
    """Return a string unchanged, and any other value as JSON. pydantic converts models,
    dataclasses, dates and similar types; bytes are converted to base64, and NaN and infinities to
    strings.

    Lone surrogates, which a request can't contain, are replaced with question marks. Raises
    ``UsageError`` if the type can't be converted to JSON.
    """
    if isinstance(result, str):
        # Encoding to bytes avoids a subclass's own string conversion, for example an enum's.
        return str.encode(result, "utf-8", "replace").decode()
    try:
        written: bytes | None = to_json(result, inf_nan_mode="strings", bytes_mode="base64")
    except Exception:  # noqa: BLE001 - border: types bring their own serialisers
        written = None
    if written is not None:
        return written.decode()
    # Raised outside the handler, because the error may quote the value.
    raise UsageError(
        f"a result of type {type(result).__name__} can't be converted to JSON",
        code="usage.result",
        hint="return a string or a JSON-serializable value",
    )

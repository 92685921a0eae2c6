"""The arguments of a call as JSON text, exactly as a model wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from guardrail.core.json_text import JsonTextError, read
from guardrail.core.schema.json_copy import ArgumentLimits, arguments_error
from guardrail.core.words import counted
from guardrail.errors import ArgumentsError

__all__ = ["JsonArguments"]

_TEXTS: Final = {
    "not_json": "the arguments are not JSON",
    "duplicate_key": "an object in the arguments has the same key twice",
    "trailing": "the arguments are followed by more text",
    "not_object": "the arguments are JSON, but not an object",
    "too_large": "the text of the arguments is too large for this tool",
}
_EMPTY: Final = " \t\n\r"


@dataclass(frozen=True, slots=True)
class JsonArguments:
    """The arguments of a call as JSON text, exactly as the model wrote them.

    ``guard.call``, ``acall``, ``admit`` and ``aadmit`` accept it instead of a mapping. If the text
    is not one JSON object, or if two parsers could read it differently (a repeated key, more text
    after the object), the call is denied, and the denial is recorded without the text. Empty or
    blank text means an empty object, because models write such text for a tool without arguments.
    """

    text: str | bytes = field(repr=False)
    """The text, as ``str`` or as UTF-8 ``bytes``."""

    @property
    def size(self) -> int:
        """Length of the text, or 0 if it is not text."""
        return len(self.text) if issubclass(type(self.text), str | bytes) else 0

    def parse(self, limits: ArgumentLimits = ArgumentLimits()) -> dict[str, Any]:  # noqa: B008 - frozen
        """Return the object. Raises only ``ArgumentsError``, which quotes no part of the text.

        Only the size of the text is checked here. The other limits are checked when the object is
        copied.
        """
        text = self._decoded(limits)
        if not text.strip(_EMPTY):
            return {}
        try:
            value = read(text)
        except JsonTextError as error:
            failure = _refused(error, len(text))
        else:
            if type(value) is dict:
                return value
            failure = _fault("not_object")
        # Raised outside the handlers, so that the exception has no context.
        raise failure

    def _decoded(self, limits: ArgumentLimits) -> str:
        text: object = self.text
        if not issubclass(type(text), str | bytes):  # a response can contain anything
            raise _fault("not_json", "not text")
        size = len(text)  # type: ignore[arg-type]
        if size > limits.size:
            raise _fault(
                "too_large", f"{counted(size, 'character')}, at most {limits.size} allowed"
            )
        if isinstance(text, str):
            return str.__str__(text)
        try:
            return bytes.decode(text, "utf-8")  # type: ignore[arg-type]
        except UnicodeDecodeError:
            pass
        raise _fault("not_json", "not UTF-8")


def _refused(error: JsonTextError, size: int) -> ArgumentsError:
    if error.detail not in _TEXTS:
        return arguments_error(error.detail)
    if error.position is None:
        return _fault(error.detail)
    if error.position >= size:
        return _fault(error.detail, f"cut off after {counted(size, 'character')}")
    return _fault(error.detail, f"at character {error.position + 1:,} of {size:,}")


def _fault(detail: str, remark: str = "") -> ArgumentsError:
    return ArgumentsError(
        _TEXTS[detail] + (f" ({remark})" if remark else ""),
        detail=detail,
    )

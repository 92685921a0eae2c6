"""The interface of detectors that reports use in addition to the built-in rules, and the check of
their answers.

No such detector runs during a call: it can be slow, and its answers are only reported
(docs/adr/0036).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from guardrail.core.redaction.key_names import stricter
from guardrail.core.redaction.marks import is_class_name, needs_normalising, normalised
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.errors import RedactionError

__all__ = ["BuiltInDetector", "Detector", "SensitiveSpan", "find_spans"]

_MOST: Final = 10_000
"""Maximum number of spans in one text."""


class SensitiveSpan(NamedTuple):
    """A part of a text that a detector considers sensitive: ``text[start:end]``."""

    start: int
    end: int
    cls: str
    """A built-in class (``name``, ``contact``, ...), or up to 32 lower-case letters, digits and
    underscores that begin with a letter.
    """


@runtime_checkable
class Detector(Protocol):
    """Finds sensitive values in a text. A package offers one under the entry point group
    ``guardrail.detectors``, as a callable without arguments that returns it.
    """

    def find(self, text: str) -> Iterable[SensitiveSpan]:
        """Return the sensitive parts of *text*, in any order. They may overlap.

        In *text*, asterisks cover the parts that guardrail has already replaced. The method is
        called from a single thread, which is not the main thread.
        """


class BuiltInDetector:
    """The detectors of the built-in rules and of a site's patterns, without the rules about the
    names of keys.
    """

    def __init__(self, rules: Rules = BUILT_IN) -> None:
        """Use the detectors of *rules*."""
        self._rules = rules

    def find(self, text: str) -> Iterable[SensitiveSpan]:
        """Return the parts that the redactor would remove from *text*. If normalising changes its
        length, a hit counts for the whole text.
        """
        plain = normalised(text) if needs_normalising(text) else text
        hits = self._rules.scan(plain)
        if len(plain) == len(text) or not hits:
            return [SensitiveSpan(hit.start, hit.end, hit.cls) for hit in hits]
        cls = hits[0].cls
        for hit in hits[1:]:
            cls = stricter(cls, hit.cls)
        return [SensitiveSpan(0, len(text), cls)]


def find_spans(name: str, detector: Detector, text: str) -> list[SensitiveSpan]:
    """Return the different spans that *detector* finds in *text*, in order.

    Raises ``RedactionError`` (``redaction.detector``) if the detector raises an exception, or
    returns anything other than at most 10,000 spans inside the text. The message contains *name*,
    and nothing from the exception or the answer, because these can quote the text.
    """
    try:
        found: list[Any] = list(islice(detector.find(text), _MOST + 1))
    except Exception as error:  # noqa: BLE001 - a boundary: a detector is foreign code
        problem = f"raised {type(error).__name__}"
    else:
        problem = _problem(found, len(text))
        if not problem:
            return sorted({SensitiveSpan(*each) for each in found})
    raise RedactionError(f"the detector {name} {problem}", code="redaction.detector")


def _problem(found: list[Any], size: int) -> str:
    """Return what is wrong with the answer of a detector, or an empty string."""
    if len(found) > _MOST:
        return f"found more than {_MOST:,} values in one text"
    for each in found:
        if not isinstance(each, tuple) or len(each) != 3:
            return "returned something other than spans"
        start, end, cls = each
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= size:
            return "returned a span that is not inside the text"
        if type(cls) is not str or not is_class_name(cls):
            return "returned a class with an invalid name"
    return ""

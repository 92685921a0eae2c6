"""Searches recorded values with other detectors, and returns the values that redaction left.

A detector is foreign code. It can raise exceptions, answer nonsense, or never answer: such texts
count as not searched, so a report never passes them off as clean.
"""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from guardrail.core.redaction.detector import Detector, SensitiveSpan, find_spans
from guardrail.core.redaction.marks import FILLER, mask_marks
from guardrail.errors import RedactionError
from guardrail.review.values import obj
from guardrail.system.threads import BackgroundThread

__all__ = ["MissedValue", "Search", "recorded_values"]

SECONDS: Final = 10.0
"""Maximum time for one text. A detector that exceeds it is not asked again."""
_COVER: Final = "*"
_CACHED: Final = 10_000
_SIZED: Final = "$t"
"""The key that identifies the size of a value that was not recorded itself."""


@dataclass(frozen=True, slots=True)
class MissedValue:
    """A part of a recorded text that a detector considers sensitive."""

    place: str
    """RFC 6901 pointer to the text."""
    key: bool
    """True if the text is the last key of ``place``, not the value there."""
    detector: str
    cls: str
    text: str
    """The part itself, as it is recorded."""


class Search:
    """Searches texts with several detectors. Not thread-safe."""

    def __init__(self, detectors: Mapping[str, Detector], *, seconds: float = SECONDS) -> None:
        """Use *detectors*, keyed by name. Each of them has *seconds* for one text."""
        self._workers = {name: _DetectorThread(name, each) for name, each in detectors.items()}
        self._seconds = seconds
        self._known: dict[str, list[tuple[str, SensitiveSpan]]] = {}
        self.texts = 0
        """Number of texts that were passed to the detectors."""
        self.failures: Counter[str] = Counter()
        """Number of texts that were not searched, keyed by the reason."""

    def missed(self, value: object, place: str = "") -> Iterator[MissedValue]:
        """Yield the values that the detectors find in *value*, a JSON value at *place* of a record:
        in its texts, its numbers and its keys. guardrail's own marks and tokens do not count.
        """
        for where, key, text in _texts(value, place):
            for name, span in self._spans(text):
                yield MissedValue(where, key, name, span.cls, text[span.start : span.end])

    def _spans(self, text: str) -> list[tuple[str, SensitiveSpan]]:
        known = self._known.get(text)
        if known is not None:
            return known
        self.texts += 1
        masked = mask_marks(text)
        shown = masked.replace(FILLER, _COVER)
        found: list[tuple[str, SensitiveSpan]] = []
        whole = True
        for name, worker in self._workers.items():
            try:
                spans = worker.find(shown, self._seconds)
            except RedactionError as error:
                self.failures[error.message] += 1
                whole = False
                continue
            for span in spans:
                part = masked[span.start : span.end]
                if FILLER not in part and any(map(str.isalnum, part)):
                    found.append((name, span))
        if whole and len(self._known) < _CACHED:
            self._known[text] = found
        return found


class _DetectorThread:
    """The thread in which one detector runs. It is a daemon, because it can't be stopped."""

    def __init__(self, name: str, detector: Detector) -> None:
        self._name = name
        self._detector = detector
        self._texts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[list[SensitiveSpan] | RedactionError] = queue.SimpleQueue()
        self._stuck = False
        BackgroundThread(self._run, f"guardrail-detector-{name}").start()

    def _run(self) -> None:
        while True:
            try:
                self._answers.put(find_spans(self._name, self._detector, self._texts.get()))
            except RedactionError as error:
                self._answers.put(error)

    def find(self, text: str, seconds: float) -> list[SensitiveSpan]:
        """Return the spans. Raises ``RedactionError``."""
        if not self._stuck:
            self._texts.put(text)
            try:
                answer = self._answers.get(timeout=seconds)
            except queue.Empty:
                self._stuck = True
            else:
                if isinstance(answer, RedactionError):
                    raise answer
                return answer
        raise RedactionError(
            f"the detector {self._name} did not answer within {seconds:g} s, and was not asked "
            "again",
            code="redaction.detector",
        )


def _texts(value: object, place: str) -> Iterator[tuple[str, bool, str]]:
    """Yield the place of each text in *value*, True if it is a key, and the text."""
    todo = [(place, value)]
    while todo:
        where, each = todo.pop()
        if isinstance(each, str):
            yield where, False, each
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield where, False, str(each)
        elif isinstance(each, list):
            todo += reversed([(f"{where}/{index}", item) for index, item in enumerate(each)])
        elif isinstance(each, dict):
            if _SIZED in each:
                todo.append((where, each.get("head")))
                continue
            members = [(f"{where}/{_escaped(key)}", key, item) for key, item in each.items()]
            for inner, key, _ in members:
                yield inner, True, key
            todo += reversed([(inner, item) for inner, _, item in members])


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def recorded_values(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values in *record* that come from a call, each after its place: the arguments, the
    messages of rules, the result and the text of an error. The fields of guardrail itself and
    identities, which are recorded in plain text, are left out.
    """
    if record.get("type") == "call.decision":
        properties = obj(record, "input", "action", "properties")
        yield "/args", properties.get("args")
        rules = obj(record, "decision").get("rules")
        if isinstance(rules, list):
            for index, rule in enumerate(rules):
                yield f"/rules/{index}/message", obj({"rule": rule}, "rule").get("message")
    elif record.get("type") in {"call.outcome", "call.claim"}:
        yield "/result", obj(record, "result").get("value")
        yield "/error", obj(record, "error").get("message")

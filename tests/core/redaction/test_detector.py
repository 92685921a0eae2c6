"""The interface of additional detectors: what they may answer, and what counts as a failure."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from guardrail.core.redaction.detector import (
    BuiltInDetector,
    Detector,
    SensitiveSpan,
    find_spans,
)
from guardrail.core.redaction.rules import Rules, SitePattern
from guardrail.errors import RedactionError


class Answering:
    """A detector that gives one answer."""

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self._answer = answer

    def find(self, text: str) -> Any:
        return self._answer(text)


def test_spans_are_sorted_and_different() -> None:
    """Plain tuples count as spans, and an iterator as a list."""
    detector = Answering(lambda _: iter([(4, 6, "name"), (0, 2, "contact"), (4, 6, "name")]))
    assert isinstance(detector, Detector)
    assert find_spans("d", detector, "abcdef") == [
        SensitiveSpan(0, 2, "contact"),
        SensitiveSpan(4, 6, "name"),
    ]


def fail(_: str) -> Any:
    raise ValueError("4111 1111 1111 1111")


def fail_late(_: str) -> Any:
    yield (0, 1, "name")
    raise KeyError("4111 1111 1111 1111")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (fail, "raised ValueError"),
        (fail_late, "raised KeyError"),
        (lambda _: None, "raised TypeError"),
        (lambda _: itertools.repeat((0, 1, "name")), "found more than 10,000 values in one text"),
        (lambda text: [text], "returned something other than spans"),
        (lambda _: [(0, 1)], "returned something other than spans"),
        (lambda _: [(0, 99, "name")], "returned a span that is not inside the text"),
        (lambda _: [(-2, 1, "name")], "returned a span that is not inside the text"),
        (lambda _: [(2, 2, "name")], "returned a span that is not inside the text"),
        (lambda _: [(0.0, 1, "name")], "returned a span that is not inside the text"),
        (lambda _: [(False, True, "name")], "returned a span that is not inside the text"),
        (lambda text: [(0, 1, text)], "returned a class with an invalid name"),
        (lambda _: [(0, 1, None)], "returned a class with an invalid name"),
    ],
)
def test_a_failure_names_the_detector_and_quotes_nothing(
    answer: Callable[[str], Any], problem: str
) -> None:
    """Neither the exception nor the answer, because both can contain the text."""
    with pytest.raises(RedactionError) as caught:
        find_spans("mine", Answering(answer), "4111 1111 1111 1111")
    assert caught.value.code == "redaction.detector"
    assert caught.value.message == f"the detector mine {problem}"
    assert caught.value.__context__ is None


def test_the_built_in_rules_are_a_detector_too() -> None:
    """With the patterns of a site. If normalising changes the length, the whole text counts."""
    rules = Rules(patterns=[SitePattern("badge", lambda text: [(0, 2)] if text[0] == "B" else [])])
    own = BuiltInDetector(rules)
    assert find_spans("own", own, "B7 mail bob@example.com") == [
        SensitiveSpan(0, 2, "badge"),
        SensitiveSpan(8, 23, "contact"),
    ]
    assert find_spans("own", BuiltInDetector(), "caf\u00e9 closes at 9") == []
    wide = "\ufb01nd bob@example.com, password=hunter2zz!"
    assert find_spans("own", BuiltInDetector(), wide) == [SensitiveSpan(0, len(wide), "secret")]

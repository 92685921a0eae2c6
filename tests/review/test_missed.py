"""The search for values that redaction left: what is searched, and what a failing detector does."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from guardrail.core.redaction.detector import SensitiveSpan
from guardrail.review.missed import MissedValue, Search, recorded_values

MARK = f"gr1:name:k1:{'a' * 24}"


class Words:
    """Finds the words that begin with X, and remembers the texts that it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def find(self, text: str) -> Iterator[SensitiveSpan]:
        self.texts.append(text)
        for match in re.finditer(r"X\w*|\*+", text):
            yield SensitiveSpan(match.start(), match.end(), "name")


class Failing:
    def find(self, text: str) -> Any:
        raise ValueError(text)


class Waiting:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def find(self, text: str) -> Any:
        self.go.wait(30)
        return []


def test_texts_numbers_and_keys_are_searched() -> None:
    """Not the tokens of values that were not recorded themselves, nor what guardrail replaced."""
    words = Words()
    value = {
        "a/b": ["Xa and Xb", {"Xc": 7}],
        "long": {"$t": "str", "len": 9000, "tok": "Xd", "head": "begins Xe"},
        "mark": f"of {MARK} and Xf",
        "none": None,
        "flag": True,
        "number": 491.5,
    }
    found = [*Search({"words": words}).missed(value, "/args")]
    assert [(each.place, each.key, each.text) for each in found] == [
        ("/args/a~1b/0", False, "Xa"),
        ("/args/a~1b/0", False, "Xb"),
        ("/args/a~1b/1/Xc", True, "Xc"),
        ("/args/long", False, "Xe"),
        ("/args/mark", False, "Xf"),
    ]
    assert found[0] == MissedValue("/args/a~1b/0", False, "words", "name", "Xa")
    assert {"7", "491.5", "a/b"} <= {*words.texts}
    assert f"of {'*' * len(MARK)} and Xf" in words.texts
    assert not any("gr1:" in text or "Xd" in text for text in words.texts)


def test_a_text_is_searched_once() -> None:
    """Messages of rules are the same in thousands of records."""
    words = Words()
    search = Search({"words": words})
    assert [len([*search.missed(["X1", "X1"])]), len([*search.missed("X1")])] == [2, 1]
    assert (words.texts, search.texts) == (["X1"], 1)


def test_a_detector_that_fails_leaves_the_others_and_is_counted() -> None:
    """The report says so, instead of calling the texts clean."""
    search = Search({"failing": Failing(), "words": Words()})
    assert [each.text for each in search.missed(["X1", "X2", "X1"])] == ["X1", "X2", "X1"]
    assert search.failures == {"the detector failing raised ValueError": 3}


def test_a_detector_that_does_not_answer_is_not_asked_again() -> None:
    """It may hang for ever, so each further text would take as long."""
    waiting = Waiting()
    search = Search({"waiting": waiting, "words": Words()}, seconds=0.05)
    assert [each.text for each in search.missed(["X1", "X2"])] == ["X1", "X2"]
    waiting.go.set()
    assert [each.text for each in search.missed("X3")] == ["X3"]
    (reason,) = search.failures
    assert reason == ("the detector waiting did not answer within 0.05 s, and was not asked again")
    assert search.failures[reason] == 3


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (
            {
                "type": "call.decision",
                "input": {
                    "subject": {"id": "alice"},
                    "action": {"properties": {"args": {"a": "b"}}},
                },
                "decision": {"rules": [{"rule": "r", "message": "m"}, "s"]},
            },
            {"/args": {"a": "b"}, "/rules/0/message": "m", "/rules/1/message": None},
        ),
        (
            {
                "type": "call.outcome",
                "result": {"type": "str", "value": "v", "token": "t"},
                "error": {"class": "E", "message": "m"},
            },
            {"/result": "v", "/error": "m"},
        ),
        ({"type": "call.claim", "result": None}, {"/result": None, "/error": None}),
        ({"type": "call.decision", "decision": {"rules": None}}, {"/args": None}),
        ({"type": "admin.start", "result": {"value": "v"}}, {}),
    ],
)
def test_the_values_of_a_call_are_searched(record: dict[str, Any], values: dict[str, Any]) -> None:
    """And not guardrail's own fields, nor identities, which are recorded in plain text."""
    assert dict(recorded_values(record)) == values

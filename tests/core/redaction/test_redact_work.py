"""Work grows with what is given, never with its square, and may be ended in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.redaction.values import all_texts
from guardrail.errors import RedactionError
from tests.support.redaction import REDACTOR, mark, token


def _steps(work: Callable[[], object]) -> int:
    """Return how often Python entered or left a function, a generator or a builtin meanwhile: work,
    not time.
    """
    count = 0

    def step(*_: Any) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def _known(count: int) -> Memory:
    memory = Memory()
    for index in range(count):
        memory.remember(f"k9x-{index:05d}-va1ue-same-end", "name")
    return memory


def _alike(count: int) -> Memory:
    """Values that share every stretch by which they could be filed."""
    memory = Memory()
    for index in range(count):
        memory.remember(f"abcdefg1-{index:04d}-abcdefg1-{index:04d}-abcdefg1", "name")
    return memory


def _nested(depth: int) -> Any:
    value: Any = {"password": "va1ue-0ne-9x", "list": [{"email": "bob@example.com"}] * 20}
    for _ in range(depth):
        value = {"a": json.dumps(value)}
    return value


def _cases(size: int) -> dict[str, tuple[Any, Memory]]:
    texts = ["password: "] * size
    return {
        "hits in one text": ("password: k9x " * size, Memory()),
        "hits in one text that are known": ("password: " * size, Memory()),
        "one hit in each text": ({f"k{i}": f"token=k{i}x9-abc12-{i}" for i in range(size)}, Memory()),
        "lines that could each begin a table": ("config.pw,x\nx,pw\n" * size, Memory()),
        "many texts": ({f"k{i}": "password: " * 8 for i in range(size)}, Memory()),
        "small texts": (texts, Memory()),
        "known values in a text": (
            " ".join(f"k9x-{i:05d}-va1ue-same-end" for i in range(size)),
            _known(size),
        ),
        "known values behind escapes": (
            [f"%41k9x-{i:05d}-va1ue-same-end" for i in range(size)],
            _known(60),
        ),
        "known values in keys": (
            {f"k9x-{i:05d}-va1ue-same-end": 1 for i in range(size)},
            _known(size),
        ),
        "encoded runs": ((b"k9x-00001-va1ue-same-end" * size).hex(), _known(60)),
        "JSON in many texts": ([json.dumps({"email": "bob@example.com"})] * size, Memory()),
        "JSON of many members": (json.dumps({f"email{i}": "x@y.example" for i in range(size)}), Memory()),
        "keys with one token": (
            {f"{i:012b}".replace("0", "a").replace("1", "A") + "@x.example": 1 for i in range(size)},
            Memory(),
        ),
        "keywords that run on": ("pass." * size * 8, Memory()),
        "commands": ("mysql -p'a " * size, Memory()),
        "connections": ("x://a:b/@h c/d@e PWD={a}} " * size, Memory()),
        "tags": ("<password><a b='c" * size, Memory()),
        "elements": ("<password>a<b>" * size, Memory()),
        "entities": ("&amp;amp;lt;password=&quot; " * size, Memory()),
        "arguments": (["mysql", "-p"] * size, Memory()),
        "numbers": ("4111 1111 1111 1112 " * size + "AB12", Memory()),
        "lists in lists": ([[[["password: k9x"]]]] * size, Memory()),
    }  # fmt: skip


@pytest.mark.parametrize("case", _cases(1))
def test_twice_as_much_is_about_twice_the_work(case: str) -> None:
    """Hits, known values, JSON in JSON, keys, small texts, runs: none meets each of the others."""

    def work(size: int) -> int:
        value, memory = _cases(size)[case]
        args = value if type(value) is dict else {"value": value}

        def one() -> None:
            view = REDACTOR.inspect(args, schema=None, declared=True, memory=memory).view(["/none"])
            REDACTOR.gate([json.dumps(view.value)], memory)

        return _steps(one)

    once, twice = work(300), work(600)
    assert twice < 2.6 * once + 2_000


def test_values_that_begin_and_end_alike_are_compared_at_once() -> None:
    """However many are filed under one stretch, a place in a text costs the same."""
    text = "abcdefg1-" * 200
    few, many = _alike(100), _alike(800)
    for memory in (few, many):
        memory.find(text)  # the first such text adds the encoded forms of the last values
    assert _steps(lambda: many.find(text)) < 1.5 * _steps(lambda: few.find(text)) + 1_000
    assert many.knows("x abcdefg1-0700-abcdefg1-0700-abcdefg1 y") == "name"


def test_json_nested_in_json_costs_once_more_for_each_level() -> None:
    """Each level is read, and written, once."""

    def work(depth: int) -> int:
        value = _nested(depth)
        return _steps(
            lambda: REDACTOR.inspect(value, schema=None, declared=True, memory=Memory()).view()
        )

    four, eight = work(2), work(4)
    assert eight < 2.6 * four + 2_000


class _Count:
    """A meter that lets so much be done."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.limit = limit
        self.done = 0
        self.asked = 0

    def __call__(self) -> Callable[[int], None]:
        self.asked += 1
        return self.spend

    def spend(self, units: int) -> None:
        self.done += units
        if self.done > self.limit:
            raise RedactionError("too much", code="redaction.budget")


def _metered(count: _Count) -> Redactor:
    return Redactor(token=token, mark=mark, meter=count)


@pytest.mark.parametrize(
    "work",
    [
        lambda by, text: by.inspect({"a": text}, schema=None, declared=True, memory=Memory()),
        lambda by, text: by.inspect({"a": text}, schema=None, declared=False, memory=Memory()),
        lambda by, text: by.value({"a": [text]}, Memory()),
        lambda by, text: by.value(json.dumps({"password": text}), Memory()),
        lambda by, text: by.text(text, Memory()),
        lambda by, text: by.text(text * 9, Memory()),
        lambda by, text: by.result({"a": text}, log_output=False, memory=Memory()),
        lambda by, text: by.error(ValueError(text), Memory()),
        lambda by, text: by.gate([text], _known(1)),
        lambda by, text: by.gate([text], Memory()),
    ],
)
def test_whoever_meters_is_told_of_all_that_is_read_and_may_end_it(
    work: Callable[[Redactor, str], object],
) -> None:
    """Arguments, results, texts, errors and the last gate; the error is the meter's own."""
    counted = _Count()
    text = "password: k9x-va1ue " * 180
    work(_metered(counted), text)
    assert counted.done > 900
    with pytest.raises(RedactionError) as caught:
        work(_metered(_Count(500)), text)
    assert caught.value.code == "redaction.budget"


_MOST_STEPS = 100_000
"""Between two checkpoints: some milliseconds. Most of it is for one detector that finds nothing in
16 kB.
"""


_HOSTILE: dict[str, Callable[[], tuple[Any, Memory]]] = {
    "runs of passwords": lambda: (["password: " * 1_638] * 8, Memory()),
    "passwords": lambda: ([f"password: k9x{i:05d} " * 700 for i in range(8)], Memory()),
    "addresses": lambda: (["a@b.co " * 2_300] * 5, Memory()),
    "cards": lambda: (["4111 1111 1111 1111 " * 800] * 8, Memory()),
    "not normal": lambda: (["\ufb01\u0301\u00b2" * 5_400] * 9, Memory()),
    "base64": lambda: (["A1b2" * 4_000 + "%"] * 9, Memory()),
    "urls": lambda: (["https://a:b@c/ " * 1_000] * 9, Memory()),
    "prose": lambda: (["The quick brown fox jumps over the dog. " * 400] * 30, Memory()),
    "too long": lambda: (["password: " * 100_000], Memory()),
    "numbers": lambda: (list(range(100_000, 104_900)), Memory()),
    "words": lambda: ([f"Zq7!kd{i}dLpX" for i in range(1_900)], Memory()),
    "objects": lambda: ([{"email": f"a{i}@b.example"} for i in range(1_900)], Memory()),
    "marked keys": lambda: ({f"password{i}": f"Zq7!kd{i}dLpX" for i in range(1_900)}, Memory()),
    "odd keys": lambda: ({f"k9{i:x}Qw7Z{i}dLpX": 1 for i in range(1_900)}, Memory()),
    "known keys": lambda: ({f"k9x-{i:05d}-va1ue-same-end": 1 for i in range(1_500)}, _known(1_500)),
    "known values": lambda: (
        [" ".join(f"k9x-{i:05d}-va1ue-same-end" for i in range(600))] * 10,
        _known(1_500),
    ),
    "known behind escapes": lambda: (
        ["%41 k9x-00001-va1ue-same-end " * 500] * 10,
        _known(1_000),
    ),
    "escapes": lambda: (["%41" * 5_400] * 10, _known(30)),
    "one known value": lambda: (["k9x-00000-va1ue-same-end " * 600] * 10, _known(1)),
    "JSON in JSON": lambda: (
        [json.dumps([json.dumps({"password": f"Zq7!kd92LpX{i}"})] * 200) for i in range(9)],
        Memory(),
    ),
    "nested": lambda: (_nested(8), Memory()),
}


@pytest.mark.parametrize("kind", _HOSTILE)
@pytest.mark.parametrize("declared", [True, False])
def test_no_stretch_of_work_is_long_before_the_next_checkpoint(kind: str, declared: bool) -> None:
    """Password runs, many keys, many known values, base64, JSON in JSON, huge texts: counted in
    steps, not in time.
    """
    value, memory = _HOSTILE[kind]()
    since = most = asked = 0

    def step(*_: Any) -> None:
        nonlocal since
        since += 1

    def spend(_: int) -> None:
        nonlocal since, most, asked
        asked += 1
        most, since = max(most, since), 0

    by = Redactor(token=token, mark=mark, meter=lambda: spend)
    args = value if type(value) is dict else {"value": value}
    before = sys.getprofile()
    sys.setprofile(step)
    try:
        view = by.inspect(args, schema=None, declared=declared, memory=memory).view()
        by.gate(all_texts(view.value), memory)
        spend(0)
    finally:
        sys.setprofile(before)
    assert asked > 2
    assert most < _MOST_STEPS


def test_much_text_is_metered_part_by_part() -> None:
    """Between two parts other threads may run: no part is longer than the longest text."""
    told: list[int] = []
    by = Redactor(token=token, mark=mark, meter=lambda: told.append)
    args = {f"k{index}": "plain words of no weight. " * 100 for index in range(40)}
    args["password"] = "x" * 20
    args["emails"] = "bob@example.com " * 400
    shown = by.inspect(args, schema=None, declared=True, memory=Memory()).view().value
    assert shown["k7"] == args["k7"]  # type: ignore[index]
    assert len(told) > 20
    assert max(told[:20]) < 7_000


def test_much_marked_text_is_metered_part_by_part_as_well() -> None:
    """Detectors look there for secrets alone."""
    told: list[int] = []
    by = Redactor(token=token, mark=mark, meter=lambda: told.append)
    schema = {"additionalProperties": {"x-guardrail": "health"}}
    args = {f"k{index}": "plain words of no weight. " * 100 for index in range(9)}
    args["last"] = "password=k9x-va1ue " * 50
    view = by.inspect(args, schema=schema, declared=True, memory=Memory()).view()
    assert view.removed["/last"][0] == "secret"
    assert view.removed["/k1"][0] == "health"
    assert len(told) > 8

"""The names under which a repeated call is found."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.repeats import names_of


def record(**origin: Any) -> dict[str, Any]:
    return {"tenant": "acme", "session": "s-1", "origin": origin}


def test_a_call_is_known_in_its_session_and_in_its_thread() -> None:
    """Two sessions of one thread share the second name, and nothing else does."""
    first = names_of(record(call_id="c-1", thread="t-1"))
    second = names_of({**record(call_id="c-1", thread="t-1"), "session": "s-2"})
    assert len(first) == 2
    assert set(first) & set(second) == {first[1]}
    for other in (
        record(call_id="c-2", thread="t-1"),
        record(call_id="c-1", thread="s-1") | {"session": "t-1"},
        record(call_id="c-1", thread="t-1") | {"tenant": "default"},
    ):
        assert set(first).isdisjoint(names_of(other))


def test_ids_do_not_run_into_each_other() -> None:
    """Whatever characters they hold."""
    one = names_of(record(call_id="', 'b", thread="a"))
    two = names_of(record(call_id="b", thread="a', '"))
    assert set(one).isdisjoint(two)


@pytest.mark.parametrize(
    "given", [{}, {"origin": None}, record(), record(call_id=None, thread="t")]
)
def test_a_call_without_an_id_has_no_name(given: dict[str, Any]) -> None:
    assert names_of(given) == []

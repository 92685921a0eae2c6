"""The fair queue: turns, order, limits, and what goes when it is full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardrail.policy.fair_queue import FairQueue, party


def anyone(_: str) -> bool:
    return True


def drained(queue: FairQueue[str]) -> list[str]:
    found = []
    while (each := queue.pop(anyone)) is not None:
        found.append(each[1])
    return found


def test_parties_take_turns_and_each_keeps_its_order() -> None:
    """Whoever came late with one item comes second."""
    queue: FairQueue[str] = FairQueue(most=100)
    for item in ("a1", "a2", "a3", "b1", "a4", "c1", "c2"):
        queue.push(item[0], item)
    assert list(queue) == ["a1", "a2", "a3", "a4", "b1", "c1", "c2"]
    assert drained(queue) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    assert len(queue) == queue.size == 0


def test_who_may_not_is_passed_over() -> None:
    """And keeps its place."""
    queue: FairQueue[str] = FairQueue(most=100)
    for item in ("a1", "b1", "a2"):
        queue.push(item[0], item)
    assert queue.pop(lambda who: who != "a") == ("b", "b1")
    assert queue.pop(lambda who: who != "a") is None
    assert drained(queue) == ["a1", "a2"]


def test_what_is_given_back_comes_first() -> None:
    """In the order that it had."""
    queue: FairQueue[str] = FairQueue(most=100)
    queue.push("a", "a3")
    for item in ("a2", "a1"):
        queue.push("a", item, front=True)
    assert drained(queue) == ["a1", "a2", "a3"]


def test_the_one_with_the_most_gives_way_where_it_is_full() -> None:
    """By number and by bytes; it may be the one that comes."""
    queue: FairQueue[str] = FairQueue(most=3, most_bytes=100)
    assert [queue.push("a", f"a{n}", 1) for n in range(4)] == [[], [], [], ["a3"]]
    assert queue.push("b", "b0", 1) == ["a2"]
    assert queue.push("c", "c0", 99) == ["c0"]
    assert queue.push("d", "d0", 97) == ["a1"]
    assert drained(queue) == ["a0", "b0", "d0"]


def test_the_parties_of_a_shard_are_tenant_and_principal() -> None:
    """Agents, servers and tools share their turn."""
    assert party("t\0p\0agent\0\0tool") == party("t\0p\0other\0s\0x") == "t\0p"
    assert party("alone") == "alone"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=60))
def test_nothing_is_lost_counted_twice_or_kept_beyond_the_limits(
    steps: list[tuple[str, int, bool]],
) -> None:
    """Whatever is pushed, dropped, taken out or popped."""
    queue: FairQueue[str] = FairQueue(most=8, most_bytes=20)
    inside: dict[str, int] = {}
    for number, (who, size, pops) in enumerate(steps):
        if pops:
            found = queue.pop(anyone)
            assert (found is None) == (not inside)
            if found is not None:
                del inside[found[1]]
        else:
            item = f"{who}{number}"
            inside[item] = size
            for gone in queue.push(who, item, size, front=size == 0):
                del inside[gone]
        if number % 7 == 6:
            for item in queue.take(lambda item: item.endswith("3")):
                del inside[item]
        assert sorted(queue) == sorted(inside)
        assert (len(queue), queue.size) == (len(inside), sum(inside.values()))
        assert len(queue) <= 8
        assert queue.size <= 20

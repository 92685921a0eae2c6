"""Every way to call a function of a program through a guard: one decision and one outcome for each
run of the body.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import pytest

from guardrail import Denied, Guard, JsonArguments, UsageError
from guardrail.testing import MemoryLedger, StaticPolicy, allow, deny, memory_guard

runs: list[str] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    """Each test counts its own runs."""
    runs.clear()


def weather(city: str) -> str:
    """Tell the weather."""
    runs.append(city)
    return f"sun in {city}"


async def weather_async(city: str) -> str:
    """Tell the weather."""
    return weather(city)


def weather_for(days: int, city: str) -> str:
    """Tell the weather."""
    return weather(city)


class Station:
    """Methods of every kind."""

    def method(self, city: str) -> str:
        """Tell the weather."""
        return weather(city)

    @classmethod
    def of_class(cls, city: str) -> str:
        """Tell the weather."""
        return weather(city)

    @staticmethod
    def static(city: str) -> str:
        """Tell the weather."""
        return weather(city)

    def __call__(self, city: str) -> str:
        """Tell the weather."""
        return weather(city)


class Report:
    """Its constructor is the body."""

    def __init__(self, city: str) -> None:
        self.text = weather(city)

    def __eq__(self, other: object) -> bool:
        return self.text == other

    __hash__: ClassVar[None] = None  # type: ignore[assignment]


PATHS: dict[str, Callable[[Guard, str], Any]] = {
    "function": lambda guard, city: guard.tool(weather)(city),
    "method": lambda guard, city: guard.tool(Station().method)(city=city),
    "class method": lambda guard, city: guard.tool(Station.of_class)(city),
    "static method": lambda guard, city: guard.tool(Station.static)(city=city),
    "partial": lambda guard, city: guard.tool(functools.partial(weather_for, 3))(city=city),
    "object": lambda guard, city: guard.tool(name="station")(Station())(city),
    "class": lambda guard, city: guard.tool(Report)(city),
    "call": lambda guard, city: guard.call("weather", {"city": city}, weather),
    "json": lambda guard, city: guard.call(
        "weather", JsonArguments(f'{{"city": "{city}"}}'), weather
    ),
}
AWAITED: dict[str, Callable[[Guard, str], Awaitable[Any]]] = {
    "coroutine function": lambda guard, city: guard.tool(weather_async)(city),
    "acall": lambda guard, city: guard.acall("weather", {"city": city}, weather_async),
    "acall of a function": lambda guard, city: guard.acall("weather", {"city": city}, weather),
}


def judged() -> tuple[Guard, MemoryLedger]:
    def judge(asked: dict[str, Any]) -> dict[str, Any]:
        city = asked["action"]["properties"]["args"]["city"]
        return deny("no_such_city") if city == "Atlantis" else allow()

    return memory_guard(StaticPolicy(judge))


def check_records(ledger: MemoryLedger) -> None:
    """An allowed and a denied call: one body, two decisions, one outcome."""
    assert runs == ["Bern"]
    decisions, outcomes = ledger.of("call.decision"), ledger.of("call.outcome")
    assert [each["decision"]["effect"] for each in decisions] == ["allow", "deny"]
    assert [(each["call"], each["status"]) for each in outcomes] == [(decisions[0]["call"], "ok")]


@pytest.mark.call_path(
    "Functions",
    "`guard.tool` of a function, method, class method, static method, partial, class or object",
    "`guard.call`",
    "`guard.call` with `JsonArguments`",
    result="governed",
)
@pytest.mark.parametrize("path", PATHS)
def test_a_call_has_one_decision_and_one_outcome(path: str) -> None:
    guard, ledger = judged()
    assert PATHS[path](guard, "Bern") == "sun in Bern"
    with pytest.raises(Denied):
        PATHS[path](guard, "Atlantis")
    check_records(ledger)


@pytest.mark.call_path(
    "Functions", "`guard.tool` of a coroutine function", "`guard.acall`", result="governed"
)
@pytest.mark.parametrize("path", AWAITED)
async def test_an_awaited_call_has_one_decision_and_one_outcome(path: str) -> None:
    guard, ledger = judged()
    assert await AWAITED[path](guard, "Bern") == "sun in Bern"
    with pytest.raises(Denied):
        await AWAITED[path](guard, "Atlantis")
    check_records(ledger)


@pytest.mark.call_path(
    "Functions",
    "`guard.admit`, with a body that the program runs",
    result="governed",
    note="`enforcement: release`: the program runs the body and reports the outcome",
)
def test_an_admitted_call_has_one_decision_and_one_outcome() -> None:
    guard, ledger = judged()
    admission = guard.admit("weather", {"city": "Bern"})
    admission.settle("ok", result=weather(**admission.arguments))
    with pytest.raises(Denied):
        guard.admit("weather", {"city": "Atlantis"})
    check_records(ledger)


@pytest.mark.call_path(
    "Functions",
    "a generator function",
    result="refused",
    note="its body would run after the outcome; the hint suggests `unsafe_stream=True`",
)
def test_a_generator_function_is_refused() -> None:
    guard, ledger = judged()

    def stream(city: str) -> Iterator[str]:
        """Stream the weather."""
        yield weather(city)

    with pytest.raises(UsageError):
        guard.tool(stream)
    assert (runs, ledger.of("call.decision")) == ([], [])


@pytest.mark.call_path(
    "Functions",
    "the original function, which is also the `__wrapped__` of a decorated one",
    result="not governed",
    note="the program can call it; a model can reach only the governed function",
)
def test_the_original_function_is_not_governed() -> None:
    guard, ledger = judged()
    governed: Any = guard.tool(weather)
    assert weather("Atlantis") == governed.__wrapped__("Atlantis") == "sun in Atlantis"
    assert (runs, ledger.of("call.decision")) == (["Atlantis"] * 2, [])

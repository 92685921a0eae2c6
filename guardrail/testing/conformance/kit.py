"""The fixture for a conformance rule: a guard with an in-memory policy and ledger, functions that
record their runs, and assertions that report what they found.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.errors import GuardrailError
from guardrail.testing.conformance.driver import AdapterDriver, ModelCall, Reply
from guardrail.testing.doubles import StaticPolicy, allow, ask, deny, memory_guard

__all__ = ["ASKED", "DENIED", "RULE", "Bodies", "ConformanceError", "Kit", "ask_about", "require"]

DENIED = "Atlantis-7c1"
"""The policy denies calls about this city."""
ASKED = "Utopia-9f4"
"""Calls about this city need a person's approval."""
RULE = "no_such_city"
"""Id of the rule that denies. Its message, which a model may read, is the same string."""


class ConformanceError(AssertionError):
    """An adapter violates a rule. The message states the expected and the actual result."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


def require(holds: object, expected: str, found: object = "") -> None:
    """Raise ``ConformanceError`` unless *holds* is true."""
    if not holds:
        shown = f"; found: {found!r}" if found != "" else ""
        raise ConformanceError(f"expected: {expected}{shown}")


@dataclass(frozen=True, slots=True)
class BodyRun:
    """One run of a body."""

    name: str
    args: dict[str, Any]
    decided: int
    """Number of allowed calls in the ledger when the run began."""
    place: int
    """Sequence number of this run, starting at 1."""


class Bodies:
    """Functions that a model may call, and a list of all their runs. Thread-safe."""

    def __init__(self, *, asynchronous: bool, allowed: Callable[[], int] = lambda: 0) -> None:
        self.runs: list[BodyRun] = []
        self.act: Callable[[dict[str, Any]], Any] = lambda args: f"sun in {args['city']}"
        """Returns the result of ``look_up``, or a coroutine that returns the result."""
        self.plan: Callable[[], Any] = lambda: "planned"
        """The same as ``act``, for ``plan_trip``."""
        self._asynchronous = asynchronous
        self._allowed = allowed
        self._lock = threading.Lock()

    def _note(self, name: str, **args: Any) -> dict[str, Any]:
        with self._lock:
            self.runs.append(BodyRun(name, args, self._allowed(), len(self.runs) + 1))
        return args

    def functions(self) -> list[Callable[..., Any]]:
        """Return the functions. They are coroutine functions if the driver is asynchronous."""
        return self._coroutines() if self._asynchronous else self._plain()

    def _plain(self) -> list[Callable[..., Any]]:
        def look_up(city: str, days: int = 3) -> Any:
            """Look up the weather in a city."""
            return self.act(self._note("look_up", city=city, days=days))

        def visit(cities: list[str]) -> str:
            """Visit some cities."""
            self._note("visit", cities=list(cities))
            return f"visited {len(cities)}"

        def plan_trip(city: str) -> Any:
            """Plan a trip to a city."""
            self._note("plan_trip", city=city)
            return self.plan()

        return [look_up, visit, plan_trip]

    def _coroutines(self) -> list[Callable[..., Any]]:
        async def look_up(city: str, days: int = 3) -> Any:
            """Look up the weather in a city."""
            return await _awaited(self.act(self._note("look_up", city=city, days=days)))

        async def visit(cities: list[str]) -> str:
            """Visit some cities."""
            self._note("visit", cities=list(cities))
            return f"visited {len(cities)}"

        async def plan_trip(city: str) -> Any:
            """Plan a trip to a city."""
            self._note("plan_trip", city=city)
            return await _awaited(self.plan())

        return [look_up, visit, plan_trip]


async def _awaited(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) else value


class Kit:
    """A guard, its in-memory ledger, the tools that the driver created, and the runs of their
    bodies.
    """

    def __init__(self, driver: AdapterDriver) -> None:
        self.driver = driver
        self.while_deciding: Callable[[], None] = lambda: None
        """Called while the policy decides."""
        self.policy = StaticPolicy(self._judge)
        self.guard, self.ledger = memory_guard(self.policy)
        self.bodies = Bodies(
            asynchronous=driver.asynchronous, allowed=lambda: len(self.decisions("allow"))
        )
        self.tools = driver.open(self.bodies.functions(), self.guard)

    def _judge(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.while_deciding()
        city = asked["action"]["properties"]["args"].get("city")
        if city == DENIED:
            return deny(RULE)
        return ask("far_away") if city == ASKED else allow("anywhere")

    @property
    def runs_bodies(self) -> bool:
        """False if the guard only releases calls and does not see their bodies."""
        return self.driver.enforcement == "body"

    # -- the records

    def decisions(self, *effects: str) -> list[dict[str, Any]]:
        """Return the decision records, or only those with one of *effects*."""
        found = self.ledger.of("call.decision")
        return [each for each in found if not effects or each["decision"]["effect"] in effects]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        return self.ledger.of("call.outcome")

    @property
    def refused(self) -> list[dict[str, Any]]:
        """Return the records of calls that the framework or the guard refused."""
        return self.ledger.of("call.rejected") + self.decisions("deny", "require_approval")

    @property
    def decided_args(self) -> list[dict[str, Any]]:
        """Return the arguments that the policy saw, call by call."""
        return [asked["action"]["properties"]["args"] for asked in self.policy.inputs]

    # -- actions of rules

    async def run(self, *calls: ModelCall) -> list[Reply]:
        """Run the calls in one response. An exception violates the rule."""
        try:
            replies = list(await self.driver.arun(self.tools, calls))
        except Exception as error:
            raise ConformanceError(
                f"expected: a reply for the model; found: {type(error).__name__} raised to the"
                f" program: {_text(error)}"
            ) from error
        require(len(replies) == len(calls), "one reply for each call", replies)
        return replies

    async def error(self, *calls: ModelCall) -> BaseException | None:
        """Run the calls in one response. Return the exception that the program receives, or
        None.
        """
        try:
            await self.driver.arun(self.tools, calls)
        except Exception as error:  # noqa: BLE001 - the caller judges it
            return error
        return None

    def check_runs(self, count: int) -> None:
        """Require *count* runs, each preceded by its own decision and followed by one outcome."""
        runs, allowed = self.bodies.runs, self.decisions("allow")
        require(len(runs) == count, f"{count} runs of bodies", len(runs))
        require(
            len(allowed) == count,
            f"{count} decisions that allow, one for each run of a body",
            len(allowed),
        )
        for run in runs:
            require(run.decided >= run.place, "the decision is recorded before the body starts")
        ends = Counter((each["call"], each["decision_seq"]) for each in self.outcomes)
        wanted = Counter((each["call"], each["seq"]) for each in allowed)
        require(ends == wanted, "one outcome for each allowed call, with its id", ends)
        require(len(wanted) == count, "a call id of its own for each run", wanted)
        self.check_origin()

    def check_origin(self) -> None:
        """Require that every record of a call contains the adapter and its enforcement."""
        for record in self.ledger.records:
            if record["type"].startswith("call."):
                found = record["origin"]["adapter"]
                require(found == self.driver.adapter, "the adapter's name in origin", found)
        for record in self.decisions():
            found = record["enforcement"]
            require(found == self.driver.enforcement, "enforcement as the driver says", found)


def _text(error: BaseException) -> str:
    return str(error) if not isinstance(error, GuardrailError) else error.message


def ask_about(*cities: str) -> Sequence[ModelCall]:
    """Return a call of ``look_up`` for each city."""
    return [
        ModelCall("look_up", {"city": city}, f"call-{place}") for place, city in enumerate(cities)
    ]

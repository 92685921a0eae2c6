"""Rules about failing bodies and ledgers, and about results that must not change."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from guardrail.core.log.record import Draft
from guardrail.errors import LedgerError
from guardrail.testing.conformance.driver import ModelCall
from guardrail.testing.conformance.kit import Bodies, Kit, ask_about, require

__all__ = [
    "cancelled_call",
    "errors_unchanged",
    "ledger_fails_after",
    "ledger_fails_before",
    "ledger_fails_in_flight",
    "results_unchanged",
]

RESULTS: tuple[Any, ...] = (
    "sun",
    "",
    " \u00e4\u4e16 \u2028\r\n",
    "x" * 100_000,
    0,
    -1.5,
    10**30,
    True,
    None,
    [],
    ["a", 1, None],
    {},
    {"b": [1, {"c": "\u00e9"}], "a": 2},
    '{"looks": "like JSON"}',
    "denied by policy: not really",
)
"""Results of various types."""


def _return_result(result: Any, _: dict[str, Any]) -> Any:
    return result


async def results_unchanged(kit: Kit) -> None:
    plain = Bodies(asynchronous=kit.driver.asynchronous)
    ungoverned = kit.driver.open(plain.functions(), None)
    for place, result in enumerate(RESULTS):
        plain.act = kit.bodies.act = partial(_return_result, result)
        call = ModelCall("look_up", {"city": "Bern"}, f"call-{place}")
        (wanted,) = await kit.driver.arun(ungoverned, [call])
        (found,) = await kit.run(call)
        require(
            repr(found) == repr(wanted),
            f"the reply that the framework gives without a guard, {wanted!r:.200}",
            found,
        )
    require(len(plain.runs) == len(RESULTS), "the ungoverned bodies ran", len(plain.runs))
    kit.check_runs(len(RESULTS))


class CityError(Exception):
    """The exception that the body raises."""


async def errors_unchanged(kit: Kit) -> None:
    plain = Bodies(asynchronous=kit.driver.asynchronous)
    ungoverned = kit.driver.open(plain.functions(), None)

    def fail(_: dict[str, Any]) -> Any:
        raise CityError("there is no such city")

    plain.act = kit.bodies.act = fail
    wanted = await _effect(kit, ungoverned)
    found = await _effect(kit, kit.tools)
    require(found == wanted, f"the effect that the exception has without a guard, {wanted}", found)
    kit.check_runs(1)
    if not kit.runs_bodies:
        return  # the guard does not see how the body ends
    ends = [(each["status"], str((each["error"] or {}).get("class"))) for each in kit.outcomes]
    named = [status == "error" and name.endswith("CityError") for status, name in ends]
    require(named == [True], "an outcome that names the exception", ends)


async def _effect(kit: Kit, tools: Any) -> str:
    try:
        (reply,) = await kit.driver.arun(tools, ask_about("Bern"))
    except Exception as error:  # noqa: BLE001 - it is compared
        return f"raised {type(error).__name__}: {error}"
    return repr(reply)


def _check_stopped(error: BaseException | None) -> None:
    require(
        isinstance(error, LedgerError), "a LedgerError for the program", error or "no exception"
    )


async def ledger_fails_before(kit: Kit) -> None:
    kit.ledger.fail = lambda _: LedgerError("the disk is full", code="ledger.full")
    error = await kit.error(*ask_about("Bern"))
    require(not kit.bodies.runs, "no body runs", kit.bodies.runs)
    _check_stopped(error)


async def ledger_fails_after(kit: Kit) -> None:
    def break_ledger(_: dict[str, Any]) -> str:
        kit.ledger.fail = lambda _: LedgerError("the disk is full", code="ledger.full")
        return "sun"

    kit.bodies.act = break_ledger
    error = await kit.error(*ask_about("Bern"))
    require(len(kit.bodies.runs) == 1, "one run of a body", kit.bodies.runs)
    _check_stopped(error)


async def ledger_fails_in_flight(kit: Kit) -> None:
    """Make fifty calls with a ledger that fails after the first twenty records."""

    def fail(_: Draft) -> LedgerError | None:
        full = len(kit.ledger.lines) > 20
        return LedgerError("the disk is full", code="ledger.full") if full else None

    kit.ledger.fail = fail
    error = await kit.error(*ask_about(*["Bern"] * 50))
    for run in kit.bodies.runs:
        require(run.decided >= run.place, "a recorded decision for each body that ran", run)
    _check_stopped(error)


async def cancelled_call(kit: Kit) -> None:
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.sleep(3600)

    kit.bodies.act = lambda _: wait()
    task = asyncio.ensure_future(kit.driver.arun(kit.tools, ask_about("Bern")))
    begun = asyncio.ensure_future(started.wait())
    await asyncio.wait({task, begun}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    require(started.is_set(), "the body runs", "it did not start")
    task.cancel()
    ended = (await asyncio.gather(task, return_exceptions=True))[0]
    require(isinstance(ended, asyncio.CancelledError), "CancelledError for the program", ended)
    kit.check_runs(1)
    statuses = [each["status"] for each in kit.outcomes]
    require(statuses == ["cancelled"], "an outcome that says cancelled", statuses)

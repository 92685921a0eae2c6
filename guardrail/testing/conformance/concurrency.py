"""Rules about multiple calls: parallel, nested and repeated calls, and the session that calls
belong to.
"""

from __future__ import annotations

from typing import Any

from guardrail.testing.conformance.driver import ModelCall
from guardrail.testing.conformance.kit import DENIED, RULE, Kit, ask_about, require

__all__ = ["caller", "nested_calls", "parallel_calls", "retries"]


async def parallel_calls(kit: Kit) -> None:
    """Make eight parallel calls, one of which is denied."""
    cities = [f"city-{place}" for place in range(8)]
    cities[5] = DENIED
    replies = await kit.run(*ask_about(*cities))
    for city, reply in zip(cities, replies, strict=True):
        wanted = RULE if city == DENIED else f"sun in {city}"
        require(wanted in str(reply.content), f"the reply to the call about {city}", reply)
    kit.check_runs(7)
    require(len(kit.decisions("deny")) == 1, "one denial", len(kit.decisions("deny")))
    for record in kit.decisions():
        city = record["input"]["action"]["properties"]["args"]["city"]
        wanted = f"call-{cities.index(city)}"
        found = record["origin"]["call_id"]
        require(found in (None, wanted), f"the id of the call about {city}, {wanted}", found)


async def nested_calls(kit: Kit) -> None:
    inner = ModelCall("look_up", {"city": "Bern"}, "call-inner")

    async def acall() -> str:
        return str((await kit.driver.arun(kit.tools, [inner]))[0].content)

    def call() -> str:
        return str(kit.driver.run(kit.tools, [inner])[0].content)

    kit.bodies.plan = acall if kit.driver.asynchronous else call
    (reply,) = await kit.run(ModelCall("plan_trip", {"city": "Rome"}, "call-outer"))
    require("sun in Bern" in str(reply.content), "the result of the inner call", reply)
    kit.check_runs(2)
    outer, nested = kit.decisions()
    require(outer["parent"] is None, "no parent of the outer call", outer["parent"])
    require(
        nested["parent"] == outer["call"],
        f"the outer call, {outer['call']}, as the parent of the inner one",
        nested["parent"],
    )


async def retries(kit: Kit) -> None:
    """Call a body that fails, then repeat the call."""
    attempts: list[Any] = []

    def flaky(_: dict[str, Any]) -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("try again")
        return "sun"

    kit.bodies.act = flaky
    await kit.error(*ask_about("Bern"))
    (reply,) = await kit.run(*ask_about("Bern"))
    require("sun" in str(reply.content), "the result of the second attempt", reply)
    kit.check_runs(2)
    if not kit.runs_bodies:
        return  # the guard does not see how the bodies end
    ends = [each["status"] for each in kit.outcomes]
    require(ends == ["error", "ok"], "an outcome for each attempt", ends)


async def caller(kit: Kit) -> None:
    with kit.guard.session(principal="mia@example.com", agent="planner") as session:
        await kit.run(*ask_about("Bern", "Rome"))
    kit.check_runs(2)
    found = {(each["session"], each["principal"]["id"]) for each in kit.decisions()}
    require(
        found == {(session.id, "mia@example.com")},
        f"the program's session, {session.id}, and its principal",
        found,
    )

"""Rules about decisions: the judged arguments, the effect of a decision, and the text that a model
reads.
"""

from __future__ import annotations

import json
from typing import Any

from guardrail.testing.conformance.driver import ModelCall, Reply
from guardrail.testing.conformance.kit import (
    ASKED,
    DENIED,
    RULE,
    ConformanceError,
    Kit,
    ask_about,
    require,
)

__all__ = [
    "approval_is_required",
    "bad_arguments",
    "bad_json",
    "decided_at_the_body",
    "denial_is_readable",
    "hostile_text",
    "one_decision_one_outcome",
    "runs_what_was_decided",
    "unknown_tool",
]


def _check_decided(kit: Kit) -> None:
    decided = kit.decided_args[: len(kit.bodies.runs)]
    for seen, run in zip(decided, kit.bodies.runs, strict=True):
        # A program that runs the body itself also fills in defaults itself.
        given = run.args if kit.runs_bodies else {name: run.args.get(name) for name in seen}
        require(
            repr(sorted(seen.items())) == repr(sorted(given.items())),
            f"the policy saw what the body got, {run.args!r}",
            seen,
        )


async def decided_at_the_body(kit: Kit) -> None:
    """Check that defaults are filled in and values are coerced before the decision."""
    await kit.run(*ask_about("Bern"))
    require(
        kit.bodies.runs and kit.bodies.runs[0].args == {"city": "Bern", "days": 3},
        "the body runs with its defaults",
        [run.args for run in kit.bodies.runs],
    )
    _check_decided(kit)
    kit.bodies.runs.clear()
    kit.policy.inputs.clear()
    # Some frameworks coerce this value, others reject it. In both cases, nothing else may run.
    await kit.run(ModelCall("look_up", {"city": "Bern", "days": "5"}, "call-text"))
    _check_decided(kit)


async def one_decision_one_outcome(kit: Kit) -> None:
    for place, city in enumerate(("Bern", "Rome", "Bern")):
        await kit.run(ModelCall("look_up", {"city": city}, f"call-{place}"))
    kit.check_runs(3)
    ids = [each["origin"]["call_id"] for each in kit.decisions()]
    if any(ids):
        require(ids == ["call-0", "call-1", "call-2"], "the framework's ids of the calls", ids)


async def runs_what_was_decided(kit: Kit) -> None:
    """Check that changes to the model's own objects during the decision do not reach the body."""
    cities = ["Bern"]

    def change() -> None:
        cities[0] = "Elsewhere"

    kit.while_deciding = change
    await kit.run(ModelCall("visit", {"cities": cities}, "call-1"))
    require(
        [run.args for run in kit.bodies.runs] == kit.decided_args,
        f"the body gets what the policy saw, {kit.decided_args!r}",
        [run.args for run in kit.bodies.runs],
    )
    kit.check_runs(1)


async def denial_is_readable(kit: Kit) -> None:
    (reply,) = await kit.run(*ask_about(DENIED))
    require(not kit.bodies.runs, "no body runs", kit.bodies.runs)
    effects = [each["decision"]["effect"] for each in kit.decisions()]
    require(effects == ["deny"], "one recorded denial", effects)
    _check_refusal(reply)
    require(RULE in _text(reply), "the message of the rule that denied", _text(reply))
    require(DENIED not in _text(reply), "no value in the text of a denial", _text(reply))
    require(not kit.outcomes, "no outcome of a call that did not run", kit.outcomes)
    kit.check_origin()


async def approval_is_required(kit: Kit) -> None:
    (reply,) = await kit.run(*ask_about(ASKED))
    require(not kit.bodies.runs, "no body runs", kit.bodies.runs)
    effects = [each["decision"]["effect"] for each in kit.decisions()]
    require(effects == ["require_approval"], "one recorded request for approval", effects)
    _check_refusal(reply)
    require("far_away" in _text(reply), "the rule that asks for an approval", _text(reply))
    require(ASKED not in _text(reply), "no value in the text of a refusal", _text(reply))


async def bad_arguments(kit: Kit) -> None:
    bad: tuple[tuple[str, Any], ...] = (
        ("city", {"days": 2}),
        ("city", {"city": ["Bern"]}),
        ("days", {"city": "Bern", "days": "many"}),
        ("cities", {"cities": "Bern"}),
    )
    for place, (named, arguments) in enumerate(bad):
        name = "visit" if named == "cities" else "look_up"
        before = len(kit.refused)
        (reply,) = await kit.run(ModelCall(name, arguments, f"bad-{place}"))
        _check_refusal(reply)
        require(named in _text(reply), f"the name of the bad argument, {named}", _text(reply))
        require(len(kit.refused) == before + 1, "a record of the refused call", kit.refused)
    require(not kit.bodies.runs, "no body runs", kit.bodies.runs)
    require(not kit.decisions("allow"), "no decision that allows", kit.decisions("allow"))
    await kit.run(*ask_about("Bern"))
    kit.check_runs(1)


BAD_JSON = (
    "",
    "{",
    '{"city": "Bern"',
    '{"city": "Bern", "city": "Rome"}',
    '{"city": "Bern"} and more',
    '["Bern"]',
    "null",
)
"""Texts that are not exactly one JSON object, or that two parsers could interpret differently."""


async def bad_json(kit: Kit) -> None:
    for place, text in enumerate(BAD_JSON):
        before = len(kit.refused)
        (reply,) = await kit.run(ModelCall("look_up", text, f"bad-{place}"))
        _check_refusal(reply)
        require("Rome" not in _text(reply), "no value in the text of a refusal", _text(reply))
        require(len(kit.refused) == before + 1, f"a record of the call with {text!r}", kit.refused)
    require(not kit.bodies.runs, "no body runs", kit.bodies.runs)
    await kit.run(ModelCall("look_up", json.dumps({"city": "Bern"}), "good"))
    kit.check_runs(1)


async def unknown_tool(kit: Kit) -> None:
    (reply,) = await kit.run(ModelCall("no_such_tool", {"city": DENIED}, "call-1"))
    _check_refusal(reply)
    require(not kit.bodies.runs, "no body runs", kit.bodies.runs)
    names = [each["tool"]["name"] for each in kit.refused]
    require(names == ["no_such_tool"], "one record of the refused call, with the name", names)
    kit.check_origin()
    await kit.run(*ask_about("Bern"))
    kit.check_runs(1)


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else "x"


HOSTILE: tuple[dict[str, Any], ...] = (
    {"city": "\ud800"},
    {"city": "\x00\x1b[31m\u202e"},
    {"city": "x" * 200_000},
    {"city": _nested(100)},
    {"city": "Bern", "days": 10**400},
    {"city": "Bern", "days": 2**70},
    {"city": "Bern", "days": 1e999},
    {"city": "Bern", "": 1},
    {"city": "Bern", "self": 1, "config": {}, "__class__": "x"},
)
"""Arguments that break careless code."""

NAMES = ("", "\ud800", "look_up\n", "a" * 10_000, "../../look_up", "{0}")
"""Names of tools that a model could write."""


async def hostile_text(kit: Kit) -> None:
    calls = [ModelCall("look_up", arguments, "") for arguments in HOSTILE]
    if "unknown_tool" not in kit.driver.exempt:
        calls += [ModelCall(name, {"city": "Bern"}, "") for name in NAMES]
    for place, call in enumerate(calls):
        try:
            await kit.run(ModelCall(call.name, call.arguments, f"call-{place}"))
        except ConformanceError as error:
            shown = ascii(call)[:120]
            raise ConformanceError(f"with {shown}, {error}") from error
    if kit.runs_bodies:
        kit.check_runs(len(kit.bodies.runs))
    before = len(kit.bodies.runs)
    require(before <= len(kit.decisions("allow")), "a decision for each run of a body", before)
    await kit.run(*ask_about("Bern"))
    require(len(kit.bodies.runs) == before + 1, "the next call works", kit.bodies.runs[-1:])


def _text(reply: Reply) -> str:
    return reply.content if isinstance(reply.content, str) else repr(reply.content)


def _check_refusal(reply: Reply) -> None:
    require(_text(reply).strip(), "a text that the model can read", reply)
    require(reply.failed is not False, "a reply that is marked as a failure", reply)

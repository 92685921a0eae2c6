"""What the embedded engine answers, and how it fails."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.decision import parse
from guardrail.core.types import Effect, EngineReply
from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.policy.embedded import process
from guardrail.policy.embedded.canaries import CANARIES
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.engine import Engine
from guardrail.policy.input_limits import MAX_INPUT, check_input
from tests.support.policies import ALLOW, call_input, compiled, write

RULES = """package guardrail.policy

args := input.action.properties.args

allow contains "sample" if input.resource.id == "guardrail.sample"

deny contains "text" if args.deny == "text"

deny contains {"rule": "object", "message": "said no", "severity": "high"} if args.deny == "object"

deny contains entries[args.deny] if args.deny in {"number", "half", "more"}

# Kept apart: an entry that is written out in a rule is refused when policies are loaded.
entries := {"number": 5, "half": {"rule": "r"}, "more": {"rule": "r", "message": "m", "more": 1}}

require_approval contains {"rule": "ask", "message": "why", "needs": ["/a"], "approvers": 2} if args.ask

redact contains "/card" if args.card

obligation contains "notify" if args.oblige

deny contains lower(args.lower) if args.lower

deny contains concat("", [x | some i in numbers.range(1, 1500); x := args.long]) if args.long
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """An engine for ``RULES``."""
    folder = write(tmp_path_factory.mktemp("policies"), {"p.rego": RULES})
    loaded = EmbeddedEngine.load([folder], spare=False)
    yield loaded
    loaded.close()


def ask(engine: Engine, policy_input: bytes) -> EngineReply:
    """Decide and wait."""
    return engine.decide(policy_input, shard="t\0s\0tool", deadline=5).result(10)


def failure(engine: Engine, policy_input: bytes) -> tuple[str, str]:
    """Return cause and detail of a call that gets no reply."""
    with pytest.raises(PolicyError) as caught:
        ask(engine, policy_input)
    return caught.value.cause, caught.value.detail


def test_a_reply_names_what_it_was_derived_from(engine: EmbeddedEngine) -> None:
    """Engine, version, digests of modules and data."""
    reply = ask(engine, sample_input().encode())
    assert reply.policy == engine.identity
    assert reply.policy.engine == "regorus"
    assert reply.policy.version == "0.13.0"
    assert len(reply.policy.digest or "") == 64
    assert len(reply.policy.data or "") == 64
    assert reply.milliseconds > 0


@pytest.mark.parametrize(
    ("args", "effect", "rules"),
    [
        ({}, Effect.ALLOW, [("sample", Effect.ALLOW)]),
        ({"deny": "text"}, Effect.DENY, [("text", Effect.DENY), ("sample", Effect.ALLOW)]),
        ({"deny": "object"}, Effect.DENY, [("object", Effect.DENY), ("sample", Effect.ALLOW)]),
        (
            {"ask": True},
            Effect.REQUIRE_APPROVAL,
            [("ask", Effect.REQUIRE_APPROVAL), ("sample", Effect.ALLOW)],
        ),
        (
            {"ask": True, "deny": "text"},
            Effect.DENY,
            [("text", Effect.DENY), ("ask", Effect.REQUIRE_APPROVAL), ("sample", Effect.ALLOW)],
        ),
    ],
)
def test_deny_beats_approval_beats_allow(
    engine: EmbeddedEngine, args: dict[str, object], effect: Effect, rules: list[object]
) -> None:
    """Whatever fires, it is listed with the effect it asked for."""
    decision = parse(ask(engine, call_input(**args)).document)
    assert decision.effect is effect
    assert [(rule.rule, rule.effect) for rule in decision.rules] == rules


def test_no_allow_is_a_denial_with_a_reason(engine: EmbeddedEngine) -> None:
    """A default that can be investigated."""
    decision = parse(ask(engine, sample_input("another tool").encode()).document)
    assert decision.effect is Effect.DENY
    assert [rule.rule for rule in decision.rules] == ["guardrail.no_allow"]


@pytest.mark.parametrize(
    ("approval", "effect"),
    [
        ({"valid": True, "rules": ["ask"]}, Effect.ALLOW),
        ({"valid": True, "rules": ["other"]}, Effect.REQUIRE_APPROVAL),
        ({"valid": True, "rules": []}, Effect.REQUIRE_APPROVAL),
        ({"valid": False, "rules": ["ask"]}, Effect.REQUIRE_APPROVAL),
        ({"rules": ["ask"]}, Effect.REQUIRE_APPROVAL),
        ({"valid": "true", "rules": ["ask"]}, Effect.REQUIRE_APPROVAL),
        (None, Effect.REQUIRE_APPROVAL),
    ],
)
def test_a_valid_approval_covers_the_rules_it_names(
    engine: EmbeddedEngine, approval: object, effect: Effect
) -> None:
    """And no other, and only where it is valid."""
    document = json.loads(call_input(ask=True))
    document["context"]["approval"] = approval
    assert parse(ask(engine, json.dumps(document).encode()).document).effect is effect


def test_an_approval_never_covers_a_denial(engine: EmbeddedEngine) -> None:
    """Deny is not for persons to lift."""
    document = json.loads(call_input(ask=True, deny="text"))
    document["context"]["approval"] = {"valid": True, "rules": ["ask", "text"]}
    assert parse(ask(engine, json.dumps(document).encode()).document).effect is Effect.DENY


def test_details_of_a_rule_reach_the_decision(engine: EmbeddedEngine) -> None:
    """Severity, needs, approvers and redact pointers."""
    decision = parse(ask(engine, call_input(ask=True, card="x")).document)
    assert (decision.rules[0].needs, decision.rules[0].approvers) == (("/a",), 2)
    assert decision.redact == ("/card",)


def test_an_obligation_denies(engine: EmbeddedEngine) -> None:
    """The contract knows none."""
    decision = parse(ask(engine, call_input(oblige=True)).document)
    assert (decision.effect, decision.cause) == (Effect.DENY, "obligation")


@pytest.mark.parametrize("kind", ["number", "half", "more"])
def test_an_entry_of_another_shape_is_malformed(engine: EmbeddedEngine, kind: str) -> None:
    """It is neither dropped nor repaired."""
    decision = parse(ask(engine, call_input(deny=kind)).document)
    assert (decision.effect, decision.cause) == (Effect.DENY, "malformed")


def test_an_error_in_a_rule_is_a_failure_without_values(engine: EmbeddedEngine) -> None:
    """It names the author's file and line, and nothing of the call."""
    with pytest.raises(PolicyError) as caught:
        ask(engine, call_input(lower=7193528))
    error = caught.value
    assert (error.cause, error.detail) == ("error", "evaluation")
    line = RULES.splitlines().index("deny contains lower(args.lower) if args.lower") + 1
    assert f"p.rego, line {line}" in str(error)
    assert "7193528" not in repr((str(error), error.hint, error.args))


def test_a_huge_reply_is_refused(engine: EmbeddedEngine) -> None:
    """At a megabyte, by the worker itself, which goes on."""
    assert failure(engine, call_input(long="x" * 1000)) == ("malformed", "too_large")
    assert parse(ask(engine, call_input()).document).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("policy_input", "detail"),
    [
        (b"{", "input"),
        (b"\xff", "input"),
        (b'{"a": 1e999}', "input"),
        (b'{"a": "\\ud800"}', "input"),
        (b"[" * 200 + b"]" * 200, "input"),
        (b'{"a": 18446744073709551616}', "integer_range"),
        (b'{"a": [{"b": -9223372036854775809}]}', "integer_range"),
        (b'{"a":9223372036854775808.0}', "integer_range"),
        (b'{"a":[9.223372036854776e18]}', "integer_range"),
        (b'{"a":[-9.223372036854776e+18,1]}', "integer_range"),
        (b'{"a":1e16,"b":1}', "integer_range"),
        (b'{"a":9007199254740992.0 }', "integer_range"),
        (b'{"a":1.8446744073709552E19}', "integer_range"),
        (b'{"t":"1e16 4111111111111111","a":[0, 18446744073709551616]}', "integer_range"),
        (b'{"a":\t-18446744073709551616}', "integer_range"),
        (b'{"a":{"b":{}},"c":[[1e16]]}', "integer_range"),
        (b"18446744073709551616", "integer_range"),
        (b'{"a": "' + b"x" * MAX_INPUT + b'"}', "input_size"),
    ],
)
def test_an_input_the_engine_would_misread_is_a_failure(
    engine: EmbeddedEngine, policy_input: bytes, detail: str
) -> None:
    """Not JSON, half characters, too deep, too large, integers beyond 64 bits."""
    assert failure(engine, policy_input) == ("error", detail)


def test_texts_of_many_digits_are_looked_through_once() -> None:
    """A call with card numbers and digests in a long text is not kept waiting for the square of its
    length.
    """

    def lines(count: int) -> int:
        text = b'{"a":"' + b"1111111111111111-" * count + b'"}'
        done = 0

        def step(*_: Any) -> Any:
            nonlocal done
            done += 1
            return step

        before = sys.gettrace()
        sys.settrace(step)
        try:
            check_input(text)
        finally:
            sys.settrace(before)
        return done

    assert lines(400) < 3 * lines(200)


def test_long_runs_of_digits_that_fit_are_taken(engine: EmbeddedEngine) -> None:
    """The limit is about numbers, not about text, fractions or the largest integers."""
    args = {
        "a": "1" * 60,
        "b": 18446744073709551615,
        "c": -9223372036854775808,
        "d": 0.1234567890123456,
    }
    assert parse(ask(engine, call_input(**args)).document).effect is Effect.ALLOW


def test_an_input_that_is_no_call_is_denied(engine: EmbeddedEngine) -> None:
    """The composition decides whatever it is asked about."""
    assert parse(ask(engine, b"null").document).effect is Effect.DENY


def test_an_undefined_decision_is_a_failure(tmp_path: Path) -> None:
    """Neither null nor an empty object: there is no decision. Only another composition can do
    that.
    """
    ready = compiled(write(tmp_path, {"p.rego": ALLOW}))
    text = 'package guardrail.main\n\ndecision := {} if input.resource.id == "guardrail.sample"\n'
    modules = tuple(
        replace(module, text=text) if module.package == ("guardrail", "main") else module
        for module in ready.modules
    )
    engine = EmbeddedEngine(replace(ready, modules=modules), spare=False)
    try:
        assert failure(engine, sample_input("other").encode()) == ("undefined", "no_decision")
    finally:
        engine.close()


def test_many_threads_each_get_their_own_answer(engine: EmbeddedEngine) -> None:
    """64 threads, 20 calls each, no answer goes to another call."""

    def calls(number: int) -> bool:
        for index in range(20):
            own = f"{number}-{index}"
            document = ask(
                engine, sample_input(f"tool {own}", args={"deny": "text"}).encode()
            ).document
            if parse(document).effect is not Effect.DENY:
                return False
            allowed = parse(ask(engine, call_input(n=own)).document).effect is Effect.ALLOW
            if not allowed:
                return False
        return True

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(calls, range(64)))


def test_answers_come_to_the_calls_they_belong_to(engine: EmbeddedEngine) -> None:
    """Pipelined requests of different kinds, answered in their order."""
    asked: list[tuple[Effect, Future[EngineReply]]] = []
    for index in range(300):
        args: dict[str, object] = {"deny": "text"} if index % 3 else {}
        effect = Effect.DENY if index % 3 else Effect.ALLOW
        asked.append((effect, engine.decide(call_input(**args), shard="t\0s\0x", deadline=10)))
    assert all(parse(future.result(10).document).effect is effect for effect, future in asked)


def test_a_callback_may_ask_again(engine: EmbeddedEngine) -> None:
    """Callbacks run where the engine reads answers, and hold no lock of it."""
    done = threading.Event()
    answers: list[object] = []

    def second(future: Future[EngineReply]) -> None:
        answers.append(future.result().document)
        done.set()

    def first(future: Future[EngineReply]) -> None:
        engine.decide(call_input(), shard="t\0s\0x", deadline=5).add_done_callback(second)

    engine.decide(call_input(), shard="t\0s\0x", deadline=5).add_done_callback(first)
    assert done.wait(5)
    assert len(answers) == 1


def test_a_request_can_not_be_cancelled(engine: EmbeddedEngine) -> None:
    """An event loop that gives up does not leave a future in an impossible state."""
    future = engine.decide(call_input(), shard="t\0s\0x", deadline=5)
    assert future.cancel() is False
    assert future.result(5)


def test_policies_whose_tests_fail_are_not_served(tmp_path: Path) -> None:
    """The author said what they must do."""
    test = (
        'package guardrail.policy_test\n\ntest_it if data.guardrail.main.decision.effect == "deny"'
        " with input as {}\n\ntest_not if 1 == 2\n"
    )
    write(tmp_path, {"p.rego": ALLOW, "p_test.rego": test})
    with pytest.raises(PolicyLoadError) as caught:
        EmbeddedEngine.load([tmp_path])
    assert [(f.code, f.line) for f in caught.value.findings] == [("test-failed", 5)]


def test_policies_with_malformed_answers_are_not_served(tmp_path: Path) -> None:
    """Found on the samples, before the first call."""
    write(tmp_path, {"p.rego": "package guardrail.policy\n\nallow contains count([1]) if true\n"})
    with pytest.raises(PolicyLoadError) as caught:
        EmbeddedEngine.load([tmp_path])
    assert {finding.code for finding in caught.value.findings} == {"contract"}


def test_policies_that_are_unsafe_are_not_served(tmp_path: Path) -> None:
    """What only shows when the engine prepares to evaluate, with its place."""
    write(tmp_path, {"p.rego": ALLOW + '\ndeny contains "x" if nowhere == 1\n'})
    with pytest.raises(PolicyLoadError) as caught:
        EmbeddedEngine.load([tmp_path])
    assert {(f.code, f.line) for f in caught.value.findings} == {("evaluation", 5)}


def test_another_version_of_the_engine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one build is known to answer like OPA."""
    monkeypatch.setattr(process, "ENGINE_VERSION", "0.14.0")
    process.engine_folder.cache_clear()
    with pytest.raises(PolicyError) as caught:
        process.engine_folder()
    process.engine_folder.cache_clear()
    assert (caught.value.cause, caught.value.detail) == ("unreachable", "engine_version")


@pytest.mark.parametrize(
    "wrong", [{"want": 2}, {"raises": True}, {"undefined": True}, {"want": True}]
)
def test_a_wrong_canary_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object]
) -> None:
    """Another answer, no error, a value, a value of another type."""
    canary = {
        "name": "one",
        "modules": [["t.rego", "package t\nx := 1\n"]],
        "rule": "data.t.x",
        **wrong,
    }
    monkeypatch.setattr("guardrail.policy.embedded.engine.CANARIES", [*CANARIES, canary])
    with pytest.raises(PolicyError) as caught:
        EmbeddedEngine.load([write(tmp_path, {"p.rego": ALLOW})])
    assert (caught.value.cause, caught.value.detail) == ("unreachable", "canary")


def test_listings_follow_hide_alone(tmp_path: Path) -> None:
    """A hidden tool is not offered, whatever is allowed; a denied one is."""
    text = ALLOW + 'deny contains "d"\n\nhide contains "h" if input.resource.id == "secret"\n'
    ready = compiled(write(tmp_path, {"p.rego": text}))
    with Workbench() as bench:
        bench.load(ready.texts, ready.data)
        answers = [
            bench.rule("data.guardrail.main.listing", sample_input(tool, name="tools/list"))
            for tool in ("secret", "guardrail.sample")
        ]
    assert [answer["offered"] for answer in answers if isinstance(answer, dict)] == [False, True]


LEAKY = """package guardrail.policy

allow contains "sample" if input.resource.id == "guardrail.sample"

word := lower(input.action.properties.args.word) if walk(input.action.properties.args, [path, value])

deny contains "word" if word == "forbidden"
"""


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    """In the raw engine a rule whose evaluation raised once may be undefined for ever: one bad
    call, and denials end.
    """
    import regorus

    bad, forbidden = sample_input(args={"word": 5}), sample_input(args={"word": "Forbidden"})
    raw_engine = regorus.Engine()
    raw_engine.add_policy("p", LEAKY)
    raw_engine.set_input_json(bad)
    with pytest.raises(RuntimeError):
        raw_engine.eval_rule_as_json("data.guardrail.policy.deny")
    raw_engine.set_input_json(forbidden)
    assert json.loads(raw_engine.eval_rule_as_json("data.guardrail.policy.deny")) == []

    engine = EmbeddedEngine.load([write(tmp_path, {"p.rego": LEAKY})], spare=False)
    try:
        for _ in range(3):
            assert failure(engine, bad.encode())[0] == "error"
            assert parse(ask(engine, forbidden.encode()).document).effect is Effect.DENY
    finally:
        engine.close()


def test_an_error_in_one_test_leaves_nothing_behind_for_the_next(tmp_path: Path) -> None:
    """The same where policies are tested and rehearsed."""
    with Workbench() as bench:
        bench.load([("p.rego", LEAKY)], None)
        with pytest.raises(EngineRefusal):
            bench.rule("data.guardrail.policy.deny", sample_input(args={"word": 5}))
        answer = bench.rule("data.guardrail.policy.deny", sample_input(args={"word": "Forbidden"}))
        assert answer == ["word"]

"""Asks both engines about the same calls: those in the policies' tests, changed copies of these
calls, and generated calls. Also runs the tests on both engines.

OPA is the reference. A difference is a fault of the embedded engine that guardrail did not know, in
exactly the policies that a guard is about to use. An error that is a documented limit of the
embedded engine is a remark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from guardrail.config import OpaSection
from guardrail.core.words import counted
from guardrail.errors import Finding, PolicyError, PolicyLoadError
from guardrail.policy.cross_check.generated import generated_inputs
from guardrail.policy.cross_check.mutants import mutants
from guardrail.policy.cross_check.stricter import stricter
from guardrail.policy.embedded.compiled import CompiledPolicies, Progress, compile_policies
from guardrail.policy.embedded.observed import DECISION, LISTING, observe
from guardrail.policy.embedded.rehearsal import (
    TestOutcome,
    refusal_finding,
    run_policy_tests,
    sample_input,
    samples,
)
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.opa.check import test_results
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import PolicySet

__all__ = ["CrossCheck", "cross_check", "describe", "require_agreement"]

GENERATED = 200
"""Number of generated calls."""
MOST_MUTANTS = 2_000
"""Maximum number of changed calls. If there are more, evenly distributed ones are tried."""
_LIMIT = 5.0
"""Time limit of one decision, in seconds."""
_SHOWN = 10
"""Maximum number of differences that are reported. Calls that differ in the same way count as one
difference.
"""
_SETS = ("rules", "redact", "labels", "obligations")
CODE = "engines-differ"
_HINT = (
    'set [policy] engine = "opa" for these policies, and report this: the embedded engine should '
    "have refused them"
)


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """Result of a comparison. All fields hold built-in types."""

    tests: int
    """Number of the policies' tests that both engines ran."""
    calls: int
    """Number of calls in these tests that both engines decided."""
    mutants: int
    """Number of changed copies of these calls."""
    generated: int
    """Number of other calls: samples, and calls made of the policies' own names and literals."""
    skipped: int
    """Number of calls that were not compared, because a test replaces data for them. The tests
    themselves were run on both engines.
    """
    findings: tuple[Finding, ...]
    """One finding per difference, at most ten, with an example and the number of calls."""
    remarks: tuple[Finding, ...]
    """Lines whose errors make the embedded engine deny calls that OPA decides, each once: see
    ``guardrail.policy.cross_check.stricter``.
    """


@dataclass(frozen=True, slots=True)
class _Call:
    about: str
    input: str


@dataclass(slots=True)
class _Difference:
    """Calls about which the engines differ in the same way."""

    place: Finding
    """The line at which the embedded engine failed, if it did."""
    kind: str
    """The two results, without the reason of an error, because it can quote a value."""
    results: str
    example: _Call
    calls: int = 1


@dataclass(frozen=True, slots=True)
class _ComparedEngines:
    """Both engines, with the same policies."""

    compiled: CompiledPolicies
    bench: Workbench
    opa: OpaEngine


def cross_check(
    policies: PolicySet,
    compiled: CompiledPolicies,
    bench: Workbench,
    program: OpaProgram,
    *,
    progress: Progress | None = None,
) -> CrossCheck:
    """Compare the embedded engine with *program*, which is started as a private OPA, on *policies*.
    *compiled* is their compiled form. *progress* is called after each call.

    Raises ``PolicyLoadError`` if OPA refuses the policies, and ``PolicyError`` or ``ConfigError``
    if OPA can't be started.
    """
    findings, tests = _compare_tests(policies, compiled, bench, program)
    seen = observe(compiled, bench)
    calls = [
        _Call(f"a call in {each.test}", each.input) for each in seen if each.data == compiled.data
    ]
    changed = _mutants(calls)
    others = [_Call(about, text) for about, text in samples(compiled.zones)]
    seed = compiled.identity.digest or ""
    others += [
        _Call("a generated call", text)
        for text in generated_inputs(compiled.parsed, GENERATED, seed, compiled.zones)
    ]
    work = [*calls, *changed, *others]
    bench.load(compiled.texts, compiled.data)
    remarks: dict[Finding, None] = {}
    opa = OpaEngine.connect(OpaSection(), local=policies, program=program)
    try:
        found: dict[tuple[str, int, str], _Difference] = {}
        engines = _ComparedEngines(compiled, bench, opa)
        for index, call in enumerate(work):
            if len(found) + len(findings) >= _SHOWN:
                break
            differing = _compare(call, engines)
            if isinstance(differing, Finding):
                remarks[differing] = None
            elif differing is not None:
                key = (differing.place.file, differing.place.line, differing.kind)
                known = found.setdefault(key, differing)
                known.calls += known is not differing
            if progress is not None:
                progress(index + 1, len(work))
        findings += [_finding(each, engines) for each in found.values()]
    finally:
        opa.close()
    return CrossCheck(
        tests=tests,
        calls=len(calls),
        mutants=len(changed),
        generated=len(others),
        skipped=len(seen) - len(calls),
        findings=tuple(findings),
        remarks=tuple(remarks),
    )


def require_agreement(policies: PolicySet, program: OpaProgram) -> None:
    """Raise ``PolicyLoadError`` unless both engines load *policies* and make the same decisions."""
    with Workbench() as bench:
        found = cross_check(policies, compile_policies(policies, bench), bench, program)
    if found.findings:
        raise PolicyLoadError(found.findings)


def _compare_tests(
    policies: PolicySet, compiled: CompiledPolicies, bench: Workbench, program: OpaProgram
) -> tuple[list[Finding], int]:
    """Run the tests on both engines. Return the differences and the number of tests."""
    ran = [
        result
        for result in run_policy_tests(compiled, bench)
        if result.outcome is not TestOutcome.SKIP
    ]
    if not ran:
        return [], 0
    passed: dict[str, bool] = {}
    for each in test_results(policies, program):
        passed[each.name] = passed.get(each.name, True) and each.state == "pass"
    findings = []
    for result in ran:
        here, there = result.outcome is TestOutcome.PASS, passed.get(result.name)
        if there is not here:
            message = (
                f"{result.name} {_passes(here)} on the embedded engine, but {_passes(there)} on OPA"
            )
            findings.append(Finding(result.file, result.line, CODE, message, _HINT))
    return findings, len(ran)


def _passes(passed: bool | None) -> str:
    return "was not run" if passed is None else "passes" if passed else "fails"


def _mutants(calls: Sequence[_Call]) -> list[_Call]:
    found: dict[str, _Call] = {}
    for call in calls:
        for text, pointer in _changed(call.input):
            found.setdefault(text, _Call(f"{call.about}, with {pointer} changed", text))
    changed = list(found.values())
    step = -(-len(changed) // MOST_MUTANTS) or 1
    return changed[::step]


def _changed(policy_input: str) -> Iterator[tuple[str, str]]:
    """Yield copies of *policy_input* with other arguments, each with the pointer to the change."""
    document = json.loads(policy_input)
    try:
        properties = document["action"]["properties"]
        args = properties["args"]
    except (LookupError, TypeError):
        return
    if not isinstance(args, dict):
        return
    for mutant in mutants(args):
        properties["args"] = mutant.args
        yield json.dumps(document, sort_keys=True), f"args{mutant.pointer}"


def _compare(call: _Call, engines: _ComparedEngines) -> _Difference | Finding | None:
    """Return the difference between the engines' results for one call, or the remark about it, if
    there is one.
    """
    opa = engines.opa
    path, ask = (LISTING, opa.listing) if _lists(call.input) else (DECISION, opa.decide)
    here, refusal = _embedded(engines, path, call.input)
    try:
        reply = ask(call.input.encode(), shard="cross\0check\0\0", deadline=_LIMIT)
        there = _normal(reply.result(2 * _LIMIT).document)
    except PolicyError as error:
        there = _failure(error)
    if here == there:
        return None
    if refusal is not None and isinstance(there, dict):
        remark = stricter(refusal, engines.compiled)
        if remark is not None:
            return remark
    place = _place(refusal, engines)
    ours, theirs = f"embedded {_shown(here)}", f"OPA {_shown(there)}"
    results = f"{ours}{place.message}, {theirs}"
    return _Difference(place, f"{ours}, {theirs}", results, call)


def _finding(found: _Difference, engines: _ComparedEngines) -> Finding:
    """Return one finding for *found*, with an example."""
    calls = "" if found.calls == 1 else f" ({counted(found.calls, 'call')} in all)"
    message = (
        f"the engines differ about {found.example.about}{calls}: {found.results}; "
        f"{_example(found, engines)}"
    )
    return Finding(found.place.file, found.place.line, CODE, message, _HINT)


def _example(found: _Difference, engines: _ComparedEngines) -> str:
    """Return the tool and the arguments of the example or, if the difference needs more, its whole
    input.
    """
    text = found.example.input
    try:
        document = json.loads(text)
        args, tool = document["action"]["properties"]["args"], document["resource"]["id"]
    except (LookupError, TypeError):
        return f"the input is {text}"
    if not isinstance(args, dict) or not isinstance(tool, str) or _lists(text):
        return f"the input is {text}"
    plain = sample_input(tool, args=args, zones=engines.compiled.zones)
    again = _compare(_Call(found.example.about, plain), engines)
    if not isinstance(again, _Difference) or again.kind != found.kind:
        return f"the input is {text}"
    return f"the tool is {json.dumps(tool)}, the arguments are {json.dumps(args, sort_keys=True)}"


def _lists(policy_input: str) -> bool:
    """Return True if the input is a request to list tools."""
    document = json.loads(policy_input)
    action = document.get("action") if isinstance(document, dict) else None
    return isinstance(action, dict) and action.get("name") == "tools/list"


def _embedded(
    engines: _ComparedEngines, path: str, policy_input: str
) -> tuple[Any, EngineRefusal | None]:
    """Return the embedded engine's answer, and its error if evaluation raised one."""
    try:
        document = engines.bench.rule(path, policy_input)
    except EngineRefusal as refusal:
        return "an error", refusal
    except PolicyError as error:
        return _failure(error), None
    return "undefined" if document is UNDEFINED else _normal(document), None


def _place(refusal: EngineRefusal | None, engines: _ComparedEngines) -> Finding:
    """Return the line of the policies at which the embedded engine failed, with the reason as text
    to append. If it did not fail, there is neither.
    """
    if refusal is None:
        return Finding("-", 0, CODE, "")
    place = refusal_finding(refusal, engines.compiled, "")
    reason = place.message.removesuffix(f" ({place.file}, line {place.line})")
    return Finding(place.file, place.line, CODE, f" ({reason})")


def _failure(error: PolicyError) -> str:
    if error.cause == "undefined":
        return "undefined"
    # Both engines deny the call, whatever error of a built-in function made the policy fail.
    return "an error" if error.cause == "error" else f"an error ({error.cause}, {error.detail})"


def _normal(document: object) -> Any:
    """Return *document* with its sets in one order."""
    if not isinstance(document, dict):
        return document
    return {
        key: sorted(value, key=_key) if key in _SETS and isinstance(value, list) else value
        for key, value in document.items()
    }


def _key(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _shown(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer)
    rules = answer.get("rules")
    ids = (
        [str(rule.get("rule")) for rule in rules if isinstance(rule, dict)]
        if isinstance(rules, list)
        else []
    )
    effect = answer.get("effect", "offers the tool" if answer.get("offered") else "hides the tool")
    return f"{effect} ({', '.join(ids) or 'no rule fired'})"


def describe(found: CrossCheck) -> str:
    """Return the number of comparisons in one line."""
    parts = [
        counted(found.tests, "test"),
        counted(found.calls, "call"),
        counted(found.mutants, "changed call"),
        counted(found.generated, "other call"),
    ]
    return ", ".join(parts)

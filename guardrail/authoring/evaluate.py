"""Evaluates the policies for one call, and explains the decision to their author."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardrail.authoring.near_misses import NearMiss, near_misses
from guardrail.authoring.tools_file import compile_tools
from guardrail.config import OpaSection
from guardrail.core.schema.snapshot import snapshot
from guardrail.core.types import Json
from guardrail.errors import ConfigError, Finding, PolicyError, PolicyLoadError
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.observed import DECISION
from guardrail.policy.embedded.process import ENGINE, ENGINE_VERSION
from guardrail.policy.embedded.rehearsal import check_samples, refusal_finding, sample_input
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.input_limits import check_input
from guardrail.policy.opa import bundle
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import PolicySet, load_policies
from guardrail.system.zones import ZoneTable

__all__ = ["EngineDecision", "PolicyEvaluation", "call_input", "evaluate"]

_LIMIT = 10.0
"""Time limit of one evaluation, in seconds."""


@dataclass(frozen=True, slots=True)
class EngineDecision:
    """The decision of one engine."""

    engine: str
    """``embedded`` or ``opa``."""
    about: str
    """The engine's name and version."""
    effect: str
    """``allow``, ``deny`` or ``require_approval``; ``undefined`` without a decision; ``error`` if
    the evaluation failed; ``refused`` if the engine does not load the policies. A guard denies the
    call in the last three cases.
    """
    rules: tuple[dict[str, Json], ...]
    """The rules that fired, as in the decision document."""
    redact: tuple[Json, ...]
    findings: tuple[Finding, ...]
    """The reasons why the policies were refused, or why the evaluation failed."""
    milliseconds: float


@dataclass(frozen=True, slots=True)
class PolicyEvaluation:
    """Result of evaluating one call. All fields hold built-in types."""

    input: dict[str, Json]
    """The policy input."""
    digest: str | None
    engines: tuple[EngineDecision, ...]
    zones: tuple[str, ...]
    """Time zones that the policies name and that the input had no offset for. Their offsets, from
    this machine's zone data, were added.
    """
    missed: tuple[NearMiss, ...]
    """Rules that did not fire, each with its first failed condition. Empty if the embedded engine
    did not load the policies.
    """

    @property
    def agreed(self) -> bool:
        """True if all engines that were asked made the same decision."""
        return len({(said.effect, _rules_key(said.rules)) for said in self.engines}) == 1

    @property
    def decided(self) -> bool:
        """True if every engine that was asked made a decision."""
        return all(said.effect in {"allow", "deny", "require_approval"} for said in self.engines)


def call_input(
    tool: str,
    args: dict[str, Json],
    *,
    principal: str,
    roles: Sequence[str] = (),
    agent: str = "agent",
    declared: bool = True,
    now: str,
    tools: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Json]:
    """Return the policy input of a call, complete except for values that only a guard knows.

    If *tools* contains a schema for *tool*, the arguments get its defaults; if *tools* is set but
    does not contain *tool*, the tool is undeclared. *now* is the time of the call in UTC, as in
    records. Raises ``ArgumentsError`` if the schema or the limits on arguments refuse the
    arguments: a guard denies such a call without asking the policy.
    """
    schema = compile_tools(tools or {}).get(tool)
    arrived = snapshot(schema, args).args
    known = declared and (tools is None or schema is not None)
    document: dict[str, Any] = json.loads(sample_input(tool, declared=known, args=dict(arrived)))
    if schema is not None:
        document["resource"]["properties"]["schema_digest"] = schema.digest
    document["subject"]["id"] = principal
    document["subject"]["properties"]["roles"] = list(roles)
    document["context"]["agent"]["id"] = agent
    document["context"]["time"] = now
    return document


def evaluate(
    paths: Sequence[Path],
    policy_input: dict[str, Json],
    *,
    embedded: bool = True,
    opa: OpaProgram | None = None,
    zones: Sequence[str] = (),
) -> PolicyEvaluation:
    """Evaluate the policies below *paths* for *policy_input*: with the embedded engine if
    *embedded* is True, and with *opa* if it is given. *zones* are time zones that the policies get
    although they do not name them.

    The input gets the offsets that it lacks, from this machine's zone data, at the time in the
    input. Offsets in the input are not changed, so a recorded decision is explained as it was made.

    Policies that an engine refuses are reported, not raised. Raises ``PolicyLoadError`` if the
    policies can't be read.
    """
    policies = load_policies(paths, zones=zones)
    policy_input, added = _with_zones(policy_input, policies.zones)
    text = json.dumps(policy_input, sort_keys=True)
    engines: list[EngineDecision] = []
    missed: tuple[NearMiss, ...] = ()
    if embedded:
        with Workbench(time_limit=_LIMIT) as bench:
            said, missed = _embedded(policies, bench, text)
        engines.append(said)
    if opa is not None:
        engines.append(_opa(policies, opa, text))
    return PolicyEvaluation(policy_input, policies.digest, tuple(engines), added, missed)


def _with_zones(
    policy_input: dict[str, Json], zones: Sequence[str]
) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return *policy_input* with the offsets of *zones* that it lacks, and the names of these."""
    context = policy_input.get("context")
    if not isinstance(context, dict):
        return policy_input, ()
    known, moment = context.get("zones"), context.get("time")
    if not isinstance(moment, str) or not (known is None or isinstance(known, dict)):
        return policy_input, ()
    try:
        offsets = {**ZoneTable(zones).at(moment), **(known or {})}
    except ValueError:  # a record can contain any text
        return policy_input, ()
    added = tuple(sorted(offsets.keys() - (known or {})))
    return {**policy_input, "context": {**context, "zones": offsets}}, added


def _embedded(
    policies: PolicySet, bench: Workbench, text: str
) -> tuple[EngineDecision, tuple[NearMiss, ...]]:
    about = f"{ENGINE} {ENGINE_VERSION}"
    started = time.perf_counter()
    try:
        compiled = compile_policies(policies, bench, tests=False)
        # A guard does not load policies that fail for one of these calls.
        failing = check_samples(compiled, bench)
    except PolicyLoadError as error:
        return _failed("embedded", about, "refused", error.findings, started), ()
    if failing:
        return _failed("embedded", about, "refused", failing, started), ()
    bench.load(compiled.texts, compiled.data)
    started = time.perf_counter()
    try:
        check_input(text.encode())
        document = bench.rule(DECISION, text)
    except EngineRefusal as refusal:
        # The message can quote values of the call, which the author passed.
        finding = refusal_finding(refusal, compiled, "")
        return _failed("embedded", about, "error", [finding], started), ()
    except PolicyError as error:
        finding = Finding("-", 0, error.detail or "evaluation", error.message, error.hint)
        return _failed("embedded", about, "error", [finding], started), ()
    said = _decision("embedded", about, document, started)
    return said, tuple(near_misses(policies, compiled, bench, text))


def _opa(policies: PolicySet, program: OpaProgram, text: str) -> EngineDecision:
    started = time.perf_counter()
    about = str(program.path)
    try:
        engine = OpaEngine.connect(OpaSection(), local=policies, program=program)
    except PolicyLoadError as error:
        return _failed("opa", about, "refused", error.findings, started)
    except (PolicyError, ConfigError) as error:
        finding = Finding("-", 0, error.code, error.message, error.hint)
        return _failed("opa", about, "error", [finding], started)
    try:
        about = f"OPA {engine.identity.version.partition(' ')[0]}"
        started = time.perf_counter()
        reply = engine.decide(text.encode(), shard="eval\0\0\0", deadline=_LIMIT).result(2 * _LIMIT)
        return _decision("opa", about, reply.document, started)
    except PolicyError as error:
        effect = "undefined" if error.cause == "undefined" else "error"
        message = error.message
        for name, source in bundle.names(policies):
            # OPA knows a module by its path in the bundle.
            message = message.replace(f"/{name}, line ", f"{source.name}, line ")
        # The policies' tests do not show why this call failed.
        hint = "" if error.detail == "evaluation" else error.hint
        finding = Finding("-", 0, error.detail or error.code, message, hint)
        return _failed("opa", about, effect, [finding], started)
    finally:
        engine.close()


def _decision(engine: str, about: str, document: object, started: float) -> EngineDecision:
    took = (time.perf_counter() - started) * 1000
    if document is UNDEFINED or not isinstance(document, dict):
        return EngineDecision(engine, about, "undefined", (), (), (), took)
    rules, redact = document.get("rules"), document.get("redact")
    return EngineDecision(
        engine=engine,
        about=about,
        effect=str(document.get("effect", "undefined")),
        rules=tuple(rule for rule in rules if isinstance(rule, dict))
        if isinstance(rules, list)
        else (),
        redact=tuple(redact) if isinstance(redact, list) else (),
        findings=(),
        milliseconds=took,
    )


def _failed(
    engine: str, about: str, effect: str, findings: Sequence[Finding], started: float
) -> EngineDecision:
    took = (time.perf_counter() - started) * 1000
    return EngineDecision(engine, about, effect, (), (), tuple(findings), took)


def _rules_key(rules: Sequence[Mapping[str, Json]]) -> str:
    return json.dumps(sorted(json.dumps(rule, sort_keys=True) for rule in rules))

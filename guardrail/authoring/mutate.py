"""Finds denials that depend on a single argument: if the argument is changed, a call that a test
expects to be denied becomes allowed.

In Rego, a condition silently fails if its value is missing or has an unexpected type. Only a test
of exactly that case reveals the failure. guardrail generates such cases from the existing tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from guardrail.authoring.lints.check import SuppressionFilter
from guardrail.authoring.lints.findings import MUTATION
from guardrail.authoring.lints.tested import NamedRule, named_rules
from guardrail.authoring.tools_file import compile_tools
from guardrail.core.schema.compiled import CompiledSchema
from guardrail.core.schema.snapshot import snapshot
from guardrail.core.types import Json
from guardrail.errors import ArgumentsError, Finding, PolicyLoadError
from guardrail.policy.cross_check.mutants import Mutant, Mutation, mutants
from guardrail.policy.embedded.compiled import CompiledPolicies, compile_policies
from guardrail.policy.embedded.observed import FiredRules, decide, fired, observe
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.sources import load_policies

__all__ = ["Hole", "MutationReport", "Progress", "UntriedRule", "mutate"]

CLOSING = frozenset({"deny", "require_approval"})
OWN = "guardrail."
"""Prefix of the ids of the rules in guardrail's own composition."""
MAX_MUTANTS = 50_000
"""Maximum number of changed calls that are tried."""

Progress = Callable[[int, int], None]
"""Called with the number of calls tried so far and the total number of calls."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A changed call that is allowed, although a rule stopped the original call."""

    rule: str
    effect: str
    """The rule's effect: ``deny`` or ``require_approval``."""
    file: str
    """Location of the rule, or ``-`` if its id is computed when it fires."""
    line: int
    test: str
    """The test that the call comes from."""
    tool: str
    pointer: str
    """The changed location in the arguments."""
    mutation: Mutation
    args: dict[str, Json]
    """The arguments of the allowed call."""
    input: dict[str, Json]
    """The complete input, with these arguments."""


@dataclass(frozen=True, slots=True)
class UntriedRule:
    """A rule that fires in no test, so its calls could not be mutated."""

    rule: str
    effect: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class MutationReport:
    """Result of the mutations. All fields hold built-in types, so the result of
    ``dataclasses.asdict`` is JSON-serializable.
    """

    findings: tuple[Finding, ...]
    """The reasons why the policies were rejected. If there are any, no mutants were tried."""
    holes: tuple[Hole, ...]
    """The holes, sorted by file, line and pointer."""
    untried: tuple[UntriedRule, ...]
    rules: int
    """Number of rules that were tried. A rule is identified by its id and effect."""
    calls: int
    """Number of calls in the tests for which one of these rules fires."""
    tried: int
    """Number of changed calls that the policy evaluated."""
    unfit: int
    """Number of changed calls that a tool's schema rejects before the policy is evaluated."""
    ignored: int
    """Number of holes suppressed by ``guardrail:ignore mutation``."""
    complete: bool
    """True if every changed call was tried within the limits on time and number of calls."""
    digest: str | None
    milliseconds: float

    @property
    def ok(self) -> bool:
        """True if the policies were accepted and no hole was found."""
        return not self.findings and not self.holes


@dataclass(slots=True)
class _Tally:
    holes: list[Hole] = field(default_factory=list)
    rules: set[tuple[str, str]] = field(default_factory=set)
    calls: int = 0
    tried: int = 0
    unfit: int = 0
    ignored: int = 0
    complete: bool = True
    known: set[tuple[str, str, str]] = field(default_factory=set)


def mutate(
    paths: Sequence[Path],
    *,
    data: Mapping[str, Json] | None = None,
    tools: Mapping[str, Mapping[str, Any]] | None = None,
    time_limit: float = 10.0,
    total: float = 300.0,
    progress: Progress | None = None,
) -> MutationReport:
    """Take each call in which a deny or require_approval rule fires in a test, change it key by
    key, and report the changed calls that are allowed.

    *tools* maps tool names to JSON Schemas. Arguments that a schema rejects never reach a policy,
    so they are not tried. *time_limit* applies to each query and *total* to all queries together,
    both in seconds; if *total* is exceeded, the report says that it is incomplete. The queries run
    in a worker process. Rejected policies are reported, not raised. Raises ``ConfigError`` for an
    invalid schema.
    """
    started = time.monotonic()
    schemas = compile_tools(tools or {})
    digest: str | None = None
    tally = _Tally()
    untried: tuple[UntriedRule, ...] = ()
    findings: tuple[Finding, ...] = ()
    try:
        policies = load_policies(paths, data=data)
        digest = policies.digest
        with Workbench(time_limit=time_limit) as bench:
            compiled = compile_policies(policies, bench)
            calls = fired(compiled, bench, observe(compiled, bench))
            run = _MutationRun(
                compiled,
                bench,
                schemas=schemas,
                tally=tally,
                until=started + total,
                progress=progress,
            )
            run.all(calls)
            untried = tuple(run.untried(calls))
    except PolicyLoadError as error:
        findings = error.findings
    except EngineRefusal:
        findings = (
            Finding("-", 0, "evaluation", "the tests can't be loaded", "guardrail policy test"),
        )
    return MutationReport(
        findings=findings,
        holes=tuple(sorted(tally.holes, key=lambda hole: (hole.file, hole.line, hole.pointer))),
        untried=untried,
        rules=len(tally.rules),
        calls=tally.calls,
        tried=tally.tried,
        unfit=tally.unfit,
        ignored=tally.ignored,
        complete=tally.complete,
        digest=digest,
        milliseconds=(time.monotonic() - started) * 1000,
    )


class _MutationRun:
    """One run of the mutations over all calls."""

    def __init__(
        self,
        compiled: CompiledPolicies,
        bench: Workbench,
        *,
        schemas: Mapping[str, CompiledSchema],
        tally: _Tally,
        until: float,
        progress: Progress | None,
    ) -> None:
        self._compiled, self._bench, self._schemas, self._tally = compiled, bench, schemas, tally
        self._until, self._progress = until, progress
        self._sifter = SuppressionFilter(compiled.parsed)
        self._named = list(named_rules(compiled.parsed))
        self._loaded: str | None = None

    def all(self, calls: Iterable[FiredRules]) -> None:
        """Try all mutants of every call that a rule stopped."""
        stopped = [call for call in calls if call.effect in CLOSING and self._stopping(call)]
        work = [(call, list(self._fitting_mutants(call))) for call in stopped]
        total = sum(len(found) for _, found in work)
        self._tally.calls = len(stopped)
        for call, found in work:
            self._tally.rules.update(self._stopping(call))
            for mutant in found:
                if time.monotonic() > self._until or self._tally.tried >= MAX_MUTANTS:
                    self._tally.complete = False
                    return
                self._try(call, mutant)
                if self._progress is not None:
                    self._progress(self._tally.tried, total)

    def untried(self, calls: Iterable[FiredRules]) -> Iterator[UntriedRule]:
        """Yield the rules that do not fire in any of *calls*."""
        seen = {rule for call in calls for rule in call.rules}
        for rule in dict.fromkeys(self._named):
            if rule.effect in CLOSING and (rule.effect, rule.id) not in seen:
                yield UntriedRule(rule.id, rule.effect, rule.file, rule.line)

    def _stopping(self, call: FiredRules) -> list[tuple[str, str]]:
        return sorted(
            (effect, id_)
            for effect, id_ in call.rules
            if effect in CLOSING and not id_.startswith(OWN)
        )

    def _fitting_mutants(self, call: FiredRules) -> Iterator[Mutant]:
        document = json.loads(call.seen.input)
        args = _args(document)
        schema = self._schemas.get(_tool(document))
        for mutant in mutants(args):
            if schema is None:
                yield mutant
                continue
            try:
                # The policy sees the arguments with defaults filled in.
                arrived = snapshot(schema, mutant.args).args
            except ArgumentsError:
                self._tally.unfit += 1
                continue
            if arrived != args:
                yield replace(mutant, args=arrived)

    def _try(self, call: FiredRules, mutant: Mutant) -> None:
        if call.seen.data != self._loaded:
            self._bench.load(self._compiled.texts, call.seen.data)
            self._loaded = call.seen.data
        document = json.loads(call.seen.input)
        document["action"]["properties"]["args"] = mutant.args
        self._tally.tried += 1
        changed = json.dumps(document, sort_keys=True)
        if decide(self._bench, changed).get("effect") != "allow":
            return
        for effect, id_ in self._stopping(call):
            # Mutants of calls from different tests can be equal.
            if (effect, id_, changed) in self._tally.known:
                continue
            self._tally.known.add((effect, id_, changed))
            places = self._rules_with_id(effect, id_)
            place = places[0]
            if any(self._is_suppressed(rule, mutant) for rule in places):
                self._tally.ignored += 1
                continue
            hole = Hole(
                rule=id_,
                effect=effect,
                file=place.file,
                line=place.line,
                test=call.seen.test,
                tool=_tool(document),
                pointer=mutant.pointer,
                mutation=mutant.mutation,
                args=mutant.args,
                input=document,
            )
            self._tally.holes.append(hole)

    def _is_suppressed(self, rule: NamedRule, mutant: Mutant) -> bool:
        return self._sifter.ignored(rule.file, rule.line, MUTATION, mutant.pointer)

    def _rules_with_id(self, effect: str, id_: str) -> list[NamedRule]:
        """Return every rule with that effect and id. If the id is computed when the rule fires,
        return one rule without a location.
        """
        found = [rule for rule in self._named if (rule.effect, rule.id) == (effect, id_)]
        return found or [NamedRule(effect, id_, "-", 0)]


def _args(document: Any) -> dict[str, Json]:
    for name in ("action", "properties", "args"):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _tool(document: Any) -> str:
    resource = document.get("resource") if isinstance(document, dict) else None
    name = resource.get("id") if isinstance(resource, dict) else None
    return name if isinstance(name, str) else ""

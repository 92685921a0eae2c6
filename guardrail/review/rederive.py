"""Re-derives recorded decisions: evaluates the kept policies with the recorded inputs, and compares
the results with the records.

No tool runs, and the log is not changed. The records are read as they are stored; ``verify``
checks them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, NamedTuple, Self

from guardrail.core import decision as decisions
from guardrail.core.log.record import dumps
from guardrail.core.redaction.marks import MARK_PREFIX
from guardrail.core.types import Cause, Decision, EngineReply
from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.ledger.kept_policies import KeptFile, SourceFault, SourceKind
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.workbench import DEFAULT_MEMORY, Workbench
from guardrail.policy.kept_sources import NO_DATA, restore
from guardrail.review.records import RecordedCall, call_of, parse
from guardrail.review.values import obj, text

__all__ = [
    "MAX_LISTED",
    "DifferentDecision",
    "Gap",
    "NotDerived",
    "Rederivation",
    "UsedPolicies",
    "agrees",
    "decided_lines",
    "rederive",
]

MAX_LISTED = 10_000
"""Maximum number of differences that a report lists. The others are only counted."""
_IN_FLIGHT = 32
_ENGINES = 4
"""Number of policies whose workers run at the same time."""
_EVAL_LIMIT = 5.0
"""Time limit for one evaluation, in seconds. It is longer than a guard's limit, because no caller
waits.
"""
_DEADLINE = 600.0
_EMPTY_DATA = KeptFile(
    "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", SourceKind.DATA
)
"""The file of ``NO_DATA``."""
_DERIVABLE = (Cause.POLICY, Cause.OBLIGATION)


class NotDerived(StrEnum):
    """The reason that a policy decision was not re-derived."""

    INCOMPLETE = "input_incomplete"
    """The record does not contain the complete input."""
    UNNAMED = "policy_unnamed"
    """The record does not name the policy or its data."""
    NOT_KEPT = "policy_not_kept"
    DATA_NOT_KEPT = "data_not_kept"
    CHANGED = "policy_changed"
    """A kept file does not match its digest."""
    UNREADABLE = "policy_unreadable"
    REFUSED = "policy_refused"
    """The embedded engine does not accept the policy."""
    FAILED = "evaluation_failed"


class UsedPolicies(NamedTuple):
    """The policies in a record, and the engine that evaluated them."""

    engine: str
    version: str
    digest: str
    data: str

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return the field ``policy`` of *record*; a missing value is an empty string."""
        policy = obj(record, "policy")
        return cls(*(text(policy, name) for name in ("engine", "version", "digest", "data")))


@dataclass(frozen=True, slots=True)
class DifferentDecision:
    """A decision that differs from the one derived from its record."""

    call: RecordedCall
    derived: Decision


@dataclass(slots=True)
class Gap:
    """Decisions that were not re-derived, all for the same reason."""

    first: int
    """Number of the first of these records."""
    calls: int = 0
    detail: str = ""
    """Details about the first of these records."""


@dataclass(slots=True)
class Rederivation:
    """The results for some decisions."""

    calls: int = 0
    """Number of decisions that were read."""
    not_decided: int = 0
    """Number of those not made by a policy: the call was denied earlier, or the policy failed."""
    same: int = 0
    different: int = 0
    recorded: int = 0
    """Number of differences in records that say ``reproducible: true``."""
    differences: list[DifferentDecision] = field(default_factory=list)
    """The first ``MAX_LISTED`` differences, in order."""
    gaps: dict[NotDerived, Gap] = field(default_factory=dict)
    policies: Counter[UsedPolicies] = field(default_factory=Counter)
    """Number of derived decisions, by policy."""
    engine: tuple[str, str] = ("", "")
    """Name and version of the engine that derived the decisions; empty if none was."""

    @property
    def derived(self) -> int:
        """Number of decisions that were re-derived."""
        return self.same + self.different

    @property
    def other_engines(self) -> int:
        """Number of re-derived decisions that a different engine or version had made."""
        return sum(
            count
            for used, count in self.policies.items()
            if (used.engine, used.version) != self.engine
        )

    def leave_out(self, seq: int, why: NotDerived, detail: str = "") -> None:
        """Count the decision *seq* as not re-derived."""
        self.gaps.setdefault(why, Gap(seq, detail=detail)).calls += 1


def decided_lines(lines: Iterable[tuple[int, bytes, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield (seq, line) of each line that is probably a ``call.decision``."""
    for seq, _, line in lines:
        if b'"call.decision"' in line:
            yield seq, line


def rederive(
    lines: Iterable[tuple[int, bytes]],
    read: Callable[[KeptFile], bytes | SourceFault],
    *,
    memory: int = DEFAULT_MEMORY,
    progress: Callable[[int], None] | None = None,
) -> Rederivation:
    """Re-derive each decision in *lines* (seq, line); lines of other types are skipped.

    *read* returns the content of a kept file. *memory* is a worker's limit in bytes. *progress* is
    called with the number of each record. Raises ``RecordError`` if a line is not a record.
    """
    found = Rederivation()
    pending: deque[_Pending] = deque()
    with _Engines(read, memory) as engines:
        for seq, line in lines:
            if progress is not None:
                progress(seq)
            _begin(seq, line, engines, found, pending)
            if len(pending) >= _IN_FLIGHT:
                _finish(pending.popleft(), found)
        while pending:
            _finish(pending.popleft(), found)
    return found


class _Pending(NamedTuple):
    call: RecordedCall
    used: UsedPolicies
    future: Future[EngineReply]


def _begin(
    seq: int, line: bytes, engines: _Engines, found: Rederivation, pending: deque[_Pending]
) -> None:
    record = parse(line, seq)
    if text(record, "type") != "call.decision":
        return
    found.calls += 1
    call, used = call_of(record), UsedPolicies.of(record)
    recorded = record.get("input")
    if call.cause not in _DERIVABLE:
        found.not_decided += 1
    elif call.truncated or call.omitted or not isinstance(recorded, Mapping):
        found.leave_out(seq, NotDerived.INCOMPLETE)
    elif not used.digest or not used.data:
        found.leave_out(seq, NotDerived.UNNAMED)
    else:
        if not engines.has(used):
            # An engine is closed only if no decision waits for it.
            while pending:
                _finish(pending.popleft(), found)
        engine = engines.get(used)
        if isinstance(engine, _Unusable):
            found.leave_out(seq, engine.why, engine.detail)
            return
        found.engine = (engine.identity.engine, engine.identity.version)
        # Each call has its own shard, so that a call that kills its worker does not stop other
        # calls.
        future = engine.decide(dumps(recorded), shard=str(seq), deadline=_DEADLINE)
        pending.append(_Pending(call, used, future))


def _finish(each: _Pending, found: Rederivation) -> None:
    try:
        reply = each.future.result(2 * _DEADLINE)
    except (PolicyError, TimeoutError) as error:
        detail = error.cause if isinstance(error, PolicyError) else "timeout"
        found.leave_out(each.call.seq, NotDerived.FAILED, str(detail))
        return
    found.policies[each.used] += 1
    derived = decisions.parse(reply.document)
    if agrees(each.call, derived):
        found.same += 1
        return
    found.different += 1
    found.recorded += each.call.reproducible is True
    if len(found.differences) < MAX_LISTED:
        found.differences.append(DifferentDecision(each.call, derived))


def agrees(call: RecordedCall, derived: Decision) -> bool:
    """Return True if the recorded effect, cause and rules are the same as in *derived*.

    A recorded rule id that contains a mark matches any id, because redaction removed part of it.
    """
    if (call.effect, call.cause) != (derived.effect, derived.cause):
        return False
    recorded = {hit.rule for hit in call.rules}
    now = {rule.rule for rule in derived.rules}
    hidden = {rule for rule in recorded - now if MARK_PREFIX in rule}
    return recorded - hidden <= now and len(recorded) == len(now)


@dataclass(frozen=True, slots=True)
class _Unusable:
    why: NotDerived
    detail: str = ""


class _Engines:
    """The engines for the kept policies, each started on first use."""

    def __init__(self, read: Callable[[KeptFile], bytes | SourceFault], memory: int) -> None:
        self._read = read
        self._memory = memory
        self._open: OrderedDict[tuple[str, str], EmbeddedEngine] = OrderedDict()
        self._unusable: dict[tuple[str, str], _Unusable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for engine in self._open.values():
            engine.close()

    def has(self, used: UsedPolicies) -> bool:
        """Return True if ``get`` would neither start nor close an engine."""
        key = used.digest, used.data
        return key in self._open or key in self._unusable

    def get(self, used: UsedPolicies) -> EmbeddedEngine | _Unusable:
        """Return the engine of the policies, or the reason that there is none."""
        key = used.digest, used.data
        if key in self._unusable:
            return self._unusable[key]
        if key not in self._open:
            started = self._start(used)
            if isinstance(started, _Unusable):
                self._unusable[key] = started
                return started
            self._open[key] = started
            if len(self._open) > _ENGINES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        return self._open[key]

    def _start(self, used: UsedPolicies) -> EmbeddedEngine | _Unusable:
        modules = self._read(KeptFile(used.digest, SourceKind.MODULES))
        if isinstance(modules, SourceFault):
            return _Unusable(_FAULTS[modules])
        file = KeptFile(used.data, SourceKind.DATA)
        data = NO_DATA if file == _EMPTY_DATA else self._read(file)
        if data is SourceFault.MISSING:
            return _Unusable(NotDerived.DATA_NOT_KEPT)
        if isinstance(data, SourceFault):
            return _Unusable(_FAULTS[data])
        try:
            policies = restore(modules, data)
            with Workbench(memory=self._memory) as bench:
                compiled = compile_policies(policies, bench)
            return EmbeddedEngine(
                compiled, eval_limit=_EVAL_LIMIT, memory_limit=self._memory, spare=False
            )
        except PolicyLoadError as error:
            return _Unusable(NotDerived.REFUSED, str(error.findings[0]))
        except PolicyError as error:
            return _Unusable(NotDerived.FAILED, error.message)


_FAULTS = {
    SourceFault.MISSING: NotDerived.NOT_KEPT,
    SourceFault.CHANGED: NotDerived.CHANGED,
    SourceFault.UNREADABLE: NotDerived.UNREADABLE,
}

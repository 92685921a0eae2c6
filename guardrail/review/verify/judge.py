"""Turns the findings into one answer: the verdict, its exit code, and the limits of the proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference, Report
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.recovered import Recovered
from guardrail.core.words import agree, counted, numbers
from guardrail.errors import NoteError
from guardrail.ledger.maintenance.known_heads import is_earlier
from guardrail.ledger.rows import OpenCall
from guardrail.ledger.seal import Seal
from guardrail.review.terminal import clock
from guardrail.review.verify.report import (
    Heads,
    OutsideHead,
    Ruling,
    VerifyReport,
    VerifyState,
    judge_heads,
)
from guardrail.review.verify.uses import Uses

__all__ = ["VerifyFindings", "judge", "taken_over"]

_NO_HEAD = (
    "NOT ANCHORED: no external head was compared. An older copy, a wiped ledger, or a ledger "
    "rewritten with the log's key would not be detected."
)
_REMEMBERED = (
    "NOT ANCHORED: no head from another machine was compared. This machine remembers the log up "
    "to record {}, but anyone who can change the ledger as this user can change that memory too."
)
_NOT_PINNED = (
    "KEY NOT PINNED: the log's key was read from the log itself, so this may be a different log "
    "with the same name. Pass the key that you stored with --key."
)

_NOT_COVERED = (
    "NOT COVERED: no external head covers {} of this file. The lines form a chain, but this "
    "does not show that a holder of the log's key wrote them, and a recovery after the end of the "
    "file may have taken them over. guardrail verify on the ledger names such records."
)


@dataclass(frozen=True, slots=True)
class VerifyFindings:
    """Result of reading a log."""

    audit: Audit
    report: Report
    root_of: Callable[[int], bytes | None]
    """Returns the root over the given number of records from the first on, as computed in this run,
    or None if this run did not compute it.
    """
    time_of: Callable[[int], str]
    """Returns a record's timestamp, or an empty string if the record was deleted."""
    leaf_of: Callable[[int], str]
    """Returns the leaf hash of a record in hex, or an empty string if it does not exist."""
    believed: Callable[[int], bytes | None] = lambda _: None
    """Returns the root from stored hashes that this run did not compute. Such a root can contradict
    a head, but can't confirm one.
    """
    stored: str = ""
    """The stored signed head, unchanged."""
    seal: Seal | None = None
    since: int = 0
    begin: int = 0
    """Number of the first record that was read, if only a part of the log was read."""
    is_part: bool = False
    """True if the log is known to continue in other files."""
    is_file: bool = False
    """True if only lines were read, without a signed head."""
    later: tuple[Recovered, ...] = ()
    """Recoveries after the last record that was read, according to another source."""
    follows: bool = False
    """True if that source knows every recovery after the last record."""
    dead: tuple[OpenCall, ...] = ()
    live: int = 0
    heartbeats: int = 0
    silences: int = 0
    notices: tuple[str, ...] = field(default=())
    uses: Uses = field(default_factory=Uses)


def judge(found: VerifyFindings, key: str | None, outside: Sequence[OutsideHead]) -> VerifyReport:
    """Return the report for *found*. *key* is the log's public key, obtained outside the log, and
    *outside* are external or remembered heads.
    """
    audit, report = found.audit, found.report
    heads = judge_heads(
        outside, audit=audit, report=report, root_of=found.root_of, believed=found.believed
    )
    covered = heads.covered
    base = VerifyReport(
        VerifyState.TAMPERED,
        1,
        first_bad=report.first_bad,
        differs=report.differs,
        detail=report.detail,
        log=report.log,
        key=key or audit.public,
        key_pinned=key is not None,
        records=report.records,
        last_seq=report.last_seq,
        last_ts=report.ts,
        first_bad_ts=(
            found.time_of(report.first_bad)
            if report.first_bad is not None and report.first_bad < report.records
            else ""
        ),
        since=found.since,
        pruned_before=audit.pruned,
        heartbeats=found.heartbeats,
        silences=found.silences,
        recovered=tuple(_uncovered_recoveries(found, heads.sizes)),
        uncovered=_uncovered_range(found, heads.sizes),
        notices=_notices(found),
        approvals_used=found.uses.checked,
        recall=heads.recall,
        remembered_to=heads.remembered_to,
    )
    if covered is not None and covered.head is not None:
        last = covered.head.size - 1
        base = replace(
            base, anchored_to=last, anchored_by=covered.source, anchored_ts=found.time_of(last)
        )
    wrong = _contradiction(found, key, heads)
    if wrong is not None:
        state, detail, differs = wrong
        code = 3 if state in (VerifyState.HEAD_MALFORMED, VerifyState.KEY_UNKNOWN) else 1
        base = replace(base, against=_contradicted_head(heads, state))
        if state is VerifyState.REPLACED:
            base = replace(base, first_bad=None, anchored_to=None, anchored_by="", anchored_ts="")
        return replace(base, state=state, exit_code=code, detail=detail, differs=differs)
    intact = replace(
        base,
        root=audit.edge.root().hex(),
        note=found.stored,
        dead_calls=found.dead,
        live_calls=found.live,
    )
    return _intact(intact, found, heads)


def _uncovered_recoveries(found: VerifyFindings, sizes: Sequence[int]) -> Iterator[Recovered]:
    """Yield the recoveries that took over or lost records not covered by any head of these
    *sizes*.
    """
    for each in (*found.audit.recovered, *found.later):
        left = each.beyond(sizes)
        if left is not None and (found.begin or found.later):
            left = left.within(found.begin, found.report.records)
        if left is not None:
            yield left


def _uncovered_range(found: VerifyFindings, sizes: Sequence[int]) -> tuple[int, int] | None:
    """Return the first and last record in a file that a recovery after the file's end may have
    taken over, or None if there are no such records.
    """
    if not found.is_file or found.follows:
        return None
    first = max((found.begin, *sizes))
    last = found.report.last_seq
    return (first, last) if first <= last else None


def _contradiction(
    found: VerifyFindings, key: str | None, heads: Heads
) -> tuple[VerifyState, str, Difference | None] | None:
    """Return the first finding against the log, in the order of docs/record-format.md section
    10.
    """
    audit, report = found.audit, found.report
    malformed = heads.first(Ruling.MALFORMED)
    if malformed is not None:
        detail = (
            f"the head in {malformed.source} is malformed: guardrail checkpoint prints a valid one"
        )
        return VerifyState.HEAD_MALFORMED, detail, None
    if key is not None and audit.public and key != audit.public:
        detail = "the log's key differs from the given key"
        return VerifyState.REPLACED, detail, Difference.HEAD
    replaced = heads.first(Ruling.REPLACED)
    if replaced is not None:
        origin = replaced.head.origin if replaced.head is not None else ""
        detail = (
            f"the head in {replaced.source}{_describe_age(replaced)} belongs to another log: "
            f"{origin}"
        )
        restarts = [each.seq for each in audit.recovered if each.restarted]
        if restarts and is_earlier(origin, report.log):
            detail += (
                f", which a recovery replaced by this one. Record {restarts[0]} names its "
                "remaining files, which that head can prove"
            )
        return VerifyState.REPLACED, detail, Difference.HEAD
    if report.differs is not None:
        cut = _is_head_ahead(found.stored, report)
        state = VerifyState.TRUNCATED if cut else VerifyState.TAMPERED
        return state, report.detail, report.differs
    truncated = heads.first(Ruling.TRUNCATED)
    if truncated is not None and truncated.head is not None:
        detail = (
            f"the log ends at record {report.last_seq}, but the head in"
            f" {truncated.source}{_describe_age(truncated)} covers record {truncated.head.size - 1}"
        )
        state = VerifyState.ROLLED_BACK if found.stored else VerifyState.TRUNCATED
        return state, detail, Difference.HEAD
    forked = heads.first(Ruling.FORKED)
    if forked is not None and forked.head is not None:
        detail = (
            f"{numbers(0, forked.head.size - 1)}: not the records of the head in"
            f" {forked.source}{_describe_age(forked)}"
        )
        return VerifyState.FORKED, detail, Difference.HEAD
    acknowledged = _missing_from_seal(found)
    if acknowledged:
        return VerifyState.TAMPERED, acknowledged, Difference.HEAD
    unknown = heads.first(Ruling.KEY_UNKNOWN)
    if unknown is not None and heads.covered is None:
        detail = (
            f"the head in {unknown.source}{_describe_age(unknown)} has no valid signature by a "
            "key of this log"
        )
        return VerifyState.KEY_UNKNOWN, detail, None
    return None


_RULED = {
    VerifyState.REPLACED: Ruling.REPLACED,
    VerifyState.TRUNCATED: Ruling.TRUNCATED,
    VerifyState.ROLLED_BACK: Ruling.TRUNCATED,
    VerifyState.FORKED: Ruling.FORKED,
    VerifyState.KEY_UNKNOWN: Ruling.KEY_UNKNOWN,
}


def _contradicted_head(heads: Heads, state: VerifyState) -> OutsideHead | None:
    """Return the head that a finding is about, or None."""
    return heads.first(_RULED[state]) if state in _RULED else None


def _describe_age(head: OutsideHead) -> str:
    """Return a phrase with the time at which an anchor received the head, or an empty string if it
    is unknown.
    """
    return f" (stored there at {clock(head.seen)})" if head.seen else ""


def _is_head_ahead(stored: str, report: Report) -> bool:
    """Return True if the stored head covers records that are missing."""
    if report.differs is not Difference.HEAD or report.first_bad is not None:
        return False
    try:
        return Checkpoint.parse(SignedNote.parse(stored).text).size > report.records
    except NoteError:
        return False


def _sealed_when(seal: Seal) -> str:
    return f" at {clock(seal.when)}" if seal.when else ""


def _missing_from_seal(found: VerifyFindings) -> str:
    """Describe the records that the seal lists as acknowledged but that are missing from the
    log.
    """
    seal, report = found.seal, found.report
    if seal is None or seal.last_seq < 0:
        return ""
    if seal.last_seq > report.last_seq:
        return (
            f"records up to {seal.last_seq} were acknowledged before the ledger was"
            f" sealed{_sealed_when(seal)}; it ends at {report.last_seq}"
        )
    leaf = found.leaf_of(seal.last_seq)
    if leaf and leaf != seal.last_leaf:
        return (
            f"record {seal.last_seq} differs from the one that was acknowledged before the "
            f"ledger was sealed{_sealed_when(seal)}"
        )
    return ""


def _intact(base: VerifyReport, found: VerifyFindings, heads: Heads) -> VerifyReport:
    not_proved: list[str] = []
    state, code = VerifyState.ANCHORED, 0
    if base.anchored_to is None:
        state, code = VerifyState.NOT_ANCHORED, 5
        not_proved.append(
            _NO_HEAD if base.remembered_to is None else _REMEMBERED.format(base.remembered_to)
        )
    elif base.anchored_to < base.last_seq and base.uncovered is None:
        not_proved.append(
            f"{numbers(base.anchored_to + 1, base.last_seq, 'Record')} came after the external "
            "head: someone with the log's key could have changed these records, and truncating "
            "them would not be detected."
        )
    if base.anchored_to is not None and base.dead_calls:
        state, code = VerifyState.OPEN_CALLS, 5
    if not base.key_pinned:
        code = 5
        not_proved.append(_NOT_PINNED)
    if base.recovered:
        code = 5
        not_proved += [text for each in base.recovered for text in taken_over(each)]
    if base.uncovered is not None:
        code = 5 if found.is_part else code
        not_proved.append(_NOT_COVERED.format(numbers(*base.uncovered)))
    if found.since:
        code = 5
        not_proved.append(
            f"Records before {found.since} were not read: only their stored hashes were compared."
        )
    if base.pruned_before:
        not_proved.append(
            f"{numbers(1, base.pruned_before - 1, 'Record')} "
            f"{agree(base.pruned_before - 1, 'was')} pruned, with proof: only archives can show "
            "their content."
        )
    not_proved.append(
        "A holder of the log's key can still write records of calls that never happened, and a "
        "record proves what was requested and decided, not what the tool did. If an outcome is "
        "`unknown`, the body may have run, and if the decision says outcome `soon`, the result may "
        "have been used."
    )
    ignored = [each.source for each, ruling in heads.rulings if ruling is Ruling.KEY_UNKNOWN]
    notices = [
        *base.notices,
        *(f"The head in {source} has no valid signature." for source in ignored),
    ]
    return replace(
        base,
        state=state,
        exit_code=code,
        detail="",
        not_proved=tuple(not_proved),
        notices=tuple(notices),
    )


def taken_over(each: Recovered) -> Iterator[str]:
    """Yield the doubts that remain after a recovery, as sentences."""
    when = f"when the log was recovered at {clock(each.ts)} (record {each.seq})"
    if each.first <= each.last:
        yield (
            f"RECOVERED: no signed head covered {numbers(each.first, each.last)} {when}, "
            "and no earlier external head covers them: someone without a key could have "
            "written them."
        )
    if each.lossy and each.restarted:
        yield (
            f"RECOVERED: in the previous log, {each.loss_text}: {when}. This log does not "
            "contain them, and no head can restore them."
        )
    elif each.lossy:
        yield (
            f"RECOVERED: {each.loss_text}, from number {each.seq} on: they had been "
            f"acknowledged, but were gone {when}."
        )


def _describe_earlier_log(each: Recovered) -> str:
    """Describe how many records from before a recovery are proved, and how many are lost."""
    proven = ""
    if each.proven:
        first = f"its first {counted(each.proven, 'record')}"
        proven = f" An external head proves {first} of what was kept."
    return f"Of that one, {each.loss_text}.{proven}"


def _notices(found: VerifyFindings) -> tuple[str, ...]:
    notices = []
    if found.seal is not None:
        notices.append(
            "The ledger is sealed: nothing is written to it until you run `guardrail recover`."
        )
    if found.report.backwards:
        notices.append(
            f"Time went backwards {counted(found.report.backwards, 'time')}, first at record "
            f"{found.report.first_backwards}."
        )
    notices += [
        f"A recovery began this log at {clock(each.ts)} in place of another. "
        f"{_describe_earlier_log(each)} The remaining files of the old log, which record "
        f"{each.seq} names, were not examined."
        for each in found.audit.recovered
        if each.restarted
    ]
    return (*notices, *found.notices)

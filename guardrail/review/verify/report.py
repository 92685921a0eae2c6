"""Defines the result of a verification, and judges external heads (docs/record-format.md section
10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Difference, Report
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.recovered import Recovered
from guardrail.core.log.ruling import Ruling, rule
from guardrail.core.words import counted
from guardrail.errors import GuardrailError, NoteError
from guardrail.ledger.maintenance.known_heads import generation
from guardrail.ledger.rows import OpenCall

__all__ = [
    "HeadError",
    "Heads",
    "OutsideHead",
    "Progress",
    "Recall",
    "Ruling",
    "VerifyReport",
    "VerifyState",
    "judge_heads",
    "not_readable",
    "not_there",
]

Progress = Callable[[int, int], None]
"""Called every few hundred records with the number of verified records and the total at the
start.
"""


class VerifyState(StrEnum):
    """Verdict of a verification."""

    ANCHORED = "anchored"
    """Intact, and it contains an external head."""
    NOT_ANCHORED = "not_anchored"
    """Intact, according to the ledger alone: no external head covers it."""
    OPEN_CALLS = "open_calls"
    """Intact and anchored, but calls of dead processes are open: the next writer closes them when
    it opens the ledger.
    """
    TAMPERED = "tampered"
    """There is a fault: ``first_bad`` and ``differs`` describe it."""
    TRUNCATED = "truncated"
    """Records at the end of the log, which a signed head covers, are missing."""
    PREFIX = "prefix"
    """An older copy that declares itself a copy: the log begins with its records."""
    ROLLED_BACK = "rolled_back"
    """An older state of this log: intact, but behind an external head."""
    FORKED = "forked"
    """An external head covers different records with the same numbers."""
    REPLACED = "replaced"
    """The given head or key belongs to a different log."""
    MISSING = "missing"
    """There is no ledger at this path."""
    DAMAGED = "torn"
    """The file is torn or can't be decoded."""
    KEY_UNKNOWN = "key_unknown"
    """The given head has no valid signature."""
    HEAD_MALFORMED = "head_malformed"
    """The given head is malformed."""
    UNREADABLE = "unreadable"
    """The ledger can't be opened or read, because of permissions, an I/O error or an unsupported
    format.
    """


class Recall(StrEnum):
    """The relation between a log and this machine's remembered head of it."""

    AGREES = "agrees"
    """The log contains the remembered head."""
    CONTRADICTS = "contradicts"
    """The log is missing, is a different log, is shorter, or has different records."""


class HeadError(GuardrailError):
    """A given head or key can't be read."""

    default_code = "verify.head"


@dataclass(frozen=True, slots=True)
class OutsideHead:
    """An external head, or one remembered by this machine."""

    source: str
    """A description of the head's source."""
    note: SignedNote | None
    """The signed note, or None if it is malformed."""
    head: Checkpoint | None
    seen: str = ""
    """Time at which the anchor received the head (RFC 3339), or an empty string if it is not
    known.
    """
    remembered: str = ""
    """Public key in hex of the log that this machine remembers here, or an empty string for an
    external head.

    A remembered head can contradict a log, but never anchors it.
    """

    @classmethod
    def parse(cls, source: str, raw: bytes | str, seen: str = "") -> OutsideHead:
        """Read a signed note. If it is malformed, return a head without a note."""
        try:
            note = SignedNote.parse(raw)
            return cls(source, note, Checkpoint.parse(note.text), seen)
        except NoteError:
            return cls(source, None, None, seen)

    @property
    def covers(self) -> bool:
        """True if the head covers at least one record."""
        return self.head is not None and self.head.size > 0


@dataclass(frozen=True, slots=True)
class Heads:
    """The combined result for all given heads."""

    rulings: tuple[tuple[OutsideHead, Ruling], ...] = ()

    def first(self, ruling: Ruling) -> OutsideHead | None:
        """Return the first head with this *ruling*, or None."""
        return next((head for head, found in self.rulings if found is ruling), None)

    @property
    def covered(self) -> OutsideHead | None:
        """The largest external head that the log contains, or None."""
        good = [
            head for head, found in self.rulings if found is Ruling.COVERED and not head.remembered
        ]
        return max(good, key=lambda each: each.head.size if each.head else 0, default=None)

    @property
    def sizes(self) -> list[int]:
        """Sizes of all external heads that the log contains."""
        return [
            head.head.size
            for head, found in self.rulings
            if found is Ruling.COVERED and head.head is not None and not head.remembered
        ]

    @property
    def remembered_to(self) -> int | None:
        """Last record covered by the head that this machine remembers, or None unless the log
        contains that head.
        """
        return next(
            (
                head.head.size - 1
                for head, found in self.rulings
                if found is Ruling.COVERED and head.head is not None and head.remembered
            ),
            None,
        )

    @property
    def recall(self) -> Recall | None:
        """The relation between the log and this machine's remembered head, or None if they can't be
        compared.
        """
        if self.remembered_to is not None:
            return Recall.AGREES
        against = (Ruling.REPLACED, Ruling.TRUNCATED, Ruling.FORKED)
        wrong = any(head.remembered and found in against for head, found in self.rulings)
        return Recall.CONTRADICTS if wrong else None


def judge_heads(
    heads: Sequence[OutsideHead],
    *,
    audit: Audit,
    report: Report,
    root_of: Callable[[int], bytes | None],
    believed: Callable[[int], bytes | None] = lambda _: None,
) -> Heads:
    """Compare *heads* with a log that was read to its end or its first bad record.

    *root_of* returns the root over the first records, up to a size, as computed from the lines, or
    None if that is no longer possible. *believed* returns the root from stored hashes. A head that
    contradicts stored hashes belongs to another history. A head that matches only stored hashes
    still covers nothing.
    """

    def fits(head: Checkpoint) -> bool | None:
        root = root_of(head.size)
        known = root if root is not None else believed(head.size)
        if known is not None and known != head.root:
            return False
        return None if root is None or head.size < audit.pruned else True

    def ruling(outside: OutsideHead) -> Ruling:
        note, head = outside.note, outside.head
        if note is None or head is None:
            return Ruling.MALFORMED
        if outside.remembered and audit.public and outside.remembered != audit.public:
            return Ruling.REPLACED
        found = rule(
            head,
            log=report.log,
            size=report.records,
            fits=fits,
            signed=lambda: (
                audit.keys is not None and audit.keys.signer_of(note, head.size) is not None
            ),
        )
        # Anyone who can write to this ledger can also write to the memory, so an invalid signature
        # is not a finding.
        return Ruling.EMPTY if outside.remembered and found is Ruling.KEY_UNKNOWN else found

    return Heads(tuple((each, ruling(each)) for each in heads))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of ``verify``."""

    state: VerifyState
    exit_code: int
    """0 intact and covered; 1 tampered; 3 undetermined; 5 intact with a caveat (docs/cli.md)."""
    detail: str = ""
    """Description of the fault. It contains no recorded value."""
    first_bad: int | None = None
    """Sequence number of the first bad record, if the fault is about one record."""
    differs: Difference | None = None
    log: str = ""
    key: str = ""
    """The log's public key (64 hex): the given key or, if no key was given, the key in line 0."""
    key_pinned: bool = False
    """True if the key was given from outside the ledger."""
    records: int = 0
    """Number of valid records from the start, including records that were pruned with proof."""
    last_seq: int = -1
    last_ts: str = ""
    """Timestamp of that record, or an empty string if it was not read."""
    first_bad_ts: str = ""
    """Timestamp of the first bad record, if its line is good and only other data about the record
    is bad, otherwise an empty string.
    """
    since: int = 0
    """Number of the first record that was read. Earlier records were not read."""
    against: OutsideHead | None = None
    """The head that the log contradicts, if the verdict is about a head."""
    root: str = ""
    """Root of the Merkle tree over ``records``, hex, or an empty string if there is a fault."""
    note: str = ""
    """The ledger's signed head, to be stored as an external checkpoint. Empty if the head is not
    valid for this log.
    """
    pruned_before: int = 0
    """Number of the first record after those that were pruned with proof, or 0 if none were pruned.
    """
    anchored_to: int | None = None
    """Last sequence number that an external head covers."""
    anchored_by: str = ""
    """A description of the source of this head."""
    anchored_ts: str = ""
    """Timestamp of that record."""
    recall: Recall | None = None
    """Relation to this machine's memory, or None if they can't be compared."""
    remembered_to: int | None = None
    """Last sequence number of the head that this machine remembers, if the log contains that
    head.
    """
    proven_to: int | None = None
    """If this is a copy and a prefix of the log, the last sequence number that is proved, by the
    ledger or by a head in the copy.
    """
    dead_calls: tuple[OpenCall, ...] = ()
    """Open calls of dead processes."""
    live_calls: int = 0
    """Open calls of processes that are alive, or may be alive."""
    approvals_used: int = 0
    """Uses of approvals that were compared with their requests and answers."""
    recovered: tuple[Recovered, ...] = ()
    """Records that recoveries took over or found lost, and that no earlier head covers. This is a
    permanent caveat.
    """
    uncovered: tuple[int, int] | None = None
    """First and last record of a file that no external head covers and a later recovery may have
    taken over. None if there are no such records, or if a ledger was verified.
    """
    heartbeats: int = 0
    """Heartbeat records."""
    silences: int = 0
    """Gaps between heartbeats that are longer than expected."""
    notices: tuple[str, ...] = ()
    """Remarks that do not count as caveats."""
    not_proved: tuple[str, ...] = ()
    """Sentences that state the limits of this run's proof."""


def not_there(heads: Sequence[OutsideHead]) -> VerifyReport:
    """Return the report for a path without a ledger."""
    ours = next((each for each in heads if each.remembered and each.covers), None)
    detail = "there is no ledger at this path"
    if ours is not None and ours.head is not None:
        detail += (
            f", and {ours.source} has a head of the log {ours.head.origin} here with "
            f"{counted(ours.head.size, 'record')}"
        )
    kept = max(
        (each for each in heads if each.covers and not each.remembered),
        key=lambda each: (generation(each.head.origin), each.head.size) if each.head else (0, 0),
        default=None,
    )
    if kept is not None and kept.head is not None:
        detail += (
            f", and a head of the log {kept.head.origin} with {counted(kept.head.size, 'record')} "
            f"is in {kept.source}"
        )
    return VerifyReport(
        VerifyState.MISSING,
        1 if any(each.covers for each in heads) else 3,
        detail,
        recall=None if ours is None else Recall.CONTRADICTS,
    )


def not_readable(
    heads: Sequence[OutsideHead], report: Report, message: str, *, torn: bool
) -> VerifyReport:
    """Return the report for a ledger that can't be read, with the reason in *message*. *torn* is
    True if the ledger is damaged.
    """
    ours = torn and any(each.remembered and each.covers for each in heads)
    return VerifyReport(
        VerifyState.DAMAGED if torn else VerifyState.UNREADABLE,
        1 if torn and any(each.covers for each in heads) else 3,
        message,
        log=report.log,
        records=report.records,
        last_seq=report.last_seq,
        recall=Recall.CONTRADICTS if ours else None,
    )

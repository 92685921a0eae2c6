"""Links records and verifies that a sequence of lines is a chain as defined in
docs/record-format.md section 3.

Pure. Uses constant memory, except for the open calls. A chain alone proves only that no one has
changed a record without recomputing all later ones; ``guardrail.review.verify`` compares it with
external heads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from guardrail.core.log.checkpoint import is_name
from guardrail.core.log.fields import PROFILE
from guardrail.core.log.record import FORMAT_VERSION, GENESIS_PREV, MAX_LINE, leaf_hash, parse
from guardrail.errors import RecordError

__all__ = ["Chain", "Difference", "Head", "Report", "verify"]


_CALLS = frozenset({"call.decision", "call.outcome"})
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
# The same test in a third of the time: digits become zeros, and the rest stays.
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_ANY_TIME = b"0000-00-00T00:00:00.000000Z"


class Difference(StrEnum):
    """The kind of problem at the first bad record."""

    SEQUENCE = "sequence"
    """A number is missing, repeated or out of order."""
    LEAF = "leaf"
    """The line does not have the hash that was stored with it."""
    LINE = "line"
    """The bytes are not a record: too long, several lines, or not a JSON object."""
    NUMBER = "number"
    """The line's ``seq`` differs from its position."""
    PREV = "prev"
    """The line names a predecessor other than the stored one."""
    LOG = "log"
    """The line belongs to a different log."""
    VERSION = "version"
    """The line has a version that this verifier does not know."""
    GENESIS = "genesis"
    """Line 0 is not a genesis record, or a later line is."""
    CALL = "call"
    """An outcome has no open call, an open call a second decision, or a call a held effect key."""
    KEY = "key"
    """A key rotation does not certify a key."""
    TILE = "tile"
    """The stored tree differs from that of the records."""
    EPOCHS = "epochs"
    """The table of epoch keys differs from the lines."""
    PRUNED = "pruned"
    """Records are missing, and no valid pruning record accounts for them."""
    OPEN_CALLS = "open_calls"
    """The table of open calls differs from the lines."""
    ROWS = "rows"
    """A row has a number or values that no record can have."""
    SCHEMA = "schema"
    """The tables, indexes or triggers are not the ones that guardrail creates."""
    INDEX = "index"
    """An index makes queries miss records."""
    SESSION = "session"
    """A session has records of two owners."""
    SETTINGS = "settings"
    """A guard started with different settings, and no record reports the change."""
    SUSPENSION = "suspension"
    """A record of a suspension contradicts earlier ones, or the head names another one."""
    APPROVAL = "approval"
    """A use of an approval is not covered by its request and answers, or a step is out of order."""
    HEAD = "head"
    """The stored head, a head from the caller, or the acknowledged records do not match the log."""


@dataclass(frozen=True, slots=True)
class Head:
    """A state of a log: its name, the number of records, and the leaf of the last one."""

    log: str
    size: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """The result of verification.

    ``first_bad`` is None if and only if every line that was seen is correct.
    """

    records: int
    """Number of good records, including those pruned with proof. The first bad record, if there is
    one, has this number.
    """
    last_seq: int
    """Number of the last good record, or -1 if there is none."""
    leaf: bytes
    """Leaf hash of the last good record, or 32 zero bytes if there is none."""
    log: str
    """Origin name, or an empty string if there is no line 0."""
    first_bad: int | None = None
    differs: Difference | None = None
    detail: str = ""
    """Description of the problem, without any content of the record."""
    backwards: int = 0
    """Number of records with an earlier timestamp than the record before. This is only a notice,
    because clocks can go back.
    """
    first_backwards: int | None = None
    ts: str = ""
    """Timestamp of the last good record, or an empty string if it was not read."""
    open_calls: Mapping[str, int] = field(default_factory=dict)
    """The number of the decision of each allowed call without an outcome, by call id."""


class Chain:
    """The state of a verification: all data needed to check the next line.

    Pass each row to ``take``, in order. It returns the decoded record, or None for the first bad
    row and every later row.
    """

    def __init__(
        self,
        after: Head | None = None,
        *,
        also: Callable[[int, Mapping[str, Any]], tuple[Difference, str] | None] | None = None,
    ) -> None:
        """Begin at line 0, or after the head *after*. In the second case, the calls that are open
        at that point are unknown.

        *also* is called for each correctly linked record that is not about a call, and can report a
        problem in it.
        """
        self._partial = after is not None
        self._also = also
        self._gap = 0
        """Records from 1 up to this number were pruned. Their calls can have outcomes."""
        self.unmatched: list[tuple[str, int]] = []
        """For each outcome after *after* with an unseen decision, the call and the number of that
        decision.
        """
        self._next = after.size if after is not None else 0
        self._leaf = after.leaf if after is not None else bytes.fromhex(GENESIS_PREV)
        self._prev = self._leaf.hex()
        """The leaf hash in hex, as the next line must contain it."""
        self._begin = self._next
        self._log = after.log if after is not None else ""
        self._ts = ""
        self._backwards = 0
        self._first_backwards: int | None = None
        self._open: dict[str, int] = {}
        self._bad: tuple[int, Difference, str] | None = None

    @property
    def next_seq(self) -> int:
        """The number that the next row must have."""
        return self._next

    @property
    def leaf(self) -> bytes:
        """The leaf hash of the last good record."""
        return self._leaf

    @property
    def has_fault(self) -> bool:
        """True if a row was wrong or rejected."""
        return self._bad is not None

    def skip(self, before: int, leaf: bytes) -> None:
        """Continue at record *before*, after a record with the leaf hash *leaf*: the records
        between them were pruned.
        """
        self._next, self._leaf, self._gap = before, leaf, before
        self._prev = leaf.hex()

    def open_call(self, call: str, seq: int) -> bool:
        """Mark a call as open at the end of a section that was read separately. Return False if the
        call was already open.
        """
        if call in self._open:
            return False
        self._open[call] = seq
        return True

    def close_call(self, call: str, named: int) -> bool:
        """Mark a call as closed by an outcome in a section that was read separately. Return False
        if no such call is open.
        """
        return self._open.pop(call, None) == named

    def advance(
        self,
        size: int,
        leaf: bytes,
        *,
        log: str,
        first_ts: str,
        last_ts: str,
        backwards: int,
        first_backwards: int | None,
    ) -> None:
        """Continue after a section that was read separately and that begins with the next
        record.
        """
        if first_ts < self._ts:
            backwards += 1
            first_backwards = self._next
        if self._first_backwards is None:
            self._first_backwards = first_backwards
        self._backwards += backwards
        self._next, self._leaf, self._ts, self._log = size, leaf, last_ts, log
        self._prev = leaf.hex()

    def take(self, seq: int, leaf: bytes | None, line: bytes) -> dict[str, Any] | None:
        """Verify one row; *leaf* is the stored hash, or None if none is stored (an export)."""
        if self._bad is not None:
            return None
        # (1) Nothing is missing, repeated or out of order.
        if seq != self._next:
            return self._stop(
                self._next,
                Difference.SEQUENCE,
                f"record {self._next} is missing: record {seq} comes next",
            )
        # (2) The line is the one whose hash was stored with it.
        actual = leaf_hash(line)
        if leaf is not None and leaf != actual:
            return self._stop(
                seq, Difference.LEAF, "the line does not have the hash that is stored with it"
            )
        # (3) The bytes are one record.
        if b"\n" in line:
            return self._stop(seq, Difference.LINE, "the line contains a line feed")
        if len(line) > MAX_LINE:
            return self._stop(seq, Difference.LINE, "the line is longer than any record may be")
        try:
            record = parse(line)
        except RecordError:
            return self._stop(seq, Difference.LINE, "the line is not a JSON object")
        # (4) It contains its own position, and (5) the hash of its predecessor.
        if type(record.get("seq")) is not int or record["seq"] != seq:
            return self._stop(
                seq, Difference.NUMBER, "the line's sequence number does not match its position"
            )
        if record.get("prev") != self._prev:
            return self._stop(seq, Difference.PREV, _unlinked(seq))
        # (6) It belongs to this log, and its version is known.
        difference = self._check_place(seq, record)
        if difference is not None:
            return self._stop(seq, *difference)
        # (7) One decision, and at most one outcome, per call, and (8) the other rules for its type.
        wrong = self._check_kind(seq, record)
        if wrong is not None:
            return self._stop(seq, *wrong)
        # (9) A timestamp that goes back is only a notice; clocks can go back.
        ts = record["ts"]
        if ts < self._ts:
            self._backwards += 1
            if self._first_backwards is None:
                self._first_backwards = seq
        self._ts = ts
        self._next = seq + 1
        self._leaf = actual
        self._prev = actual.hex()
        return record

    def take_rows(
        self, rows: Iterable[tuple[int, bytes | None, bytes]], leaves: list[bytes]
    ) -> Generator[tuple[int, dict[str, Any], bytes], None, None]:
        """Verify *rows* with the result of ``take``, but faster. Yield the number, the decoded
        record and the line of each good row, and end after the first bad one.

        The leaf hash of each good row is added to *leaves*. Use this object for nothing else before
        the iterator has ended or was closed.
        """
        expected, leaf, prev, last_ts = self._next, self._leaf, self._prev, self._ts
        log, opened, add = self._log, self._open, leaves.append
        try:
            for seq, stored, line in rows if self._bad is None else ():
                actual = leaf_hash(line)
                try:
                    record = parse(line)
                    number, version, ts = record["seq"], record["v"], record["ts"]
                    is_usual = (
                        0 < seq == number == expected
                        and (stored == actual or stored is None)
                        and record["prev"] == prev
                        and record["log"] == log
                        and version == FORMAT_VERSION
                        and type(number) is type(version) is int
                        and b"\n" not in line
                        and ts.encode().translate(_DIGITS) == _ANY_TIME
                        and ts >= last_ts
                        and _take_step(opened, seq, record)
                    )
                except (RecordError, LookupError, TypeError, AttributeError):
                    is_usual = False
                if is_usual:
                    expected, leaf, prev, last_ts = seq + 1, actual, actual.hex(), ts
                else:
                    # Only ``take`` decides whether something is wrong, and what.
                    self._next, self._leaf, self._prev, self._ts = expected, leaf, prev, last_ts
                    found = self.take(seq, stored, line)
                    expected, leaf, prev, last_ts = self._next, self._leaf, self._prev, self._ts
                    if found is None:
                        return
                    record, log = found, self._log
                add(leaf)
                yield seq, record, line
        finally:
            self._next, self._leaf, self._prev, self._ts = expected, leaf, prev, last_ts

    def reject(self, seq: int, differs: Difference, detail: str) -> None:
        """Record *seq* as the first bad record, for a reason outside the line itself."""
        if self._bad is None:
            self._bad = (seq, differs, detail)

    def report(self) -> Report:
        """Return the result so far."""
        seq, differs, detail = self._bad if self._bad is not None else (None, None, "")
        records = self._next if seq is None else min(seq, self._next)
        return Report(
            records=records,
            last_seq=records - 1,
            leaf=self._leaf,
            log=self._log,
            first_bad=seq,
            differs=differs,
            detail=detail,
            backwards=self._backwards,
            first_backwards=self._first_backwards,
            ts=self._ts,
            open_calls=dict(self._open),
        )

    def _stop(self, seq: int, differs: Difference, detail: str) -> dict[str, Any] | None:
        self._bad = (seq, differs, detail)
        return None

    def _check_place(self, seq: int, record: Mapping[str, Any]) -> tuple[Difference, str] | None:
        version = record.get("v")
        if type(version) is not int or version != FORMAT_VERSION:
            return Difference.VERSION, "the line has a version that this verifier does not know"
        log, type_, ts = record.get("log"), record.get("type"), record.get("ts")
        if not isinstance(log, str) or not isinstance(type_, str):
            return Difference.LINE, "the line does not state its log and type"
        if not isinstance(ts, str) or not _TIME.fullmatch(ts):
            return Difference.LINE, "the line has no valid timestamp"
        if (type_ == "genesis") is not (seq == 0):
            return Difference.GENESIS, "line 0, and no other line, must be a genesis line"
        if seq == 0:
            key = record.get("key")
            public = key.get("public") if isinstance(key, dict) else None
            known = isinstance(public, str) and _PUBLIC.fullmatch(public)
            if (
                record.get("profile") != PROFILE
                or not known
                or record["key"].get("type") != "ed25519"
                or not is_name(log)
            ):
                return (
                    Difference.GENESIS,
                    "line 0 does not have a log name, a key and the known profile",
                )
            self._log = log
        elif log != self._log:
            return Difference.LOG, "the line belongs to a different log"
        return None

    def _check_kind(self, seq: int, record: dict[str, Any]) -> tuple[Difference, str] | None:
        if record["type"] in _CALLS:
            problem = self._check_call(seq, record)
            return (Difference.CALL, problem) if problem else None
        return self._also(seq, record) if self._also is not None else None

    def _check_call(self, seq: int, record: Mapping[str, Any]) -> str:
        type_, call = record["type"], record.get("call")
        if not isinstance(call, str):
            return "the decision or outcome does not name a call"
        if type_ == "call.decision":
            decision = record.get("decision")
            effect = decision.get("effect") if isinstance(decision, dict) else None
            if not isinstance(effect, str):
                return "the decision has no effect"
            if call in self._open:
                return "this is a second decision on a call that is still open"
            if effect == "allow":
                self._open[call] = seq
            return ""
        opened, named = self._open.pop(call, None), record.get("decision_seq")
        if type(named) is not int:
            return "the outcome does not name its decision"
        if opened is None and not self._partial and not 1 <= named < self._gap:
            return "the call of this outcome is not open"
        if opened is None and self._partial:
            if named >= self._begin:
                return "the call of this outcome is not open"
            self.unmatched.append((call, named))
        if opened is not None and named != opened:
            return "the outcome names the decision of a different call"
        return ""


def _take_step(opened: dict[str, int], seq: int, record: Mapping[str, Any]) -> bool:
    """Apply a decision or an outcome to the open calls. Return False or raise an error, and change
    nothing, if the record is anything else, or might be wrong.
    """
    type_, call = record["type"], record["call"]
    if type_ == "call.outcome":
        if opened[call] != record["decision_seq"] or type(record["decision_seq"]) is not int:
            return False
        del opened[call]
        return True
    effect = record["decision"]["effect"]
    if type_ != "call.decision" or call in opened or not type(effect) is type(call) is str:
        return False
    if effect == "allow":
        opened[call] = seq
    return True


def verify(rows: Iterable[tuple[int, bytes | None, bytes]], *, after: Head | None = None) -> Report:
    """Verify that *rows* of (seq, stored leaf or None, line) are a chain, in one pass and with
    constant memory.

    Stops at the first bad record. If *after* is passed, it must be a head that is known to be good,
    and verification starts after it.
    """
    chain = Chain(after)
    for seq, leaf, line in rows:
        if chain.take(seq, leaf, line) is None:
            break
    return chain.report()


def _unlinked(seq: int) -> str:
    if seq == 0:
        return "line 0 names a predecessor"
    return (
        f"the line names a different predecessor: record {seq - 1} was changed together with its"
        " hash, or this link was changed"
    )

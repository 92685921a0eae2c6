"""Makes proofs from a ledger: that it contains a record, and that one head extends another.

This module only reads. It checks everything that it reads, so a changed ledger never produces a
proof.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.key_epochs import TYPE, KeyRanges
from guardrail.core.log.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    range_root,
    verify_consistency,
)
from guardrail.core.log.proof import Certificate, Proof, Verdict, check_proof
from guardrail.core.log.record import decode
from guardrail.core.log.recovered import TYPE as RECOVERED
from guardrail.core.log.recovered import Recovered
from guardrail.core.words import agree, counted
from guardrail.errors import LedgerError, NoteError, RecordError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.maintenance.examine import examine
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.tree import node_reader
from guardrail.review.terminal import clock

__all__ = ["Consistency", "HeadRelation", "compare_heads", "key_ranges", "log_key", "make_proof"]


def log_key(reader: LedgerReader) -> NoteKey:
    """Return the log key in line 0, which is not pinned. Raises ``LedgerError`` if line 0 contains
    no key.
    """
    key = reader.genesis.get("key")
    public = key.get("public") if isinstance(key, dict) else None
    try:
        return NoteKey(reader.log, bytes.fromhex(public if isinstance(public, str) else ""))
    except (ValueError, NoteError):
        raise _unusable_error("line 0 of the ledger contains no key") from None


def key_ranges(reader: LedgerReader, key: NoteKey) -> tuple[KeyRanges, dict[str, Certificate]]:
    """Return the keys that may sign heads of the log with *key*, with their certificates. Raises
    ``LedgerError``.
    """
    ranges = KeyRanges(key.name, key.public, verify_signature)
    certificates: dict[str, Certificate] = {}
    for seq, line in reader.every("admin.key_rotated"):
        try:
            record = decode(line)
        except RecordError:
            raise _unusable_error(f"record {seq} of the ledger can't be decoded") from None
        if ranges.take(seq, record):
            continue  # it certifies nothing, which verify reports
        detail = record["detail"]
        if detail.get("key") is not None:
            public = detail["key"]["public"]
            signature = base64.b64decode(detail["certificate"])
            certificates.setdefault(public, Certificate(public, detail["first"], signature))
    return ranges, certificates


def make_proof(
    reader: LedgerReader, seq: int, head: SignedNote, anchored: Iterable[SignedNote] = ()
) -> Proof:
    """Return the proof that record *seq* is in the ledger, under *head* or, preferably, under a
    head with cosignatures.

    *anchored* are heads that anchors accepted, with their signatures. Such a head counts if the log
    key signed it and it covers the record. Raises ``LedgerError`` if there is no such record, or if
    the ledger can't prove it.
    """
    with reader.snapshot():
        key = log_key(reader)
        line = reader.record(seq)
        if line is None:
            raise _missing_record_error(reader, seq)
        node = node_reader(reader.storage)
        try:
            root = functools.partial(range_root, 0, node=node)
            covering = _covering_heads(anchored, key, seq)
            note, size = _best_head(head, covering, root)
            doubt = _doubtful_recovery(reader, seq)
            if doubt is not None and size > doubt.seq:
                # A head from before the recovery proves the record. Later heads of the log also
                # cover the records that the recovery took over.
                note, size = _largest_head_before(covering, doubt, seq, root)
            path = inclusion_proof(seq, size, node)
        except ValueError:
            raise _unusable_error(
                "the ledger does not have all hashes that the proof needs"
            ) from None
        epoch = None
        if not note.signed_by(key, verify_signature):
            ranges, certificates = key_ranges(reader, key)
            epoch = certificates.get(ranges.signer_of(note, size) or "")
    proof = Proof(line, seq, tuple(path), note, epoch)
    checked = check_proof(proof, key.public, verify_signature)
    if checked.verdict is not Verdict.GOOD:
        raise _unusable_error(checked.detail)
    return proof


def _doubtful_recovery(reader: LedgerReader, seq: int) -> Recovered | None:
    """Return the first recovery that took over record *seq* without a head that covers it, or
    None.
    """
    for at, line in reader.every(RECOVERED):
        try:
            found = Recovered.of(at, decode(line))
        except RecordError:
            raise _unusable_error(f"record {at} of the ledger can't be decoded") from None
        if found.first <= seq <= found.last:
            return found
    return None


def _covering_heads(
    anchored: Iterable[SignedNote], key: NoteKey, seq: int
) -> dict[str, SignedNote]:
    """Return the heads among *anchored* that *key* signed and that cover record *seq*, keyed by
    text. Each has the signatures of all its copies.
    """
    found: dict[str, SignedNote] = {}
    for note in anchored:
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != key.name or checkpoint.size <= seq:
            continue
        if note.signed_by(key, verify_signature):
            before = found.get(note.text)
            found[note.text] = note if before is None else before.with_signatures(note.signatures)
    return found


def _largest_head_before(
    covering: Mapping[str, SignedNote], doubt: Recovered, seq: int, root: Callable[[int], bytes]
) -> tuple[SignedNote, int]:
    """Return the largest head in *covering* made before the recovery *doubt*, and its size. Raises
    ``LedgerError``.
    """
    heads = ((Checkpoint.parse(text), note) for text, note in covering.items())
    found = {
        head.size: note
        for head, note in heads
        if head.size <= doubt.seq and root(head.size) == head.root
    }
    if not found:
        raise LedgerError(
            f"record {seq} can't be proved: the recovery at {clock(doubt.ts)} (record {doubt.seq}) "
            "took it over, and no earlier head covers the record",
            code="ledger.recovered",
            hint=(
                "guardrail verify names the records; guardrail verify --checkpoint FILE "
                "compares a head that you stored"
            ),
        )
    size = max(found)
    return found[size], size


def _best_head(
    head: SignedNote, covering: Mapping[str, SignedNote], root: Callable[[int], bytes]
) -> tuple[SignedNote, int]:
    """Return the head with the most other signers (the newest of several) with all of its
    signatures, and its size.
    """
    if head.text in covering:
        head = head.with_signatures(covering[head.text].signatures)
    # Other signers count first, because a head that nobody else has seen proves no more than the
    # log's own claim.
    ranked = sorted(
        (note for text, note in covering.items() if text != head.text and len(note.signatures) > 1),
        key=lambda note: (len(note.signatures), Checkpoint.parse(note.text).size),
        reverse=True,
    )
    for note in ranked if len(head.signatures) == 1 else ():
        checkpoint = Checkpoint.parse(note.text)
        if root(checkpoint.size) == checkpoint.root:
            return note, checkpoint.size
    return head, Checkpoint.parse(head.text).size


class HeadRelation(StrEnum):
    """Relation between two heads."""

    CONSISTENT = "consistent"
    """The records of the old head are the first records of the new head."""
    FORKED = "forked"
    """The records differ: two histories have the same name."""
    OTHER_LOG = "other_log"
    """The heads belong to two logs."""
    PREFIX = "prefix"
    """The records of the old head are the first records of a copy that declares itself a copy and
    lacks some records of the new head.
    """
    NOT_HERE = "not_here"
    """The new head does not belong to this ledger, so this ledger can't show how the heads are
    related.
    """
    KEY_UNKNOWN = "key_unknown"
    """One of the heads has no valid signature."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """The result of ``compare_heads``."""

    relation: HeadRelation
    detail: str = ""
    path: tuple[bytes, ...] = ()
    """The proof (RFC 6962 section 2.1.2), if the heads are consistent."""
    recovered: tuple[Recovered, ...] = ()
    """Records of the new head that a recovery took over and the old head does not cover."""


def compare_heads(
    old: SignedNote,
    new: SignedNote,
    reader: LedgerReader,
    key: NoteKey,
    *,
    backup: bool = False,
    signers: Sequence[KeyRanges] = (),
) -> Consistency:
    """Compare *old* and *new* using the ledger; both must be signed by keys of the log *key*.

    If *backup* is True, the ledger is a copy, *new* may cover more records than the copy has, and
    *signers* contains later keys. Every line is read and hashed, and both heads are compared with
    the result. Raises ``LedgerError`` if the ledger can't be read.
    """
    first, second = Checkpoint.parse(old.text), Checkpoint.parse(new.text)
    if first.origin != second.origin or first.origin != key.name:
        detail = "the heads, or the ledger and the heads, belong to different logs"
        return Consistency(HeadRelation.OTHER_LOG, detail)
    ranges = KeyRanges(key.name, key.public, verify_signature)

    recoveries: list[Recovered] = []

    def keys(seq: int, record: Mapping[str, Any]) -> None:
        if record["type"] == TYPE:
            ranges.take(seq, record)  # if it certifies nothing, verify reports that
        elif record["type"] == RECOVERED:
            recoveries.append(Recovered.of(seq, record))

    with reader.snapshot():
        sizes = {first.size, second.size}
        found = examine(reader, verify=verify_signature, watch=sizes, each=keys)
        for name, note, head in (("old", old, first), ("new", new, second)):
            if all(each.signer_of(note, head.size) is None for each in (ranges, *signers)):
                detail = f"no signature on the {name} head is by a key of this log"
                return Consistency(HeadRelation.KEY_UNKNOWN, detail)
        answer = _compare(first, second, found.roots, reader, backup=backup)
    if answer.relation is not HeadRelation.CONSISTENT:
        return answer
    left = (each.beyond([first.size]) for each in recoveries)
    inside = (each.within(0, second.size) for each in left if each is not None)
    return replace(answer, recovered=tuple(each for each in inside if each is not None))


def _compare(
    first: Checkpoint,
    second: Checkpoint,
    roots: Mapping[int, bytes],
    reader: LedgerReader,
    *,
    backup: bool,
) -> Consistency:
    """Compare the heads with *roots*, which are computed from the lines because stored hashes may
    be forged.
    """
    if first.size == second.size:
        if first.root == second.root:
            return Consistency(HeadRelation.CONSISTENT)
        detail = "they cover the same number of records, but different records"
        return Consistency(HeadRelation.FORKED, detail)
    if backup and second.size > reader.size() and roots.get(first.size) == first.root:
        detail = (
            f"the first {counted(first.size, 'record')} of the copy "
            f"{agree(first.size, 'matches')} the old head; it has only "
            f"{counted(reader.size(), 'record')} of the new head"
        )
        return Consistency(HeadRelation.PREFIX, detail)
    if backup and first.size in roots and roots[first.size] != first.root:
        detail = (
            f"the first {counted(first.size, 'record')} of the copy {agree(first.size, 'does')} not"
            " match the old head"
        )
        return Consistency(HeadRelation.FORKED, detail)
    if second.size not in roots:
        detail = (
            f"the ledger does not have all of the {counted(second.size, 'record')} of the new head"
        )
        return Consistency(HeadRelation.NOT_HERE, detail)
    if roots[second.size] != second.root:
        detail = (
            f"the first {counted(second.size, 'record')} of the ledger {agree(second.size, 'does')}"
            " not match the new head"
        )
        return Consistency(HeadRelation.NOT_HERE, detail)
    mine = roots.get(first.size, EMPTY_ROOT if first.size == 0 else None)
    if mine is None:
        detail = (
            f"the hashes of the first {counted(first.size, 'record')} are no longer in the ledger"
        )
        return Consistency(HeadRelation.NOT_HERE, detail)
    if mine != first.root:
        detail = (
            f"the first {counted(first.size, 'record')} of the new head {agree(first.size, 'does')}"
            " not match the old one"
        )
        return Consistency(HeadRelation.FORKED, detail)
    try:
        path = consistency_proof(first.size, second.size, node_reader(reader.storage))
    except ValueError:
        path = []
    if not verify_consistency(first.size, first.root, second.size, second.root, path):
        detail = "the stored tree does not match the records, so no proof can be made from it"
        return Consistency(HeadRelation.NOT_HERE, detail)
    return Consistency(HeadRelation.CONSISTENT, path=tuple(path))


def _missing_record_error(reader: LedgerReader, seq: int) -> LedgerError:
    if 0 < seq < reader.size():
        return LedgerError(
            f"only the hash of record {seq} is still in the ledger, but a proof needs its line",
            code="ledger.pruned",
            hint="look for it in the archive",
        )
    return LedgerError(
        f"there is no record {seq}", code="ledger.no_record", hint="guardrail sessions"
    )


def _unusable_error(why: str) -> LedgerError:
    return LedgerError(
        f"no proof can be made: {why}",
        code="ledger.proof",
        hint="guardrail verify shows what is wrong",
    )

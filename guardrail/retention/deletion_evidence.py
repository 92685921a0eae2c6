"""Gathers the evidence for a deletion in one pass over every line, whose tree is signed by a key
holder and covered by external heads.

A deletion also removes all traces, so nothing is trusted merely because it is stored: neither an
index, nor the tree, nor the manifest of a copy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from guardrail.core.log.checkpoint import Checkpoint
from guardrail.errors import RetentionError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.heads import Signing
from guardrail.ledger.maintenance.examine import examine
from guardrail.ledger.reader import LedgerReader
from guardrail.retention import segments
from guardrail.retention.external_heads import ExternalHeads
from guardrail.retention.facts import FactCollector, RetentionFacts, Segment
from guardrail.retention.segments import Manifest

__all__ = ["DeletionEvidence", "conflict", "copies_of", "not_anchored", "survey", "vouched"]


@dataclass(frozen=True, slots=True)
class DeletionEvidence:
    """The facts in the lines. All lines are hashed under a head that a key holder signed."""

    facts: RetentionFacts
    roots: Mapping[int, bytes]
    """The roots of the requested sizes, by size. Roots over pruned records are computed from their
    stored hashes.
    """

    def has(self, size: int, root: str) -> bool:
        """Return True if *root*, in hex, is the root over the first *size* records."""
        found = self.roots.get(size)
        return found is not None and found.hex() == root


def survey(db: Path, signing: Signing, sizes: Collection[int]) -> DeletionEvidence:
    """Read the whole ledger and return its facts.

    Raises ``RetentionError`` (``retention.not_whole``) if anything in the ledger is invalid.
    """
    gathered = FactCollector()
    with LedgerReader.open(db) as reader:
        found = examine(
            reader,
            signing=signing,
            verify=verify_signature,
            watch=sizes,
            each=gathered.take,
            ahead=True,
        )
        with reader.snapshot():
            facts = gathered.facts(reader)
    bad = found.report.first_bad
    problem = found.unreadable or found.schema or found.outside or found.values or found.head
    if bad is not None:
        problem = f"record {bad}: {found.report.detail}"
    elif not found.kept:
        problem = "the hashes of pruned records are wrong"
    elif not found.whole or found.caches:
        problem = problem or "the stored tables differ from the records"
    if problem:
        raise RetentionError(
            f"the ledger is not intact, so nothing is deleted: {problem}",
            code="retention.not_whole",
            hint="guardrail verify",
        )
    return DeletionEvidence(facts, found.roots)


def vouched(evidence: DeletionEvidence, kept: ExternalHeads, before: int) -> Checkpoint:
    """Return the largest anchored head, if it covers record *before* - 1 and all heads belong to
    this ledger.

    Raises ``RetentionError``: ``retention.conflict``, ``retention.not_anchored``.
    """
    for each in (*kept.heads, *kept.named):
        if each.size > evidence.facts.size or (
            each.size > 0 and evidence.roots.get(each.size) != each.root
        ):
            raise conflict()
    largest = max(kept.heads, key=lambda each: each.size, default=None)
    if largest is None or largest.size < before:
        raise not_anchored(kept, before)
    return largest


def not_anchored(kept: ExternalHeads, before: int) -> RetentionError:
    """Return the error for records that no anchored head covers. The error includes the reasons for
    rejecting the user's heads.
    """
    return RetentionError(
        f"no anchor vouches for a head that covers records up to {before - 1}: "
        "after pruning, no one could prove which records existed"
        + (f". The given head does not count: {kept.doubts[0]}" if kept.doubts else ""),
        code="retention.not_anchored",
        hint="set a file or a witness in [anchors], then run guardrail anchor"
        + (
            ", which sends the newest head; a head counts once a witness in [anchors] has cosigned "
            "it, or the file in [anchors] holds it"
            if kept.doubts
            else ", which sends the newest head"
        ),
    )


def conflict() -> RetentionError:
    """Return the error for a ledger that contradicts an external head."""
    return RetentionError(
        "the ledger contradicts an external head: nothing is deleted",
        code="retention.conflict",
        hint="guardrail verify",
    )


def copies_of(
    evidence: DeletionEvidence, segment: Segment, folder: Path, archive: Path | None
) -> list[tuple[Path, Manifest]]:
    """Return every required copy of *segment*. Each copy is read completely and compared with the
    record that seals the segment.

    Raises ``RetentionError``: ``retention.not_sealed``, ``retention.not_archived``,
    ``retention.copy_wrong``.
    """
    facts = evidence.facts
    if not evidence.has(segment.last + 1, segment.root):
        raise segments.wrong_copy(f"the seal of segment {segment.number}")
    found: list[tuple[Path, Manifest]] = []
    in_folder = segments.read_manifest(folder, facts.genesis, segment.number)
    if in_folder is not None:
        segments.verify(folder, in_folder, closed=segment, log=facts.log)
        found.append((folder, in_folder))
    if archive is not None:
        found.append((archive, _archived_manifest(facts, segment, archive)))
    # Once pruning has begun, a missing copy can't be re-created, so one copy must be enough.
    if in_folder is None and (not found or facts.first <= max(segment.first, 1)):
        raise RetentionError(
            f"segment {segment.number} has no copy next to the ledger",
            code="retention.not_sealed",
            hint=(
                "run guardrail seal; if some of the segment's records are gone, restore the copy"
            ),
        )
    if len(found) > 1:
        segments.refuse_one_file(found[0][0], found[1][0], found[0][1].file)
    return found


def _archived_manifest(facts: RetentionFacts, segment: Segment, archive: Path) -> Manifest:
    there = segments.read_manifest(archive, facts.genesis, segment.number)
    digests = {each.file: each.digest for each in facts.archived if each.segment == segment.number}
    if there is None or there.file not in digests:
        raise RetentionError(
            f"segment {segment.number} is not in the archive",
            code="retention.not_archived",
            hint="guardrail archive",
        )
    if there.digest != digests[there.file]:
        raise segments.wrong_copy(there.file)
    segments.verify(archive, there, closed=segment, log=facts.log)
    return there

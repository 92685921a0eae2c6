"""Acts on old records: closes segments, and archives, prunes and holds records.

Each action is recorded, and only one process acts at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from guardrail.config import Settings
from guardrail.core.log import fields
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.core.log.merkle import consistency_proof, verify_consistency
from guardrail.core.log.record import Draft
from guardrail.core.times import record_time
from guardrail.core.types import Receipt
from guardrail.core.words import agree, counted
from guardrail.errors import RetentionError, os_reason
from guardrail.identity.actor import current_actor
from guardrail.ledger.files import resolve
from guardrail.ledger.heads import Signing
from guardrail.ledger.lease import own_origin
from guardrail.ledger.lock import FileLock
from guardrail.ledger.maintenance.prune import DeletionPace, PruneCut, PruneResult, detail, prune
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.database import open_error
from guardrail.retention import segments
from guardrail.retention.closing import node_of, tree_to_close, write_copy
from guardrail.retention.deletion_evidence import conflict, copies_of, not_anchored, survey, vouched
from guardrail.retention.external_heads import external_heads
from guardrail.retention.facts import RetentionFacts, Segment, moment, read_facts
from guardrail.retention.kept_sources import copy_sources, delete_copied, delete_unnamed
from guardrail.retention.kept_suspensions import move_facts
from guardrail.retention.segments import Manifest
from guardrail.retention.status import RetentionStatus, judge

__all__ = ["ArchivedSegment", "ClosedSegment", "RetentionManager", "retention_lock"]

_DAY = timedelta(days=1)


def retention_lock(db: Path) -> FileLock:
    """Return the lock that a process must hold to act on the records of *db*."""
    return FileLock(db.with_name(db.name + "-retention-lock"), db)


@dataclass(frozen=True, slots=True)
class ClosedSegment:
    """The segment that was closed, and the copies that were made."""

    segment: Segment | None
    """The new segment, or None if there were no new records or no new segment was requested."""
    copied: tuple[Manifest, ...]
    """The copies that were made of the new segment and of other segments without a copy."""


@dataclass(frozen=True, slots=True)
class ArchivedSegment:
    """The copy of one segment in the archive."""

    segment: int
    file: str
    digest: str


class RetentionManager:
    """Closes segments, and archives, prunes and expires the records of one ledger. Use each manager
    in one thread. Only one process at a time can act on a ledger.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        signing: Signing,
        record: Callable[[str, Mapping[str, Any]], Receipt],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pace: DeletionPace = DeletionPace(),  # noqa: B008 - frozen
        delete: Callable[[Callable[[], PruneResult]], PruneResult] = lambda work: work(),
    ) -> None:
        """Manage the ledger in *settings*. *record* writes an ``admin.*`` record with the given
        type and detail, and returns once the record is durable.

        *pace* limits how fast records are deleted. *delete* calls the function that deletes them,
        and returns the function's result.
        """
        self._pace = pace
        self._delete = delete
        self._settings = settings
        self._policy = settings.retention
        self._db = resolve(settings.ledger.path)
        self._folder = segments.segments_path(settings)
        self._signing = signing
        self._record = record
        self._clock = clock

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold this ledger's retention lock inside the block.

        Raises ``RetentionError`` if another process holds it.
        """
        lock = retention_lock(self._db)
        try:
            try:
                free = lock.try_acquire()
            except OSError as error:
                raise open_error(error, self._db) from error
            if not free:
                raise RetentionError(
                    "another process is closing, archiving or pruning records of this ledger",
                    code="retention.busy",
                    hint="try again after it has finished",
                )
            yield
        finally:
            lock.close()

    def facts(self) -> RetentionFacts:
        """Return the ledger's retention facts. Raises ``LedgerError``."""
        with LedgerReader.open(self._db) as reader, reader.snapshot():
            return read_facts(reader)

    def status(self) -> RetentionStatus:
        """Return the retention status, including the work that is due. Raises ``LedgerError``."""
        return judge(self.facts(), self._policy, self._clock())

    # -- closing segments --------------------------------------------------------------------------

    def is_segment_due(self) -> bool:
        """Return True if the next segment is due, by age or size."""
        facts = self.facts()
        if judge(facts, self._policy, self._clock()).segment_due:
            return True
        with LedgerReader.open(self._db) as reader:
            return reader.storage.bytes_from(facts.first_open) >= self._policy.segment_mb << 20

    def close_segment(self, *, why: str | None, fresh: bool = True) -> ClosedSegment:
        """Make the missing copies of segments. If *fresh* is True, first close a segment with all
        records that are not yet in one.

        Each copy is verified and durable when this returns. *why* is a person's reason. Raises
        ``RetentionError``, ``LedgerError``.
        """
        facts = self.facts()
        segment = self._record_segment(facts, why) if fresh else None
        if segment is not None:
            facts = self.facts()
        copied = []
        for each in facts.segments:
            if facts.first > max(each.first, 1):
                continue  # the pruning of this segment has begun, so its copy was made earlier
            if segments.read_manifest(self._folder, facts.genesis, each.number) is None:
                copy_sources(self._db, self._folder)
                copied.append(write_copy(self._db, self._folder, facts, each))
        return ClosedSegment(segment, tuple(copied))

    def _record_segment(self, facts: RetentionFacts, why: str | None) -> Segment | None:
        first, last = facts.first_open, facts.size - 1
        number = facts.last_number + 1
        # A segment that would contain only the record that closed the previous one is not worth
        # closing.
        if last < first or (first == last and facts.last_number and first > 0):
            return None
        with LedgerReader.open(self._db) as reader:
            edge, leaf = tree_to_close(reader, first, self._signing)
        last = edge.size - 1
        found = {
            "segment": number,
            "first": first,
            "last": last,
            "root": edge.root().hex(),
            "leaf": leaf.hex(),
            "count": last + 1 - first,
            "reason": why,
        }
        receipt = self._record("sealed", found)
        return Segment(number, first, last, edge.root().hex(), leaf.hex(), receipt.ts)

    # -- the archive -------------------------------------------------------------------------------

    def archive(self, *, why: str | None) -> list[ArchivedSegment]:
        """Archive every segment that has no copy in the archive. Each copy is verified, durable and
        recorded.
        """
        target = self._archive_folder()
        if target is None:
            raise RetentionError(
                "no archive is configured",
                code="retention.no_archive",
                hint="set archive in [retention] of guardrail.toml to a folder on another disk",
            )
        facts = self.facts()
        known = {each.segment for each in facts.archived}
        put = []
        for each in facts.segments:
            manifest = segments.read_manifest(self._folder, facts.genesis, each.number)
            there = segments.read_manifest(target, facts.genesis, each.number)
            if manifest is None or (there == manifest and each.number in known):
                continue
            if there != manifest:
                segments.verify(self._folder, manifest, closed=each, log=facts.log)
                copy_sources(self._db, target, self._folder)
                segments.copy_to(self._folder, target, manifest, self._db)
            segments.refuse_one_file(self._folder, target, manifest.file)
            segments.verify(target, manifest, closed=each, log=facts.log)
            done = ArchivedSegment(each.number, manifest.file, manifest.digest)
            self._record(
                "archived",
                {"segment": done.segment, "file": done.file, "digest": done.digest, "reason": why},
            )
            put.append(done)
        return put

    def _archive_folder(self) -> Path | None:
        """Return the archive's folder, or None. Raises ``RetentionError`` if it is also the
        segments' folder, because there would then be only one copy.
        """
        target = self._policy.archive
        if target is not None and segments.same_folder(target, self._folder):
            raise RetentionError(
                "the archive is the folder of the segments, so there would be no second copy",
                code="retention.one_copy",
                hint="set archive in [retention] of guardrail.toml to a folder on another disk",
            )
        return target

    def expired(self) -> list[tuple[Path, Manifest]]:
        """Return the copies past their retention period: copies next to the ledger if their
        segments were pruned, and copies in the archive if they are old enough.
        """
        facts = self.facts()
        if facts.holds or not self._may_delete():
            return []
        found = [
            (self._folder, each)
            for each in segments.copies(self._folder, facts.genesis)
            if each.last < facts.first > 1 and self._is_older(each, self._policy.days)
        ]
        target = self._archive_folder()
        days = self._policy.archive_days or self._policy.days
        if target is not None:
            found += [
                (target, each)
                for each in segments.copies(target, facts.genesis)
                if each.last < facts.first and facts.first > 1 and self._is_older(each, days)
            ]
        return found

    def expire(self, *, why: str | None) -> list[tuple[Path, Manifest]]:
        """Record the deletion of the copies that ``expired`` returns, delete them, and return them.

        Raises ``RetentionError``.

        Each copy is first checked against the hashes still in the log, so that the age of a
        different file is never used.
        """
        gone = self.expired()
        if gone:
            evidence = survey(self._db, self._signing, {each.last + 1 for _, each in gone})
            self._refuse_held(evidence.facts)
        for folder, each in gone:
            if not evidence.has(each.last + 1, each.root):
                raise segments.wrong_copy(each.file)
            segments.verify(folder, each)
        if gone:
            self._record(
                "expired",
                {
                    "files": [
                        {"segment": each.segment, "file": each.file, "digest": each.digest}
                        for _, each in gone
                    ],
                    "policy": self._settings_in_force(),
                    "reason": why,
                },
            )
        for folder, each in gone:
            try:
                segments.remove(folder, segments.name_of(each.genesis, each.segment))
            except OSError as error:
                raise RetentionError(
                    f"a copy can't be deleted ({os_reason(error)})",
                    code="retention.copy_unreadable",
                    hint="guardrail retention run",
                ) from None
        delete_copied({folder for folder, _ in gone})
        return gone

    # -- pruning -----------------------------------------------------------------------------------

    def prunable(self) -> int:
        """Return the number of the first record that pruning would keep.

        The result is at most 1 if nothing is due.

        Pruning stops before open calls, requests that can still be approved, and certificates of
        keys that are still in use.
        """
        facts = self.facts()
        due = judge(facts, self._policy, self._clock()).due_before
        return (
            max(facts.first, min(due, self._first_needed(due)))
            if due > facts.first
            else facts.first
        )

    def prune(self, *, why: str | None, given: Sequence[SignedNote] = ()) -> PruneResult:
        """Delete records past their retention period, including their text in the files, and the
        kept sources of policies that no record refers to any longer. Existing proofs remain valid.
        """
        facts, who = self.facts(), current_actor()
        self._refuse_settings()
        self._refuse_held(facts)
        before, head = self.prunable(), None
        if before > facts.first:
            head = self._vouching_head(facts, before, given)
            move_facts(self._db, before, self._signing, self._record, self._clock)

        def record(log: str, cut: PruneCut) -> Draft:
            found = {**detail(cut, self._settings_in_force()), "reason": why}
            where = own_origin("retention")
            return Draft.build(fields.admin(log, "pruned", actor=who, where=where, detail=found))

        done = self._delete(
            lambda: prune(
                self._db,
                before,
                signing=self._signing,
                allow=lambda cut: self._check_cut(cut, head),
                record=record,
                pace=self._pace,
            )
        )
        delete_unnamed(self._db)
        return done

    def _vouching_head(
        self, facts: RetentionFacts, before: int, given: Sequence[SignedNote]
    ) -> Checkpoint:
        """Return an external head that covers the records to delete. Raises ``RetentionError``
        unless all of these records are in closed segments, copied and no longer needed.

        All evidence is read from the lines, which are covered by external heads.
        """
        kept = external_heads(self._settings, facts.log, self._signing.public, given)
        if not kept.heads and not kept.named:
            raise not_anchored(kept, before)
        sizes = {each.size for each in (*kept.heads, *kept.named)}
        sizes |= {each.last + 1 for each in facts.segments}
        evidence = survey(self._db, self._signing, sizes)
        self._refuse_held(evidence.facts)
        due = judge(evidence.facts, self._policy, self._clock()).due_before
        if due < before or evidence.facts.segments[: len(facts.segments)] != facts.segments:
            raise RetentionError(
                "an index of the ledger does not match the retention records in its lines",
                code="retention.not_whole",
                hint="guardrail verify",
            )
        archive = self._archive_folder()
        for each in evidence.facts.segments:
            if each.first < before:
                copies_of(evidence, each, self._folder, archive)
        return vouched(evidence, kept, before)

    def _refuse_held(self, facts: RetentionFacts) -> None:
        if facts.holds:
            raise RetentionError(
                f"{counted(len(facts.holds), 'legal hold')} {agree(len(facts.holds), 'is')} in "
                "force: nothing is deleted",
                code="retention.held",
                hint="guardrail hold list",
            )

    def _settings_in_force(self) -> dict[str, int]:
        return {"retention_days": self._policy.days, "floor_days": self._policy.floor_days}

    def _may_delete(self) -> bool:
        return self._policy.days > 0 and self._policy.days >= self._policy.floor_days

    def _is_older(self, manifest: Manifest, days: int) -> bool:
        newest = moment(manifest.newest)
        least = max(days, self._policy.floor_days) * _DAY
        return newest is not None and self._clock() - newest > least

    def _refuse_settings(self) -> None:
        if not self._policy.days:
            raise RetentionError(
                "records are kept forever: [retention] days is 0",
                code="retention.for_ever",
                hint="set [retention] days",
            )
        if not self._may_delete():
            raise RetentionError(
                f"[retention] days is {self._policy.days}, below floor_days"
                f" ({self._policy.floor_days})",
                code="retention.below_floor",
                hint="raise [retention] days to floor_days or more",
            )

    def _first_needed(self, before: int) -> int:
        """Return the first record below *before* that is still needed, or *before*."""
        since = self._clock() - timedelta(seconds=self._settings.approvals.request_ttl_s)
        with LedgerReader.open(self._db) as reader:
            first = reader.storage.first_needed(record_time(since))
        return before if first is None else min(before, max(first, 1))

    def _check_cut(self, cut: PruneCut, head: Checkpoint | None) -> None:
        """Raise ``RetentionError`` unless the records below *cut* are old enough and an external
        head covers exactly these records.
        """
        newest = moment(cut.newest)
        least = max(self._policy.days, self._policy.floor_days)
        if newest is None or self._clock() - newest < least * _DAY:
            raise RetentionError(
                f"one of the records is younger than {counted(least, 'day')}: the clock went "
                "backwards",
                code="retention.too_young",
                hint="guardrail retention status",
            )
        self._refuse_held(self.facts())
        if head is None:
            raise conflict()
        with LedgerReader.open(self._db) as reader, reader.snapshot():
            path = consistency_proof(cut.before, head.size, node_of(reader))
        if not verify_consistency(cut.before, cut.root, head.size, head.root, path):
            raise conflict()

    # -- holds -------------------------------------------------------------------------------------

    def hold(self, name: str, *, add: bool, why: str) -> None:
        """Record that the legal hold *name* begins or ends.

        While a hold is active, nothing is deleted. Raises ``RetentionError``.
        """
        stands = name in {each.id for each in self.facts().holds}
        if stands is add:
            raise RetentionError(
                "a hold with this name is already active" if add else "no such hold is active",
                code="retention.exists" if add else "retention.hold",
                hint="guardrail hold list",
            )
        action = "add" if add else "release"
        self._record("hold", {"hold": name, "action": action, "reason": why})

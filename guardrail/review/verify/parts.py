"""Reads a large ledger with several processes: whole subtrees are verified separately and combined
in order.

If any part has a fault, one process rereads the entire ledger from the beginning to find the first
bad record.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from guardrail.core.log.audit import Audit
from guardrail.core.log.chain import Head
from guardrail.core.log.key_epochs import TYPE
from guardrail.core.log.record import decode
from guardrail.core.log.recovered import Recovered
from guardrail.errors import LedgerError
from guardrail.keys.log_key import verify_signature
from guardrail.ledger.locators import LocatedCounts, LocatorWalk
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.tiles import TileWalk
from guardrail.review.verify.report import Progress
from guardrail.review.verify.stream import Tables, stream
from guardrail.review.verify.uses import Uses

__all__ = ["PART_LEVEL", "LogPart", "main", "read_part", "stream_in_parts"]

PART_LEVEL = 16
"""Level of the perfect subtree that makes up one part: 65,536 records. It is a multiple of the
level of a tile.
"""
_TILE_LEVEL = 8
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from guardrail.review.verify.parts import main; main()"
)


@dataclass(frozen=True, slots=True)
class LogPart:
    """Result of reading one part."""

    root: str
    leaf: str
    """Leaf hash of the last record."""
    first_ts: str
    last_ts: str
    backwards: int
    first_backwards: int | None
    opened: dict[str, tuple[int, Any]]
    """The number of the decision and the owner of each call that is open at the end of the part, by
    call id.
    """
    unmatched: list[tuple[str, int]]
    rotations: list[tuple[int, str]]
    """Number and line of each key rotation."""
    steps: list[tuple[int, str]]
    """Number and line of each record about an approval, and of each start."""
    sessions: list[tuple[str, list[str], int]]
    """Key (hex), owner and first record of each session."""
    within: list[tuple[int, list[str]]]
    """Number of records and roots of their tree, for the requested sizes."""
    recovered: list[dict[str, Any]]
    """The fields of the ``core.log.recovered.Recovered`` of each recovery."""
    located: dict[str, int]
    """The fields of the ``ledger.locators.LocatedCounts`` of the part."""


def read_part(
    db: Path, log: str, public: str, start: int, level: int, *, watch: Sequence[int] = ()
) -> LogPart | None:
    """Verify the perfect subtree of *level* that starts with record *start*. Return None if it has
    any fault.

    *watch* lists the numbers of records in the subtree for which the tree is needed. Raises
    ``LedgerError``.
    """
    stop = start + (1 << level)
    with LedgerReader.open(db) as reader:
        leaf = reader.storage.leaf(start - 1) if start else None
        if start and leaf is None:
            return None
        after = Head(log, start, leaf) if leaf is not None else None
        audit = Audit(verify_signature, after=after, watch=watch, trees=True)
        if start:
            audit.begin(log, public)
            # Certificates are checked when the parts are combined, because earlier records
            # determine what a key may sign.
            audit.keys = None
        tables = Tables(typed=start, uses=None, locators=LocatorWalk(reader.storage))
        rotations = [
            # A line that is not UTF-8 is reported as a fault below.
            (seq, line.decode("utf-8", "replace"))
            for seq, line in reader.storage.admin(TYPE, start=start, stop=stop)
        ]
        # Tiles of higher levels are compared when the parts are combined.
        tiles = TileWalk(reader.storage, levels=level // _TILE_LEVEL)
        stream(reader, audit, tiles, start=start, stop=stop, tables=tables, total=0)
        report = audit.chain.report()
        if (
            tables.missed is not None
            or tables.typed != stop
            or report.first_bad is not None
            or audit.edge.size != stop - start
        ):
            return None
        first, last = (decode(reader.record(seq) or b"{}") for seq in (start, stop - 1))
    return LogPart(
        root=audit.edge.root().hex(),
        leaf=report.leaf.hex(),
        first_ts=str(first.get("ts")),
        last_ts=str(last.get("ts")),
        backwards=report.backwards,
        first_backwards=report.first_backwards,
        opened={call: (seq, tables.owners.get(call)) for call, seq in report.open_calls.items()},
        unmatched=audit.chain.unmatched,
        rotations=rotations,
        steps=tables.steps,
        sessions=[(key.hex(), list(owner), seq) for key, owner, seq in tables.sessions],
        within=[
            (count, [root.hex() for root in tree]) for count, tree in (audit.trees or {}).items()
        ],
        recovered=[asdict(each) for each in audit.recovered],
        located=asdict(tables.locators.counts) if tables.locators is not None else {},
    )


class _Worker:
    """A process that reads parts, and returns one line of JSON for each part."""

    def __init__(self) -> None:
        """Start the process. Raises ``OSError``."""
        # Neither the environment nor the current folder, which may contain anything, influences the
        # imports.
        root = str(Path(__file__).parents[3])
        paths = [root, *(each for each in sys.path if os.path.isabs(each))]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *part: object) -> dict[str, Any] | None:
        """Make the process call ``read_part``, and return the result. Return None if the process
        has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(part), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
            found = json.loads(answer) if answer else None
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Read the requested parts until there are no more requests."""
    for request in sys.stdin:
        db, log, public, start, level, watch = json.loads(request)
        try:
            part = read_part(Path(db), log, public, start, level, watch=watch)
        except LedgerError:
            part = None
        answer = None
        if part is not None:
            answer = {name: getattr(part, name) for name in LogPart.__dataclass_fields__}
        print(json.dumps(answer), flush=True)


def stream_in_parts(
    reader: LedgerReader,
    audit: Audit,
    tiles: TileWalk,
    tables: Tables,
    *,
    jobs: int,
    total: int,
    progress: Progress | None,
    alongside: Callable[[], None],
) -> int:
    """Read all complete parts of the ledger with *jobs* processes into *audit*, *tiles* and
    *tables*. Return the number of the first record that was not read.

    The number is 0 if the ledger is small or a fault was found. If there is more than one part,
    *alongside* runs in a thread as one of the jobs, and has ended when this returns. Raises
    ``LedgerError``.
    """
    level = PART_LEVEL
    count = total >> level
    genesis = reader.record(0)
    if count < 2 or genesis is None:
        return 0
    opening = Audit(verify_signature)
    if opening.take(0, None, genesis) is None:
        return 0
    log, public = opening.chain.report().log, opening.public
    audit.begin(log, public)
    requests = [
        (
            str(reader.path),
            log,
            public,
            start,
            level,
            [size - start for size in audit.watched(start, start + (1 << level) - 1)],
        )
        for start in range(0, count << level, 1 << level)
    ]
    try:
        workers = _start_workers(min(jobs, count))
    except OSError:
        audit.restart()  # this process reads everything
        return 0
    for answer in _answers(requests, workers, alongside):
        if answer is None or not _join(audit, tiles, tables, answer, log=log, level=level):
            audit.restart()
            tiles.restart()
            tables.owners.clear()
            tables.uses = Uses()
            tables.locators = LocatorWalk(reader.storage)
            return 0
        if progress is not None:
            progress(audit.edge.size, total)
    tables.typed = count << level
    return count << level


def _start_workers(count: int) -> list[_Worker]:
    """Start *count* processes. Raises ``OSError`` if one can't be started; none is then left."""
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker() for _ in range(count))
    except OSError:
        for worker in workers:
            worker.close()
        raise
    return workers


def _answers(
    requests: Sequence[tuple[object, ...]],
    workers: Sequence[_Worker],
    alongside: Callable[[], None],
) -> Iterator[dict[str, Any] | None]:
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def read(request: tuple[object, ...]) -> dict[str, Any] | None:
        worker = idle.get()
        try:
            return worker.ask(*request)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers))
    try:
        pool.submit(alongside)
        yield from pool.map(read, requests)
    finally:
        for worker in workers:
            worker.close()
        pool.shutdown(cancel_futures=True)


def _join(
    audit: Audit, tiles: TileWalk, tables: Tables, part: dict[str, Any], *, log: str, level: int
) -> bool:
    """Append a part to the result so far. Return False if the part does not fit."""
    for call, named in part["unmatched"]:
        if not audit.chain.close_call(call, named):
            return False
        tables.owners.pop(call, None)
    for call, (seq, process) in part["opened"].items():
        if not audit.chain.open_call(call, seq):
            return False
        if process is not None:
            tables.owners[call] = tuple(process)
    assert tables.uses is not None
    for _, line in part["steps"]:
        raw = line.encode("utf-8")
        if tables.uses.fault(decode(raw), raw, sessions=False) is not None:
            return False
    sessions = tables.uses.sessions
    if any(sessions.join(bytes.fromhex(key), tuple(of), seq) for key, of, seq in part["sessions"]):
        return False
    assert audit.keys is not None
    for seq, line in part["rotations"]:
        if audit.keys.take(seq, decode(line.encode("utf-8"))):
            return False
    within = {count: [bytes.fromhex(each) for each in roots] for count, roots in part["within"]}
    made = audit.join(bytes.fromhex(part["root"]), level, within)
    if tiles.take(audit.edge.size, made, level):
        return False
    audit.recovered += [Recovered(**each) for each in part["recovered"]]
    assert tables.locators is not None
    tables.locators.counts.add(LocatedCounts(**part["located"]))
    audit.chain.advance(
        audit.edge.size,
        bytes.fromhex(part["leaf"]),
        log=log,
        first_ts=part["first_ts"],
        last_ts=part["last_ts"],
        backwards=part["backwards"],
        first_backwards=part["first_backwards"],
    )
    return True

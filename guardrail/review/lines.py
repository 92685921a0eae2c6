"""Reads records from a file: an export, or the copy of a segment, plain or gzip. Reading is strict
and bounded, but does not verify the records.

Anyone who had the file may have changed it; ``guardrail.review.verify`` detects that. All lines
must be records of the same log, with consecutive numbers, so the output never mixes two logs and
never skips a record.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from guardrail.core.log.record import MAX_LINE, decode, leaf_hash, parse
from guardrail.errors import GuardrailError, RecordError
from guardrail.system.disk import is_full, make_room, no_room
from guardrail.system.input_files import open_input
from guardrail.system.ownership import explain_error

__all__ = ["MAX_BYTES", "MAX_RECORDS", "FileRecords", "SourceError", "open_lines"]

MAX_BYTES = 4 << 30
"""Maximum size of a file whose records can be shown. ``verify`` accepts larger files."""
MAX_RECORDS = 2_000_000
_GZIP = b"\x1f\x8b"
_CALLS = frozenset({"call.decision", "call.outcome", "call.claim", "call.rejected"})
_BEGINS = frozenset({"call.decision", "call.rejected"})


class SourceError(GuardrailError):
    """A file that the user specified instead of the ledger is unreadable or invalid."""

    default_code = "review.source"


@contextmanager
def open_lines(path: Path) -> Iterator[BinaryIO]:
    """Open the regular file at *path*, and decompress it if it is gzip. Raises ``OSError``.

    Reading from it can also raise ``EOFError`` and ``zlib.error`` if the file is truncated or
    damaged.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(open_input(path))
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if packed:
            yield cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=raw)))
        else:
            yield raw


class FileRecords:
    """The records of one file. Use it as a context manager. It implements
    ``guardrail.review.records.RecordReader``.
    """

    def __init__(
        self, path: Path, source: BinaryIO, unpacked: BinaryIO | None, *, part: bool
    ) -> None:
        """Use ``open`` instead."""
        self._path = path
        self._part = part
        self._file = source if unpacked is None else unpacked
        self._unpacked = unpacked
        self._log = ""
        self._zero = False
        self._first = 1
        self._next = 0
        self._ends = array("Q")
        self._calls: dict[str, tuple[int, ...]] = {}
        self._sessions: dict[str, array[int]] = {}
        self._steps: dict[str, tuple[tuple[int, int], ...]] = {}
        self._admin: dict[str, array[int]] = {}
        self._names: dict[str, list[str]] = {}

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, part: bool = False) -> Iterator[Self]:
        """Read the file at *path*, from record 0 on or, with *part*, from any record on.

        Raises ``SourceError`` if it can't be read, is torn or too large, or contains something
        other than one log's records.
        """
        with ExitStack() as stack:
            with _read_errors(path):
                source = stack.enter_context(open_lines(path))
                unpacked = None
                if isinstance(source, gzip.GzipFile):
                    # The file has no name, so no other process can find it, and it disappears when
                    # this process ends.
                    unpacked = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
                records = cls(path, source, unpacked, part=part)
                records._read(source)
            # Later failures may come from the caller's output, so they are not reported as faults
            # of this file.
            yield records

    # -- reading it once ---------------------------------------------------------------------------

    def _read(self, source: BinaryIO) -> None:
        end = 0
        while line := source.readline(MAX_LINE + 2):
            count = len(self._ends)
            if not line.endswith(b"\n"):
                raise self._line_error(count, "is incomplete or too long: the file is torn")
            end += len(line)
            if end > MAX_BYTES or count >= MAX_RECORDS:
                raise SourceError(
                    f"{self._path}: the file contains more than {MAX_BYTES >> 30} GiB, or more than"
                    f" {MAX_RECORDS:,} records",
                    code="review.source_size",
                    hint=(
                        "guardrail verify --export FILE has no such limit; to view records, "
                        "split the file and read each part with --segment"
                    ),
                )
            try:
                record = parse(line[:-1])
            except RecordError:
                raise self._line_error(count, "is not a record") from None
            self._add_record(count, record)
            if self._unpacked is not None:
                self._unpacked.write(line)
            self._ends.append(end)
        if not self._ends:
            raise SourceError(f"{self._path}: the file is empty", hint=_ANOTHER)

    def _add_record(self, count: int, record: dict[str, Any]) -> None:
        seq, log = record.get("seq"), record.get("log")
        if type(seq) is not int or not 0 <= seq < 1 << 62 or not isinstance(log, str):
            raise self._line_error(count, "does not contain its record number and log")
        if count == 0:
            self._set_first_record(seq, log)
        elif log != self._log:
            raise self._line_error(count, "belongs to a different log from that of the first line")
        elif count == 1 and self._zero:
            if seq < 1:
                raise self._line_error(count, f"repeats record {seq}")
            self._first = seq  # records after line 0 may have been pruned
        elif seq != self._next:
            raise self._line_error(count, f"is record {seq}, but record {self._next} comes next")
        self._next = seq + 1
        self._index_record(seq, record)

    def _set_first_record(self, seq: int, log: str) -> None:
        self._log, self._zero = log, seq == 0
        if seq == 0:
            return
        self._first = seq
        if not self._part:
            raise SourceError(
                f"{self._path}: an export begins with record 0, but this file begins with record "
                f"{seq}",
                hint="to read the copy of a segment, use --segment FILE",
            )

    def _index_record(self, seq: int, record: dict[str, Any]) -> None:
        kind, call = record.get("type"), record.get("call")
        if not isinstance(kind, str):
            return
        if kind.startswith("admin."):
            self._admin.setdefault(kind, array("Q")).append(seq)
            return
        if kind in _CALLS and isinstance(call, str):
            self._calls[call] = (*self._calls.get(call, ()), seq)
        session = record.get("session")
        if kind in _BEGINS and isinstance(session, str):
            self._sessions.setdefault(session, array("Q")).append(seq)
        step = record.get("approval")
        if isinstance(step, dict) and isinstance(step.get("id"), str):
            ordinal = step.get("ordinal")
            if type(ordinal) is int:
                self._steps[step["id"]] = (*self._steps.get(step["id"], ()), (ordinal, seq))

    def _line_error(self, count: int, what: str) -> SourceError:
        return SourceError(
            f"{self._path}: line {count + 1} {what}",
            code="review.source_line",
            hint=(
                "guardrail verify --export FILE, or --segment FILE, shows details; get another "
                "copy of the file"
            ),
        )

    # -- its records -------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """The log's origin name, which is the same in every line."""
        return self._log

    def size(self) -> int:
        """Return the number of the last record plus one."""
        return self._next

    def first(self) -> int:
        """Return the number of the first record after line 0, or 1 if there is none."""
        return self._first

    def record(self, seq: int) -> bytes | None:
        """Return the line of *seq*, byte for byte, or None. Raises ``SourceError`` if the file has
        changed meanwhile.
        """
        if not (self._first <= seq < self._next or (seq == 0 and self._zero)):
            return None
        place = 0 if seq == 0 else seq - self._first + self._zero
        start = self._ends[place - 1] if place else 0
        with _read_errors(self._path):
            self._file.seek(start)
            line = self._file.read(self._ends[place] - start)
        if not line.endswith(b"\n") or b"\n" in line[:-1]:
            raise SourceError(
                f"{self._path}: the file was changed while it was read",
                hint="wait until no program writes to the file, then run this command again",
            )
        return line[:-1]

    def lines(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, leaf, line) from *start* up to *stop*. The leaf is computed from the line,
        because the file stores none.
        """
        end = self._next if stop is None else min(stop, self._next)
        numbers = [0] if self._zero and start <= 0 < end else []
        for group in (numbers, range(max(start, self._first), end)):
            for seq in group:
                line = self.record(seq)
                if line is not None:
                    yield seq, leaf_hash(line), line

    def by_call(self, call: str) -> Iterator[bytes]:
        """Yield every line about *call*, oldest first."""
        return self._lines_of(self._calls.get(call, ()))

    def calls(self, session: str) -> Iterator[bytes]:
        """Yield the line of each decision and rejection of *session*, oldest first."""
        return self._lines_of(self._sessions.get(session, ()))

    def find_calls(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* ids of calls that begin with *prefix*, sorted."""
        return self._find_prefix("call", self._calls, prefix, limit)

    def find_sessions(self, prefix: str, limit: int = 20) -> list[str]:
        """Return at most *limit* ids of sessions that begin with *prefix*, sorted."""
        return self._find_prefix("session", self._sessions, prefix, limit)

    def admin(self, type_: str) -> list[tuple[int, bytes]]:
        """Return (seq, line) of each record of the ``admin.*`` type *type_*, oldest first."""
        found = ((seq, self.record(seq)) for seq in self._admin.get(type_, ()))
        return [(seq, line) for seq, line in found if line is not None]

    def approval(self, approval: str) -> list[bytes]:
        """Return the decision on the call with id *approval*, followed by all of the approval's
        steps in the file, in order.
        """
        decisions = (
            line for line in self.by_call(approval) if decode(line).get("type") == "call.decision"
        )
        request = next(decisions, None)
        steps = self._lines_of([seq for _, seq in sorted(self._steps.get(approval, ()))])
        return [*([request] if request is not None else []), *steps]

    def _find_prefix(self, kind: str, ids: Any, prefix: str, limit: int) -> list[str]:
        names = self._names.get(kind)
        if names is None:
            names = self._names[kind] = sorted(ids)
        found: list[str] = []
        for name in names[bisect_left(names, prefix) :][:limit]:
            if not name.startswith(prefix):
                break
            found.append(name)
        return found

    def _lines_of(self, numbers: Any) -> Iterator[bytes]:
        found = (self.record(seq) for seq in numbers)
        return (line for line in found if line is not None)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Convert errors from reading or decompressing the file at *path* to ``SourceError``."""
    try:
        yield
    except OSError as error:
        unpacking = Path(tempfile.gettempdir()) / path.name
        if is_full(error, unpacking):
            raise SourceError(
                f"{path}: it can't be decompressed: {no_room(unpacking)}",
                hint=f"{make_room(unpacking)}; or set TMPDIR to a folder on another disk",
            ) from None
        why, way = _reason(error, path)
        raise SourceError(f"{path}: the file can't be read ({why})", hint=way) from None
    except (EOFError, zlib.error):
        raise SourceError(
            f"{path}: the file is truncated or damaged: it can't be decompressed completely",
            hint=_ANOTHER,
        ) from None


_ANOTHER = "get another copy of the file"


def _reason(error: OSError, path: Path) -> tuple[str, str]:
    if isinstance(error, gzip.BadGzipFile):
        return "it is not a gzip file", _ANOTHER
    why, way = explain_error(error, path)
    return why, way or "specify an export, or the copy of a segment"

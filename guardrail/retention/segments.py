"""Writes and verifies copies of segments: immutable files that contain the lines byte for byte.

A copy is two files: ``NAME.jsonl.gz``, with the content that ``guardrail export`` writes for these
records, and ``NAME.json``, the manifest, which is written last. A copy without a manifest is
incomplete, and is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from guardrail.config import Settings
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import MAX_LINE, leaf_hash, parse
from guardrail.errors import RecordError, RetentionError, os_reason
from guardrail.retention.facts import Segment
from guardrail.system.disk import is_full, make_room, no_room
from guardrail.system.durable import sync_directory
from guardrail.system.input_files import read_input
from guardrail.system.ownership import new_file, new_folder

__all__ = [
    "Manifest",
    "copies",
    "copy_to",
    "name_of",
    "read_manifest",
    "refuse_one_file",
    "remove",
    "same_folder",
    "segments_path",
    "verify",
    "write",
    "wrong_copy",
]

_LINES = ".jsonl.gz"
_MANIFEST = ".json"
_MAX_MANIFEST = 1 << 16


def segments_path(settings: Settings) -> Path:
    """Return the folder of the segments' copies: from the settings, or next to the ledger
    (``ledger.db`` -> ``ledger.db-segments``).
    """
    return settings.segments_path


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a copy, which describes its expected content."""

    log: str
    genesis: str
    """Leaf hash of line 0, hex."""
    segment: int
    first: int
    last: int
    root: str
    """Root of the tree of ``last`` + 1 records, hex."""
    leaf: str
    """Leaf hash of record ``last``, hex."""
    prev: str
    """Leaf hash of the record before ``first``, hex. Zeros for line 0."""
    edge: tuple[str, ...]
    """The tree of the first ``first`` records: roots of its perfect subtrees, the largest first,
    hex.
    """
    digest: str
    """SHA-256 of the file with the lines, hex."""
    newest: str
    """The latest timestamp in the segment."""
    v: int = 1

    @property
    def file(self) -> str:
        """Name of the file with the lines."""
        return name_of(self.genesis, self.segment) + _LINES


def name_of(genesis: str, number: int) -> str:
    """Return the name of a copy, without an extension. Copies from several logs may share a
    folder.
    """
    return f"{genesis[:16]}-{number:06d}"


def write(
    folder: Path,
    segment: Segment,
    *,
    log: str,
    genesis: str,
    before: Edge,
    lines: Iterable[bytes],
    like: Path,
) -> Manifest:
    """Write a copy of *segment* to *folder*; it is complete, verified, durable and read-only when
    this returns.

    *before* is the tree of the records before the segment. Files and folders get the owner of the
    ledger *like*. If this raises ``RetentionError``, nothing is left under that name.
    """
    name = name_of(genesis, segment.number)
    try:
        _make_folder(folder, like)
        remove(folder, name)  # left by a killed process
        temporary = folder / f".{name}.new"
        with _new_file(temporary, like) as out:
            _compress(out, lines)
        try:
            manifest = _examine(temporary, log, genesis, segment, before)
            os.chmod(temporary, 0o400)
            os.rename(temporary, folder / f"{name}{_LINES}")
        finally:
            temporary.unlink(missing_ok=True)
        _put_manifest(folder, name, manifest, like)
    except OSError as error:
        raise _disk_error(error, folder / f"{name}{_LINES}") from None
    return manifest


def copy_to(source: Path, target: Path, manifest: Manifest, like: Path) -> None:
    """Copy the copy of a segment in *source* to *target*. The new copy is verified and durable when
    this returns.

    Raises ``RetentionError``.
    """
    name = name_of(manifest.genesis, manifest.segment)
    try:
        _make_folder(target, like)
        remove(target, name)
        temporary = target / f".{name}.new"
        try:
            with _new_file(temporary, like) as out, (source / manifest.file).open("rb") as data:
                while block := data.read(1 << 20):
                    out.write(block)
            if _digest(temporary) != manifest.digest:
                raise wrong_copy(manifest.file)
            os.chmod(temporary, 0o400)
            os.rename(temporary, target / manifest.file)
        finally:
            temporary.unlink(missing_ok=True)
        _put_manifest(target, name, manifest, like)
    except OSError as error:
        raise _disk_error(error, target / manifest.file) from None


def verify(
    folder: Path, manifest: Manifest, *, closed: Segment | None = None, log: str = ""
) -> None:
    """Read the copy and check it against *manifest*, line by line. Raises ``RetentionError``.

    If *closed* is given, the copy must contain exactly the records of the segment that was closed
    in *log*, because anyone who can write to the folder can write the manifest as well.
    """
    path = folder / manifest.file
    if closed is not None and not _matches_closed(manifest, closed, log):
        raise wrong_copy(manifest.file)
    try:
        if _digest(path) != manifest.digest:
            raise wrong_copy(manifest.file)
        before = Edge(manifest.first, [bytes.fromhex(each) for each in manifest.edge])
        segment = Segment(
            manifest.segment, manifest.first, manifest.last, manifest.root, manifest.leaf, ""
        )
        found = _examine(path, manifest.log, manifest.genesis, segment, before)
    except OSError as error:
        raise _disk_error(error) from None
    except ValueError:
        raise wrong_copy(manifest.file) from None
    if found != manifest:
        raise wrong_copy(manifest.file)


def _matches_closed(manifest: Manifest, closed: Segment, log: str) -> bool:
    return (
        manifest.log == log
        and manifest.segment == closed.number
        and (manifest.first, manifest.last) == (closed.first, closed.last)
        and (manifest.root, manifest.leaf) == (closed.root, closed.leaf)
    )


def same_folder(one: Path, other: Path) -> bool:
    """Return True if two paths lead to the same folder, even if they go through links or mounts."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def refuse_one_file(one: Path, other: Path, file: str) -> None:
    """Raise ``RetentionError`` if the copies of one segment in two folders are the same file."""
    try:
        same = os.path.samefile(one / file, other / file)
    except OSError as error:
        raise _disk_error(error) from None
    if same:
        raise RetentionError(
            f"{file} in the archive is the same file as the copy next to the ledger, so there is "
            "no second copy",
            code="retention.one_copy",
            hint="remove the link in the archive, then run guardrail archive",
        )


def read_manifest(folder: Path, genesis: str, number: int) -> Manifest | None:
    """Return the manifest of the copy of segment *number* in *folder*, or None if there is no
    complete copy.
    """
    name = name_of(genesis, number)
    try:
        found = _parse(read_input(folder / f"{name}{_MANIFEST}", _MAX_MANIFEST))
        if found.genesis != genesis or found.segment != number:
            return None
        return found if (folder / found.file).is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def copies(folder: Path, genesis: str) -> list[Manifest]:
    """Return every complete copy in *folder* of a segment of the log *genesis*, in order."""
    numbers = []
    with contextlib.suppress(OSError):
        for item in folder.glob(f"{genesis[:16]}-*{_MANIFEST}"):
            with contextlib.suppress(ValueError):
                numbers.append(int(item.name[17 : -len(_MANIFEST)]))
    found = (read_manifest(folder, genesis, number) for number in sorted(numbers))
    return [each for each in found if each is not None]


def remove(folder: Path, name: str) -> None:
    """Delete a copy, its manifest first; durable when this returns. Raises ``OSError``."""
    gone = False
    for item in (f"{name}{_MANIFEST}", f"{name}{_LINES}", f".{name}.new"):
        with contextlib.suppress(FileNotFoundError):
            (folder / item).unlink()
            gone = True
    if gone:
        sync_directory(folder)


def _compress(out: BinaryIO, lines: Iterable[bytes]) -> None:
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as packed:
        for line in lines:
            packed.write(line + b"\n")


def _make_folder(folder: Path, like: Path) -> None:
    """Create *folder*, with the owner of the ledger *like*, if it is missing. When this returns,
    the names of the folder and of the copies in it are durable.
    """
    missing = [each for each in folder.parents if not each.exists()]
    new_folder(folder, like)
    for each in (folder, *missing):
        sync_directory(each.parent)


@contextlib.contextmanager
def _new_file(path: Path, like: Path) -> Iterator[BinaryIO]:
    """Open a new file that only its owner can read. The file is durable if the block ends without
    an error; otherwise, it is deleted.
    """
    descriptor = new_file(path, like)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _examine(path: Path, log: str, genesis: str, segment: Segment, before: Edge) -> Manifest:
    """Read a file of lines, and return its manifest. Raises ``RetentionError`` unless it contains
    exactly *segment*.
    """
    edge = before.copy()
    begin = [root.hex() for root in edge.roots]
    seq, prev, first_prev, newest = segment.first, "", "", ""
    try:
        with gzip.open(path, "rb") as lines:
            while raw := lines.readline(MAX_LINE + 2):
                record = parse(raw[:-1] if raw.endswith(b"\n") else raw + b"\n")
                if record.get("seq") != seq or (prev and record.get("prev") != prev):
                    raise wrong_copy(path.name)
                first_prev = first_prev or str(record["prev"])
                newest = max(newest, str(record["ts"]))
                leaf = leaf_hash(raw[:-1])
                edge.append(leaf)
                prev, seq = leaf.hex(), seq + 1
    except (RecordError, KeyError, EOFError, zlib.error, gzip.BadGzipFile):
        raise wrong_copy(path.name) from None
    if seq != segment.last + 1 or prev != segment.leaf or edge.root().hex() != segment.root:
        raise wrong_copy(path.name)
    return Manifest(
        log=log,
        genesis=genesis,
        segment=segment.number,
        first=segment.first,
        last=segment.last,
        root=segment.root,
        leaf=segment.leaf,
        prev=first_prev,
        edge=tuple(begin),
        digest=_digest(path),
        newest=newest,
    )


def _put_manifest(folder: Path, name: str, manifest: Manifest, like: Path) -> None:
    sync_directory(folder)  # the lines are deleted first, because a manifest must not outlive them
    temporary = folder / f".{name}.new"
    with _new_file(temporary, like) as out:
        out.write(json.dumps(asdict(manifest), indent=1, sort_keys=True).encode("utf-8") + b"\n")
    os.chmod(temporary, 0o400)
    os.rename(temporary, folder / f"{name}{_MANIFEST}")
    sync_directory(folder)


def _parse(data: bytes) -> Manifest:
    document = json.loads(data)
    texts = ("log", "genesis", "root", "leaf", "prev", "digest", "newest")
    numbers = ("segment", "first", "last")
    if document["v"] != 1 or not isinstance(document["edge"], list):
        raise ValueError("not a manifest of this version")
    values = {each: document[each] for each in (*texts, *numbers)}
    if any(type(values[each]) is not str for each in texts) or any(
        type(values[each]) is not int for each in numbers
    ):
        raise TypeError("not a manifest")
    return Manifest(edge=tuple(str(each) for each in document["edge"]), **values)


def _digest(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def wrong_copy(file: str) -> RetentionError:
    """Return the error for a copy that differs from the records of its segment."""
    return RetentionError(
        f"{file} does not contain the records of its segment",
        code="retention.copy_wrong",
        hint=(
            "run guardrail verify; guardrail seal replaces a changed copy as long as its "
            "records exist"
        ),
    )


def _disk_error(error: OSError, target: Path | None = None) -> RetentionError:
    """Return the error for a copy that can't be read, or that can't be made at *target*."""
    if target is not None and is_full(error, target):
        return RetentionError(
            no_room(target),
            code="retention.copy_unreadable",
            hint=f"{make_room(target)}; then run guardrail retention run",
        )
    if error.errno == errno.ENOENT:
        what = "is missing"
    else:
        what = f"can't be written or read ({os_reason(error)})"
    return RetentionError(
        f"the copy of a segment {what}",
        code="retention.copy_unreadable",
        hint="check the folders set in [retention], then run guardrail retention run",
    )

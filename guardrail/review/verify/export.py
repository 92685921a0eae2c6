"""Verifies the lines of an export, and compares them with external heads (docs/record-format.md
section 10).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from gzip import GzipFile
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from guardrail.core.log.audit import Audit, Pruned
from guardrail.core.log.record import MAX_LINE, parse
from guardrail.errors import RecordError
from guardrail.keys.log_key import verify_signature
from guardrail.review.lines import open_lines
from guardrail.review.verify.judge import VerifyFindings, judge
from guardrail.review.verify.report import OutsideHead, Progress, VerifyReport, VerifyState
from guardrail.review.verify.uses import Uses
from guardrail.system.ownership import explain_error

__all__ = ["take_lines", "verify_export"]

_EVERY = 512
_PIECE = 1 << 20


def verify_export(
    path: Path,
    *,
    key: str | None = None,
    heads: Sequence[OutsideHead] = (),
    progress: Progress | None = None,
) -> VerifyReport:
    """Verify a JSON Lines export. An export stores no hashes, so an edited line is detected by the
    link in the next line, or by the root.

    Findings never raise an exception. *key* is the log's public key in hex, obtained outside the
    log; *heads* are external heads.
    """
    covered = any(each.covers for each in heads)
    try:
        total = path.stat().st_size
        with open_lines(path) as source:
            watch = [each.head.size for each in heads if each.head is not None]
            audit = Audit(verify_signature, pruned=_find_pruned(source), watch=watch)
            uses = Uses(missing=audit.pruned)
            torn = take_lines(source, audit, uses, progress, total)
    except FileNotFoundError:
        return VerifyReport(VerifyState.MISSING, 1 if covered else 3, "this file does not exist")
    except OSError as error:
        why = ": ".join(filter(None, explain_error(error, path)))
        return VerifyReport(VerifyState.UNREADABLE, 3, f"the file can't be read: {why}")
    except (EOFError, zlib.error):
        torn = "the file is truncated: it can't be decompressed"
    if torn:
        return VerifyReport(VerifyState.DAMAGED, 1 if covered else 3, torn)
    found = VerifyFindings(
        audit=audit,
        report=audit.chain.report(),
        root_of=audit.roots.get,
        time_of=lambda _: "",
        leaf_of=lambda _: "",
        uses=uses,
        is_file=True,
    )
    return judge(found, key, heads)


def take_lines(
    source: BinaryIO, audit: Audit, uses: Uses, progress: Progress | None, total: int
) -> str:
    """Pass the lines of *source* to *audit* and *uses*, up to the first bad line.

    Return the reason that the file is torn, or an empty string. The lines of a torn file do not
    count. *total* is its size, for *progress*.
    """
    torn = _torn(source)
    if torn:
        return torn
    source.seek(0)
    lines = _lines(source)
    # After line 0, the next number may be that of the first record that was not pruned.
    while not audit.chain.has_fault:
        begin = audit.chain.next_seq
        group = list(islice(lines, _EVERY if begin else 1))
        if not group:
            break
        taken = audit.take_rows((seq, None, line) for seq, line in enumerate(group, begin))
        for seq, record, line in taken:
            fault = uses.fault(record, line)
            if fault is not None:
                taken.close()
                audit.chain.reject(seq, *fault)
                break
        if progress is not None:
            progress(min(source.tell(), total), total)
    return ""


def _torn(source: BinaryIO) -> str:
    """Return the reason that *source* is torn, or an empty string if its last line is complete."""
    last = b""
    if isinstance(source, GzipFile):  # the end is known only after all of it is decompressed
        source.seek(0)
        while piece := source.read(_PIECE):
            last = piece[-1:]
    elif source.seek(0, os.SEEK_END):
        source.seek(-1, os.SEEK_END)
        last = source.read(1)
    if last == b"\n":
        return ""
    return "the last line is incomplete: the file is torn" if last else "the file is empty"


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """Yield the lines without their line feeds. If a line is too long, only its beginning is
    yielded, and nothing after it.
    """
    while line := source.readline(MAX_LINE + 2):
        yield line.removesuffix(b"\n")
        if not line.endswith(b"\n"):
            return  # the line may be terabytes long, and nothing after it can be valid


def _find_pruned(source: BinaryIO) -> Pruned | None:
    """If records after line 0 are missing, return the proof of their pruning, which is in a later
    line.
    """
    source.seek(0)
    second = _record(next(islice(_lines(source), 1, None), b""))
    before = second.get("seq") if second is not None else None
    if type(before) is not int or before < 2:
        return None
    last: dict[str, object] | None = None
    source.seek(0)
    for line in _lines(source):
        if b"admin.pruned" not in line and b"\\u" not in line:
            # A line in which the name does not occur, even escaped, is not parsed, so most lines
            # are parsed only once.
            continue
        record = _record(line)
        if record is not None and Pruned.claimed(record) == before:
            last = record
    return Pruned.of(last) if last is not None else None


def _record(line: bytes) -> dict[str, object] | None:
    try:
        return parse(line)
    except RecordError:
        return None

"""Implements ``guardrail export``."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import click

from guardrail.cli.options import ledger_options, open_ledger
from guardrail.cli.output import Progress, remark
from guardrail.core.words import counted
from guardrail.errors import GuardrailError, UsageError
from guardrail.review.export import ExportSummary, export_lines, head_to_export
from guardrail.review.records import RecordReader
from guardrail.system.disk import is_full, make_room, why_not_written

if TYPE_CHECKING:
    from guardrail.ledger.reader import LedgerReader

__all__ = ["export"]

_T = TypeVar("_T")


class _WriteError(GuardrailError):
    """The export could not be written."""

    default_code = "export.write"


@click.command(short_help="Export the records, byte for byte.")
@ledger_options
@click.option(
    "--jsonl",
    is_flag=True,
    help="Write JSON Lines: the stored bytes, one record per line. Required.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Write to FILE, which must not exist; - for stdout.",
)
@click.option(
    "--head",
    "head_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Write the signed head that covers exactly these records to FILE, which must not exist.",
)
def export(
    *,
    config: Path | None,
    ledger: Path | None,
    jsonl: bool,
    output: Path | None,
    head_file: Path | None,
) -> None:
    """Export the records, byte for byte, so that anyone can check them without guardrail.

    The output consists of exactly the bytes that were hashed. To check such a file, use `guardrail
    verify --export FILE --checkpoint HEAD`, or tests/vectors/verify_standalone.py, which needs only
    Python. Treat the bytes as hostile text: don't print them to a terminal.
    """
    if not jsonl:
        raise click.UsageError("--jsonl is required", click.get_current_context())
    to_stdout = output is None or str(output) == "-"
    if to_stdout and sys.stdout.isatty():
        raise UsageError(
            "refusing to write recorded bytes to a terminal: they may contain control characters",
            hint="guardrail export --jsonl -o FILE, or pipe the output",
        )
    with open_ledger(config, ledger) as reader:
        size = None
        if head_file is not None:
            head, size = head_to_export(reader)
            raw = head.encode()
            _new_file(head_file, lambda out: out.write(raw), needed=len(raw))
        if output is None or to_stdout:
            done = _write(reader, sys.stdout.buffer, size)
            sys.stdout.buffer.flush()
        else:
            done = _to_file(reader, output, size)
    remark(
        f"{counted(done.records, 'record')}, {counted(done.bytes, 'byte')}, head {done.head or '-'}"
    )


def _write(records: RecordReader, out: BinaryIO, size: int | None) -> ExportSummary:
    progress = Progress("exported")
    try:
        return export_lines(records, out, size=size, progress=progress)
    finally:
        progress.clear()


def _to_file(reader: LedgerReader, path: Path, size: int | None) -> ExportSummary:
    """Write the records to *path*, and the kept policy sources that they refer to into the folder
    *path*-policies.
    """
    from guardrail.ledger.kept_policies import KeptPolicies

    kept, folder = KeptPolicies(reader.path), KeptPolicies(path.absolute()).path
    if os.path.lexists(folder):
        raise _exists(folder)
    needed = _size_of(reader.path)
    try:
        # Copied before the records, because pruning may delete sources in the meantime, and again
        # after them, because a guard may add new sources.
        kept.copy_to(folder)
        done = _new_file(path, lambda out: _write(reader, out, size), needed=needed)
        kept.copy_to(folder)
    except OSError as error:
        path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        raise _not_written(error, path, needed, "can't be written", _REMOVED) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return done


def _exists(path: Path) -> UsageError:
    return UsageError(
        f"{path} already exists, and an export never overwrites a file",
        code="usage.exists",
        hint="choose another name",
    )


def _size_of(db: Path) -> int:
    """Return the size of the ledger file, which is larger than the exported lines."""
    size = 0
    for part in (db, Path(f"{db}-wal")):
        with contextlib.suppress(OSError):
            size += part.stat().st_size
    return size


def _new_file(path: Path, write: Callable[[BinaryIO], _T], *, needed: int) -> _T:
    """Write to a new file that only its owner can read, because an export contains all records in
    the ledger.

    The file and its name are durable when this returns. The output takes at most *needed* bytes.
    """
    from guardrail.system.durable import sync_directory

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise _not_written(error, path, needed, "can't be created") from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            done = write(out)
            out.flush()
            os.fsync(out.fileno())
        sync_directory(path.absolute().parent)
    except OSError as error:
        raised = _not_written(error, path, needed, "can't be written", _REMOVED)
        path.unlink(missing_ok=True)
        raise raised from None
    return done


_REMOVED = "; the partial file was removed"


def _not_written(
    error: OSError, path: Path, needed: int, what: str, after: str = ""
) -> _WriteError:
    return _WriteError(
        f"{path}: {what} ({why_not_written(error, path, needed, most=True)}){after}",
        hint=make_room(path) if is_full(error, path) else "",
    )

"""``guardrail export``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import click

from guardrail.cli.options import ledger_options, open_ledger
from guardrail.cli.output import Progress, note
from guardrail.cli.render import counted
from guardrail.errors import GuardrailError, UsageError, os_reason
from guardrail.review.export import Exported, export_lines, head_to_export
from guardrail.review.records import Records

__all__ = ["export"]

_T = TypeVar("_T")


class _WriteError(GuardrailError):
    """The export could not be written."""

    default_code = "export.write"


@click.command(short_help="Write the records out, byte for byte.")
@ledger_options
@click.option(
    "--jsonl", is_flag=True, help="As JSON Lines: the stored bytes, one record per line. Required."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, which must not exist; - is stdout.",
)
@click.option(
    "--head",
    "head_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the signed head over exactly these records to FILE, which must not exist.",
)
def export(
    *,
    config: Path | None,
    ledger: Path | None,
    jsonl: bool,
    output: Path | None,
    head_file: Path | None,
) -> None:
    """Write the records out, byte for byte, so that anyone can check them without guardrail.

    What comes out is exactly what is hashed: `guardrail verify --export FILE --checkpoint HEAD` checks such a file, and so does
    tests/vectors/verify_standalone.py with nothing but Python. The bytes are hostile text: don't show them on a terminal.
    """
    if not jsonl:
        raise click.UsageError("Say which form: --jsonl", click.get_current_context())
    to_stdout = output is None or str(output) == "-"
    if to_stdout and sys.stdout.isatty():
        raise UsageError(
            "refusing to write recorded bytes to a terminal: they may hold control characters",
            hint="guardrail export --jsonl -o FILE (or pipe it)",
        )
    with open_ledger(config, ledger) as reader:
        size = None
        if head_file is not None:
            head, size = head_to_export(reader)
            _new_file(head_file, lambda out: out.write(head.encode()))
        if output is None or to_stdout:
            done = _write(reader, sys.stdout.buffer, size)
            sys.stdout.buffer.flush()
        else:
            done = _to_file(reader, output, size)
    note(f"{counted(done.records, 'record')}, {done.bytes:,} bytes, head {done.head or '-'}")


def _write(records: Records, out: BinaryIO, size: int | None) -> Exported:
    progress = Progress("exported")
    try:
        return export_lines(records, out, size=size, progress=progress)
    finally:
        progress.clear()


def _to_file(records: Records, path: Path, size: int | None) -> Exported:
    return _new_file(path, lambda out: _write(records, out, size))


def _new_file(path: Path, write: Callable[[BinaryIO], _T]) -> _T:
    """Write to a new file that only its owner can read: an export holds what the ledger holds.

    Durable, name included, when this returns.
    """
    from guardrail.durable import sync_directory

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists; an export never overwrites",
            code="usage.exists",
            hint="choose another name",
        ) from None
    except OSError as error:
        raise _WriteError(f"{path}: can't be created ({os_reason(error)})") from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            done = write(out)
            out.flush()
            os.fsync(out.fileno())
        sync_directory(path.absolute().parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _WriteError(
            f"{path}: can't be written ({os_reason(error)}); the part that was written is removed"
        ) from None
    return done

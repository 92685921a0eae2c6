"""Opens the sources for commands that show records: the ledger, or a file that contains some of its
records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from guardrail.cli.options import ledger_options, open_ledger, settings_for
from guardrail.cli.output import SOURCE, Progress, Style, remark
from guardrail.config import ReviewSettings
from guardrail.errors import ConfigError
from guardrail.review.records import NotFoundError, PrunedRange, RecordReader
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.review.index.records import IndexedRecords
    from guardrail.review.pruned import SegmentCopy

__all__ = [
    "file_of",
    "known_copies",
    "open_indexed",
    "open_records",
    "report_pruned",
    "source_options",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path, readable=False)

_export = click.option(
    "--export",
    "exported",
    type=_PATH,
    metavar="FILE",
    help="Read this export (may be .gz) instead of a ledger. It is not verified.",
)
_segment = click.option(
    "--segment",
    type=_PATH,
    metavar="FILE",
    help="Read this copy of a segment (may be .gz) instead of a ledger. It is not verified.",
)


def source_options(command: _F) -> _F:
    """Add ``--ledger``, ``--config``, ``--export`` and ``--segment``."""
    return ledger_options(_export(_segment(command)))


def file_of(ledger: Path | None, exported: Path | None, segment: Path | None) -> Path | None:
    """Return the file to read instead of a ledger, or None. Raises ``click.UsageError`` if more
    than one source is specified.
    """
    if sum(each is not None for each in (ledger, exported, segment)) > 1:
        raise click.UsageError(
            "use only one of --ledger, --export and --segment", click.get_current_context()
        )
    return exported if exported is not None else segment


@contextmanager
def open_records(
    config: Path | None, ledger: Path | None, exported: Path | None, segment: Path | None
) -> Iterator[RecordReader]:
    """Open the source. If a record has been pruned, the error contains the path of the segment's
    copy.
    """
    file = file_of(ledger, exported, segment)
    if file is None:
        with open_indexed(config, ledger) as reader:
            try:
                yield reader
            except NotFoundError as error:
                if error.lost is not None:
                    from guardrail.review.pruned import way_to_copy

                    copies = known_copies(reader, config, ledger)
                    command = click.get_current_context().info_name or "show"
                    error.hint = way_to_copy(error.lost, copies, error.seq, command=command)
                raise
        return
    from guardrail.review.lines import FileRecords

    kind = "export" if exported is not None else "segment"
    with FileRecords.open(file, part=segment is not None) as records:
        click.get_current_context().meta[SOURCE] = {
            "kind": kind,
            "path": str(file),
            "verified": False,
        }
        remark(
            f"NOT VERIFIED: these records come from {one_line(str(file))}, and anyone who can "
            "write to that file may have changed them",
            Style.WARN,
        )
        remark(
            f"next:  guardrail verify --{kind} {one_line(str(file))} --checkpoint HEAD --key PUB"
        )
        yield records


@contextmanager
def open_indexed(config: Path | None, ledger: Path | None) -> Iterator[IndexedRecords]:
    """Open the ledger with this user's index of it, which is updated when it is needed.

    Raises ``LedgerOpenError``.
    """
    from guardrail.review.index.file import index_file
    from guardrail.review.index.records import IndexedRecords

    progress = Progress("indexed")

    def tell(what: str) -> None:
        progress.clear()
        remark(f"note: {one_line(what)}", Style.WARN)

    reader = open_ledger(config, ledger)
    try:
        settings = settings_for(config, ledger).review
    except ConfigError:  # --ledger alone reads a ledger, whatever the settings contain
        settings = ReviewSettings()
    file = index_file(settings, reader.path)
    with IndexedRecords(reader, file, tell=tell, progress=progress) as records:
        try:
            yield records
        finally:
            progress.clear()


def known_copies(
    records: RecordReader, config: Path | None, ledger: Path | None
) -> list[SegmentCopy]:
    """Return the copies of segments in the folders that are set in the settings. The result is
    empty if the settings can't be read.
    """
    from guardrail.review.pruned import copies_of

    try:
        return copies_of(records, settings_for(config, ledger))
    except (ConfigError, OSError):
        return []


def report_pruned(lost: PrunedRange, copies: list[SegmentCopy]) -> None:
    """Print the sequence numbers of the deleted records, and the files that still contain them."""
    from guardrail.review.pruned import way_to_copy

    remark(f"PRUNED: {lost.sentence}", Style.WARN)
    remark(f"next:  {one_line(way_to_copy(lost, copies))}")

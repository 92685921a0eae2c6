"""Implements ``guardrail prune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guardrail.cli.app import Exit
from guardrail.cli.options import json_option, ledger_options
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.cli.retention_ledger import open_for_retention, reason_option, redacted_reason
from guardrail.core.words import counted
from guardrail.errors import UsageError

if TYPE_CHECKING:
    from guardrail.ledger.maintenance.prune import PruneResult

__all__ = ["print_pruned", "prune", "pruned_document"]


@click.command(short_help="Delete records past their retention period.")
@ledger_options
@json_option
@reason_option
@click.option(
    "--policy",
    "by_policy",
    is_flag=True,
    help="Required. Delete according to [retention], the only possible selection.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    metavar="FILE",
    help=(
        "A signed head that a witness in [anchors] cosigned, or that the anchor file contains. "
        "May be repeated."
    ),
)
def prune(
    *,
    config: Path | None,
    ledger: Path | None,
    as_json: bool,
    reason: str | None,
    by_policy: bool,
    checkpoints: tuple[Path, ...],
) -> int:
    """Delete records past their retention period ([retention] days), segment by segment, and record
    the deletion in the log.

    Records are not deleted before the minimum period is over, while a legal hold is in force,
    before their segment is closed and archived, or if no anchored head covers them. The hashes of
    deleted records are kept, so all proofs remain valid, for deleted and remaining records.
    """
    if not by_policy:
        raise UsageError(
            "records are deleted only according to the policy in the settings",
            hint='guardrail prune --policy --reason "..."',
        )
    words = redacted_reason(reason, needed="guardrail prune --policy")
    from guardrail.retention.external_heads import read_checkpoint

    given = [read_checkpoint(path) for path in checkpoints]
    with open_for_retention(config, ledger) as manager:
        done = manager.prune(why=words, given=given)
    if as_json:
        emit_json(pruned_document(done))
    elif not print_pruned(done):
        data("Nothing to do: no closed segment is past its retention period.")
    return Exit.YES if done.overwritten else Exit.RESERVED


def pruned_document(done: PruneResult) -> dict[str, Any]:
    """Return the result of pruning as a JSON document."""
    return {
        "deleted": done.deleted,
        "before": done.before,
        "records": list(done.records),
        "overwritten": done.overwritten,
    }


def print_pruned(done: PruneResult) -> bool:
    """Print the result of pruning. Return True if any records were pruned."""
    if done.deleted:
        count = counted(done.deleted, "record")
        data(
            f"{paint('pruned', Style.GOOD)}    {count}; the log continues from record {done.before}"
        )
    if not done.overwritten:
        remark(
            "their text may still be in the -wal file, because a reader prevented it from being "
            "overwritten"
        )
        remark("next:  run guardrail prune --policy again when no long reads are running")
    return bool(done.deleted)

"""A command line to run in tests, in this process and as a real one."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import guardrail
from guardrail.core.log.record import leaf_hash
from guardrail.ledger.sqlite.tables import SCHEMA

ROOT = Path(guardrail.__file__).parents[1]


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
"""Runs a command line: the fixture ``cli`` in this process, ``process`` in one of its own."""


def command(*args: str | Path) -> list[str]:
    """The argument list that starts the command line, as its installed script does."""
    return [
        sys.executable,
        "-c",
        "from guardrail.cli import main; main()",
        *(str(arg) for arg in args),
    ]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer guardrail, and with the checkout to
    import from.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GUARDRAIL_", "LANGSMITH", "LANGCHAIN"))
    }
    for name in ("NO_COLOR", "COLUMNS"):
        kept.pop(name, None)
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}


HOSTILE = "x\x1b[31m\u202e\nFORGED\u200b"
"""Text that would colour, reorder and forge a row."""


def build(path: Path) -> Path:
    """Write a log in which calls go every way, with hostile text wherever a caller chooses it."""
    from guardrail.core.log.record import Draft
    from guardrail.core.types import Cause, Effect, Status
    from guardrail.keys.log_key import Keys
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import (
        LOG,
        SECRET_MARK,
        TOKEN,
        decision,
        genesis,
        outcome,
        rejected,
        rule,
    )

    keys = Keys.create(path.with_suffix(".keys"))
    signing = keys.signing(actor={"id": "tester"}, epochs=False)
    with LedgerWriter.create(
        path, log=LOG, genesis=genesis(keys.public), signing=signing
    ) as writer:

        def add(record: dict[str, object], **more: object) -> int:
            return writer.append(Draft.build(record, **more)).seq

        def call(status: Status | None, *args: object, **more: object) -> None:
            made = decision(*args, **more)
            seq = add(made, opens=made["decision"]["effect"] == "allow", process="P" * 26)
            if status is not None:
                add(
                    outcome(
                        made,
                        seq,
                        status,
                        error={"class": "ValueError", "message": HOSTILE}
                        if status is Status.ERROR
                        else None,
                    )
                )

        call(Status.OK, "read_file", {"path": "/etc/hosts"})  # 1, 2
        call(
            None,
            "send_email",
            {"to": "eve@evil.example", "body": SECRET_MARK},
            effect=Effect.DENY,
            rules=[
                rule(
                    "mail-external",
                    "only addresses inside example.com may be written to",
                    Effect.DENY,
                    severity="high",
                )
            ],
            removed={"/body": ["secret", "detector:aws_key"]},
        )  # 3
        call(
            None,
            "pay",
            {"card": TOKEN, "amount": 1200},
            effect=Effect.REQUIRE_APPROVAL,
            rules=[
                rule(
                    "pay-large",
                    "payments above 1000 need a person",
                    Effect.REQUIRE_APPROVAL,
                    needs=["/amount"],
                    approvers=2,
                )
            ],
            removed={"/card": ["payment", "schema:writeOnly"]},
        )  # 4
        call(Status.ERROR, HOSTILE, {HOSTILE: HOSTILE, "big": "y" * 4000})  # 5, 6
        call(
            None,
            "slow",
            {},
            effect=Effect.DENY,
            cause=Cause.TIMEOUT,
            detail="eval_limit",
            reproducible=None,
        )  # 7
        add(rejected())  # 8
        call(
            Status.OK, "search", {"q": "x"}, session="T-2", principal=HOSTILE, tenant="other"
        )  # 9, 10
        call(
            None,
            "leak",
            {},
            effect=Effect.DENY,
            cause=Cause.REDACTOR,
            omitted="gate:secret",
            reproducible=False,
        )  # 11
    return path


def edit(path: Path, *statements: str) -> None:
    """Run *statements* on the ledger at *path* as an attacker who can write the file would.

    Checks and triggers do not stop them; the function ``leaf_of`` hashes a line.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.create_function("leaf_of", 1, lambda line: leaf_hash(line.encode()))
    for trigger in ("record_no_update", "record_no_delete"):
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    for trigger in ("record_no_update", "record_no_delete"):
        connection.execute(SCHEMA[trigger])
    connection.close()

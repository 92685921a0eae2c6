"""The table of commands: each command's module, its line in ``--help``, and the data that it
reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["COMMANDS", "GROUPS", "CommandActor", "CommandEntry", "CommandReads"]


class CommandReads(StrEnum):
    """The kind of data that a command reads."""

    LEDGER = "ledger"
    """The ledger selected by ``--ledger``, if the command has that option. The read is recorded in
    the access log first.
    """
    ACCESS_LOG = "access-log"
    """The access log of that ledger, which also records this read."""
    NO_RECORDS = "no-records"
    """The command does not show or copy records, or the ledger itself records the command's
    effect.
    """


class CommandActor(StrEnum):
    """The records of a command that name its actor: the principal of ``--token-file``, or the
    operating-system user.
    """

    READER = "reader"
    """The record of the read, if the command reads a ledger. No token is needed."""
    OPERATOR = "operator"
    """Records of changes to the ledger as well. With ``[identity] require = "verified"``, a token
    is needed.
    """
    TENANTS = "tenants"
    """As ``OPERATOR``, but the records are in the ledger of another tenant than the command's."""
    STOPPER = "stopper"
    """As ``OPERATOR``, but no token is needed: whoever can stop calls must be able to do so even
    if no token can be verified.
    """
    APPROVER = "approver"
    """The answer to a request, which the rules for approvals judge."""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command's location and its line in ``--help``, which is shown without importing the
    command.
    """

    module: str
    attribute: str
    summary: str
    reads: CommandReads = CommandReads.LEDGER
    """The data that the command reads. Default: the ledger."""
    instead: str = ""
    """The parameter for a file to read, or an action, instead of reading the ledger."""
    actor: CommandActor = CommandActor.READER
    """The records that name the command's actor."""


_HERE = "guardrail.cli.commands"

COMMANDS: Mapping[str, CommandEntry] = {
    "init": CommandEntry(
        f"{_HERE}.init",
        "init",
        "Create a project: settings, a policy with a test, keys and a ledger.",
    ),
    "doctor": CommandEntry(
        f"{_HERE}.doctor",
        "doctor",
        "Check everything that guardrail needs, and show how to fix problems.",
    ),
    "demo": CommandEntry(
        f"{_HERE}.demo",
        "demo",
        "Watch a scripted agent under policy, without a model or a network.",
    ),
    "bench": CommandEntry(
        f"{_HERE}.bench",
        "bench",
        "Measure the cost of a governed call on this machine.",
        reads=CommandReads.NO_RECORDS,
    ),
    "sessions": CommandEntry(
        f"{_HERE}.sessions", "sessions", "List the sessions in the ledger, oldest first."
    ),
    "show": CommandEntry(
        f"{_HERE}.show", "show", "Show a session call by call, or one record in full."
    ),
    "why": CommandEntry(f"{_HERE}.why", "why", "Explain why a call was allowed or denied."),
    "find": CommandEntry(
        f"{_HERE}.find", "find", "List the calls whose records contain a removed value."
    ),
    "index": CommandEntry(
        f"{_HERE}.index",
        "index",
        "Update your index of the ledger, for Datasette and sqlite-utils.",
    ),
    "missed": CommandEntry(
        f"{_HERE}.missed",
        "missed",
        "Report sensitive values that redaction left in the records.",
    ),
    "rederive": CommandEntry(
        f"{_HERE}.rederive",
        "rederive",
        "Re-derive recorded decisions from the kept policies.",
    ),
    "approvals": CommandEntry(
        f"{_HERE}.approvals",
        "approvals",
        "List the calls that are waiting for a person's approval.",
    ),
    "approve": CommandEntry(
        f"{_HERE}.approvals", "approve", "Approve one call.", actor=CommandActor.APPROVER
    ),
    "refuse": CommandEntry(
        f"{_HERE}.approvals", "refuse", "Refuse a call permanently.", actor=CommandActor.APPROVER
    ),
    "resolve": CommandEntry(
        f"{_HERE}.resolve",
        "resolve",
        "State whether a call ran, to free or confirm its effect key.",
        actor=CommandActor.APPROVER,
    ),
    "suspend": CommandEntry(
        f"{_HERE}.suspend",
        "suspend",
        "Stop the calls of a principal, an agent or a tool, or all calls.",
        actor=CommandActor.STOPPER,
    ),
    "resume": CommandEntry(
        f"{_HERE}.suspend", "resume", "End a suspension.", actor=CommandActor.OPERATOR
    ),
    "suspensions": CommandEntry(
        f"{_HERE}.suspend",
        "suspensions",
        "List the suspensions in force.",
    ),
    "verify": CommandEntry(
        f"{_HERE}.verify",
        "verify",
        "Check that no record was changed, and report what that proves.",
        instead="exported",
    ),
    "recover": CommandEntry(
        f"{_HERE}.recover",
        "recover",
        "Bring a sealed or damaged ledger back into use.",
        actor=CommandActor.OPERATOR,
    ),
    "upgrade": CommandEntry(
        f"{_HERE}.upgrade",
        "upgrade",
        "Convert a ledger from an earlier version to the current format.",
        reads=CommandReads.NO_RECORDS,
    ),
    "export": CommandEntry(f"{_HERE}.export", "export", "Export the records, byte for byte."),
    "access": CommandEntry(
        f"{_HERE}.access", "access", "Show who read the ledger.", reads=CommandReads.ACCESS_LOG
    ),
    "checkpoint": CommandEntry(
        f"{_HERE}.checkpoint",
        "checkpoint",
        "Print the current signed head, to store outside the ledger.",
    ),
    "anchor": CommandEntry(
        f"{_HERE}.anchor",
        "anchor",
        "Send the current signed head to every anchor now.",
        instead="action",
        actor=CommandActor.OPERATOR,
    ),
    "seal": CommandEntry(
        f"{_HERE}.seal",
        "seal",
        "Close a segment with the records since the previous segment, and copy it.",
        actor=CommandActor.OPERATOR,
    ),
    "archive": CommandEntry(
        f"{_HERE}.seal",
        "archive",
        "Copy the closed segments to the archive folder.",
        actor=CommandActor.OPERATOR,
    ),
    "prune": CommandEntry(
        f"{_HERE}.prune",
        "prune",
        "Delete records past their retention period.",
        actor=CommandActor.OPERATOR,
    ),
    "hold": CommandEntry(
        f"{_HERE}.hold", "hold", "Protect records from deletion, for a legal hold."
    ),
    "retention": CommandEntry(
        f"{_HERE}.retention",
        "retention",
        "Keep and delete records according to the retention policy.",
    ),
    "backup": CommandEntry(
        f"{_HERE}.backup", "backup", "Copy the ledger while it is in use, and verify the copy."
    ),
    "prove": CommandEntry(
        f"{_HERE}.prove", "prove", "Write a proof that one record is in the ledger."
    ),
    "check-proof": CommandEntry(
        f"{_HERE}.prove",
        "check_proof",
        "Check a record's proof, without the ledger.",
        reads=CommandReads.NO_RECORDS,
    ),
    "consistency": CommandEntry(
        f"{_HERE}.consistency", "consistency", "Check that one signed head extends another."
    ),
    "keys": CommandEntry(
        f"{_HERE}.keys",
        "keys",
        "Show the log's public key; replace and destroy keys of tokens.",
        instead="action",
        actor=CommandActor.OPERATOR,
    ),
    "witness": CommandEntry(
        f"{_HERE}.witness", "witness", "Run a witness: a second host that cosigns heads."
    ),
    "tenants": CommandEntry(
        f"{_HERE}.tenants",
        "tenants",
        "List, add and disable tenants.",
        reads=CommandReads.NO_RECORDS,
    ),
    "policy": CommandEntry(
        f"{_HERE}.policy", "policy", "Check, test, evaluate, bundle and reload policies."
    ),
    "redact": CommandEntry(
        f"{_HERE}.redact",
        "redact",
        "Show how a value would be recorded, and which rules matched.",
        reads=CommandReads.NO_RECORDS,
    ),
    "proxy": CommandEntry(
        f"{_HERE}.proxy",
        "proxy",
        "Govern the tool calls of programs that use a model's API.",
        reads=CommandReads.NO_RECORDS,
    ),
    "run": CommandEntry(
        f"{_HERE}.run",
        "run",
        "Run a program whose model's tool calls are governed.",
        reads=CommandReads.NO_RECORDS,
    ),
}

GROUPS: Mapping[str, Sequence[str]] = {
    "Start": ("init", "doctor", "demo", "bench"),
    "Review": (
        "sessions",
        "show",
        "why",
        "find",
        "missed",
        "rederive",
        "index",
        "export",
        "access",
    ),
    "Approve": ("approvals", "approve", "refuse", "resolve"),
    "Stop": ("suspend", "resume", "suspensions"),
    "Prove": ("verify", "checkpoint", "anchor", "prove", "check-proof", "consistency", "keys"),
    "Keep": ("seal", "archive", "prune", "hold", "retention", "backup", "recover", "upgrade"),
    "Policies": ("policy", "redact"),
    "Serve": ("run", "proxy", "tenants", "witness"),
}
"""The sections of ``guardrail --help``: the commands, grouped by task."""

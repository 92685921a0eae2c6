"""The sections of guardrail.toml: each key with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "DEFAULT_LEDGER",
    "AccessSettings",
    "AnchorSettings",
    "ApprovalSettings",
    "IdentitySettings",
    "KeySettings",
    "LedgerSection",
    "LimitSettings",
    "OpaSection",
    "PolicySettings",
    "RedactionSettings",
    "RetentionSettings",
    "ToolSettings",
    "is_default_place",
]

DEFAULT_LEDGER = Path("audit/ledger.db")
"""The ledger of a project whose settings name none. Its folder holds everything about the log."""


def is_default_place(ledger: Path) -> bool:
    """Return True if *ledger* is where some project's ledger is by default."""
    return ledger.parts[-2:] == DEFAULT_LEDGER.parts


def _limits(default: float, low: float, high: float, about: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def _choice(default: str, *choices: str, about: str) -> Any:
    return field(default=default, metadata={"choices": choices, "about": about})


def _text(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


def _file(about: str) -> Any:
    return field(default=None, metadata={"about": about, "file": True})


def _switch_or_file(default: bool, about: str) -> Any:
    return field(default=default, metadata={"about": about, "switch_or_file": True})


def _texts(about: str) -> Any:
    return field(default=(), metadata={"about": about, "texts": True})


def _switch_on(about: str) -> Any:
    return field(default=True, metadata={"about": about, "switch": True})


def _switch(about: str) -> Any:
    # Off by default: what such a switch turns on weakens a guarantee, and its name says so, or it
    # may stop work.
    return field(default=False, metadata={"about": about, "switch": True})


@dataclass(frozen=True, slots=True)
class LedgerSection:
    """``[ledger]``"""

    path: Path = _text(
        DEFAULT_LEDGER, "the SQLite file; keys, access log, locks and leases are next to it"
    )
    log: str = _text(
        "", "name of a new log; default: host, project folder, and eight digits of the log's key"
    )
    append_deadline_ms: int = _limits(
        5000, 50, 600_000, "how long a call waits for its record before the guard is poisoned"
    )
    sweep_interval_s: int = _limits(
        60, 1, 86_400, "how often the open calls of dead processes are closed as unknown"
    )
    epoch_s: int = _limits(
        86_400, 60, 2_592_000, "how long a process signs heads with one key of its own"
    )
    reserve_mb: int = _limits(
        16,
        0,
        65_536,
        "kept free on the disk, so that outcomes of admitted calls can be written when it is full;"
        " 0: nothing",
    )
    warn_free_mb: int = _limits(1024, 0, 10_000_000, "doctor warns where less is free; 0: never")


@dataclass(frozen=True, slots=True)
class KeySettings:
    """``[keys]``"""

    path: Path | None = _text(
        None,
        "folder of the log key and the token key, mode 0700; default: beside the ledger, its name"
        " with .keys",
    )
    signer: tuple[str, ...] = _texts(
        "command that holds the log key elsewhere: message on stdin, 64 bytes or their base64 on"
        " stdout"
    )
    signer_public: str = _text(
        "", "Ed25519 public key of the signer, 64 hex characters; read by init"
    )


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """``[policy]``"""

    path: tuple[Path, ...] = _text(
        (Path("policies"),), "folder or file, or a list of them, with Rego and data.json"
    )
    engine: str = _choice(
        "embedded", "embedded", "opa", about="who evaluates the policy; opa: the server in [opa]"
    )
    input: str = _choice(
        "raw",
        "raw",
        "recorded",
        about="what the policy sees: the arguments, or exactly what is recorded",
    )
    deadline_ms: int = _limits(1000, 10, 60_000, "a call that is undecided after this is denied")
    eval_limit_ms: int = _limits(
        250, 5, 60_000, "one evaluation that runs longer gets its worker killed"
    )
    workers: int = _limits(1, 1, 64, "worker processes that serve")
    memory_mb: int = _limits(1024, 64, 65_536, "address space of a worker")


@dataclass(frozen=True, slots=True)
class OpaSection:
    """``[opa]``: read if ``[policy] engine`` is ``opa``."""

    url: str = _text(
        "http://127.0.0.1:8181", "the OPA server: https://, unix:///path, http:// to loopback only"
    )
    revisions: tuple[str, ...] = _texts(
        "bundle revisions whose answers are taken; default: what policy bundle makes of [policy]"
        " path"
    )
    bundle: str = _text("", "name of the bundle that holds the policies, where there are several")
    ca: Path | None = _file(
        "certificates that the server's must lead to; default: those of the system"
    )
    cert: Path | None = _file("client certificate")
    key: Path | None = _file("key of the client certificate, mode 0600")
    token_file: Path | None = _file("file with a bearer token, mode 0600; read again when changed")
    connections: int = _limits(16, 1, 256, "calls that are asked about at the same time")
    watch_interval_ms: int = _limits(
        5000, 50, 600_000, "how often the server is asked what it serves"
    )
    start_limit_ms: int = _limits(10_000, 100, 600_000, "how long a guard waits for it at start")
    breaker_failures: int = _limits(
        5, 1, 1000, "failed connections in a row until calls are denied without asking"
    )
    breaker_reset_ms: int = _limits(1000, 10, 600_000, "until one call is let through to find out")
    unsafe_impure_policy: bool = _switch(
        "take policies that may depend on more than their input; nothing is reproducible then"
    )
    unsafe_unpinned_policy: bool = _switch(
        "take answers that name no revision, of a development server; nothing is reproducible then"
    )


@dataclass(frozen=True, slots=True)
class RedactionSettings:
    """``[redaction]``"""

    profile: str = _choice("standard/1", "standard/1", about="the set of rules")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """``[identity]``"""

    tenant: str = _text("default", "tenant of sessions that name none")
    principal_form: str = _choice("clear", "clear", "token", about="how principal ids are recorded")
    require: str = _choice(
        "asserted",
        "any",
        "asserted",
        "verified",
        about="a call whose principal is less than this is denied; any: also calls of nobody",
    )


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """``[tools]``"""

    unknown_arguments: str = _choice(
        "accept",
        "accept",
        "refuse",
        about=(
            "arguments that a tool's JSON Schema does not declare: accept (as JSON Schema says) or"
            " refuse"
        ),
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """``[limits]``"""

    calls_per_minute: int = _limits(
        6000,
        0,
        10_000_000,
        "calls of one principal that a guard decides in a minute; those beyond are denied and"
        " counted; 0: no limit",
    )


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """``[approvals]``"""

    ttl_s: int = _limits(900, 1, 2_592_000, "how long one person's approval stands")
    request_ttl_s: int = _limits(
        86_400, 1, 31_536_000, "after this a request can neither be approved nor used"
    )
    unsafe_asserted_approvals: bool = _switch(
        "count approvers whose identity nobody verified: whoever runs as that user can approve"
    )


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """``[anchors]``: places outside the ledger that keep its signed heads (docs/anchors.md)."""

    file: Path | None = _file(
        "append-only file in another directory, best of another owner; each head is a line"
    )
    stream: str = _choice(
        "none",
        "none",
        "stdout",
        "stderr",
        about="output of the process that gets each head as a line",
    )
    syslog: Path | None = _file("socket of the system log, for example /dev/log")
    witness: tuple[str, ...] = _texts(
        'witnesses, each "URL NAME+HASH+KEY", as guardrail witness init prints the key'
    )
    witness_ca: Path | None = _file(
        "certificates that https witnesses' must lead to; default: those of the system"
    )
    tsa: str = _text("", "URL of a time stamp authority (RFC 3161); needs the extra tsa")
    tsa_root: Path | None = _file("certificates that its time stamps must lead to")
    tsa_tokens: Path | None = _file(
        "file that keeps its time stamps; default: beside the ledger, its name with -timestamps"
    )
    interval_s: int = _limits(
        60, 1, 86_400, "a new head goes to every anchor at least this often while there are records"
    )
    records: int = _limits(1000, 1, 1_000_000_000, "and as soon as so many records are new")
    heartbeat_s: int = _limits(
        300, 0, 86_400, "one record and head this often also when nothing happens; 0: none"
    )
    memory: bool | Path = _switch_or_file(
        True,
        "remember the largest head of the log on this machine, outside the ledger's folder: true,"
        " false, or a folder",
    )
    max_lag_s: int = _limits(
        0, 0, 31_536_000, "calls are denied while an anchor lacks a record that is older; 0: never"
    )
    max_lag_records: int = _limits(
        0, 0, 1_000_000_000, "calls are denied while an anchor lacks more records; 0: never"
    )


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """``[access]``: the log of who read the ledger (docs/access-log.md)."""

    path: Path | None = _text(
        None, "its SQLite file; default: beside the ledger, its name with .access.db"
    )
    keys: Path | None = _file("folder of its keys, mode 0700; default: beside it")
    required: bool = _switch("a command that can't record there that it reads does not read")


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """``[retention]``: how long records are kept (docs/retention.md)."""

    auto: bool = _switch_on(
        "once a day a running guard does what is due: closes segments, archives and deletes; false:"
        " only guardrail retention run does"
    )
    days: int = _limits(400, 0, 36_500, "records are deleted when they are older; 0: never")
    floor_days: int = _limits(
        183, 0, 36_500, "nothing younger is ever deleted, whatever days says: what the law asks for"
    )
    segment_days: int = _limits(30, 1, 3650, "a segment is closed when the oldest is older")
    segment_mb: int = _limits(256, 1, 100_000, "or as soon as they take more")
    segments: Path | None = _file(
        "folder of the segments' copies; default: beside the ledger, its name with -segments"
    )
    archive: Path | None = _file(
        "folder, best on another disk, that gets a second copy of each segment"
    )
    archive_days: int = _limits(
        0, 0, 36_500, "copies there are deleted when their records are older; 0: as days"
    )

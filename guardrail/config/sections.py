"""The sections of guardrail.toml: each key with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardrail.config.kinds import (
    choice_field,
    classes_field,
    command_field,
    file_field,
    number_field,
    switch_field,
    switch_on_field,
    switch_or_file_field,
    text_field,
    texts_field,
)

__all__ = [
    "DEFAULT_LEDGER",
    "AccessSettings",
    "AnchorSettings",
    "ApprovalSettings",
    "KeySettings",
    "LedgerSection",
    "LimitSettings",
    "OpaSection",
    "PolicySettings",
    "RedactionSettings",
    "RetentionSettings",
    "ReviewSettings",
    "ToolSettings",
    "is_default_place",
]

DEFAULT_LEDGER = Path("audit/ledger.db")
"""Path of the ledger if the settings do not specify one. Its folder contains all files of the log.
"""


def is_default_place(ledger: Path) -> bool:
    """Return True if *ledger* is the default ledger path in some project."""
    return ledger.parts[-2:] == DEFAULT_LEDGER.parts


@dataclass(frozen=True, slots=True)
class LedgerSection:
    """Settings in ``[ledger]``: the path of the ledger, and the rules for writing to it."""

    path: Path = text_field(
        DEFAULT_LEDGER, "the SQLite file; keys, access log, locks and leases are next to it"
    )
    log: str = text_field(
        "", "name of a new log; default: host, project folder, and eight digits of the log's key"
    )
    append_deadline_ms: int = number_field(
        5000, 50, 600_000, "time for which a call waits for its record before the guard is poisoned"
    )
    outcome: str = choice_field(
        "before_release",
        "before_release",
        "soon",
        about="release of a call's result: before_release: once its outcome is durable; "
        "soon: once its outcome is queued, at most 50 ms before it is written",
    )
    sweep_interval_s: int = number_field(
        60, 1, 86_400, "interval at which open calls of dead processes are closed as unknown"
    )
    epoch_s: int = number_field(
        86_400, 60, 2_592_000, "time for which a process uses one epoch key to sign heads"
    )
    reserve_mb: int = number_field(
        16,
        0,
        65_536,
        "disk space reserved for outcomes of admitted calls, used when the disk is full; 0: none",
    )
    warn_free_mb: int = number_field(
        1024, 0, 10_000_000, "doctor warns if less space is free; 0: never"
    )


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Settings in ``[keys]``: the location of the log's keys."""

    path: Path | None = text_field(
        None,
        "folder with the log key and the token key, mode 0700; default: next to the ledger, same "
        "name plus .keys",
    )
    signer: tuple[str, ...] = command_field(
        "command that signs with a log key stored elsewhere: message on stdin, 64 bytes or "
        "their base64 on stdout"
    )
    signer_public: str = text_field(
        "", "Ed25519 public key of the signer, 64 hex characters; read by init"
    )
    lookup_days: int = number_field(
        0, 0, 36_500, "days for which keys retire keeps a replaced key that records name; 0: always"
    )


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Settings in ``[policy]``: the policies, and the engine that evaluates them."""

    path: tuple[Path, ...] = text_field(
        (Path("policies"),), "folder or file, or a list of them, with Rego and data.json"
    )
    engine: str = choice_field(
        "embedded",
        "embedded",
        "opa",
        about="the engine that evaluates the policy; opa: a real OPA, see [opa]",
    )
    input: str = choice_field(
        "raw",
        "raw",
        "recorded",
        about="the input of the policy: the arguments, or exactly the recorded view",
    )
    deadline_ms: int = number_field(
        1000, 10, 60_000, "time after which a call that is not decided yet is denied"
    )
    eval_limit_ms: int = number_field(
        250, 5, 60_000, "time after which a worker is killed if one evaluation is still running"
    )
    workers: int = number_field(1, 1, 64, "number of worker processes")
    memory_mb: int = number_field(1024, 64, 65_536, "address space limit of a worker")
    cross_check: bool = switch_field(
        "before a guard starts or reloads policies, compare the decisions of both engines, which "
        "needs an opa program"
    )
    time_zones: tuple[str, ...] = texts_field("more time zones whose offsets the policy gets")
    keep_data: bool = switch_on_field(
        "keep the policies' data next to the ledger, as their sources are; otherwise, decisions "
        "of policies with data can't be derived again"
    )


@dataclass(frozen=True, slots=True)
class OpaSection:
    """Settings in ``[opa]``: the OPA server, used if ``[policy] engine`` is ``opa``."""

    url: str = text_field(
        "",
        "the OPA server: https://, unix:///path, http:// to loopback only; default: a private OPA "
        "that the guard starts and ends",
    )
    program: Path | None = file_field("the program of the private OPA; default: opa on PATH")
    revisions: tuple[str, ...] = texts_field(
        "accepted bundle revisions; default: the revision of [policy] path"
    )
    bundle: str = text_field("", "name of the bundle with the policies, if there are several")
    ca: Path | None = file_field(
        "trusted root certificates for the server; default: those of the system"
    )
    cert: Path | None = file_field("client certificate")
    key: Path | None = file_field("key of the client certificate, mode 0600")
    token_file: Path | None = file_field(
        "file with a bearer token, mode 0600; read again when changed"
    )
    connections: int = number_field(
        16, 1, 256, "maximum number of simultaneous requests to the server"
    )
    watch_interval_ms: int = number_field(
        5000, 50, 600_000, "interval at which the server's health and revision are checked"
    )
    start_limit_ms: int = number_field(
        10_000, 100, 600_000, "time for which a guard waits for the server at startup"
    )
    breaker_failures: int = number_field(
        5,
        1,
        1000,
        "number of failed connections in a row after which calls are denied without a request",
    )
    breaker_reset_ms: int = number_field(
        1000, 10, 600_000, "time after which one call tries the server again"
    )
    unsafe_impure_policy: bool = switch_field(
        "accept policies that may depend on more than their input; decisions are then not "
        "reproducible"
    )
    unsafe_unpinned_policy: bool = switch_field(
        "accept responses without a revision, for a development server; decisions are then not "
        "reproducible"
    )


@dataclass(frozen=True, slots=True)
class RedactionSettings:
    """Settings in ``[redaction]``: the rules that remove sensitive values."""

    profile: str = choice_field("standard/1", "standard/1", about="the set of built-in rules")
    keys: tuple[tuple[str, tuple[str, ...]], ...] = classes_field(
        "further names of keys: a table that maps classes of values to lists of names "
        "(docs/redaction.md)",
        example='keys = {employee = ["locker no", "desk number"]}',
    )
    patterns: tuple[tuple[str, tuple[str, ...]], ...] = classes_field(
        "further patterns of values: a table that maps classes to lists of RE2 patterns",
        example="patterns = {employee = ['EMP-[0-9]{6}']}",
    )


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Settings in ``[tools]``: the checks of a tool's arguments."""

    unknown_arguments: str = choice_field(
        "accept",
        "accept",
        "refuse",
        about=(
            "arguments that a tool's JSON Schema does not declare: accept (as JSON Schema"
            " specifies) or refuse"
        ),
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Settings in ``[limits]``: the number of calls that a principal may make, the size of a
    ledger, and the number of tenants that a process serves at once.
    """

    calls_per_minute: int = number_field(
        6000,
        0,
        10_000_000,
        "number of calls of one principal that a guard decides in a minute; further calls are "
        "denied and counted; 0: no limit",
    )
    tenant_calls: int = number_field(
        0,
        0,
        1_000_000_000,
        "number of calls of one tenant that a guard decides in a minute; 0: no limit",
    )
    ledger_mb: int = number_field(
        0,
        0,
        10_000_000,
        "size of the ledger at which new calls are denied, until records are deleted; 0: no limit",
    )
    open_tenants: int = number_field(
        32, 1, 10_000, "number of tenants' guards that a process keeps open, if others are idle"
    )
    tenant_idle_s: int = number_field(
        300, 30, 86_400, "time without calls after which a tenant's guard closes until its next one"
    )


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """Settings in ``[approvals]``: the validity of requests and approvals, and the accepted
    approvers.
    """

    ttl_s: int = number_field(900, 1, 2_592_000, "time for which one person's approval is valid")
    request_ttl_s: int = number_field(
        86_400, 1, 31_536_000, "time after which a request can neither be approved nor used"
    )
    unsafe_asserted_approvals: bool = switch_field(
        "accept approvers whose identity is not verified: anyone who runs as that user can approve"
    )


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """Settings in ``[anchors]``: places outside the ledger that store its signed heads
    (docs/anchors.md).
    """

    file: Path | None = file_field(
        "append-only file in a different directory, preferably with a different owner; one head "
        "per line"
    )
    stream: str = choice_field(
        "none",
        "none",
        "stdout",
        "stderr",
        about="output stream of the process, to which each head is written as a line",
    )
    syslog: Path | None = file_field("socket of the system log, for example /dev/log")
    witness: tuple[str, ...] = texts_field(
        'witnesses, each "URL NAME+HASH+KEY", with the key that guardrail witness init prints'
    )
    witness_ca: Path | None = file_field(
        "trusted root certificates for https witnesses; default: those of the system"
    )
    tsa: str = text_field("", "URL of a timestamping authority (RFC 3161); requires the extra tsa")
    tsa_root: Path | None = file_field("trusted root certificates for its timestamps")
    tsa_tokens: Path | None = file_field(
        "file for its timestamps; default: next to the ledger, same name plus -timestamps"
    )
    interval_s: int = number_field(
        60,
        1,
        86_400,
        "a new head is sent to every anchor at least this often, if there are new records",
    )
    records: int = number_field(
        1000, 1, 1_000_000_000, "a new head is also sent as soon as there are this many new records"
    )
    heartbeat_s: int = number_field(
        300, 0, 86_400, "interval of heartbeat records and heads, even without calls; 0: none"
    )
    memory: bool | Path = switch_or_file_field(
        True,
        "remember the largest head of the log on this machine, outside the ledger's folder: true,"
        " false, or a folder",
    )
    max_lag_s: int = number_field(
        0,
        0,
        31_536_000,
        "calls are denied while an anchor lacks a record older than this; 0: never",
    )
    max_lag_records: int = number_field(
        0,
        0,
        1_000_000_000,
        "calls are denied while an anchor lacks more records than this; 0: never",
    )


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Settings in ``[access]``: the access log, which records reads (docs/access-log.md)."""

    path: Path | None = text_field(
        None, "its SQLite file; default: next to the ledger, same name plus .access.db"
    )
    keys: Path | None = file_field("folder with its keys, mode 0700; default: next to it")
    required: bool = switch_field("true: a command that can't record its read shows nothing")


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """Settings in ``[review]``: the index that commands read (docs/reviewing.md)."""

    index: bool | Path = switch_or_file_field(
        True, "keep an index of the ledger, in the reader's own folder: true, false, or a folder"
    )
    finds_per_minute: int = number_field(
        20, 1, 10_000, "uses of guardrail find by one user in a minute, per access log"
    )


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Settings in ``[retention]``: the age at which records are deleted (docs/retention.md)."""

    auto: bool = switch_on_field(
        "a running guard closes segments, archives and deletes once a day; false: only "
        "guardrail retention run does"
    )
    days: int = number_field(400, 0, 36_500, "age at which records are deleted; 0: never")
    floor_days: int = number_field(
        183,
        0,
        36_500,
        "minimum age for deletion, regardless of days; use it for legal requirements",
    )
    segment_days: int = number_field(
        30, 1, 3650, "age of the oldest record at which a segment is closed"
    )
    segment_mb: int = number_field(
        256, 1, 100_000, "size of the records at which a segment is closed"
    )
    segments: Path | None = file_field(
        "folder for the segments' copies; default: next to the ledger, same name plus -segments"
    )
    archive: Path | None = file_field(
        "folder, preferably on another disk, for a second copy of each segment"
    )
    archive_days: int = number_field(
        0, 0, 36_500, "age of the records at which archived copies are deleted; 0: same as days"
    )

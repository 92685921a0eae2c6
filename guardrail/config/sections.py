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
    "ProxySettings",
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
    # Such a switch is off by default. Turning it on weakens a guarantee, which the switch's name
    # states, or may interrupt work.
    return field(default=False, metadata={"about": about, "switch": True})


@dataclass(frozen=True, slots=True)
class LedgerSection:
    """Settings in ``[ledger]``: the path of the ledger, and the rules for writing to it."""

    path: Path = _text(
        DEFAULT_LEDGER, "the SQLite file; keys, access log, locks and leases are next to it"
    )
    log: str = _text(
        "", "name of a new log; default: host, project folder, and eight digits of the log's key"
    )
    append_deadline_ms: int = _limits(
        5000, 50, 600_000, "time for which a call waits for its record before the guard is poisoned"
    )
    outcome: str = _choice(
        "before_release",
        "before_release",
        "soon",
        about="release of a call's result: before_release: once its outcome is durable; "
        "soon: once its outcome is queued, at most 50 ms before it is written",
    )
    sweep_interval_s: int = _limits(
        60, 1, 86_400, "interval at which open calls of dead processes are closed as unknown"
    )
    epoch_s: int = _limits(
        86_400, 60, 2_592_000, "time for which a process uses one epoch key to sign heads"
    )
    reserve_mb: int = _limits(
        16,
        0,
        65_536,
        "disk space reserved for outcomes of admitted calls, used when the disk is full; 0: none",
    )
    warn_free_mb: int = _limits(1024, 0, 10_000_000, "doctor warns if less space is free; 0: never")


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Settings in ``[keys]``: the location of the log's keys."""

    path: Path | None = _text(
        None,
        "folder with the log key and the token key, mode 0700; default: next to the ledger, same "
        "name plus .keys",
    )
    signer: tuple[str, ...] = _texts(
        "command that signs with a log key stored elsewhere: message on stdin, 64 bytes or "
        "their base64 on stdout"
    )
    signer_public: str = _text(
        "", "Ed25519 public key of the signer, 64 hex characters; read by init"
    )


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Settings in ``[policy]``: the policies, and the engine that evaluates them."""

    path: tuple[Path, ...] = _text(
        (Path("policies"),), "folder or file, or a list of them, with Rego and data.json"
    )
    engine: str = _choice(
        "embedded",
        "embedded",
        "opa",
        about="the engine that evaluates the policy; opa: a real OPA, see [opa]",
    )
    input: str = _choice(
        "raw",
        "raw",
        "recorded",
        about="the input of the policy: the arguments, or exactly the recorded view",
    )
    deadline_ms: int = _limits(
        1000, 10, 60_000, "time after which a call that is not decided yet is denied"
    )
    eval_limit_ms: int = _limits(
        250, 5, 60_000, "time after which a worker is killed if one evaluation is still running"
    )
    workers: int = _limits(1, 1, 64, "number of worker processes")
    memory_mb: int = _limits(1024, 64, 65_536, "address space limit of a worker")
    cross_check: bool = _switch(
        "before a guard starts or reloads policies, compare the decisions of both engines, which "
        "needs an opa program"
    )
    keep_data: bool = _switch_on(
        "keep the policies' data next to the ledger, as their sources are; otherwise, decisions "
        "of policies with data can't be derived again"
    )


@dataclass(frozen=True, slots=True)
class OpaSection:
    """Settings in ``[opa]``: the OPA server, used if ``[policy] engine`` is ``opa``."""

    url: str = _text(
        "",
        "the OPA server: https://, unix:///path, http:// to loopback only; default: a private OPA "
        "that the guard starts and ends",
    )
    program: Path | None = _file("the program of the private OPA; default: opa on PATH")
    revisions: tuple[str, ...] = _texts(
        "accepted bundle revisions; default: the revision of [policy] path"
    )
    bundle: str = _text("", "name of the bundle with the policies, if there are several")
    ca: Path | None = _file(
        "trusted root certificates for the server; default: those of the system"
    )
    cert: Path | None = _file("client certificate")
    key: Path | None = _file("key of the client certificate, mode 0600")
    token_file: Path | None = _file("file with a bearer token, mode 0600; read again when changed")
    connections: int = _limits(16, 1, 256, "maximum number of simultaneous requests to the server")
    watch_interval_ms: int = _limits(
        5000, 50, 600_000, "interval at which the server's health and revision are checked"
    )
    start_limit_ms: int = _limits(
        10_000, 100, 600_000, "time for which a guard waits for the server at startup"
    )
    breaker_failures: int = _limits(
        5,
        1,
        1000,
        "number of failed connections in a row after which calls are denied without a request",
    )
    breaker_reset_ms: int = _limits(
        1000, 10, 600_000, "time after which one call tries the server again"
    )
    unsafe_impure_policy: bool = _switch(
        "accept policies that may depend on more than their input; decisions are then not "
        "reproducible"
    )
    unsafe_unpinned_policy: bool = _switch(
        "accept responses without a revision, for a development server; decisions are then not "
        "reproducible"
    )


@dataclass(frozen=True, slots=True)
class RedactionSettings:
    """Settings in ``[redaction]``: the rules that remove sensitive values."""

    profile: str = _choice("standard/1", "standard/1", about="the set of rules")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Settings in ``[identity]``: the accepted callers, and their form in records."""

    tenant: str = _text("default", "tenant of sessions without one")
    principal_form: str = _choice(
        "clear", "clear", "token", about="form of principal ids in records"
    )
    require: str = _choice(
        "asserted",
        "any",
        "asserted",
        "verified",
        about="lowest accepted assurance of a principal; any: also accept calls without one",
    )


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Settings in ``[tools]``: the checks of a tool's arguments."""

    unknown_arguments: str = _choice(
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
    """Settings in ``[limits]``: the number of calls that a principal may make."""

    calls_per_minute: int = _limits(
        6000,
        0,
        10_000_000,
        "number of calls of one principal that a guard decides in a minute; further calls are "
        "denied and counted; 0: no limit",
    )


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """Settings in ``[approvals]``: the validity of requests and approvals, and the accepted
    approvers.
    """

    ttl_s: int = _limits(900, 1, 2_592_000, "time for which one person's approval is valid")
    request_ttl_s: int = _limits(
        86_400, 1, 31_536_000, "time after which a request can neither be approved nor used"
    )
    unsafe_asserted_approvals: bool = _switch(
        "accept approvers whose identity is not verified: anyone who runs as that user can approve"
    )


@dataclass(frozen=True, slots=True)
class AnchorSettings:
    """Settings in ``[anchors]``: places outside the ledger that store its signed heads
    (docs/anchors.md).
    """

    file: Path | None = _file(
        "append-only file in a different directory, preferably with a different owner; one head "
        "per line"
    )
    stream: str = _choice(
        "none",
        "none",
        "stdout",
        "stderr",
        about="output stream of the process, to which each head is written as a line",
    )
    syslog: Path | None = _file("socket of the system log, for example /dev/log")
    witness: tuple[str, ...] = _texts(
        'witnesses, each "URL NAME+HASH+KEY", with the key that guardrail witness init prints'
    )
    witness_ca: Path | None = _file(
        "trusted root certificates for https witnesses; default: those of the system"
    )
    tsa: str = _text("", "URL of a timestamping authority (RFC 3161); requires the extra tsa")
    tsa_root: Path | None = _file("trusted root certificates for its timestamps")
    tsa_tokens: Path | None = _file(
        "file for its timestamps; default: next to the ledger, same name plus -timestamps"
    )
    interval_s: int = _limits(
        60,
        1,
        86_400,
        "a new head is sent to every anchor at least this often, if there are new records",
    )
    records: int = _limits(
        1000, 1, 1_000_000_000, "a new head is also sent as soon as there are this many new records"
    )
    heartbeat_s: int = _limits(
        300, 0, 86_400, "interval of heartbeat records and heads, even without calls; 0: none"
    )
    memory: bool | Path = _switch_or_file(
        True,
        "remember the largest head of the log on this machine, outside the ledger's folder: true,"
        " false, or a folder",
    )
    max_lag_s: int = _limits(
        0,
        0,
        31_536_000,
        "calls are denied while an anchor lacks a record older than this; 0: never",
    )
    max_lag_records: int = _limits(
        0,
        0,
        1_000_000_000,
        "calls are denied while an anchor lacks more records than this; 0: never",
    )


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Settings in ``[access]``: the access log, which records reads (docs/access-log.md)."""

    path: Path | None = _text(
        None, "its SQLite file; default: next to the ledger, same name plus .access.db"
    )
    keys: Path | None = _file("folder with its keys, mode 0700; default: next to it")
    required: bool = _switch("true: a command that can't record its read shows nothing")


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """Settings in ``[review]``: the index that commands read (docs/reviewing.md)."""

    index: bool | Path = _switch_or_file(
        True,
        "keep an index of the ledger for commands and Datasette, in the reader's own folder: "
        "true, false, or a folder",
    )


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Settings in ``[retention]``: the age at which records are deleted (docs/retention.md)."""

    auto: bool = _switch_on(
        "a running guard closes segments, archives and deletes once a day; false: only "
        "guardrail retention run does"
    )
    days: int = _limits(400, 0, 36_500, "age at which records are deleted; 0: never")
    floor_days: int = _limits(
        183,
        0,
        36_500,
        "minimum age for deletion, regardless of days; use it for legal requirements",
    )
    segment_days: int = _limits(
        30, 1, 3650, "age of the oldest record at which a segment is closed"
    )
    segment_mb: int = _limits(256, 1, 100_000, "size of the records at which a segment is closed")
    segments: Path | None = _file(
        "folder for the segments' copies; default: next to the ledger, same name plus -segments"
    )
    archive: Path | None = _file(
        "folder, preferably on another disk, for a second copy of each segment"
    )
    archive_days: int = _limits(
        0, 0, 36_500, "age of the records at which archived copies are deleted; 0: same as days"
    )


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Settings in ``[proxy]``: the proxy in front of a model's API (docs/proxy.md)."""

    upstream: str = _text(
        "", "URL of the model's API: https://, or http:// to loopback only; receives callers' keys"
    )
    listen: str = _text(
        "127.0.0.1:8290",
        "address and port; port 0 selects a free port; an address other than loopback needs "
        "tls_cert, tls_key and callers",
    )
    hosts: tuple[str, ...] = _texts(
        "accepted Host names, each NAME or NAME:PORT; default: this machine's loopback names, or "
        "the address in listen"
    )
    origins: tuple[str, ...] = _texts(
        "web origins whose pages may use the proxy, for example https://chat.example.com; default:"
        " none"
    )
    tls_cert: Path | None = _file("certificate of the proxy (PEM); with it, the proxy serves https")
    tls_key: Path | None = _file("key of the certificate (PEM, no password), mode 0600")
    callers: Path | None = _file(
        "file of callers' tokens, which guardrail proxy token adds; if set, every request must "
        "have a token"
    )
    peers: tuple[str, ...] = _texts(
        "IP addresses of reverse proxies that set the caller in identity_header"
    )
    identity_header: str = _text(
        "", "header in which these peers pass the caller, whose identity is then asserted"
    )
    tools: Path = _text(
        Path("proxy-tools.json"), "file of the accepted tools, which guardrail proxy accept writes"
    )
    hosted_tools: tuple[str, ...] = _texts(
        "types of tools that the provider may run itself, for example web_search; default: none"
    )
    allow_fields: tuple[str, ...] = _texts(
        "request fields that are forwarded although guardrail does not know them; default: none"
    )
    approval_wait_s: int = _limits(
        120, 0, 3600, "time for which a call that needs an approval is held before it is refused"
    )
    outcome_wait_s: int = _limits(
        3600, 1, 2_592_000, "time after which the outcome of a call is unknown if none was reported"
    )
    max_body_mb: int = _limits(32, 1, 1024, "maximum size of a request body")
    max_streams: int = _limits(
        256, 1, 65_536, "maximum number of requests that are served concurrently"
    )
    idle_s: int = _limits(
        60,
        1,
        3600,
        "time for a request to arrive completely; also the limit for a connection without a "
        "request, and for a caller that does not read the response",
    )
    upstream_idle_s: int = _limits(
        600, 1, 86_400, "time for which the model's API may send nothing before the request fails"
    )
    stop_s: int = _limits(
        30, 0, 3600, "time that requests in progress may take to end after SIGTERM or Ctrl-C"
    )

"""Settings: one frozen object from guardrail.toml, the environment and what the program passes.

Unknown keys are refused, naming the nearest known one; so are values of another type or out of range. Relative paths in
a file are relative to that file.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from guardrail.config.file import FILE_NAME, find, is_named, read_settings
from guardrail.core.log.record import dumps
from guardrail.errors import ConfigError

__all__ = [
    "ENVIRONMENT",
    "FILE_NAME",
    "NO_SECTIONS",
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
    "Settings",
    "access_rule",
    "find",
]

NO_SECTIONS = frozenset({"source", "distrust"})
"""Fields of ``Settings`` that are about the file."""
ENVIRONMENT = {
    "GUARDRAIL_LEDGER": ("ledger", "path"),
    "GUARDRAIL_POLICIES": ("policy", "path"),
    "GUARDRAIL_KEYS": ("keys", "path"),
}
"""Environment variables that override a setting. ``GUARDRAIL_CONFIG`` names the file itself."""


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
    # Off by default: what such a switch turns on weakens a guarantee, and its name says so, or it may stop work.
    return field(default=False, metadata={"about": about, "switch": True})


@dataclass(frozen=True, slots=True)
class LedgerSection:
    """``[ledger]``"""

    path: Path = _text(
        Path("audit.db"), "the SQLite file; -wal, -shm, -lock and -leases stand beside it"
    )
    log: str = _text("", "origin name of a new log; default: host name and file name")
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
        "kept free on the disk, so that outcomes of admitted calls can be written when it is full; 0: nothing",
    )
    warn_free_mb: int = _limits(1024, 0, 10_000_000, "doctor warns where less is free; 0: never")


@dataclass(frozen=True, slots=True)
class KeySettings:
    """``[keys]``"""

    path: Path | None = _text(
        None,
        "folder of the log key and the token key, mode 0700; default: beside the ledger, its name with .keys",
    )
    signer: tuple[str, ...] = _texts(
        "command that holds the log key elsewhere: message on stdin, 64 bytes or their base64 on stdout"
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
    """``[opa]``: read where ``[policy] engine`` is ``opa``."""

    url: str = _text(
        "http://127.0.0.1:8181", "the OPA server: https://, unix:///path, http:// to loopback only"
    )
    revisions: tuple[str, ...] = _texts(
        "bundle revisions whose answers are taken; default: what policy bundle makes of [policy] path"
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
        about="arguments that a tool's JSON Schema does not declare: accept (as JSON Schema says) or refuse",
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """``[limits]``"""

    calls_per_minute: int = _limits(
        6000,
        0,
        10_000_000,
        "calls of one principal that a guard decides in a minute; those beyond are denied and counted; 0: no limit",
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
        "remember the largest head of the log on this machine, outside the ledger's folder: true, false, or a folder",
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
        "once a day a running guard does what is due: seals, archives and deletes; false: only guardrail retention run does"
    )
    days: int = _limits(400, 0, 36_500, "records are deleted when they are older; 0: never")
    floor_days: int = _limits(
        183, 0, 36_500, "nothing younger is ever deleted, whatever days says: what the law asks for"
    )
    segment_days: int = _limits(
        30, 1, 3650, "records are sealed as a segment when the oldest is older"
    )
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


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Every field has a default."""

    ledger: LedgerSection = field(default_factory=LedgerSection)
    keys: KeySettings = field(default_factory=KeySettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    opa: OpaSection = field(default_factory=OpaSection)
    redaction: RedactionSettings = field(default_factory=RedactionSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    tools: ToolSettings = field(default_factory=ToolSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    source: Path | None = None
    """The file that was read, or None."""
    distrust: str = ""
    """Why nothing that the file names may be started or shown to a server; empty where it may."""

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        named: bool = True,
    ) -> Settings:
        """Read *path* (or no file at all), then apply the environment.

        Without *named*, *path* was not said by anybody but found: it starts no command (``require_trust``). Raises
        ``ConfigError``: unreadable file, one of another user, no TOML, unknown section or key, wrong type or range.
        """
        environment = os.environ if environment is None else environment
        settings = cls() if path is None else _from_file(path, named=named)
        for variable, (section, key) in ENVIRONMENT.items():
            value = environment.get(variable)
            if value:
                parts: list[str] = (
                    value.split(os.pathsep) if key == "path" and section == "policy" else [value]
                )
                raw = {section: {key: parts if len(parts) > 1 else parts[0]}}
                settings = _apply(settings, raw, Path.cwd(), variable)
        return settings

    @classmethod
    def chosen(
        cls, config: Path | None, *, environment: Mapping[str, str] | None = None
    ) -> Settings:
        """Return the settings in *config*, else in the file that ``find`` finds, as a command does. See ``load``."""
        path = find(environment=environment) if config is None else config
        named = config is not None or is_named(environment)
        return cls.load(path, environment=environment, named=named)

    def require_trust(self, what: str) -> None:
        """Return where *what*, a command or a secret that the file names, may be used. Raises ``ConfigError``."""
        if self.distrust:
            raise ConfigError(
                f"{what} is not used: the settings {self.source} {self.distrust}",
                code="config.distrust",
                hint="read the file, then name it: --config FILE, or GUARDRAIL_CONFIG with its whole path"
                if "found" in self.distrust
                else f"read the file, then: chmod o-w {self.source}",
            )

    @property
    def trusted_opa(self) -> OpaSection:
        """``[opa]``, to be connected to. Raises ``ConfigError`` where it names secrets that its server must not get."""
        if self.opa.token_file or self.opa.key:
            self.require_trust("[opa] token_file, cert or key")
        return self.opa

    @property
    def key_path(self) -> Path:
        """Where the keys are: set, or beside the ledger (``audit.db`` -> ``audit.keys``)."""
        return (
            self.keys.path if self.keys.path is not None else self.ledger.path.with_suffix(".keys")
        )

    @property
    def access_path(self) -> Path:
        """Where it is recorded who reads the ledger: set, or beside the file itself (``audit.db`` -> ``audit.access.db``)."""
        return (
            self.access.path
            if self.access.path is not None
            else Path(os.path.realpath(self.ledger.path)).with_suffix(".access.db")
        )

    @property
    def access_key_path(self) -> Path:
        """Where the keys of that log are: set, or beside it (``audit.access.db`` -> ``audit.access.keys``)."""
        return (
            self.access.keys
            if self.access.keys is not None
            else self.access_path.with_suffix(".keys")
        )

    def digest(self) -> str:
        """Return SHA-256 (hex) over what decides how calls are governed: everything but paths and names."""
        return hashlib.sha256(dumps(self.governed())).hexdigest()

    def governed(self) -> dict[str, dict[str, Any]]:
        """Return what decides how calls are governed, by section and key."""
        governed: dict[str, dict[str, Any]] = {
            "policy": {
                name: getattr(self.policy, name)
                for name in (
                    "engine",
                    "input",
                    "deadline_ms",
                    "eval_limit_ms",
                    "workers",
                    "memory_mb",
                )
            },
            "ledger": {
                "append_deadline_ms": self.ledger.append_deadline_ms,
                "sweep_interval_s": self.ledger.sweep_interval_s,
            },
            "redaction": {"profile": self.redaction.profile},
            "identity": {
                "tenant": self.identity.tenant,
                "principal_form": self.identity.principal_form,
                "require": self.identity.require,
            },
            "approvals": {
                item.name: getattr(self.approvals, item.name) for item in fields(self.approvals)
            },
        }
        if self.limits != LimitSettings():
            governed["limits"] = {"calls_per_minute": self.limits.calls_per_minute}
        if self.anchors.max_lag_s or self.anchors.max_lag_records:
            governed["anchors"] = {
                "max_lag_s": self.anchors.max_lag_s,
                "max_lag_records": self.anchors.max_lag_records,
            }
        if self.policy.engine == "opa":
            # Only then, so that the digests of everyone else stay what they were.
            governed["opa"] = {
                name: getattr(self.opa, name)
                for name in (
                    "revisions",
                    "bundle",
                    "connections",
                    "watch_interval_ms",
                    "breaker_failures",
                    "breaker_reset_ms",
                    "unsafe_impure_policy",
                    "unsafe_unpinned_policy",
                )
            }
        return governed

    def override(self, **sections: Mapping[str, object]) -> Settings:
        """Return a copy with given values replaced, checked like a file: ``override(policy={"workers": 2})``."""
        return _apply(self, sections, Path.cwd(), "argument")


def access_rule(ledger: Path) -> AccessSettings | None:
    """Return ``[access]`` of the settings in the folder of *ledger*, or one above, if they are about it; else None.

    Of settings that are the ledger's owner's, and not this user's, only ``required`` counts: it can only forbid.
    """
    path = find(ledger.parent, environment={})
    if path is None:
        return None
    try:
        own = os.stat(path).st_uid in (0, os.geteuid())
        made = _from_file(path, named=False, owners=(os.stat(ledger).st_uid,))
    except (OSError, ConfigError):
        return None
    real = {os.path.realpath(each) for each in (made.ledger.path, made.access_path)}
    if str(ledger) not in real:
        return None
    return made.access if own else AccessSettings(required=made.access.required)


def _from_file(path: Path, *, named: bool, owners: Collection[int] = ()) -> Settings:
    file = read_settings(path, owners)
    folder = file.path.parent
    defaults = Settings()
    beside = replace(
        defaults,
        ledger=replace(defaults.ledger, path=folder / defaults.ledger.path),
        policy=replace(defaults.policy, path=tuple(folder / item for item in defaults.policy.path)),
    )
    made = _apply(beside, file.raw, folder, str(path))
    if made.keys.signer and os.sep in made.keys.signer[0]:
        # Else it would be another program in each working directory.
        program, *arguments = made.keys.signer
        keys = replace(made.keys, signer=(str(folder / program), *arguments))
        made = replace(made, keys=keys)
    distrust = "" if named else "were only found in this folder or one above"
    if file.writable:
        distrust = "can be written by every user"
    return replace(made, source=file.path, distrust=distrust)


def _apply(settings: Settings, raw: Mapping[str, Any], base: Path, where: str) -> Settings:
    known = {item.name for item in fields(Settings) if item.name not in NO_SECTIONS}
    changed: dict[str, Any] = {}
    for name, values in raw.items():
        if name not in known:
            if not isinstance(values, Mapping):
                raise _bare(name, settings, known, where)
            raise _unknown(name, known, f"{where}: no section [{name}]")
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{where}: [{name}] is not a table",
                code="config.type",
                hint=f"write its keys below a line [{name}]",
            )
        section = getattr(settings, name)
        by_name = {item.name: item for item in fields(section)}
        parsed: dict[str, Any] = {}
        for key, value in values.items():
            if key not in by_name:
                raise _unknown(key, set(by_name), f"{where}: [{name}] has no key {key!r}")
            try:
                parsed[key] = _value(by_name[key], value, base, f"{where}: {name}.{key}")
            except ConfigError as error:
                error.hint = f"correct {key} under [{name}]: {_described(by_name[key])}"
                if where in ENVIRONMENT:
                    error.hint = f"correct {where}, or unset it"
                raise
        changed[name] = replace(section, **parsed)
    return replace(settings, **changed)


def _described(item: Any) -> str:
    """Return what a setting is for, and which values it takes."""
    meta = item.metadata
    about = str(meta["about"]).split(";")[0]
    if "low" in meta:
        return f"{about} ({meta['low']} to {meta['high']}, default {item.default})"
    if "choices" in meta:
        return f"{about} ({', '.join(meta['choices'])})"
    return about


def _unknown(name: str, known: set[str], message: str) -> ConfigError:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    told = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(sorted(known))
    hint = f"write {near[0]!r}" if near else "guardrail init FOLDER writes a file with every key"
    return ConfigError(f"{message}; {told}", code="config.unknown_key", hint=hint)


def _bare(name: str, settings: Settings, known: set[str], where: str) -> ConfigError:
    """Return the error for a key that stands below no section."""
    sections = [
        section
        for section in sorted(known)
        if any(item.name == name for item in fields(getattr(settings, section)))
    ]
    hint = " or ".join(f"[{section}]" for section in sections)
    return ConfigError(
        f"{where}: {name!r} stands below no section",
        code="config.unknown_key",
        hint=f"write it below {hint}"
        if hint
        else "guardrail init FOLDER writes a file with every key",
    )


def _value(spec: Any, value: Any, base: Path, where: str) -> Any:
    meta = spec.metadata
    if "choices" in meta or "low" in meta:
        return _choice_or_number(meta, value, where)
    if "switch_or_file" in meta:
        if not isinstance(value, bool) and not (isinstance(value, str | Path) and str(value)):
            raise ConfigError(f"{where}: true, false, or a path", code="config.type")
        return value if isinstance(value, bool) else base / value
    if "switch" in meta or "texts" in meta:
        return _switch_or_texts(meta, value, where)
    default = spec.default if spec.default is not MISSING else None
    if value == "" and default in ("", None):
        return default
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(item, str | Path) and str(item) for item in items):
            raise ConfigError(f"{where}: a path or a list of paths", code="config.type")
        return tuple(base / item for item in items)
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"{where}: a text", code="config.type")
    if isinstance(default, Path) or spec.name == "path" or "file" in meta:
        return base / value
    return str(value)


def _choice_or_number(meta: Mapping[str, Any], value: Any, where: str) -> str | int:
    if "choices" in meta:
        if value not in meta["choices"]:
            raise ConfigError(f"{where}: one of {', '.join(meta['choices'])}", code="config.value")
        return str(value)
    if type(value) is not int:
        raise ConfigError(f"{where}: a whole number", code="config.type")
    if not meta["low"] <= value <= meta["high"]:
        raise ConfigError(f"{where}: from {meta['low']} to {meta['high']}", code="config.value")
    return value


def _switch_or_texts(meta: Mapping[str, Any], value: Any, where: str) -> bool | tuple[str, ...]:
    if "switch" in meta:
        if type(value) is not bool:
            raise ConfigError(f"{where}: true or false", code="config.type")
        return value
    entries = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise ConfigError(f"{where}: a text or a list of texts", code="config.type")
    return tuple(entries)

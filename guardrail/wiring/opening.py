"""Opens a guard: finds or creates keys and ledger together, loads the policy, and records the
start.

Some states are rejected because they would be security holes: a ledger without its keys, keys
without their ledger, traces of an earlier log, and keys of a different log.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from guardrail.anchoring import (
    LedgerHeads,
    anchors_of,
    check_memory,
    check_missing,
    keep_in_memory,
)
from guardrail.anchors.memory import memory_of
from guardrail.anchors.schedule import AnchorWatch
from guardrail.call.journal import Journal
from guardrail.call.next_steps import NextSteps
from guardrail.config import Settings
from guardrail.config.log_names import new_log_name
from guardrail.config.redaction_rules import redaction_rules
from guardrail.config.tenants import refuse_shared_files
from guardrail.core.log import fields
from guardrail.core.types import Json
from guardrail.errors import (
    ConfigError,
    KeysError,
    LedgerError,
    LedgerOpenError,
    PolicyLoadError,
    os_reason,
)
from guardrail.identity.actor import current_actor
from guardrail.identity.principal import check_identity
from guardrail.identity.tokens import TokenVerifier
from guardrail.keys.log_key import Keys, discard_new_keys, verify_signature
from guardrail.ledger.files import refuse_links
from guardrail.ledger.half_moved import refuse_half_moved
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.settings import LedgerSettings
from guardrail.ledger.writing.writer import LedgerWriter, traces
from guardrail.retention.schedule import RetentionWatch
from guardrail.system.ownership import MissingPermission, denial_of, find_denial
from guardrail.wiring.diagnosis import check_log_name, explain, has_keys
from guardrail.wiring.engines import load_engine
from guardrail.wiring.kept_sources import keep_sources
from guardrail.wiring.ledger_folder import (
    check_private,
    make_folder,
    refuse_linked,
    refuse_second_log,
)
from guardrail.wiring.requests import LedgerRequests
from guardrail.wiring.startup import record_refusal, record_start

__all__ = [
    "anchor_watch",
    "create_keys",
    "create_log",
    "load_keys",
    "open_guard",
    "open_journal",
    "settings_from",
]

PathLike = str | os.PathLike[str]


class WatchesReloads(Protocol):
    """The methods of a guard that ``open_guard`` uses."""

    def watch(self) -> None:
        """Watch for reload requests from other processes."""
        ...

    def close(self) -> None:
        """Close everything that belongs to the guard. Idempotent."""
        ...


G = TypeVar("G", bound=WatchesReloads)


def settings_from(
    config: PathLike | Settings | None,
    *,
    policies: PathLike | Sequence[PathLike] | None = None,
    ledger: PathLike | None = None,
    keys: PathLike | None = None,
) -> Settings:
    """Return the settings in *config* (a file, settings, or None). The other arguments override the
    paths in the settings.
    """
    if isinstance(config, Settings):
        settings = config
    else:
        settings = Settings.load(None if config is None else Path(config))
    if policies is not None:
        paths = [policies] if isinstance(policies, str | os.PathLike) else list(policies)
        settings = settings.override(policy={"path": [Path(path) for path in paths]})
        _require_named_policies(settings)
    if ledger is not None:
        settings = settings.override(ledger={"path": Path(ledger)})
    if keys is not None:
        settings = settings.override(keys={"path": Path(keys)})
    return settings


def _require_named_policies(settings: Settings) -> None:
    """Raise ``ConfigError`` if a path in the argument ``policies`` does not exist."""
    for path in settings.policy.path:
        if settings.policy.engine != "opa" and not path.exists():
            raise ConfigError(
                f"{path}: this folder, passed as policies=, does not exist",
                code="config.policies",
                hint="correct the argument, or put policies there",
            )


def create_log(
    settings: Settings,
    keys: Keys,
    *,
    epochs: bool,
    predecessor: Mapping[str, Any] | None = None,
) -> LedgerWriter:
    """Create the ledger durably, with its genesis record. *epochs* has the same meaning as in
    ``open_journal``.
    """
    genesis = fields.genesis(
        nonce=os.urandom(16).hex(),
        public_key=keys.public,
        config_digest=settings.digest(keys.tenant("default")),
        predecessor=predecessor,
        tenant=settings.only_tenant,
    )
    return LedgerWriter.create(
        settings.ledger.path,
        log=new_log_name(settings, keys.public),
        genesis=genesis,
        signing=keys.signing(actor=current_actor(), epochs=epochs),
        settings=_ledger_settings(settings, epochs=epochs),
    )


def create_keys(settings: Settings) -> Keys:
    """Create the keys of a new log. Raises ``KeysError``."""
    return Keys.create(
        settings.key_path,
        signer=settings.keys.signer,
        public=settings.keys.signer_public,
        allow=lambda: settings.require_trust("[keys] signer"),
        like=settings.ledger.path,
    )


def load_keys(settings: Settings) -> Keys:
    """Read the keys of the log. Raises ``KeysError``."""
    return Keys.load(
        settings.key_path,
        signer=settings.keys.signer,
        allow=lambda: settings.require_trust("[keys] signer"),
    )


def open_journal(settings: Settings, *, epochs: bool) -> tuple[Journal, Keys]:
    """Open the ledger and its keys, or create both if no part of either exists.

    If *epochs* is True, this process signs heads with its own key, which its first record
    certifies. This is meant for long-running programs. Otherwise it signs with the log key, which
    is meant for commands that write one record. Errors contain the same cause and next step as in
    ``recover`` and ``doctor``.
    """
    try:
        writer, keys = _open_writer(settings, epochs=epochs)
    except (LedgerError, KeysError) as error:
        raise explain(settings, error) from None
    path = settings.ledger.path
    deadline = settings.ledger.append_deadline_ms / 1000
    requests = LedgerRequests(path, writer, keys.signing(actor=current_actor(), epochs=False))
    soon = settings.ledger.outcome == "soon"
    journal = Journal(writer, deadline=deadline, owner=requests.owner, requests=requests, soon=soon)
    journal.next_steps = NextSteps.of(settings)
    if not epochs:  # a long-running program remembers heads itself, also while it runs
        signing = keys.signing(actor={}, epochs=False)
        journal.remember = functools.partial(keep_in_memory, settings, signing, writer.log)
    return journal, keys


def _open_writer(settings: Settings, *, epochs: bool) -> tuple[LedgerWriter, Keys]:
    path = settings.ledger.path
    if not os.path.exists(path):
        refuse_second_log(settings)
    make_folder(settings, path.parent, "[ledger] path, GUARDRAIL_LEDGER or ledger=")
    check_private(path)
    with _creation_lock(path):
        keyed = _has_keys(settings)
        left = traces(path)
        check_missing(settings)
        if not keyed and not left:
            refuse_linked(settings)
            make_folder(settings, settings.key_path.parent, "[keys] path, GUARDRAIL_KEYS or keys=")
            keys = create_keys(settings)
            try:
                writer = create_log(settings, keys, epochs=epochs)
            except BaseException:  # also an interrupt: keys alone look like a lost log
                if not traces(path):
                    discard_new_keys(settings.key_path)
                raise
        elif path.exists() and keyed:
            refuse_half_moved(path)
            keys = load_keys(settings)
            _check_name(settings)
            _check_tenant(settings)
            # This is checked before anything is written, because a record on an older copy would
            # fork the log.
            check_memory(settings, keys.signing(actor=current_actor(), epochs=False))
            writer = LedgerWriter.open(
                path,
                signing=keys.signing(actor=current_actor(), epochs=epochs),
                settings=_ledger_settings(settings, epochs=epochs),
            )
        else:
            raise _incomplete_log_error(settings, keyed, left)
    return writer, keys


def _check_name(settings: Settings) -> None:
    """Raise ``LedgerOpenError`` if the log's name differs from the settings. Do nothing if the name
    can't be read, because opening the log then fails anyway.
    """
    log = ""
    if settings.ledger.log:
        with contextlib.suppress(LedgerError), LedgerReader.open(settings.ledger.path) as reader:
            log = reader.log
    if log:
        check_log_name(settings, log)


def _check_tenant(settings: Settings) -> None:
    """Raise ``LedgerOpenError`` if the log belongs to another tenant, for example because its files
    were copied to this place. Do nothing if its first line can't be read, because opening the log
    then fails anyway.
    """
    if settings.only_tenant is None:
        return
    found = None
    with contextlib.suppress(LedgerError), LedgerReader.open(settings.ledger.path) as reader:
        found = reader.genesis.get("tenant")
    if found is not None and found != settings.only_tenant:
        raise LedgerOpenError(
            f"{settings.ledger.path}: this is the ledger of another tenant than "
            f"{settings.only_tenant!r}",
            code="ledger.tenant",
            hint="put the tenant's own ledger and keys back, or correct [ledger] path in its table",
        )


def open_guard(
    cls: Callable[..., G],
    settings: Settings,
    policy_data: Mapping[str, Json] | None,
    tokens: TokenVerifier | None = None,
) -> G:
    """Open or create everything that a guard needs. If a step fails, close everything that was
    opened. *tokens* verifies tokens, if the keys of the issuers have been read already.
    """
    check_identity(settings)
    redaction_rules(settings.redaction)
    # Once more, because arguments and environment variables may have changed the paths.
    refuse_shared_files([settings, *settings.tenants.values()], str(settings.source))
    try:
        return _assemble_guard(cls, settings, policy_data, tokens or _token_verifier(settings))
    except OSError as error:
        # The file belongs to no component: it is a policy, a certificate, or a folder in a path.
        missing = denial_of(error, settings.ledger.path, settings.ledger.path)
        if missing is None:
            raise
        raise _permission_error(missing) from None


def _token_verifier(settings: Settings) -> TokenVerifier | None:
    """Return the verifier of the issuers in the settings, or None if there are none. Warns about
    each issuer whose tokens are refused at first.
    """
    if not settings.identity.issuers:
        return None
    made = TokenVerifier(settings)
    for problem in made.problems():
        warnings.warn(f"{problem.message}; {problem.hint}", RuntimeWarning, stacklevel=5)
    return made


def _assemble_guard(
    cls: Callable[..., G],
    settings: Settings,
    policy_data: Mapping[str, Json] | None,
    tokens: TokenVerifier | None,
) -> G:
    with contextlib.ExitStack() as undo:
        try:
            engine = load_engine(settings, policy_data)
        except PolicyLoadError as error:
            _record_refused_policies(settings, error)
            raise
        undo.callback(engine.close)
        journal, keys = open_journal(settings, epochs=True)
        undo.callback(journal.close)
        anchors = anchor_watch(settings, journal, keys)
        # The sources are durable before the first record that refers to them.
        hold = keep_sources(settings, engine)
        undo.callback(hold.release)
        record_start(settings.ledger.path, journal, settings, keys, engine.identity)
        undo.callback(journal.stop)
        undo.callback(anchors.close)
        retention = RetentionWatch(settings)
        undo.callback(retention.close)
        guard = cls(
            settings=settings,
            engine=engine,
            journal=journal,
            keys=keys,
            policy_data=policy_data,
            anchors=anchors,
            alongside=[retention.close, hold.release],
            tokens=tokens,
        )
        undo.callback(guard.close)
        guard.watch()
        anchors.start()
        if settings.retention.auto:
            retention.start()
        undo.pop_all()
    return guard


def anchor_watch(settings: Settings, journal: Journal, keys: Keys) -> AnchorWatch:
    """Return the anchor watch that runs alongside the calls on *journal*. Raises
    ``ConfigError``.
    """
    signing = keys.signing(actor=current_actor(), epochs=False)
    anchors = anchors_of(settings, signing, journal.log)
    heads = LedgerHeads(settings.ledger.path, journal.log, signing, journal.admin)
    memory = memory_of(settings.anchors, settings.ledger.path, verify_signature)
    key = signing.log_key(journal.log).key
    return AnchorWatch(
        settings.ledger.path,
        heads,
        anchors,
        settings.anchors,
        remember=None if memory is None else lambda note: memory.keep(note, key, heads.prove),
    )


def _record_refused_policies(settings: Settings, error: PolicyLoadError) -> None:
    """Record that policies were rejected, if there is a ledger."""
    if settings.ledger.path.exists():
        # A failure here is less important than the error that the caller raises.
        with contextlib.suppress(LedgerError, KeysError):
            record_refusal(open_journal(settings, epochs=False)[0], error)


def _ledger_settings(settings: Settings, *, epochs: bool) -> LedgerSettings:
    return LedgerSettings(
        # A program that writes one record and ends admits no calls.
        reserve=settings.ledger.reserve_mb << 20 if epochs else 0,
        size_limit=settings.limits.ledger_mb << 20,
        append_deadline=settings.ledger.append_deadline_ms / 1000,
        sweep_interval=float(settings.ledger.sweep_interval_s),
        epoch_interval=float(settings.ledger.epoch_s),
    )


@contextlib.contextmanager
def _creation_lock(path: Path) -> Generator[None]:
    # Two processes that start at the same time in an empty folder must not create two logs. The
    # folder itself is locked, so that no lock file is left behind that would look like a trace of
    # an earlier log.
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        missing = denial_of(error, path.parent, path)
        if missing is not None:
            raise _permission_error(missing) from None
        raise LedgerOpenError(
            f"{path.parent}: can't be opened ({os_reason(error)})",
            code="ledger.folder",
            hint="guardrail doctor",
        ) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _has_keys(settings: Settings) -> bool:
    """Return True if the key folder contains keys. Raises ``LedgerOpenError`` if this process may
    not read the folder.
    """
    folder = settings.key_path
    if folder.is_symlink() and not folder.exists():
        # this is a dangling link, and no permission is missing
        refuse_links(settings.ledger.path, folder)
    missing = find_denial([folder], like=settings.ledger.path, write=False)
    if missing is not None:
        raise _permission_error(missing)
    return has_keys(settings)


def _permission_error(missing: MissingPermission) -> LedgerOpenError:
    return LedgerOpenError(
        f"permission denied: {missing.what}", code="ledger.permission", hint=missing.hint
    )


def _incomplete_log_error(
    settings: Settings, has_keys: bool, left: Sequence[Path]
) -> LedgerOpenError:
    path = settings.ledger.path
    if has_keys and not left:
        found = f"the keys in {settings.key_path} exist, but their ledger {path} does not"
    elif path.exists():
        found = f"the ledger {path} exists, but its keys in {settings.key_path} do not"
    else:
        found = (
            "parts of an earlier log exist "
            f"({', '.join(sorted(item.name for item in left))}), but {path} does not"
        )
    return LedgerOpenError(
        f"{found}: a new log would hide the loss",
        code="ledger.half",
        hint="guardrail recover",
    )

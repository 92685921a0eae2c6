"""Checks everything that guardrail needs, one by one, and suggests a fix for each problem. The only
file that the checks change is their own temporary file.

The checks are ordered by dependency: earlier ones can explain later failures.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.core.words import counted
from guardrail.errors import ConfigError, GuardrailError, KeysError, os_reason
from guardrail.ledger.half_moved import way_to_finish
from guardrail.ledger.sqlite.signs import ledgers_near
from guardrail.review.doctor.environment import (
    engine_version,
    python_version,
    sqlite_version,
    tracing,
)
from guardrail.review.doctor.result import TAIL, Check, CheckState, without_doctor
from guardrail.review.doctor.seal import sealed
from guardrail.review.doctor.settings import released_soon, settings_read, settings_refused
from guardrail.review.doctor.token_keys import lost_token_key
from guardrail.review.values import moment, text
from guardrail.system.disk import is_full, make_room, no_room

if TYPE_CHECKING:
    from guardrail.ledger.reader import LedgerReader

__all__ = ["check_all"]

SYNCS = 15
SLOW_SYNC_MS = 25.0
"""If a sync takes longer than this, every governed call is noticeably slow, because it waits for
two syncs.
"""
FUTURE_S = 5.0


def check_all(
    config: Path | None,
    ledger: Path | None,
    environment: Mapping[str, str],
    *,
    named: bool = True,
    tenant: str | None = None,
    more: Iterable[tuple[str, Callable[[Settings], Check]]] = (),
) -> Iterator[Check]:
    """Yield each check of the settings, or of *tenant*, as soon as it is done, including *more*,
    which have names. A check that can't be carried out is ``unknown``; no check raises an
    exception.
    """
    yield python_version()
    yield engine_version()
    yield sqlite_version()
    try:
        settings = Settings.load(config, environment=environment, named=named, tenant=tenant)
        if ledger is not None:
            settings = settings.override(ledger={"path": ledger.absolute()})
    except ConfigError as error:
        yield settings_refused(error, environment)
        return
    yield settings_read(settings, environment)
    if ledger is not None and _is_new(settings):
        near = ledgers_near(settings.ledger.path)
        other = "specify a different file with --ledger FILE"
        other = f"guardrail doctor --ledger {near[0]}" if near else other
        found = f"there is no ledger at {settings.ledger.path}, and no trace of one"
        yield Check("ledger", CheckState.FAIL, found, other)
        return
    for name, check in (
        ("folder", _folder),
        ("room", _room),
        ("sync", _sync),
        *([("outcome", released_soon)] if settings.ledger.outcome == "soon" else []),
        ("keys", _keys),
        ("identity", _identity),
        *([("classes", _classes)] if _has_own_rules(settings) else []),
        ("policies", _policies),
        *([("opa", _opa)] if settings.policy.engine == "opa" else []),
        *([("engines", _engines)] if settings.policy.cross_check else []),
        ("seal", sealed),
        ("ledger", _ledger),
        *([] if _is_new(settings) else [("opening", _opening)]),
        ("anchors", _anchors),
        ("memory", _memory),
        ("access", _access),
        ("retention", _retention),
        ("suspensions", _suspensions),
        ("leases", _leases),
        ("running", _running),
        *more,
        ("clock", _clock),
    ):
        yield _run_check(name, check, settings)
    yield from (() if ledger is not None or tenant is not None else _tenants(settings))
    yield tracing(environment)


def _run_check(name: str, check: Callable[[Settings], Check], settings: Settings) -> Check:
    try:
        return check(settings)
    except GuardrailError as error:
        return Check(name, CheckState.FAIL, error.message, without_doctor(error.hint))
    except OSError as error:
        place = settings.ledger.path.absolute()
        if is_full(error, place):
            return Check(
                name, CheckState.UNKNOWN, f"can't be examined: {no_room(place)}", make_room(place)
            )
        return Check(
            name,
            CheckState.UNKNOWN,
            f"can't be examined ({os_reason(error)})",
            "run doctor as the user that runs the agents",
        )


def _tenants(settings: Settings) -> Iterator[Check]:
    from guardrail.review.doctor.tenants import other_tenants

    own = (("folder", _folder), ("keys", _keys), ("policies", _policies), ("seal", sealed))
    return other_tenants(settings, own, _run_check)


def _engines(settings: Settings) -> Check:
    from guardrail.review.doctor.policies import compared_engines

    return compared_engines(settings)


def _folder(settings: Settings) -> Check:
    from guardrail.anchoring import check_missing
    from guardrail.ledger.files import network_filesystem
    from guardrail.wiring.ledger_folder import check_private, disk_of, refuse_second_log

    if not os.path.exists(settings.ledger.path):
        refuse_second_log(settings)
        check_missing(settings)
    folder = settings.ledger.path.absolute().parent
    if os.path.lexists(folder) and not os.path.isdir(folder):
        return Check("folder", CheckState.FAIL, f"{folder} is not a folder", "move that file away")
    check_private(settings.ledger.path.absolute())
    place = disk_of(settings)
    if place is None:
        return Check("folder", CheckState.FAIL, f"{folder} does not exist", f"mkdir -p {folder}")
    kind = network_filesystem(place)
    if kind is not None:
        return Check(
            "folder",
            CheckState.FAIL,
            f"{folder} is on a network file system ({kind})",
            "put the ledger on a local disk",
        )
    if not os.access(place, os.W_OK | os.X_OK):
        from guardrail.review.doctor.opening import way_to_write

        return Check("folder", CheckState.FAIL, f"{place} can't be written to", way_to_write(place))
    is_new = place != folder
    return Check(
        "folder", CheckState.OK, f"{folder}{'; the first guard creates it' if is_new else ''}"
    )


def _room(settings: Settings) -> Check:
    from guardrail.review.doctor.room import room

    return room(settings)


def _sync(settings: Settings) -> Check:
    """Measure how long a sync takes. This writes 8 KiB to a separate file in the ledger's folder,
    and calls fdatasync, as the ledger does.
    """
    from guardrail.wiring.ledger_folder import disk_of

    folder = disk_of(settings)
    if folder is None:
        return Check("sync", CheckState.UNKNOWN, "not measured: there is no folder")
    path = folder / f".guardrail-doctor-{os.getpid()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    times = []
    try:
        for _ in range(SYNCS):
            os.write(descriptor, b"\0" * 8192)
            started = time.perf_counter()
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)
    times.sort()
    middle, worst = times[len(times) // 2], times[-1]
    waits = "one" if settings.ledger.outcome == "soon" else "two"
    found = f"median {middle:.2f} ms, worst of {SYNCS} {worst:.2f} ms; a call waits for {waits}"
    if middle > SLOW_SYNC_MS:
        return Check("sync", CheckState.NOTE, found, "put the ledger on a faster disk")
    if middle < 0.02:
        return Check(
            "sync",
            CheckState.NOTE,
            f"{found}: too fast for a disk",
            "acceptable for a trial; records in memory do not survive a reboot",
        )
    return Check("sync", CheckState.OK, found)


def _is_new(settings: Settings) -> bool:
    from guardrail.ledger.files import traces

    try:
        return not traces(settings.ledger.path) and not _has_keys(settings)
    except OSError:
        return False  # the state is unknown, and the checks give the reason


def _way_to_begin(settings: Settings) -> str:
    if settings.source is None and not any(path.exists() for path in settings.policy.path):
        return "guardrail init, or open a guard"
    return "open a guard with these settings, which creates both"


def _has_keys(settings: Settings) -> bool:
    folder = settings.key_path.absolute()
    return folder.is_dir() and any(folder.iterdir())


def _keys(settings: Settings) -> Check:
    from guardrail.keys.log_key import Keys

    folder = settings.key_path.absolute()
    if _is_new(settings):
        return Check(
            "keys",
            CheckState.NOTE,
            "none yet, and no ledger: both are created together",
            _way_to_begin(settings),
        )
    if not _has_keys(settings):
        return Check(
            "keys",
            CheckState.FAIL,
            f"the ledger exists, but its key folder {folder} does not",
            way_to_finish(settings.ledger.path)
            or "restore the folder from a backup, or run guardrail recover",
        )
    try:
        keys = Keys.load(folder, signer=settings.keys.signer)
    except KeysError as error:
        return Check("keys", CheckState.FAIL, error.message, error.hint)
    for item in sorted(folder.iterdir()):
        mode = stat.S_IMODE(item.stat().st_mode)
        if mode & 0o077:
            return Check(
                "keys",
                CheckState.FAIL,
                f"others can read {item} (mode {mode:o})",
                f"chmod 600 {item}",
            )
    public = folder / "log.pub"
    if not public.is_file() or public.read_bytes().strip() != keys.public.encode():
        return Check(
            "keys",
            CheckState.FAIL,
            f"{public} does not contain the public half of log.key, so verify --key {public} fails",
            "compare the first line that guardrail keys prints with the key that verifiers have "
            "stored, and write that line to the file",
        )
    return lost_token_key(settings, keys) or Check(
        "keys", CheckState.OK, f"{folder}, readable only by their owner"
    )


def _opa(settings: Settings) -> Check:
    from guardrail.review.doctor.opa import server

    return server(settings)


def _anchors(settings: Settings) -> Check:
    from guardrail.review.doctor.anchors import anchors

    return anchors(settings)


def _memory(settings: Settings) -> Check:
    from guardrail.review.doctor.memory import memory

    return memory(settings)


def _access(settings: Settings) -> Check:
    from guardrail.review.doctor.access import access_log

    return access_log(settings)


def _policies(settings: Settings) -> Check:
    from guardrail.review.doctor.policies import policies

    return policies(settings)


def _open(settings: Settings) -> contextlib.AbstractContextManager[LedgerReader]:
    from guardrail.ledger.reader import LedgerReader

    return LedgerReader.open(settings.ledger.path)


def _ledger(settings: Settings) -> Check:
    from guardrail.ledger.files import traces
    from guardrail.review.doctor.chain import bad_link, misleading_table

    path = settings.ledger.path.absolute()
    if _is_new(settings):
        return Check("ledger", CheckState.NOTE, f"none yet at {path}", _way_to_begin(settings))
    if path.is_symlink() and not path.exists():
        found = f"{path} is a broken link"
        return Check("ledger", CheckState.FAIL, found, "point it at the ledger, or remove it")
    if not path.exists():
        left = (
            ", ".join(sorted(item.name for item in traces(path)))
            or f"the keys in {settings.key_path}"
        )
        return Check(
            "ledger",
            CheckState.FAIL,
            f"{path} is missing, but parts of its log exist: {left}",
            way_to_finish(path) or "guardrail recover",
        )
    with _open(settings) as reader:
        size = reader.size()
        start = max(0, size - TAIL)
        bad = bad_link(reader, start)
        wrong = misleading_table(reader, start) if bad is None else ""
        log, first = reader.log, reader.first()
    if bad is not None:
        wrong = f"the chain is broken at record {bad}"
    if wrong:
        return Check("ledger", CheckState.FAIL, wrong, "guardrail verify")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check(
            "ledger",
            CheckState.NOTE,
            f"others can read {path} (mode {mode:o})",
            f"chmod 600 {path}",
        )
    part = "all of them" if start == 0 else f"the last {size - start:,}"
    if first > 1:
        part = f"those from record {max(first, start):,} on; older ones were pruned"
    return Check(
        "ledger",
        CheckState.OK,
        f"log {log}, {counted(size, 'record')}, chain intact over {part} (guardrail verify checks"
        " more)",
    )


def _opening(settings: Settings) -> Check:
    from guardrail.review.doctor.opening import opening

    return opening(settings)


def _identity(settings: Settings) -> Check:
    from guardrail.review.doctor.identity import identity

    return identity(settings)


def _has_own_rules(settings: Settings) -> bool:
    return bool(settings.redaction.keys or settings.redaction.patterns)


def _classes(settings: Settings) -> Check:
    from guardrail.review.doctor.site_classes import site_classes

    return site_classes(settings)


def _retention(settings: Settings) -> Check:
    from guardrail.review.doctor.retention import retention

    return retention(settings)


def _suspensions(settings: Settings) -> Check:
    from guardrail.review.doctor.suspended import suspended

    return suspended(settings)


def _leases(settings: Settings) -> Check:
    from guardrail.review.doctor.leases import leases

    return leases(settings)


def _running(settings: Settings) -> Check:
    from guardrail.review.doctor.running import running

    return running(settings)


def _clock(settings: Settings) -> Check:
    now = datetime.now(UTC)
    if not settings.ledger.path.exists():
        return Check("clock", CheckState.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC")
    with _open(settings) as reader:
        size = reader.size()
        line = reader.record(size - 1) if size else None
    last = moment(text(decode(line), "ts")) if line is not None else None
    if last is None:
        return Check(
            "clock",
            CheckState.UNKNOWN,
            "the last record has no timestamp to compare with",
            "guardrail verify",
        )
    ahead = (last - now).total_seconds()
    if ahead > FUTURE_S:
        return Check(
            "clock",
            CheckState.NOTE,
            f"the last record is {ahead:,.0f} s ahead of this clock",
            "check the time service; the order of records does not depend on the clock",
        )
    return Check("clock", CheckState.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC, not behind the last record")

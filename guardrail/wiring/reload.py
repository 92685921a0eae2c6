"""Asks running guards, from another process, to reload their policies.

A request is one small file next to the ledger. Guards check for it once a second; only a request
(or ``guard.reload()``) makes them read policies again. The ledger records the result:
``admin.policy_loaded``, or ``admin.policy_refused`` if the new policies were rejected and the old
ones stay in force.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.config import NO_SECTIONS, Settings
from guardrail.core.log import fields as log_fields
from guardrail.core.types import PolicyIdentity
from guardrail.errors import GuardrailError, LedgerError
from guardrail.keys.log_key import Keys
from guardrail.ledger.kept_policies import PolicyHold
from guardrail.system.disk import is_full, make_room, why_not_written
from guardrail.system.ownership import denial_of, new_file
from guardrail.system.threads import BackgroundThread, OnceEvent

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine, LoadedEngine

__all__ = [
    "ReloadWatch",
    "RetiredEngines",
    "load_again",
    "record_refused",
    "reloaded",
    "request",
    "request_path",
    "settings_reader",
]

_RELOADABLE = frozenset({"opa", "policy"})
"""The sections that a reload applies: the engine's settings. Everything else is read only at
start.
"""
_AT_START = frozenset({"policy.input"})
"""Keys in those sections that are also read only at start, because sessions and records depend on
them.
"""

_INTERVAL = 1.0
_BLOCK = 4096
"""Disk space that a request needs, in bytes."""


def settings_reader(settings: Settings) -> Callable[[], Settings]:
    """Return a function that reads the file of *settings* again.

    Values that the program or the environment overrode when the guard was opened stay unchanged, so
    a later change to the working directory or the environment does not change a path. Settings
    without a file stay the same.
    """
    source = settings.source
    if source is None:
        return lambda: settings

    def read() -> Settings:
        now = Settings.load(source, environment={}).of_tenant(settings.identity.tenant)
        for section, name in sorted(settings.overridden):
            part = replace(getattr(now, section), **{name: _get(settings, section, name)})
            now = replace(now, **{section: part})
        return now

    return read


def _setting_fields() -> Iterator[tuple[Field[Any], Field[Any]]]:
    defaults = Settings()
    for section in fields(Settings):
        if section.name not in NO_SECTIONS:
            for item in fields(getattr(defaults, section.name)):
                yield section, item


def _get(settings: Settings, section: str, name: str) -> object:
    return getattr(getattr(settings, section), name)


def reloaded(current: Settings, read: Settings) -> tuple[Settings, list[str], list[str]]:
    """Return the settings in force after a reload, the names of the changed settings, and those
    that need a restart.

    *current* are the settings now in force, and *read* are those now in the file. Names have the
    form ``section.key``.
    """
    applied: dict[str, Any] = {}
    changed: list[str] = []
    restart: list[str] = []
    for section, item in _setting_fields():
        now = _get(read, section.name, item.name)
        if _get(current, section.name, item.name) == now:
            continue
        name = f"{section.name}.{item.name}"
        if section.name in _RELOADABLE and name not in _AT_START:
            part = applied.get(section.name, getattr(current, section.name))
            applied[section.name] = replace(part, **{item.name: now})
            changed.append(name)
        else:
            restart.append(name)
    return replace(current, **applied), changed, restart


def load_again(
    current: Settings,
    read: Settings,
    *,
    load: Callable[[Settings], LoadedEngine],
    keep: Callable[[Settings, LoadedEngine], PolicyHold],
    previous: PolicyIdentity,
    record: Callable[[str, Mapping[str, Any]], object],
    keys: Keys,
) -> tuple[Settings, Engine, PolicyHold]:
    """Load the engine specified in the settings *read*. Return the settings in force, the engine,
    and the hold on its kept sources.

    *keys* are those of the log. The sources are kept by *keep*, and then the
    ``admin.policy_loaded`` record is written; both are durable when this returns. Raises the same
    exceptions as *load*, *keep* and *record*; in that case, no new engine is left running.
    """
    settings, changed, restart = reloaded(current, read)
    engine = load(settings)
    hold = PolicyHold()
    try:
        hold = keep(settings, engine)
        record(
            "policy_loaded",
            {
                "policy": log_fields.policy(engine.identity),
                "previous": log_fields.policy(previous),
                "config": settings.digest(keys.tenant("default")),
                "changed": changed,
                "restart": restart,
            },
        )
    except BaseException:
        hold.release()
        engine.close()
        raise
    return settings, engine, hold


def record_refused(
    record: Callable[[str, Mapping[str, Any]], object],
    error: GuardrailError,
    kept: PolicyIdentity,
) -> None:
    """Record ``admin.policy_refused`` if the ledger can be written to; *kept* identifies the
    policies that stay in force.
    """
    with contextlib.suppress(LedgerError):
        record("policy_refused", {"code": error.code, "kept": log_fields.policy(kept)})


class RetiredEngines:
    """Engines that a reload replaced. Each is closed after its decisions have ended, and the hold
    on its kept sources is released.
    """

    def __init__(self) -> None:
        self._engines: list[tuple[Callable[[], None], threading.Timer]] = []

    def add(self, engine: Engine, hold: PolicyHold, seconds: float) -> None:
        """Close *engine* and release *hold* after *seconds*."""

        def close() -> None:
            engine.close()
            hold.release()

        timer = threading.Timer(seconds, close)
        timer.daemon = True
        self._engines.append((close, timer))  # first, because Ctrl-C can interrupt the start
        timer.start()

    def close(self) -> None:
        """Cancel the timers and close every engine immediately."""
        for close, timer in self._engines:
            timer.cancel()
            close()
        self._engines.clear()


def request_path(ledger: Path) -> Path:
    """Return the path of the request for the guards of *ledger*."""
    return ledger.with_name(ledger.name + "-reload")


def request(ledger: Path, digest: str) -> None:
    """Ask every guard that runs on *ledger* to reload its policies. *digest* is the expected digest
    of the policies. Raises ``LedgerError`` if the request can't be written.
    """
    path = request_path(ledger)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # left by a dead process with the same process id
        with os.fdopen(new_file(temporary, ledger), "w", encoding="utf-8") as out:
            out.write(json.dumps({"digest": digest}) + "\n")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        missing = denial_of(error, path, ledger)
        room = make_room(path) if is_full(error, path) else "guardrail doctor"
        raise LedgerError(
            f"no guard was notified: {path} can't be written"
            f" ({why_not_written(error, path, _BLOCK)})",
            code="ledger.reserve" if is_full(error, path) else "ledger.unwritable",
            hint=room if missing is None else missing.hint,
        ) from None


class ReloadWatch:
    """Calls *reload* in a separate thread when a request appears or changes. A request that already
    exists is ignored.
    """

    def __init__(
        self,
        ledger: Path,
        reload: Callable[[], object],
        refused: Callable[[GuardrailError], object],
    ) -> None:
        self._path = request_path(ledger)
        self._reload = reload
        self._refused = refused
        self._seen = self._request_version()
        self._stop = OnceEvent()
        # Threads do not survive a fork, so a child starts its own watch.
        watch = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _start_again(watch()))

    def start(self) -> None:
        """Start watching."""
        BackgroundThread(self._run, "guardrail-reload").start()

    def start_again(self) -> None:
        """Watch in this forked child, unless the watch was closed."""
        if not self._stop.is_set():
            self._stop = OnceEvent()
            self.start()

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._stop.set()

    def _request_version(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns)

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            mark = self._request_version()
            if mark is None or mark == self._seen:
                continue
            try:
                self._reload()
            except LedgerError:
                # The policies were not loaded, because the record could not be written. The next
                # check tries again.
                continue
            except GuardrailError as error:
                self._refused(error)
            self._seen = mark


def _start_again(watch: ReloadWatch | None) -> None:
    if watch is not None:
        watch.start_again()

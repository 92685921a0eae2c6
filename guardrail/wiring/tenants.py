"""Opens the guards of the tenants in the settings, each one when its first session is entered, and
closes those that are idle.

Each tenant's guard has its own ledger, keys, policies, worker and threads, so a failure in one of
them affects only that tenant.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from guardrail.config import Settings
from guardrail.config.tenants import refuse_shared_files
from guardrail.errors import ConfigError, GuardrailError, IdentityError, LedgerError, UsageError
from guardrail.system.threads import BackgroundThread
from guardrail.system.waiting import in_background, wait_async

__all__ = ["TenantGuards"]

_RETRY = 5.0
"""Seconds for which a tenant whose guard could not be opened gets the same error again, so that
its sessions do not delay those of other tenants.
"""
_RECENT = 30.0
"""Seconds since its last use for which a guard stays open even if there are too many."""
_TICK = 10.0
"""Seconds between two searches for idle guards."""


class _TenantGuard(Protocol):
    def is_idle(self) -> bool: ...

    def close(self) -> None: ...


G = TypeVar("G", bound=_TenantGuard)


@dataclass(slots=True)
class _OpenGuard(Generic[G]):
    guard: G
    used: float
    """Time of the last use (``time.monotonic()``)."""


class TenantGuards(Generic[G]):
    """The guards of all tenants of a process. Thread-safe."""

    def __init__(self, settings: Settings, own: G, open_guard: Callable[[Settings], G]) -> None:
        """*own* is the guard with *settings*. *open_guard* opens the guard of a tenant that has a
        table in them.
        """
        self._settings = settings
        self._own = own
        self._open = open_guard
        self._opened: dict[str, _OpenGuard[G]] = {}
        self._failed: dict[str, tuple[float, GuardrailError]] = {}
        self._locks: dict[tuple[int, str], threading.Lock] = {}
        self._opening: dict[tuple[int, str], Future[G]] = {}
        """The guards that event loops wait for, by process and tenant."""
        self._stamp = self._read_stamp()
        self._closed = threading.Event()
        self._watching = 0
        """Process id of the process that watches for idle guards, or 0."""
        self.several = bool(settings.tenants)
        """True if tenants have tables. Otherwise, all tenants share the ledger of *own*."""

    def get(self, name: str) -> G:
        """Return the guard of the tenant *name*, and open it if it is not open. Without tables,
        that is *own*.

        The settings file is read again if it has changed, so new and disabled tenants take effect.
        Raises ``IdentityError`` if there is no such tenant or it is disabled, and the exceptions of
        ``Guard.open``.
        """
        if name == self._settings.identity.tenant:
            return self._own
        if self._settings.tenant_table:
            raise IdentityError(
                f"this guard serves only the tenant {self._settings.identity.tenant!r}",
                code="identity.tenant",
                hint="open a guard with all settings: Guard.open(FILE)",
            )
        if not self.several:
            return self._own
        settings = self._settings_of(name)
        found = self._opened.get(name)
        if found is not None:
            found.used = time.monotonic()
            if self._opened.get(name) is found:  # see _close_if_idle
                return found.guard
        return self._open_once(name, settings)

    async def aget(self, name: str) -> G:
        """Async version of ``get``: a thread opens the guard, so that the tasks of other tenants do
        not wait for it.
        """
        if not self.several or name in self._opened or name == self._settings.identity.tenant:
            return self.get(name)
        place = os.getpid(), name
        opening = self._opening.get(place)
        if opening is None:
            opening = self._opening[place] = in_background(lambda: self.get(name))
            # A finished opening must not hold a guard that has been closed since.
            opening.add_done_callback(lambda _: self._opening.pop(place, None))
        return await wait_async(opening, None)

    def close(self) -> None:
        """Close the guards of the tenants in the tables. Idempotent."""
        self._closed.set()
        for name in list(self._opened):
            with self._lock(name):
                found = self._opened.pop(name, None)
            if found is not None:
                found.guard.close()

    def _open_once(self, name: str, settings: Settings) -> G:
        with self._lock(name):
            found = self._opened.get(name)
            if found is not None:
                return found.guard
            if self._closed.is_set():
                raise _closed_error()
            since, error = self._failed.get(name, (0.0, None))
            if error is not None and time.monotonic() - since < _RETRY:
                raise error.with_traceback(None)
            try:
                self._refuse_shared_files(settings)
                made = self._open(settings)
            except GuardrailError as failure:
                self._failed[name] = time.monotonic(), failure
                raise
            self._failed.pop(name, None)
            self._opened[name] = _OpenGuard(made, time.monotonic())
            # ``close`` may have looked for open guards before this one was added.
            if self._closed.is_set():
                del self._opened[name]
                made.close()
                raise _closed_error()
        self._watch()
        return made

    def _refuse_shared_files(self, settings: Settings) -> None:
        """Raise ``ConfigError`` if another tenant has a file of this one by now, for example by a
        link that was made after the settings were read.
        """
        own = settings.identity.tenant
        for other in (self._settings, *self._settings.tenants.values()):
            if other.identity.tenant != own:
                refuse_shared_files([other, settings], str(settings.source))

    # -- idle guards -------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._watching != os.getpid():
            self._watching = os.getpid()
            BackgroundThread(self._close_idle_guards, "guardrail-tenants").start()

    def _close_idle_guards(self) -> None:
        while not self._closed.wait(_TICK):
            self.close_idle(time.monotonic())

    def close_idle(self, now: float) -> None:
        """Close the guards that have not been used for a while, and the least recently used ones if
        too many are open. A guard with a call in progress stays open.
        """
        limits = self._settings.limits
        by_age = sorted(self._opened.items(), key=lambda item: item[1].used)
        surplus = len(by_age) - limits.open_tenants
        for index, (name, found) in enumerate(by_age):
            patience = _RECENT if index < surplus else limits.tenant_idle_s
            if now - found.used >= patience:
                self._close_if_idle(name, found)

    def _close_if_idle(self, name: str, found: _OpenGuard[G]) -> None:
        used = found.used
        try:
            if not found.guard.is_idle():
                return
        except LedgerError:
            return  # its calls report this
        with self._lock(name):
            if self._opened.get(name) is not found:
                return
            # A caller first notes the use and then looks whether the guard is still here. So either
            # this thread sees the use, or the caller waits for the lock.
            del self._opened[name]
            if found.used != used:
                self._opened[name] = found
                return
            found.guard.close()

    # -- settings ----------------------------------------------------------------------------------

    def _settings_of(self, name: str) -> Settings:
        """Return the settings of *name*. Raises ``IdentityError``."""
        self._refresh()
        settings = self._settings.tenants.get(name)
        if settings is None:
            raise IdentityError(
                "there is no such tenant in the settings",
                code="identity.tenant",
                hint="guardrail tenants list; guardrail tenants add NAME",
            )
        if settings.disabled:
            raise IdentityError(
                f"tenant {name!r} is disabled",
                code="identity.tenant_disabled",
                hint=f"to enable it: guardrail tenants enable {name}",
            )
        return settings

    def _refresh(self) -> None:
        """Read the tables again if the file has changed. A file that can't be read, or in which
        tenants share files, changes nothing until it changes again: it may be half-written.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp or self._settings.source is None:
            return
        named = not self._settings.only_found
        try:
            read = Settings.load(self._settings.source, environment={}, named=named)
            # The files of this guard are those that it has opened, whatever the file says now.
            refuse_shared_files([self._settings, *read.tenants.values()], str(read.source))
            # The stamp follows, so that no other call uses the old tables meanwhile.
            self._settings = replace(self._settings, tenants=read.tenants)
        except ConfigError:
            pass
        self._stamp = stamp

    def _read_stamp(self) -> tuple[int, int, int] | None:
        source = self._settings.source
        try:
            about = None if source is None else os.stat(source)
        except OSError:
            return None
        return None if about is None else (about.st_mtime_ns, about.st_size, about.st_ino)

    def _lock(self, name: str) -> threading.Lock:
        # A child that is forked during a start would never get its parent's lock.
        return self._locks.setdefault((os.getpid(), name), threading.Lock())


def _closed_error() -> UsageError:
    return UsageError("this guard is closed", code="usage.closed")

"""Checks the proxy's settings before the proxy is started."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from guardrail.config import IdentitySettings, ProxySettings
from guardrail.core.words import counted
from guardrail.errors import ConfigError, os_reason
from guardrail.proxy.accepted_tools import read_accepted
from guardrail.proxy.callers import CallerIdentity
from guardrail.proxy.listening import listener_rules, listener_tls
from guardrail.proxy.upstream import Upstream
from guardrail.proxy.verified_callers import check_token_header

__all__ = ["check_settings"]


def check_settings(settings: ProxySettings, identity: IdentitySettings) -> str:
    """Return a one-line description of a proxy with *settings*, whose guard has the settings
    *identity*. Raises ``ConfigError`` for settings with which the proxy would not start, and for
    files that other users could change or read.
    """
    if settings.upstream:
        Upstream(settings.upstream, idle_s=settings.upstream_idle_s, connect_s=1)
    address, _ = listener_rules(settings, verified=identity.require == "verified")
    if settings.tls_key is not None:
        _check_mode(settings.tls_key, 0o077, "other users can read the certificate's key")
    listener_tls(settings)
    CallerIdentity(settings)
    check_token_header(settings, verifies=bool(identity.issuers))
    accepted = read_accepted(settings.tools)
    if settings.tools.exists():
        _check_mode(settings.tools, 0o022, "other users can change which tools are declared")
    place = settings.upstream or "no upstream in the settings"
    return f"{address} to {place}; {counted(len(accepted), 'accepted tool')}"


def _check_mode(path: Path, forbidden: int, problem: str) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({os_reason(error)})") from None
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path}: {problem}: another user owns it", hint=f"chown this user {path}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden:
        raise ConfigError(f"{path}: {problem}", hint=f"chmod {mode & ~forbidden:o} {path}")

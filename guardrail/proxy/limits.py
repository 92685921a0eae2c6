"""ProxyLimits of the proxy that have no setting."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProxyLimits"]

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """How long the proxy waits, and how much it reads."""

    keep_alive_s: float = 10
    """Seconds between two signs of life while an answer waits for a decision."""
    connect_s: float = 10
    """Seconds in which a connection to the upstream must be there."""
    answer_s: float = 3600
    """Seconds in which an answer must end."""
    answer: int = 128 * _MB
    """Bytes of an answer that is governed."""
    error: int = _MB
    """Bytes of an error of the upstream."""
    passed: int = 2048 * _MB
    """Bytes of a body that passes without being governed."""

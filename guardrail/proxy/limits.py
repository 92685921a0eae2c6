"""Limits of the proxy that can't be configured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProxyLimits"]

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """The proxy's time limits and size limits."""

    keep_alive_s: float = 10
    """Seconds between two signs of life while an answer waits for a decision."""
    connect_s: float = 10
    """Time limit for a connection to the upstream, in seconds."""
    answer_s: float = 3600
    """Time limit for a complete answer, in seconds."""
    answer: int = 128 * _MB
    """Maximum size, in bytes, of a governed answer. It is only reached by a stream."""
    whole: int = 32 * _MB
    """Maximum size, in bytes, of a governed answer that is not a stream: it is held in memory."""
    error: int = _MB
    """Maximum size, in bytes, of an error from the upstream."""
    passed: int = 2048 * _MB
    """Maximum size, in bytes, of a body that is passed on without being governed."""

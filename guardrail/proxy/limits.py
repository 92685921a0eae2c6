"""Limits of the proxy that can't be configured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProxyLimits"]

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """The proxy's time limits and size limits."""

    keep_alive_s: float = 10
    """Seconds between keep-alives while a response waits for a decision."""
    connect_s: float = 10
    """Time limit for connecting to the upstream, in seconds."""
    answer_s: float = 3600
    """Time limit for a complete response, in seconds."""
    answer: int = 128 * _MB
    """Maximum size, in bytes, of a governed response. Only streams can reach it."""
    whole: int = 32 * _MB
    """Maximum size, in bytes, of a governed response that is not a stream and is therefore held in
    memory.
    """
    error: int = _MB
    """Maximum size, in bytes, of an error response from the upstream."""
    passed: int = 2048 * _MB
    """Maximum size, in bytes, of an ungoverned body that is passed on."""

"""Texts as the detectors leave them."""

from __future__ import annotations

from guardrail.core.redaction.detectors.scan import scan, scan_secrets


def removed(text: str) -> list[tuple[str, str]]:
    """Return what the detectors find in *text*, each with its class."""
    return [(text[hit.start : hit.end], hit.cls) for hit in scan(text)]


def without_secrets(text: str) -> str:
    """Return *text* with ``#`` in place of each secret that is found in it."""
    for hit in reversed(scan_secrets(text)):
        text = text[: hit.start] + "#" + text[hit.end :]
    return text

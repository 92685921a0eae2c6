"""Creates the anchors that the settings configure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from guardrail.anchors.anchor import Anchor
from guardrail.anchors.file import FileAnchor, check_place
from guardrail.anchors.stream import StreamAnchor, SyslogAnchor
from guardrail.anchors.tsa import TimestampAnchor
from guardrail.anchors.witness.client import WitnessAnchor
from guardrail.config import AnchorSettings
from guardrail.core.log.checkpoint import NoteKey, Verify
from guardrail.errors import ConfigError, NoteError

__all__ = ["configured", "is_configured"]


def is_configured(settings: AnchorSettings) -> bool:
    """Return True if any anchor is configured."""
    return bool(
        settings.file
        or settings.syslog
        or settings.witness
        or settings.tsa
        or settings.stream != "none"
    )


def configured(
    settings: AnchorSettings,
    *,
    ledger: Path,
    key: NoteKey,
    verify: Verify,
    certificates: Callable[[Path], Sequence[Any]],
    deadline: float = 10.0,
) -> list[Anchor]:
    """Return the configured anchors of *ledger*; *key* is its log key. Anchors that sign come
    first, so that the other anchors also store their signatures.

    No anchor is contacted. Raises ``ConfigError``.
    """
    _check_lag(settings)
    anchors: list[Anchor] = [
        _witness(text, settings.witness_ca, verify, deadline) for text in settings.witness
    ]
    names = [each.name for each in anchors]
    if len(set(names)) != len(names):
        raise ConfigError(
            "[anchors] witness: two witnesses have the same name",
            code="config.anchor_key",
            hint="list each witness once",
        )
    if settings.tsa:
        anchors.append(_authority(settings, ledger, certificates, deadline))
    if settings.file is not None:
        check_place(settings.file, ledger)
        anchors.append(FileAnchor(settings.file, key=key, verify=verify, ledger=ledger))
    if settings.syslog is not None:
        anchors.append(SyslogAnchor(settings.syslog))
    if settings.stream != "none":
        stream = sys.stdout if settings.stream == "stdout" else sys.stderr
        anchors.append(StreamAnchor(stream, name=settings.stream))
    return anchors


def _check_lag(settings: AnchorSettings) -> None:
    if not (settings.max_lag_s or settings.max_lag_records):
        return
    if not is_configured(settings):
        raise ConfigError(
            "[anchors] max_lag_s or max_lag_records is set, but there is no anchor: every call"
            " would be denied",
            code="config.anchor_lag",
            hint="set an anchor in [anchors], or remove the limit",
        )
    if 0 < settings.max_lag_s <= settings.interval_s:
        raise ConfigError(
            "[anchors] max_lag_s is not greater than interval_s, so calls would be denied "
            "between two heads",
            code="config.anchor_lag",
            hint="set it to twice interval_s or more",
        )
    if 0 < settings.max_lag_records <= settings.records:
        raise ConfigError(
            "[anchors] max_lag_records is not greater than records, so calls would be denied "
            "between two heads",
            code="config.anchor_lag",
            hint="set it to twice records or more",
        )


def _witness(text: str, ca: Path | None, verify: Verify, deadline: float) -> WitnessAnchor:
    url, _, rest = text.strip().partition(" ")
    try:
        key = NoteKey.parse(rest)
    except NoteError as error:
        raise ConfigError(
            f"[anchors] witness must be a URL, a space and the witness's key ({error.message})",
            code="config.anchor_key",
            hint="guardrail witness init prints the key",
        ) from None
    return WitnessAnchor(
        url,
        key=key,
        verify=verify,
        ca=ca if url.startswith("https:") else None,
        deadline=deadline,
    )


def _authority(
    settings: AnchorSettings,
    ledger: Path,
    certificates: Callable[[Path], Sequence[Any]],
    deadline: float,
) -> TimestampAnchor:
    if settings.tsa_root is None:
        raise ConfigError(
            "[anchors] tsa needs tsa_root: otherwise, anyone's timestamps would be accepted",
            code="config.anchor_tls",
            hint="set tsa_root to the file with the authority's root certificate",
        )
    tokens = settings.tsa_tokens
    return TimestampAnchor(
        settings.tsa,
        roots=certificates(settings.tsa_root),
        tokens=tokens if tokens is not None else ledger.with_name(ledger.name + "-timestamps"),
        deadline=deadline,
        ledger=ledger,
    )

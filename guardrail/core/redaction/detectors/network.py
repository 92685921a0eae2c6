"""Detects IP addresses, and distinguishes them from versions, times and names in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv6Address

from guardrail.core.redaction.spans import Hit, before

__all__ = ["addresses"]

_FOUR = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[\w])")
_DOTS = re.compile(r"\.[0-9]{1,3}\.[0-9]")
"""Part of every IPv4 address. It begins with a literal, because ``re`` searches for those fast."""
_SIX = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:(?=:)){1,7}(?::[0-9A-Fa-f]{0,4}|[0-9A-Fa-f]{1,4})(?::[0-9A-Fa-f]{1,4}){0,6}(?![\w:])"
)
_VERSION = re.compile(
    r"(?:\b(?:version|release|build|firmware|ver|rev|oid|section|chapter|clause|update|upgrade[sd]?|upgraded? to)|==|>=|<=|~=|@)[^\w\n]{0,4}\Z",
    re.IGNORECASE,
)
_OWN = re.compile(r"\b(?:ip|login|client|customer|user)\b[^\n]{0,14}\Z", re.IGNORECASE)
_HOST = re.compile(
    r"(?:\bips?|host|dns|server|addr\w*|ping|client|gateway|resolver|peer|from|connect\w*)\W[^\n]{0,12}\Z",
    re.IGNORECASE,
)


def addresses(text: str) -> Iterator[Hit]:
    """Yield IPv4 and IPv6 addresses, except those of the host itself, masks and versions."""
    if _DOTS.search(text) is not None:
        for match in _FOUR.finditer(text):
            if _is_host(text, match):
                yield Hit(match.start(), match.end(), "device", "ip")
    if "::" in text or text.count(":") >= 7:
        for match in _SIX.finditer(text):
            if _is_six(match.group()):
                yield Hit(match.start(), match.end(), "device", "ip")


def _is_host(text: str, match: re.Match[str]) -> bool:
    parts = [int(part) for part in match.group().split(".")]
    if max(parts) > 255 or parts[0] in {0, 127, 255} or parts[0] >= 224:
        return False
    if any(part[0] == "0" and len(part) > 1 for part in match.group().split(".")):
        return False
    start, end = match.span()
    left = before(text, start, 24)
    if left and left[-1] in "-/" and left[-2:-1].isalnum() and not left[-2].isdigit():
        return False  # a product and its version
    if text[end : end + 1] in {"-", "+"} and text[end + 1 : end + 2].isalpha():
        return False
    if _VERSION.search(left) is not None:
        return False
    if (
        parts[0] == 10
        or parts[:2] in ([192, 168], [169, 254])
        or (parts[0] == 172 and 16 <= parts[1] < 32)
    ):
        # Private addresses are those of machines, unless the text says otherwise.
        return _OWN.search(left) is not None
    # An outline or a version has small numbers.
    return max(parts) > 9 or _HOST.search(left) is not None


def _is_six(text: str) -> bool:
    groups = [group for group in text.split(":") if group]
    if "::" not in text and len(groups) != 8:
        return False
    # Names in code are joined by "::" as well.
    if len(groups) < 3 or not any(char.isdigit() for char in text):
        return False
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True

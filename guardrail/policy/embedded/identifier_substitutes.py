"""Replacements for the built-in functions that read versions and UUIDs. They return OPA's results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from rego_values import require_text  # type: ignore[import-not-found]  # found in its own folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_DIGITS = frozenset("0123456789")
_LETTERS = _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")
_LARGEST = 2**63


# Semantic versions.


class _Doubtful(Exception):
    """A text that only some versions of OPA accept as a version."""


def _version(text: str) -> tuple[list[int], str] | None:
    """Return the numbers and the pre-release of a version, or None if *text* is not one. Raises
    ``_Doubtful``.
    """
    rest, plus, metadata = text.removeprefix("v").partition("+")
    rest, dash, release = rest.partition("-")
    numbers, parts = rest.split("."), release.split(".") if release else []
    for part in (*parts, *(metadata.split(".") if metadata else ())):
        if not part or not _LETTERS.issuperset(part):
            return None
    if len(numbers) != 3:
        return None
    for number in numbers:
        if not number or not _DIGITS.issuperset(number) or len(number.lstrip("0")) > 19:
            return None
        if int(number) >= _LARGEST:
            return None
    whole = [*numbers, *(part for part in parts if _DIGITS.issuperset(part))]
    zeros = any(number[0] == "0" and len(number) > 1 for number in whole)
    if zeros or (plus and not metadata) or (dash and not release):
        raise _Doubtful
    return [int(number) for number in numbers], release


def is_version(text: object) -> bool:
    """Return True if *text* is a semantic version, with or without a leading ``v``."""
    try:
        return isinstance(text, str) and _version(require_text(text)) is not None
    except _Doubtful:
        raise ValueError("a version that only some versions of OPA accept") from None


def compare_versions(one: object, other: object) -> int:
    """Return -1, 0 or 1 if *one* is less than, equal to or greater than *other*."""
    found = [_version(require_text(text)) for text in (one, other)]
    if found[0] is None or found[1] is None:
        raise ValueError("not a version")
    (first, release), (second, other_release) = found[0], found[1]
    if first != second:
        return -1 if first < second else 1
    if release == other_release:
        return 0
    if not release or not other_release:
        return -1 if release else 1
    mine, others = release.split("."), other_release.split(".")
    for a, b in zip(mine, others, strict=False):
        if _DIGITS.issuperset(a) != _DIGITS.issuperset(b):
            return -1 if _DIGITS.issuperset(a) else 1
        order = _compare_parts(a, b)
        if order:
            return order
    return -1 if len(mine) < len(others) else 1


def _compare_parts(one: str, other: str) -> int:
    if not _DIGITS.issuperset(one):
        return (one > other) - (one < other)
    # OPA replaces larger numbers by the largest one.
    if max(len(one), len(other)) > 18:
        raise ValueError("a large number")
    return (int(one) > int(other)) - (int(one) < int(other))


# UUIDs.


def _uuid(text: str) -> bytes | None:
    """Return the bytes of a UUID, or None if it is not one."""
    if not text.isascii():
        return None
    if len(text) == 45:
        if text[:9].lower() != "urn:uuid:":
            return None
        text = text[9:]
    elif len(text) == 38:
        text = text[1:37]
    if len(text) == 36:
        if any(text[place] != "-" for place in (8, 13, 18, 23)):
            return None
        text = text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
    if len(text) != 32 or not frozenset("0123456789abcdefABCDEF").issuperset(text):
        return None
    return bytes.fromhex(text)


_GREGORIAN = 122_192_928_000_000_000
"""Tenths of a microsecond from 1582-10-15 to 1970."""
_DOMAINS = ("Person", "Group", "Org")


def parse_uuid(text: object) -> list[dict[str, Any]]:
    """Return a list with the properties of a UUID, or an empty list if *text* is not one."""
    raw = _uuid(require_text(text))
    if raw is None:
        return []
    version, kind = raw[6] >> 4, raw[8]
    variant = (
        "RFC4122"
        if kind & 0xC0 == 0x80
        else "Microsoft"
        if kind & 0xE0 == 0xC0
        else "Future"
        if kind & 0xE0 == 0xE0
        else "Reserved"
    )
    found: dict[str, Any] = {"version": version, "variant": variant}
    if version in {1, 2}:
        low, middle, high = raw[0:4], raw[4:6], raw[6:8]
        ticks = int.from_bytes(low, "big") | int.from_bytes(middle, "big") << 32
        ticks |= (int.from_bytes(high, "big") & 0x0FFF) << 48
        # Go's integers of 64 bits overflow.
        at = (ticks - _GREGORIAN) * 100 + _LARGEST
        found["time"] = at % (2 * _LARGEST) - _LARGEST
        found["nodeid"] = "-".join(f"{byte:02x}" for byte in raw[10:])
        found["macvariables"] = ("local" if raw[10] & 2 else "global") + (
            ":multicast" if raw[10] & 1 else ":unicast"
        )
        found["clocksequence"] = int.from_bytes(raw[8:10], "big") & 0x3FFF
    if version == 2:
        found["id"] = int.from_bytes(raw[0:4], "big")
        found["domain"] = _DOMAINS[raw[9]] if raw[9] < 3 else f"Domain{raw[9]}"
    return [found]


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "guardrail.uuid": (1, parse_uuid),
    "semver.compare": (2, compare_versions),
    "semver.is_valid": (1, is_version),
}
"""Number of arguments and replacement of each function, by name."""

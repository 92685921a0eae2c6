"""Replacements for built-in functions that compare networks. They return OPA's results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from rego_values import (  # type: ignore[import-not-found]  # found in its own folder
    require_complete,
    require_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["SUBSTITUTES"]

_DIGITS = frozenset("0123456789")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_MAPPED = 0xFFFF
"""The bits above the last 32 bits of an IPv4-mapped IPv6 address."""
_MOST_ADDRESSES = 1 << 16
"""Maximum number of addresses that ``net.cidr_expand`` returns."""
_MOST_PAIRS = 1_000_000
"""Maximum number of comparisons in a call of ``net.cidr_contains_matches``."""


def cidr_contains(network: str, inner: str) -> bool:
    """Return True if *inner*, an address or a network, is contained in *network*.

    An IPv4-mapped IPv6 address (``::ffff:10.0.0.1``) counts as the IPv4 address.
    """
    outer = _network_without_mapping(require_text(network))
    address = _address(require_text(inner))
    if address is not None:
        return _contains(outer, address)
    width, first, prefix = _parse_network(inner)
    last = first | ((1 << (width - prefix)) - 1)
    return _contains(outer, _without_mapping(width, first)) and _contains(
        outer, _without_mapping(width, last)
    )


def cidr_intersects(one: str, other: str) -> bool:
    """Return True if two networks have an address in common."""
    first, second = _parse_network(require_text(one)), _parse_network(require_text(other))
    a, b = _network_without_mapping(one), _network_without_mapping(other)
    return _contains(a, _without_mapping(*second[:2])) or _contains(b, _without_mapping(*first[:2]))


def cidr_is_valid(network: str) -> bool:
    """Return True if *network* consists of an address, a slash and a prefix length."""
    try:
        _parse_network(require_text(network))
    except ValueError:
        return False
    return True


def _without_mapping(width: int, value: int) -> tuple[int, int]:
    """Return the width and the value of an address. An IPv4-mapped address counts as IPv4."""
    if width == 128 and value >> 32 == _MAPPED:
        return 32, value & 0xFFFF_FFFF
    return width, value


def _contains(network: tuple[int, int, int], address: tuple[int, int]) -> bool:
    width, first, prefix = network
    return width == address[0] and first >> (width - prefix) == address[1] >> (width - prefix)


def _network_without_mapping(text: str) -> tuple[int, int, int]:
    """Return the width, first address and prefix length of a network. An IPv4-mapped network counts
    as IPv4.
    """
    width, first, prefix = _parse_network(text)
    plain, value = _without_mapping(width, first)
    return (plain, value, prefix - (width - plain))


def _parse_network(text: str) -> tuple[int, int, int]:
    """Return the width, first address and prefix length of a network as written."""
    address, slash, length = text.partition("/")
    found = _ipv6(address) if ":" in address else _ipv4(address)
    if not slash or found is None or not length or not _DIGITS.issuperset(length):
        raise ValueError("not a network")
    width = 128 if ":" in address else 32
    # A longer prefix length would be out of range anyway, so it is never converted.
    prefix = int(length[-9:]) if len(length) <= 9 else width + 1
    if prefix > width:
        raise ValueError("not a network")
    rest = width - prefix
    return width, found >> rest << rest, prefix


def _address(text: str) -> tuple[int, int] | None:
    if ":" in text:
        value = _ipv6(text)
        return None if value is None else _without_mapping(128, value)
    value = _ipv4(text)
    return None if value is None else (32, value)


def _ipv4(text: str) -> int | None:
    parts = text.split(".")
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        if not 1 <= len(part) <= 3 or not _DIGITS.issuperset(part):
            return None
        if (part[0] == "0" and len(part) > 1) or int(part) > 255:
            return None
        value = value << 8 | int(part)
    return value


def _ipv6(text: str) -> int | None:
    before, double, after = text.partition("::")
    if "::" in after or after.startswith(":"):
        return None
    head, tail = _groups(before, last=not double), _groups(after, last=True)
    if head is None or tail is None:
        return None
    missing = 8 - len(head) - len(tail)
    if missing < 1 if double else missing:
        return None
    value = 0
    for group in [*head, *[0] * missing, *tail]:
        value = value << 16 | group
    return value


def _groups(text: str, *, last: bool) -> list[int] | None:
    """Return the 16-bit groups in *text*. If *last* is True, the last two groups may be written as
    an IPv4 address.
    """
    if not text:
        return []
    found: list[int] = []
    parts = text.split(":")
    for index, part in enumerate(parts):
        if last and index == len(parts) - 1 and "." in part:
            value = _ipv4(part)
            if value is None:
                return None
            found += [value >> 16, value & 0xFFFF]
        elif 1 <= len(part) <= 4 and _HEXADECIMAL.issuperset(part):
            found.append(int(part, 16))
        else:
            return None
    return found


def _written(width: int, value: int) -> str:
    """Return an address as Go writes it."""
    width, value = _without_mapping(width, value)
    if width == 32:
        return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
    groups = [value >> shift & 0xFFFF for shift in range(112, -1, -16)]
    start, size = _longest_zeros(groups)
    if size < 2:
        return ":".join(f"{group:x}" for group in groups)
    before = ":".join(f"{group:x}" for group in groups[:start])
    after = ":".join(f"{group:x}" for group in groups[start + size :])
    return f"{before}::{after}"


def _longest_zeros(groups: list[int]) -> tuple[int, int]:
    """Return position and length of the first of the longest runs of zeros."""
    best = (0, 0)
    start = 0
    for index, group in enumerate([*groups, 1]):
        if group:
            if index - start > best[1]:
                best = (start, index - start)
            start = index + 1
    return best


def cidr_expand(network: object) -> set[str]:
    """Return the addresses of a network."""
    width, first, prefix = _parse_network(require_text(network))
    size = 1 << (width - prefix)
    if size > _MOST_ADDRESSES:
        raise ValueError("a large network")
    return {_written(width, first + offset) for offset in range(size)}


def _matched(value: object) -> str:
    """Return the address or network in a member of a collection."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value:
        return str(require_text(value[0]))
    raise ValueError("neither a text nor an array with items")


def _members(collection: Any) -> Iterator[tuple[str, Any]]:
    """Yield each address or network in *collection* with its index."""
    if isinstance(collection, str):
        yield collection, collection
    elif isinstance(collection, list):
        for index, value in enumerate(collection):
            yield _matched(value), index
    elif isinstance(collection, dict):
        require_complete(collection)
        for key, value in collection.items():
            yield _matched(value), key
    elif isinstance(collection, set):
        for value in collection:
            yield _matched(value), value


def cidr_contains_matches(networks: Any, addresses: Any) -> set[tuple[Any, Any]]:
    """Return the pairs of a network and an address or network that it contains, each as its text,
    or its index or key in the collection.
    """
    outer = [(require_text(text), index) for text, index in _members(networks)]
    if not outer:
        return set()
    inner = list(_members(addresses))
    if len(outer) * len(inner) > _MOST_PAIRS:
        raise ValueError("many pairs")
    return {
        (one, other)
        for text, one in outer
        for address, other in inner
        if cidr_contains(text, address)
    }


_IPV4 = _MAPPED << 32
"""The first IPv4 address among the IPv6 addresses, where all ranges are compared."""


def _range(text: str) -> tuple[int, int, str]:
    """Return first and last address of a network or an IPv4 address as numbers of 128 bits, and the
    text of the network. An address stands for the network of its class.
    """
    address = _address(text)
    if address is None:
        width, first, prefix = _parse_network(text)
        mapped = _without_mapping(width, first)[0] != width
        if mapped:
            raise ValueError("a mapped network")
        written = f"{_written(width, first)}/{prefix}"
    else:
        width, value = address
        if width == 128:
            raise ValueError("an address of IPv6 without a prefix")
        prefix = 8 if value >> 24 < 128 else 16 if value >> 24 < 192 else 24
        first = value >> (32 - prefix) << (32 - prefix)
        written = f"{_written(width, value)}/{prefix}"
    base = _IPV4 if width == 32 else 0
    return base + first, base + first + (1 << (width - prefix)) - 1, written


def _is_ipv4(value: int) -> bool:
    return value >> 32 == _MAPPED


def _previous(value: int) -> int:
    return value if value in {0, _IPV4} else value - 1


def _networks(first: int, last: int) -> Iterator[str]:
    """Yield the fewest networks that cover a range."""
    short = _is_ipv4(first)
    if short != _is_ipv4(last):
        raise ValueError("a range of both versions")
    width = 32 if short else 128
    if not short and first and not first >> 120:
        # OPA loses the zeros before such an address.
        raise ValueError("a range of small addresses")
    while first <= last:
        size = (first & -first).bit_length() - 1 if first & ((1 << width) - 1) else width
        size = min(size, (last - first + 1).bit_length() - 1)
        yield f"{_written(128, first)}/{width - size}"
        first += 1 << size


def cidr_merge(networks: object) -> set[str]:
    """Return the fewest networks that cover *networks*, a list or set of networks and IPv4
    addresses.
    """
    if not isinstance(networks, list | set):
        raise ValueError("not an array or set")
    ranges: list[tuple[int, int, str | None]] = sorted(
        (_range(require_text(text)) for text in networks), key=lambda each: (each[1], each[0])
    )
    for index in range(len(ranges) - 1, 0, -1):
        before, this = ranges[index - 1], ranges[index]
        if _previous(this[0]) <= before[1]:
            ranges[index - 1] = (min(before[0], this[0]), this[1], None)
            del ranges[index]
    found: set[str] = set()
    for first, last, text in ranges:
        found.update(_networks(first, last) if text is None else [text])
    return found


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "net.cidr_contains": (2, cidr_contains),
    "net.cidr_contains_matches": (2, cidr_contains_matches),
    "net.cidr_expand": (1, cidr_expand),
    "net.cidr_intersects": (2, cidr_intersects),
    "net.cidr_is_valid": (1, cidr_is_valid),
    "net.cidr_merge": (1, cidr_merge),
}
"""Number of arguments and replacement of each function, by name."""

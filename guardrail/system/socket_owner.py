"""The operating-system user at the other end of a loopback connection, according to the kernel."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

__all__ = ["socket_user"]

_TABLES = Path("/proc/net")
_UNMAPPED = Path("/proc/sys/kernel/overflowuid")
_WITH_OWNER = frozenset({"01", "04", "05", "08"})
"""ESTABLISHED, FIN_WAIT1, FIN_WAIT2 and CLOSE_WAIT: the states of a socket that is or was
connected.
"""


def socket_user(
    client: tuple[str, int], server: tuple[str, int], tables: Path = _TABLES
) -> int | None:
    """Return the number of the user who owns the socket *client*, which is connected to *server* on
    this machine. Return None if the kernel does not report it.

    The kernel reports user 0 for a socket that its process has closed, so only a socket that is
    still open counts.
    """
    for name, texts in (
        ("tcp", _in_table(client, server, 4)),
        ("tcp6", _in_table(client, server, 6)),
    ):
        if texts is None:
            continue
        try:
            table = (tables / name).read_text("ascii")
        except (OSError, UnicodeDecodeError):
            continue
        at = table.find(texts)
        if at >= 0:
            return _owner(table[at:].partition("\n")[0].split())
    return None


def _owner(fields: list[str]) -> int | None:
    # local, remote, state, queues, timer, retransmits, uid, timeout, inode, ...
    try:
        state, uid, inode = fields[2], int(fields[6]), int(fields[8])
    except (IndexError, ValueError):
        return None
    if state not in _WITH_OWNER or inode == 0 or uid == _unmapped_user():
        return None
    return uid


def _unmapped_user() -> int:
    """Return the user number that represents all users outside this user namespace."""
    try:
        return int(_UNMAPPED.read_text("ascii"))
    except (OSError, ValueError):
        return 65534


def _in_table(client: tuple[str, int], server: tuple[str, int], version: int) -> str | None:
    ends = [_address(*each, version) for each in (client, server)]
    return None if None in ends else f" {ends[0]} {ends[1]} "


def _address(host: str, port: int, version: int) -> str | None:
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 4 and version == 6:
        address = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    if address.version != version:
        return None
    words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"

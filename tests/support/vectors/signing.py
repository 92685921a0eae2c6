"""What the vectors and the mutated exports are made with: fixed keys, chains, heads."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import GENESIS_PREV, Draft, leaf_hash

LOG = "example.com/vectors"
NAMES = ("log", "a", "b", "c", "stranger", "witness")
"""The log key, three epoch keys, and two that the log knows nothing of."""
PRIVATE = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    for number, name in enumerate(NAMES, 1)
}
PUBLIC = {name: key.public_key().public_bytes_raw().hex() for name, key in PRIVATE.items()}


def chain(
    records: Sequence[dict[str, Any]], start: int = 0, prev: str = GENESIS_PREV
) -> list[bytes]:
    """Return the lines of *records*, numbered from *start*, a microsecond apart."""
    lines = []
    for seq, record in enumerate(records, start):
        line = Draft.build(record).finish(seq=seq, prev=prev, ts=f"2026-11-24T09:00:00.{seq:06d}Z")
        prev = leaf_hash(line).hex()
        lines.append(line)
    return lines


def rechained(lines: Sequence[bytes], after: int = 0) -> list[bytes]:
    """Return *lines* with ``prev`` recomputed in all behind number *after* in the list: what who
    can write the file can do.
    """
    out = list(lines)
    for at in range(max(after, 0) + 1, len(out)):
        start = out[at].find(b'"prev":"') + len('"prev":"')
        if start >= len('"prev":"'):
            leaf = leaf_hash(out[at - 1]).hex().encode()
            out[at] = out[at][:start] + leaf + out[at][start + 64 :]
    return out


def joined(lines: Iterable[bytes]) -> bytes:
    """Return the export: every line ended by a line feed."""
    return b"".join(line + b"\n" for line in lines)


def edge(lines: Sequence[bytes]) -> Edge:
    """Return the tree over *lines*."""
    tree = Edge()
    for line in lines:
        tree.append(leaf_hash(line))
    return tree


def head_text(size: int, root: bytes, log: str = LOG) -> str:
    """Return the text of a head."""
    return f"{log}\n{size}\n{base64.b64encode(root).decode()}\n"


def signature(text: str, key: str, *, name: str = LOG, signed: str | None = None) -> str:
    """Return the signature line under *text*; *signed* is what was signed instead."""
    public = bytes.fromhex(PUBLIC[key])
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    raw = PRIVATE[key].sign((text if signed is None else signed).encode())
    return f"\N{EM DASH} {name} {base64.b64encode(key_id + raw).decode()}\n"


def cosignature(text: str, key: str, *, name: str, time: int) -> str:
    """Return a witness's signature line under *text*."""
    public = bytes.fromhex(PUBLIC[key])
    key_id = hashlib.sha256(name.encode() + b"\n\x04" + public).digest()[:4]
    raw = PRIVATE[key].sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    encoded = base64.b64encode(key_id + time.to_bytes(8, "big") + raw).decode()
    return f"\N{EM DASH} {name} {encoded}\n"


def head(tree: Edge, *keys: str, log: str = LOG) -> bytes:
    """Return the signed note over all leaves of *tree*."""
    text = head_text(tree.size, tree.root(), log)
    return (text + "\n" + "".join(signature(text, key, name=log) for key in keys)).encode()


def certificate(key: str, first: int, *, by: str = "log", log: str = LOG) -> str:
    """Return the certificate of an epoch key."""
    statement = f"guardrail/epoch/1\n{log}\n{PUBLIC[key]}\n{first}\n"
    return base64.b64encode(PRIVATE[by].sign(statement.encode())).decode()


def rotation(key: str | None, first: int | None, ended: Sequence[str] = (), **changed: Any) -> Any:
    """Return the ``detail`` of an ``admin.key_rotated`` record."""
    return {
        "key": None if key is None else {"type": "ed25519", "public": PUBLIC[key]},
        "first": first,
        "certificate": None if key is None or first is None else certificate(key, first),
        "ended": [{"public": PUBLIC[each], "reason": "closed"} for each in ended],
        **changed,
    }


def canonical(record: dict[str, Any]) -> bytes:
    """Return a record as a line, as the writer spells it."""
    return json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

"""Exports, heads and keys that someone changed: by accident, without any key, or with the keys of
the log.
"""

from __future__ import annotations

import copy
import json
import random
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from guardrail.core.log.record import leaf_hash
from tests.support.vectors.signing import (
    LOG,
    PUBLIC,
    canonical,
    edge,
    head_text,
    joined,
    rechained,
    rotation,
    signature,
)

Lines = list[bytes]
LineChange = Callable[[random.Random, Lines], int]
"""Changes the lines, and returns the place of the first that changed."""


@dataclass(frozen=True)
class Base:
    """A log that is whole, heads of it, and its key."""

    name: str
    lines: tuple[bytes, ...]
    heads: tuple[bytes, ...]
    key: str
    """Public half of the log key, in hex."""
    log: str
    signers: tuple[Callable[[str], str], ...]
    """Each returns its signature line under a text: who holds the keys of the log, and a stranger.
    """


@dataclass(frozen=True)
class Changed:
    """What both verifiers are asked about."""

    export: bytes
    head: bytes | None
    key: str | None


def vector(folder: Path, export: str, *heads: str) -> Base:
    """Return the vectors of these names as a base."""
    lines = (folder / "exports" / f"{export}.jsonl").read_bytes().split(b"\n")[:-1]
    notes = [(folder / "heads" / f"{name}.txt").read_bytes() for name in heads]
    keys = ("log", "a", "b", "c", "stranger")
    signers = tuple(partial(signature, key=key) for key in keys)
    return Base(export, tuple(lines), tuple(notes), PUBLIC["log"], LOG, signers)


def _place(rng: random.Random, lines: Lines) -> int:
    """Return a place in a log: more often behind line 0 than at it."""
    return rng.randrange(len(lines)) if rng.random() < 0.1 else rng.randrange(1, len(lines))


def swapped(rng: random.Random, lines: Lines) -> int:
    """Two lines change places."""
    one, two = sorted((_place(rng, lines), _place(rng, lines)))
    lines[one], lines[two] = lines[two], lines[one]
    return one


def deleted(rng: random.Random, lines: Lines) -> int:
    """One line or a few are gone."""
    at = _place(rng, lines)
    del lines[at : at + rng.choice((1, 1, 2, 3))]
    return at


def doubled(rng: random.Random, lines: Lines) -> int:
    """A line stands twice: one behind the other, or elsewhere."""
    at, to = _place(rng, lines), _place(rng, lines)
    to = rng.choice((at + 1, to))
    lines.insert(to, lines[at])
    return min(at, to)


def cut(rng: random.Random, lines: Lines) -> int:
    """The tail is gone."""
    at = _place(rng, lines)
    del lines[at:]
    return at


def garbled(rng: random.Random, lines: Lines) -> int:
    """A byte of a line is another one."""
    at = _place(rng, lines)
    line = bytearray(lines[at])
    spot = rng.randrange(len(line) + 1)
    # letters and digits keep most lines readable
    near = bytes([byte ^ 1 << rng.randrange(8) for byte in line[spot : spot + 1]])
    line[spot : spot + 1] = rng.choice((near, rng.choice(string.printable).encode(), b""))
    lines[at] = bytes(line)
    return at


def reordered(rng: random.Random, lines: Lines) -> int:
    """The keys of a line stand in another order, with spaces."""
    at = _place(rng, lines)
    record = _record(lines[at])
    keys = list(record)
    rng.shuffle(keys)
    lines[at] = json.dumps({key: record[key] for key in keys}).encode()
    return at


_WORDS = [
    b"null",
    b"true",
    b"1",
    b"1.0",
    b"-1",
    b"0",
    b"{}",
    b"[]",
    b'""',
    b'"allow"',
    b'"deny"',
    b"1e3",
]
_VALUE = re.compile(rb'(?<=":)(?:"[^"\\]*"|-?[0-9.]+|true|false|null|\{\}|\[\])')


def revalued(rng: random.Random, lines: Lines) -> int:
    """A value of a line is another value, often one of another line."""
    at = _place(rng, lines)
    here = list(_VALUE.finditer(lines[at]))
    there = _VALUE.findall(lines[_place(rng, lines)])
    if here and there:
        found = rng.choice(here)
        value = rng.choice([*there, *_WORDS])
        lines[at] = lines[at][: found.start()] + value + lines[at][found.end() :]
    return at


def renamed(rng: random.Random, lines: Lines) -> int:
    """A key of a line has another case, another name, or stands twice."""
    at = _place(rng, lines)
    found = rng.choice(list(re.finditer(rb'"([a-z_]+)":', lines[at])) or [None])
    if found is not None:
        name = rng.choice((found[1].upper(), found[1] + b"_", b"seq", b"prev", b"v", b"type"))
        more = rng.choice((b"", found[0] + b"1,"))
        lines[at] = (
            lines[at][: found.start()] + more + b'"' + name + b'":' + lines[at][found.end() :]
        )
    return at


def edited(rng: random.Random, lines: Lines) -> int:
    """A field that a verifier reads is changed by someone who knows what it means."""
    at = _place(rng, lines)
    record = _record(lines[at])
    near = rng.randrange(-1, len(lines) + 2)
    changes: dict[str, Callable[[], Any]] = {
        "call": lambda: rng.choice(
            ["01JD9Y40000000000000000000", "01JD9Y40000000000000000001", "x", 7]
        ),
        "decision_seq": lambda: near,
        "type": lambda: rng.choice(
            ["call.decision", "call.outcome", "genesis", "admin.pruned", "admin.key_rotated", "x"]
        ),
        "seq": lambda: near,
        "log": lambda: rng.choice([LOG, LOG + "x", ""]),
        "ts": lambda: rng.choice(["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00Z", "", 0]),
        "v": lambda: rng.choice([1, 2, True]),
        "decision": lambda: {"effect": rng.choice(["allow", "deny", None])},
        "detail": lambda: _detail(rng, record.get("detail"), near),
    }
    name = rng.choice([key for key in record if key in changes] or ["type"])
    lines[at] = canonical({**record, name: changes[name]()})
    return at


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
        canonical(record)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _detail(rng: random.Random, detail: Any, near: int) -> Any:
    """Return the detail of an administrator's record, changed in one place."""
    detail = copy.deepcopy(detail) if isinstance(detail, dict) else {}
    if "before" in detail:
        name = rng.choice(["before", "edge", "genesis", "leaf"])
        flipped = {
            "before": near,
            "edge": [*detail.get("edge", [])][1:],
            "genesis": "0" * 64,
            "leaf": "0" * 64,
        }
        return {**detail, name: flipped[name]}
    other = rng.choice(["a", "b", "c", "stranger"])
    choices = [
        {**detail, "first": near},
        {**detail, "key": {"type": "ed25519", "public": PUBLIC[other]}},
        {**detail, "key": None},
        {**detail, "ended": [{"public": PUBLIC[other], "reason": "dead"}]},
        {**detail, "certificate": rng.choice(["", "AAAA", rotation(other, 1)["certificate"]])},
        rotation(other, max(near, 0), rng.choice([[], ["a"], ["b"]])),
        rotation(None, None, ["a", "b"]),
    ]
    return rng.choice(choices)


def inserted(rng: random.Random, lines: Lines) -> int:
    """A record that was never written stands between two."""
    at = rng.randrange(1, len(lines) + 1)
    record = _record(lines[1]) | {"seq": at, "type": "admin.key_rotated"}
    other = rng.choice(["a", "b", "c"])
    record["detail"] = rng.choice(
        [rotation(other, 0), rotation(None, None, [other]), rotation(other, at, [other]), {}]
    )
    lines.insert(at, canonical(record))
    return at


def pruned(rng: random.Random, lines: Lines) -> int:
    """Records behind line 0 are gone, with a proof, or with one that is not right."""
    before = rng.randrange(2, len(lines) + 1) if len(lines) > 1 else 2
    detail: dict[str, Any] = {
        "before": before,
        "edge": [each.hex() for each in edge(lines[:before]).roots],
        "genesis": leaf_hash(lines[0]).hex(),
        "leaf": leaf_hash(lines[before - 1]).hex() if before <= len(lines) else "",
    }
    if rng.random() < 0.3:
        detail = _detail(rng, detail, before)
    record = _record(lines[-1])
    seq = record.get("seq")
    if rng.random() < 0.9:
        number = seq + 1 if isinstance(seq, int) else len(lines)
        lines.append(canonical({**record, "seq": number, "type": "admin.pruned", "detail": detail}))
        lines[:] = rechained(lines, len(lines) - 2)
    del lines[1 : before + rng.choice((0, 0, 0, 0, 1, -1))]
    return len(lines)


def new_genesis(rng: random.Random, lines: Lines) -> int:
    """Line 0 is another one."""
    genesis = _record(lines[0])
    changed = {
        "nonce": "ff" * 16,
        "key": {"type": "ed25519", "public": PUBLIC[rng.choice(["stranger", "a"])]},
        "log": "example.com/other",
        "profile": "sha256-json-lines/2",
    }
    name = rng.choice(list(changed))
    lines[0] = canonical({**genesis, name: changed[name]})
    return 0


CHANGES: Sequence[LineChange] = (
    swapped,
    deleted,
    doubled,
    cut,
    garbled,
    reordered,
    revalued,
    renamed,
    edited,
    edited,
    edited,
    inserted,
    pruned,
    new_genesis,
)


def renumbered(lines: Lines) -> Lines:
    """Return *lines* with their places as numbers."""
    return [
        re.sub(rb'"seq":-?[0-9]+', b'"seq":%d' % at, line, count=1) for at, line in enumerate(lines)
    ]


def changed_head(rng: random.Random, base: Base, lines: Lines) -> bytes | None:
    """Return a head: one that was kept, none, a new one by someone who holds a key, or one that was
    changed.
    """
    kind = rng.choice(("kept", "kept", "kept", "none", "new", "new", "new", "spoiled"))
    if kind == "none":
        return None
    if kind == "kept":
        return rng.choice(base.heads)
    if kind == "new":
        size = rng.choice((len(lines), rng.randrange(len(lines) + 1)))
        text = head_text(size, edge(lines[:size]).root(), base.log)
        signers = rng.choices(base.signers, k=rng.choice((1, 1, 2)))
        return (text + "\n" + "".join(sign(text) for sign in signers)).encode()
    note = bytearray(rng.choice(base.heads))
    spot = rng.randrange(len(note))
    more = rng.choice((b"", b"\n", b" ", b"0", b"+", b"A", b"\xff", bytes([note[spot] ^ 1])))
    note[spot : spot + rng.choice((0, 1))] = more
    return bytes(note)


def change(rng: random.Random, base: Base) -> Changed:
    """Return *base* after one to three changes, with a head and a key."""
    lines, first = list(base.lines), len(base.lines)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if len(lines) < 2:
            break
        first = min(first, rng.choice(CHANGES)(rng, lines))
    if rng.random() < 0.3:
        lines = renumbered(lines)
    if rng.random() < 0.6:
        lines = rechained(lines, max(first - 1, 0))
    export = joined(lines)
    spoil = rng.random()
    if spoil < 0.05:
        export = export[: rng.randrange(len(export) + 1)]
    elif spoil < 0.15 and export:
        spot = rng.randrange(len(export))
        export = export[:spot] + bytes([rng.randrange(256)]) + export[spot + rng.choice((0, 1)) :]
    key = rng.choices((base.key, None, PUBLIC["stranger"]), (7, 2, 1))[0]
    return Changed(export, changed_head(rng, base, lines), key)

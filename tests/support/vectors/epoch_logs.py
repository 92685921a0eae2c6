"""Vectors: logs with epoch keys."""

from __future__ import annotations

from tests.support.vectors.cases import Record, Vectors, admin, outcome
from tests.support.vectors.signing import (
    PUBLIC,
    certificate,
    chain,
    edge,
    head,
    joined,
    rotation,
)


def _records(vectors: Vectors) -> list[Record]:
    """Return a log with two epoch keys that overlap, each ended by a record, and a third."""
    base = vectors.records
    return [
        base[0],
        admin(vectors, "key_rotated", rotation("a", 1)),
        base[1],
        base[2],
        admin(vectors, "key_rotated", rotation("b", 3)),
        outcome(vectors, 3, 3),
        base[4],
        admin(vectors, "key_rotated", rotation(None, None, ["a", "stranger"])),
        base[5],
        outcome(vectors, 6, 8),
        admin(vectors, "key_rotated", rotation("c", 10, ["b"])),
        base[9],
        base[10],
    ]


def epochs(vectors: Vectors) -> None:
    """Heads by each key: before it is certified, while it counts, and behind its end."""
    lines = chain(_records(vectors))
    vectors.exports["epochs"] = joined(lines)
    # a is certified by record 1 and ended by record 7, b by 4 and 10, c by 10
    reach = {"a": range(2, 9), "b": range(5, 12), "c": range(11, 14), "log": range(1, 14)}
    for key, size in [
        *[("a", size) for size in (1, 2, 8, 9, 13)],
        *[("b", size) for size in (4, 5, 11, 12)],
        *[("c", size) for size in (10, 11, 13)],
        *[("log", size) for size in (1, 7, 13)],
        ("stranger", 13),
    ]:
        name = f"epochs-{key}-{size}"
        vectors.heads[name] = head(edge(lines[:size]), key)
        counts = size in reach.get(key, ())
        vectors.case(
            f"a head of {size} records by {key}",
            "epochs",
            "anchored" if counts else "key_unknown",
            head=name,
            last_covered=size - 1 if counts else None,
        )
    vectors.heads["epochs-a-c-13"] = head(edge(lines), "a", "c")
    vectors.case(
        "one of two signatures counts", "epochs", "anchored", head="epochs-a-c-13", last_covered=12
    )


def again(vectors: Vectors) -> None:
    """A key that is certified or ended a second time."""
    twice = [
        *_records(vectors),
        admin(vectors, "key_rotated", rotation("a", 13)),
        admin(vectors, "key_rotated", rotation(None, None, ["b", "b"])),
    ]
    again_lines = chain(twice)
    vectors.exports["certified-again"] = joined(again_lines)
    for key, size in (("a", 8), ("a", 15), ("b", 11), ("b", 12)):
        name = f"certified-again-{key}-{size}"
        vectors.heads[name] = head(edge(again_lines[:size]), key)
    vectors.case(
        "certified again: the first range stays",
        "certified-again",
        "anchored",
        head="certified-again-a-8",
        last_covered=7,
    )
    vectors.case(
        "certified again: what was ended stays ended",
        "certified-again",
        "key_unknown",
        head="certified-again-a-15",
    )
    vectors.case(
        "ended again: the first end stays",
        "certified-again",
        "key_unknown",
        head="certified-again-b-12",
    )
    vectors.case(
        "ended again: what was signed before the first end counts",
        "certified-again",
        "anchored",
        head="certified-again-b-11",
        last_covered=10,
    )


def certificates(vectors: Vectors) -> None:
    """Rotations that certify nothing: behind line 0 and a good one, number 2 is bad."""
    base = vectors.records
    foreign = certificate("b", 2, by="stranger")
    loose = certificate("b", 2)
    wrong: dict[str, Record] = {
        "by-stranger": {"certificate": foreign},
        "for-other-first": {"certificate": certificate("b", 1)},
        "for-other-log": {"certificate": certificate("b", 2, log="example.com/other")},
        "first-larger": rotation("b", 3),
        "first-negative": rotation("b", -1),
        "first-fraction": {"first": 2.0},
        "first-missing": {"first": None},
        "not-base64": {"certificate": "%%%%"},
        "line-feed-in-base64": {"certificate": f"{loose[:40]}\n{loose[40:]}"},
        "loose-base64": {"certificate": f"{loose[:-3]}{chr(ord(loose[-3]) + 1)}=="},
        "too-long": {"certificate": loose[:-4] + "AAAA" + loose[-4:]},
        "other-type": {"key": {"type": "ed448", "public": PUBLIC["b"]}},
        "upper-case": {"key": {"type": "ed25519", "public": PUBLIC["b"].upper()}},
        "no-key-but-certificate": {"key": None},
        "ended-missing": {"ended": None},
        "ended-not-objects": {"ended": [PUBLIC["a"]]},
        "ended-without-key": {"ended": [{"reason": "dead"}]},
    }
    first = admin(vectors, "key_rotated", rotation("a", 1))
    for name, changed in wrong.items():
        detail = rotation("b", 2, ["a"]) | changed
        lines = chain([base[0], first, admin(vectors, "key_rotated", detail), base[9]])
        vectors.exports[f"certificate-{name}"] = joined(lines)
        vectors.case(f"a rotation: {name}", f"certificate-{name}", "tampered", first_bad=2)
        if name == "by-stranger":
            vectors.heads["forged"] = head(edge(lines), "b")
            vectors.heads["before-forged"] = head(edge(lines[:2]), "a")
    vectors.case(
        "a forged certificate and a head by its key",
        "certificate-by-stranger",
        "tampered",
        head="forged",
        first_bad=2,
    )
    vectors.case(
        "a forged certificate behind the covered records",
        "certificate-by-stranger",
        "tampered",
        head="before-forged",
        first_bad=2,
        last_covered=1,
    )

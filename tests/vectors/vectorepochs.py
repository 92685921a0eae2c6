"""Vectors: logs with epoch keys, and logs of which records were pruned."""

from __future__ import annotations

import json
from typing import Any

from vectorcases import Record, Vectors, admin, outcome
from vectorkit import (
    PUBLIC,
    canonical,
    certificate,
    chain,
    edge,
    head,
    joined,
    rotation,
)

from guardrail.core.record import leaf_hash


def epochs(vectors: Vectors) -> None:
    """Two epoch keys that overlap, each ended by a record, and a third."""
    base = vectors.records

    records = [
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
    lines = chain(records)
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
    again = [
        *records,
        admin(vectors, "key_rotated", rotation("a", 13)),
        admin(vectors, "key_rotated", rotation(None, None, ["b", "b"])),
    ]
    again_lines = chain(again)
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


def pruned(vectors: Vectors) -> None:
    """Records 1 to 4 are gone, with proof; one call was open across the cut."""
    base = vectors.records
    records = [
        base[0],
        admin(vectors, "key_rotated", rotation("a", 1)),
        base[1],
        base[2],
        base[4],
        admin(vectors, "key_rotated", rotation("b", 5)),
        outcome(vectors, 3, 3),
        base[5],
        outcome(vectors, 6, 7),
    ]
    lines = chain(records)
    cut = edge(lines[:5])

    def announced(**changed: Any) -> Record:
        detail = {
            "before": 5,
            "edge": [each.hex() for each in cut.roots],
            "genesis": leaf_hash(lines[0]).hex(),
            "leaf": leaf_hash(lines[4]).hex(),
            "policy": {"retention_days": 400, "floor_days": 183},
            "ts": json.loads(lines[4])["ts"],
        }
        return admin(vectors, "pruned", {**detail, **changed})

    def ended(*more: Record) -> list[bytes]:
        added = [*more, base[9], base[10]]
        return [*lines, *chain(added, len(lines), leaf_hash(lines[-1]).hex())]

    full = ended(announced())
    tree = edge(full)
    left = [full[0], *full[5:]]
    vectors.exports["prunable"] = joined(full)
    vectors.exports["pruned"] = joined(left)
    for key in ("log", "a", "b"):
        vectors.heads[f"pruned-{key}"] = head(tree, key)
    for size in (1, 4, 5, 6):
        vectors.heads[f"pruned-log-{size}"] = head(edge(full[:size]), "log")
    last = len(full) - 1
    vectors.case(
        "announced, nothing gone yet", "prunable", "anchored", head="pruned-a", last_covered=last
    )
    vectors.case("pruned with proof", "pruned", "anchored", head="pruned-log", last_covered=last)
    vectors.case("pruned, no head", "pruned", "not_anchored")
    vectors.case(
        "pruned, by a key certified in what is left",
        "pruned",
        "anchored",
        head="pruned-b",
        last_covered=last,
    )
    vectors.case(
        "pruned, by a key certified in what is gone", "pruned", "key_unknown", head="pruned-a"
    )
    vectors.case("pruned, a head of the gap", "pruned", "not_anchored", head="pruned-log-4")
    vectors.case("pruned, a head of line 0", "pruned", "not_anchored", head="pruned-log-1")
    vectors.case(
        "pruned, a head of what is gone exactly",
        "pruned",
        "anchored",
        head="pruned-log-5",
        last_covered=4,
    )
    vectors.case(
        "pruned, a head of one record more",
        "pruned",
        "anchored",
        head="pruned-log-6",
        last_covered=5,
    )
    vectors.exports["pruned-too-much"] = joined([full[0], *full[6:]])
    vectors.case(
        "more is gone than was announced",
        "pruned-too-much",
        "tampered",
        head="pruned-log",
        first_bad=1,
    )
    vectors.exports["pruned-with-gap"] = joined([full[0], *full[5:7], *full[8:]])
    vectors.case(
        "pruned, and a record missing later",
        "pruned-with-gap",
        "tampered",
        head="pruned-log",
        first_bad=7,
    )
    vectors.exports["pruned-edited"] = joined(
        [full[0], full[5].replace(b'"asserted"', b'"verified"'), *full[6:]]
    )
    vectors.case(
        "the first record behind the gap was edited",
        "pruned-edited",
        "tampered",
        head="pruned-log",
        first_bad=6,
    )
    vectors.exports["pruned-garbled"] = joined([full[0], b"{}", *full[6:]])
    vectors.case(
        "the first line behind the gap says no number",
        "pruned-garbled",
        "tampered",
        head="pruned-log",
        first_bad=1,
    )
    vectors.exports["pruned-cut"] = joined(left[:-1])
    vectors.case("pruned, and the tail cut", "pruned-cut", "truncated", head="pruned-log")
    unproved = ended()
    vectors.exports["pruned-unproved"] = joined([unproved[0], *unproved[5:]])
    vectors.case("gone without announcement", "pruned-unproved", "tampered", first_bad=1)
    wrong: dict[str, tuple[Record, int | None]] = {
        "genesis": ({"genesis": "0" * 64}, 1),
        "edge-short": ({"edge": [cut.roots[0].hex()]}, 1),
        "edge-upper": ({"edge": [each.hex().upper() for each in cut.roots]}, 1),
        "edge-none": ({"edge": None}, 1),
        "leaf-short": ({"leaf": "00"}, 1),
        "leaf": ({"leaf": "0" * 64}, 5),
        "before-text": ({"before": "5"}, 1),
        "before-other": ({"before": 4}, 1),
        "edge": ({"edge": ["0" * 64 for _ in cut.roots]}, None),
    }
    for name, (changed, first) in wrong.items():
        bad = ended(announced(**changed))
        vectors.exports[f"pruned-wrong-{name}"] = joined([bad[0], *bad[5:]])
        vectors.heads[f"pruned-wrong-{name}"] = head(edge(bad), "log")
        verdict = "forked" if first is None else "tampered"
        vectors.case(
            f"a wrong announcement: {name}",
            f"pruned-wrong-{name}",
            verdict,
            head=f"pruned-wrong-{name}",
            first_bad=first,
        )
    for name, order in {
        "last": (announced(leaf="0" * 64), announced()),
        "first": (announced(), announced(leaf="0" * 64)),
    }.items():
        twice = ended(*order)
        vectors.exports[f"pruned-twice-{name}"] = joined([twice[0], *twice[5:]])
    vectors.case("announced twice, the last is right", "pruned-twice-last", "not_anchored")
    vectors.case(
        "announced twice, the first is right", "pruned-twice-first", "tampered", first_bad=5
    )
    for name, number, first in (("below", 4, len(full)), ("above", 5, 5)):
        stray = canonical({**announced(leaf="0" * 64), "seq": number})
        vectors.exports[f"pruned-stray-{name}"] = joined([*left, stray])
        vectors.case(
            f"a stray announcement at the end, its number {name} what it announces",
            f"pruned-stray-{name}",
            "tampered",
            first_bad=first,
        )
    two = [
        *records[:2],
        announced(before=2, edge=[edge(lines[:2]).root().hex()], leaf=leaf_hash(lines[1]).hex()),
    ]
    shortest = chain([*two, base[9]])
    vectors.exports["pruned-one"] = joined([shortest[0], *shortest[2:]])
    vectors.heads["pruned-one"] = head(edge(shortest), "log")
    vectors.case("one record pruned", "pruned-one", "anchored", head="pruned-one", last_covered=3)
    for name, seq, first in (("gone", 4, None), ("left", 5, 10), ("itself", 0, 10)):
        odd = {**outcome(vectors, 3, seq), "call": "01JD9Y40000000000000000009"}
        bad = ended(announced(), odd)
        vectors.exports[f"pruned-outcome-{name}"] = joined([bad[0], *bad[5:]])
        vectors.case(
            f"pruned, an outcome of a decision that is {name}",
            f"pruned-outcome-{name}",
            "tampered" if first else "not_anchored",
            first_bad=first,
        )

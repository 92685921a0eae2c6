"""Vectors: logs of which records were pruned. Records 1 to 4 are gone; one call was open across the
cut.
"""

from __future__ import annotations

import json
from typing import Any

from guardrail.core.log.record import leaf_hash
from tests.support.vectors.cases import Record, Vectors, admin, outcome
from tests.support.vectors.signing import canonical, chain, edge, head, joined, rotation


class Prunable:
    """A log with calls, and what its records 1 to 4 leave when they go."""

    def __init__(self, vectors: Vectors) -> None:
        base = vectors.records
        self._vectors = vectors
        self.records = [
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
        self.lines = chain(self.records)
        self.roots = edge(self.lines[:5]).roots

    def announced(self, **changed: Any) -> Record:
        """Return the record that announces it, with *changed* in place of what it should say."""
        detail = {
            "before": 5,
            "edge": [each.hex() for each in self.roots],
            "genesis": leaf_hash(self.lines[0]).hex(),
            "leaf": leaf_hash(self.lines[4]).hex(),
            "policy": {"retention_days": 400, "floor_days": 183},
            "ts": json.loads(self.lines[4])["ts"],
        }
        return admin(self._vectors, "pruned", {**detail, **changed})

    def ended(self, *more: Record) -> list[bytes]:
        """Return the whole log with *more* behind, and two records that end it."""
        added = [*more, *self._vectors.records[9:11]]
        return [*self.lines, *chain(added, len(self.lines), leaf_hash(self.lines[-1]).hex())]


def pruned(vectors: Vectors) -> None:
    """The log is right, and the heads are of it."""
    log = Prunable(vectors)
    full = log.ended(log.announced())
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
    two = [
        *log.records[:2],
        log.announced(
            before=2, edge=[edge(log.lines[:2]).root().hex()], leaf=leaf_hash(log.lines[1]).hex()
        ),
    ]
    shortest = chain([*two, vectors.records[9]])
    vectors.exports["pruned-one"] = joined([shortest[0], *shortest[2:]])
    vectors.heads["pruned-one"] = head(edge(shortest), "log")
    vectors.case("one record pruned", "pruned-one", "anchored", head="pruned-one", last_covered=3)


def harmed(vectors: Vectors) -> None:
    """More is gone, or changed, than was announced."""
    log = Prunable(vectors)
    full = log.ended(log.announced())
    left = [full[0], *full[5:]]
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
    unproved = log.ended()
    vectors.exports["pruned-unproved"] = joined([unproved[0], *unproved[5:]])
    vectors.case("gone without announcement", "pruned-unproved", "tampered", first_bad=1)
    for name, seq, first in (("gone", 4, None), ("left", 5, 10), ("itself", 0, 10)):
        odd = {**outcome(vectors, 3, seq), "call": "01JD9Y40000000000000000009"}
        bad = log.ended(log.announced(), odd)
        vectors.exports[f"pruned-outcome-{name}"] = joined([bad[0], *bad[5:]])
        vectors.case(
            f"pruned, an outcome of a decision that is {name}",
            f"pruned-outcome-{name}",
            "tampered" if first else "not_anchored",
            first_bad=first,
        )


def announcements(vectors: Vectors) -> None:
    """What announces it is wrong, doubled, or stands where it can't."""
    log = Prunable(vectors)
    full = log.ended(log.announced())
    left = [full[0], *full[5:]]
    wrong: dict[str, tuple[Record, int | None]] = {
        "genesis": ({"genesis": "0" * 64}, 1),
        "edge-short": ({"edge": [log.roots[0].hex()]}, 1),
        "edge-upper": ({"edge": [each.hex().upper() for each in log.roots]}, 1),
        "edge-none": ({"edge": None}, 1),
        "leaf-short": ({"leaf": "00"}, 1),
        "leaf": ({"leaf": "0" * 64}, 5),
        "before-text": ({"before": "5"}, 1),
        "before-other": ({"before": 4}, 1),
        "edge": ({"edge": ["0" * 64 for _ in log.roots]}, None),
    }
    for name, (changed, first) in wrong.items():
        bad = log.ended(log.announced(**changed))
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
        "last": (log.announced(leaf="0" * 64), log.announced()),
        "first": (log.announced(), log.announced(leaf="0" * 64)),
    }.items():
        twice = log.ended(*order)
        vectors.exports[f"pruned-twice-{name}"] = joined([twice[0], *twice[5:]])
    vectors.case("announced twice, the last is right", "pruned-twice-last", "not_anchored")
    vectors.case(
        "announced twice, the first is right", "pruned-twice-first", "tampered", first_bad=5
    )
    for name, number, first in (("below", 4, len(full)), ("above", 5, 5)):
        stray = canonical({**log.announced(leaf="0" * 64), "seq": number})
        vectors.exports[f"pruned-stray-{name}"] = joined([*left, stray])
        vectors.case(
            f"a stray announcement at the end, its number {name} what it announces",
            f"pruned-stray-{name}",
            "tampered",
            first_bad=first,
        )
    far = 2**70
    beyond = log.announced(before=far, edge=["0" * 64], leaf="0" * 64)
    stray = canonical(beyond | {"seq": far, "prev": "0" * 64, "ts": "2026-11-24T09:00:00.000000Z"})
    vectors.exports["pruned-beyond"] = joined([full[0], stray])
    vectors.case("an announcement beyond all numbers", "pruned-beyond", "tampered", first_bad=1)
    inside = b"x" * 65_537 + canonical(log.announced() | {"seq": len(full)})
    gone = log.ended()
    vectors.exports["pruned-fragment"] = joined([gone[0], *gone[5:], inside])
    vectors.case("an announcement inside a longer line", "pruned-fragment", "tampered", first_bad=1)

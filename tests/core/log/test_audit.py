"""What the lines of a log prove together: tree, keys, and that what is missing was pruned."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from guardrail.core.log.audit import Audit, Pruned
from guardrail.core.log.chain import Chain, Difference, Head
from guardrail.core.log.fields import genesis
from guardrail.core.log.merkle import Edge
from guardrail.core.log.record import GENESIS_PREV, Draft, decode, leaf_hash
from guardrail.keys.log_key import Keys, verify_signature
from tests.support.export_mutations import change, vector
from tests.support.vectors.signing import LOG as VECTOR_LOG
from tests.support.vectors.signing import edge

KEYS = Keys.ephemeral(b"1" * 32)
SIGNING = KEYS.signing(actor={}, epochs=True)
LOG = "host/audit"

Fields = dict[str, Any]


def build(*more: Fields) -> list[bytes]:
    """Return line 0 and a line for each of *more*."""
    first = genesis(nonce="", public_key=KEYS.public, config_digest="", predecessor=None)
    lines: list[bytes] = []
    prev = GENESIS_PREV
    for seq, fields in enumerate(({"type": "genesis", **first}, *more)):
        draft = Draft.build({"v": 1, "log": LOG, **fields})
        lines.append(draft.finish(seq=seq, prev=prev, ts=f"2026-01-01T00:00:{seq:02}.000000Z"))
        prev = leaf_hash(lines[-1]).hex()
    return lines


def plain(count: int) -> list[Fields]:
    """Return records that belong to no call."""
    return [{"type": "admin.start"} for _ in range(count)]


def pruned_fields(lines: list[bytes], before: int, /, **change: Any) -> Fields:
    """Return the record that says that what is before *before* may be missing."""
    edge = Edge()
    for line in lines[:before]:
        edge.append(leaf_hash(line))
    detail = {
        "before": before,
        "edge": [each.hex() for each in edge.roots],
        "genesis": leaf_hash(lines[0]).hex(),
        "leaf": leaf_hash(lines[before - 1]).hex(),
    }
    return {"type": "admin.pruned", "detail": {**detail, **change}}


def audited(lines: list[bytes], audit: Audit, numbers: list[int] | None = None) -> Audit:
    """Feed *lines* to *audit*, those of *numbers* alone where given."""
    for seq in numbers if numbers is not None else range(len(lines)):
        if audit.take(seq, None, lines[seq]) is None:
            break
    return audit


def test_the_tree_and_the_watched_roots_are_those_of_the_leaves() -> None:
    """As a tree that grows leaf by leaf."""
    lines = build(*plain(6))
    audit = audited(lines, Audit(verify_signature, watch=[3, 7, 99]))
    edge = Edge()
    for size, line in enumerate(lines, 1):
        edge.append(leaf_hash(line))
        if size == 3:
            assert audit.roots[3] == edge.root()
    assert audit.roots.keys() == {3, 7}
    assert audit.trees is None
    trees = audited(lines, Audit(verify_signature, watch=[3], trees=True)).trees
    assert trees is not None
    assert [Edge(size, roots).root() for size, roots in trees.items()] == [audit.roots[3]]
    assert audit.watched(2, 7) == [3, 7]
    assert audit.watched(3, 6) == []
    assert audit.edge.root() == edge.root()
    late = audited(lines, Audit(verify_signature))
    late.watch([4, len(lines)])
    assert late.roots == {len(lines): edge.root()}
    assert audit.public == KEYS.public


VECTORS = Path(__file__).parents[2] / "vectors"


def _state(audit: Audit) -> tuple[object, ...]:
    keys = audit.keys.epochs if audit.keys is not None else None
    tree = (audit.edge.size, audit.edge.roots, audit.roots, audit.made)
    return audit.chain.report(), *tree, keys, audit.recovered, audit.public, audit.chain.unmatched


def test_many_rows_say_what_each_row_says() -> None:
    """Of logs that someone changed, from the first record or behind a known one, up to the same
    fault.
    """
    rng = random.Random("rows")
    bases = [vector(VECTORS, name, "log") for name in ("log", "epochs", "prunable", "odd-order")]
    faults = set()
    for _ in range(600):
        lines = change(rng, rng.choice(bases)).export.split(b"\n")[:-1]
        start = rng.choice((0, 0, 1, 2, 3))
        after = Head(VECTOR_LOG, start, leaf_hash(lines[start - 1])) if lines[start:] else None
        both = [
            Audit(verify_signature, watch=[2, 5, 9, 300])
            if after is None or not start
            else Audit(verify_signature, after=after, edge=edge(lines[:start]), watch=[2, 5, 9])
            for _ in range(2)
        ]
        begin = both[0].chain.next_seq
        rows = [(seq, None, line) for seq, line in enumerate(lines)][begin:]
        good = [(seq, both[0].take(*row), line) for row in rows for seq, _, line in [row]]
        taken = list(both[1].take_rows(rows))
        assert taken == [row for row in good if row[1] is not None]
        assert _state(both[0]) == _state(both[1])
        faults.add(both[0].chain.report().differs)
    assert len(faults) > 8


def test_rows_that_are_not_asked_for_are_not_taken() -> None:
    """Whoever stops has the state after the last row, as if there were no others."""
    lines = build(*plain(9))
    audit = Audit(verify_signature, watch=[4])
    taken = audit.take_rows((seq, leaf_hash(line), line) for seq, line in enumerate(lines))
    for seq, _, _ in taken:
        if seq == 4:
            taken.close()
    assert (audit.chain.next_seq, audit.chain.leaf) == (5, leaf_hash(lines[4]))
    assert (audit.edge.size, list(audit.roots)) == (5, [4])
    audit.chain.reject(4, Difference.SESSION, "")
    assert list(audit.take_rows([(5, None, lines[5])])) == []


def test_a_rotation_that_the_log_key_did_not_certify_is_the_first_bad_record() -> None:
    """The key of line 0 decides."""
    key = SIGNING.epoch_key(LOG, 0)
    assert key is not None
    detail = {
        "key": {"type": "ed25519", "public": key.key.public.hex()},
        "first": 0,
        "certificate": key.certificate,
        "ended": [],
    }
    good = {"type": "admin.key_rotated", "detail": detail}
    bad = {"type": "admin.key_rotated", "detail": {**detail, "first": 1}}
    audit = audited(build(good, bad), Audit(verify_signature))
    report = audit.chain.report()
    assert (report.first_bad, report.differs, report.records) == (2, Difference.KEY, 2)
    assert audit.keys is not None
    assert list(audit.keys.epochs) == [key.key.public.hex()]
    # Behind a head whose key is not known nothing can be said of certificates.
    lines = build(good, bad)
    after = Audit(verify_signature, after=Head(LOG, 2, leaf_hash(lines[1])))
    assert after.take(2, None, lines[2]) is not None
    after.begin(LOG, KEYS.public)
    assert after.keys is not None


def test_a_log_goes_on_where_it_was_pruned() -> None:
    """With the same root as if nothing were missing; outcomes of decisions that are gone are
    good.
    """
    decided = {"type": "call.decision", "call": "c", "decision": {"effect": "allow"}}
    ended = {"type": "call.outcome", "call": "c", "decision_seq": 2}
    lines = build(*plain(1), decided, *plain(2), ended)
    lines = build(*plain(1), decided, *plain(2), ended, pruned_fields(lines, 4))
    whole = audited(lines, Audit(verify_signature))
    pruned = Pruned.of(decode(lines[6]))
    assert pruned is not None
    assert (pruned.seq, pruned.before) == (6, 4)
    audit = audited(lines, Audit(verify_signature, pruned=pruned), [0, 4, 5, 6])
    assert audit.pruned == 4
    assert audit.chain.report().first_bad is None
    assert audit.edge.root() == whole.edge.root()
    without = audited(lines, Audit(verify_signature), [0, 4])
    assert without.chain.report().first_bad == 1


def test_the_proof_of_another_log_proves_nothing() -> None:
    """Its line 0 is another one: records are missing."""
    lines = build(*plain(5))
    fields = pruned_fields(lines, 3, genesis="0" * 64)
    pruned = Pruned.of({**fields, "seq": 6})
    audit = audited(lines, Audit(verify_signature, pruned=pruned), [0, 3])
    assert (audit.pruned, audit.chain.report().first_bad) == (0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"before": 1},
        {"before": True},
        {"before": 7},
        {"before": 1 << 70},
        {"edge": []},
        {"edge": None},
        {"edge": ["0" * 64, "x" * 64]},
        {"leaf": None},
        {"genesis": "A" * 64},
    ],
)
def test_what_proves_nothing_is_told(change: Fields) -> None:
    """Malformed, out of range, or for records that come later."""
    lines = build(*plain(5))
    fields = pruned_fields(lines, 3)
    assert Pruned.of({**fields, "seq": 6}) is not None
    assert Pruned.of({**pruned_fields(lines, 3, **change), "seq": 6}) is None
    assert Pruned.of({**fields, "seq": None}) is None
    assert Pruned.of({**fields, "seq": 6, "detail": None}) is None
    assert Pruned.of({**fields, "seq": 6, "type": "admin.start"}) is None


def test_a_pass_begins_anew() -> None:
    """Nothing of what was taken is left."""
    lines = build(*plain(2))
    audit = audited(lines, Audit(verify_signature, watch=[1]))
    audit.restart()
    assert (audit.edge.size, audit.keys, audit.public, audit.roots) == (0, None, "", {})
    assert audited(lines, audit).edge.size == 3


@pytest.mark.parametrize("level", [0, 2, 3])
def test_the_tree_of_a_part_that_was_read_apart_is_put_behind_the_others(level: int) -> None:
    """With the trees of the sizes in it that are watched, and of its own end."""
    leaves = [bytes([number]) * 32 for number in range(16)]
    first, width = 8, 1 << level
    watch = range(first, first + width + 1)
    whole, audit = Edge(), Audit(verify_signature, watch=watch)
    roots = {}
    for leaf in leaves[: first + width]:
        whole.append(leaf)
        roots[whole.size] = whole.root()
    for leaf in leaves[:first]:
        audit.edge.append(leaf)
    part, within = Edge(), {}
    for leaf in leaves[first : first + width]:
        part.append(leaf)
        within[part.size] = part.roots
    del within[width]
    made = audit.join(part.root(), level, within)
    assert made[0] == part.root()
    assert audit.edge.root() == whole.root()
    for size in watch[1:]:
        assert audit.roots[size] == roots[size]


def test_a_part_behind_which_nobody_looks_keeps_no_tree() -> None:
    """Only watched sizes are kept."""
    audit = Audit(verify_signature)
    audit.join(bytes(32), 3, {})
    assert (audit.edge.size, audit.roots) == (8, {})


def test_parts_that_were_read_apart_are_put_together() -> None:
    """Calls across them, and time that goes back between them."""
    chain = Chain()
    assert chain.open_call("c", 3)
    assert not chain.open_call("c", 5)
    assert not chain.close_call("other", 3)
    assert chain.close_call("c", 3)
    for size, first, last in ((8, "b", "c"), (16, "a", "d")):
        chain.advance(
            size,
            b"x" * 32,
            log=LOG,
            first_ts=first,
            last_ts=last,
            backwards=0,
            first_backwards=None,
        )
    report = chain.report()
    assert (report.records, report.backwards, report.first_backwards) == (16, 1, 8)
    chain.advance(
        24, b"y" * 32, log=LOG, first_ts="e", last_ts="f", backwards=2, first_backwards=20
    )
    assert chain.report().backwards == 3
    assert chain.leaf == b"y" * 32


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "x"},
        {"key": None},
        {"key": {"type": "rsa", "public": "ab" * 32}},
        {"log": "a b"},
    ],
)
def test_a_line_0_without_log_key_or_profile_is_none(change: Fields) -> None:
    """What everything else is checked with must be there."""
    first = genesis(nonce="", public_key=KEYS.public, config_digest="", predecessor=None)
    draft = Draft.build({"v": 1, "log": LOG, "type": "genesis", **first, **change})
    line = draft.finish(seq=0, prev=GENESIS_PREV, ts="2026-01-01T00:00:00.000000Z")
    audit = Audit(verify_signature)
    assert audit.take(0, None, line) is None
    assert audit.chain.report().differs is Difference.GENESIS

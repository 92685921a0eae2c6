"""The first record of each caller in a session, compared in the transaction that appends it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from guardrail.core.claims import BEHIND, Claim
from guardrail.core.log.record import Draft
from guardrail.errors import LedgerError
from guardrail.ledger.claims import SESSION_TAKEN, refused_drafts
from guardrail.ledger.names import SessionNames
from guardrail.ledger.sqlite.appending import Store
from guardrail.system.ids import new_ulid
from tests.support.ledgers import SIGNING, decision, make


def first(session: str = "s", principal: str = "alice", name: str = "") -> Draft:
    """Return the first decision of *principal* in *session*, recorded under *name*."""
    draft = decision(new_ulid(), "p", effect="deny", session=name or session)
    early = draft.segments[1].replace(b'"alice"', b'"%s"' % principal.encode())
    claim = Claim(
        (session, f"token:{session}"),
        ("default", principal, "bot", ""),
        False,
        lambda kind, value: f"token:{value}",
    )
    return replace(draft, claim=claim, segments=(draft.segments[0], early, *draft.segments[2:]))


def answers(store: Store, *drafts: Draft) -> list[str]:
    """Append *drafts* in one transaction; return ``written``, or the code of each refusal."""
    tail = store.begin()
    refused = refused_drafts(store, drafts, tail, SessionNames())
    allowed = [draft for place, draft in enumerate(drafts) if place not in refused]
    assert not any(isinstance(each, LedgerError) for each in store.add_all(allowed, tail))
    store.sign(tail, SIGNING.log_key(store.log))
    store.commit()
    return [refused[place].code if place in refused else "written" for place in range(len(drafts))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    make(tmp_path / "a.db").close()
    return Store(tmp_path / "a.db", SIGNING)


def test_the_first_owner_stays_the_only_one(store: Store) -> None:
    """The others of the same commit are written."""
    with_owner = [first("s"), first("t", "bob")]
    assert answers(store, *with_owner) == ["written"] * 2
    mixed = [first("s"), first("s", "mallory"), first("t", "mallory"), first("u", "mallory")]
    assert answers(store, *mixed) == ["written", SESSION_TAKEN, SESSION_TAKEN, "written"]
    assert answers(store, first("s", "mallory"), decision(new_ulid(), "p")) == [
        SESSION_TAKEN,
        "written",
    ]
    store.close()


def test_a_session_stands_under_its_id_or_the_token_of_it(store: Store) -> None:
    """A bare record has tokens alone."""
    assert answers(store, first("s", name="token:s")) == ["written"]
    assert answers(store, first("s", "mallory"), first("s")) == [SESSION_TAKEN, "written"]
    store.close()


def test_of_two_that_begin_a_session_in_one_commit_one_comes_again(store: Store) -> None:
    """Which one will stand in the log is not known before."""
    assert answers(store, first("s"), first("s", "mallory"), first("s")) == [
        "written",
        BEHIND,
        "written",
    ]
    assert answers(store, first("s", "mallory")) == [SESSION_TAKEN]
    store.close()


@pytest.mark.parametrize("leaf", [True, False])
def test_a_first_record_that_the_head_does_not_prove_is_not_believed(
    store: Store, tmp_path: Path, leaf: bool
) -> None:
    """Nobody is refused, or let in, by a row that somebody put there."""
    from guardrail.core.log.record import leaf_hash

    answers(store, first("s", "bob"), first("t", "bob"))
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    ((seq, line),) = other.execute("SELECT seq, line FROM records WHERE session = 's'").fetchall()
    (trigger,) = other.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'record_no_update'"
    ).fetchone()
    other.execute("DROP TRIGGER record_no_update")
    forged = line.replace('"bob"', '"eve"')
    other.execute("UPDATE record SET line = ? WHERE seq = ?", (forged, seq))
    if leaf:
        sql = "UPDATE record SET leaf = ? WHERE seq = ?"
        other.execute(sql, (leaf_hash(forged.encode()), seq))
    other.execute(trigger)
    other.close()
    with pytest.raises(LedgerError) as caught:
        answers(store, first("s", "alice"))
    assert caught.value.code == "ledger.unproved"
    store.close()

"""Who is calling: checked for form, never believed more than it deserves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guardrail.core.types import Agent, Assurance, Principal, Session
from guardrail.errors import IdentityError
from guardrail.identity.principal import SessionTable, agent, check_id, delegation, principal


@pytest.mark.parametrize(
    "value", ["", "x" * 513, "a\nb", "a\x1b[2J", "a\u202eb", "a\u200bb", "\ud800", 5, None, b"x"]
)
def test_ids_that_could_deceive_a_reader_are_refused_unquoted(value: object) -> None:
    """Empty, endless, with control, bidi, zero-width or surrogate characters, or no text at all."""
    with pytest.raises(IdentityError) as caught:
        check_id(value, "principal")
    assert repr(value) not in str(caught.value) or value in ("", None)


@pytest.mark.parametrize("mark", [f"gr1:principal:k1:{'a' * 24}", f"gr1:agent:-:{'b' * 24}"])
def test_a_mark_is_nobodys_id(mark: str) -> None:
    """It would be equal to the recorded id of the person whose token it is."""
    made = [
        lambda: principal(mark),
        lambda: principal(Principal(mark)),
        lambda: agent(mark),
        lambda: agent(Agent(mark)),
        lambda: delegation([{"sub": mark}]),
    ]
    for each in made:
        with pytest.raises(IdentityError) as caught:
            each()
        assert caught.value.code == "identity.mark"
        assert mark not in str(caught.value)
    assert principal(f"x{mark}").id == f"x{mark}"


def test_a_name_alone_is_asserted_and_none_is_absent() -> None:
    """Nothing is called verified that guardrail did not verify."""
    assert principal("alice").assurance is Assurance.ASSERTED
    assert principal(None).assurance is Assurance.ABSENT
    assert agent("bot").assurance is Assurance.ASSERTED
    assert agent(None).assurance is Assurance.ABSENT
    assert principal(Principal(id="alice", roles=("x",))).roles == ("x",)
    assert agent(Agent(id="bot", version="1")).version == "1"
    assert principal(Principal(id="", assurance=Assurance.ABSENT)).id == ""
    assert agent(Agent(id="", assurance=Assurance.ABSENT)).id == ""


def test_a_host_cannot_hand_over_a_verified_identity() -> None:
    """Only guardrail verifies."""
    with pytest.raises(IdentityError):
        principal(Principal(id="alice", assurance=Assurance.VERIFIED))
    with pytest.raises(IdentityError):
        agent(Agent(id="bot", assurance=Assurance.VERIFIED))
    with pytest.raises(IdentityError):
        principal(Principal(id=""))
    with pytest.raises(IdentityError):
        agent(Agent(id="a\nb"))


def test_delegation_is_short_and_named() -> None:
    """At most 8 steps, each with a sub."""
    assert delegation([{"sub": "a", "iss": "i"}]) == ({"sub": "a", "iss": "i"},)
    with pytest.raises(IdentityError):
        delegation([{"sub": "a"}] * 9)
    with pytest.raises(IdentityError):
        delegation([{"iss": "i"}])


SESSION = Session(id="s", tenant="t", principal=Principal(id="alice"), agent=Agent(id="bot"))


def test_a_session_keeps_its_state() -> None:
    """Entering it again gives what was made the first time."""
    table: SessionTable[object] = SessionTable()
    first = table.enter(SESSION, lambda _: object(), lambda _: None)
    assert table.enter(SESSION, lambda _: object(), lambda _: None) is first


@pytest.mark.parametrize(
    "other",
    [
        replace(SESSION, tenant="u"),
        replace(SESSION, principal=Principal(id="eve")),
        replace(SESSION, principal=Principal(id="alice ")),
        replace(SESSION, principal=Principal(id="alice", issuer="https://a.example")),
        replace(SESSION, agent=Agent(id="x")),
    ],
)
def test_an_id_that_belongs_to_someone_else_is_refused(other: Session) -> None:
    """In this process or in the ledger."""
    table: SessionTable[object] = SessionTable()
    table.enter(SESSION, lambda _: object(), lambda _: None)
    with pytest.raises(IdentityError):
        table.enter(other, lambda _: object(), lambda _: None)
    with pytest.raises(IdentityError):
        SessionTable[object]().enter(other, lambda _: object(), lambda _: ("t", "alice", "bot", ""))
    SessionTable[object]().enter(SESSION, lambda _: object(), lambda _: ("t", "alice", "bot", ""))


def test_someone_who_comes_first_while_the_state_is_made_keeps_the_id() -> None:
    """The race between two owners has one winner."""
    table: SessionTable[object] = SessionTable()

    def make(session: Session) -> object:
        if session.principal.id == "alice":
            table.enter(replace(SESSION, principal=Principal(id="eve")), make, lambda _: None)
        return object()

    with pytest.raises(IdentityError):
        table.enter(SESSION, make, lambda _: None)


def test_the_table_is_bounded() -> None:
    """The session that was used least recently goes first."""
    table: SessionTable[object] = SessionTable(limit=2)
    states = {
        name: table.enter(replace(SESSION, id=name), lambda _: object(), lambda _: None)
        for name in "ab"
    }
    table.enter(replace(SESSION, id="a"), lambda _: object(), lambda _: None)
    table.enter(replace(SESSION, id="c"), lambda _: object(), lambda _: None)
    assert table.enter(replace(SESSION, id="a"), lambda _: object(), lambda _: None) is states["a"]
    assert (
        table.enter(replace(SESSION, id="b"), lambda _: object(), lambda _: None) is not states["b"]
    )

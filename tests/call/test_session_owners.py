"""A session has one owner: whoever's call in it is recorded first, also where others had entered it
before that call.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.call.scope import SessionScope
from guardrail.config import Settings
from guardrail.core.claims import BEHIND
from guardrail.core.log.record import decode
from guardrail.core.types import Principal
from guardrail.errors import Denied, IdentityError, LedgerError
from guardrail.ledger import names
from guardrail.ledger.reader import LedgerReader
from guardrail.review.reasons import reason_of
from guardrail.review.verify import verify_ledger
from guardrail.testing import MemoryLedger, StaticPolicy, allow, ask, memory_guard
from tests.support.guards import journal_of
from tests.support.hidden_records import hidden
from tests.support.projects import ALLOW_ALL

MALLORY = """
import sys
from guardrail import Guard
from guardrail.errors import Denied
guard = Guard.open(sys.argv[1])
with guard.session(principal="mallory", agent="bot", id="ticket-1"):
    print("in", flush=True)
    sys.stdin.readline()
    for _ in range(2):
        try:
            guard.call("x", {}, lambda: print("ran", flush=True))
        except Denied as denied:
            print(denied.code, flush=True)
guard.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with settings and a policy that allows everything."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.rego").write_text(ALLOW_ALL)
    (tmp_path / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\nreserve_mb = 0\n[policy]\npath = "policies"\nworkers = 1\n'
    )
    return tmp_path


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Guard]:
    with Guard.open(folder / "guardrail.toml") as guard:
        yield guard


def decided(folder: Path, session: str = "ticket-1") -> list[tuple[str, str, str]]:
    """Return principal, effect and detail of each decision in *session*."""
    with LedgerReader.open(folder / "audit.db") as reader:
        records = [decode(line) for line in reader.calls(session)]
    return [
        (
            record["principal"]["id"],
            record["decision"]["effect"],
            record["decision"]["detail"],
        )
        for record in records
        if record["type"] == "call.decision"
    ]


def call(guard: Guard, scope: SessionScope) -> object:
    return guard.call("x", {}, lambda: "ran", session=scope)


def acall(guard: Guard, scope: SessionScope) -> object:
    return asyncio.run(guard.acall("x", {}, lambda: "ran", session=scope))


def admit(guard: Guard, scope: SessionScope) -> object:
    with scope:
        admission = guard.admit("x", {})
    admission.settle()
    return "ran"


def in_a_thread(guard: Guard, scope: SessionScope) -> object:
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(guard.call("x", {}, lambda: "ran"))
        except Denied as denied:
            outcome.append(denied)

    thread = threading.Thread(target=guard.bind(scope)(work))
    thread.start()
    thread.join()
    if isinstance(outcome[0], Denied):
        raise outcome[0]
    return outcome[0]


WAYS = [call, acall, admit, in_a_thread]


@pytest.mark.slow
def test_another_process_that_entered_first_makes_no_call_after_the_owners(folder: Path) -> None:
    """It needs no access to the ledger: it only has to know the name of the session."""
    with opened(folder) as guard:
        other = subprocess.Popen(
            [sys.executable, "-c", MALLORY, str(folder / "guardrail.toml")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "in"
        with guard.session(principal="alice", agent="bot", id="ticket-1") as scope:
            assert call(guard, scope) == "ran"
            assert other.communicate("go\n")[0].split() == ["identity.session"] * 2
            assert call(guard, scope) == "ran"
    assert decided(folder) == [
        ("alice", "allow", ""),
        ("mallory", "deny", "session"),
        ("mallory", "deny", "session"),
        ("alice", "allow", ""),
    ]
    assert verify_ledger(folder / "audit.db").exit_code == 5


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "other",
    [
        {"principal": "mallory", "agent": "bot"},
        {"principal": Principal("alice", issuer="elsewhere"), "agent": "bot"},
        {"principal": "alice", "agent": "bot2"},
        {"principal": "alice", "agent": "bot", "tenant": "other"},
    ],
)
def test_whose_call_comes_second_is_refused_for_good(
    folder: Path, way: Callable[[Guard, SessionScope], object], other: dict[str, Any]
) -> None:
    """Compared exactly, as at the entry; whichever way the call is made, and also if the session is
    entered again.
    """
    with opened(folder) as first, opened(folder) as second:
        squatter = second.session(id="ticket-1", **other)
        owner = first.session(principal="alice", agent="bot", id="ticket-1")
        assert way(first, owner) == "ran"
        with pytest.raises(Denied) as caught:
            way(second, squatter)
        assert caught.value.code == "identity.session"
        assert "omit the id" in caught.value.hint
        with pytest.raises(Denied):
            way(second, second.session(id="ticket-1", **other))
        with pytest.raises(IdentityError):
            first.session(id="ticket-1", **other)
        assert way(first, owner) == "ran"
    assert [row[1:] for row in decided(folder)] == [
        ("allow", ""),
        ("deny", "session"),
        ("deny", "session"),
        ("allow", ""),
    ]
    assert "another tenant, principal or agent" in reason_of("identity", "session").sentence
    with opened(folder) as guard, pytest.raises(IdentityError):
        guard.session(id="ticket-1", **other)


@pytest.mark.parametrize("form", ["clear", "token"])
def test_the_owner_comes_first_from_two_guards(folder: Path, form: str) -> None:
    """Who is the same is recognised, also where the ledger holds tokens."""
    with (folder / "guardrail.toml").open("a") as file:
        file.write(f'[identity]\nprincipal_form = "{form}"\n')
    who = Principal("alice", issuer="corp")
    with opened(folder) as first, opened(folder) as second:
        scopes = [
            (guard, guard.session(principal=who, agent="bot", id="s")) for guard in (first, second)
        ]
        assert [call(*each) for each in scopes + scopes] == ["ran"] * 4
        mallory = second.session(principal="mallory", agent="bot", id="t")
        assert call(first, first.session(principal=who, agent="bot", id="t")) == "ran"
        with pytest.raises(Denied):
            call(second, mallory)


def test_a_session_that_guardrail_named_has_one_owner_too(folder: Path) -> None:
    """Its id can have been read by others before the first call."""
    with opened(folder) as first, opened(folder) as second:
        owner = first.session(principal="alice", agent="bot")
        assert call(second, second.session(principal="mallory", agent="bot", id=owner.id)) == "ran"
        with pytest.raises(Denied) as caught:
            call(first, owner)
        assert caught.value.code == "identity.session"


def test_a_call_that_the_framework_rejects_begins_a_session_too(folder: Path) -> None:
    """Its record makes the session its caller's; in somebody else's it is a denial."""
    with opened(folder) as first, opened(folder) as second:
        squatter = second.session(principal="mallory", agent="bot", id="ticket-1")
        owner = first.session(principal="alice", agent="bot", id="ticket-1")
        first.reject("x", "arguments", session=owner)
        numbers = [second.reject("x", "arguments", session=squatter) for _ in range(2)]
        with pytest.raises(Denied):
            call(second, squatter)
    assert decided(folder) == [("mallory", "deny", "session")] * 3
    with LedgerReader.open(folder / "audit.db") as reader:
        records = [decode(reader.record(seq) or b"") for seq in numbers]
    assert {record["type"] for record in records} == {"call.decision"}


def test_a_refused_call_makes_no_session_its_callers(folder: Path) -> None:
    """Not even where nothing else is left of the session."""
    with opened(folder) as first, opened(folder) as second:
        squatter = second.session(principal="mallory", agent="bot", id="ticket-1")
        assert call(first, first.session(principal="alice", agent="bot", id="ticket-1")) == "ran"
        for _ in range(2):
            with pytest.raises(Denied):
                call(second, squatter)
        owner = journal_of(second).session_owner("ticket-1")
    assert owner == ("default", "alice", "bot", "")


def test_an_id_that_is_recorded_as_a_token_is_looked_up_as_one(folder: Path) -> None:
    """Text that looks like a secret stands in no record, and the session is its owner's all the
    same.
    """
    id_ = "password=" + "Tr0ub4dor-and-3-more"
    with opened(folder) as guard:
        assert call(guard, guard.session(principal="alice", agent="bot", id=id_)) == "ran"
    assert decided(folder, id_) == []
    with opened(folder) as guard:
        with pytest.raises(IdentityError):
            guard.session(principal="mallory", agent="bot", id=id_)
        assert call(guard, guard.session(principal="alice", agent="bot", id=id_)) == "ran"


def test_later_calls_are_not_compared_any_more(folder: Path, monkeypatch: Any) -> None:
    """One look in the ledger for each session and guard, with its first record."""
    from guardrail.ledger import claims

    looks: list[object] = []
    real = claims._check_claim

    def counted(*values: Any) -> object:
        looks.append(values)
        return real(*values)

    monkeypatch.setattr(claims, "_check_claim", counted)
    with opened(folder) as guard:
        scope = guard.session(principal="alice", agent="bot", id="s")
        for _ in range(5):
            call(guard, scope)
        assert len(looks) == 1
    with opened(folder) as guard:
        scope = guard.session(
            principal="alice", agent="bot", id="s"
        )  # the ledger shows whose it is
        call(guard, scope)
        assert len(looks) == 1


# -- what the guard makes of the ledger's answer
# ---------------------------------------------------------------------------


def failing(ledger: MemoryLedger, *codes: str) -> None:
    """Let the ledger refuse as many records, each with one of *codes*."""
    left = list(codes)
    ledger.fail = lambda _: LedgerError("no", code=left.pop(0)) if left else None


def test_a_first_call_is_made_again_where_the_ledger_has_to_look_once_more() -> None:
    """Nothing was written, and the caller does not notice; but not for ever."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", id="s")
    failing(ledger, BEHIND, BEHIND)
    assert call(guard, scope) == "ran"
    scope = guard.session(principal="alice", id="t")
    failing(ledger, BEHIND)
    assert guard.reject("x", "arguments", session=scope) > 0
    for name, made in (("u", call), ("v", lambda g, s: g.reject("x", "arguments", session=s))):
        failing(ledger, *[BEHIND] * 20)
        with pytest.raises(LedgerError) as caught:
            made(guard, guard.session(principal="alice", id=name))
        assert caught.value.code == BEHIND


def test_other_errors_of_the_ledger_reach_the_caller() -> None:
    """They say nothing about the session."""
    guard, ledger = memory_guard(StaticPolicy(allow()))
    scope = guard.session(principal="alice", id="s")
    for made in (call, lambda g, s: g.reject("x", "arguments", session=s)):
        failing(ledger, "ledger.other")
        with pytest.raises(LedgerError) as caught:
            made(guard, scope)
        assert caught.value.code == "ledger.other"
        assert call(guard, scope) == "ran"


def test_a_rejection_beyond_the_limit_is_counted_with_the_others() -> None:
    """Whoever's session it is."""
    guard, ledger = memory_guard(
        StaticPolicy(allow()), settings=Settings().override(limits={"calls_per_minute": 1})
    )
    scope = guard.session(principal="alice", id="s")
    call(guard, scope)
    seq = guard.reject("x", "arguments", session=scope)
    assert ledger.records[seq]["type"] == "admin.quota_reached"


def test_who_only_asks_for_approval_owns_the_session() -> None:
    """Nothing ran, but the request stands in the session."""
    guard, ledger = memory_guard(StaticPolicy(ask("large")))
    from guardrail.errors import ApprovalRequired

    with pytest.raises(ApprovalRequired):
        call(guard, guard.session(principal="alice", id="s"))
    assert ledger.owner("s") == ("default", "alice", "", "")


# -- while somebody without a key changes the file
# -------------------------------------------------------------------------

HIDDEN = ("session = 'ticket-1'", '"session":"ticket-1"', '"session":"ticket-X"')
"""All records of the session, and what they say while they are hidden: those of another one."""


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_an_owner_that_is_hidden_for_a_moment_is_not_taken_for_none(
    folder: Path, known: bool
) -> None:
    """Nobody is let in by what is not there: the ledger is sealed, whether its lines were read
    before or not.
    """
    with opened(folder) as guard:
        assert call(guard, guard.session(principal="alice", agent="bot", id="ticket-1")) == "ran"
    with opened(folder) as guard:
        if known:
            guard.session(principal="mallory", agent="bot", id="ticket-2")
        with hidden(folder / "audit.db", *HIDDEN), pytest.raises(LedgerError) as caught:
            guard.session(principal="mallory", agent="bot", id="ticket-1")
        assert caught.value.code == "ledger.sealed"
    assert [row[0] for row in decided(folder)] == ["alice"]


@pytest.mark.parametrize("gap", [1_024, 0])
def test_nor_is_one_that_is_hidden_while_the_first_call_is_recorded(
    folder: Path, gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who entered before the owner's first call is let in by nothing less than a proof at the end
    of the log.
    """
    monkeypatch.setattr(names, "SHORT", gap)
    with opened(folder) as first, opened(folder) as second:
        squatter = second.session(principal="mallory", agent="bot", id="ticket-1")
        assert call(first, first.session(principal="alice", agent="bot", id="ticket-1")) == "ran"
        with hidden(folder / "audit.db", *HIDDEN), pytest.raises(LedgerError) as caught:
            call(second, squatter)
        assert caught.value.code == "ledger.sealed"
    assert [row[0] for row in decided(folder)] == ["alice"]


def test_a_first_call_long_after_its_session_was_entered_is_proved_outside_the_transaction(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others need not wait while many lines are read; the caller does not notice."""
    monkeypatch.setattr(names, "SHORT", 3)
    with opened(folder) as first, opened(folder) as second:
        waits = second.session(principal="alice", agent="bot", id="late")
        rejects = second.session(principal="alice", agent="bot", id="later")
        for _ in range(5):
            call(first, first.session(principal="bob", agent="bot"))
        assert call(second, waits) == "ran"
        for _ in range(5):
            call(first, first.session(principal="bob", agent="bot"))
        assert second.reject("x", "arguments", session=rejects) > 0


def test_records_of_calls_that_the_commit_thread_wrote_are_not_read_again(folder: Path) -> None:
    """What it writes it knows, so a log of one process is read once."""
    with opened(folder) as guard:
        guard.session(principal="alice", agent="bot", id="first")
        known = journal_of(guard).ledger.names  # type: ignore[attr-defined]
        for number in range(5):
            call(guard, guard.session(principal="alice", agent="bot", id=f"s-{number}"))
            with LedgerReader.open(folder / "audit.db") as reader:
                assert known._edge.size == reader.size()
        guard._entry._sessions._states.clear()
        with pytest.raises(IdentityError):
            guard.session(principal="bob", agent="bot", id="s-3")

"""Approvals against somebody who can write the ledger's file and has no key: lines exchanged for a
moment, and planted rows.

Every test plays the attack on a real ledger while a guard uses it; what was put in is put back
before anyone looks for traces.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.approvals.rules import Approver
from guardrail.core.log.record import decode, dumps, leaf_hash
from guardrail.core.redaction.rules import BUILT_IN
from guardrail.core.types import Assurance
from guardrail.errors import Denied, LedgerError, LedgerSealedError
from guardrail.ledger import proved, steps, tree
from guardrail.ledger.files import seal_path
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.wiring.opening import open_journal
from tests.support.approvals import (
    BOB,
    CAROL,
    Asks,
    Body,
    ask_for,
    attempt,
    granted,
    guarded,
    run,
    settings_in,
)
from tests.support.guards import journal_of


class File:
    """The ledger's file in the hands of an attacker."""

    def __init__(self, folder: Path) -> None:
        self.db = folder / "audit.db"

    def lines(self, type_: str | None = None) -> list[tuple[int, bytes]]:
        """Return (seq, line) of the records of a type."""
        with self._open() as db:
            rows = db.execute("SELECT seq, CAST(line AS BLOB) FROM record ORDER BY seq").fetchall()
        return [row for row in rows if type_ is None or decode(row[1])["type"] == type_]

    def run(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """Change the file in one transaction, and leave triggers, and what SQLite would refuse, as
        if nothing had been.
        """
        with self._open() as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            db.execute("BEGIN IMMEDIATE")
            triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            kept = triggers.fetchall()
            for name, _ in kept:
                db.execute(f"DROP TRIGGER {name}")
            for sql, values in statements:
                db.execute(sql, values)
            for _, sql in kept:
                db.execute(sql)
            db.execute("COMMIT")

    def put(self, seq: int, line: bytes, *, hashed: bool = False) -> None:
        """Put another line in the place of record *seq*; with *hashed*, its hash as well."""
        if hashed:
            sql = "UPDATE record SET line = ?, leaf = ? WHERE seq = ?"
            self.run((sql, (line.decode(), leaf_hash(line), seq)))
        else:
            self.run(("UPDATE record SET line = ? WHERE seq = ?", (line.decode(), seq)))

    def plant(self, seq: int, line: bytes) -> None:
        """Add a row."""
        sql = "INSERT INTO record (seq, leaf, line) VALUES (?, ?, ?)"
        self.run((sql, (seq, leaf_hash(line), line.decode())))

    def remove(self, seq: int) -> None:
        """Take a row away."""
        self.run(("DELETE FROM record WHERE seq = ?", (seq,)))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.db, isolation_level=None, timeout=10)
        try:
            yield db
        finally:
            db.close()


def ping(guard: Guard, times: int = 1) -> None:
    """Make calls that need nobody."""
    with guard.session(principal="alice", agent="bot", id="s-1"):
        for _ in range(times):
            guard.call("ping", {}, lambda: "pong")


class PayOnly(Asks):
    """Asks for people where a payment is made."""

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.rules = ("large",) if asked["resource"]["id"] == "pay" else ()
        return super().__call__(asked)


@contextmanager
def scene(folder: Path) -> Iterator[tuple[Guard, File, str, bytes]]:
    """A guard, its file, the id of a request in it, and the request's line; calls before it and
    behind it.
    """
    with guarded(folder, PayOnly()) as guard:
        guard.declare("ping", schema={"type": "object"})
        ping(guard, 2)
        approval = ask_for(guard)
        ping(guard, 2)
        file = File(folder)
        (request,) = (line for _, line in file.lines("call.decision") if approval.encode() in line)
        yield guard, file, approval, request


def sealed_by(guard: Guard, approval: str) -> str:
    """Present the approval; return why the ledger was sealed. The body did not run."""
    body = Body()
    with pytest.raises(LedgerSealedError) as caught:
        attempt(guard, approval, body)
    assert body.runs == 0
    return caught.value.message


# -- grants
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("behind", [False, True])
def test_a_grant_put_in_the_place_of_a_record_for_a_moment_approves_nothing(
    tmp_path: Path, hashed: bool, behind: bool
) -> None:
    """Whether the record stood before the request or behind it, and whether its hash is exchanged
    as well.
    """
    with scene(tmp_path) as (guard, file, approval, request):
        seq, old = file.lines("call.outcome")[-1 if behind else 0]
        file.put(seq, granted(request, seq=seq), hashed=hashed)
        body = Body()
        # What stands before the request is no answer to it, and is not looked at.
        looked_at = behind or hashed
        with pytest.raises(LedgerSealedError if looked_at else Denied):
            attempt(guard, approval, body)
        assert body.runs == 0
        file.put(seq, old, hashed=hashed)
        assert seal_path(file.db).exists() is looked_at


@pytest.mark.parametrize("seq", [-1, -(1 << 62), 10_000, (1 << 63) - 1])
def test_a_planted_grant_approves_nothing(tmp_path: Path, seq: int) -> None:
    """Numbers below 0, which SQLite's checks do not report to readers, and numbers behind the head:
    they are in no tree.
    """
    with scene(tmp_path) as (guard, file, approval, request):
        file.plant(seq, granted(request, seq=seq))
        body = Body()
        with pytest.raises(LedgerSealedError if seq > 0 else Denied):
            attempt(guard, approval, body)
        assert body.runs == 0
        if seq < 0:
            ping(guard)


def test_a_planted_grant_does_not_complete_a_rule_for_two(tmp_path: Path) -> None:
    """Neither for who answers nor for who uses the approval."""
    with guarded(tmp_path, Asks(approvers=2)) as guard:
        approval = ask_for(guard)
        file = File(tmp_path)
        _, request = file.lines("call.decision")[0]
        file.plant(-1, granted(request, seq=-1, ordinal=7))
        assert guard.approvals.approve(approval, BOB, "yes").given == 1
        body = Body()
        with pytest.raises(Denied) as caught:
            attempt(guard, approval, body)
        assert (caught.value.code, body.runs) == ("denied.approval.approvers_missing", 0)


# -- hiding
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exchanged", "removed", "renamed", "another"])
@pytest.mark.parametrize("step", ["refused", "used"])
def test_a_step_that_is_hidden_for_a_moment_still_counts(
    tmp_path: Path, how: str, step: str
) -> None:
    """A refusal, or the use of the approval: whatever becomes of its row, the approval covers no
    call.
    """
    with scene(tmp_path) as (guard, file, approval, _):
        guard.approvals.approve(approval, BOB, "yes")
        if step == "refused":
            guard.approvals.refuse(approval, CAROL, "no")
            seq, old = file.lines("approval.refused")[-1]
        else:
            assert attempt(guard, approval) == "paid"
            used = [each for each in file.lines("call.decision") if b'"ordinal":' in each[1]]
            seq, old = used[-1]
        ping(guard)
        if how == "exchanged":
            file.put(seq, file.lines("call.outcome")[-1][1].replace(b'"call.outcome"', b'"call.x"'))
        elif how == "renamed":
            file.put(seq, old.replace(b'"ordinal":1', b'"ordinal":null'))
        elif how == "removed":
            file.remove(seq)
        else:
            file.put(seq, dumps({**json.loads(old), "approval": None, "call": "0" * 26}))
        sealed_by(guard, approval)


def test_an_older_state_of_the_file_does_not_take_a_refusal_back(tmp_path: Path) -> None:
    """With the head of that time, which a writer signed: this process knows a newer one."""
    with scene(tmp_path) as (guard, file, approval, _):
        guard.approvals.approve(approval, BOB, "yes")
        columns = "id, size, leaf, edge, note, mac"
        with file._open() as db:
            old = db.execute(f"SELECT {columns} FROM head").fetchone()
        guard.approvals.refuse(approval, CAROL, "no")
        file.run(
            ("DELETE FROM record WHERE seq >= ?", (old[1],)),
            (f"REPLACE INTO head ({columns}) VALUES (?, ?, ?, ?, ?, ?)", old),
        )
        assert "is missing" in sealed_by(guard, approval)


@pytest.mark.parametrize("how", ["exchanged", "removed", "rolled back"])
def test_a_refusal_that_comes_while_the_policy_is_asked_can_not_be_hidden(
    tmp_path: Path, how: str
) -> None:
    """The approval was good when it was looked at; what came since is proved in the transaction
    that would use it.
    """
    policy, refused = Asks(), threading.Event()
    columns = "id, size, leaf, edge, note, mac"

    def busy(asked: dict[str, Any]) -> Any:
        if asked["context"]["approval"] is not None and not refused.is_set():
            refused.set()
            file = File(tmp_path)
            with file._open() as db:
                old = db.execute(f"SELECT {columns} FROM head").fetchone()
            guard.approvals.refuse(approval, CAROL, "no")
            seq, line = file.lines("approval.refused")[-1]
            if how == "exchanged":
                file.put(seq, line.replace(b'"ordinal":1', b'"ordinal":null'))
            elif how == "removed":
                file.remove(seq)
            else:
                file.run(
                    ("DELETE FROM record WHERE seq >= ?", (old[1],)),
                    (f"REPLACE INTO head ({columns}) VALUES (?, ?, ?, ?, ?, ?)", old),
                )
        return policy(asked)

    with guarded(tmp_path, busy) as guard:
        approval = ask_for(guard)
        guard.approvals.approve(approval, BOB, "yes")
        sealed_by(guard, approval)
        assert refused.is_set()


@pytest.mark.parametrize("column", ["edge", "mac", "note", "size"])
def test_a_head_that_was_changed_proves_nothing(tmp_path: Path, column: str) -> None:
    """Each of its columns, and no head at all."""
    values = {"edge": bytes(64), "mac": bytes(32), "note": "x\n\nx", "size": 1 << 40}
    with scene(tmp_path) as (guard, file, approval, _):
        guard.approvals.approve(approval, BOB, "yes")
        file.run((f"UPDATE head SET {column} = ?", (values[column],)))
        sealed_by(guard, approval)


def test_a_log_without_a_head_proves_nothing(tmp_path: Path) -> None:
    with scene(tmp_path) as (guard, file, approval, _):
        file.run(("DELETE FROM head", ()))
        assert "no head" in sealed_by(guard, approval)


# -- what a person is shown
# -------------------------------------------------------------------------------------------------


def test_other_arguments_are_never_shown_to_an_approver(tmp_path: Path) -> None:
    """The request says 500; for a moment its line says 5."""
    with scene(tmp_path) as (guard, file, approval, request):
        seq = decode(request)["seq"]
        file.put(seq, request.replace(b'"amount":5', b'"amount":1'))
        with pytest.raises(LedgerSealedError):
            guard.approvals.case(approval)
        file.put(seq, request)


def test_the_command_line_shows_and_answers_only_what_is_proved(tmp_path: Path) -> None:
    """It reads with the log's keys, so it proves what it shows; exit code 3, and nothing is printed
    or recorded.
    """
    (tmp_path / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\nreserve_mb = 0\n[approvals]\nunsafe_asserted_approvals ='
        " true\n"
    )
    with scene(tmp_path) as (_, file, approval, request):
        seq = decode(request)["seq"]
        shown = run(tmp_path, "approvals", "--json")
        assert json.loads(shown.stdout)["proved"] is True
        file.put(seq, request.replace(b'"amount":5', b'"amount":1'))
        for command in (["approvals"], ["approve", approval, "--reason", "ok"]):
            result = run(tmp_path, *command)
            assert result.returncode == 3, result.stderr
            assert "the signed head contradicts records" in result.stderr
            assert not result.stdout
        file.put(seq, request)
        assert not file.lines("approval.granted")


def test_without_the_keys_the_list_says_that_it_is_not_proved(tmp_path: Path) -> None:
    """A person who can only read gets what is there, and is told what it is worth."""
    with scene(tmp_path):
        pass
    os.rename(tmp_path / "audit.keys", tmp_path / "elsewhere")
    (tmp_path / "guardrail.toml").write_text('[ledger]\npath = "audit.db"\n')
    shown = run(tmp_path, "approvals")
    assert shown.returncode == 0
    assert "NOT PROVED" in shown.stderr
    assert json.loads(run(tmp_path, "approvals", "--json").stdout)["proved"] is False


# -- sessions and starts
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [-1, 10_000])
@pytest.mark.parametrize("who", ["alice", "mallory"])
def test_a_planted_record_neither_gives_nor_takes_a_session(
    tmp_path: Path, seq: int, who: str
) -> None:
    """It would lock the owner out, or let another in: the ledger is sealed instead."""
    with scene(tmp_path) as (guard, file, _, request):
        forged = json.loads(request)
        forged |= {"session": "s-2", "call": "0" * 26, "seq": seq}
        forged["principal"]["id"] = "mallory"
        file.plant(seq, dumps(forged))
        sql = "INSERT INTO place VALUES ('session', 's-2', ?, ?)"
        file.run((sql, (seq // 4096, seq)))
        with pytest.raises(LedgerSealedError):
            guard.session(principal=who, agent="bot", id="s-2")


def test_a_session_whose_first_record_was_exchanged_is_given_to_nobody(tmp_path: Path) -> None:
    with scene(tmp_path) as (_, file, _, _):
        pass
    seq, old = file.lines("call.decision")[0]
    with guarded(tmp_path) as guard:
        file.put(seq, old.replace(b'"alice"', b'"mallo"'))
        with pytest.raises(LedgerSealedError):
            guard.session(principal="mallo", agent="bot", id="s-1")
        file.put(seq, old)


def test_the_owner_of_a_session_enters_it_again_after_a_restart(tmp_path: Path) -> None:
    """What is proved counts."""
    with scene(tmp_path):
        pass
    with guarded(tmp_path, PayOnly()) as guard:
        guard.declare("ping", schema={"type": "object"})
        ping(guard)


def test_a_start_that_was_planted_stops_the_next_one(tmp_path: Path) -> None:
    """It would hide from the record that the settings have changed."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(
        'package guardrail.policy\n\nallow contains "all"\n'
    )
    settings = settings_in(tmp_path)
    Guard.open(settings).close()
    file = File(tmp_path)
    seq, start = file.lines("admin.start")[-1]
    file.put(seq, start.replace(b'"version":"', b'"version":"9'))
    # A later record than the tail that an opening verifies: long logs hold it far from their end.
    with pytest.raises(LedgerError):
        Guard.open(settings)


# -- what must go on working
# ------------------------------------------------------------------------------------------------


def test_answers_of_other_processes_are_proved_by_their_heads(tmp_path: Path) -> None:
    """Another process grants, and writes more; a third refuses. This one has no part in their
    records.
    """
    with scene(tmp_path) as (guard, _, approval, _):
        other, keys = open_journal(settings_in(tmp_path), epochs=True)
        terms = guard.approvals.terms
        service = other.approval_service(keys.tenant, terms, BUILT_IN, guard.approvals._clock)
        service.approve(approval, BOB, "yes")
        other.admin("note", {})
        other.close()
        assert attempt(guard, approval) == "paid"


def test_a_log_of_several_tiles_is_proved(tmp_path: Path) -> None:
    """The request in one tile, its grant in another, its use in a third."""
    with scene(tmp_path) as (guard, _, approval, _):
        ping(guard, 140)
        guard.approvals.approve(approval, BOB, "yes")
        ping(guard, 140)
        assert attempt(guard, approval) == "paid"
        with pytest.raises(Denied):
            attempt(guard, approval)


def test_requests_far_apart_are_all_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order they are looked at, and when little is kept of what was proved."""
    monkeypatch.setattr(proved, "LONGEST_GAP", 10)
    monkeypatch.setattr(proved, "MOST_STEPS", 2)
    with scene(tmp_path) as (guard, _, first, _):
        ping(guard, 20)
        second = ask_for(guard)
        ping(guard, 20)
        third = ask_for(guard)
        for approval in (first, third, second):
            guard.approvals.approve(approval, BOB, "yes")
            ping(guard)
        for approval in (third, first, second):
            assert attempt(guard, approval) == "paid"


def test_many_looks_at_once_while_others_write(tmp_path: Path) -> None:
    """Readers see different moments of the log, and none of them takes another one's for a
    forgery.
    """
    with scene(tmp_path) as (guard, _, approval, _):
        problems: list[BaseException] = []

        def repeat(work: Callable[[], object]) -> threading.Thread:
            def run() -> None:
                try:
                    for _ in range(60):
                        work()
                except BaseException as error:
                    problems.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        threads = [repeat(lambda: guard.approvals.case(approval)) for _ in range(3)]
        threads += [repeat(lambda: ping(guard)) for _ in range(3)]
        threads += [repeat(lambda: journal_of(guard).session_owner("s-1"))]
        for thread in threads:
            thread.join(60)
        assert not problems


def test_a_forked_child_looks_for_itself(tmp_path: Path) -> None:
    """Also where a thread of the parent was looking when it was forked."""
    with scene(tmp_path) as (guard, _, approval, _):
        guard.approvals.approve(approval, BOB, "yes")
        proofs = journal_of(guard).requests._proofs  # type: ignore[attr-defined]
        with proofs._turn():
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if attempt(guard, approval) == "paid" else 1)
                except BaseException:
                    os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_look_hashes_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines before the request never, each line behind it once."""
    hashed: list[bytes] = []

    def counted(line: bytes) -> bytes:
        hashed.append(line)
        return leaf_hash(line)

    with scene(tmp_path) as (guard, file, approval, request):
        ping(guard, 50)
        monkeypatch.setattr(steps, "leaf_hash", counted)
        monkeypatch.setattr(tree, "leaf_hash", counted)
        behind = len(file.lines()) - decode(request)["seq"] - 1
        guard.approvals.case(approval)
        assert behind <= len(hashed) <= behind + 4
        hashed.clear()
        guard.approvals.case(approval)
        assert len(hashed) <= 4


def test_a_verified_person_needs_no_setting_and_a_forged_one_gets_nowhere(tmp_path: Path) -> None:
    """The record that a forger would write is accepted where a holder of the keys wrote it."""
    verified = Approver("carol", Assurance.VERIFIED, "oidc")
    with guarded(tmp_path, approvals={"unsafe_asserted_approvals": False}) as guard:
        approval = ask_for(guard)
        guard.approvals.approve(approval, verified, "yes")
        assert attempt(guard, approval) == "paid"
    assert verify_ledger(tmp_path / "audit.db").state is VerifyState.NOT_ANCHORED

"""``verify`` follows each approval from its request to its use: what a guard was made to believe,
or a holder of the keys wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.core.log.chain import Difference
from guardrail.core.log.record import Draft, decode
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import VerifyReport, VerifyState, verify_export, verify_ledger
from guardrail.review.verify import parts as parts_of
from guardrail.system.ids import new_ulid
from tests.support.approvals import BOB, CAROL, Asks, ask_for, attempt, guarded, run
from tests.support.guards import journal_of

Record = dict[str, Any]


@dataclass
class Log:
    """A ledger with one approval that was used well, and the guard that a holder of its keys can
    write through.
    """

    guard: Guard
    folder: Path
    request: Record = field(default_factory=dict)
    granted: Record = field(default_factory=dict)
    used: Record = field(default_factory=dict)

    def records(self) -> list[Record]:
        with LedgerReader.open(self.folder / "audit.db") as reader:
            return [decode(line) for _, _, line in reader.lines()]

    def write(self, record: Record, **changes: Any) -> int:
        """Write a record like this one, with some fields changed (``__`` goes into an object);
        return its number.
        """
        made = {name: value for name, value in record.items() if name not in {"seq", "prev", "ts"}}
        if "call" in made:
            made["call"] = new_ulid()
        for name, value in changes.items():
            at, (*way, last) = made, name.split("__")
            for part in way:
                at[part] = dict(at[part])
                at = at[part]
            at[last] = value
        allowed = made.get("decision", {}).get("effect") == "allow"
        return journal_of(self.guard).append(Draft.build(made, opens=allowed)).seq

    def second(self) -> tuple[str, Record]:
        """Ask once more; return the id of the request and its record."""
        approval = ask_for(self.guard)
        return approval, self.records()[-1]

    def use(self, approval: str, ordinal: int = 1, **changes: Any) -> int:
        """Write a use of *approval*, as the good one but for *changes*."""
        return self.write(self.used, approval__id=approval, approval__ordinal=ordinal, **changes)

    def report(self) -> VerifyReport:
        return verify_ledger(self.folder / "audit.db")


@contextmanager
def log(folder: Path, policy: Asks | None = None) -> Iterator[Log]:
    """Make it; with a policy of one's own nothing has been asked yet."""
    with guarded(folder, policy or Asks()) as guard:
        made = Log(guard, folder)
        if policy is None:
            approval = ask_for(guard)
            guard.approvals.approve(approval, BOB, "yes")
            attempt(guard, approval)
            made.request, made.granted, made.used, _ = made.records()[-4:]
        yield made


def bad(report: VerifyReport, seq: int, words: str) -> None:
    assert (report.state, report.differs) == (VerifyState.TAMPERED, Difference.APPROVAL), report
    assert (report.first_bad, report.exit_code) == (seq, 1)
    assert words in report.detail


def test_a_used_approval_is_covered_by_its_request_and_its_answer(tmp_path: Path) -> None:
    """And the answer says how many were compared."""
    with log(tmp_path) as made:
        made.second()
    report = verify_ledger(tmp_path / "audit.db")
    assert (report.state, report.approvals_used) == (VerifyState.NOT_ANCHORED, 1)
    shown = run(tmp_path, "verify", "--ledger", str(tmp_path / "audit.db"))
    assert "1 use of approvals, each covered" in shown.stdout


CASES: dict[str, tuple[Callable[[Log, str], int], str]] = {
    "without a grant": (lambda made, ap: made.use(ap, 0), "had not approved"),
    "by somebody else": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, CAROL, "yes"),
            made.use(ap),
        )[1],
        "had not approved",
    ),
    "in nobody's name": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, approval__approvers=[]),
        )[1],
        "too few people",
    ),
    "by a call with other arguments": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, commitment="ab" * 32),
        )[1],
        "a call other than",
    ),
    "by somebody else's call": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, principal__id="mallory"),
        )[1],
        "a call other than",
    ),
    "of a name that others vouch for": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, principal__issuer="https://b.example"),
        )[1],
        "a call other than",
    ),
    "in another session": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, session="s-2"),
        )[1],
        "a call other than",
    ),
    "after a refusal": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.guard.approvals.refuse(ap, CAROL, "no"),
            made.use(ap, 2),
        )[2],
        "after it was refused",
    ),
    "out of order": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, 5),
        )[1],
        "out of sequence",
    ),
    "without a number": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, ordinal=None),  # type: ignore[arg-type]
        )[1],
        "has no number",
    ),
    "for rules other than those": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, approval__rules=["large", "other"]),
        )[1],
        "rules other than",
    ),
    "by a call that was denied": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, decision__effect="deny"),
        )[1],
        "was not allowed",
    ),
    "of no request": (lambda made, _: made.use(new_ulid(), 0), "was never requested"),
    "with people of another shape": (
        lambda made, ap: (
            made.guard.approvals.approve(ap, BOB, "yes"),
            made.use(ap, approval__approvers="bob"),
        )[1],
        "missing or malformed fields",
    ),
    "by a grant that had expired": (
        lambda made, ap: (
            made.write(
                made.granted,
                approval__id=ap,
                request=_named(made),
                expires="2020-01-01T00:00:00.000000Z",
            ),
            made.use(ap),
        )[1],
        "after it had expired",
    ),
    "by a grant of another request": (
        lambda made, ap: (
            made.write(made.granted, approval__id=ap),
            made.use(ap),
        )[1],
        "had not approved",
    ),
    "by a grant of who asked": (
        lambda made, ap: (
            made.write(
                made.granted,
                approval__id=ap,
                request=_named(made),
                approver={**made.granted["approver"], "id": "Alice "},
            ),
            made.use(ap, approval__approvers=[{**made.granted["approver"], "id": "Alice "}]),
        )[1],
        "its requester had granted",
    ),
}


def _named(made: Log) -> Record:
    """The newest request, as an answer names it."""
    with LedgerReader.open(made.folder / "audit.db") as reader:
        head = reader.head()
    assert head is not None
    return {"seq": head.size - 1, "leaf": head.leaf.hex()}


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_use_that_nothing_covers_is_found(tmp_path: Path, case: str) -> None:
    """Every record is linked and signed well; in the ledger, in several parts of it, and in an
    export.
    """
    play, words = CASES[case]
    with log(tmp_path) as made:
        approval, _ = made.second()
        seq = play(made, approval)
    bad(verify_ledger(tmp_path / "audit.db"), seq, words)
    export = tmp_path / "lines.jsonl"
    with LedgerReader.open(tmp_path / "audit.db") as reader:
        export.write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines()))
    bad(verify_export(export), seq, words)


def test_two_names_of_one_person_are_not_two_people(tmp_path: Path) -> None:
    """Two records, two ids, one person."""
    with log(tmp_path, Asks(approvers=2)) as made:
        approval = ask_for(made.guard)
        made.guard.approvals.approve(approval, BOB, "yes")
        granted = made.records()[-1]
        made.guard.approvals.approve(approval, CAROL, "yes")
        attempt(made.guard, approval)
        made.used = made.records()[-2]
        assert made.report().approvals_used == 1
        again, _ = made.second()
        named = _named(made)
        who = [granted["approver"], {**granted["approver"], "id": "BOB "}]
        for ordinal, each in enumerate(who):
            made.write(
                granted,
                approval__id=again,
                approval__ordinal=ordinal,
                request=named,
                approver=each,
            )
        seq = made.use(again, 2, approval__approvers=who)
        bad(made.report(), seq, "too few people")


def test_what_an_approver_had_to_see_was_in_the_record(tmp_path: Path) -> None:
    """A use of a request that hid it is none."""
    with log(tmp_path) as made:
        rules = [{**each, "needs": ["/card"]} for each in made.request["decision"]["rules"]]
        redaction = {**made.request["redaction"], "removed": {"/card": ["payment", "schema"]}}
        seq = made.write(made.request, decision__rules=rules, redaction=redaction)
        approval = made.records()[seq]["call"]
        made.write(made.granted, approval__id=approval, request=_named(made))
        used = made.use(approval)
        bad(made.report(), used, "could not see")


def test_a_request_that_is_missing_is_not_held_against_its_use(tmp_path: Path) -> None:
    """With ``--since``: what came before was not read."""
    with log(tmp_path) as made:
        since = made.request["seq"] + 1
    report = verify_ledger(tmp_path / "audit.db", since=since)
    assert (report.state, report.approvals_used) == (VerifyState.NOT_ANCHORED, 0)


@pytest.mark.parametrize("good", [True, False])
def test_several_processes_follow_approvals_across_their_parts(
    tmp_path: Path, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request in one part, its answer and its use in the next."""
    monkeypatch.setattr(parts_of, "PART_LEVEL", 8)
    with log(tmp_path) as made:
        approval, _ = made.second()
        _notes(made, 260)
        made.guard.approvals.approve(approval, BOB, "yes")
        if good:
            attempt(made.guard, approval)
        else:
            seq = made.use(approval, 1, commitment="ab" * 32)
        _notes(made, 260)
    steps: list[int] = []
    report = verify_ledger(
        tmp_path / "audit.db", jobs=2, progress=lambda size, _: steps.append(size)
    )
    if good:
        assert steps[:2] == [256, 512]
        assert (report.state, report.approvals_used) == (VerifyState.NOT_ANCHORED, 2)
    else:
        bad(report, seq, "a call other than")


def _notes(made: Log, count: int) -> None:
    """Write records that have no part in it."""
    note = Draft.build(
        {"v": 1, "log": journal_of(made.guard).log, "type": "admin.note", "detail": {}}
    )
    for future in [journal_of(made.guard).ledger.submit(note) for _ in range(count)]:
        future.result(30)


def test_an_id_that_became_a_token_meanwhile_is_no_other_caller(tmp_path: Path) -> None:
    """The commitment binds who called; the record shows the id, or a token once it turned out to be
    sensitive.
    """
    with log(tmp_path) as made:
        approval, _ = made.second()
        made.guard.approvals.approve(approval, BOB, "yes")
        token = "gr1:principal:1:" + "a" * 24
        made.use(approval, principal__id=token, principal__form="token")
        assert made.report().approvals_used == 2

"""Suspensions from the command line: what a responder types, sees and gets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.cli.app import Exit
from tests.support.command_line import HOSTILE, ROOT, Cli
from tests.support.guards import Body, child, guarded, records, whole
from tests.support.guards import cli as command_line


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    """A guard whose ledger the commands find."""
    monkeypatch.chdir(tmp_path)
    with guarded(tmp_path) as guard:
        monkeypatch.setenv("GUARDRAIL_LEDGER", str(tmp_path / "audit.db"))
        yield guard


def call(guard: Guard, agent: str = "bot") -> None:
    with guard.session(principal="alice", agent=agent, id=f"of-{agent}"):
        guard.call("pay", {}, run=Body())


def test_four_processes_obey_from_the_next_call_on(tmp_path: Path) -> None:
    """Each process calls without a pause. After the command returned, none admits a call."""
    with ExitStack() as running:
        agents = [running.enter_context(child(tmp_path)) for _ in range(4)]
        for agent in agents:
            assert agent.ask("call") == {"ok": True}
            agent.ask("flood")
        ledger = ("--ledger", tmp_path / "audit.db")
        command_line("suspend", "all", "--reason", "incident", *ledger, cwd=tmp_path)
        answers = [
            agent.ask("call", 40, how) for how in ("call", "acall", "admit") for agent in agents
        ]
        assert {answer.get("denied") for answer in answers} == {"denied.suspended"}
        assert {answer["ran"] for answer in answers} == {0}
        command_line("resume", "all", *ledger, cwd=tmp_path)
        assert [agent.ask("call") for agent in agents] == [{"ok": True}] * 4
    found = records(tmp_path / "audit.db")
    kinds = [record["type"] for record in found]
    stopped = found[kinds.index("admin.suspended") : kinds.index("admin.resumed")]
    decisions = [record["decision"] for record in stopped if record["type"] == "call.decision"]
    assert {decision["effect"] for decision in decisions} == {"deny"}
    assert len(decisions) >= 12


def test_what_a_responder_sees(cli: Cli, guard: Guard, tmp_path: Path) -> None:
    call(guard)
    call(guard, "other")
    until = "2999-12-01T18:00:00+01:00"
    done = cli("suspend", "agent:BOT", "--reason", "leaks", "--until", until)
    assert (done.code, done.out) == (Exit.YES, "suspended  agent:BOT, by record 5\n")
    assert "ends at 2999-12-01 17:00:00 UTC" in done.err
    assert "no call in the ledger names agent:BOT in this spelling yet" in done.err
    again = cli("suspend", "agent:bot", "--reason", "leaks", "--until", until)
    assert again.out == "suspended  agent:BOT, already by record 5\n".replace("BOT", "bot")
    assert "nothing was written" in again.err
    assert "no call" not in again.err
    cli("suspend", "tool:nothing", "--reason", "x")
    listed = cli("suspensions").out
    assert "suspended  agent:BOT  record 5" in listed
    assert "until 2999-12-01 17:00:00 UTC" in listed
    sessions = json.loads(cli("sessions", "--json").out)["sessions"]
    assert [each["suspended"] for each in sessions] == [5, None]
    assert "SUSPENDED by record 5" in cli("sessions").out
    checks = json.loads(cli("doctor", "--json").out)["checks"]
    (found,) = [each for each in checks if each["name"] == "suspensions"]
    assert (found["state"], found["found"]) == (
        "note",
        "2 suspensions in force: agent:BOT, tool:nothing",
    )
    with pytest.raises(Exception, match="suspended"):
        call(guard)
    why = " ".join(cli("why", "last").out.split())
    assert "Record 5 shows who suspended what" in why
    resumed = cli("resume", "agent:bot", "--reason", "fixed")
    assert resumed.out.startswith("resumed  agent:BOT, by record ")
    assert "1 other suspension is still in force" in resumed.err
    assert cli("resume", "agent:bot").code == Exit.UNKNOWN
    cli("resume", "tool:nothing")
    assert cli("suspensions").out == "No suspension is in force.\n"
    call(guard)
    whole(tmp_path / "audit.db")


def test_the_commands_of_the_page_do_what_it_says(cli: Cli, guard: Guard) -> None:
    """Every command of the first block of docs/suspensions.md."""
    page = (ROOT / "docs" / "suspensions.md").read_text(encoding="utf-8")
    block = page.split("```")[1].replace("2027-", "2999-")
    commands = [shlex.split(line)[1:] for line in block.splitlines() if line]
    assert len(commands) == 6
    for words in commands:
        assert cli(*words).code == Exit.YES, words
    left = json.loads(cli("suspensions", "--json").out)["suspensions"]
    assert [each["subject"]["id"] for each in left] == ["alice@example.com", "send_email", None]


def test_the_documents(cli: Cli, guard: Guard) -> None:
    call(guard)
    made = json.loads(cli("suspend", "principal:alice", "--reason", "x", "--json").out)
    wanted = {"kind": "principal", "id": "alice", "form": "clear"}
    assert (made["subject"], made["written"], made["seq"]) == (wanted, True, 3)
    assert (made["known"], made["running"], made["in_force"]) == (True, 0, 1)
    again = json.loads(cli("suspend", "principal:ALICE", "--reason", "y", "--json").out)
    assert (again["written"], again["seq"], again["reason"]) == (False, 3, "x")
    listed = json.loads(cli("suspensions", "--json").out)
    assert (listed["proved"], listed["total"]) == (True, 1)
    (each,) = listed["suspensions"]
    assert (each["seq"], each["begun"], each["expired"], each["reason"]) == (3, 3, False, "x")
    ended = json.loads(cli("resume", "principal:alice", "--json").out)
    assert (ended["suspension"], ended["in_force"], ended["reason"]) == (3, 0, None)


@pytest.mark.parametrize(
    "words",
    [
        ("bot",),
        ("agent:",),
        ("agent: ",),
        ("robot:bot",),
        ("all:x",),
        ("agent:a\x1bb",),
        (f"agent:{'x' * 513}",),
        ("agent:bot", "--until", "2999-01-01T00:00:00"),
        ("agent:bot", "--until", "2001-01-01T00:00:00Z"),
        ("agent:bot", "--until", "tomorrow"),
        ("agent:bot", "--until", "0001-01-01T00:00:00+14:00"),
        ("agent:bot", "--reason", ""),
        ("agent:bot", "--reason", "x" * 1001),
    ],
)
def test_a_wrong_command_writes_nothing(cli: Cli, guard: Guard, words: tuple[str, ...]) -> None:
    done = cli("suspend", "--reason", "x", *words)
    assert done.code == Exit.USAGE, done
    assert "\x1b" not in done.err
    assert cli("suspensions").out == "No suspension is in force.\n"


def test_hostile_reasons_and_ids_are_shown_harmlessly(cli: Cli, guard: Guard) -> None:
    """A secret in either is removed; an id with a secret matches as a token."""
    secret = "sk-live-4242424242424242424242424242"
    cli("suspend", "all", "--reason", f"{HOSTILE} password={secret}")
    cli("suspend", f"agent:{secret}", "--reason", "its id is a key")
    cli("suspend", "tool:a:b*?", "--reason", "x")
    shown = cli("suspensions")
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    assert not any(line.startswith("FORGED") for line in shown.out.splitlines())
    assert secret not in shown.out + json.dumps(records(Path("audit.db")))
    assert "tool:a:b*?" in shown.out
    cli("resume", "all")
    with pytest.raises(Exception, match="suspended"):
        call(guard, secret)


def test_without_keys_the_list_is_not_proved_and_nothing_can_be_suspended(
    cli: Cli, guard: Guard, tmp_path: Path
) -> None:
    cli("suspend", "all", "--reason", "x")
    guard.close()
    (tmp_path / "audit.keys").rename(tmp_path / "elsewhere")
    listed = cli("suspensions")
    assert listed.out.startswith("suspended  all")
    assert "NOT PROVED" in listed.err
    assert cli("suspend", "tool:x", "--reason", "x").code == Exit.UNKNOWN
    assert cli("resume", "all").code == Exit.UNKNOWN
    assert json.loads(cli("suspensions", "--json").out)["proved"] is False


def test_an_expired_suspension_is_listed_and_stops_nothing(
    cli: Cli, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("suspend", "all", "--reason", "x", "--until", "2999-01-01T00:00:00Z")
    late = "3000-01-01T00:00:00.000000Z"
    monkeypatch.setattr("guardrail.ledger.files.utc_timestamp", lambda: late)
    monkeypatch.setattr("guardrail.review.doctor.suspended.utc_timestamp", lambda: late)
    monkeypatch.setattr("guardrail.call.suspended.utc_timestamp", lambda: late)
    monkeypatch.setattr("guardrail.ledger.suspensions.utc_timestamp", lambda: late)
    assert cli("suspensions").out.startswith("expired  all")
    checks = json.loads(cli("doctor", "--json").out)["checks"]
    (found,) = [each for each in checks if each["name"] == "suspensions"]
    assert found["found"] == "no call is suspended; 1 suspension expired"
    call(guard)


def test_recorded_names_that_look_like_the_subjects_are_named(
    cli: Cli, guard: Guard, tmp_path: Path
) -> None:
    """They are not suspended: they can be another agent. Other spellings of one id are, and are not
    named.
    """
    for name in ("bot-1", "bot\u20111", "BOT-1", "bot-l", "\u042cot-1", "rob-1"):
        call(guard, name)
    done = cli("suspend", "agent:bot-1", "--reason", "x")
    assert "not suspended: agent:bot-l looks like it" in done.err
    assert "BOT-1" not in done.err
    cli("resume", "agent:bot-1")
    made = json.loads(cli("suspend", "agent:bot-1", "--reason", "x", "--json").out)
    assert made["look_alikes"] == ["bot-l", "bot\u20111", "\u042cot-1"]
    assert json.loads(cli("suspend", "all", "--reason", "x", "--json").out)["look_alikes"] == []


def test_more_than_ten_look_alikes_are_counted(cli: Cli, guard: Guard) -> None:
    for number in range(12):
        call(guard, "a" * 20 + "l" * number + "1" * (12 - number))
    done = cli("suspend", "agent:" + "a" * 20 + "l" * 12, "--reason", "x")
    assert done.err.count("looks like it") == 10
    assert "and 2 more look-alikes: --json lists them" in done.err

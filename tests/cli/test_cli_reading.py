"""Sessions, show, why and export, over a real ledger."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import threading
import unicodedata
from pathlib import Path

import pytest

from guardrail import CallContext, ToolTimeoutError
from guardrail.core.log.record import Draft, leaf_hash
from guardrail.ledger.writing import work
from guardrail.ledger.writing.outcomes import unknown
from guardrail.review.terminal import width
from tests.support.command_line import HOSTILE, Cli, build, command, environment
from tests.support.guards import guarded, journal_of, lines, records
from tests.support.waiting import until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

READING = [
    ("sessions",),
    ("show", "last"),
    ("show", "S-1"),
    ("show", "5"),
    ("why", "5"),
    ("why", "last"),
    ("show", "0"),
]


def is_visible(text: str) -> bool:
    """Whether nothing but line feeds is hidden in *text*."""
    return all(char in " \n" or unicodedata.category(char)[0] not in "CZ" for char in text)


@pytest.mark.parametrize("args", READING)
def test_nothing_recorded_reaches_the_terminal_raw(
    cli: Cli, ledger: Path, args: tuple[str, ...]
) -> None:
    """Neither as text nor as JSON: a hostile tool name, argument, principal or error message can't
    act.
    """
    for extra in ((), ("--json",)):
        ran = cli(*args, "--ledger", ledger, *extra)
        assert ran.code == 0
        assert is_visible(ran.out)
        assert is_visible(ran.err)
        assert not any(line.startswith("FORGED") for line in ran.out.splitlines())


@pytest.mark.parametrize("args", READING)
def test_json_is_one_document(cli: Cli, ledger: Path, args: tuple[str, ...]) -> None:
    """Every reading command answers with valid JSON, and with nothing else on stdout."""
    assert isinstance(json.loads(cli(*args, "--ledger", ledger, "--json").out), dict)


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("args", [("sessions",), ("show", "S-1")])
def test_lists_fit_the_terminal(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], columns: str
) -> None:
    """No line is wider than the terminal, whatever was recorded."""
    monkeypatch.setenv("COLUMNS", columns)
    ran = cli(*args, "--ledger", ledger)
    assert all(width(line) <= int(columns) for line in ran.out.splitlines())


def test_sessions_show_who_and_how_calls_ended(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row per session, the oldest first."""
    monkeypatch.setenv("COLUMNS", "200")
    document = json.loads(cli("sessions", "--ledger", ledger, "--json").out)
    first, second = document["sessions"]
    assert document["total"] == 2
    assert (first["session"], first["principal"], first["tenant"]) == (
        "S-1",
        "alice@example.com",
        "acme",
    )
    assert [
        first[name]
        for name in ("calls", "allowed", "denied", "approvals", "errors", "open", "rejected")
    ] == [
        7,
        2,
        3,
        1,
        1,
        0,
        1,
    ]
    assert second["principal"] == HOSTILE
    rows = cli("sessions", "--ledger", ledger).out.splitlines()
    assert rows[0].split() == [
        "STARTED",
        "(UTC)",
        "SESSION",
        "PRINCIPAL",
        "AGENT",
        "TENANT",
        "CALLS",
        "DENIED",
        "APPROVAL",
        "REJECTED",
        "ERRORS",
        "OPEN",
    ]
    assert rows[1].split()[2:] == [
        "S-1",
        "alice@example.com",
        "support-bot",
        "acme",
        "7",
        "3",
        "1",
        "1",
        "1",
        "0",
    ]


def test_sessions_say_in_words_how_calls_went_on_a_narrow_terminal(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below each session: approvals and rejected calls as well."""
    monkeypatch.setenv("COLUMNS", "80")
    rows = cli("sessions", "--ledger", ledger).out.splitlines()
    assert rows[0].split() == ["STARTED", "(UTC)", "SESSION", "PRINCIPAL", "AGENT"]
    assert rows[1].split()[2:] == ["S-1", "alice@example.com", "support-bot"]
    told = [
        "7 calls",
        "3 denied",
        "1 needing approval",
        "1 rejected",
        "1 failed",
    ]
    assert " ".join(" ".join(rows[2:-2]).split()) == ", ".join(told)
    assert rows[-1] == "  1 call"


def test_sessions_name_records_of_calls_beyond_the_limit_and_list_none_of_them(
    cli: Cli, tmp_path: Path
) -> None:
    """They speak of a principal's calls in a minute, which may be of many sessions."""
    from guardrail.core.log import fields
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, WHERE, decision, genesis

    path = tmp_path / "audit.db"
    limit = {"calls_per_minute": 5}
    said = {"where": WHERE, "since": "2026-11-24T09:00:00.000000Z", "limit": limit, "count": 7}
    beyond = fields.throttled(LOG, tenant=None, principal=None, tools={}, begun=1, **said)
    with LedgerWriter.create(path, log=LOG, genesis=genesis(), signing=SIGNING) as writer:
        writer.append(Draft.build(decision("read_file", {})))
        seq = writer.append(Draft.build(beyond)).seq
    found = json.loads(cli("sessions", "--json", "--ledger", path).out)
    assert (found["total"], found["throttled"]) == (1, [seq])
    ran = cli("sessions", "--ledger", path)
    assert len(ran.out.splitlines()) == 2
    assert f"the latest: guardrail show {seq}" in ran.err
    assert "DENIED  7 calls" in cli("show", str(seq), "--ledger", path).out


@pytest.mark.parametrize("index", [True, False])
def test_sessions_say_how_many_tokens_were_refused_and_show_says_why(
    cli: Cli, tmp_path: Path, index: bool
) -> None:
    """Nobody looks for records of which no command speaks. An export is read without an index."""
    from guardrail.core.log import fields
    from guardrail.ledger.reader import LedgerReader
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, WHERE, genesis

    path = tmp_path / "audit.db"
    with LedgerWriter.create(path, log=LOG, genesis=genesis(), signing=SIGNING) as writer:
        for reasons in ({"expired": 1}, {"signature": 1, "expired": 2}):
            detail = {
                "since": "2026-11-24T09:00:00.000000Z",
                "count": sum(reasons.values()),
                "reasons": reasons,
                "issuers": {},
                "addresses": {},
            }
            record = fields.admin(
                LOG, "tokens_refused", actor={"id": "x"}, where=WHERE, detail=detail
            )
            seq = writer.append(Draft.build(record)).seq
    source = ["--ledger", str(path)]
    if not index:
        exported = tmp_path / "export.jsonl"
        with LedgerReader.open(path) as reader:
            exported.write_bytes(b"".join(line + b"\n" for _, _, line in reader.lines()))
        source = ["--export", str(exported)]
    listed = cli("sessions", *source)
    assert f"4 tokens were refused; the latest: guardrail show {seq}" in listed.err
    found = json.loads(cli("sessions", "--json", *source).out)["refused_tokens"]
    assert found == [{"seq": seq - 1, "count": 1}, {"seq": seq, "count": 3}]
    shown = cli("show", str(seq), *source).out
    assert "REFUSED  3 tokens: expired 2, signature 1 (since 2026-11-24 09:00:00 UTC)" in shown


def test_a_cut_list_says_so(cli: Cli, ledger: Path) -> None:
    """The latest ones are shown, and how to see the rest."""
    ran = cli("sessions", "--ledger", ledger, "--limit", "1")
    assert len(ran.out.splitlines()) == 2
    assert "latest 1 of 2" in ran.err
    assert len(cli("sessions", "--ledger", ledger, "--limit", "1", "--all").out.splitlines()) == 3


def test_show_tells_each_call_in_a_row(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts are words, in order, with rule and outcome."""
    monkeypatch.setenv("COLUMNS", "160")
    out = cli("show", "S-1", "--ledger", ledger).out
    rows = {row.split()[1]: row for row in out.split("OFFSET")[1].splitlines()[1:]}
    assert list(rows) == ["1", "3", "4", "5", "7", "8", "11"]
    for seq, words in {
        "1": ["ALLOWED", "read_file", 'path="/etc/hosts"', "r-allow", "ok", "12.5"],
        "3": ["DENIED", "send_email", "[secret qqqqqq…]", "mail-external", "not run"],
        "4": ["NEEDS APPROVAL", "pay", "amount=1200", "[payment x7k2q9…]", "pay-large", "not run"],
        "5": ["ALLOWED", "\\u{1b}[31m\\u{202e}", "error"],
        "7": ["DENIED", "slow", "timeout"],
        "8": [
            "REJECTED",
            "no_such_tool",
            "(the policy was not evaluated; arguments are not recorded)",
            "unknown_tool",
        ],
        "11": ["DENIED", "leak", "(not recorded: the last check", "redactor"],
    }.items():
        position = 0
        for word in words:
            assert word in rows[seq][position:]
            position = rows[seq].index(word, position) + len(word)


def test_show_and_why_say_that_a_body_ran_on_and_how_it_ended(cli: Cli, tmp_path: Path) -> None:
    """After a timeout: first that its end is not known, then what was claimed."""
    gate = threading.Event()
    db = tmp_path / "audit.db"
    with guarded(tmp_path) as guard:
        guard.declare("pay", timeout=0.05)
        with guard.session(principal="alice", id="s-1"), pytest.raises(ToolTimeoutError):
            guard.call("pay", {}, gate.wait)
        assert "error, ran on" in cli("show", "s-1", "--ledger", db).out
        shown = json.loads(cli("show", "s-1", "--ledger", db, "--json").out)["calls"][0]
        assert (shown["outcome"]["body"], shown["claims"]) == ("running", [])
        assert "error, ran on (record" in cli("why", shown["seq"], "--ledger", db).out
        gate.set()
        until(lambda: records(db, "call.claim"))
    assert "error, claimed ok" in cli("show", "s-1", "--ledger", db).out
    shown = json.loads(cli("show", "s-1", "--ledger", db, "--json").out)["calls"][0]
    assert [(each["status"], each["body"]) for each in shown["claims"]] == [("ok", None)]


def test_show_has_two_lines_for_each_call_on_a_narrow_terminal(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns nothing important is cut away: verdict, rule and outcome have a line of their
    own.
    """
    monkeypatch.setenv("COLUMNS", "80")
    out = cli("show", "S-1", "--ledger", ledger).out
    lines = out.splitlines()
    denied = next(line for line in lines if "send_email(" in line)
    assert "DENIED" in denied.split("send_email")[0]  # the verdict comes first
    assert lines[lines.index(denied) + 1].strip() == "by mail-external: not run"
    assert any(line.strip() == "by r-allow: ok, 12.5 ms" for line in lines)
    assert all(len(line) <= 80 for line in lines)
    assert "OFFSET" not in out


def test_a_pipe_on_a_terminal_is_as_wide_as_the_terminal(ledger: Path) -> None:
    """``guardrail show last | head`` ends up on the terminal, where longer lines would wrap; hints
    break at spaces only.
    """
    shown, missing = (
        shlex.join(command("show", ref, "--ledger", ledger)) for ref in ("S-1", "x" * 90)
    )
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shell = subprocess.Popen(
        ["sh", "-c", f"{shown} | cat; {missing}"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(),
    )
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed when the shell has ended
        while part := os.read(leader, 65_536):
            seen += part
    os.close(leader)
    assert shell.wait(60) != 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).replace("\r\n", "\n")
    assert "by mail-external: not run" in plain
    assert all(len(line) <= 80 for line in plain.splitlines())
    assert "next:  guardrail sessions" in plain


def test_show_says_how_far_identities_can_be_believed(cli: Cli, ledger: Path) -> None:
    """The header does not make an asserted identity look verified, nor the chain checked."""
    out = cli("show", "S-1", "--ledger", ledger).out
    assert "principal  alice@example.com (asserted by context)" in out
    assert "7 calls, 3 denied, 1 needing approval, 1 rejected, 1 failed" in out
    assert "not checked here" in out


def test_show_a_record_tells_what_was_removed_and_why(cli: Cli, ledger: Path) -> None:
    """Never hides that something was removed."""
    out = cli("show", "3", "--ledger", ledger).out
    assert "/body: class secret, by detector:aws_key" in out
    assert "[gr1:secret:-:" in out
    assert "deny: mail-external (high) - only addresses" in out


def test_show_a_record_is_complete(cli: Cli, ledger: Path) -> None:
    """Nothing is cut in a record: 4,000 characters stand there in full, and the leaf is that of the
    stored line.
    """
    assert "y" * 4000 in cli("show", "5", "--ledger", ledger).out
    document = json.loads(cli("show", "5", "--ledger", ledger, "--json").out)
    line = cli("export", "--jsonl", "--ledger", ledger).out.splitlines()[5]
    assert document["record"] == json.loads(line)
    assert document["leaf"] == leaf_hash(line.encode()).hex()
    assert document["related"] == [6]
    assert "same call: record 5" in cli("show", "6", "--ledger", ledger).out


def test_a_number_in_a_record_is_shown_exactly(cli: Cli, tmp_path: Path) -> None:
    """``show SEQ --json`` passes the stored line on: no float and no large integer changes on the
    way.
    """
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, decision, genesis

    with LedgerWriter.create(
        tmp_path / "audit.db", log=LOG, genesis=genesis(), signing=SIGNING
    ) as writer:
        writer.append(
            Draft.build(decision("t", {"n": 2**53 + 1, "f": 1e22, "i": 18446744073709551615}))
        )
    out = cli("show", "1", "--ledger", tmp_path / "audit.db", "--json").out
    assert '"n":9007199254740993' in out
    assert '"i":18446744073709551615' in out


@pytest.mark.parametrize(
    ("seq", "words"),
    [
        (
            "3",
            [
                "DENIED",
                "send_email",
                "mail-external",
                "regorus 0.13.0",
                "yes: the recorded input",
                "1 value removed",
                "was not run",
                "Next:",
            ],
        ),
        (
            "4",
            ["NEEDS APPROVAL", "pay-large", "the approver must see /amount", "needs 2 approvers"],
        ),
        (
            "7",
            [
                "DENIED",
                "exceeded the time limit",
                "cause timeout, detail eval_limit",
                "none was evaluated",
                "not applicable",
                "Next:",
            ],
        ),
        ("8", ["REJECTED", "reason unknown_tool"]),
        ("11", ["DENIED", "cause redactor", "the record is bare", "class secret"]),
        ("6", ["ALLOWED", "error (record 6)", "ValueError"]),
    ],
)
def test_why_explains_each_kind_of_decision(
    cli: Cli, ledger: Path, seq: str, words: list[str]
) -> None:
    """Effect, cause, rules, policy, input, end and next step; exit 0 whatever was decided."""
    ran = cli("why", seq, "--ledger", ledger)
    assert ran.code == 0
    text = " ".join(ran.out.split())
    for word in words:
        assert word in text


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger whose calls say which model asked for them."""
    folder = tmp_path_factory.mktemp("asked")
    with guarded(folder) as guard, guard.session(principal="alice", agent="bot"):
        for index in range(7):
            context = CallContext(f"model-{index}", f"resp-{index}", TRACE, "langgraph", "1.0.2")
            guard.call("outer", {}, lambda: guard.call("inner", {}, lambda: None), context=context)
        hostile = "\x1b[2J\nFORGED \u202e" + "m" * 2000
        guard.call("last", {}, lambda: None, context=CallContext(hostile, hostile, None, hostile))
    return folder / "audit.db"


def test_the_model_that_asked_for_a_call_is_named(cli: Cli, asked: Path) -> None:
    """With its response, the framework, and the assurance; and the call around a call."""
    for args in (("why", "1"), ("show", "1")):
        out = cli(*args, "--ledger", asked).out
        assert "asked for by model-0 in response resp-0 (asserted)" in out
        assert "made through langgraph 1.0.2 (asserted)" in out
    document = json.loads(cli("why", "1", "--ledger", asked, "--json").out)["call"]
    assert document["model"] == {
        "name": "model-0",
        "response": "resp-0",
        "assurance": "asserted",
    }
    assert document["framework"]["version"] == "1.0.2"
    assert document["trace"] == TRACE
    inner = json.loads(cli("why", "2", "--ledger", asked, "--json").out)["call"]
    assert (inner["model"], inner["framework"], inner["parent"]) == (None, None, document["call"])
    assert f"made inside call {document['call']}" in cli("why", "2", "--ledger", asked).out
    assert "asked for" not in cli("why", "2", "--ledger", asked).out


def test_the_head_of_a_session_names_its_models(cli: Cli, asked: Path) -> None:
    """The first of them."""
    (line,) = [
        line
        for line in cli("show", "last", "--ledger", asked).out.splitlines()
        if line.startswith("  models")
    ]
    assert line.split() == [
        "models",
        *(f"model-{index}," for index in range(5)),
        "3",
        "more",
    ]


@pytest.mark.parametrize("args", [("why", "last"), ("show", "last"), ("sessions",)])
def test_a_hostile_name_of_a_model_does_not_reach_the_terminal(
    cli: Cli, asked: Path, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut, and its hidden characters are shown."""
    monkeypatch.setenv("COLUMNS", "200")
    ran = cli(*args, "--ledger", asked)
    assert is_visible(ran.out)
    assert not any(line.startswith("FORGED") for line in ran.out.splitlines())
    first = [line for line in ran.out.splitlines() if line.startswith("asked for")]
    assert all(len(line) < 200 for line in first)


def test_why_takes_a_call_and_not_a_session(cli: Cli, ledger: Path) -> None:
    """The answer to a wrong kind of id says what to do."""
    ran = cli("why", "S-1", "--ledger", ledger)
    assert ran.code == 3
    assert "explains one call" in ran.err
    assert cli("why", "0", "--ledger", ledger).code == 3


@pytest.mark.parametrize(
    "args", [("show", "nobody"), ("show", "99"), ("why", "99"), ("why", "\x1b[2J")]
)
def test_what_is_not_there_exits_3_with_the_next_command(
    cli: Cli, ledger: Path, args: tuple[str, ...]
) -> None:
    """Not found is not a denial and not a bug."""
    ran = cli(*args, "--ledger", ledger)
    assert ran.code == 3
    assert ran.out == ""
    assert "next:  guardrail" in ran.err
    assert is_visible(ran.err)


def test_an_empty_ledger_has_an_honest_answer(cli: Cli, tmp_path: Path) -> None:
    """No session yet: said on stderr with what to do, and an empty list as JSON."""
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, genesis

    path = tmp_path / "audit.db"
    LedgerWriter.create(path, log=LOG, genesis=genesis(), signing=SIGNING).close()
    ran = cli("sessions", "--ledger", path)
    assert (ran.code, ran.out) == (0, "")
    assert "No sessions yet: 1 record" in ran.err
    assert json.loads(cli("sessions", "--ledger", path, "--json").out)["sessions"] == []
    assert cli("show", "last", "--ledger", path).code == 3


@pytest.mark.parametrize(
    "args", [("sessions",), ("show", "last"), ("why", "1"), ("export", "--jsonl")]
)
def test_what_is_no_ledger_exits_3(cli: Cli, tmp_path: Path, args: tuple[str, ...]) -> None:
    """Missing, empty, a directory, another database, plain text: could not find out, with a next
    step.
    """
    import sqlite3

    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text(
        "not a database, but long enough to look like a file of something else\n" * 20
    )
    (tmp_path / "folder.db").mkdir()
    for name in (
        "missing.db",
        "no/such/folder.db",
        "empty.db",
        "text.db",
        "folder.db",
        "other.db",
        "bad\x1b[31m\nnext: fine.db",
    ):
        ran = cli(*args, "--ledger", tmp_path / name)
        assert ran.code == 3, name
        assert ran.out == ""
        assert "error: " in ran.err
        assert "next:" in ran.err, name
        assert len(ran.err.splitlines()) == 2
        assert is_visible(ran.err)
        assert not (tmp_path / "missing.db").exists()


def test_the_ledger_is_found_through_settings_and_environment(
    cli: Cli, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--ledger, then GUARDRAIL_LEDGER, then the settings file here or above, then
    GUARDRAIL_CONFIG's.
    """
    settings = tmp_path / "guardrail.toml"
    settings.write_text(f'[ledger]\npath = "{ledger}"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert cli("sessions").code == 0
    assert cli("sessions", "--config", settings).code == 0
    assert cli("sessions", "--ledger", tmp_path / "none.db").code == 3
    monkeypatch.setenv("GUARDRAIL_LEDGER", str(tmp_path / "none.db"))
    assert cli("sessions").code == 3
    assert cli("sessions", "--ledger", ledger).code == 0
    monkeypatch.setenv("GUARDRAIL_LEDGER", str(ledger))
    monkeypatch.chdir("/")
    assert cli("sessions").code == 0
    monkeypatch.delenv("GUARDRAIL_LEDGER")
    monkeypatch.setenv("GUARDRAIL_CONFIG", str(settings))
    assert cli("sessions").code == 0


def test_settings_that_are_refused_do_not_stop_an_explicit_ledger(
    cli: Cli, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger can be examined whatever lies in the folder; without --ledger the mistake is
    named.
    """
    (tmp_path / "guardrail.toml").write_text("[ledgr]\n")
    monkeypatch.chdir(tmp_path)
    assert cli("sessions", "--ledger", ledger).code == 0
    ran = cli("sessions")
    assert ran.code == 3
    assert "did you mean 'ledger'?" in ran.err


def test_export_is_byte_for_byte(process: Cli, ledger: Path, tmp_path: Path) -> None:
    """What comes out hashes to the chain, on stdout and in a file alike, and the standalone
    verifier accepts it.
    """
    target = tmp_path / "out.jsonl"
    assert process("export", "--jsonl", "-o", target, "--ledger", ledger).code == 0
    done = subprocess.run(
        command("export", "--jsonl", "--ledger", ledger),
        env=environment(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == target.read_bytes()
    assert target.stat().st_mode & 0o077 == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    for before, line in itertools.pairwise(lines):
        assert json.loads(line)["prev"] == leaf_hash(before).hex()
    verifier = Path(__file__).parents[1] / "vectors" / "verify_standalone.py"
    subprocess.run([sys.executable, verifier, target], check=True, capture_output=True, timeout=60)
    assert leaf_hash(lines[-1]).hex() in done.stderr.decode()


def test_export_never_overwrites_and_leaves_no_half_file(
    cli: Cli, ledger: Path, tmp_path: Path
) -> None:
    """An existing file stays as it is; one that could not be written is gone."""
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    assert cli("export", "--jsonl", "-o", target, "--ledger", ledger).code == 2
    assert target.read_text() == "mine"
    assert cli("export", "--jsonl", "-o", tmp_path / "no" / "out", "--ledger", ledger).code == 3
    assert cli("export", "--jsonl", "-o", "/dev/full/x", "--ledger", ledger).code == 3
    assert cli("export", "--ledger", ledger).code == 2


def test_export_to_a_full_disk_says_so(tmp_path: Path) -> None:
    """A file-size limit stands for a full disk: exit 3, and the part that was written is
    removed.
    """
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, decision, genesis

    target, ledger = tmp_path / "out.jsonl", tmp_path / "audit.db"
    with LedgerWriter.create(ledger, log=LOG, genesis=genesis(), signing=SIGNING) as writer:
        for _ in range(4):
            writer.append(Draft.build(decision("t", {"x": "y" * 30_000})))
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from guardrail.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "--jsonl", "-o", target, "--ledger", ledger],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "can't be written" in done.stderr
    assert not target.exists()


def on_a_terminal(*args: str | Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command with stdout on a pseudo-terminal; return its code and what the terminal got."""
    primary, replica = pty.openpty()
    child = subprocess.Popen(
        command(*args),
        env=environment({"TERM": "xterm", "COLUMNS": "80", **(env or {})}),
        stdin=subprocess.DEVNULL,
        stdout=replica,
        stderr=subprocess.PIPE,
    )
    os.close(replica)
    out = b""
    while True:
        try:
            part = os.read(primary, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
    os.close(primary)
    assert child.stderr is not None
    err = child.stderr.read()
    child.stderr.close()
    return child.wait(timeout=60), (out + err).decode()


def test_colour_on_a_terminal_and_none_with_no_color(ledger: Path) -> None:
    """The only escape sequences that a terminal gets are ours, and NO_COLOR takes those away
    too.
    """
    code, out = on_a_terminal("show", "S-1", "--ledger", ledger)
    assert code == 0
    assert "\x1b[31m\x1b[1mDENIED\x1b[0m" in out
    code, out = on_a_terminal("show", "S-1", "--ledger", ledger, env={"NO_COLOR": "1"})
    assert code == 0
    assert "\x1b" not in out


def test_export_refuses_a_terminal(ledger: Path) -> None:
    """Recorded bytes are never shown raw, not even on request."""
    code, out = on_a_terminal("export", "--jsonl", "--ledger", ledger)
    assert code == 2
    assert "refusing" in out
    assert "genesis" not in out


def test_a_narrow_locale_does_not_stop_the_output(ledger: Path) -> None:
    """What the terminal's encoding can't show is escaped, not an error."""
    env = environment({"PYTHONIOENCODING": "latin-1", "COLUMNS": "80"})
    done = subprocess.run(
        command("show", "S-1", "--ledger", ledger),
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "\\u2026" in done.stdout.decode("latin-1")


def test_reading_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    """P9: after every reading command the ledger's bytes are what they were, and no record was
    added.
    """
    path = build(tmp_path / "audit.db")
    before = path.read_bytes()
    for args in (*READING, ("export", "--jsonl", "-o", tmp_path / "out")):
        cli(*args, "--ledger", path)
    assert path.read_bytes() == before
    wal = path.with_name("audit.db-wal")
    assert not wal.exists() or wal.stat().st_size == 0


def test_the_reading_side_can_not_reach_a_tool() -> None:
    """P9: importing all of review and authoring and every reading command loads no guard and no
    integration.
    """
    code = (
        "import sys, importlib, pkgutil, guardrail.review, guardrail.authoring\nfor package in"
        " (guardrail.review, guardrail.authoring):\n    for found in"
        " pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n       "
        " importlib.import_module(found.name)\nfor name in ('sessions', 'show', 'why', 'export',"
        " 'verify', 'doctor'):\n    importlib.import_module('guardrail.cli.commands.' +"
        " name)\nprint([name for name in sys.modules if name in ('guardrail.guard',"
        " 'guardrail.wiring.opening') or name.startswith('guardrail.integrations')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"


def test_sessions_leave_out_columns_of_zeros_before_they_cut_a_name(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A principal says more than a 0; where all fits, every column is there."""
    from guardrail.core.types import Effect
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, decision, genesis

    path, who = tmp_path / "audit.db", "a.rather.long.name.of.somebody@department.example.com"
    with LedgerWriter.create(path, log=LOG, genesis=genesis(), signing=SIGNING) as writer:
        made = decision("send", {}, principal=who, effect=Effect.DENY)
        writer.append(Draft.build(made))
    monkeypatch.setenv("COLUMNS", "120")
    narrow = cli("sessions", "--ledger", path).out
    assert who in narrow
    assert "DENIED" in narrow
    assert "REJECTED" not in narrow
    monkeypatch.setenv("COLUMNS", "200")
    assert "REJECTED" in cli("sessions", "--ledger", path).out


def test_what_recover_found_breaks_between_words(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer than the terminal, so that none is broken by it inside a word."""
    from guardrail.ledger.writing.writer import LedgerWriter
    from tests.support.records import LOG, SIGNING, decision, genesis

    monkeypatch.chdir(tmp_path)
    with LedgerWriter.create(
        Path("audit.db"), log=LOG, genesis=genesis(), signing=SIGNING
    ) as writer:
        for _ in range(3):
            writer.append(Draft.build(decision("send", {})))
    raw = Path("audit.db").read_bytes()
    assert raw.count(b'"send"')
    Path("audit.db").write_bytes(raw.replace(b'"send"', b'"sent"'))
    monkeypatch.setenv("COLUMNS", "60")
    out = cli("recover", "--dry-run", "--ledger", "audit.db").out
    assert out
    for line in out.splitlines():
        assert len(line) <= 60 or " " not in line.strip()[12:], line


def test_show_and_why_say_that_the_result_of_an_unknown_call_may_have_been_used(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``outcome = "soon"``; its own outcome is still waiting here."""
    monkeypatch.setattr(work, "LONGEST_DELAY", 3600.0)
    db = tmp_path / "audit.db"
    with guarded(tmp_path, ledger={"outcome": "soon"}) as guard:

        def body() -> None:
            journal_of(guard).append(unknown(lines(db)[-1]))

        with guard.session(principal="alice", id="s-1"):
            guard.call("pay", {}, body)
        assert "unknown, maybe used" in cli("show", "s-1", "--ledger", db).out
        (shown,) = json.loads(cli("show", "s-1", "--ledger", db, "--json").out)["calls"]
        assert (shown["soon"], shown["outcome"]["status"]) == (True, "unknown")
        assert "unknown, maybe used" in cli("why", shown["seq"], "--ledger", db).out

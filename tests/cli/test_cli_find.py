"""guardrail find: the calls that touched a value, and no trace of the value itself."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail.keys.log_key import TOKENS_FILE, Keys
from guardrail.review.lookup import ValueTokens
from guardrail.system.durable import replace_file
from tests.support.command_line import Cli, Ran
from tests.support.guards import OPEN, appearances, guarded, lines, records

BOB = "bob@example.com"
CARD = "4111 1111 1111 1111"
LETTER = "words of a letter " * 600 + "the end"
Find = Callable[..., Ran]


def rotate(folder: Path) -> None:
    """Make a new key current, as ``guardrail keys rotate`` does."""
    secrets = Keys.load(folder).secrets.prepared().advanced()
    replace_file(folder / TOKENS_FILE, secrets.text(), private=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with calls that have Bob's address in every kind of place, in two tenants and under
    two keys.
    """
    folder = tmp_path_factory.mktemp("find")
    with guarded(folder) as guard:
        guard.declare("send", schema=OPEN)
        guard.declare("look", schema=OPEN, log_output=True)
        with guard.session(principal="alice", agent="bot", id="S-1"):
            guard.call(
                "send", {"to": BOB, "body": f"hello {BOB.upper()}, pay {CARD}"}, lambda **_: 1
            )
            guard.call("send", {"to": "eve@example.com"}, lambda **_: 1)
            guard.call("unknown", {"to": BOB}, lambda **_: 1)
            guard.call("look", {}, lambda **_: {"owner": BOB})
        with guard.session(principal="carol", tenant="acme", id="S-2"):
            guard.call("send", {BOB: [BOB]}, lambda **_: 1)
        rotate(folder / "audit.keys")
        with guard.session(principal="dave", id="S-3"):
            guard.call("send", {"json": json.dumps({"to": BOB})}, lambda **_: BOB)
            guard.call("send", {"customer_name": "Zo\u00eb O'Brien"}, lambda **_: 1)
            guard.call("send", {"body": LETTER}, lambda **_: 1)
            guard.call("send", {"body": f"{'word ' * 1_000} tail@example.com"}, lambda **_: 1)
            for number in ("415-555-0123", "030 901820", "+390669812345"):
                guard.call("send", {"phone": number}, lambda **_: 1)
            for salary in (58000, 58000.0):
                guard.call("send", {"salary": salary}, lambda **_: 1)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that ledger, with settings that name an index."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    (folder / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[review]\nindex = "index"\nfinds_per_minute = 100\n'
    )
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def find(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Run the command with a value on its standard input."""

    def call(value: str | bytes, *words: str) -> Ran:
        data = value if isinstance(value, bytes) else value.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return cli("find", "--value", "-", *words)

    return call


def found(ran: Ran) -> list[tuple[str, list[str]]]:
    """The session and the places of each call."""
    return [
        (call["session"], sorted({each["pointer"] for each in call["found"]}))
        for call in json.loads(ran.out)["calls"]
    ]


ARGS = "/input/action/properties/args"
EVERYWHERE = [
    ("S-1", [f"{ARGS}/body", f"{ARGS}/to"]),
    ("S-1", [f"{ARGS}/to/tok"]),
    ("S-1", ["/result/value/owner"]),
    ("S-3", [f"{ARGS}/json", "/result/token"]),
]


@pytest.mark.parametrize("indexed", [True, False])
def test_every_call_that_touched_a_value_is_found(project: Path, find: Find, indexed: bool) -> None:
    """In arguments, text, keys, nested JSON, results and minimal views; under every key and in
    every tenant; with an index, and without one.
    """
    if not indexed:
        (project / "guardrail.toml").write_text(
            '[ledger]\npath = "audit.db"\n[review]\nindex = false\n'
        )
    ran = find(f"{BOB}\n", "--json")
    assert ran.code == 0
    calls = found(ran)
    acme = next(each for each in calls if each[0] == "S-2")
    assert [each for each in calls if each[0] != "S-2"] == EVERYWHERE
    assert len(acme[1]) == 2
    assert json.loads(ran.out)["records"] == 6


@pytest.mark.parametrize(
    ("value", "words", "sessions"),
    [
        ("  Bob@EXAMPLE.com", (), ["S-1", "S-2", "S-3"]),
        (BOB, ("--class", "contact"), ["S-1", "S-1", "S-2", "S-3"]),
        (BOB, ("--class", "result"), ["S-3"]),
        (BOB, ("--class", "name"), []),
        (BOB, ("--only-tenant", "acme"), ["S-2"]),
        (BOB, ("--only-tenant", "nobody"), []),
        ("4111-1111-1111-1111", (), ["S-1"]),
        ("ZOE\u0308 O\u2019BRIEN", ("--class", "name"), ["S-3"]),
        (LETTER, (), ["S-3"]),
        (LETTER.replace("end", "and"), (), []),
        ("bob@example.org", (), []),
        ("tail@example.com", (), ["S-3"]),
        ("+1 415 555 0123", (), ["S-3"]),
        ("0049 30 901820", (), ["S-3"]),
        ("+39 06 6981 2345", (), ["S-3"]),
        ("06 6981 2345", (), []),
    ],
)
def test_spelling_class_and_tenant(
    find: Find, value: str, words: tuple[str, ...], sessions: list[str]
) -> None:
    """Spellings of a value find it; --class and --only-tenant narrow the search. 1 means no."""
    ran = find(value, *words, "--json")
    assert sorted({each[0] for each in found(ran)}) == sorted(set(sessions))
    assert ran.code == (0 if sessions else 1)


def test_pages_show_each_call_once(find: Find) -> None:
    """From the latest to the first one."""
    whole = [each["seq"] for each in json.loads(find(BOB, "--json", "--all").out)["calls"]]
    assert whole == sorted(whole)
    seen: list[int] = []
    before: list[str] = []
    for _ in range(20):
        page = json.loads(find(BOB, "--json", "--limit", "1", *before).out)
        seen = [each["seq"] for each in page["calls"]] + seen
        assert len(page["calls"]) <= 1
        if page["before"] is None:
            break
        before = ["--before", str(page["before"])]
    assert seen == whole


def test_people_see_a_table_and_the_next_page(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any width, with the caller, and with each place and its class on one line."""
    for width in ("80", "140"):
        monkeypatch.setenv("COLUMNS", width)
        ran = find(BOB, "--limit", "2")
        assert ("FOUND IN" in ran.out) is (width == "140")
        assert "args/json (contact)" in ran.out
        assert "result/token (result)" in ran.out
        assert "dave" in ran.out
        assert all(len(line) <= int(width) for line in ran.out.splitlines())
        assert "2 calls shown; the value is in 6 records" in ran.err
        assert re.search(r"guardrail find --value - --before \d+, or --all", ran.err)


def test_an_empty_result_is_no_proof(find: Find) -> None:
    """The value can have been replaced by a random mark, or recorded by its size only. Nor is a
    list of calls complete.
    """
    said = find("nobody@example.com").err
    assert "No record contains a token" in said
    for limit in ("random mark replaced (class secret", "without log_output", "very long", "plain"):
        assert limit in " ".join(said.split())
    assert "Other calls can have had it" in find(BOB).err


def test_a_call_without_the_option_gets_the_complete_command(cli: Cli) -> None:
    ran = cli("find")
    assert ran.code == 2
    assert "the option --value - is missing" in ran.err
    assert "next:  guardrail find --value - reads the value" in ran.err


def test_a_class_or_tenant_that_the_ledger_does_not_have_is_reported(find: Find) -> None:
    """With those it has. The words are not quoted, because one of them can be the value."""
    ran = find(BOB, "--class", "hunter2", "--only-tenant", "acme", "--only-tenant", "zz-9")
    assert ran.code == 1
    said = " ".join(ran.err.split())
    assert "no token of 1 class given with --class; its classes: contact, " in said
    assert re.search(r"not have 1 tenant given with --only-tenant; its tenants: acme, ", said)
    assert "hunter2" not in said
    assert "zz-9" not in said
    found = json.loads(find(BOB, "--class", "contact", "--class", "card", "--json").out)
    assert (found["unknown_classes"], found["unknown_tenants"]) == (1, 0)
    assert "contact" in found["classes"]
    assert "given with" not in find(BOB, "--class", "contact", "--only-tenant", "acme").err


@pytest.mark.parametrize("value", ["58000", "58000.0", " 58000.00"])
def test_a_number_is_found_in_each_spelling(find: Find, value: str) -> None:
    """An integer and a float of one value have different tokens. 0058000 is a different text."""
    pointers = [each[1] for each in found(find(value, "--json"))]
    assert pointers == [[f"{ARGS}/salary"], [f"{ARGS}/salary"]]
    assert found(find("0058000", "--json")) == []


SECRET = "AKIA" + "QWERTYUIOPASDF" + "2Q"


@pytest.mark.parametrize(
    ("value", "words", "code", "text"),
    [
        ("", (), "find.empty", "is empty"),
        (" \n", (), "find.empty", "is empty"),
        (b"\xff\xfe", (), "find.text", "not UTF-8"),
        ("x" * 1_000_000, (), "find.size", "at most 65,536 bytes"),
        (SECRET, (), "find.secret", "random mark"),
        ("anything", ("--class", "secret"), "find.secret", "random mark"),
        ("482913", ("--class", "otp"), "find.secret", "random mark"),
        ("123", ("--class", "payment"), "find.secret", "up to four digits"),
    ],
)
def test_values_that_can_not_be_found_are_refused_with_a_hint(
    find: Find, value: str | bytes, words: tuple[str, ...], code: str, text: str
) -> None:
    """As usage errors, which do not quote the value."""
    ran = find(value, *words)
    assert ran.code == 2, code
    assert text in ran.err
    assert "next:" in ran.err
    assert ran.out == ""
    if isinstance(value, str) and len(value.strip()) > 4:
        assert value not in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["find", "--value", BOB],
        ["find", f"--value={BOB}"],
        ["find", BOB],
        ["find", "--value", "-", BOB],
        ["find", f"--{BOB}"],
        ["find", "--value", "-", "--limit", BOB],
        ["find", "--value", "-", "--class", BOB],
        ["find", "--value", "-", "--before", BOB],
        ["find", f"--json={BOB}"],
    ],
)
def test_a_value_on_the_command_line_is_neither_used_nor_shown(
    project: Path, cli: Cli, words: list[str]
) -> None:
    """Nor recorded: the read does not happen."""
    ran = cli(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert BOB not in ran.err
    assert not (project / "audit.access.db").exists()
    if words[-1] == BOB and len(words) == 3:
        assert "standard input" in ran.err
        assert "history" in ran.err


def test_the_value_is_in_no_byte_that_is_written_or_shown(project: Path, find: Find) -> None:
    """The access log has the command and its filters. Index, access log, output: no value."""
    folder = project
    outputs = [find(value, *words) for value in (BOB, SECRET) for words in ((), ("--json",))]
    for path in folder.rglob("*"):
        if path.is_file():
            for value in (BOB, SECRET):
                assert appearances(value, path.read_bytes()) == [], path
    for ran in outputs:
        for value in (BOB, SECRET):
            assert appearances(value, (ran.out + ran.err).encode()) == []
    reads = [each for each in map(json.loads, lines(folder / "audit.access.db"))
             if each["type"] == "access.read"]  # fmt: skip
    assert [(each["command"], each["selector"]) for each in reads] == [("find", {"value": "-"})] * 4


def test_a_bug_shows_nothing_of_the_value(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with the traceback."""
    import guardrail.review.lookup as lookup

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError("x")

    monkeypatch.setattr(lookup, "live_tokens", fail)
    monkeypatch.setenv("GUARDRAIL_DEBUG", "1")
    ran = find(BOB)
    assert ran.code == 4
    assert "Traceback" in ran.err
    assert BOB not in ran.err


def test_it_runs_only_if_it_is_recorded(project: Path, find: Find) -> None:
    """Unlike other reads, which go on with a warning."""
    assert find(BOB).code == 0
    shutil.rmtree(project / "audit.access.keys")
    ran = find(BOB)
    assert ran.code == 3
    assert "runs only if it is recorded" in ran.err
    assert ran.out == ""


def test_a_user_can_run_it_only_so_often(project: Path, find: Find, cli: Cli) -> None:
    """Each run counts, whatever its result. Other commands do not count."""
    (project / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[review]\nindex = "index"\nfinds_per_minute = 2\n'
    )
    assert cli("sessions").code == 0
    assert find(BOB).code == 0
    assert find("").code == 2
    assert cli("sessions").code == 0
    ran = find(BOB)
    assert ran.code == 3
    assert "guardrail find may be used 2 times in a minute by one user" in ran.err
    assert "finds_per_minute" in ran.err
    assert ran.out == ""


def test_the_index_only_locates_records(project: Path, find: Find) -> None:
    """Rows that the ledger contradicts are not believed."""
    whole = find(BOB, "--json").out
    (index,) = (project / "index").glob("*.db")
    with sqlite3.connect(index) as db:
        token = db.execute("SELECT token FROM token WHERE class = 'contact'").fetchone()[0]
        seq = db.execute(
            "SELECT seq FROM record WHERE type = 'call.decision' AND seq NOT IN "
            "(SELECT seq FROM token WHERE class = 'contact')"
        ).fetchone()[0]
        db.execute("INSERT INTO token VALUES (?, 'contact', ?)", (token, seq))
    db.close()
    ran = find(BOB, "--json")
    assert ran.out == whole
    assert "is being rebuilt" in ran.err


def test_tokens_of_a_key_that_is_gone_are_reported(project: Path, find: Find) -> None:
    """They can't be searched, so the answer says that it is not complete."""
    keys = project / "audit.keys"
    secrets = Keys.load(keys).secrets
    replace_file(keys / TOKENS_FILE, secrets.without(secrets.epochs[0]).text(), private=True)
    ran = find(BOB, "--json")
    assert {each[0] for each in found(ran)} == {"S-3"}
    first = secrets.epochs[0].kid
    assert json.loads(ran.out)["unknown_keys"] == json.loads(ran.out)["destroyed_keys"] == [first]
    said = " ".join(find(BOB).err.split())
    assert f"not searched: tokens that were made with 1 key that was destroyed: {first}" in said
    lost = dataclasses.replace(secrets.without(secrets.epochs[0]), destroyed=())
    replace_file(keys / TOKENS_FILE, lost.text(), private=True)
    said = " ".join(find(BOB).err.split())
    assert f"with 1 key that is not in the key folder: {first} next: restore the newest" in said


def test_keys_of_a_different_log_are_refused(project: Path, find: Find) -> None:
    """They would find nothing, which is not the answer."""
    shutil.rmtree(project / "audit.keys")
    Keys.create(project / "audit.keys")
    ran = find(BOB)
    assert ran.code == 3
    assert "keys of a different log" in ran.err


def test_a_search_shows_and_pickles_neither_value_nor_key(made: Path) -> None:
    """It holds both."""
    secrets = Keys.load(made / "audit.keys").secrets
    search = ValueTokens(BOB, secrets, classes=["contact"])
    assert repr(search) == str(search) == "ValueTokens(...)"
    assert not hasattr(search, "__dict__")
    with pytest.raises(TypeError) as caught:
        pickle.dumps(search)
    assert BOB not in repr(caught.getrepr())


def test_there_are_records_to_find(made: Path) -> None:
    """For contrast: the values are not in the ledger, but their tokens are."""
    whole = b"\n".join(lines(made / "audit.db"))
    assert BOB.encode() not in whole
    kids = {record["redaction"]["key"] for record in records(made / "audit.db", "call.decision")}
    assert len(kids) == 2

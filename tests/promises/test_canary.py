"""One canary of a detectable shape and one that a session knows, in every place at once: in no byte
that comes out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.canaries import IN_CALLS, leaks, plain, shaped
from tests.support.guards import appearances, cli, records, whole
from tests.support.paths import PROGRAMS


@dataclass(frozen=True)
class Said:
    """What the program left behind."""

    folder: Path
    canaries: tuple[str, str]
    streams: bytes


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """Run the chatty program once."""
    folder = tmp_path_factory.mktemp("canaries")
    canaries = (shaped(), plain())
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "canary_calls.py"), str(folder)],
        input="\n".join(canaries).encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Said(folder, canaries, done.stdout + done.stderr)


def found(said: Said, data: bytes) -> list[str]:
    return [form for canary in said.canaries for form in appearances(canary, data)]


def test_the_places_were_all_visited(said: Said) -> None:
    """Each place made at least one record, allowed and denied ones among them."""
    decisions = records(said.folder / "audit.db", "call.decision")
    effects = {record["decision"]["effect"] for record in decisions}
    causes = {record["decision"]["cause"] for record in decisions}
    assert len(decisions) > 2 * len(IN_CALLS)
    assert effects == {"allow", "deny", "require_approval"}
    assert {"policy", "arguments", "redactor", "error"} <= causes
    whole(said.folder / "audit.db")


def test_no_canary_is_in_any_file(said: Said) -> None:
    """Ledger, -wal, keys, leases: every byte, and every record as a whole."""
    for canary in said.canaries:
        assert leaks(said.folder, canary) == []


def test_no_canary_is_on_any_stream(said: Said) -> None:
    """Logs of every level, warnings, and tracebacks of guardrail's own errors."""
    assert b"Denied" in said.streams
    assert found(said, said.streams) == []


def test_no_canary_is_in_what_the_command_line_shows(said: Said) -> None:
    """Every record by show and why, for people and as JSON; sessions, verify, approvals."""
    from guardrail.cli.app import cli as commands

    runner = CliRunner()
    count = len(records(said.folder / "audit.db"))
    words: list[list[str]] = [["sessions"], ["show", "canary-0"], ["show", "canary-1"], ["verify"]]
    words += [["approvals"], ["show", "last"], ["why", "last"]]
    lines = [[*word, *form] for word in words for form in ([], ["--json"])]
    # Each command and form reads a quarter of the records: each place has several, in two sessions.
    for seq in range(count):
        word, form = ("show", "why")[seq // 2 % 2], ([], ["--json"])[seq // 4 % 2]
        lines.append([word, str(seq), *form])
    shown = 0
    for line in lines:
        done = runner.invoke(commands, [*line, "--ledger", str(said.folder / "audit.db")])
        data = done.output.encode() + (done.stderr_bytes or b"") + repr(done.exception).encode()
        assert found(said, data) == [], line
        shown += len(data)
    assert shown > 100_000


def test_no_canary_is_in_an_export_or_a_command_as_a_user_runs_it(said: Said) -> None:
    """As processes of their own; the export is what is stored, and is JSON line by line."""
    db = said.folder / "audit.db"
    done = cli("export", "--jsonl", "--ledger", db, cwd=said.folder)
    assert all(json.loads(line) for line in done.stdout.splitlines())
    assert len(done.stdout) > 100_000
    assert found(said, done.stdout + done.stderr) == []
    for word in (["show", "canary-1"], ["sessions", "--json"], ["why", "last"], ["doctor"]):
        option = [] if word == ["doctor"] else ["--ledger", db]
        done = cli(*word, *option, cwd=said.folder, code=None)
        assert found(said, done.stdout + done.stderr) == [], word


def test_no_canary_that_is_looked_up_is_shown_or_written(said: Said) -> None:
    """By find, with and without an index, in the index itself, and in the access log."""
    from guardrail.cli.app import cli as commands

    config = said.folder / "guardrail.toml"
    config.write_text(
        f'[ledger]\npath = "{said.folder / "audit.db"}"\n[review]\nfinds_per_minute = 1000\n'
        f'index = "{said.folder / "index"}"\n'
    )
    runner = CliRunner()
    for canary in said.canaries:
        for words in ([], ["--json"], ["--class", "name"], ["--all", "--only-tenant", "acme"]):
            line = ["find", "--value", "-", *words, "--config", str(config)]
            done = runner.invoke(commands, line, input=canary)
            data = done.output.encode() + (done.stderr_bytes or b"") + repr(done.exception).encode()
            assert found(said, data) == [], words
        for line in (["find", canary], ["find", "--value", canary], ["find", f"--limit={canary}"]):
            done = runner.invoke(commands, [*line, "--config", str(config)])
            data = done.output.encode() + (done.stderr_bytes or b"") + repr(done.exception).encode()
            assert done.exit_code != 0
            assert found(said, data) == [], line[1:0]
    assert list((said.folder / "index").glob("*.db"))
    reads = records(said.folder / "audit.access.db", "access.read")
    assert sum(record["command"] == "find" for record in reads) == 8
    for canary in said.canaries:
        assert leaks(said.folder, canary) == []


def test_no_canary_is_in_what_other_commands_write_or_show(said: Said, tmp_path: Path) -> None:
    """Backups, proofs, heads, archives, segments, pruned ledgers, kept policies, new keys, the
    index, the record of each change with its reason, the tables of redact.
    """
    from guardrail.cli.app import cli as commands

    folder = tmp_path / "copy"
    shutil.copytree(said.folder, folder)
    shape, _ = said.canaries
    config = folder / "guardrail.toml"
    config.write_text(
        f'[ledger]\npath = "{folder / "audit.db"}"\n[policy]\npath = "{folder / "policies"}"\n'
        f'[anchors]\nfile = "{folder / "heads"}"\nmemory = "{folder / "memory"}"\n'
        f'[retention]\narchive = "{folder / "archive"}"\n'
        f'[review]\nindex = "{folder / "index"}"\n'
    )
    because = ["--reason", f"because of {shape}"]
    told = json.dumps({"password": said.canaries[1], "text": f"use {shape}, please"})
    runner = CliRunner()
    codes: list[tuple[str, int]] = []
    for line in (
        ["backup", str(folder / "copy.db"), *because],
        ["prove", "3", "--out", str(folder / "proof.json")],
        ["checkpoint", "--json", *because],
        ["rederive", "--json"],
        ["keys", "rotate", *because],
        ["keys", "retire", "--json", *because],
        ["hold", "add", "case-1", *because],
        ["hold", "list", "--json"],
        ["seal", *because],
        ["archive", *because],
        ["retention", "status", "--json"],
        ["hold", "release", "case-1", *because],
        ["prune", "--policy", *because],
        ["index", "--rebuild", "--json"],
        ["access", "--json", "--all"],
        ["export", "--jsonl", "--output", str(folder / "out.jsonl")],
        ["doctor", "--json"],
        ["recover"],
        ["redact", "--explain"],
        ["redact", "--explain", "--json"],
        ["redact", "--undeclared"],
    ):
        place = [] if line[0] == "doctor" else ["--config", str(config)]
        done = runner.invoke(commands, [*line, *place], input=told)
        data = done.output.encode() + (done.stderr_bytes or b"") + repr(done.exception).encode()
        assert found(said, data) == [], line[:2]
        codes.append((" ".join(line[:2]), done.exit_code))
    assert {name: code for name, code in codes if code not in (0, 5)} == {}
    written = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert {"copy", "proof", "out", "archive", "index"} <= written
    for canary in said.canaries:
        assert leaks(folder, canary) == []


def test_a_ledger_under_a_canary_s_name_would_be_found() -> None:
    """For contrast: each form that is searched for is one that the search finds."""
    import base64
    import urllib.parse

    for canary in (shaped(), plain()):
        raw = canary.encode()
        for data in (
            raw,
            json.dumps({"x": json.dumps([canary])}).encode(),
            urllib.parse.quote(canary, safe="").encode(),
            raw.hex().encode(),
            *(base64.b64encode(b"x" * shift + raw + b"tail") for shift in range(3)),
            *(base64.urlsafe_b64encode(b"x" * shift + raw) for shift in range(3)),
        ):
            assert appearances(canary, data), data

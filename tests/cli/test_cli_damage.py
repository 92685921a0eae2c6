"""What every command says of each kind of damage: a next step that works, and never that nothing is
wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.errors import GuardrailError
from tests.support.command_line import Cli, Ran
from tests.support.projects import new_project


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Path:
    """A project with a memory of heads, an anchor file and an access log; it is the current
    folder.
    """
    (tmp_path / "away").mkdir()
    text = '[anchors]\nheartbeat_s = 0\nmemory = "../heads"\nfile = "../away/heads"\n'
    home = new_project(tmp_path / "home", text + '[ledger]\npath = "audit.db"\n')
    monkeypatch.chdir(home)
    work(home)
    assert cli("anchor").code == 0
    assert cli("sessions").code == 0
    return home


def work(home: Path) -> None:
    """Make a call."""
    with Guard.open(home / "guardrail.toml") as guard, guard.session(principal="alice"):
        guard.call("f", {}, lambda: None)


def remove(home: Path, *patterns: str) -> None:
    """Remove files and folders."""
    for pattern in patterns:
        for path in home.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def edit(home: Path) -> None:
    """Change a byte of a record."""
    connection = sqlite3.connect(home / "audit.db", isolation_level=None)
    (made,) = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'record_no_update'"
    ).fetchone()
    connection.execute("DROP TRIGGER record_no_update")
    connection.execute("UPDATE record SET line = replace(line, 'alice', 'alicf') WHERE seq > 2")
    connection.execute(made)
    connection.close()


def tear(home: Path) -> None:
    """Cut the file in its middle."""
    sqlite3.connect(home / "audit.db").close()
    remove(home, "audit.db-wal", "audit.db-shm")
    os.truncate(home / "audit.db", (home / "audit.db").stat().st_size // 2)


def move_away(home: Path) -> None:
    """Move the files away under a process that has them open, which seals them."""
    guard = Guard.open(home / "guardrail.toml")
    for path in home.glob("audit.db*"):
        if path.is_file():
            path.rename(home.parent / path.name)
    with guard.session(principal="alice"), pytest.raises(GuardrailError):
        guard.call("f", {}, lambda: None)
    with contextlib.suppress(GuardrailError):
        guard.close()


@dataclass(frozen=True)
class Damage:
    """What was done, and what each reader has to name as the next step; None if it has nothing to
    say about it.
    """

    spoil: Callable[[Path], object]
    verify: str
    doctor: str
    recover: str
    opens: str | None
    sessions: str | None


RECOVER = "guardrail recover"
MOVE = "guardrail anchor move"
DAMAGES: dict[str, Damage] = {
    "torn": Damage(tear, RECOVER, RECOVER, "", RECOVER, None),
    "no database": Damage(
        lambda home: (
            remove(home, "audit.db-*"),
            (home / "audit.db").write_bytes(b"no database"),
        ),
        RECOVER,
        RECOVER,
        "",
        RECOVER,
        "",
    ),
    "edited": Damage(edit, RECOVER, RECOVER, "", None, None),
    "ledger gone": Damage(
        lambda home: remove(home, "audit.db", "audit.db-wal", "audit.db-shm", "audit.db-lock"),
        RECOVER,
        RECOVER,
        "",
        RECOVER,
        "guardrail doctor",
    ),
    "all gone": Damage(
        lambda home: remove(home, "audit*"), RECOVER, RECOVER, "", RECOVER, "guardrail doctor"
    ),
    "keys gone": Damage(lambda home: remove(home, "audit.keys"), "", RECOVER, "", RECOVER, None),
    "anchor file gone": Damage(
        lambda home: remove(home.parent, "away/heads"), MOVE, "", MOVE, None, None
    ),
    "access log gone": Damage(
        lambda home: remove(home, "audit.access.db*"), "", "put the access log back", "", None, None
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_each_command_names_a_step_that_works(cli: Cli, home: Path, kind: str) -> None:
    """Nothing is changed by looking; what recover says that it would do, it does, and then all is
    well.
    """
    damage = DAMAGES[kind]
    damage.spoil(home)
    for reader, step in (
        (("verify",), damage.verify),
        (("doctor",), damage.doctor),
        (("recover", "--dry-run"), damage.recover),
        (("sessions",), damage.sessions),
    ):
        ran = cli(*reader)
        if step is None:
            continue
        said = " ".join(f"{ran.out} {ran.err}".split())
        assert step in said, (reader, said)
        assert "open a guard in a program" not in said
        assert "continue automatically" not in said or not step
    if damage.opens is not None:
        with pytest.raises(GuardrailError) as refused:
            Guard.open(home / "guardrail.toml")
        assert damage.opens in refused.value.hint
    if damage.doctor == RECOVER:
        assert cli("recover", "--yes", "--reason", "a test").code == 5
        work(home)
        assert cli("recover", "--dry-run").code == 0
        assert json.loads(cli("verify", "--json").out)["state"] in {"not_anchored", "anchored"}
    if MOVE in damage.recover:
        assert cli("anchor", "move", "--lost", "--reason", "a test").code == 0
        work(home)
        assert cli("recover", "--dry-run").code == 0


COMMANDS = (
    (
        "access|anchor|approvals|approve 1 --reason a|archive|backup"
        " copy.db|checkpoint|doctor|export --jsonl -o out"
    ),
    (
        "hold list|init|keys|policy bundle -o b.tar.gz|policy check|policy push|policy reload"
        " --wait 0|policy test"
    ),
    (
        "prove 1 --out proof|prune --policy|recover|recover --dry-run|refuse 1 --reason a|retention"
        " run|retention status"
    ),
    (
        "seal|sessions|show|show last|verify|why last|why 99|check-proof guardrail.toml|anchor move"
        " old --reason a"
    ),
    (
        "consistency guardrail.toml guardrail.toml|verify --checkpoint guardrail.toml|verify"
        " --export guardrail.toml"
    ),
    (
        "witness status --db none --key none|witness serve --db none --key none|witness add --db"
        " none --log none"
    ),
)
CIRCULAR = re.compile(r"(?:[,;:.].*| (?!forget|move)[a-z].*)?", re.DOTALL)
"""What follows a command that is to be run as it stands: nothing, or prose."""


def steps(ran: Ran) -> list[str]:
    """Each next step that a command told, up to the end of its first line."""
    found = re.findall(r"^ *(?:next:|fix:) +(.*)$", f"{ran.out}\n{ran.err}", re.MULTILINE)
    return [step.strip() for step in found]


def is_circular(step: str, command: str) -> bool:
    """Whether *step* is to run *command*, or a command with the same name and no options, which has
    just failed.
    """
    names = re.match(r"[a-z-]+(?: [a-z]+(?=$| -))?", command)
    assert names is not None
    path = f"guardrail {names[0]}"
    return step.startswith(path) and CIRCULAR.fullmatch(step.removeprefix(path)) is not None


def replace_ledger(home: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the ledger's place."""
    remove(home, "audit.db", "audit.db-wal", "audit.db-shm")
    make(home / "audit.db")


SPOILT: dict[str, Callable[[Path], object]] = {
    **{kind: damage.spoil for kind, damage in DAMAGES.items()},
    "nothing": lambda _: None,
    "folder": lambda home: replace_ledger(home, Path.mkdir),
    "link in a circle": lambda home: replace_ledger(home, lambda db: db.symlink_to(db)),
    "link to nowhere": lambda home: replace_ledger(home, lambda db: db.symlink_to("nowhere")),
    "pipe": lambda home: replace_ledger(home, os.mkfifo),
    "key cut": lambda home: (home / "audit.keys" / "log.key").write_text("x"),
    "policy refused": lambda home: (home / "policies" / "main.rego").write_text("package x\n"),
    "settings refused": lambda home: (home / "guardrail.toml").write_text("[policy]\nworkers = 0"),
    "no policy server": lambda home: more(
        home, '[policy]\nengine = "opa"\n[opa]\nurl = "http://127.0.0.1:9"\nstart_limit_ms = 100\n'
    ),
    "no witness": lambda home: more(
        home,
        "",
        witness=[
            "http://127.0.0.1:9 w.example+e25d5acc+BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
        ],
    ),
}


def more(home: Path, text: str, **anchors: object) -> None:
    """Add to the settings: sections, and keys of [anchors]."""
    config = home / "guardrail.toml"
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in anchors.items()]
    config.write_text(config.read_text() + "".join(lines) + text)


def leads_back(told: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Each pair of commands of which each says no more than that the other one is to be run."""
    only = {command: steps[0] for command, steps in told.items() if len(set(steps)) == 1}
    return [
        (one, other)
        for one, step in only.items()
        for other, back in only.items()
        if is_circular(step, other) and is_circular(back, one)
    ]


@pytest.mark.parametrize("kind", SPOILT)
def test_no_next_step_is_the_very_command_that_failed(cli: Cli, home: Path, kind: str) -> None:
    """Of every command, with each kind of damage, with settings that are refused, and with a policy
    server that is not there.
    """
    SPOILT[kind](home)
    told: dict[str, list[str]] = {}
    for command in "|".join(COMMANDS).split("|"):
        ran = cli(*command.split())
        assert ran.code != 4, (command, ran)
        if ran.code not in (0, 5):
            told[command] = steps(ran)
            assert [step for step in steps(ran) if is_circular(step, command)] == [], command
    assert len(told) > 3
    assert leads_back(told) == []


def test_a_step_that_leads_back_is_noticed() -> None:
    """Else the test above could not fail."""
    assert is_circular("guardrail anchor", "anchor")
    assert is_circular("guardrail anchor; please report it", "anchor")
    assert is_circular("guardrail doctor says more", "doctor")
    assert is_circular("guardrail policy push", "policy push")
    assert is_circular("guardrail verify", "verify --checkpoint x")
    assert not is_circular("guardrail anchor move OLD", "anchor")
    assert not is_circular("guardrail verify --checkpoint FILE", "verify")
    assert not is_circular("wait, then: guardrail anchor", "anchor")


def test_files_that_went_away_under_a_process_are_to_be_moved_back(cli: Cli, home: Path) -> None:
    """That comes before a recovery, which would begin a new log."""
    move_away(home)
    for reader in ("doctor", "recover"):
        ran = cli(reader, *(["--dry-run"] if reader == "recover" else []))
        assert "move the same files back" in " ".join(f"{ran.out} {ran.err}".split())


def test_on_a_read_only_mount_doctor_says_that_no_guard_records(cli: Cli, home: Path) -> None:
    """The ledger is whole, and rights have nothing to do with it."""
    place = home.parent / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        shutil.copytree(home, place / "home")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        config = place / "home" / "guardrail.toml"
        checks = json.loads(cli("doctor", "--config", config, "--json").out)["checks"]
        failed = {each["name"]: each["fix"] for each in checks if each["state"] == "fail"}
        assert "mount it writable" in failed["opening"]
        assert not any("chmod" in fix for fix in failed.values())
        with pytest.raises(GuardrailError) as refused:
            Guard.open(config)
        assert "guardrail doctor" in refused.value.hint
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_half_an_access_log_is_said_by_all_that_look(cli: Cli, home: Path) -> None:
    """A copy of a project that left it out still has its keys."""
    remove(home, "audit.access.db*", "audit.db-access", "../heads/*")
    ran = cli("verify")
    assert "Reads of the ledger are not recorded" in " ".join(ran.out.split())
    assert "move" in " ".join(cli("doctor").out.split())
    ran = cli("access")
    assert ran.code == 3
    assert ("away, and the next command that reads the ledger creates a new one") in " ".join(
        ran.err.split()
    )

"""Init, doctor and the policy commands: from an empty folder to a project that works."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.errors import ConfigError
from tests.support.command_line import Cli, environment
from tests.support.full_disk import small_disk


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that ``init`` made, for tests that do not change it."""
    folder = tmp_path_factory.mktemp("made") / "project"
    subprocess.run(
        [sys.executable, "-c", "from guardrail.cli import main; main()", "init", folder],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def test_init_makes_a_project_that_passes_its_own_checks(
    cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings, policies with tests, keys, ledger: checked, tested, verified by the other
    commands.
    """
    monkeypatch.chdir(made)
    assert stat.S_IMODE((made / "audit" / "ledger.keys").stat().st_mode) == 0o700
    assert {path.name for path in made.iterdir()} >= {
        "guardrail.toml",
        "policies",
        "audit",
        ".gitignore",
    }
    ran = cli("policy", "check")
    assert (ran.code, ran.out.startswith("OK")) == (0, True), ran
    ran = cli("policy", "test")
    assert (ran.code, "passed" in ran.out) == (0, True), ran
    assert cli("verify").code == 5
    assert cli("sessions").code == 0
    ran = cli("doctor")
    assert ran.code == 0, ran
    assert "fail" not in ran.out


def test_init_says_what_to_do_next_and_what_it_made(cli: Cli, tmp_path: Path) -> None:
    """Made files on stdout, next steps on stderr."""
    ran = cli("init", tmp_path / "new")
    assert ran.code == 0
    assert "guardrail.toml" in ran.out
    assert "audit/ledger.keys/" in ran.out
    assert "added /audit/ to .gitignore" in ran.out
    assert "added *.keys/ to .gitignore" in ran.out
    assert "guardrail policy test" in ran.err


def test_a_guard_opens_what_init_made(tmp_path: Path) -> None:
    """The log that init began is the one that the guard goes on with."""
    code = (
        "import sys\nfrom guardrail import Denied, Guard\nwith Guard.open(sys.argv[1]) as guard,"
        " guard.session(principal='alice@example.com', agent='bot'):\n    try:\n       "
        " guard.call('no_such_tool', {}, run=lambda: 1)\n    except Denied as denial:\n       "
        " print(denial.seq)\n"
    )
    from guardrail.cli.app import run

    assert run(["init", str(tmp_path / "p")]) == 0
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "p" / "guardrail.toml"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


@pytest.mark.parametrize(
    "name",
    ["guardrail.toml", "audit/ledger.db", "audit/ledger.keys", "audit/ledger.db-wal", "audit/x"],
)
def test_init_never_overwrites(cli: Cli, tmp_path: Path, name: str) -> None:
    """Whatever is in the way is named, and nothing else is written."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    ran = cli("init", tmp_path)
    assert ran.code == 2
    assert Path(name).name in ran.err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_init_in_a_clone_says_how_its_ledger_is_made(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings and policies come with a clone, keys and ledger do not: what is named then works."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    assert cli("init", origin).code == 0
    clone.mkdir()
    shutil.copy(origin / "guardrail.toml", clone)
    shutil.copytree(origin / "policies", clone / "policies")
    ran = cli("init", clone)
    assert ran.code == 2
    assert "is a project; nothing was written" in ran.err
    assert "to create the keys and the ledger, open a guard in a program" in ran.err
    monkeypatch.chdir(clone)
    assert "guardrail init" not in cli("doctor").out
    ran = cli("sessions")
    assert "guardrail init" not in ran.err
    [opening] = re.findall(r"Guard\.open\(.*?\)", ran.err)
    assert {path.name for path in clone.iterdir()} == {"guardrail.toml", "policies"}
    eval(opening, {"Guard": Guard}).close()
    assert cli("sessions").code == 0
    assert "open a guard in a program" not in cli("init", clone).err


def test_init_below_a_project_makes_none_by_accident(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the folder is named; it says then whose settings no longer count there."""
    assert cli("init", tmp_path).code == 0
    below = tmp_path / "src" / "agent"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    ran = cli("init")
    assert ran.code == 2
    assert str(tmp_path / "guardrail.toml") in ran.err
    assert "next:  guardrail doctor checks that project; guardrail init . creates" in ran.err
    assert list(below.iterdir()) == []
    ran = cli("init", ".")
    assert ran.code == 0
    assert f"these settings replace those of {tmp_path / 'guardrail.toml'}" in ran.err
    assert (below / "audit" / "ledger.db").exists()


def test_init_does_not_follow_the_environment_elsewhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GUARDRAIL_LEDGER of another project neither stops init nor gets written to."""
    monkeypatch.setenv("GUARDRAIL_LEDGER", str(tmp_path / "other.db"))
    assert cli("init", tmp_path / "p").code == 0
    assert not (tmp_path / "other.db").exists()
    assert (tmp_path / "p" / "audit" / "ledger.db").exists()


def test_init_that_can_not_make_a_ledger_leaves_no_keys_alone(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys without a ledger would make every guard refuse to open."""
    from guardrail.errors import LedgerOpenError
    from guardrail.wiring import opening

    def refuse(*_: object, **__: object) -> None:
        raise LedgerOpenError("the disk is full")

    monkeypatch.setattr(opening, "create_log", refuse)
    ran = cli("init", tmp_path / "p")
    assert ran.code == 3
    assert "the disk is full" in ran.err
    assert not (tmp_path / "p" / "audit" / "ledger.keys").exists()


def test_doctor_answers_in_json_and_with_1_where_something_fails(
    cli: Cli, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same checks for a program, and for a folder that was never set up."""
    document = json.loads(cli("doctor", "--config", made / "guardrail.toml", "--json").out)
    assert document["exit"] == 0
    assert {check["state"] for check in document["checks"]} <= {"ok", "note"}
    monkeypatch.chdir(tmp_path)
    ran = cli("doctor")
    assert ran.code == 1
    assert "fail     policies" in ran.out
    assert "fix: guardrail init" in ran.out
    assert re.search(r"1 of \d+ checks", ran.err)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder with one policy and its test."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "tools.rego").write_text(
        'package guardrail.policy\n\nimport rego.v1\n\nallow contains "reading" if'
        ' input.resource.id == "read_file"\n'
    )
    (folder / "tools_test.rego").write_text(
        'package guardrail.policy_test\n\nimport rego.v1\n\ntest_reading_is_allowed if "reading" in'
        ' data.guardrail.policy.allow with input as {"resource": {"id": "read_file"}}\n'
    )
    return folder


def test_policy_test_shows_what_failed_and_where(cli: Cli, policies: Path) -> None:
    """Passing tests only on request; failing ones with file and line; exit 1."""
    ran = cli("policy", "test", policies)
    assert (ran.code, ran.out.startswith("OK  1 passed")) == (0, True), ran
    assert "test_reading_is_allowed" in cli("policy", "test", policies, "-v").out
    with (policies / "tools_test.rego").open("a") as out:
        out.write(
            '\ntest_writing_is_allowed if "writing" in data.guardrail.policy.allow with input as'
            ' {"resource": {"id": "write"}}\n'
        )
    ran = cli("policy", "test", policies)
    assert ran.code == 1
    assert "tools_test.rego:7" in ran.out
    assert "FAILED  1 passed, 1 failed" in ran.out
    document = json.loads(cli("policy", "test", policies, "--json").out)
    assert (document["exit"], document["ok"]) == (1, False)
    assert [result["outcome"] for result in document["results"]] == ["pass", "fail"]


def test_policies_without_a_test_are_5(cli: Cli, policies: Path) -> None:
    """Nothing failed, and nothing was shown either."""
    (policies / "tools_test.rego").unlink()
    ran = cli("policy", "test", policies)
    assert ran.code == 5
    assert "NO TESTS" in ran.out


def test_policy_check_lists_every_finding_with_its_place(cli: Cli, policies: Path) -> None:
    """Refused: exit 1, each finding with file and line, as text and as JSON; test refuses
    likewise.
    """
    (policies / "bad.rego").write_text(
        'package guardrail.policy\n\nimport rego.v1\n\ndeny contains "x" if http.send({"method":'
        ' "get", "url": "http://localhost"}).status_code == 200\n'
    )
    ran = cli("policy", "check", policies)
    assert ran.code == 1
    assert "bad.rego:5" in ran.out
    assert "REFUSED" in ran.out
    document = json.loads(cli("policy", "check", policies, "--json").out)
    assert (document["exit"], document["ok"]) == (1, False)
    assert {"file", "line", "code", "message", "hint"} <= set(document["findings"][0])
    ran = cli("policy", "test", policies)
    assert (ran.code, "no test was run" in ran.out) == (1, True)


@pytest.mark.parametrize("command", ["check", "test"])
def test_policies_that_are_not_there_are_3(cli: Cli, tmp_path: Path, command: str) -> None:
    """Could not find out is not refused."""
    ran = cli("policy", command, tmp_path / "none")
    assert ran.code == 3
    assert "set PATH to the policy folder" in ran.err


def test_a_hostile_file_name_or_policy_text_does_not_reach_the_terminal_raw(
    cli: Cli, policies: Path
) -> None:
    """Findings quote files and policies: both are shown as escapes."""
    (policies / "x\x1b[31m\u202e.rego").write_text(
        'package guardrail.policy\n\nallow contains "\x1b[31m" if \n'
    )
    for command in ("check", "test"):
        ran = cli("policy", command, policies)
        assert ran.code == 1
        assert "\x1b" not in ran.out + ran.err
        assert "\u202e" not in ran.out + ran.err


def test_reload_without_a_running_guard_says_so(cli: Cli, tmp_path: Path) -> None:
    """Exit 5: nobody was there to load them."""
    assert cli("init", tmp_path / "p").code == 0
    ran = cli("policy", "reload", "--config", tmp_path / "p" / "guardrail.toml")
    assert ran.code == 5
    assert "No process is using this ledger" in ran.err


@pytest.fixture
def guarded(cli: Cli, tmp_path: Path) -> Iterator[tuple[Path, Path, int]]:
    """A project, the policies of a guard that runs on its ledger in another process, and the number
    of that process.
    """
    assert cli("init", tmp_path / "p").code == 0
    config, own = tmp_path / "p" / "guardrail.toml", tmp_path / "own"
    shutil.copytree(tmp_path / "p" / "policies", own)
    code = (
        "import sys\n"
        "from guardrail import Guard\n"
        "with Guard.open(sys.argv[1]) as guard:\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, config],
        env=environment({"GUARDRAIL_POLICIES": str(own)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        assert child.stdout.readline() == "ready\n"
        yield config, own, child.pid
    finally:
        child.stdin.close()
        child.wait(timeout=60)
        child.stdout.close()


MORE = (
    'package guardrail.policy\n\nimport rego.v1\n\nallow contains "more" if input.resource.id =='
    ' "more"\n'
)
BROKEN = "package guardrail.policy\n\nallow contains\n"


def test_reload_asks_a_running_guard_and_tells_what_it_did(
    cli: Cli, guarded: tuple[Path, Path, int]
) -> None:
    """Loaded: exit 0. Refused by the guard, which keeps its old policies: exit 1."""
    config, own, pid = guarded
    for folder in (own, config.parent / "policies"):
        (folder / "more.rego").write_text(MORE)
    ran = cli("policy", "reload", "--config", config, "--wait", "30")
    assert ran.code == 0, ran
    assert f"pid {pid}" in ran.out
    (own / "more.rego").write_text(BROKEN)
    ran = cli("policy", "reload", "--config", config, "--wait", "30")
    assert ran.code == 1, ran
    assert "keeps the old policies" in ran.out


def test_reload_names_the_settings_that_it_applies_and_those_that_need_a_restart(
    cli: Cli, guarded: tuple[Path, Path, int]
) -> None:
    """Until then doctor says that the guard runs with other settings than the file holds."""
    config, own, pid = guarded
    text = config.read_text()
    config.write_text(text + "\n[policy]\n" if "[policy]" not in text else text)
    changed = re.sub(r"#? ?workers = 1", "workers = 2", config.read_text())
    changed = re.sub(r"#? ?deadline_ms = 1000", "deadline_ms = 900", changed, count=1)
    config.write_text(re.sub(r'#? ?input = "raw"', 'input = "recorded"', changed, count=1))
    running = next(
        line for line in cli("doctor", "--config", config).out.splitlines() if "running" in line
    )
    assert f"process {pid} runs with different settings" in running
    for folder in (own, config.parent / "policies"):
        (folder / "shop").mkdir()
        (folder / "shop" / "data.json").write_text("{}")
    ran = cli("policy", "reload", "--config", config, "--wait", "30")
    assert ran.code == 5, ran
    assert "changed settings: policy.deadline_ms, policy.workers" in ran.out
    assert "needs a restart: policy.input" in ran.out
    (own / "shop" / "data.json").write_text('{"a": 1}')
    (config.parent / "policies" / "shop" / "data.json").write_text('{"a": 1}')
    ran = cli("policy", "reload", "--config", config, "--wait", "30")
    assert "only the data changed" in ran.out


def test_policies_that_are_refused_here_are_not_asked_for(
    cli: Cli, guarded: tuple[Path, Path, int]
) -> None:
    """The mistake is shown where it can be mended, and the running guard is left alone."""
    config, _, _ = guarded
    (config.parent / "policies" / "more.rego").write_text(BROKEN)
    ran = cli("policy", "reload", "--config", config)
    assert ran.code == 1
    assert "more.rego:" in ran.out
    assert "no guard was asked" in ran.out
    assert not (config.parent / "audit" / "ledger.db-reload").exists()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), "--yes and --reason are missing"),
        (("--yes",), "--reason is missing"),
        (("--reason", "x"), "--yes is missing"),
    ],
)
def test_recover_without_a_terminal_says_which_option_is_missing(
    cli: Cli, process: Cli, tmp_path: Path, given: tuple[str, ...], missing: str
) -> None:
    """And changes nothing."""
    assert cli("init", tmp_path / "p").code == 0
    for path in (tmp_path / "p" / "audit").glob("ledger.db*"):
        path.rmdir() if path.is_dir() else os.unlink(path)
    ran = process("recover", "--config", tmp_path / "p" / "guardrail.toml", *given)
    assert ran.code == 2
    assert missing in ran.err
    assert not (tmp_path / "p" / "audit" / "ledger.db").exists()


def test_recover_of_keys_without_a_ledger_begins_a_new_log(
    cli: Cli, process: Cli, tmp_path: Path
) -> None:
    """The database and everything beside it are gone: with the keys at hand a new log begins, and a
    guard opens it.
    """
    assert cli("init", tmp_path / "p").code == 0
    config = tmp_path / "p" / "guardrail.toml"
    for path in (tmp_path / "p" / "audit").glob("ledger.db*"):
        path.rmdir() if path.is_dir() else os.unlink(path)
    ran = process("recover", "--config", config, "--yes", "--reason", "lost the disk")
    assert ran.code == 5, ran
    genesis = json.loads(cli("show", "0", "--config", config, "--json").out)["record"]
    from guardrail.keys.log_key import Keys

    assert genesis["key"]["public"] == Keys.load(tmp_path / "p" / "audit" / "ledger.keys").public
    assert cli("doctor", "--config", config).code == 0


@pytest.mark.parametrize("name", ["db", "keys", "db-lock", "db-leases", "access.db"])
def test_init_writes_nothing_through_a_link_that_lies_in_the_folder(
    cli: Cli, tmp_path: Path, name: str
) -> None:
    """Also a link to nowhere yet: its target would be made."""
    folder = tmp_path / "shop" / "audit"
    folder.mkdir(parents=True)
    (folder / f"ledger.{name}").symlink_to(tmp_path / "outside")
    ran = cli("init", str(folder.parent))
    assert ran.code == 3
    assert f"ledger.{name}" in ran.err
    assert list(folder.parent.rglob("*")) == [folder, folder / f"ledger.{name}"]
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("target", ["shop", "nowhere"])
def test_init_of_a_link_that_leads_nowhere_is_refused(
    cli: Cli, tmp_path: Path, target: str
) -> None:
    """To itself, or to a folder that is not there."""
    (tmp_path / "shop").symlink_to(tmp_path / target)
    ran = cli("init", tmp_path / "shop")
    assert ran.code == 2
    assert "a broken link" in ran.err
    assert not (tmp_path / "nowhere").exists()


def test_init_on_a_full_disk_says_how_much_room_is_needed_and_writes_nothing(
    cli: Cli, tmp_path: Path
) -> None:
    """A project whose every call is refused is none."""
    with small_disk(tmp_path / "disk", "32m") as folder:
        (folder / "filler").write_bytes(b"x" * (30 << 20))
        ran = cli("init", folder / "shop")
        assert ran.code == 3
        assert "4.0 MB are needed before calls are accepted, 2.0 MB are free" in ran.err
        assert not (folder / "shop").exists()


def test_a_log_without_settings_and_policies_leads_doctor_and_init_to_the_same_way_out(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sends the user to the other: the files are to be restored, or copied from a new
    project.
    """
    monkeypatch.chdir(tmp_path)
    assert cli("init").code == 0
    (tmp_path / "guardrail.toml").unlink()
    shutil.rmtree(tmp_path / "policies")
    way = "restore guardrail.toml and policies/ from version control or a backup"
    made = cli("init")
    assert made.code == 2
    assert f"next:  {way}" in made.err
    looked = " ".join(cli("doctor").out.split())
    assert looked.count(f"fix: {way}") == 2
    assert way in cli("policy", "check").err


@pytest.mark.parametrize("lost", [(), ("audit",), ("audit", "policies"), ("policies",)])
def test_without_its_settings_doctor_names_init_only_if_init_works(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[str, ...]
) -> None:
    """Neither leads only to the other, and nor does the error of a program."""
    folder = tmp_path / "p"
    assert cli("init", folder).code == 0
    (folder / "guardrail.toml").unlink()
    for name in lost:
        shutil.rmtree(folder / name)
    monkeypatch.chdir(folder)
    looked = cli("doctor").out
    with pytest.raises(ConfigError) as caught:
        Guard.open("guardrail.toml")
    works = cli("init", ".").code == 0
    assert works is (len(lost) == 2)
    assert ("fix: guardrail init\n" in looked or "guardrail init, or" in looked) is works
    assert (caught.value.hint == "guardrail init") is works

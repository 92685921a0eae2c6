"""A private OPA: the guard starts it, checks it, replaces it and ends it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.authoring.bundle import make_bundle
from guardrail.authoring.check import check
from guardrail.config import OpaSection, Settings
from guardrail.core.decision import parse
from guardrail.errors import ConfigError, PolicyError, PolicyLoadError
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.private import PrivateTarget
from guardrail.policy.opa.program import (
    OpaProgram,
    find_opa,
    optional_opa,
    reason_without_opa,
    require_opa,
)
from guardrail.policy.sources import load_policies
from guardrail.system.temporary import temporary_folder
from tests.support.guards import records
from tests.support.opa_server import STARTER
from tests.support.waiting import PATIENCE, until

CALL = sample_input().encode()
ONLY_OPA = r"""package guardrail.policy

import data.guardrail.policy.names

allow contains sprintf("%s is fine", [input.resource.id]) if names.plain
"""
NAMES = r"""package guardrail.policy.names

plain if regex.match(`^\w+$`, input.resource.id)
"""


@contextmanager
def started(
    policies: Path = STARTER, program: Path | None = None, **settings: object
) -> Iterator[OpaEngine]:
    """Start an engine with a private OPA, and close it."""
    section = OpaSection(
        program=program, **{"watch_interval_ms": 200, "start_limit_ms": int(PATIENCE * 1000)} | settings
    )  # fmt: skip
    engine = OpaEngine.connect(section, local=load_policies([policies]))
    try:
        yield engine
    finally:
        engine.close()


def ask(engine: OpaEngine, deadline: float = PATIENCE) -> str:
    """Return the effect of a decision, or the cause of a denial."""
    try:
        reply = engine.decide(CALL, shard="t\0p\0a\0t", deadline=deadline).result(
            deadline + PATIENCE
        )
    except PolicyError as error:
        return error.cause
    return parse(reply.document).effect.value


def server_of(engine: OpaEngine) -> int:
    """Return the id of the OPA process, waiting for it."""
    assert isinstance(engine.target, PrivateTarget)
    target = engine.target
    until(lambda: target.process is not None)
    assert target.process is not None
    return target.process


def state_of(process: int) -> str:
    """Return the state of *process*, such as ``S`` or ``T``, or an empty string if it is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


def alive(process: int) -> bool:
    """Return True unless *process* is gone or waits to be reaped."""
    return state_of(process) not in {"", "Z"}


def stop(process: int) -> None:
    """Stop *process*, and wait until each of its threads has stopped."""
    os.kill(process, signal.SIGSTOP)
    until(lambda: state_of(process) == "T")


def failure_of(engine: OpaEngine) -> str:
    try:
        engine.target.prepare(0)
    except PolicyError as error:
        return error.message
    return ""


def folder_of(engine: OpaEngine) -> Path:
    return Path(engine.target.url.removeprefix("unix://")).parent


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


# -- what a guard gets


def test_a_guard_with_a_private_opa_decides_what_only_opa_can_load(
    opa_program: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.rego").write_text(ONLY_OPA)
    (folder / "names.rego").write_text(NAMES)
    settings = Settings().override(
        policy={"engine": "opa", "path": [folder]}, opa={"program": opa_program}
    )
    ran = []
    with Guard.open(settings, ledger=tmp_path / "ledger.db") as guard:
        tool = guard.tool(lambda city: ran.append(city) or "sunny", name="weather")
        with guard.session(principal="ana"):
            assert tool(city="Oslo") == "sunny"
    assert ran == ["Oslo"]
    policy = records(tmp_path / "ledger.db", "call.decision")[0]["policy"]
    assert policy["engine"] == "opa"
    assert policy["version"].startswith("1.")
    assert " sha256:" in policy["version"]


def test_both_engines_have_one_digest_and_one_answer(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        embedded = EmbeddedEngine.load([STARTER])
        try:
            assert engine.identity.digest == embedded.identity.digest
            assert engine.identity.data == embedded.identity.data
            said = embedded.decide(CALL, shard="t\0p\0a\0t", deadline=PATIENCE).result()
            assert ask(engine) == parse(said.document).effect.value
        finally:
            embedded.close()


def test_only_this_user_can_reach_the_server(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        folder = folder_of(engine)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
        assert modes == {"opa.sock": 0o600, "bundle.tar.gz": 0o600, "owner.lock": 0o600}
        environment = Path(f"/proc/{server_of(engine)}/environ").read_bytes()
        assert environment == b""


# -- faults


def test_a_killed_server_is_replaced(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        for _ in range(2):
            before = server_of(engine)
            os.kill(before, signal.SIGKILL)
            until(lambda before=before: engine.target.process not in {None, before})
            until(lambda: ask(engine) == "deny")


def test_a_hanging_server_denies_by_the_deadline_and_is_replaced(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        hung = server_of(engine)
        stop(hung)
        assert ask(engine, deadline=0.3) == "timeout"
        until(lambda: not alive(hung))
        until(lambda: ask(engine) == "deny")


def test_a_server_that_hangs_while_idle_is_replaced_without_a_call(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        assert ask(engine) == "deny"  # the first call starts the checks
        hung = server_of(engine)
        stop(hung)
        until(lambda: not alive(hung))
        until(lambda: ask(engine) == "deny")


def test_the_server_ends_with_its_guard(opa_program: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from guardrail.config import OpaSection\n"
        "from guardrail.policy.opa.engine import OpaEngine\n"
        "from guardrail.policy.sources import installed_folder, load_policies\n"
        "engine = OpaEngine.connect(OpaSection(program=Path(sys.argv[1])),\n"
        "    local=load_policies([installed_folder() / 'starter']))\n"
        "print(engine.target.process, engine.target.url, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(opa_program)], stdout=subprocess.PIPE, text=True
    ) as guard:
        assert guard.stdout is not None
        process, url = guard.stdout.readline().split()
        assert alive(int(process))
        guard.kill()
    until(lambda: not alive(int(process)))
    until(lambda: not Path(url.removeprefix("unix://")).parent.exists())


def test_the_server_ends_with_its_watchdog_and_is_replaced(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        before = server_of(engine)
        status = Path(f"/proc/{before}/status").read_text()
        watchdog = next(line for line in status.splitlines() if line.startswith("PPid:"))
        os.kill(int(watchdog.split()[1]), signal.SIGKILL)
        until(lambda: not alive(before))
        until(lambda: ask(engine) == "deny")


def test_closing_ends_the_server_and_removes_its_folder(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        process, folder = server_of(engine), folder_of(engine)
    assert not alive(process)
    assert not folder.exists()
    assert ask(engine) == "unreachable"
    engine.close()


def test_a_forked_child_has_a_server_of_its_own(opa_program: Path) -> None:
    with started(program=opa_program) as engine:
        mine = server_of(engine)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                said = ask(engine)
                os.write(writer, f"{said} {server_of(engine)}".encode())
                engine.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        said, process = os.read(reader, 100).decode().split()
        assert said == "deny"
        assert int(process) != mine
        assert not alive(int(process))
        assert server_of(engine) == mine
        assert ask(engine) == "deny"


def test_a_forked_child_that_makes_no_call_leaves_nothing(
    opa_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folder of a test can be too long for a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        with started(program=opa_program) as engine:
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            assert list(Path(place).iterdir()) == [folder_of(engine)]
        assert list(Path(place).iterdir()) == []


# -- programs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 'Version: 0.70.0'", "this is OPA 0.70.0, but guardrail needs OPA 1"),
        ("echo 'Version: 2.1.0'", "this is OPA 2.1.0, but guardrail needs OPA 1"),
        ("echo hello", "the program is not OPA"),
        ("exit 3", "the program is not OPA"),
    ],
)
def test_a_program_that_is_not_opa_1_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught, started(program=script(tmp_path / "opa", text)):  # fmt: skip
        pass
    assert caught.value.code == "config.opa_program"
    assert "set [opa] program" in caught.value.hint


@pytest.mark.parametrize(
    ("serve", "detail", "words"),
    [
        ("echo some reason >&2; exit 1", "program", "the private OPA ended: some reason"),
        ("exec sleep 600", "starting", "does not listen on its socket"),
    ],
)
def test_a_program_that_dies_or_never_listens_is_refused(
    serve: str, detail: str, words: str, tmp_path: Path
) -> None:
    text = f'case "$1" in version) echo "Version: 1.9.0";; check) ;; *) {serve};; esac'
    program = script(tmp_path / "opa", text)
    limit = 300 if detail == "starting" else int(PATIENCE * 1000)
    with pytest.raises(PolicyError, match=words) as caught, started(program=program, start_limit_ms=limit):  # fmt: skip
        pass
    assert (caught.value.cause, caught.value.detail) == ("unreachable", detail)
    assert caught.value.hint


def test_an_answer_from_another_process_is_refused(opa_program: Path, tmp_path: Path) -> None:
    # This wrapper stays the process that the guard started, and another one listens.
    program = script(tmp_path / "opa", f'{opa_program} "$@"; exit $?')
    with pytest.raises(PolicyError, match="is not the one that guardrail started") as caught, started(program=program, start_limit_ms=1500):  # fmt: skip
        pass
    assert (caught.value.cause, caught.value.detail) == ("unreachable", "process")
    assert "with exec" in caught.value.hint


def test_a_replaced_program_is_not_run(opa_program: Path, tmp_path: Path) -> None:
    program = tmp_path / "opa"
    shutil.copy(opa_program, program)
    with started(program=program) as engine:
        before = server_of(engine)
        fresh = script(tmp_path / "new", "exit 0")
        os.replace(fresh, program)
        os.kill(before, signal.SIGKILL)
        until(lambda: not alive(before))
        until(lambda: "restart the guard" in failure_of(engine))


def test_programs_that_others_can_replace_are_not_found(tmp_path: Path) -> None:
    open_folder, private = tmp_path / "open", tmp_path / "private"
    for folder in (open_folder, private):
        folder.mkdir(mode=0o700)
        script(folder / "opa", "exit 0")
    open_folder.chmod(0o777)

    def found(path: str) -> Path | None:
        program = find_opa({"PATH": path})
        return None if program is None else program.path

    assert found(f"{open_folder}:{private}") == private / "opa"
    assert found(f".::bin:{private}") == private / "opa"
    (private / "opa").chmod(0o722)
    assert found(f"{open_folder}:{private}") is None
    for program in (private / "opa", open_folder / "opa"):
        with pytest.raises(ConfigError, match="other users can write to it"), started(program=program):  # fmt: skip
            pass


def test_a_program_that_only_ends_well_judges_nothing(tmp_path: Path) -> None:
    """A program that ends with exit code 0 has not checked that the policies are pure."""
    (tmp_path / "p.rego").write_text(
        'package guardrail.policy\n\nallow contains "x" if http.send({}).status_code == 200\n'
    )
    program = OpaProgram(script(tmp_path / "opa", "exit 0"))
    with pytest.raises(ConfigError, match="the program is not OPA"):
        make_bundle([tmp_path / "p.rego"], opa=program)
    report = check([tmp_path / "p.rego"], opa=program)
    assert not report.answered
    with pytest.raises(ConfigError, match="the program is not OPA"):
        program.test(tmp_path, capabilities=tmp_path)


def test_a_program_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the processes that it started, which hold its output open."""
    text = f'case "$1" in version) echo "Version: 1.9.0";; *) sleep 600 & echo $! > {tmp_path}/pid; wait;; esac'
    program = OpaProgram(script(tmp_path / "opa", text))
    monkeypatch.setattr("guardrail.policy.opa.program.CHECK_LIMIT", 0.3)
    (tmp_path / "p.rego").write_text(NAMES.replace(".names", ""))
    report = check([tmp_path / "p.rego"], opa=program)
    assert not report.answered
    assert report.engines[1].about == f"{program.path}: opa check did not end within 0.3 s"
    assert report.engines[1].hint
    child = int((tmp_path / "pid").read_text())
    until(lambda: not alive(child))
    with pytest.raises(ConfigError, match="opa check did not end"), started(program=program.path):
        pass


def test_a_variable_that_names_no_safe_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By everything that looks for a program, in the same words."""
    folder = tmp_path / "open"
    folder.mkdir()
    script(folder / "opa", "exit 0")
    folder.chmod(0o777)
    for value, words in (
        (str(tmp_path / "none"), "not the absolute path of a program"),
        ("opa", "not the absolute path of a program"),
        (str(folder / "opa"), f"other users can write to {folder}"),
    ):
        monkeypatch.setenv("GUARDRAIL_OPA", value)
        assert find_opa() is None
        for find in (optional_opa, require_opa):
            with pytest.raises(ConfigError, match=words) as caught:
                find(None)
            assert caught.value.message.startswith(f"GUARDRAIL_OPA is {value}, ")
            assert caught.value.hint
    monkeypatch.delenv("GUARDRAIL_OPA")
    monkeypatch.setenv("PATH", str(folder))
    assert optional_opa(None) is None
    assert f"other users can write to {folder}" in reason_without_opa()


def test_what_a_killed_guard_left_behind_is_removed_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If its watchdog, which otherwise does that, was killed too."""
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        with started() as engine:
            folder = folder_of(engine)
            with temporary_folder() as other:
                assert {folder, other} == set(Path(place).iterdir())
            kept = Path(place, f"{folder.name[:-1]}{'0' if folder.name[-1] != '0' else '1'}")
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("*.sock"))
            kept.chmod(0o700)
            with started() as second:
                assert {folder, folder_of(second)} == set(Path(place).iterdir())
        assert list(Path(place).iterdir()) == []


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no program at this path"), started(program=tmp_path / "opa"):  # fmt: skip
        pass
    monkeypatch.delenv("GUARDRAIL_OPA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no opa program") as caught, started():
        pass
    assert "install OPA" in caught.value.hint


# -- policies and settings


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('package guardrail.policy\n\nallow contains "x" if nothing(input)\n', 3, "nothing"),
        ('package guardrail.policy\n\nallow contains "x" if {\n\tr := http.send({})\n\tr\n}\n', 4, "http.send"),
        ('package other\n\nallow contains "x" if true\n', 1, "outside guardrail.policy"),
    ],
)  # fmt: skip
def test_refused_policies_name_file_and_line(
    text: str, line: int, words: str, opa_program: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.rego").write_text(text)
    with pytest.raises(PolicyLoadError) as caught, started(tmp_path, opa_program):
        pass
    finding = caught.value.findings[0]
    assert finding.file.endswith("a.rego")
    assert finding.line == line
    assert words in finding.message


def test_settings_of_a_server_need_a_url(opa_program: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    token.chmod(0o600)
    with pytest.raises(ConfigError, match="token_file is set, but \\[opa\\] url is empty"), started(program=opa_program, token_file=token):  # fmt: skip
        pass


def test_a_found_settings_file_can_not_choose_the_program(
    opa_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "guardrail.toml"
    settings.write_text(f'[policy]\nengine = "opa"\n\n[opa]\nprogram = "{opa_program}"\n')
    settings.chmod(0o666)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="\\[opa\\] program is ignored"):
        _ = Settings.chosen(None, environment={}).trusted_opa

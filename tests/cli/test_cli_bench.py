"""``guardrail bench``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from guardrail.bench.measure import BenchReport, CallTimes, LoadRate
from guardrail.bench.workload import CALLERS, CASES
from guardrail.cli.commands.bench import show_report
from tests.support.command_line import Cli, command, environment
from tests.support.projects import new_project
from tests.support.waiting import until


@pytest.mark.slow
def test_a_project_is_measured_next_to_its_ledger_and_nothing_is_left(
    tmp_path: Path,
) -> None:
    """Neither the project's settings nor its ledger take part."""
    text = '[limits]\ncalls_per_minute = 1\n[ledger]\npath = "logs/l.db"\n'
    home = new_project(tmp_path / "home", text)
    (home / "logs").mkdir()

    def bench(*words: str) -> str:
        # In a process of its own: the heap of the tests' process would be part of the measurement.
        line = command("bench", "--seconds", "1", *words)
        done = subprocess.run(
            line, cwd=home, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(bench("--json"))
    assert Path(found["folder"]) == home / "logs"
    assert [each["case"] for each in found["one_caller"]] == [case.name for case in CASES]
    for each in found["one_caller"]:
        assert each["calls"] >= 20
        assert 0 < each["call_p50_us"] <= each["call_p99_us"]
        wanted = each["call_p50_us"] / (2 * each["sync_p50_us"])
        assert each["over_two_syncs"] == pytest.approx(wanted, rel=0.01)
    for each in found["load"]:
        assert each["callers"] == CALLERS
        wanted = each["calls_per_s"] / each["syncs_per_s"]
        assert each["over_syncs"] == pytest.approx(wanted, rel=0.01)
    assert list((home / "logs").iterdir()) == []
    shown = bench(".")
    for case in CASES:
        assert shown.count(case.name) == 2


def test_the_tables_fit_a_terminal_and_a_legend_explains_each_column(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also with the times of a slow disk."""
    times = [CallTimes(case.name, 200, 99, 9e6, 9.9e6, 9e5, 9.9e5) for case in CASES]
    load = [LoadRate(case.name, CALLERS, 123_456.0, 98_765.0) for case in CASES]
    show_report(BenchReport("/srv/logs", tuple(times), tuple(load)))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    legend = {line.strip().split("  ")[0] for line in lines if line.startswith("  ")}
    explained = {word.strip() for each in legend for word in each.split(",")}
    titles = [line for line in lines if "ratio" in line and not line.startswith("  ")]
    assert len(titles) == 2
    for line in titles:
        columns = re.split(r"\s{2,}", line)[1:]
        assert {word for each in columns for word in each.split()} <= explained


def test_a_folder_that_can_not_be_measured_is_named(cli: Cli, tmp_path: Path) -> None:
    """With a step that helps."""
    done = cli("bench", tmp_path / "missing")
    assert done.code == 3
    assert f"{tmp_path / 'missing'}: can't measure here" in done.err
    assert "use a folder that you can write to" in done.err
    (tmp_path / "file").touch()
    assert cli("bench", tmp_path / "file").code == 2


@pytest.mark.slow
def test_ctrl_c_removes_the_files(tmp_path: Path) -> None:
    """In the middle of a measurement."""
    with subprocess.Popen(
        command("bench", "--seconds", "60", tmp_path),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        logs = lambda: tmp_path.glob("guardrail-bench-*/0/ledger.db-wal")
        until(lambda: any(each.stat().st_size > 200_000 for each in logs()), "a measurement")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []

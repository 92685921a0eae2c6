"""Doctor says which running guards use other settings than the file holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from guardrail.config import Settings
from guardrail.review.doctor.result import CheckState
from guardrail.review.doctor.running import running

POLICY = 'package guardrail.policy\n\nallow contains "all" if true\n'
PROGRAM = """
import sys
from guardrail import Guard
with Guard.open(sys.argv[1]) as guard:
    print("open", flush=True)
    for _ in sys.stdin:
        guard.reload()
        print("loaded", flush=True)
"""


def test_a_guard_that_has_reloaded_its_settings_runs_with_those_of_the_file(
    tmp_path: Path,
) -> None:
    """Until it has, and again once the file is another one, it does not. A file that was only
    written again may have changed settings that no digest covers.
    """
    config = tmp_path / "guardrail.toml"
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(POLICY)

    def written(milliseconds: int) -> Settings:
        config.write_text(f"[policy]\ndeadline_ms = {milliseconds}\n")
        return Settings.load(config)

    written(1000)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        assert running(Settings.load(config)).state is CheckState.OK
        again = running(written(1000))
        assert again.state is CheckState.NOTE
        assert "guardrail.toml was changed after process" in again.found
        assert running(written(2000)).state is CheckState.NOTE
        keys = Settings.load(config).key_path
        keys.rename(tmp_path / "away")
        blind = running(Settings.load(config))
        assert blind.state is CheckState.UNKNOWN
        assert "only with the log's keys" in blind.found
        (tmp_path / "away").rename(keys)
        program.stdin.write("reload\n")
        program.stdin.flush()
        assert program.stdout.readline() == "loaded\n"
        assert running(Settings.load(config)).state is CheckState.OK
        assert running(written(1000)).state is CheckState.NOTE
        program.stdin.close()
        assert program.wait(60) == 0
    assert running(written(1000)).found == "no guard is running"

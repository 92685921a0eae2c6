"""Every step of the pages for operators is run by a test: the commands and blocks that they show,
and each row of what to do.

``STEPS`` names, for each step, the test that runs it, or after ``:`` why none does. A step that is
new on a page fails here until a test runs it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.support.opa_server import free_port

ROOT = Path(__file__).parents[2]
PAGES = ("opa-server.md", "anchors.md", "keys.md", "recovery.md", "moving.md", "proxy.md")
HERE = "docs/test_docs_steps.py"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROGRAMS = ("guardrail", "openssl", "opa", "chmod", "chattr", "sudo", "rm")
_NAMED = re.compile(rf"`((?:{'|'.join(_PROGRAMS)})(?: [^`\n]+)?)`")


def page(name: str) -> str:
    """Return a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page: language and text."""
    return _BLOCK.findall(page(name))


def commands(text: str) -> list[str]:
    """Return the commands of a block, each on one line and without its comment."""
    lines = text.replace("\\\n", " ").splitlines()
    told = (re.sub(r"\s+", " ", re.sub(r"\s+#.*", "", line)).strip() for line in lines)
    return [line for line in told if line and not line.startswith("#")]


def indented(name: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page that belong to the items of a list."""
    found = re.findall(r"^   ```(\w*)\n(.*?)^   ```", page(name), re.MULTILINE | re.DOTALL)
    return [(language, re.sub(r"^   ", "", text, flags=re.MULTILINE)) for language, text in found]


def steps(name: str) -> list[str]:
    """Return the steps of a page: commands of its blocks and sentences, its other blocks, and its
    rows of what to do.
    """
    found: list[str] = []
    for language, text in (*blocks(name), *(indented(name) if name == "moving.md" else ())):
        lines = commands(text)
        if language == "sh" or lines[0].split()[0] in _PROGRAMS:
            found += lines
        else:
            found.append(f"{language} {lines[0]}".strip())
    rest = _BLOCK.sub("", re.sub(r"^   (?=```)", "", page(name), flags=re.MULTILINE))
    found += [command for command in _NAMED.findall(rest) if command not in {"opa", "rm"}]
    if name == "recovery.md":
        rows = re.findall(r"^\| (.*?) \|", rest, re.MULTILINE)
        found += [f"row {row}" for row in rows if row not in {"`LedgerError.code`", "finding"}]
    return list(dict.fromkeys(found))


_RECOVER = "wiring/test_guard_recovery.py::test_recover_acts_on_what_keeps_a_guard_from_opening"
_ROW = "ledger/maintenance/test_ledger_recover_head_and_tables.py::"
STEPS: dict[str, dict[str, str]] = {
    "proxy.md": {
        "python import json": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail init": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "rego package guardrail.policy": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail run -- python agent.py": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail: 2 requests: 2 calls, 1 denied": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail: 1 request: 2 calls, 2 denied": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail proxy accept": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail proxy accept --all": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail show last": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail why SEQ": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail doctor": "cli/test_cli_doctor_proxy.py::test_accepted_tools_that_are_malformed_fail",
        "guardrail run": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail run -- COMMAND": "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        "guardrail proxy accept weather": "cli/test_cli_proxy_accept.py::test_a_tool_is_shown_and_accepted",
        "guardrail proxy": "docs/test_docs_proxy.py::test_the_proxy_is_started_as_the_page_says",
        "guardrail proxy --upstream https://api.openai.com/v1": "docs/test_docs_proxy.py::test_the_proxy_is_started_as_the_page_says",
        "guardrail proxy --upstream http://127.0.0.1:4000": "docs/test_docs_proxy.py::test_the_proxy_is_started_as_the_page_says",
        'guardrail run --upstream http://127.0.0.1:4000/v1 -- python agent.py': "docs/test_docs_proxy.py::test_a_program_is_governed_as_the_page_says",
        'text OPENAI_BASE_URL=http://127.0.0.1:8290/v1': "docs/test_docs_proxy.py::test_the_proxy_is_started_as_the_page_says",
        'guardrail proxy --config guardrail.toml': "cli/test_cli_proxy.py::test_settings_that_were_only_found_do_not_get_the_keys",
        'guardrail policy test': "docs/test_docs_proxy.py::test_programs_with_tokens_use_the_proxy_as_the_page_says",
        'guardrail policy reload': "docs/test_docs_proxy.py::test_programs_with_tokens_use_the_proxy_as_the_page_says",
        'guardrail proxy token nightly': "docs/test_docs_proxy.py::test_programs_with_tokens_use_the_proxy_as_the_page_says",
        'curl http://127.0.0.1:8290/v1/chat/completions -H "x-guardrail-token: $GUARDRAIL_TOKEN" -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" -d \'{"model": "gpt-5", "messages": [{"role": "user", "content": "Where is order 7?"}]}\'': "docs/test_docs_proxy.py::test_programs_with_tokens_use_the_proxy_as_the_page_says",
        'python import os': "docs/test_docs_proxy.py::test_programs_with_tokens_use_the_proxy_as_the_page_says",
        "toml [identity]": "docs/test_docs_proxy.py::test_callers_with_access_tokens_are_served_as_the_page_says",
        "python openai = OpenAI(": "docs/test_docs_proxy.py::test_callers_with_access_tokens_are_served_as_the_page_says",
        "yaml guardrails:": "docs/test_docs_proxy.py::test_the_settings_for_litellm_are_those_that_its_test_uses",
    },
    "opa-server.md": {
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out bundle-key.pem": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "openssl pkey -in bundle-key.pem -pubout -out bundle-key.pub": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "guardrail policy bundle --signing-key bundle-key.pem -o bundle.tar.gz": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "opa run --server --addr 127.0.0.1:8181 --bundle bundle.tar.gz --verification-key bundle-key.pub --set decision_logs.console=true --set status.console=true": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "toml [policy]": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "yaml services:": "policy/opa/test_opa_bundles.py::test_the_configuration_that_the_docs_show_loads_a_signed_bundle",
        "chmod 600 bundle-key.pem": f"{HERE}::test_a_bundle_key_that_others_can_read_is_taken_after_the_command_of_the_page",
        "guardrail doctor": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "guardrail policy reload": "policy/opa/test_opa_guard.py::test_a_revision_that_is_added_to_the_settings_is_taken_after_a_reload",
        "guardrail policy check": "cli/test_cli_policy_opa.py::test_policies_that_only_opa_loads_are_checked_and_tested",
        "guardrail policy test": "cli/test_cli_policy_opa.py::test_policies_that_only_opa_loads_are_checked_and_tested",
        "opa check --strict": "policy/opa/test_opa_bundles.py::test_what_is_not_pure_is_not_bundled",
        "guardrail policy bundle --unsafe-impure": "policy/opa/test_opa_bundles.py::test_an_impure_bundle_says_so_in_its_revision",
        "guardrail why": f"{HERE}::test_a_guard_is_set_up_on_a_server_as_the_page_says",
        "guardrail rederive": "policy/opa/test_opa_kept_policies.py::test_policies_that_only_the_server_has_are_not_kept_and_the_report_says_so",
        "guardrail policy push": "policy/opa/test_opa_commands.py::test_policies_are_pushed_to_a_development_server",
    },
    "anchors.md": {
        "toml [anchors]": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail witness init --db witness.db --key witness.keys --name witness.example.com/1": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail witness add --db witness.db --log NAME+HASH+KEY": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail witness serve --db witness.db --key witness.keys --listen 0.0.0.0:8190 --tls-cert cert.pem --tls-key key.pem": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        '{"guardrail":"head/1","log":NAME,"note":SIGNED NOTE,"size":RECORDS,"ts":TIME}': f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail verify --checkpoint FILE": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "chattr +a": ": it needs root and a file system that knows the attribute; it is advice for whoever keeps the file",
        'guardrail anchor move OLD_FILE --reason "moved to another disk"': f"{HERE}::test_an_anchor_file_is_moved_as_the_page_says",
        "guardrail anchor move --lost --reason TEXT": f"{HERE}::test_an_anchor_file_is_moved_as_the_page_says",
        "guardrail verify --checkpoint OLD_FILE": f"{HERE}::test_an_anchor_file_is_moved_as_the_page_says",
        "guardrail verify": "cli/test_cli_anchors.py::test_a_foreign_head_in_the_file_is_left_behind_by_a_move",
        "guardrail anchor": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail checkpoint": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail recover": "anchors/test_head_memory.py::test_recover_records_the_break_and_remembers_the_new_log",
        "guardrail anchor forget PATH": "anchors/test_head_memory.py::test_a_ledger_that_was_removed_on_purpose_is_forgotten",
        "guardrail doctor": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "guardrail witness status": "cli/test_cli_anchors.py::test_a_witness_is_made_told_about_a_log_and_finds_a_fork",
        "guardrail verify --witness URL": f"{HERE}::test_a_witness_and_an_anchor_are_set_up_as_the_page_says",
        "openssl ts -verify": "anchors/test_anchor_tsa.py::test_a_head_is_stamped_and_the_token_is_one_that_openssl_takes",
    },
    "keys.md": {
        "toml [keys]": f"{HERE}::test_a_log_key_is_held_by_a_signer_as_the_page_says",
        "guardrail init": f"{HERE}::test_the_key_folder_is_backed_up_and_put_back",
        "guardrail keys rotate --reason TEXT": "cli/test_cli_keys.py::test_values_are_found_before_and_after_a_rotation",
        "guardrail keys retire --reason TEXT": "cli/test_cli_keys.py::test_a_key_that_no_record_names_is_destroyed",
        "guardrail find": "cli/test_cli_keys.py::test_values_are_found_before_and_after_a_rotation",
        "guardrail keys": f"{HERE}::test_a_log_key_is_held_by_a_signer_as_the_page_says",
        "guardrail recover": "ledger/maintenance/test_ledger_recover_head_and_tables.py::test_a_writer_that_meets_a_forged_head_seals_and_recover_says_both",
        "toml [ledger]": f"{HERE}::test_a_log_that_took_the_name_of_a_lost_one_gets_another",
        "guardrail anchor": f"{HERE}::test_a_log_that_took_the_name_of_a_lost_one_gets_another",
        "guardrail doctor": f"{HERE}::test_a_log_that_took_the_name_of_a_lost_one_gets_another",
        "guardrail verify": f"{HERE}::test_a_log_that_took_the_name_of_a_lost_one_gets_another",
        "guardrail witness add --log KEY": f"{HERE}::test_a_log_that_took_the_name_of_a_lost_one_gets_another",
    },
    "recovery.md": {
        "guardrail recover": f"{HERE}::test_a_log_goes_on_without_its_keys_and_init_is_not_the_way",
        "guardrail suspensions": "cli/test_cli_suspend.py::test_the_commands_of_the_page_do_what_it_says",
        "guardrail upgrade": "ledger/maintenance/test_ledger_upgrade.py::test_a_log_of_format_2_is_upgraded_and_goes_on",
        "guardrail anchor move": "cli/test_cli_anchors.py::test_an_anchor_file_that_was_moved_denies_calls_until_its_heads_are_there",
        "sudo chown OWNER:GROUP FILE": "ledger/test_ledger_file_owners.py::test_one_file_that_root_left_is_named_with_the_command_that_gives_it_back",
        "guardrail verify": f"{HERE}::test_a_lost_ledger_is_recovered_with_its_backup_as_the_page_says",
        "guardrail witness add": "wiring/test_guard_recovery.py::test_no_restart_takes_a_name_again",
        "guardrail verify --backup FILE": f"{HERE}::test_a_lost_ledger_is_recovered_with_its_backup_as_the_page_says",
        "guardrail backup FILE": f"{HERE}::test_a_lost_ledger_is_recovered_with_its_backup_as_the_page_says",
        "guardrail doctor": "review/doctor/test_doctor_room.py::test_less_than_is_to_be_free_is_a_note",
        "row `ledger.poisoned`": "ledger/writing/test_ledger_files_exchanged.py::test_an_owed_outcome_survives_a_poisoned_ledger",
        "row `ledger.reserve`": "ledger/test_ledger_reserve.py::test_each_admitted_call_gets_its_outcome_after_the_disk_is_full",
        "row `ledger.sealed`": "ledger/maintenance/test_ledger_recover.py::test_a_sealed_log_with_an_intact_chain_goes_on",
        'row `ledger.sealed`, "the database file is missing"': "ledger/writing/test_ledger_files_vanish.py::test_the_same_files_are_continued",
        "row `ledger.linked`, `keys.linked`": f"{HERE}::test_a_link_in_the_place_of_a_file_is_named_and_its_removal_is_enough",
        "row `ledger.missing`, `ledger.half`, `ledger.traces`": _RECOVER,
        "row `ledger.permission`": "ledger/test_ledger_file_owners.py::test_one_file_that_root_left_is_named_with_the_command_that_gives_it_back",
        "row `ledger.rolled_back`, `ledger.forked`, `ledger.replaced`": "wiring/test_guard_recovery.py::test_recover_works_from_an_older_copy",
        "row `ledger.earlier`": f"{HERE}::test_a_log_in_the_root_of_a_project_is_moved_into_a_folder_as_the_page_says",
        "row `ledger.journal`": "wiring/test_guard_recovery.py::test_recover_says_why_it_can_not_help_and_what_does",
        "row `ledger.not_a_file`": "wiring/test_guard_recovery.py::test_recover_says_why_it_can_not_help_and_what_does",
        "row `ledger.other_name`": "wiring/test_guard_recovery.py::test_recover_says_why_it_can_not_help_and_what_does",
        "row `keys.missing`, `keys.malformed`": f"{HERE}::test_the_key_folder_is_backed_up_and_put_back",
        "row `ledger.damaged`": _RECOVER,
        "row `ledger.schema`, `ledger.rows`": "ledger/sqlite/test_ledger_planted_objects.py::test_recover_mends_the_schema_where_the_tables_are_whole",
        "row `ledger.oversized`, `ledger.endless`": "ledger/sqlite/test_ledger_planted_objects.py::test_a_query_that_leads_in_circles_is_ended",
        "row `ledger.older_format`, `ledger.newer_format`": f"{_ROW}test_a_ledger_of_another_format_is_left_alone",
        "row the ledger is sealed, but every line is intact": "ledger/maintenance/test_ledger_recover.py::test_a_sealed_log_with_an_intact_chain_goes_on",
        "row the signed head is missing or malformed, or somebody without the keys wrote it": f"{_ROW}test_a_head_that_no_writer_wrote_is_named_and_made_anew",
        "row records that the head does not cover, because somebody without the keys added them": f"{_ROW}test_records_that_were_added_without_the_keys_are_named",
        "row the head covers records that are gone": f"{_ROW}test_records_that_the_head_covers_and_that_are_gone_are_counted",
        "row the stored tree, or a table of open calls or keys, does not match the lines": f"{_ROW}test_a_table_that_is_not_what_the_lines_say_is_made_anew",
        "row foreign tables, indexes, triggers or views; changed or missing indexes or triggers of the log": "ledger/sqlite/test_ledger_planted_objects.py::test_recover_mends_the_schema_where_the_tables_are_whole",
        "row rows before line 0": "ledger/sqlite/test_ledger_planted_objects.py::test_recover_takes_rows_from_before_line_0_out_of_the_log",
        "row open calls of processes that may or may not be alive": "ledger/maintenance/test_ledger_recover.py::test_calls_of_which_nobody_can_tell_are_closed_by_a_person",
        "row a line is wrong, a table of the log was replaced, values have types that the schema forbids, or the file is torn or missing": "ledger/maintenance/test_ledger_recover.py::test_a_broken_log_is_set_aside_and_named_by_its_successor",
    },
    "moving.md": dict.fromkeys(("guardrail backup before.db", "mv audit new", "toml [ledger]", "guardrail anchor forget audit/ledger.db", "guardrail anchor forget audit/ledger.access.db", "guardrail doctor", "guardrail verify", "guardrail recover", "guardrail keys"), f"{HERE}::test_a_ledger_is_moved_as_the_page_says") | dict.fromkeys(("mkdir -m 700 audit", "mv audit.db audit.db-* audit.keys audit.access.* audit", "guardrail init"), f"{HERE}::test_a_log_in_the_root_of_a_project_is_moved_into_a_folder_as_the_page_says"),
}  # fmt: skip


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of the tests of a file below tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


@pytest.mark.parametrize("name", PAGES)
def test_every_step_of_a_page_is_run_by_a_test_or_listed_with_the_reason(name: str) -> None:
    """Neither a step that nothing runs nor a test of a step that is no longer there."""
    assert sorted(steps(name)) == sorted(STEPS[name])
    for step, where in STEPS[name].items():
        path, _, test = where.partition("::")
        assert where.startswith(": ") or test in names_in(path), f"{step}: {where}"


def test_a_new_step_is_noticed() -> None:
    """In a block with a language, in one without, in a sentence, in a row."""
    assert commands("guardrail x \\\n   --y  # why\n\n# so\n") == ["guardrail x --y"]
    for name in PAGES:
        assert len(steps(name)) > 3


# -- what runs them
# --------------------------------------------------------------------------------------------------

POLICY = (
    'package guardrail.policy\n\nallow contains "sums" if input.resource.id in {"add",'
    ' "guardrail.sample"}\n'
)
PROGRAM = """
import sys
from guardrail import Guard
guard = Guard.open(sys.argv[1])
guard.declare("add", schema={"type": "object", "properties": {"n": {"type": "integer"}}})
with guard.session(principal="alice", agent="bot"):
    print(guard.call("add", {"n": 1}, lambda n: n + 1))
guard.close()
"""


class Desk:
    """A folder with policies and a program, and a shell in it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        (folder / "policies").mkdir(parents=True)
        (folder / "policies" / "p.rego").write_text(POLICY)
        (folder / "guardrail.toml").write_text("[anchors]\nmemory = false\n")
        (folder / "program.py").write_text(PROGRAM)
        dropped = ("GUARDRAIL_", "LANGSMITH", "LANGCHAIN")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(dropped)}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
            "GUARDRAIL_CONFIG": str(folder / "guardrail.toml"),
        }

    def run(
        self, command: str | list[str], code: int | None = 0, **names: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the page shows it, but for the words in capitals that *names* gives."""
        words = shlex.split(command) if isinstance(command, str) else command
        done = subprocess.run(
            [names.get(word, word) for word in words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def call(self, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Make a governed call in a program of its own."""
        return self.run([sys.executable, "program.py", "guardrail.toml"], code)

    def settings(self, text: str) -> None:
        """Add *text* to the settings."""
        with (self.folder / "guardrail.toml").open("a") as file:
            file.write(text)

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a server, and end it."""
        with (self.folder / "server.log").open("w") as log:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Where ``guardrail`` is a command, as after installing it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "guardrail"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m guardrail.cli "$@"\n')
    if not (ROOT / "guardrail" / "cli" / "__main__.py").exists():
        start = "from guardrail.cli import main; main()"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    script.chmod(0o755)
    opa = os.environ.get("GUARDRAIL_OPA") or shutil.which("opa")
    if opa and os.access(opa, os.X_OK):
        (programs / "opa").symlink_to(Path(opa).resolve())
    return Desk(tmp_path / "project", programs)


def need_opa(desk: Desk) -> None:
    """Leave the test out where there is no opa."""
    if shutil.which("opa", path=desk.environment["PATH"]) is None:
        pytest.skip("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")


def listening(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until the server *process* takes connections."""
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server does not listen")


def shown(name: str, language: str, start: str = "") -> str:
    """Return the first block of a page in *language* that begins with *start*."""
    return next(text for kind, text in blocks(name) if kind == language and text.startswith(start))


# -- docs/opa-server.md
# ------------------------------------------------------------------------------------------------


def test_a_guard_is_set_up_on_a_server_as_the_page_says(desk: Desk) -> None:
    """Key, bundle, server, settings, a call, doctor, and why. Only the port is another."""
    need_opa(desk)
    port = str(free_port())
    first, second = (text for kind, text in blocks("opa-server.md") if kind == "sh")
    for command in commands(first):
        desk.run(command)
    (server,) = commands(second)
    desk.settings(shown("opa-server.md", "toml", "[policy]\npath").replace("8181", port))
    with desk.running(server.replace("8181", port)) as process:
        listening(int(port), process)
        assert desk.call().stdout == "2\n"
        told = desk.run("guardrail doctor", None).stdout
        assert re.search(r"^ok +opa ", told, re.MULTILINE), told
        assert "opa" in desk.run("guardrail why last").stdout


def test_a_guard_starts_a_private_opa_as_the_page_says(desk: Desk) -> None:
    need_opa(desk)
    desk.settings(shown("opa-server.md", "toml", "[policy]\nengine"))
    assert desk.call().stdout == "2\n"
    told = desk.run("guardrail doctor", None).stdout
    assert re.search(r"^ok +opa +a private OPA 1\.", told, re.MULTILINE), told


def test_a_bundle_key_that_others_can_read_is_taken_after_the_command_of_the_page(
    desk: Desk,
) -> None:
    """It is refused before, whatever made it."""
    need_opa(desk)
    make, _, bundle = commands(shown("opa-server.md", "sh"))
    desk.run(make)
    (desk.folder / "bundle-key.pem").chmod(0o644)
    refused = desk.run(bundle, None)
    assert refused.returncode != 0
    assert "chmod 600" in refused.stderr
    assert not (desk.folder / "bundle.tar.gz").exists()
    (command,) = [step for step in steps("opa-server.md") if step.startswith("chmod")]
    desk.run(command)
    desk.run(bundle)
    assert (desk.folder / "bundle.tar.gz").exists()


# -- docs/anchors.md
# --------------------------------------------------------------------------------------------------


def test_a_witness_and_an_anchor_are_set_up_as_the_page_says(desk: Desk, tmp_path: Path) -> None:
    """On a host of its own, with TLS; then anchors of both kinds, and verify with what each of them
    holds.
    """
    port = str(free_port())
    desk.call()
    second = Desk(tmp_path / "second", Path(desk.environment["PATH"].split(os.pathsep)[0]))
    init, add, serve = commands(shown("anchors.md", "", "guardrail witness init"))
    key = desk.run("guardrail keys").stdout.splitlines()[1]
    witness_key = second.run(init).stdout.strip()
    assert witness_key.startswith("witness.example.com/1+")
    second.run(add, **{"NAME+HASH+KEY": key})
    second.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout"
        " key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    (second.folder / "key.pem").chmod(0o600)
    url = f"https://localhost:{port}"
    section = shown("anchors.md", "toml", "[anchors]").partition("\n")[2]
    section = re.sub(r'file = ".*"', f'file = "{tmp_path / "heads" / "heads.jsonl"}"', section)
    section = re.sub(r'witness = \[".*"\]', f'witness = ["{url} {witness_key}"]', section)
    (tmp_path / "heads").mkdir()
    desk.settings(f'{section}witness_ca = "{second.folder / "cert.pem"}"\n')
    with second.running(serve.replace("8190", port)) as process:
        listening(int(port), process)
        answered = desk.run("guardrail anchor").stdout
        assert "witness.example.com/1" in answered
        assert re.search(r"^kept +file", answered, re.MULTILINE)
        asked = desk.run("guardrail verify --witness URL", 5, URL=f"{url} {witness_key}").stdout
        assert re.search(r"ANCHORED up to record \d+, KEY NOT PINNED", asked)
        assert "by witness:witness.example.com/1" in asked
        assert re.search(r"^ok +anchors? ", desk.run("guardrail doctor", None).stdout, re.MULTILINE)
    (line,) = (tmp_path / "heads" / "heads.jsonl").read_text().splitlines()
    kept = shown("anchors.md", "", "{").strip()
    assert list(json.loads(line)) == re.findall(r'"(\w+)":', kept)
    (desk.folder / "head.txt").write_text(desk.run("guardrail checkpoint").stdout)
    checked = desk.run("guardrail verify --checkpoint FILE", 5, FILE="head.txt").stdout
    assert re.search(r"ANCHORED up to record \d+, KEY NOT PINNED", checked)
    (desk.folder / "guardrail.toml").write_text("[anchors]\nmemory = false\n")
    assert "NOT ANCHORED" in desk.run("guardrail verify", 5).stdout


def test_an_anchor_file_is_moved_as_the_page_says(desk: Desk, tmp_path: Path) -> None:
    """To another folder; then the file is lost for good."""
    desk.call()
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    desk.settings(f'file = "{old / "heads.jsonl"}"\n')
    move, send = commands(shown("anchors.md", "", "guardrail anchor move"))
    desk.run(send)
    settings = desk.folder / "guardrail.toml"
    settings.write_text(settings.read_text().replace(str(old), str(new)))
    desk.run(send, 1)
    desk.run(move, OLD_FILE=str(old / "heads.jsonl"))
    desk.run(send)
    desk.run("guardrail verify --checkpoint OLD_FILE", 5, OLD_FILE=str(old / "heads.jsonl"))
    (new / "heads.jsonl").unlink()
    desk.run(send, 1)
    desk.run("guardrail anchor move --lost --reason TEXT", TEXT="gone")
    desk.run(send)


# -- docs/keys.md
# --------------------------------------------------------------------------------------------------


def test_a_log_key_is_held_by_a_signer_as_the_page_says(desk: Desk, tmp_path: Path) -> None:
    """A program of OpenSSL's with a key that guardrail never sees; the public half goes into the
    settings as hex.
    """
    away = tmp_path / "away"
    away.mkdir()
    desk.run(f"openssl genpkey -algorithm ed25519 -out {away / 'log.pem'}")
    der = subprocess.run(
        ["openssl", "pkey", "-in", str(away / "log.pem"), "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    signer = away / "sign-guardrail-head"
    signer.write_text(
        f"#!/bin/sh\ncat > {away}/message.$$\nopenssl pkeyutl -sign -inkey {away}/log.pem -rawin"
        f" -in {away}/message.$$\nrm {away}/message.$$\n"
    )
    signer.chmod(0o755)
    text = shown("keys.md", "toml", "[keys]")
    text = text.replace("/usr/local/bin/sign-guardrail-head", str(signer))
    desk.settings(re.sub(r'signer_public = ".*"', f'signer_public = "{der[-32:].hex()}"', text))
    assert desk.call().stdout == "2\n"
    assert desk.run("guardrail keys").stdout.splitlines()[0] == der[-32:].hex()
    assert not (desk.folder / "audit" / "ledger.keys" / "log.key").exists()
    desk.run("guardrail verify --key KEY", 5, KEY=der[-32:].hex())
    signer.write_text("#!/bin/sh\nexit 1\n")
    assert "signer" in desk.call(1).stderr


def test_the_key_folder_is_backed_up_and_put_back(desk: Desk, tmp_path: Path) -> None:
    """``init`` makes it; a program that finds it gone says so, and goes on once it is back."""
    desk.run("guardrail init made")
    made = desk.folder / "made" / "audit" / "ledger.keys"
    table = re.findall(r"^\| `([\w.]+)` \|", page("keys.md"), re.MULTILINE)
    assert sorted(path.name for path in made.iterdir()) == sorted(table)
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o600}
    desk.call()
    keys = desk.folder / "audit" / "ledger.keys"
    shutil.copytree(keys, tmp_path / "kept")
    for lost in ("log.key", "tokens.key", ""):
        shutil.rmtree(keys) if not lost else (keys / lost).unlink()
        assert ("[keys.missing]" if lost else "[ledger.half]") in desk.call(1).stderr
        shutil.rmtree(keys, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", keys)
        assert desk.call().stdout == "2\n"
    (keys / "log.key").write_text("torn")
    assert "[keys.malformed]" in desk.call(1).stderr
    shutil.copy(tmp_path / "kept" / "log.key", keys / "log.key")
    assert desk.call().stdout == "2\n"


def test_a_log_that_took_the_name_of_a_lost_one_gets_another(desk: Desk, tmp_path: Path) -> None:
    """A witness refuses it, and no command says that its key should be added; under a name of its
    own it is anchored.
    """
    toml = desk.folder / "guardrail.toml"
    named = '[ledger]\nlog = "host1/orders"\n'
    toml.write_text(named + toml.read_text())
    desk.call()
    away = tmp_path / "away"
    away.mkdir()
    database, key = f"--db {away / 'w.db'}", f"--key {away / 'w.keys'}"
    pinned = desk.run(f"guardrail witness init {database} {key} --name w.example/1").stdout.strip()

    def add(code: int = 0) -> None:
        log = desk.run("guardrail keys").stdout.splitlines()[1]
        desk.run(f"guardrail witness add --log KEY {database}", code, KEY=log)

    add()
    port = free_port()
    desk.settings(f'witness = ["http://127.0.0.1:{port} {pinned}"]\n')
    with desk.running(f"guardrail witness serve {database} {key} --listen 127.0.0.1:{port}") as run:
        listening(port, run)
        desk.run("guardrail anchor")
        shutil.rmtree(desk.folder / "audit")
        assert "[denied.anchor]" in desk.call(1).stderr
        for command in ("anchor", "doctor"):
            told = desk.run(f"guardrail {command}", 1)
            words = " ".join((told.stdout + told.stderr).split())
            assert "needs a new name (docs/keys.md, If keys are lost)" in words
            assert "witness add" not in words
        desk.run("guardrail verify", 1)
        add(code=3)
        (desk.folder / "audit").rename(away / "audit")
        toml.write_text(toml.read_text().replace(named, shown("keys.md", "toml", "[ledger]")))
        desk.call()
        add()
        desk.run("guardrail anchor")
        assert "ok       anchors" in desk.run("guardrail doctor", None).stdout


# -- docs/recovery.md
# --------------------------------------------------------------------------------------------------


def test_a_log_goes_on_without_its_keys_and_init_is_not_the_way(desk: Desk) -> None:
    """Whatever is run names ``guardrail recover``; ``init`` changes nothing and leads to it; after
    it, calls run.
    """
    desk.call()
    shutil.rmtree(desk.folder / "audit" / "ledger.keys")
    told = desk.call(1).stderr
    assert "guardrail recover" in told
    assert "guardrail init" not in told
    before = (desk.folder / "audit" / "ledger.db").read_bytes()
    refused = desk.run("guardrail init .", 2)
    assert "guardrail doctor" in refused.stderr
    doctor = desk.run("guardrail doctor", 1)
    assert "guardrail recover" in doctor.stdout
    assert "guardrail init" not in doctor.stdout
    planned = desk.run("guardrail recover --dry-run", 1)
    assert "guardrail init" not in planned.stdout + planned.stderr
    assert (desk.folder / "audit" / "ledger.db").read_bytes() == before
    assert not (desk.folder / "audit" / "ledger.keys").exists()
    desk.run(["guardrail", "recover", "--yes", "--reason", "the keys are gone"], 5)
    assert desk.call().stdout == "2\n"
    (old,) = (desk.folder / "audit").glob("ledger.db-broken-*[0-9Z]")
    assert desk.run("guardrail sessions --ledger OLD", OLD=str(old)).stdout


def test_a_ledger_is_moved_as_the_page_says(desk: Desk) -> None:
    """All of it: the log goes on, with who read it, its segments and the memory of this machine. A
    part alone is refused.
    """
    (desk.folder / "guardrail.toml").write_text('[anchors]\nmemory = "heads"\n')
    desk.call()
    desk.run("guardrail seal")
    desk.run("guardrail sessions")
    keys = desk.run("guardrail keys").stdout
    moves, checks = (commands(text) for language, text in indented("moving.md") if language == "sh")
    (toml,) = (text for language, text in indented("moving.md") if language == "toml")
    for command in moves:
        desk.run(["sh", "-c", command])
    assert not (desk.folder / "audit").exists()
    desk.settings(toml)
    for command in checks:
        desk.run(command, 5 if command == "guardrail verify" else 0)
    assert desk.call().stdout == "2\n"
    assert desk.run("guardrail keys").stdout == keys
    assert len(json.loads(desk.run("guardrail access --json").stdout)) > 1
    assert list((desk.folder / "new" / "ledger.db-segments").iterdir())
    (desk.folder / "part").mkdir()
    (desk.folder / "new" / "ledger.db").rename(desk.folder / "part" / "ledger.db")
    assert "guardrail recover" in desk.call(1).stderr
    (desk.folder / "part" / "ledger.db").rename(desk.folder / "new" / "ledger.db")
    assert desk.call().stdout == "2\n"


def test_a_log_in_the_root_of_a_project_is_moved_into_a_folder_as_the_page_says(desk: Desk) -> None:
    """Nothing begins a second log next to it; the setting goes on with it, and so does the moved log."""
    toml = desk.folder / "guardrail.toml"
    plain, root = toml.read_text(), '[ledger]\npath = "audit.db"\n'
    toml.write_text(plain + root)
    desk.call()
    desk.run("guardrail sessions")
    keys = desk.run("guardrail keys").stdout
    toml.write_text(plain)
    assert "[ledger.earlier]" in desk.call(1).stderr
    toml.rename(desk.folder / "kept.toml")
    assert 'path = "audit.db"' in desk.run("guardrail init .", 3).stderr
    (desk.folder / "kept.toml").rename(toml)
    assert not (desk.folder / "audit").exists()
    toml.write_text(plain + root)
    assert desk.call().stdout == "2\n"
    (moves,) = (commands(text) for language, text in blocks("moving.md") if "audit.db-*" in text)
    for command in moves:
        desk.run(["sh", "-c", command])
    assert [path.name for path in desk.folder.glob("audit*")] == ["audit"]
    toml.write_text(plain + root.replace("audit.db", "audit/audit.db"))
    assert desk.call().stdout == "2\n"
    assert desk.run("guardrail keys").stdout == keys
    assert len(json.loads(desk.run("guardrail access --json").stdout)["accesses"]) > 1
    desk.run("guardrail verify", 5)


def test_a_lost_ledger_is_recovered_with_its_backup_as_the_page_says(desk: Desk) -> None:
    """The copy is a ledger of its own; with it, recover says how far records are proved. It stays
    what it is.
    """
    desk.call()
    desk.run("guardrail backup FILE", FILE="copy.db")
    for command in ("verify", "sessions", "export --jsonl"):
        desk.run(f"guardrail {command} --ledger copy.db", 5 if command == "verify" else 0)
    desk.call()
    older = desk.run("guardrail verify --backup FILE", 5, FILE="copy.db").stdout
    assert "A PREFIX of the log, proven up to record" in older
    for path in (desk.folder / "audit").glob("ledger.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    desk.call(1)
    desk.run(["guardrail", "recover", "--backup", "copy.db", "--yes", "--reason", "disk"], 5)
    assert desk.call().stdout == "2\n"
    first = json.loads(desk.run("guardrail show 0 --json").stdout)["record"]
    assert first["predecessor"]["size"] > 0
    assert desk.run("guardrail verify --ledger copy.db", 5)


@pytest.mark.parametrize("place", ["audit", "audit/ledger.db", "audit/ledger.keys"])
def test_a_link_in_the_place_of_a_file_is_named_and_its_removal_is_enough(
    desk: Desk, tmp_path: Path, place: str
) -> None:
    """Nothing is read or made where it leads."""
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "x"
    (desk.folder / place).parent.mkdir(exist_ok=True)
    (desk.folder / place).symlink_to(target)
    told = desk.call(1).stderr
    assert "[ledger.linked]" in told, told
    (command,) = re.findall(r"remove the link: (rm .*)", told)
    assert not target.exists()
    desk.run(command)
    assert desk.call().stdout == "2\n"

"""``guardrail proxy accept``: a person sees what programs sent, and accepts it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.proxy.accepted_tools import read_accepted
from guardrail.proxy.seen_tools import SeenTools
from guardrail.system import ownership
from guardrail.system.ownership import MissingPermission
from tests.support.command_line import Cli
from tests.support.projects import new_project, record_call

SETTINGS = '[ledger]\npath = "audit.db"\n\n[policy]\npath = "policies"\n'
HOSTILE = "sun\x1b[31m\u202e\nweather  function  accepted" + "x" * 5_000


def schema(**properties: str) -> dict[str, Any]:
    found = {name: {"type": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": found, "required": ["city"]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = new_project(tmp_path / "project", SETTINGS)
    monkeypatch.chdir(folder)
    return folder


def see(project: Path, *tools: RequestedTool) -> None:
    seen = SeenTools(project / "audit.proxy-seen.json")
    for tool in tools:
        seen.note(tool)
    seen.save()


def shown_digest(cli: Cli, *names: str) -> str:
    """Return the digest that the command gives because it can't ask."""
    done = cli("proxy", "accept", *(names or ["--all"]))
    assert done.code == 2
    (digest,) = re.findall(r"add --digest (\w{16})$", done.err, re.MULTILINE)
    return digest


WEATHER = RequestedTool("weather", "function", schema(city="string", days="integer"), "Sun?")
CHANGED = RequestedTool("weather", "function", schema(city="string", all="boolean"))


def test_a_tool_is_shown_and_accepted(project: Path, cli: Cli) -> None:
    """Then it waits no longer. With another schema, it does, with the difference."""
    see(project, WEATHER)
    shown = cli("proxy", "accept")
    assert shown.code == 0
    assert shown.out.startswith("weather  function  new\n  seen 1 time since 20")
    assert all(len(line) <= 80 for line in shown.out.splitlines())
    assert "  city: string, days: integer (optional)\n" in shown.out
    assert "Sun?" not in shown.out
    assert read_accepted(project / "proxy-tools.json") == {}
    assert shown.err.splitlines() == [
        f"next:  guardrail proxy accept NAME, or --all (digest {WEATHER.digest[:16]})"
    ]
    assert f"digest {WEATHER.digest[:16]}\n" in shown.out
    accepted = cli("proxy", "accept", "weather", "--digest", WEATHER.digest[:16])
    assert (accepted.code, "next:" in accepted.err) == (0, False)
    assert list(read_accepted(project / "proxy-tools.json")) == ["weather"]
    assert cli("proxy", "accept").out == ""
    listed = cli("proxy", "accept", "--list").out
    assert listed.startswith(f"weather  function  {WEATHER.digest[:16]}\n")
    see(project, CHANGED)
    changed = cli("proxy", "accept").out
    assert changed.startswith("weather  function  changed\n")
    assert next(line.strip() for line in changed.split("\n") if "days" in line).startswith("-")
    assert '+   "all": {' in changed
    assert cli("proxy", "accept", "--all", "--digest", shown_digest(cli)).code == 0
    assert read_accepted(project / "proxy-tools.json")["weather"].schema == CHANGED.schema


def test_json_has_both_schemas(project: Path, cli: Cli) -> None:
    see(project, WEATHER)
    digest = json.loads(cli("proxy", "accept", "--json").out)["digest"]
    assert digest == WEATHER.digest
    done = cli("proxy", "accept", "--all", "--digest", digest, "--json")
    assert json.loads(done.out)["accepted"] == ["weather"]
    see(project, CHANGED)
    (found,) = json.loads(cli("proxy", "accept", "--json").out)["tools"]
    assert (found["state"], found["accepted"]) == ("changed", WEATHER.schema)
    assert (found["schema"], found["count"]) == (CHANGED.schema, 1)
    (listed,) = json.loads(cli("proxy", "accept", "--list", "--json").out)["tools"]
    assert listed["digest"] == WEATHER.digest


def test_a_schema_that_guardrail_rejects_is_shown_with_the_reason(project: Path, cli: Cli) -> None:
    """Before and after it is accepted: the tool would stay undeclared."""
    bad = {"type": "object", "properties": {"city": {"pattern": r"(a)\1"}}}
    see(project, RequestedTool("weather", "function", bad))
    reason = "the pattern at /properties/city needs backtracking (back-reference)"
    line = f"  stays undeclared, because guardrail rejects the schema: {reason}\n"
    assert line in cli("proxy", "accept").out
    (found,) = json.loads(cli("proxy", "accept", "--json").out)["tools"]
    assert found["rejected"] == reason
    assert cli("proxy", "accept", "weather", "--digest", shown_digest(cli, "weather")).code == 0
    assert line in cli("proxy", "accept", "--list").out
    (found,) = json.loads(cli("proxy", "accept", "--list", "--json").out)["tools"]
    assert found["rejected"] == reason


def test_text_from_requests_can_not_forge_what_a_person_sees(project: Path, cli: Cli) -> None:
    """Nor fill the screen. Names that look alike are marked."""
    odd = schema(**{HOSTILE: "string", "city": HOSTILE})
    see(
        project,
        RequestedTool("pay", "function", odd, HOSTILE),
        RequestedTool("p\u0430y", "function", schema(city="string")),
    )
    shown = cli("proxy", "accept")
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    assert all(len(line) < 200 for line in shown.out.split("\n"))
    assert not any(line.startswith("weather") for line in shown.out.split("\n"))
    assert shown.out.count("looks like another tool") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("weather", "--all"),
        ("weather",),
        ("weather", "--json"),
        ("weather", "--digest", ""),
        ("weather", "--digest", "0" * 16),
        ("weather", "--digest", WEATHER.digest[:15]),
        ("weather", "--digest", WEATHER.digest + "0"),
        ("--digest", WEATHER.digest),
    ],
    ids=[
        "unknown",
        "both",
        "nobody to ask",
        "json",
        "empty",
        "another",
        "short",
        "long",
        "no tool",
    ],
)
def test_what_can_not_be_accepted_is_a_usage_error(
    project: Path, cli: Cli, arguments: tuple[str, ...]
) -> None:
    see(project, WEATHER)
    assert cli("proxy", "accept", *arguments).code == 2
    assert read_accepted(project / "proxy-tools.json") == {}


def test_an_unknown_tool_is_refused_with_the_command_that_lists_those_that_wait(
    project: Path, cli: Cli
) -> None:
    see(project, WEATHER)
    done = cli("proxy", "accept", "wether")
    assert "no tool wether is waiting to be accepted" in done.err
    assert "did you mean weather? " in done.err
    assert "without names, guardrail proxy accept lists the tools that are waiting" in done.err


def test_a_folder_in_which_no_proxy_has_run_is_not_said_to_have_accepted_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """Without a project, the error is that of every other command."""
    monkeypatch.chdir(tmp_path)
    shown = cli("show", "last")
    for arguments in ([], ["--all"], ["weather"]):
        done = cli("proxy", "accept", *arguments)
        assert (done.code, done.err) == (3, shown.err)
    new_project(tmp_path / "new", SETTINGS)
    monkeypatch.chdir(tmp_path / "new")
    record_call(tmp_path / "new")
    for arguments in ([], ["--all"]):
        done = cli("proxy", "accept", *arguments)
        assert (done.code, done.err.splitlines()) == (
            0,
            [
                "no program has sent a tool through the proxy yet",
                "next:  guardrail run -- COMMAND",
            ],
        )


def test_an_accepted_tool_is_not_accepted_again(project: Path, cli: Cli) -> None:
    see(project, WEATHER)
    cli("proxy", "accept", "weather", "--digest", WEATHER.digest)
    assert "every tool that requests contained is accepted" in cli("proxy", "accept").err
    done = cli("proxy", "accept", "weather")
    assert (done.code, "weather is already accepted" in done.err) == (2, True)
    assert "guardrail proxy accept --list" in done.err


def test_a_malformed_file_of_accepted_tools_is_not_replaced(project: Path, cli: Cli) -> None:
    see(project, WEATHER)
    (project / "proxy-tools.json").write_text("{")
    done = cli("proxy", "accept", "--all", "--digest", WEATHER.digest)
    assert (done.code, "the file of accepted tools" in done.err) == (3, True)
    assert (project / "proxy-tools.json").read_text() == "{"


def test_a_tool_that_changes_after_it_was_shown_is_not_accepted(project: Path, cli: Cli) -> None:
    """Alone or together with others, and neither is one that comes later."""
    see(project, WEATHER)
    digest = shown_digest(cli, "weather")
    see(project, CHANGED)
    changed = cli("proxy", "accept", "weather", "--digest", digest)
    assert (changed.code, "a program has sent new schemas" in changed.err) == (2, True)
    digest = shown_digest(cli)
    see(project, RequestedTool("later", "function", schema(city="string")))
    assert cli("proxy", "accept", "--all", "--digest", digest).code == 2
    assert read_accepted(project / "proxy-tools.json") == {}
    assert cli("proxy", "accept", "weather", "--digest", digest).code == 0
    assert cli("proxy", "accept", "--all", "--digest", shown_digest(cli)).code == 0
    assert list(read_accepted(project / "proxy-tools.json")) == ["later", "weather"]


def test_everything_in_a_schema_is_shown_or_counted(project: Path, cli: Cli) -> None:
    """What is cut, is cut visibly."""
    found = {
        **schema(city="string"),
        "required": ["city", "secret"],
        "patternProperties": {".*": {"enum": [1]}},
        "additionalProperties": {"properties": {"enum": {"type": "string"}}, "pattern": "x"},
        "$defs": {"if": {"minLength": 1}},
        "if": {"minLength": 2},
        "then": {"x\x1b[31m": 1},
        "allOf": [{"not": {}}],
    }
    see(
        project,
        RequestedTool("one", "function", found),
        RequestedTool("two", "custom", schema(city="string"), grammar={"definition": "x" * 200}),
        RequestedTool("three", "function", {"type": "object", "properties": {"y" * 900: True}}),
    )
    shown = cli("proxy", "accept").out
    assert "city: string, secret: not described\n" in shown
    (line,) = re.findall("  also in the schema: (.*)\n", shown)
    assert line == (
        '"x\\u001b[31m", $defs, additionalProperties, allOf, enum, if, minLength (2),'
        " nested arguments, not, pattern, patternProperties, then"
    )
    assert re.search(r'grammar: \{"definition": "x+… \(cut: 2\d\d characters\)\n', shown)
    assert re.search(r"  y+… \(cut: 916 characters\)\n", shown)


def test_text_from_requests_is_quoted_unless_it_is_a_plain_word(project: Path, cli: Cli) -> None:
    """Otherwise, one name could look like two arguments, and a keyword like guardrail's words."""
    spoof = {
        "city: string (optional), country": {"type": "string (optional), amount: integer"},
        "size": {"type": ["string", "null"]},
    }
    found = {
        "properties": spoof,
        "required": ["city: string (optional), country", "a, b"],
        "nested arguments": 1,
    }
    see(project, RequestedTool("pay  function  accepted", "function", found))
    shown = cli("proxy", "accept").out.splitlines()
    assert shown[0] == '"pay  function  accepted"  function  new'
    assert '  also in the schema: "nested arguments"' in shown
    assert shown[2] == (
        '  "city: string (optional), country": "string (optional), amount: integer", size: '
        '["string", "null"] (optional), "a, b": not described'
    )


@pytest.mark.parametrize(
    ("inner", "counted"),
    [
        ({"type": "object", "required": ["x"]}, "required"),
        ({"description": {"properties": {"x": {}}}}, "description, nested arguments"),
        ({"title": {"anyOf": []}}, "anyOf, title"),
        ({"type": {"x": 1}}, "type"),
        ({"type": ["string"], "title": "t", "description": "d", "required": []}, ""),
    ],
)
def test_a_keyword_in_an_unusual_place_is_counted(
    project: Path, cli: Cli, inner: Any, counted: str
) -> None:
    see(project, RequestedTool("one", "function", {"properties": {"a": inner}}))
    found = re.findall("  also in the schema: (.*)\n", cli("proxy", "accept").out)
    assert found == ([counted] if counted else [])


def test_a_file_that_another_user_wrote_is_not_taken_for_an_empty_one(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(project, WEATHER)
    sent = project / "audit.proxy-seen.json"
    assert sent.stat().st_mode & 0o777 == 0o600
    missing = MissingPermission("the file belongs to another user", "sudo")
    monkeypatch.setattr(
        ownership, "find_denial", lambda paths, **_: missing if paths == [sent] else None
    )
    done = cli("proxy", "accept")
    assert (done.code, "belongs to another user" in done.err) == (3, True)

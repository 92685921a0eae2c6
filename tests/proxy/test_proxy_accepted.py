"""Tools in requests are declared once a person has accepted them, as they were accepted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from guardrail.config import ProxySettings
from guardrail.errors import ConfigError, LedgerError, SchemaWarning
from guardrail.model_apis.api import Api
from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.model_apis.requests import ToolRequest
from guardrail.proxy.accepted_tools import (
    AcceptedTools,
    accepted_as,
    read_accepted,
    write_accepted,
)
from guardrail.proxy.app import Proxy
from guardrail.proxy.notices import Notices
from guardrail.proxy.seen_tools import SeenTools, read_seen
from guardrail.system.os_user import user_name
from guardrail.tools import tool as tool_module
from tests.proxy.test_proxy_tools import SCHEMA, ask, tool
from tests.support.adapters import Bench
from tests.support.full_disk import fill, small_disk
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.proxies import proxied, serving

OTHER = {"type": "object", "properties": {"city": {"type": "string"}, "all": {"type": "boolean"}}}


def requested(*tools: Any, api: Api = Api.CHAT) -> list[RequestedTool]:
    return list(ToolRequest(api, {"tools": list(tools)}).tools.values())


def accept(path: Path, *tools: RequestedTool) -> None:
    write_accepted(path, [*read_accepted(path).values(), *tools])


CALLING = Turn(calls=[Call("weather", {"city": "Bern"})])


def test_a_tool_is_declared_with_the_accepted_schema_alone(bench: Bench, tmp_path: Path) -> None:
    """A running proxy reads the file again. A tool with another schema is undeclared again."""
    path = tmp_path / "proxy-tools.json"
    with (
        ModelServer([CALLING], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, tools=path) as proxy,
    ):
        ask(proxy, "chat", tools=[tool("chat", "weather")])
        accept(path, *requested(tool("chat", "weather")))
        ask(proxy, "chat", tools=[tool("chat", "weather")])
        ask(proxy, "chat", tools=[tool("chat", "weather", OTHER)])
        ask(proxy, "chat")
        ask(proxy, "messages", tools=[tool("messages", "weather")])
        path.unlink()
        ask(proxy, "chat", tools=[tool("chat", "weather")])
    declared = [each["tool"]["declared"] for each in bench.decisions]
    assert declared == [False, True, False, False, True, False]


def test_the_arguments_of_an_accepted_tool_must_fit_its_schema(
    bench: Bench, tmp_path: Path
) -> None:
    """As those of a tool that the program declares. The text of a custom tool is its input."""
    path = tmp_path / "proxy-tools.json"
    custom = {"type": "custom", "custom": {"name": "sql"}}
    tools = [tool("chat", "weather"), custom]
    accept(path, *requested(*tools))
    calls = [Call("weather", {"city": 5}), Call("sql", "select 1", kind="custom")]
    with (
        ModelServer([Turn(calls=calls)]) as upstream,
        proxied(bench.guard, upstream.openai, tools=path) as proxy,
    ):
        ask(proxy, "chat", tools=tools)
    found = [(each["tool"]["declared"], each["decision"]["cause"]) for each in bench.decisions]
    assert found == [(True, "arguments"), (True, "policy")]


def test_a_tool_that_the_program_declares_needs_no_acceptance(bench: Bench, tmp_path: Path) -> None:
    """Its own schema counts."""
    bench.guard.declare("weather", schema=SCHEMA)
    with (
        ModelServer([CALLING]) as upstream,
        proxied(bench.guard, upstream.openai, tools=tmp_path / "none.json") as proxy,
    ):
        ask(proxy, "chat", tools=[tool("chat", "weather", OTHER)])
    assert [each["tool"]["declared"] for each in bench.decisions] == [True]


def entry(**changes: Any) -> dict[str, Any]:
    (found,) = requested(tool("chat", "weather"))
    made = {"name": "weather", "server": None, "form": "function", "schema": SCHEMA}
    return {**made, "digest": found.digest, **changes}


def document(*tools: Any, **changes: Any) -> bytes:
    return json.dumps({"format": "guardrail/proxy-tools/1", "tools": tools, **changes}).encode()


BAD = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b"{}",
    document(format="guardrail/proxy-tools/2"),
    document(tools=None),
    document(1),
    document({}),
    document(entry(), entry()),
    document(entry(digest="0" * 64)),
    document(entry(schema=OTHER)),
    document(entry(schema="x")),
    document(entry(form=1)),
    document(entry(name="a\u202eb")),
    document(entry(grammar={"type": "text"})),
    b'{"format": "guardrail/proxy-tools/1", "tools": [], "tools": []}',
]


@pytest.mark.parametrize("content", BAD, ids=lambda each: repr(each[:70]))
def test_a_file_of_accepted_tools_that_is_malformed_is_refused(
    bench: Bench, tmp_path: Path, content: bytes
) -> None:
    """A proxy does not start with it. While a running one finds it, no tool is accepted."""
    path = tmp_path / "proxy-tools.json"
    (weather,) = requested(tool("chat", "weather"))
    accept(path, weather)
    accepted = AcceptedTools(path)
    assert accepted_as(accepted.tools, weather) is not None
    path.write_bytes(content)
    assert accepted.refresh()
    assert accepted_as(accepted.tools, weather) is None
    with (
        pytest.raises(ConfigError) as raised,
        proxied(bench.guard, "http://127.0.0.1:9/v1", tools=path),
    ):
        pass
    assert raised.value.code == "config.proxy_tools"


def test_a_change_while_the_file_is_first_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a tool that was accepted in that moment stays undeclared until the next change."""
    path = tmp_path / "proxy-tools.json"
    (weather,) = requested(tool("chat", "weather"))

    def read(given: Path) -> dict[str, RequestedTool]:
        found = read_accepted(given)
        write_accepted(path, [weather])
        return found

    with monkeypatch.context() as patched:
        patched.setattr("guardrail.proxy.accepted_tools.read_accepted", read)
        accepted = AcceptedTools(path)
    assert accepted_as(accepted.tools, weather) is None
    assert accepted.refresh()
    assert accepted_as(accepted.tools, weather) is not None


def test_a_file_that_can_not_be_read_or_written_is_an_error(tmp_path: Path) -> None:
    """Such as a folder."""
    with pytest.raises(ConfigError):
        read_accepted(tmp_path)
    with pytest.raises(ConfigError):
        write_accepted(tmp_path / "none" / "tools.json", [])


def test_tools_that_are_not_accepted_are_noted(bench: Bench, tmp_path: Path) -> None:
    """With the number of requests; another schema takes the place of the first."""
    path, seen_file = tmp_path / "proxy-tools.json", tmp_path / "audit.proxy-seen.json"
    accept(path, *requested(tool("chat", "known")))
    with ModelServer([Turn("Sun.")], repeat=True) as upstream:
        for _ in range(2):  # a proxy that starts again goes on with the file
            settings = ProxySettings(tools=path)
            app = Proxy(bench.guard, upstream.openai, settings, seen=SeenTools(seen_file))
            with serving(app) as proxy:
                ask(proxy, "chat", tools=[tool("chat", "known"), tool("chat", "weather")])
        first = read_seen(seen_file)
    assert [(each.tool.name, each.count) for each in first] == [("weather", 2)]
    seen = SeenTools(seen_file)
    seen.note(requested(tool("chat", "weather", OTHER))[0])
    seen.save()
    (changed,) = read_seen(seen_file)
    assert (changed.tool.schema, changed.count) == (OTHER, 1)


def test_the_file_of_seen_tools_is_bounded(tmp_path: Path) -> None:
    """Programs send what they like."""
    path = tmp_path / "audit.proxy-seen.json"
    seen = SeenTools(path)
    for number in range(600):
        seen.note(RequestedTool(f"t{number}", "function", SCHEMA, "d" * 2**20))
    seen.note(RequestedTool("huge", "function", {"x": "y" * 2**20}))
    seen.note(RequestedTool("bash", "bash_20250124", None))
    assert seen.due
    assert not seen.due
    seen.save()
    seen.save()
    found = read_seen(path)
    assert [each.tool.name for each in found] == [f"t{number}" for number in range(100, 600)]
    assert path.stat().st_size < 2**20


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"tools": 5}', json.dumps({"tools": [1, {}, entry(), entry(count=1)]}).encode()],
)
def test_a_damaged_file_of_seen_tools_is_empty(tmp_path: Path, content: bytes) -> None:
    """Nothing depends on it."""
    path = tmp_path / "audit.proxy-seen.json"
    path.write_bytes(content)
    assert read_seen(path) == []
    SeenTools(tmp_path / "none" / "x.json").save()
    blocked = SeenTools(tmp_path / "none" / "x.json")
    blocked.note(requested(tool("chat", "weather"))[0])
    blocked.save()


def test_a_full_disk_leaves_the_accepted_tools_and_says_so(tmp_path: Path) -> None:
    """The file is fine, so nobody should mend or remove it."""
    (weather,) = requested(tool("chat", "weather"))
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = disk / "proxy-tools.json"
        write_accepted(path, [weather])
        fill(disk / "filler")
        with pytest.raises(ConfigError, match="the disk is full") as raised:
            write_accepted(path, [weather, replace(weather, name="other")])
        assert raised.value.hint == f"make room on that disk: df -h {disk}"
        assert list(read_accepted(path)) == ["weather"]


def changes(bench: Bench) -> list[dict[str, Any]]:
    found = [each for each in bench.ledger.records if each["type"] == "admin.tools_accepted"]
    assert all(each["actor"]["id"] and each["ts"] for each in found)
    return [each["detail"] for each in found]


def test_a_change_of_the_accepted_tools_is_recorded_before_it_applies(
    bench: Bench, tmp_path: Path
) -> None:
    """With the digest of the file, its owner, and the names that changed."""
    path = tmp_path / "proxy-tools.json"
    weather, other = requested(tool("chat", "weather"), tool("chat", "other"))
    tools = [tool("chat", "weather")]
    write_accepted(path, [])
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()]
    with (
        ModelServer([CALLING], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, tools=path) as proxy,
    ):
        ask(proxy, "chat", tools=tools)
        assert changes(bench) == []
        for accepted in ([weather], [weather, other], [replace(other, schema=OTHER)]):
            write_accepted(path, accepted)
            digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
            ask(proxy, "chat", tools=tools)
            path.touch()  # no change
            ask(proxy, "chat", tools=tools)
    found = changes(bench)
    assert [each["digest"] for each in found] == digests[1:]
    assert [each["previous"] for each in found] == digests[:-1]
    assert [(each["added"], each["removed"], each["changed"]) for each in found] == [
        (["weather"], [], []),
        (["other"], [], []),
        ([], ["weather"], ["other"]),
    ]
    assert {each["file"]["owner"] for each in found} == {user_name()}
    types = [each["type"] for each in bench.ledger.records]
    first = types.index("admin.tools_accepted")
    declared = [each["tool"]["declared"] for each in bench.decisions]
    assert types[:first].count("call.decision") == declared.index(True)


def test_a_file_that_becomes_malformed_is_reported_and_no_call_is_decided_without_it(
    bench: Bench, tmp_path: Path
) -> None:
    """Requests without tools are served. Once the file is sound again, so are the others."""
    path, lines = tmp_path / "proxy-tools.json", list[str]()
    accept(path, *requested(tool("chat", "weather")))
    sound, tools = path.read_bytes(), [tool("chat", "weather")]
    with (
        ModelServer([CALLING], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, tools=path, notify=lines.append) as proxy,
    ):
        path.write_bytes(b"<<<<<<< HEAD\n" + sound)
        for _ in range(2):
            with pytest.raises(openai.InternalServerError) as raised:
                ask(proxy, "chat", tools=tools)
            assert raised.value.status_code == 503
            assert raised.value.response.headers["x-should-retry"] == "false"
            assert "can't use its file of accepted tools" in raised.value.message
        assert upstream.bodies == []
        ask(proxy, "chat")
        path.write_bytes(sound)
        ask(proxy, "chat", tools=tools)
    (line,) = lines
    assert f"the file of accepted tools, {path}, can't be used" in line
    assert [each["tool"]["declared"] for each in bench.decisions] == [False, True]


def test_an_accepted_tool_whose_schema_is_rejected_stays_undeclared(
    bench: Bench, tmp_path: Path
) -> None:
    """The operator is told why, and the record has the reason. Accepting it again is no help."""
    path, lines = tmp_path / "proxy-tools.json", list[str]()
    bad = {"type": "object", "properties": {"city": {"pattern": "^(?!x)"}}}
    accept(path, *requested(tool("chat", "weather", bad)))
    with (
        ModelServer([CALLING]) as upstream,
        serving(
            Proxy(
                bench.guard,
                upstream.openai,
                ProxySettings(tools=path),
                notices=Notices(lines.append),
            )
        ) as proxy,
        pytest.warns(SchemaWarning, match="the pattern at /properties/city needs backtracking"),
    ):
        ask(proxy, "chat", tools=[tool("chat", "weather", bad)])
    (decision,) = bench.decisions
    assert (decision["tool"]["declared"], decision["tool"]["refused"]) == (False, "schema.pattern")
    (line,) = lines
    assert line == (
        "1 tool in a request stays undeclared, because guardrail rejects the schema: "
        "weather (schema.pattern); next: guardrail proxy accept --list"
    )


def test_a_change_that_can_not_be_recorded_does_not_apply(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets a 503, and the next request records the change."""
    path = tmp_path / "proxy-tools.json"
    accept(path, *requested(tool("chat", "weather")))

    def fails(*_: object) -> None:
        raise LedgerError("the ledger can't be written")

    with (
        ModelServer([CALLING], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, tools=path) as proxy,
    ):
        with monkeypatch.context() as patched:
            patched.setattr(bench.guard, "record_admin", fails)
            with pytest.raises(openai.InternalServerError) as raised:
                ask(proxy, "chat", tools=[tool("chat", "weather")])
        assert raised.value.status_code == 503
        assert upstream.bodies == []
        ask(proxy, "chat", tools=[tool("chat", "weather")])
    assert len(changes(bench)) == 1
    assert [each["tool"]["declared"] for each in bench.decisions] == [True]


def test_many_schemas_are_compiled_outside_of_the_event_loop(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requests are served meanwhile. The decisions are the same."""
    path = tmp_path / "proxy-tools.json"
    tools = [tool("chat", name) for name in ("weather", *(f"tool{n}" for n in range(20)))]
    accept(path, *requested(*tools))
    threads: list[str] = []

    def declare(*args: Any, **options: Any) -> Any:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            threads.append("loop")
        return tool_module.declare(*args, **options)

    monkeypatch.setattr("guardrail.proxy.tools.declare", declare)
    with (
        ModelServer([CALLING], repeat=True) as upstream,
        proxied(bench.guard, upstream.openai, tools=path) as proxy,
    ):
        ask(proxy, "chat", tools=tools)
    assert threads == []
    assert [each["tool"]["declared"] for each in bench.decisions] == [True]

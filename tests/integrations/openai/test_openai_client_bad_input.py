"""Calls that can't be decided never reach the program, are recorded, and break nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.integrations.openai.client import govern_client
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.openai_clients import (
    RESPONSES,
    WAYS,
    Way,
    asking,
    client_for,
    governed,
    of_response,
)

SOME = [
    way
    for way in WAYS
    if way.name in {"chat", "chat-chunks", "chat-stream", "responses", "responses-events"}
]
ways = pytest.mark.parametrize("way", SOME, ids=lambda way: way.name)


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "arguments that are not one JSON object",
    result="refused",
    note="denied, cause `arguments`",
)
@ways
@pytest.mark.parametrize(
    ("arguments", "detail"),
    [
        ('{"city": ', "not_json"),
        ("Bern", "not_json"),
        ('{"city": "Bern", "city": "Atlantis"}', "duplicate_key"),
        ('{"city": "Bern"} and more', "trailing"),
        ('["Bern"]', "not_object"),
    ],
    ids=["cut", "text", "duplicate", "trailing", "list"],
)
def test_arguments_that_two_programs_could_read_differently_are_denied(
    bench: Bench, way: Way, arguments: str, detail: str
) -> None:
    """The refusal names the tool, and the next call works."""
    turns = [Turn(calls=[Call("weather", arguments)]), asking("Bern")]
    with governed(bench.guard, *turns, way=way) as client:
        seen = way.seen(client)
        assert seen.calls == []
        (refusal,) = seen.refusals
        assert refusal.startswith("weather: ")
        assert len(way.seen(client).calls) == 1
    assert [
        (each["decision"]["effect"], each["decision"]["detail"]) for each in bench.decisions
    ] in ([("deny", detail), ("allow", "")], [("deny", detail), ("allow", None)])


@pytest.mark.parametrize("name", ["chat", "responses"])
def test_arguments_of_a_megabyte_are_denied(bench: Bench, name: str) -> None:
    """The refusal names the tool, and the next call works."""
    way = next(way for way in WAYS if way.name == name)
    large = Call("weather", {"city": "x" * 1_100_000})
    with governed(bench.guard, Turn(calls=[large]), asking("Bern"), way=way) as client:
        seen = way.seen(client)
        assert seen.calls == []
        assert seen.refusals[0].startswith("weather: ")
        assert len(way.seen(client).calls) == 1
    assert bench.decisions[0]["decision"]["detail"] == "size"


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "a call without an id, or with the id of another call",
    result="refused",
    note="`call.rejected`",
)
@ways
def test_calls_without_an_id_or_with_that_of_another_are_rejected(bench: Bench, way: Way) -> None:
    """Their results could not be told apart."""
    calls = [Call("weather", {"city": "Bern"}, name) for name in ("call_1", "call_1", "")]
    with governed(bench.guard, Turn(calls=calls), way=way) as client:
        seen = way.seen(client)
    assert seen.calls == [("call_1", "weather", '{"city": "Bern"}')]
    assert [each["reason"] for each in bench.rejected] == ["repeated_id", "missing_id"]
    assert len(bench.decisions) == 1


@ways
@pytest.mark.parametrize("name", ["", "x" * 300, "two\nlines", "bidi\u202e"])
def test_a_name_that_no_tool_can_have_is_rejected(bench: Bench, way: Way, name: str) -> None:
    """It is not recorded as it is."""
    with governed(bench.guard, Turn(calls=[Call(name, {})]), way=way) as client:
        assert way.seen(client).calls == []
    (rejected,) = bench.rejected
    assert (rejected["reason"], rejected["tool"]["name"]) == ("unknown_tool", "(not a tool name)")


@ways
def test_an_unknown_tool_is_undeclared_for_the_policy(bench: Bench, way: Way) -> None:
    """And a declared one has its schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    bench.guard.declare("weather", schema=schema)
    turn = Turn(
        calls=[Call("weather", {"city": 5}), Call("weather", {"city": "Bern"}), Call("news")]
    )
    with governed(bench.guard, turn, way=way) as client:
        seen = way.seen(client)
    assert [name for _, name, _ in seen.calls] == ["weather", "news"]
    assert [each["tool"]["declared"] for each in bench.decisions] == [True, True, False]
    assert bench.decisions[0]["decision"]["cause"] == "arguments"


@ways
def test_the_policy_decides_on_what_the_program_gets(bench: Bench, way: Way) -> None:
    """Nothing is coerced, and no default is filled in: the program would not see it."""

    @bench.guard.tool
    def weather(city: str, days: int = 3) -> str:
        return f"{city} {days}"

    texts = ['{"city": "Bern"}', '{"city": "Bern", "days": "5"}', '{"city": "Bern", "more": 1}']
    turn = Turn(calls=[Call("weather", text) for text in texts])
    with governed(bench.guard, turn, way=way) as client:
        seen = way.seen(client)
    assert [text for _, _, text in seen.calls] == texts[:1]
    assert [each["decision"]["effect"] for each in bench.decisions] == ["allow", "deny", "deny"]
    assert bench.asked == [{"city": "Bern"}]
    assert bench.decisions[0]["tool"]["declared"] is True


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "calls in a response that was cut off",
    result="refused",
    note="`call.rejected`",
)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_calls_of_an_answer_that_was_cut_off_are_rejected(
    bench: Bench, finish: str, *, streamed: bool
) -> None:
    """Even if they can be read: they may be half of what the model meant."""
    way = next(way for way in WAYS if way.name == ("chat-chunks" if streamed else "chat"))
    turn = Turn(calls=[Call("weather", {"city": "Bern"})], finish=finish)
    with governed(bench.guard, turn, way=way) as client:
        seen = way.seen(client)
    assert (seen.calls, seen.ending) == ([], finish)
    assert [each["reason"] for each in bench.rejected] == ["incomplete"]


def test_calls_of_an_incomplete_response_are_rejected(bench: Bench) -> None:
    """Of one that is not streamed: in a stream, each call says whether it is complete."""
    turn = Turn(calls=[Call("weather", {"city": "Bern"})], finish="incomplete")
    with ModelServer([turn]) as server, client_for(server) as plain:
        seen = of_response(govern_client(plain, bench.guard).responses.create(**RESPONSES))
    assert (seen.calls, seen.ending) == ([], "incomplete")
    assert [each["reason"] for each in bench.rejected] == ["incomplete"]


SHELL = {"action": {"commands": ["ls"]}, "status": "completed"}
PATCH = {"operation": {"type": "create_file", "path": "a.txt", "diff": "+a"}}
CLICK = {"action": {"type": "click", "button": "left", "x": 1, "y": 2}}
ITEMS = [
    ({"type": "shell_call", "id": "sh_1", "call_id": "c1", **SHELL}, "shell"),
    ({"type": "local_shell_call", "id": "ls_1", "call_id": "c1", **SHELL}, "local_shell"),
    ({"type": "apply_patch_call", "call_id": "c1", **PATCH}, "apply_patch"),
    ({"type": "computer_call", "id": "cu_1", "call_id": "c1", **CLICK}, "computer"),
]


@pytest.mark.parametrize(("item", "name"), ITEMS, ids=[name for _, name in ITEMS])
@pytest.mark.parametrize("streamed", [False, True])
def test_calls_of_the_tools_of_the_api_are_decided(
    bench: Bench, item: dict[str, Any], name: str, *, streamed: bool
) -> None:
    """The program runs them, as it runs functions."""
    refused = {**item, "call_id": "c2", "id": "other", "note": "Atlantis"}
    found = output_of(bench, [item, refused], streamed=streamed)
    assert found[0]["type"] == item["type"]
    assert [each["tool"]["name"] for each in bench.decisions] == [name, name]
    assert bench.asked[0] == {key: item[key] for key in ("action", "operation") if key in item}


@pytest.mark.parametrize("streamed", [False, True])
def test_an_approval_of_a_tool_of_an_mcp_server_is_decided(bench: Bench, *, streamed: bool) -> None:
    """The provider runs the tool only if the program approves."""
    item = {"type": "mcp_approval_request", "server_label": "docs", "name": "search"}
    items = [
        {**item, "id": f"mcpr_{city}", "arguments": json.dumps({"q": city})}
        for city in ("Bern", "Atlantis")
    ]
    found = output_of(bench, items, streamed=streamed)
    assert [each["type"] for each in found] == ["mcp_approval_request", "message"]
    assert [each["tool"]["server"] for each in bench.decisions] == ["docs", "docs"]


@pytest.mark.call_path(
    "OpenAI, govern_client",
    "tools that the provider has run (`web_search`, ...)",
    result="not governed",
    note="they ran before the response; recorded as `call.rejected`, reason `provider_tool`",
)
@pytest.mark.call_path(
    "OpenAI, govern_client",
    "call items of an unknown type",
    result="refused",
    note="no such item reaches the program",
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_item_of_a_type_that_guardrail_does_not_know_is_refused(
    bench: Bench, *, streamed: bool
) -> None:
    """If it looks like a call. Calls that the provider has run are recorded."""
    items = [
        {"type": "robot_call", "id": "r1", "call_id": "c1", "move": "left"},
        {"type": "thing", "id": "t1", "call_id": "c2", "arguments": "{}"},
        {"type": "web_search_call", "id": "w1", "status": "completed"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
    ]
    found = output_of(bench, items, streamed=streamed)
    assert [each["type"] for each in found] == [
        "message",
        "message",
        "web_search_call",
        "reasoning",
    ]
    assert sorted(each["reason"] for each in bench.rejected) == [
        "provider_tool",
        "unknown_kind",
        "unknown_kind",
    ]


def output_of(bench: Bench, items: list[dict[str, Any]], *, streamed: bool) -> list[dict[str, Any]]:
    """Return the items that the program gets; a stream and its end say the same."""
    with ModelServer([Turn(items=items)]) as server, client_for(server) as plain:
        client = govern_client(plain, bench.guard)
        if not streamed:
            return [each.to_dict() for each in client.responses.create(**RESPONSES).output]
        events = list(client.responses.create(**RESPONSES, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    done = [event.item.to_dict() for event in events if event.type.endswith("item.done")]
    assert done == [item.to_dict() for item in events[-1].response.output]
    return done

"""What only OpenAI's APIs have: custom and legacy calls, several choices, tools of the provider."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from guardrail import UsageError
from guardrail.integrations.openai import Hosted, ToolBox
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.toolboxes import CHAT, RESPONSES, Api, asking, run_either, weather

BOTH = pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)


@BOTH
def test_a_custom_tool_gets_the_text_that_the_model_wrote(bench: Bench, api: Api, how: str) -> None:
    """Whatever it holds: it is one argument, which the policy sees under its name."""
    box = ToolBox(bench.guard)

    @box.custom
    def shell(command: str) -> str:
        """Run a command."""
        return command.upper()

    calls = [Call("shell", text, kind="custom") for text in ('{"a": 1', "Atlantis")]
    texts = api.texts(run_either(box, api.ask(Turn(calls=calls)), how))
    assert texts == ['{"A": 1', "denied by policy: no_such_place"]
    assert sorted(each["command"] for each in bench.asked) == ["Atlantis", '{"a": 1']


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "a function called as a custom tool, or the reverse",
    result="refused",
    note="`call.rejected`, reason `wrong_kind`",
)
@BOTH
def test_a_call_of_the_other_kind_is_refused(bench: Bench, api: Api, how: str) -> None:
    """Text for a function, arguments for a custom tool."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    box.custom(weather_report)
    calls = [Call("weather", "Bern", kind="custom"), Call("weather_report", {"text": "Bern"})]
    texts = api.texts(run_either(box, api.ask(Turn(calls=calls)), how))
    assert texts == [
        "not run: weather: this is a function tool",
        "not run: weather_report: this is a custom tool",
    ]
    assert [each["reason"] for each in bench.rejected] == ["wrong_kind"] * 2


def weather_report(text: str) -> str:
    """Report."""
    return text


def test_the_tools_have_the_form_of_each_api(bench: Bench) -> None:
    """The provider would refuse another's."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: A"}
    box = ToolBox(bench.guard)
    box.tool(weather)
    box.custom(format=grammar)(weather_report)
    parameters = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "city": {"type": "string", "description": "Where."},
            "days": {"type": "integer", "default": 1},
        },
        "required": ["city"],
    }
    function = {"name": "weather", "description": "Tell the weather.", "parameters": parameters}
    custom = {"name": "weather_report", "description": "Report."}
    assert box.tools() == [
        {"type": "function", **function, "strict": False},
        {"type": "custom", **custom, "format": grammar},
    ]
    inner = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    assert box.tools("chat") == [
        {"type": "function", "function": {**function, "strict": False}},
        {"type": "custom", "custom": {**custom, "format": inner}},
    ]
    assert box.tools("functions") == [function]
    with pytest.raises(UsageError, match="api must be one of responses, chat, functions"):
        box.tools("completions")
    # What a caller does with them changes no tool.
    box.tools()[1]["format"]["syntax"] = "regex"
    box.tools()[0]["parameters"]["properties"].clear()
    assert box.tools()[1]["format"] == grammar
    assert box.tools()[0]["parameters"] == parameters


def test_a_custom_tool_has_one_argument(bench: Bench) -> None:
    """Said at registration."""
    box = ToolBox(bench.guard)
    with pytest.raises(UsageError, match="weather: a custom tool must take exactly one argument"):
        box.custom(weather)
    box.custom(name="reported")(weather_report)
    assert [each["name"] for each in box.tools()] == ["reported"]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_legacy_function_call_works(bench: Bench, how: str, streamed: bool) -> None:
    """It has no id, and a role of its own."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    for city, text in (("Bern", "sun in Bern"), ("Atlantis", "denied by policy: no_such_place")):
        turn = Turn(calls=[Call("weather", {"city": city}, kind="legacy")])
        appended = run_either(box, CHAT.ask(turn, streamed=streamed), how)
        assert appended == [{"role": "function", "name": "weather", "content": text}]
    assert [each["origin"]["call_id"] for each in bench.decisions] == [None, None]


def test_one_of_several_choices_must_be_named(bench: Bench, how: str) -> None:
    """A conversation goes on with one of them; the others' calls are not run."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    completion = CHAT.ask(Turn(choices=[asking("Bern"), Turn("Sun."), asking("Rome")]))
    with pytest.raises(UsageError, match="3 choices") as caught:
        run_either(box, completion, how)
    assert caught.value.code == "usage.choice"
    with pytest.raises(UsageError, match="no choice 3"):
        box.run(completion, choice=3)
    assert bench.recorded == []
    assert CHAT.texts(box.run(completion, choice=2)) == ["sun in Rome"]
    assert box.run(completion, choice=1) == []
    with pytest.raises(UsageError, match="a response has no choices"):
        box.run(RESPONSES.ask(asking("Bern")), choice=0)


HOSTED = [
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "Bern"},
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "name": "transfer",
        "server_label": "bank",
        "arguments": '{"amount": 100}',
        "output": "done",
        "status": "completed",
    },
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": "c",
        "outputs": [],
        "status": "completed",
    },
]


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "tools that the provider has run (`web_search`, `mcp_call`, ...)",
    result="not governed",
    note="they ran before the response; recorded as `call.rejected`, reason `provider_tool`",
)
def test_tools_that_the_provider_ran_are_recorded(bench: Bench, how: str) -> None:
    """Nobody decided them, and the record says so; the program's own calls run."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    turn = Turn("Let me see.", asking("Bern").calls, items=HOSTED)
    assert RESPONSES.texts(run_either(box, RESPONSES.ask(turn), how)) == ["sun in Bern"]
    told = [
        (each["reason"], each["tool"]["name"], each["tool"]["server"], each["origin"]["call_id"])
        for each in bench.rejected
    ]
    assert sorted(told) == [
        ("provider_tool", "code_interpreter", "openai", "ci_1"),
        ("provider_tool", "transfer", "bank", "mcp_1"),
        ("provider_tool", "web_search", "openai", "ws_1"),
    ]
    assert "amount" not in str(bench.rejected)


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    'the calls in a response with such tools, with `hosted="refuse"`',
    result="refused",
    note="`UsageError`",
)
def test_tools_that_the_provider_ran_can_be_refused(bench: Bench, how: str) -> None:
    """They are recorded all the same, and no function of the response runs."""
    box = ToolBox(bench.guard, hosted=Hosted.REFUSE)
    box.tool(weather)
    response = RESPONSES.ask(Turn(calls=asking("Bern").calls, items=HOSTED[:2]))
    with pytest.raises(UsageError, match="mcp_call, web_search_call, which a ToolBox can't govern"):
        run_either(box, response, how)
    assert len(bench.rejected) == 2
    assert bench.decisions == []
    with pytest.raises(UsageError, match="hosted must be one of record, refuse"):
        ToolBox(bench.guard, hosted="allow")


FOREIGN: list[dict[str, Any]] = [
    {
        "type": "computer_call",
        "id": "cu_1",
        "call_id": "call_1",
        "action": {"type": "screenshot"},
        "pending_safety_checks": [],
        "status": "completed",
    },
    {
        "type": "local_shell_call",
        "id": "ls_1",
        "call_id": "call_1",
        "action": {"type": "exec", "command": ["ls"], "env": {}},
        "status": "completed",
    },
    {
        "type": "shell_call",
        "id": "sh_1",
        "call_id": "call_1",
        "action": {"commands": ["ls"]},
        "status": "completed",
    },
    {
        "type": "apply_patch_call",
        "id": "ap_1",
        "call_id": "call_1",
        "operation": {"type": "delete_file", "path": "a"},
        "status": "completed",
    },
    {"type": "teleport_call", "id": "te_1", "call_id": "call_1"},
    {"type": "wish_request", "id": "wi_1"},
    {"type": "novelty", "id": "no_1", "call_id": "call_1"},
]


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "`computer_call`, `shell_call`, `apply_patch_call`, unknown types",
    result="refused",
    note="`call.rejected`, reason `unknown_kind`, and `UsageError`",
)
@pytest.mark.parametrize("item", FOREIGN, ids=lambda item: item["type"])
def test_a_call_that_no_function_can_answer_is_refused(
    bench: Bench, how: str, item: dict[str, Any]
) -> None:
    """Also of a type that is not known yet: it is recorded, the program reads it, nothing runs."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    response = RESPONSES.ask(Turn(calls=asking("Bern").calls, items=[item]))
    with pytest.raises(UsageError, match=f"{item['type']}, which a ToolBox can't govern") as caught:
        run_either(box, response, how)
    assert caught.value.code == "usage.item"
    (rejected,) = bench.recorded
    assert rejected["reason"] == "unknown_kind"
    assert rejected["origin"]["call_id"] == item.get("call_id", item["id"])


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "call items that `unsafe_items` names",
    result="not governed",
    note="the program runs them; recorded as `call.rejected`, reason `left_to_program`",
)
def test_the_program_may_run_such_calls_itself(bench: Bench, how: str) -> None:
    """If it says so; each is still recorded."""
    box = ToolBox(bench.guard, unsafe_items={"computer_call"})
    box.tool(weather)
    response = RESPONSES.ask(Turn(calls=asking("Bern").calls, items=FOREIGN[:1]))
    assert RESPONSES.texts(run_either(box, response, how)) == ["sun in Bern"]
    (rejected,) = bench.rejected
    assert (rejected["reason"], rejected["tool"]["name"]) == ("left_to_program", "computer")


def test_a_shell_of_the_provider_is_told_from_one_of_the_program(bench: Bench, how: str) -> None:
    """Its output is in the response that has the call."""
    output = {
        "type": "shell_call_output",
        "id": "sho_1",
        "call_id": "call_1",
        "output": [],
        "status": "completed",
    }
    search = {
        "type": "tool_search_call",
        "id": "ts_1",
        "call_id": "call_2",
        "arguments": {},
        "execution": "server",
        "status": "completed",
    }
    box = ToolBox(bench.guard)
    turn = Turn(items=[FOREIGN[2], output, search])
    assert run_either(box, RESPONSES.ask(turn), how) == []
    assert [each["reason"] for each in bench.rejected] == ["provider_tool"] * 2


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "`mcp_approval_request`",
    result="refused",
    note="the provider would run it, so the ToolBox refuses",
)
def test_a_tool_of_an_mcp_server_is_not_approved(bench: Bench, how: str) -> None:
    """The provider would run it: the model reads why it may not."""
    item = {
        "type": "mcp_approval_request",
        "id": "mcpr_1",
        "name": "transfer",
        "server_label": "bank",
        "arguments": '{"amount": 100}',
    }
    box = ToolBox(bench.guard)
    (answer,) = run_either(box, RESPONSES.ask(Turn(items=[item])), how)
    assert answer == {
        "type": "mcp_approval_response",
        "approval_request_id": "mcpr_1",
        "approve": False,
        "reason": "not run: transfer: the provider would run it, but only this program's functions"
        " may run",
    }
    (rejected,) = bench.rejected
    assert (rejected["reason"], rejected["tool"]["server"]) == ("provider_tool", "bank")


def test_items_that_are_no_calls_are_left_alone(bench: Bench, how: str) -> None:
    """Reasoning, lists of tools, compacted history."""
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "mcp_list_tools", "id": "ml_1", "server_label": "bank", "tools": []},
        {"type": "compaction", "id": "co_1", "encrypted_content": "x"},
    ]
    box = ToolBox(bench.guard)
    box.tool(weather)
    response = RESPONSES.ask(Turn(calls=asking("Bern").calls, items=items))
    assert RESPONSES.texts(run_either(box, response, how)) == ["sun in Bern"]
    assert bench.rejected == []


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"status": "incomplete"}, "incomplete"),
        ({"status": "in_progress"}, "incomplete"),
        ({"namespace": "elsewhere"}, "unknown_tool"),
    ],
)
def test_an_item_that_is_not_complete_or_of_a_namespace_is_refused(
    bench: Bench, how: str, extra: dict[str, Any], reason: str
) -> None:
    """Two namespaces may have a function of the same name."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    turn = Turn(calls=[Call("weather", {"city": "Bern"}, extra=extra)])
    (text,) = RESPONSES.texts(run_either(box, RESPONSES.ask(turn), how))
    assert text.startswith("not run: ")
    assert [each["reason"] for each in bench.rejected] == [reason]


def test_the_program_of_the_provider_that_made_a_call_gets_its_result(bench: Bench) -> None:
    """The item says who the caller is, and so does its output."""
    caller = {"type": "program", "caller_id": "prog_1"}
    box = ToolBox(bench.guard)
    box.tool(weather)
    turn = Turn(calls=[Call("weather", {"city": "Bern"}, extra={"caller": caller})])
    (item,) = box.run(RESPONSES.ask(turn))
    assert item["caller"] == caller


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress"])
def test_no_call_of_a_response_that_did_not_complete_runs(bench: Bench, status: str) -> None:
    """In the background, or failed half-way."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    response = RESPONSES.ask(Turn(calls=asking("Bern").calls, finish=status))
    (text,) = RESPONSES.texts(box.run(response))
    assert text == f"not run: weather: the response was truncated (status: {status})"


@pytest.mark.call_path(
    "OpenAI, ToolBox", "a stream that broke off", result="refused", note="none of its calls run"
)
def test_a_stream_that_broke_off_runs_nothing(bench: Bench) -> None:
    """Its client takes it for complete; no reason for its end says that it is."""
    box = ToolBox(bench.guard)
    box.tool(weather)
    turn = asking("Bern", "Rome")
    with (
        ModelServer([Turn(calls=turn.calls, cut=9)]) as server,
        CHAT.client(server) as client,
        client.chat.completions.stream(**CHAT.request) as stream,
    ):
        completion = stream.get_final_completion()
    texts = CHAT.texts(box.run(completion))
    assert texts
    assert {text.split(" (")[0] for text in texts} == {
        "not run: weather: the response was truncated"
    }
    assert bench.decisions == []


@BOTH
def test_parsed_responses_work_as_well(bench: Bench, api: Api, how: str) -> None:
    """``parse`` returns types of its own."""
    box = ToolBox(bench.guard)
    box.tool(weather, strict=True)
    tools = box.tools("chat") if api is CHAT else box.tools()
    with ModelServer([asking("Bern")]) as server, api.client(server) as client:
        response = api.resource(client).parse(**api.request, tools=tools)
    assert api.texts(run_either(box, response, how)) == ["sun in Bern"]


def test_the_openai_client_itself_is_named_if_it_is_missing() -> None:
    """In the words of pip."""
    import subprocess
    import sys

    program = "import sys; sys.modules['openai'] = None; import guardrail.integrations.openai"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "install guardrail with the 'openai' extra (README.md)" in done.stderr
    assert openai.__version__

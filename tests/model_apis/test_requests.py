"""The tools in a request: read, refused, and left out."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from anthropic.types import message_create_params as message_params
from anthropic.types.beta import message_create_params as beta_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as response_params

from guardrail.model_apis.api import Api
from guardrail.model_apis.requested_tools import ModelRequestError
from guardrail.model_apis.requests import MOST_TOOLS, ToolRequest, hosts_shell

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT, RESPONSES, MESSAGES = Api.CHAT, Api.RESPONSES, Api.MESSAGES


def function(api: Api, name: str = "weather", schema: Any = SCHEMA) -> Any:
    if api is CHAT:
        return {"type": "function", "function": {"name": name, "parameters": schema}}
    if api is RESPONSES:
        return {"type": "function", "name": name, "parameters": schema, "strict": None}
    return {"name": name, "input_schema": schema}


def request(api: Api, *tools: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "tools": list(tools), **more}


def read(api: Api, body: Any, hosted: Any = ()) -> ToolRequest:
    """Read a request, and check that it is not changed by that."""
    before = copy.deepcopy(body)
    found = ToolRequest(api, body, hosted)
    assert found.offering(found.tools) is not None
    assert body == before
    return found


apis = pytest.mark.parametrize("api", [CHAT, RESPONSES, MESSAGES])


@apis
def test_a_request_without_tools_is_the_same(api: Api) -> None:
    """Whatever else it has."""
    for body in ({}, {"tools": None}, {"tools": []}, {"messages": "x", "input": 5}):
        found = read(api, body)
        assert found.tools == {}
        assert found.offering([]) is body


@apis
def test_functions_are_read_and_left_out(api: Api) -> None:
    """Those that are left keep their order and every field."""
    one, two, three = (function(api, name) for name in ("one", "two", "three"))
    body = request(api, one, two, three, parallel_tool_calls=True)
    found = read(api, body)
    assert list(found.tools) == ["one", "two", "three"]
    assert found.tools["one"].schema == SCHEMA
    assert found.offering(["one", "two", "three"]) is body
    made = found.offering(["three", "one"])
    assert made == {**body, "tools": [one, three]}
    assert found.offering([]) == {"model": "m"}


def test_every_kind_of_tool_that_a_program_runs_is_read() -> None:
    """By the names that their calls have."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "x"}
    chat = request(
        CHAT,
        {"type": "custom", "custom": {"name": "sql", "format": grammar}},
        {"type": "function", "function": {"name": "bare", "description": "d"}},
        functions=[{"name": "old", "parameters": SCHEMA}],
    )
    found = read(CHAT, chat)
    assert list(found.tools) == ["sql", "bare", "old"]
    assert found.tools["sql"].schema is not None
    assert found.tools["bare"].description == "d"
    made = found.offering(["bare"])
    assert made == {"model": "m", "tools": [chat["tools"][1]]}
    inner = [function(RESPONSES, "look"), {"type": "custom", "name": "edit"}]
    response = request(
        RESPONSES,
        {"type": "custom", "name": "sql"},
        {"type": "shell"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "local_shell"},
        {"type": "apply_patch"},
        {"type": "computer_use_preview", "display_width": 1},
        {"type": "namespace", "name": "crm", "description": "d", "tools": inner},
        {"type": "tool_search"},
        input=[
            {"type": "additional_tools", "role": "developer", "tools": [function(RESPONSES)]},
            {"type": "tool_search_output", "tools": [function(RESPONSES, "later")]},
            {"role": "user", "content": "x"},
        ],
    )
    found = read(RESPONSES, response)
    names = ["sql", "shell", "local_shell", "apply_patch", "computer", "crm.look", "crm.edit"]
    assert list(found.tools) == [*names, "weather", "later"]
    made = found.offering(["crm.edit", "later"])
    assert made["tools"] == [
        {"type": "namespace", "name": "crm", "description": "d", "tools": [inner[1]]},
        {"type": "tool_search"},
    ]
    assert [each.get("tools") for each in made["input"]] == [
        [],
        [function(RESPONSES, "later")],
        None,
    ]
    message = request(
        MESSAGES,
        {"type": "custom", **function(MESSAGES)},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 1},
        {"type": "memory_20250818", "name": "memory"},
        {"type": "browser_toolset_20260801"},
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
    )
    found = read(MESSAGES, message)
    assert list(found.tools) == [
        "weather",
        "bash",
        "str_replace_based_edit_tool",
        "computer",
        "memory",
        "browser",
    ]
    assert found.tools["bash"].schema is None
    assert found.offering(["bash"])["tools"] == [message["tools"][1], message["tools"][6]]


HOSTED = [
    (CHAT, {"tools": [{"type": "web_search"}]}, "web_search"),
    (CHAT, {"web_search_options": {}}, "web_search"),
    (RESPONSES, {"tools": [{"type": "web_search_preview_2025_03_11"}]}, "web_search"),
    (RESPONSES, {"tools": [{"type": "web_search_2025_08_26"}]}, "web_search"),
    (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": []}]}, "file_search"),
    (RESPONSES, {"tools": [{"type": "code_interpreter", "container": "x"}]}, "code_interpreter"),
    (RESPONSES, {"tools": [{"type": "image_generation"}]}, "image_generation"),
    (RESPONSES, {"tools": [{"type": "programmatic_tool_calling"}]}, "programmatic_tool_calling"),
    (RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "shell"),
    (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt"),
    (
        RESPONSES,
        {"input": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]},
        "web_search",
    ),
    (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
    (MESSAGES, {"tools": [{"type": "web_fetch_20260318", "name": "web_fetch"}]}, "web_fetch"),
    (
        MESSAGES,
        {"tools": [{"type": "code_execution_20260521", "name": "code_execution"}]},
        "code_execution",
    ),
    (MESSAGES, {"tools": [{"type": "advisor_20260301", "name": "advisor"}]}, "advisor"),
    (MESSAGES, {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "mcp_servers"),
    (MESSAGES, {"mcp_servers": [{"type": "url", "name": "x", "url": "y"}]}, "mcp_servers"),
]


@pytest.mark.parametrize(("api", "body", "name"), HOSTED, ids=str)
def test_tools_that_the_provider_runs_are_refused_unless_a_setting_names_them(
    api: Api, body: Any, name: str
) -> None:
    """Nobody could decide their calls."""
    with pytest.raises(ModelRequestError) as raised:
        read(api, body)
    assert raised.value.code == "model_request.hosted_tool"
    assert f'hosted_tools = ["{name}"]' in raised.value.hint
    found = read(api, body, [name])
    assert (found.tools, found.offering([])) == ({}, body)
    with pytest.raises(ModelRequestError):
        read(api, body, ["another"])


def test_calls_of_an_mcp_server_come_back_for_a_decision() -> None:
    """Whatever the request says."""
    server = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example"}
    for given in ("never", {"never": {"tool_names": ["x"]}}, None):
        body = request(RESPONSES, {**server, "require_approval": given})
        made = read(RESPONSES, body).offering([])
        assert made["tools"] == [{**server, "require_approval": "always"}]
    body = request(RESPONSES, {**server, "require_approval": "always"})
    assert read(RESPONSES, body).offering([]) is body


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (CHAT, {"tools": [{"type": "mcp"}]}),
        (CHAT, {"tools": [{"type": "new"}]}),
        (RESPONSES, {"tools": [{"type": "new"}]}),
        (RESPONSES, {"tools": [{"type": "bidi\u202e" * 30}]}),
        (MESSAGES, {"tools": [{"type": "new_20270101", "name": "new"}]}),
    ],
    ids=str,
)
def test_unknown_types_of_tools_are_refused(api: Api, body: Any) -> None:
    """The provider may run them."""
    with pytest.raises(ModelRequestError) as raised:
        read(api, body, ["another"])
    assert raised.value.code == "model_request.unknown_tool"
    assert raised.value.message.isprintable()


MALFORMED = [
    (CHAT, {"tools": {}}),
    (CHAT, {"tools": [None]}),
    (CHAT, {"tools": [{"type": 1}]}),
    (CHAT, {"tools": [{"type": "function"}]}),
    (CHAT, {"tools": [function(CHAT, schema=[])]}),
    (CHAT, {"tools": [function(CHAT, name="")]}),
    (CHAT, {"tools": [function(CHAT, name="a\u202eb")]}),
    (CHAT, {"tools": [function(CHAT, name="x" * 300)]}),
    (CHAT, {"tools": [{"type": "custom", "custom": {}}]}),
    (CHAT, {"functions": "x"}),
    (CHAT, {"functions": [1]}),
    (RESPONSES, {"tools": [{}]}),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "x"}]}),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "", "tools": []}]}),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "x", "tools": [1]}]}),
    (RESPONSES, {"input": [{"type": "additional_tools"}]}),
    (MESSAGES, {"tools": [{"type": 1}]}),
    (MESSAGES, {"tools": [{"name": 1}]}),
    (MESSAGES, {"tools": [{"type": "bash_20250124"}]}),
]


@pytest.mark.parametrize(("api", "body"), MALFORMED, ids=str)
def test_malformed_tools_are_an_error(api: Api, body: Any) -> None:
    """Two readers could take them in different ways."""
    with pytest.raises(ModelRequestError, match="malformed"):
        read(api, body)


def test_namespaces_do_not_hold_namespaces() -> None:
    """The API has none."""
    inner = {"type": "namespace", "name": "y", "tools": []}
    with pytest.raises(ModelRequestError):
        read(RESPONSES, request(RESPONSES, {"type": "namespace", "name": "x", "tools": [inner]}))


@apis
def test_two_tools_of_one_name_are_an_error_unless_they_are_the_same(api: Api) -> None:
    """Nobody could say which one a call is for."""
    assert list(read(api, request(api, function(api), function(api))).tools) == ["weather"]
    with pytest.raises(ModelRequestError) as raised:
        read(api, request(api, function(api), function(api, schema={"type": "object"})))
    assert raised.value.code == "model_request.tool_twice"


@apis
def test_a_digest_names_what_a_tool_takes(api: Api) -> None:
    """Name and description are no part of it; every key of the schema is."""
    digest = read(api, request(api, function(api))).tools["weather"].digest
    other = read(api, request(api, function(api, "other"))).tools["other"].digest
    assert digest == other
    swapped = {"properties": {"city": {"type": "string"}}, "type": "object"}
    assert read(api, request(api, function(api, schema=swapped))).tools["weather"].digest == digest
    for schema in ({**SCHEMA, "x": 10**400}, {"type": "object"}, {**SCHEMA, "\ud800": "\ud800"}):
        changed = read(api, request(api, function(api, schema=schema))).tools["weather"].digest
        assert changed != digest


def test_a_schema_that_is_too_deep_is_an_error() -> None:
    """Of any depth that a parser takes."""
    deep: Any = {}
    for _ in range(5_000):
        deep = {"x": deep}
    with pytest.raises(ModelRequestError, match="too deep"):
        ToolRequest(CHAT, request(CHAT, function(CHAT, schema=deep)))


def test_too_many_tools_are_refused_in_bounded_time() -> None:
    """Wherever they are."""
    many = [function(RESPONSES, f"t{number}") for number in range(10_000)]
    began = time.process_time()
    for body in (
        request(RESPONSES, *many),
        request(RESPONSES, {"type": "namespace", "name": "x", "tools": many}),
        {"input": [{"type": "additional_tools", "tools": many[:600]}] * 2},
    ):
        with pytest.raises(ModelRequestError, match=r"more than 1,024 tools"):
            read(RESPONSES, body)
    assert time.process_time() - began < 10
    assert len(read(RESPONSES, request(RESPONSES, *many[:MOST_TOOLS])).tools) == MOST_TOOLS


CHOICES = [
    (CHAT, {"type": "function", "function": {"name": "two"}}),
    (CHAT, {"type": "custom", "custom": {"name": "two"}}),
    (RESPONSES, {"type": "function", "name": "two"}),
    (RESPONSES, {"type": "custom", "name": "two"}),
    (MESSAGES, {"type": "tool", "name": "two"}),
]


@pytest.mark.parametrize(("api", "choice"), CHOICES, ids=str)
def test_a_request_that_demands_a_hidden_tool_is_refused(api: Api, choice: Any) -> None:
    """The model could not do what the program waits for."""
    body = request(api, function(api, "one"), function(api, "two"), tool_choice=choice)
    found = read(api, body)
    assert found.offering(["two"])["tool_choice"] == choice
    with pytest.raises(ModelRequestError) as raised:
        found.offering(["one"])
    assert raised.value.code == "model_request.hidden_tool"


@pytest.mark.parametrize(
    ("api", "choice"),
    [(CHAT, "required"), (RESPONSES, "required"), (MESSAGES, {"type": "any"})],
)
def test_a_request_that_demands_any_call_needs_a_tool(api: Api, choice: Any) -> None:
    """And keeps its choice as long as it has one."""
    body = request(api, function(api, "one"), function(api, "two"), tool_choice=choice)
    found = read(api, body)
    assert found.offering(["one"])["tool_choice"] == choice
    with pytest.raises(ModelRequestError):
        found.offering([])


@pytest.mark.parametrize("choice", ["auto", "none", {"type": "auto"}, {"type": "none"}])
def test_a_choice_that_demands_nothing_goes_with_the_last_tool(choice: Any) -> None:
    """Providers refuse it without tools."""
    for api in (CHAT, RESPONSES, MESSAGES):
        body = request(api, function(api), tool_choice=choice)
        assert read(api, body).offering([]) == {"model": "m"}
    body = {"model": "m", "functions": [{"name": "old"}], "function_call": "auto"}
    assert read(CHAT, body).offering([]) == {"model": "m"}
    with pytest.raises(ModelRequestError):
        read(CHAT, {**body, "function_call": {"name": "old"}}).offering([])


def test_a_tool_of_the_api_can_be_demanded_by_its_type() -> None:
    """It has no name."""
    body = request(RESPONSES, {"type": "shell"}, tool_choice={"type": "shell"})
    with pytest.raises(ModelRequestError):
        read(RESPONSES, body).offering([])


@pytest.mark.parametrize("api", [CHAT, RESPONSES])
def test_the_list_of_allowed_tools_loses_the_hidden_ones(api: Api) -> None:
    """A list that would be empty demands what can't be."""
    names = [
        {"type": "function", "function": {"name": name}}
        if api is CHAT
        else {"type": "function", "name": name}
        for name in ("one", "two")
    ]
    inner = {"mode": "auto", "tools": names}
    choice = (
        {"type": "allowed_tools", "allowed_tools": inner}
        if api is CHAT
        else {"type": "allowed_tools", **inner}
    )
    three = [function(api, name) for name in ("one", "two", "three")]
    found = read(api, request(api, *three, tool_choice=choice))
    assert found.offering(["one", "two"])["tool_choice"] == choice
    made = found.offering(["one", "three"])["tool_choice"]
    assert (made["allowed_tools"] if api is CHAT else made)["tools"] == names[:1]
    with pytest.raises(ModelRequestError):
        found.offering(["three"])
    odd = request(api, *three, tool_choice={"type": "allowed_tools", "tools": "x"})
    assert read(api, odd).offering(["one"])["tool_choice"] == odd["tool_choice"]


def test_a_response_in_the_background_is_refused() -> None:
    """Its calls would be fetched by another request."""
    with pytest.raises(ModelRequestError) as raised:
        read(RESPONSES, {"background": True})
    assert raised.value.code == "model_request.background"
    assert read(RESPONSES, {"background": False}).tools == {}


def test_tools_that_are_defined_inside_messages_are_refused() -> None:
    """References to tools of the request are not."""
    reference = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "x"}}
    defined = {"type": "tool_addition", "tool": {"type": "tool_definition", "name": "x"}}
    compaction = {"type": "compaction", "content": "x", "tool_changes": [defined]}
    odd = {"type": "tool_addition", "tool": None}

    def body(*blocks: Any) -> Any:
        return {"messages": [{"role": "user", "content": list(blocks)}, 5, {"content": "x"}]}

    use = {"type": "tool_use", "id": "t", "name": "x", "input": {"tools": [], "input_schema": 1}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [reference]}
    assert read(MESSAGES, body(reference, "x", {"type": "text"}, use, result)).tools == {}
    unknown = {"type": "tool_set", "tools": [{"name": "x"}]}
    for block in (
        defined,
        compaction,
        odd,
        unknown,
        {"type": "text", "text": "x", "tool": {"name": "x", "input_schema": {}}},
        {"type": "new", "name": "x", "input_schema": {}},
        {**result, "content": [defined]},
        {**result, "content": [{**result, "content": [unknown]}]},
    ):
        for sent in (body(block), {"messages": [], "system": [block]}):
            with pytest.raises(ModelRequestError) as raised:
                read(MESSAGES, sent)
            assert raised.value.code == "model_request.tool_in_message"


@pytest.mark.parametrize("api", [CHAT, RESPONSES])
@pytest.mark.parametrize("field", ["plugins", "search_parameters"])
def test_tools_that_other_providers_run_are_refused(api: Api, field: str) -> None:
    """OpenRouter's plugins search the web, read files and run more models."""
    sent = {field: [{"id": "web"}]}
    with pytest.raises(ModelRequestError) as raised:
        read(api, sent)
    assert raised.value.code == "model_request.hosted_tool"
    assert f'["{field}"]' in raised.value.hint
    assert ToolRequest(api, sent, [field]).tools == {}
    assert read(api, {field: []}).tools == {}


@pytest.mark.parametrize("execution", ["client", "Server", ["server"], True], ids=repr)
def test_a_search_that_the_program_runs_is_refused(execution: Any) -> None:
    search = {"type": "tool_search", "execution": execution}
    later = {"type": "additional_tools", "tools": [search]}
    for body in (request(RESPONSES, search), {"input": [later]}):
        with pytest.raises(ModelRequestError) as raised:
            read(RESPONSES, body)
        assert raised.value.code == "model_request.client_search"
    assert read(RESPONSES, request(RESPONSES, {**search, "execution": "server"})).tools == {}


UNKNOWN: list[tuple[Api, str, Any]] = [
    (CHAT, "extra_body", {"google": {"tools": []}}),
    (CHAT, "data_sources", [{"type": "azure_search"}]),
    (CHAT, "mcp_servers", [{"url": "x"}]),
    (CHAT, "compound_custom", {"x": 1}),
    (CHAT, "new_in_2027", {"x": 1}),
    (CHAT, "new_list", [1]),
    (CHAT, "empty", {}),
    (CHAT, "enable_search", True),
    (CHAT, "tool_source", "x"),
    (CHAT, "webhook", "https://example.com"),
    (CHAT, "api_base", "https://example.com"),
    (CHAT, "prompt_id", "p"),
    (RESPONSES, "connectors", [{"id": "x"}]),
    (RESPONSES, "google_search", "on"),
    (MESSAGES, "mcp_toolset", {"x": 1}),
    (MESSAGES, "toolset", [1]),
    (CHAT, "fallbacks", [{"model": "x", "tools": [1]}]),
    (CHAT, "provider", {"options": [{"plugins": ["web"]}]}),
]


@pytest.mark.parametrize(("api", "field", "value"), UNKNOWN, ids=str)
def test_a_field_that_could_let_the_provider_run_tools_is_refused(
    api: Api, field: str, value: Any
) -> None:
    """A setting allows it by its name."""
    with pytest.raises(ModelRequestError) as raised:
        read(api, {field: value})
    assert raised.value.code.startswith("model_request.")
    assert f'["{field}"]' in raised.value.hint
    assert ToolRequest(api, {field: value}, (), [field]).tools == {}
    with pytest.raises(ModelRequestError):
        ToolRequest(api, {field: value}, (), ["another"])


@pytest.mark.parametrize(
    "value", [5, 0.5, "text", None, False, []], ids=["int", "float", "text", "none", "no", "list"]
)
def test_an_unknown_field_that_can_not_run_a_tool_passes(value: Any) -> None:
    """Clients send new fields all the time."""
    for api in Api:
        body = {"new_in_2027": value}
        assert read(api, body).offering([]) is body
    if not value:
        assert read(CHAT, {"enable_search": value}).tools == {}


@pytest.mark.parametrize(
    ("api", "field"),
    [
        (CHAT, "Tools"),
        (CHAT, "webSearchOptions"),
        (CHAT, "web-search-options"),
        (CHAT, "PLUGINS"),
        (CHAT, "me\u017f\u017fages"),
        (RESPONSES, "Background"),
        (RESPONSES, "previousResponseId"),
        (RESPONSES, "toolChoice"),
        (MESSAGES, "mcpServers"),
        (MESSAGES, "MCP_SERVERS"),
    ],
)
@pytest.mark.parametrize("value", [True, {}, "x"], ids=repr)
def test_a_field_in_another_spelling_is_refused(api: Api, field: str, value: Any) -> None:
    """Some servers ignore the case of letters."""
    with pytest.raises(ModelRequestError, match="different spelling"):
        read(api, {field: value})


@pytest.mark.parametrize(
    ("api", "tool"),
    [
        (CHAT, {**function(CHAT), "google_search": {}}),
        (CHAT, {**function(CHAT), "Type": "web_search"}),
        (RESPONSES, {**function(RESPONSES), "web_search": {}}),
        (RESPONSES, {"type": "mcp", "server_label": "x", "Require_Approval": "never"}),
        (RESPONSES, {"type": "mcp", "server_label": "x", "requireApproval": "never"}),
        (MESSAGES, {**function(MESSAGES), "mcp_servers": [1]}),
    ],
    ids=str,
)
def test_a_tool_with_a_second_tool_in_it_is_refused(api: Api, tool: Any) -> None:
    later = {"input": [{"type": "additional_tools", "tools": [tool]}]}
    for body in (request(api, tool), *([later] if api is RESPONSES else [])):
        with pytest.raises(ModelRequestError):
            read(api, body)


@pytest.mark.parametrize(
    "item", [{"Type": "additional_tools"}, {"type": "x", "TOOLS": []}, {"approvalRequestId": "m"}]
)
def test_an_input_item_in_another_spelling_is_refused(item: Any) -> None:
    with pytest.raises(ModelRequestError, match="different spelling"):
        read(RESPONSES, {"input": [item]})
    with pytest.raises(ModelRequestError, match="malformed"):
        read(RESPONSES, {"input": item})


@pytest.mark.parametrize(
    "body",
    [
        {"model": "openai/gpt-5:online"},
        {"model": "openai/gpt-5:ONLINE "},
        {"model": "openai/gpt-5:online:nitro"},
        {"model": "gpt-4o-Search-Preview"},
        {"model": "gpt-4o-search-preview"},
        {"model": "x", "models": ["y", "z:online"]},
        {"model": "x", "fallbacks": [{"model": "gpt-5-search-api-2025-10-14"}]},
    ],
    ids=str,
)
def test_a_model_that_searches_the_web_is_a_hosted_tool(body: Any) -> None:
    with pytest.raises(ModelRequestError, match="web_search runs at the provider"):
        read(CHAT, body)
    assert read(CHAT, body, ["web_search"]).tools == {}


@pytest.mark.parametrize("api", Api)
def test_every_field_of_the_official_clients_is_known(api: Api) -> None:
    """As far as it can hold an object or a list: a new version of a client changes this."""
    types = {
        CHAT: [chat_params.CompletionCreateParamsNonStreaming],
        RESPONSES: [response_params.ResponseCreateParamsNonStreaming],
        MESSAGES: [
            message_params.MessageCreateParamsNonStreaming,
            beta_params.MessageCreateParamsNonStreaming,
        ],
    }
    for each in types[api]:
        for field in each.__required_keys__ | each.__optional_keys__:
            hosted = ["web_search", "mcp_servers", "prompt"]
            value: Any = [] if field in {"functions", "input", "messages", "tools"} else {"x": [1]}
            if field != "background":
                ToolRequest(api, {field: value}, hosted)


CONTAINER = {"type": "shell", "environment": {"type": "container_auto"}}
REFERENCE = {"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tools": []},
        {"tools": [{"type": "shell"}]},
        {"tools": [{"type": "shell", "environment": {"type": "local"}}]},
        {"tools": [{"type": "shell", "environment": {}}]},
        {"tools": [{"type": "shell", "environment": {"type": "container_x"}}]},
        {"tools": [{"type": "shell", "environment": {"type": ["container_auto"]}}]},
        {"tools": [CONTAINER, {"type": "shell"}]},
        {"tools": [CONTAINER, {"type": "local_shell"}]},
        {"tools": [CONTAINER], "prompt": {"id": "p"}},
        {"tools": [CONTAINER, {"type": "namespace", "tools": [{"type": "shell"}]}]},
        {"tools": [CONTAINER], "input": [{"tools": [{"type": "shell"}]}]},
        {"tools": [{"type": "namespace", "tools": [CONTAINER]}]},
        {"input": [{"type": "additional_tools", "tools": [CONTAINER]}]},
        {"input": [{"type": "tool_search_output", "tools": [CONTAINER]}], "tools": []},
        {"input": [{"type": "message", "tools": [CONTAINER]}], "tools": [{"type": "web_search"}]},
    ],
    ids=str,
)
def test_a_shell_is_the_provider_s_only_if_nothing_else_is_possible(body: Any) -> None:
    assert not hosts_shell(body)


@pytest.mark.parametrize("tool", [CONTAINER, REFERENCE])
def test_a_shell_in_a_container_of_the_request_is_the_provider_s(tool: Any) -> None:
    assert hosts_shell({"tools": [tool], "input": [{"tools": [tool]}]})


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (CHAT, {"messages": [{"role": "system", "tools": [{"type": "builtin_function"}]}]}),
        (CHAT, {"messages": [{"role": "system", "functions": [{"name": "x"}]}]}),
        (MESSAGES, {"messages": [{"role": "user", "content": "x", "tools": []}]}),
        (MESSAGES, {"messages": [{"role": "user", "content": "x", "tool_changes": [1]}]}),
        (RESPONSES, {"input": [{"type": "message", "tools": [{"type": "web_search"}]}]}),
        (RESPONSES, {"input": [{"tools": [{"type": "web_search"}]}]}),
        (RESPONSES, {"input": [{"type": ["additional_tools"], "tools": [1]}]}),
    ],
    ids=str,
)
def test_tools_in_any_message_are_refused(api: Api, body: Any) -> None:
    with pytest.raises(ModelRequestError) as raised:
        read(api, body)
    assert raised.value.code == "model_request.tool_in_message"
    listed = {"input": [{"type": "mcp_list_tools", "server_label": "x", "tools": [{"name": "y"}]}]}
    assert read(RESPONSES, listed).tools == {}


@pytest.mark.parametrize("field", ["Tools", "FUNCTIONS", "toolCalls", "function-call"])
def test_another_spelling_of_a_field_of_a_message_is_refused(field: str) -> None:
    with pytest.raises(ModelRequestError, match="different spelling"):
        read(CHAT, {"messages": [{"role": "user", "content": "x", field: []}]})


def test_an_empty_object_inside_a_fallback_can_start_a_search() -> None:
    fallback = {"model": "x", "web_search_options": {}}
    with pytest.raises(ModelRequestError, match="does not know the request field"):
        read(CHAT, {"fallbacks": [fallback]})
    read(CHAT, {"fallbacks": [{**fallback, "web_search_options": None}]})


def test_a_type_that_is_no_text_is_not_an_internal_error() -> None:
    odd = {"type": ["shell"]}
    assert not hosts_shell({"tools": [odd], "input": [{"type": "mcp_list_tools", "tools": [odd]}]})
    body = request(RESPONSES, function(RESPONSES), tool_choice=odd)
    assert read(RESPONSES, body).offering([]) == {"model": "m"}

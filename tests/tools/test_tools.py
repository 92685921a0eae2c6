"""Names, declarations, and the registry."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from guardrail.core.schema.compiled import UnknownArguments
from guardrail.errors import ArgumentsError, ConfigError, SchemaError, SchemaWarning, UsageError
from guardrail.tools.tool import Tool, ToolRegistry, declare, from_function, tool_name, undeclared

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "deep": {"type": "object"}},
}


@pytest.mark.parametrize("name", ["send_email", "a", "files/read", "größe", "two words", "x" * 256])
def test_ordinary_names_are_accepted(name: str) -> None:
    """Whatever can be shown as it is."""
    assert tool_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        "a\nb",
        "a\r",
        "\x1b[31mred",
        "a\x00",
        "a\x7f",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "a\ufeff",
        "a\u2028b",
        "a\u2029b",
        "a\x85b",
        "a\ud800",
        "a\ue000",
        "a\U000e0041",
        "x" * 257,
        None,
        5,
        b"a",
        ["a"],
    ],
)
def test_names_that_could_deceive_a_reader_are_refused(name: Any) -> None:
    """For tools, servers and labels; and the message does not repeat them."""
    for attempt in (
        lambda: tool_name(name),
        lambda: declare(name),
        lambda: undeclared(name),
        lambda: ToolRegistry().get(name),
        lambda: declare("t", labels=[name]),
        lambda: from_function(lambda: None, name=name if name is not None else ""),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "usage.name"
        assert str(caught.value).isprintable()
    if name is not None:
        with pytest.raises(UsageError):
            declare("t", server=name)


def test_a_tool_is_declared_with_all_that_was_said() -> None:
    """Nothing is lost on the way."""
    tool = declare(
        "send",
        schema=SCHEMA,
        server="mail",
        target=["/to", "/deep/a~1b/*"],
        labels=["external"],
        log_output=True,
        unsafe_stream=True,
        description="Sends.",
    )
    assert tool.declared
    assert (tool.name, tool.server, tool.description) == ("send", "mail", "Sends.")
    assert tool.target == ("/to", "/deep/a~1b/*")
    assert tool.labels == ("external",)
    assert tool.log_output
    assert tool.unsafe_stream
    assert tool.refused == ""
    assert tool.model is None


@pytest.mark.parametrize("target", [["to"], ["/a~2"], ["/a~"], [""], [5], "/to"])
def test_malformed_targets_are_refused(target: Any) -> None:
    """RFC 6901 pointers to arguments, in a list."""
    with pytest.raises(UsageError) as caught:
        declare("t", schema=SCHEMA, target=target)
    assert caught.value.code == "usage.target"


def test_labels_are_a_list() -> None:
    """A text would become a label per letter."""
    with pytest.raises(UsageError):
        declare("t", labels="money")


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"$ref": "http://127.0.0.1:9/x"}, "schema.reference"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "schema.pattern"),
        ({"type": "string"}, "schema.not_object"),
        ([], "schema.not_object"),
        ("{}", "schema.not_object"),
        (5, "schema.not_object"),
        ({"properties": {"a": object()}}, "schema.not_json"),
    ],
)
def test_a_hostile_schema_leaves_the_tool_undeclared(schema: Any, code: str) -> None:
    """Nothing is raised: one bad tool of a server must not stop the others."""
    with pytest.warns(SchemaWarning, match=f"the tool 't' \\({code}: ") as told:
        tool = declare("t", schema=schema)
    assert told[0].filename == __file__  # the program's own line, not one of the package
    assert not tool.declared
    assert tool.schema is None
    assert tool.refused == code
    taken, arguments = tool.take({"anything": [1]})
    assert taken.args == arguments == {"anything": [1]}


def test_a_host_that_wants_strictness_refuses_unknown_arguments() -> None:
    """JSON Schema accepts arguments that it does not declare; the program may not want them."""
    open_ = declare("t", schema=SCHEMA)
    given = {"to": "b", "unknown": 1}
    assert open_.take(given)[1] == given
    closed = declare("t", schema=SCHEMA, unknown=UnknownArguments.REFUSE)
    with pytest.raises(ArgumentsError) as caught:
        closed.take(given)
    assert caught.value.detail == "unknown_argument"


def test_a_class_that_is_no_model_is_a_mistake_of_the_program() -> None:
    """It is not foreign, so it is said at once."""
    with pytest.raises(UsageError) as caught:
        declare("t", schema=dict)
    assert caught.value.code == "usage.schema"


def test_a_tool_without_a_schema_is_undeclared() -> None:
    """Its arguments are copied all the same."""
    tool = declare("t")
    assert not tool.declared
    assert tool == undeclared("t") == Tool("t")
    with pytest.raises(ArgumentsError):
        tool.take({"a": {1}})


def test_body_and_record_share_nothing() -> None:
    """Neither with each other nor with the caller."""
    args = {"to": "b", "deep": {"list": [1]}}
    for tool in (declare("t", schema=SCHEMA), undeclared("t")):
        taken, arguments = tool.take(args)
        arguments["deep"]["list"].append(2)
        args["deep"]["list"].append(3)  # type: ignore[index, attr-defined]
        assert taken.args == {"to": "b", "deep": {"list": [1]}}
        assert taken.encoded == b'{"deep":{"list":[1]},"to":"b"}'
        args["deep"]["list"].remove(3)  # type: ignore[index, attr-defined]


def test_keys_that_are_no_identifiers_reach_the_body_as_they_are() -> None:
    """A tool server may have an argument called `from` or `content-type`."""
    schema = {"properties": {"from": {}, "content-type": {}, "": {}, "1": {}}}
    args = {"from": 1, "content-type": 2, "": 3, "1": 4}
    _, arguments = declare("t", schema=schema).take(args)

    def body(**given: int) -> dict[str, int]:
        return given

    assert body(**arguments) == args


class Mail(BaseModel):
    """Sends a mail."""

    model_config = ConfigDict(extra="forbid")

    to: str
    sender: str = Field("me", alias="from")


def test_a_model_describes_itself() -> None:
    """Schema, description, and the names of the body's keywords."""
    tool = declare("mail", schema=Mail)
    assert tool.declared
    assert tool.description == "Sends a mail."
    taken, arguments = tool.take({"to": "b", "from": "c"})
    assert taken.args == {"to": "b", "from": "c"}
    assert arguments == {"to": "b", "sender": "c"}


def test_a_registry_gives_what_was_put_and_else_an_undeclared_tool() -> None:
    """Name and server together are the key."""
    registry = ToolRegistry()
    tool = registry.put(declare("send", schema=SCHEMA, server="mail"))
    assert registry.get("send", "mail") is tool
    assert registry.get("send") == undeclared("send")
    assert registry.get("send", "other") == undeclared("send", "other")
    assert registry.names() == [("send", "mail")]
    with pytest.raises(UsageError):
        registry.get(["send"])  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::guardrail.errors.SchemaWarning")
@pytest.mark.parametrize(
    "changed",
    [
        {"schema": {**SCHEMA, "required": ["to"]}},
        {"schema": None},
        {"schema": {"type": "string"}},
        {"log_output": True},
        {"labels": ["x"]},
        {"target": ["/to"]},
        {"unsafe_stream": True},
    ],
)
def test_a_conflicting_redeclaration_is_refused(changed: dict[str, Any]) -> None:
    """Two parts of a program must not disagree about what is checked and recorded, unless one says
    replace.
    """
    registry = ToolRegistry()
    first = registry.put(declare("t", schema=SCHEMA))
    assert registry.put(declare("t", schema=dict(SCHEMA))).schema is not None
    other = declare("t", **{"schema": SCHEMA, **changed})
    with pytest.raises(ConfigError) as caught:
        registry.put(other)
    assert caught.value.code == "config.tool"
    assert registry.get("t").schema.digest == first.schema.digest  # type: ignore[union-attr]
    assert registry.put(other, replace=True) is other
    assert registry.get("t") is other


def test_a_redeclaration_may_have_another_description_but_nothing_else() -> None:
    """A framework writes the description of a tool for each of its agents."""
    registry = ToolRegistry()
    registry.put(declare("t", schema={**SCHEMA, "description": "of one agent"}))
    other = declare("t", schema={**SCHEMA, "description": "of another"})
    assert registry.put(other) is other
    assert registry.put(declare("t", schema=SCHEMA)).schema is not None
    with pytest.raises(ConfigError):
        registry.put(declare("t", schema={**SCHEMA, "title": "other"}))
    with pytest.raises(ConfigError):
        registry.put(declare("t"))


def test_one_of_many_threads_wins_a_conflict() -> None:
    """Exactly one declaration stands, all others are told."""
    registry = ToolRegistry()
    tools = [declare("t", schema={"title": str(number)}) for number in range(16)]
    barrier = threading.Barrier(len(tools))
    refused: list[Tool] = []

    def put(tool: Tool) -> None:
        barrier.wait()
        try:
            registry.put(tool)
        except ConfigError:
            refused.append(tool)

    threads = [threading.Thread(target=put, args=(tool,)) for tool in tools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(tools) - 1
    assert registry.get("t") not in refused


def test_importing_tools_loads_no_pydantic() -> None:
    """Nor does declaring and taking with a plain schema."""
    program = (
        "import sys, guardrail.tools.tool as t; assert 'jsonschema_rs' not in sys.modules;"
        "t.declare('a', schema={'properties': {'x': {}}}).take({'x': 1});"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_model_that_has_no_schema_is_refused_at_declaration() -> None:
    """SchemaError, with a hint, before any call."""

    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        lock: threading.Event

    with pytest.raises(SchemaError) as caught:
        declare("t", schema=Odd)
    assert caught.value.code == "schema.model"
    assert caught.value.__context__ is None

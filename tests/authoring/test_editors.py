"""The schema of the policy input, as editors and OPA use it, and the files that ``init`` writes for
them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from guardrail.authoring.check import check
from guardrail.authoring.editors import EXAMPLE_FILE, editor_files, example_input, input_schema
from guardrail.authoring.evaluate import evaluate
from guardrail.authoring.scaffold import scaffold
from guardrail.core.policy_input import (
    build,
    framework_input,
    model_input,
    session_input,
    tool_input,
)
from guardrail.core.state_reads import SECTIONS
from guardrail.core.types import (
    Agent,
    Assurance,
    Principal,
    Session,
)
from guardrail.policy.input_schema import input_schema_path
from guardrail.policy.opa.check import ask_opa
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import ModuleSource, installed_folder
from tests.support.lints import ALLOW, write

ANNOTATION = "# METADATA\n# scope: package\n# schemas:\n#   - input: schema.{}\n"
TOOLS: Mapping[str, Mapping[str, Any]] = {
    "transfer": {
        "type": "object",
        "properties": {
            "amount": {"type": ["number", "null"]},
            "count": {"type": "integer"},
            "to": {"$ref": "#/$defs/address"},
        },
        "$defs": {
            "address": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"street": {"type": "string"}},
            }
        },
    },
    "mail": {"type": "object", "properties": {"to": {"type": "array"}, "é\n": {}}},
}


def opa_check(opa: OpaProgram, schemas: Path, *places: Path) -> str:
    """Return what ``opa check --schema`` says, as an editor would run it."""
    command = [str(opa.path), "check", "--strict", "--schema", str(schemas), *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def document(**optional: Any) -> dict[str, Any]:
    """Return an input that the guard builds."""
    session = Session(
        principal=Principal(id="a", type="user", assurance=Assurance.VERIFIED, method="jwt"),
        agent=Agent(id="b"),
        tenant="t",
        id="s",
    )
    shared = session_input(
        session, principal_id="a", agent_id="b", attributes={"team": "x"}, delegation=[]
    )
    tool = tool_input(declared=True, server=None, schema_digest=None, labels=["read"])
    return build(
        shared,
        tool_name="f",
        tool=tool,
        target=[None],
        amounts={},
        args={"x": 1},
        arg_classes={"/x": ["contact"]},
        time="2026-01-01T00:00:00.000000Z",
        adapter="python",
        **optional,
    )


def closed(schema: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each property that *schema* declares."""
    for option in (schema, *schema.get("anyOf", ())):
        for name, below in option.get("properties", {}).items():
            yield f"{path}/{name}"
            yield from closed(below, f"{path}/{name}")
        if "items" in option:
            yield from closed(option["items"], f"{path}/*")


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each key in *value*."""
    for name, below in value.items() if isinstance(value, dict) else ():
        yield f"{path}/{name}"
        yield from paths(below, f"{path}/{name}")
    for below in value if isinstance(value, list) else ():
        yield from paths(below, f"{path}/*")


def test_the_schema_declares_exactly_the_keys_of_an_input() -> None:
    """An input that the guard builds fits the schema, and an input in which nothing is missing has
    every key that the schema declares.
    """
    schema = jsonschema_rs.validator_for(input_schema())
    full = document(
        model=model_input("m", "r"),
        framework=framework_input("f", "1"),
        approval=example_input()["context"]["approval"],
    )
    state = {name: example_input()["context"][name] for name in SECTIONS}
    full["context"] |= state | {"session": state["session"] | full["context"]["session"]}
    for each in (document(), full, example_input()):
        schema.validate(each)
    open_keys = {"/action/properties/args/x", "/action/properties/arg_classes//x"}
    attributes = {"/subject/properties/team"}
    assert set(closed(input_schema())) == {*paths(full)} - open_keys - attributes
    assert set(closed(input_schema())) == {*paths(example_input())}
    with pytest.raises(jsonschema_rs.ValidationError):
        schema.validate({**full, "other": 1})


@pytest.mark.parametrize("folder", ["starter", "examples"])
def test_opa_accepts_the_shipped_policies_with_the_schema(opa: OpaProgram, folder: str) -> None:
    own = installed_folder()
    places = (own / "guardrail", own / "lib", own / folder)
    assert opa_check(opa, input_schema_path().parent, *places) == ""


@pytest.mark.parametrize(
    "path",
    [
        "resource.idd",
        "subject.property.roles",
        "context.agent.name",
        "context.session.call",
        "context.origin.adaptor",
        "action.properties.arguments",
    ],
)
def test_opa_finds_a_misspelled_path_in_a_new_project(
    tmp_path: Path, opa: OpaProgram, path: str
) -> None:
    """In a second file, which has no annotation of its own."""
    scaffold(tmp_path, installed_folder() / "starter", editor_files())
    places = [tmp_path / "policies", *(installed_folder() / name for name in ("guardrail", "lib"))]
    assert opa_check(opa, tmp_path / "schemas", *places) == ""
    (tmp_path / "policies" / "more.rego").write_text(
        f'package guardrail.policy\n\ndeny contains "d" if input.{path} == "x"\n'
    )
    assert "undefined ref: input." in opa_check(opa, tmp_path / "schemas", *places)


def test_values_that_may_be_null_can_be_compared_with_null(opa: OpaProgram) -> None:
    """OPA reads only one type of a list of types."""
    nullable = [
        path
        for path in paths(example_input())
        if any(part in path for part in ("issuer", "server", "digest", "version", "model", "name"))
    ]
    assert len(nullable) > 5
    rules = [
        f'deny contains "d" if input{path.replace("/", ".")} == null\n' for path in nullable[1:]
    ]
    text = ALLOW + "\n".join(each for each in rules if "action" not in each)
    assert ask_opa(opa, [ModuleSource("p.rego", "p.rego", text)]) == []


def test_a_schema_with_tools_declares_their_arguments(tmp_path: Path, opa: OpaProgram) -> None:
    """Of every tool, with all of their types; the example has them too."""
    project = tmp_path / "project"
    (project / "schemas").mkdir(parents=True)
    (project / "schemas" / "guardrail_input.json").write_text(json.dumps(input_schema(TOOLS)))
    args = "input.action.properties.args"
    right = [f"{args}.amount == null", f'{args}.to.street == "x"', f'{args}.to[0] == "x"']
    wrong = [f"{args}.amuont == 5", f"{args}.count.x == 5", f"{args}.to.stret == 5"]
    note = ANNOTATION.format("guardrail_input")

    def findings(condition: str, head: str = note) -> list[str]:
        text = f'{head}package guardrail.policy\n\nallow contains "d" if {condition}\n'
        source = ModuleSource("p.rego", "p.rego", text)
        return [each.message for each in ask_opa(opa, [source], schemas=project / "schemas")]

    assert [findings(each) for each in right] == [[], [], []]
    assert all("undefined ref" in findings(each)[0] for each in wrong)
    # Without the annotation, the schema that comes with guardrail applies.
    assert findings(wrong[0], "") == []
    assert set(example_input(TOOLS)["action"]["properties"]["args"]) == {
        "amount",
        "count",
        "to",
        "é\n",
    }
    assert input_schema({}) == input_schema()
    loose = {"f": {"type": "object", "additionalProperties": True}}
    (project / "schemas" / "guardrail_input.json").write_text(
        json.dumps(input_schema({**TOOLS, **loose}))
    )
    assert findings(wrong[0]) == []


@pytest.mark.parametrize("content", [None, "{", "[]", '{"$ref": "http://127.0.0.1:9/x"}', "fifo"])
def test_a_schema_that_can_not_be_used_is_named(
    tmp_path: Path, opa: OpaProgram, content: str | None
) -> None:
    """The engines' own findings stay, and nothing is fetched or waited for."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / "policies").mkdir()
    place = tmp_path / "schemas" / "orders.json"
    if content == "fifo":
        os.mkfifo(place)
    elif content is not None:
        place.write_text(content)
    text = f"{ANNOTATION.format('orders')}{ALLOW}"
    report = check([write(tmp_path / "policies", {"p.rego": text})], opa=opa)
    if content is not None and content.startswith('{"$ref'):
        assert not report.ok or not report.answered
        return
    assert {"schemas/orders.json" in each.hint for each in report.findings} == {True}


def test_annotations_change_no_decision(tmp_path: Path) -> None:
    """They are comments, even if they name a schema that does not exist."""
    reports = []
    for head in ("", ANNOTATION.format("guardrail_input"), ANNOTATION.format("nosuch")):
        text = f'{head}{ALLOW}deny contains "d" if input.resource.id == "b"\n'
        folder = write(tmp_path, {"p.rego": text})
        (said,) = evaluate([folder], document() | {"resource": {"id": "b"}}).engines
        reports.append((said.effect, said.rules))
    assert reports[0] == reports[1] == reports[2]


def test_files_for_editors_never_replace_a_file(tmp_path: Path) -> None:
    """And are never written through a link; the project is made all the same."""
    outside = tmp_path / "outside"
    outside.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / EXAMPLE_FILE).write_text("mine")
    (project / ".regal").symlink_to(outside)
    made = scaffold(project, installed_folder() / "starter", editor_files())
    assert (project / EXAMPLE_FILE).read_text() == "mine"
    assert list(outside.iterdir()) == []
    assert project / "schemas" / "guardrail_input.json" in made.written
    assert (project / "guardrail.toml").is_file()

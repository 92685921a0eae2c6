"""The session state that policies read, found in their text, and the labels that they give calls."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.authoring.check import check
from guardrail.authoring.evaluate import evaluate
from guardrail.authoring.test import run_tests
from guardrail.errors import Denied
from guardrail.keys.log_key import Keys
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import installed_folder, installed_modules, load_policies
from guardrail.policy.state_reads import ALL_STATE, STATE_MODULES, StateReads, state_reads_in
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.wiring.current_policies import CurrentPolicies
from guardrail.wiring.engines import load_engine
from tests.support.guards import OPEN, Body, records, settings, write_policy
from tests.support.opa_server import bundle_file, served
from tests.support.policies import write

S, P, A = (frozenset({name}) for name in ("session", "principal_state", "agent_state"))
NONE: StateReads = frozenset()
LIB = "data.guardrail.lib.session"

READS = [
    ("the id", "input.context.session.id", NONE),
    ("the id in brackets", 'input["context"]["session"]["id"]', NONE),
    ("the id by object.get", 'object.get(input, ["context", "session", "id"], "")', NONE),
    ("the id by its name", 'object.get(input.context.session, "id", "")', NONE),
    ("another field of the context", "input.context.time", NONE),
    ("arguments", "input.action.properties.args[input.resource.id]", NONE),
    ("an argument of this name", "input.action.properties.args.session.calls", NONE),
    ("a constant", '"input.context.session.calls"', NONE),
    ("a comment", "true # input.context.session.calls", NONE),
    ("a constant in a template", '$"input.context.session.calls"', NONE),
    ("a field", "input.context.session.calls > 5", S),
    ("a field in brackets", 'input["context"]["session"]["recent"]', S),
    ("a field in raw brackets", "input[`context`].session.labels", S),
    ("a field by a variable", 'some n in ["calls"]; input.context.session[n]', S),
    ("a section", "s := input.context.session", S),
    ("the principal's", "input.context.principal_state.calls > 5", P),
    ("the agent's", "input.context.agent_state.calls > 5", A),
    ("two sections", "input.context.session.since; input.context.agent_state.since", S | A),
    ("by object.get", 'object.get(input, ["context", "session", "calls"], 0) > 5', S),
    ("by object.get twice", 'object.get(object.get(input, "context", {}), "session", {})', ALL_STATE),
    ("by object.get of the context", 'object.get(input.context, "principal_state", {})', P),
    ("by object.get of a section", 'object.get(input.context.session, "calls", 0)', S),
    ("by object.get with a variable", 'k := "session"; object.get(input.context, k, {})', ALL_STATE),
    ("by object.get with a computed path", 'object.get(input, ["context", input.x], {})', ALL_STATE),
    ("by object.get with a joined key", 'object.get(input.context, "ses" + "sion", {})', ALL_STATE),
    ("by object.get with an empty path", "object.get(input, [], {})", ALL_STATE),
    ("by object.get with another path", 'object.get(input, ["action", "name"], "")', NONE),
    ("by json.filter", 'json.filter(input, ["context/session"])', ALL_STATE),
    ("the context", "c := input.context", ALL_STATE),
    ("the context by a variable", 'some n in ["session"]; input.context[n]', ALL_STATE),
    ("the input", "walk(input, [p, v])", ALL_STATE),
    ("the input by a variable", 'some n in ["context"]; input[n]', ALL_STATE),
    ("the input before a list", "i := input\n\t[\"resource\"]", ALL_STATE),
    ("in a template", '$"{input.context.session.calls} calls" == "5 calls"', S),
    ("in a template with a bracket", '$"{input.context["agent_state"].calls}" == "5"', A),
    ("a replacement", "x with input.context.session as {}", NONE),
    ("a replacement of all", "x with input as {}", NONE),
    ("a replacement by a read", "x with input.context.session as input.context.agent_state", A),
    ("the library", f'{LIB}.before("session", ["a"])', S),
    ("the library for the principal", f'{LIB}.labelled("principal", "a")', P),
    ("the library for the agent", f'{LIB}["within"](`agent`, ["a"], "1h")', A),
    ("the library with a variable", f'some s in ["agent"]; {LIB}.before(s, ["a"])', ALL_STATE),
    ("the library with a computed scope", f'{LIB}.before("se" + "ssion", ["a"])', ALL_STATE),
    ("the library with an unknown scope", f'{LIB}.before("team", ["a"])', ALL_STATE),
    ("the library without a scope", f'{LIB}.first_seen(["a"])', S | P),
    ("a flow of information", 'data.guardrail.lib.flow.free_of("agent", ["a"])', A),
    ("a flow with an unknown scope", 'data.guardrail.lib.flow.free_of(x, ["a"])', ALL_STATE),
    ("a value of the library", f"x := {LIB}.unknown", ALL_STATE),
    ("the library as a value", f"x := {LIB}", ALL_STATE),
    ("the library by a variable", 'some n in ["session"]; data.guardrail.lib[n].x', ALL_STATE),
    ("all data", "x := data", ALL_STATE),
    ("another library", 'data.guardrail.lib.args.text("session")', NONE),
    ("data of this name", "data.team.session.before", NONE),
    ("another rule of this name", "x.session.input", NONE),
]  # fmt: skip
IMPORTS = [
    ("import input.context.session as s", "s.calls > 5", S),
    ("import input.context as c", "c.session.calls > 5", ALL_STATE),
    ("import input.context.agent_state", "agent_state.calls > 5", A),
    ("import input as i", "i.context.session.calls > 5", ALL_STATE),
    (f"import {LIB} as s", 's.before("agent", ["a"])', A),
    (f"import {LIB}", 'session.before("agent", ["a"])', A),
    (f"import {LIB}", "session", ALL_STATE),
    ("import data.guardrail.lib", 'lib.session.before("agent", ["a"])', A),
    ("import data.guardrail.lib", "lib[x].before", ALL_STATE),
    ("import data.guardrail.lib", 'lib.args.text("a")', NONE),
    ("import data.guardrail as g", 'g.lib.session.before("agent", ["a"])', A),
    (f"import {LIB}.before", 'before("agent", ["a"])', A),
    (f"import {LIB}", "true", NONE),
    ('import data.guardrail["lib"]', 'lib.session.before("agent", ["a"])', A),
    ("import data.team.session", 'session.before("agent", ["a"])', NONE),
]


def reads(folder: Path, text: str) -> StateReads:
    return load_policies([write(folder, {"p.rego": text})]).state_reads


@pytest.mark.parametrize(
    ("body", "sections"), [case[1:] for case in READS], ids=[case[0] for case in READS]
)
def test_the_sections_that_a_rule_reads_are_found(
    tmp_path: Path, body: str, sections: StateReads
) -> None:
    text = f'package guardrail.policy\n\ndeny contains "d" if {{\n\t{body}\n}}\n'
    assert reads(tmp_path, text) - {"recent"} == sections - {"recent"}


@pytest.mark.parametrize(
    ("body", "recent"),
    [
        ("input.context.session.calls > 5", False),
        ("count(input.context.principal_state.by_tool) > 5", False),
        ("input.context.session.recent[_].tool", True),
        ("data.guardrail.policy.helper(input.context.session)", True),
        ('some k in ["calls"]; input.context.session[k] > 5', True),
        ("input.context.session.recent_complete", True),
        ('input.context.session["recent"][_].tool', True),
        ('object.get(input.context, ["session", "recent"], [])', True),
        ("x := input.context", True),
        ('data.guardrail.lib.session.before("agent", ["a"])', True),
    ],
)
def test_the_recent_calls_are_read_if_a_module_names_them_or_hides_what_it_reads(
    tmp_path: Path, body: str, recent: bool
) -> None:
    text = f'package guardrail.policy\n\ndeny contains "d" if {{\n\t{body}\n}}\n'
    assert ("recent" in reads(tmp_path, text)) is recent


@pytest.mark.parametrize(("line", "body", "sections"), IMPORTS)
def test_the_sections_that_a_rule_reads_through_an_import_are_found(
    tmp_path: Path, line: str, body: str, sections: StateReads
) -> None:
    text = f'package guardrail.policy\n\n{line}\n\ndeny contains "d" if {{\n\t{body}\n}}\n'
    assert reads(tmp_path, text) - {"recent"} == sections - {"recent"}


@pytest.mark.parametrize("text", ["input", "import", "object.get(input,", "import data as", "data"])
def test_text_that_ends_early_is_read_to_its_end(text: str) -> None:
    """The parser reports it."""
    assert all(read.sections for read in state_reads_in(text))


def test_the_other_modules_of_guardrail_read_no_state() -> None:
    """Their texts are not searched when policies are loaded."""
    for source in installed_modules():
        if source.key.removeprefix("guardrail:lib/").removesuffix(".rego") not in STATE_MODULES:
            assert _own_reads(source.text) == [], source.key
    assert load_policies([installed_folder() / "starter"]).state_reads == NONE


@pytest.mark.parametrize("name", sorted(STATE_MODULES))
def test_the_functions_that_read_state_begin_with_a_scope(name: str) -> None:
    """So a literal there says which section they read."""
    text = (installed_folder() / "lib" / f"{name}.rego").read_text("utf-8")
    functions = set(re.findall(r"^default (\w+)\(", text, re.MULTILINE)) - {"first_seen"}
    assert functions
    for function in functions:
        first = re.findall(rf"^{function}\((\w+)", text, re.MULTILINE)
        assert set(first) <= {"scope", "_"}, function
        assert "scope" in first, function


def _own_reads(text: str) -> list[int]:
    """Return the lines of reads. The composition reads the envelope of a server's question, in
    which ``input`` is not a policy input.
    """
    kept = text.replace('object.get(input, "echo", "")', "").replace(
        'object.get(input, "question", null)', ""
    )
    return [read.line for read in state_reads_in(kept)]


COUNTED = """allow contains "few" if input.context.session.calls < 3

deny contains "tainted" if "untrusted" in input.context.principal_state.labels
"""
COUNTED_TEST = """package guardrail.policy_test

effect(calls, labels) := decision.effect if {
	decision := data.guardrail.main.decision with input.context as {
		"session": {"id": "s", "calls": calls},
		"principal_state": {"labels": labels},
	}
}

test_few if effect(2, []) == "allow"

test_many if effect(3, []) == "deny"

test_tainted if effect(2, ["untrusted"]) == "deny"
"""


def test_checks_tests_and_evaluations_accept_policies_that_read_state(
    tmp_path: Path, opa_program: Path
) -> None:
    folder = write_policy(tmp_path, COUNTED)
    (folder / "counted_test.rego").write_text(COUNTED_TEST)
    program = OpaProgram(opa_program)
    report = check([folder], opa=program)
    assert (report.findings, [lint.code for lint in report.lints]) == ((), [])
    for opa in (None, program):
        assert [each.message for each in run_tests([folder], opa=opa).results] == [""] * 3
    asked = json.loads(sample_input())
    assert [each.effect for each in evaluate([folder], asked, opa=program).engines] == ["allow"] * 2
    asked["context"]["session"]["calls"] = 3
    assert [each.effect for each in evaluate([folder], asked, opa=program).engines] == ["deny"] * 2


def test_the_policies_in_use_name_the_state_that_they_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_policy(tmp_path, COUNTED)
    chosen = settings(tmp_path)
    current = CurrentPolicies(
        chosen, load_engine(chosen), None, lambda *_: None, keys=Keys.ephemeral()
    )
    try:
        assert current.state_reads - {"recent"} == S | P
        write_policy(tmp_path, 'allow contains "a" if true\n')
        current.reload()
        assert current.state_reads == NONE
    finally:
        current.close()


LABELLED = """allow contains "a" if true

label contains "untrusted" if input.resource.id == "read"

label contains kind if {
	some kind in input.action.properties.args.kinds
}
"""


@pytest.mark.parametrize("engine", ["embedded", "private", "server"])
def test_labels_are_recorded_and_a_malformed_label_denies_the_call(
    tmp_path: Path, opa_program: Path, engine: str
) -> None:
    folder = write_policy(tmp_path, LABELLED)
    if engine == "embedded":
        _label_calls(tmp_path)
    elif engine == "private":
        _label_calls(tmp_path, policy={"engine": "opa"})
    else:
        archive, revision = bundle_file(tmp_path / "bundle.tar.gz", [folder])
        with served(opa_program, tmp_path, "--bundle", str(archive)) as server:
            opa = {"url": server.url, "revisions": [str(revision)]}
            _label_calls(tmp_path, policy={"engine": "opa"}, opa=opa)
    made = [
        (each["decision"]["cause"], each["decision"]["detail"], each["decision"]["labels"])
        for each in records(tmp_path / "audit.db", "call.decision")
    ]
    assert made == [
        ("policy", "", ["from.web", "untrusted"]),
        ("policy", "", []),
        ("malformed", "labels", []),
        ("malformed", "labels", []),
        ("malformed", "labels", []),
    ]
    assert verify_ledger(tmp_path / "audit.db").state is VerifyState.NOT_ANCHORED


def _label_calls(folder: Path, **sections: dict[str, object]) -> None:
    with Guard.open(settings(folder, **sections)) as guard:
        for tool in ("read", "send"):
            guard.declare(tool, schema=OPEN)
        with guard.session(principal="ana", agent="a"):
            guard.call("read", {"kinds": ["untrusted", "from.web"]}, Body())
            guard.call("send", {}, Body())
            for kinds in (["Not A Label"], [5], [f"l{n}" for n in range(17)]):
                with pytest.raises(Denied):
                    guard.call("send", {"kinds": kinds}, Body())

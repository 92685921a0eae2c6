"""Schemas made to fetch, to hang or to exhaust: refused, or harmless."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from guardrail.core.log.record import dumps
from guardrail.core.schema.compiled import Checker, compile_schema
from guardrail.core.schema.defaults import plan_defaults
from guardrail.core.schema.json_copy import ArgumentLimits, Refused
from guardrail.core.schema.snapshot import copy_json, snapshot
from guardrail.errors import ArgumentsError, SchemaError


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    # A schema that hangs holds the interpreter lock: only a thread of C code can still end the
    # process.
    import faulthandler

    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def refusal(schema: Any) -> str:
    """Return the detail of the refusal."""
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.__context__ is None
    prefix, _, detail = caught.value.code.partition(".")
    assert prefix == "schema"
    return detail


def doubling(levels: int) -> dict[str, Any]:
    """Return a small schema that grows to 2 ** levels when references are followed."""
    definitions: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(levels)
    }
    definitions[f"a{levels}"] = {"type": "object"}
    return {"$ref": "#/$defs/a0", "$defs": definitions}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/x"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json#/a"},
        {"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor"}}},
        {"$ref": "#/$defs/absent"},
        {"$ref": "#/$defs/a/0", "$defs": {"a": []}},
        {"$ref": "#/required", "required": ["a"]},
        {"$ref": 5},
        {"properties": {"a": {"items": {"$ref": "https://example.com/s"}}}},
        {"$defs": {"unused": {"$ref": "https://example.com/s"}}},
    ],
)
def test_only_local_references_that_lead_somewhere_are_followed(schema: dict[str, Any]) -> None:
    """No schema makes guardrail fetch or open anything."""
    assert refusal(schema) == "reference"


def test_a_schema_never_connects_anywhere() -> None:
    """A listening server that a schema names sees no connection, wherever the reference stands."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/s"
        reference = {"$ref": url}
        for schema in (
            reference,
            {"$id": url, "properties": {"a": {"const": reference, "default": reference}}},
            {"$id": url, "$schema": url},
            {"x-unknown": reference, "enum": [reference], "examples": [reference]},
        ):
            try:
                snapshot(compile_schema(schema), {})
            except (SchemaError, ArgumentsError):
                pass
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    ("schema", "detail"),
    [
        ({"properties": {"a": {"$dynamicRef": "#a"}}}, "dynamic_reference"),
        ({"$recursiveRef": "#"}, "dynamic_reference"),
        ({"properties": {"a": {"$id": "https://example.com/a"}}}, "identifier"),
        ({"$ref": "#/x-p/y", "x-p": {"$id": "http://example.com", "y": {}}}, "identifier"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "draft"),
        ({"$schema": "https://example.com/own"}, "draft"),
        ({"$schema": 7}, "draft"),
        ({"$ref": "#"}, "recursion"),
        ({"allOf": [{"not": {"$ref": "#"}}]}, "recursion"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "recursion"),
        ({"type": "string"}, "not_object"),
        ({"type": ["string", "array"]}, "not_object"),
        (True, "not_object"),
        ([], "not_object"),
        ("{}", "not_object"),
        ({"properties": {"a": {"type": "elephant"}}}, "invalid"),
        ({"properties": []}, "invalid"),
        ({"properties": {"a": 5}}, "invalid"),
        ({"required": "a"}, "invalid"),
        ({"properties": {"pattern": {"$ref": "#/$defs/a b"}}, "$defs": {"a b": {}}}, "invalid"),
        ({"properties": {"a": {"default": float("nan")}}}, "not_json"),
        ({"properties": {"a": {"default": b"x"}}}, "not_json"),
        ({"title": "\ud800"}, "not_json"),
        ({1: 2}, "not_json"),
        ({"title": "x" * 300_000}, "size"),
        ({"enum": list(range(30_000))}, "size"),
        ({"properties": {str(n): {} for n in range(6_000)}}, "size"),
    ],
)
def test_what_guardrail_does_not_follow_is_refused(schema: Any, detail: str) -> None:
    """Each with its own stable detail."""
    assert refusal(schema) == detail


def test_a_schema_that_contains_itself_or_is_too_deep_is_refused() -> None:
    """Python objects can do what JSON can't."""
    loop: dict[str, Any] = {"type": "object"}
    loop["properties"] = {"a": loop}
    assert refusal(loop) == "not_json"
    deep: dict[str, Any] = {}
    for _ in range(1_000):
        deep = {"not": deep}
    assert refusal(deep) == "size"


def test_the_reason_quotes_nothing_of_the_schema() -> None:
    """Its text is hostile: it may hold escape sequences, or instructions to a model."""
    for schema in (
        {"properties": {"\x1b[2J": {"type": "\x1b[2J"}}},
        {"properties": {"a": {"pattern": "(?=\x1b)"}}},
        {"$ref": "\x1b"},
        {"$schema": "\x1b"},
    ):
        with pytest.raises(SchemaError) as caught:
            compile_schema(schema)
        assert "\x1b" not in str(vars(caught.value))


@pytest.mark.parametrize("levels", [13, 40, 1_000])
def test_references_that_double_are_refused(levels: int) -> None:
    """2 ** levels checks for an empty object would hold the interpreter for ever."""
    assert refusal(doubling(levels)) in {"expansion", "size"}


def test_nested_unevaluated_properties_are_counted() -> None:
    """Each level makes the validator go through everything below again."""
    schema: dict[str, Any] = {"properties": {"a": {"type": "integer"}}}
    for _ in range(20):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    assert refusal({"properties": {"x": schema}}) == "expansion"


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_deep_branches_are_checked_and_explained_quickly(keyword: str) -> None:
    """Explaining a failure in nested branches does not cost more than finding it."""
    schema: dict[str, Any] = {"type": "string"}
    for number in range(25):
        schema = {keyword: [schema, {"const": f"v{number}"}]}
    compiled = compile_schema({"properties": {"a": schema}})
    with pytest.raises(ArgumentsError):
        snapshot(compiled, {"a": 1})


def test_recursion_is_bounded_by_what_it_may_cost() -> None:
    """A plain tree may be 64 deep; one that applies itself twice per level only as deep as its cost
    allows.
    """

    def tree(times: int) -> dict[str, Any]:
        branch = {"allOf": [{"$ref": "#/$defs/T"}] * times}
        return {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"x": branch}}}}

    assert compile_schema(tree(1)).limits.depth == 64
    twice = compile_schema(tree(2))
    assert 4 <= twice.limits.depth < 16
    nested: dict[str, Any] = {}
    for _ in range(twice.limits.depth):
        nested = {"x": nested}
    with pytest.raises(ArgumentsError) as caught:
        snapshot(twice, nested)
    assert caught.value.detail == "depth"
    assert snapshot(twice, nested["x"]).args == nested["x"]
    assert refusal(tree(20)) == "expansion"


def test_a_costly_schema_lowers_how_many_values_a_call_may_hold() -> None:
    """Cost per value times values stays within one budget."""
    item = {"allOf": [{"required": ["a"]} for _ in range(2_500)]}
    compiled = compile_schema({"properties": {"l": {"items": item}}})
    assert compiled.limits.nodes < 10_000
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compiled, {"l": [{}] * compiled.limits.nodes})
    assert caught.value.detail == "nodes"


def test_a_filter_language_of_real_tools_is_accepted() -> None:
    """A recursive union, as query tools declare them."""
    schema = {
        "$defs": {
            "F": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "op": {"enum": ["and", "or"]},
                            "filters": {"type": "array", "items": {"$ref": "#/$defs/F"}},
                        },
                        "required": ["op", "filters"],
                    },
                    {
                        "type": "object",
                        "properties": {"not": {"$ref": "#/$defs/F"}},
                        "required": ["not"],
                    },
                    {
                        "type": "object",
                        "properties": {"field": {"type": "string"}, "value": {}},
                        "required": ["field"],
                    },
                ]
            }
        },
        "type": "object",
        "properties": {"filter": {"$ref": "#/$defs/F"}},
    }
    args = {"filter": {"op": "and", "filters": [{"not": {"field": "x", "value": 1}}]}}
    compiled = compile_schema(schema)
    assert snapshot(compiled, args).args == args
    assert compiled.limits.depth >= 8


BACKTRACKING = ["(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", r"^(?!\s*$).+", r"(a)\1", r"(?<n>a)\k<n>"]
UNREADABLE = ["((a{1,100}){1,100}){1,100}", "a{99999}", "[", "(" * 400 + ")" * 400, r"\q", "*a"]
OTHER_MEANING = [r"\<a\>", r"\b{start}a", "a++b", "a*+", "a??+", "a{2}{3}", "(?s)a.b", "(?ix: a)"]


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [
        (BACKTRACKING, "needs backtracking"),
        (UNREADABLE, "is malformed, or too large once it is compiled"),
        (OTHER_MEANING, "has a different meaning in other engines"),
        (["x" * 1_001, "a" * 100_000, "(a+)+" * 20_000], "has more than 1,000 characters"),
    ],
)
def test_patterns_that_guardrail_does_not_run_are_refused(patterns: list[str], reason: str) -> None:
    """Wherever a pattern can stand. The message says where it is, and what is wrong with it."""
    for pattern in patterns:
        inside = {"pattern": pattern}
        for part, place in (
            (inside, ""),
            ({"patternProperties": {pattern: {}}}, ""),
            ({"items": {"anyOf": [{}, inside]}}, "/items/anyOf/1"),
            ({"propertyNames": inside}, "/propertyNames"),
        ):
            with pytest.raises(SchemaError) as caught:
                compile_schema({"properties": {"a": part}})
            assert caught.value.code == "schema.pattern"
            message = caught.value.message
            assert message.startswith(f"the pattern at /properties/a{place} {reason}"), pattern


def test_the_place_of_a_bad_pattern_is_shown_only_up_to_a_hostile_name() -> None:
    """The names in a foreign schema can be escape sequences, or text for a model."""
    bad = {"pattern": "(?=a)"}
    for schema, place in (
        (bad, "the top level"),
        ({"properties": {"a/b~": bad}, "title": "x"}, "/properties/a~1b~0"),
        ({"properties": {"\x1b[2J": bad}}, "/properties"),
        ({"properties": {"ignore this " * 9: bad}}, "/properties"),
    ):
        with pytest.raises(SchemaError) as caught:
            compile_schema(schema)
        assert caught.value.message.startswith(f"the pattern at {place} needs backtracking")


@pytest.mark.parametrize(
    ("pattern", "fitting", "unfitting"),
    [
        (r"^\d{4}-\d{2}$", "2026-11", "\u0662\u0660\u0662\u0666-11"),
        (r"^[\w.+-]+@\w+$", "a.b@c", "a b@c"),
        (r"^\p{L}+$", "\u0436\u00e9", "a1"),
        (r"^\p{Script=Greek}$", "\u03b1", "a"),
        (r"^\u0041\x42\cJ$", "AB\n", "AB"),
        (r"^[^[\]]+$", "a", "[a]"),
        (r"^[a&&b]$", "&", "c"),
        ("^(?:a|(?<n>b))+?$", "ab", "c"),
        ("(?i)^abc$", "ABC", "abd"),
        ("^a{1,3}?b??$", "aab", "aaaab"),
        (r"^\{\}\.<?$", "{}.", "{}x"),
    ],
)
def test_ordinary_patterns_keep_their_meaning(pattern: str, fitting: str, unfitting: str) -> None:
    """That of ECMA-262, and flags as Python and RE2 read them."""
    compiled = compile_schema({"properties": {"a": {"pattern": pattern}}})
    assert snapshot(compiled, {"a": fitting}).args == {"a": fitting}
    with pytest.raises(ArgumentsError):
        snapshot(compiled, {"a": unfitting})


def test_the_patterns_of_a_model_are_only_a_description() -> None:
    """The program's own model runs them, on its own engine."""
    for pattern in ("(?=a)b", "x" * 2_000):
        schema = {"properties": {"a": {"pattern": pattern}}}
        assert compile_schema(schema, checker=Checker.MODEL).validator is None


def test_a_pattern_that_hangs_backtracking_engines_is_harmless() -> None:
    """(a+)+$ against 100,000 characters ends at once."""
    compiled = compile_schema({"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compiled, {"a": "a" * 100_000 + "!"})
    assert (caught.value.detail, caught.value.pointer) == ("value", "/a")
    assert snapshot(compiled, {"a": "aaa"}).args == {"a": "aaa"}


def test_a_slow_pattern_lowers_how_much_text_a_call_may_hold() -> None:
    """Linear time with a large constant is still too slow for a megabyte."""
    free = compile_schema({"properties": {"a": {}}}).limits.size
    cheap = compile_schema({"properties": {"a": {"pattern": "^[a-z]+$"}}})
    host = compile_schema({"properties": {"a": {"pattern": "^[a-z]{1,63}(\\.[a-z]{1,63}){0,10}$"}}})
    many = compile_schema({"properties": {"a": {"allOf": [{"pattern": f"{n}"} for n in range(8)]}}})
    assert free > cheap.limits.size > many.limits.size >= host.limits.size >= 4_096
    slow = compile_schema({"properties": {"a": {"pattern": "[ab]*a[ab]{400}c"}}})
    text = "".join(random.Random(1).choice("ab") for _ in range(slow.limits.size - 100))
    with pytest.raises(ArgumentsError) as caught:
        snapshot(slow, {"a": text})
    assert caught.value.detail == "value"
    with pytest.raises(ArgumentsError) as caught:
        snapshot(slow, {"a": text + "a" * 200})
    assert caught.value.detail == "size"
    crowd = {"allOf": [{"pattern": f"{n}"} for n in range(200)]}
    assert refusal({"properties": {"a": crowd}}) == "expansion"


@pytest.mark.parametrize(
    ("schema", "args", "detail"),
    [
        # 10,000 empty objects that each get 100,000 characters.
        (
            {"properties": {"l": {"items": {"properties": {"d": {"default": "x" * 100_000}}}}}},
            {"l": [{}] * 9_000},
            "size",
        ),
        (
            {"properties": {"l": {"items": {"properties": {"d": {"default": [0] * 5_000}}}}}},
            {"l": [{}] * 9_000},
            "nodes",
        ),
    ],
)
def test_defaults_can_not_blow_up_a_small_call(
    schema: dict[str, Any], args: dict[str, Any], detail: str
) -> None:
    """What is filled in counts as if it had been passed, before anything is encoded."""
    plan = plan_defaults(schema, lambda pointer, value: True)
    assert plan is not None
    with pytest.raises(Refused):
        plan.fill(copy_json(args), ArgumentLimits())
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compile_schema(schema), args)
    assert caught.value.detail == detail


def test_filling_defaults_is_bounded_where_one_place_is_described_in_many_ways() -> None:
    """Two descriptions per level are 2 ** depth at the leaves."""
    again = {"items": {"$ref": "#/$defs/T"}}
    schema = {
        "$defs": {"T": {"allOf": [again, again], "properties": {"d": {"default": 1}}}},
        "properties": {"l": {"$ref": "#/$defs/T"}},
    }
    compiled = compile_schema(schema)
    deep: list[Any] = [{}] * 2_000
    for _ in range(compiled.limits.depth - 3):
        deep = [deep]
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compiled, {"l": deep})
    assert caught.value.detail == "nodes"
    assert snapshot(compiled, {"l": [{}, [{}]]}).args == {"l": [{"d": 1}, [{"d": 1}]]}


def test_a_default_can_not_be_deeper_than_arguments_may_be() -> None:
    """A costly recursive schema with a deep default would hang when it is declared, or on an empty
    call.
    """
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"x": deep}
    branch = {"allOf": [{"$ref": "#/$defs/T"}, {"$ref": "#/$defs/T"}], "default": deep}
    schema = {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"x": branch}}}}
    assert snapshot(compile_schema(schema), {}).args == {}


def test_checking_many_costly_defaults_stays_within_the_limits_of_one_call() -> None:
    """Each default is filled with those below it before it is checked: together they could be
    millions of values.
    """
    below = {"properties": {"d": {"default": [0] * 500}}}
    schema = {
        "properties": {
            f"p{n}": {"default": [{} for _ in range(50)], "items": below} for n in range(200)
        }
    }
    checked = 0

    def fits(_: str, value: Any) -> bool:
        nonlocal checked
        checked += len(dumps(value)) // 2
        return True

    plan = plan_defaults(schema, fits, ArgumentLimits())
    assert plan is not None
    assert checked <= 3 * ArgumentLimits().nodes
    assert len(plan.values) < 200


def test_a_long_chain_of_references_overflows_no_stack() -> None:
    """Thousands of definitions, each referring to the next."""
    chain: dict[str, Any] = {
        f"a{n}": {"properties": {"x": {"$ref": f"#/$defs/a{n + 1}"}}} for n in range(1_000)
    }
    chain["a1000"] = {"properties": {"x": {"default": 1}}}
    compiled = compile_schema({"$ref": "#/$defs/a0", "$defs": chain})
    assert snapshot(compiled, {"x": {"x": {}}}).args == {"x": {"x": {}}}


def test_properties_named_like_keywords_are_properties() -> None:
    """A tool may have an argument called $ref, $id or pattern."""
    schema = {
        "properties": {
            "$ref": {"type": "string"},
            "$id": {"type": "string"},
            "pattern": {"type": "string"},
            "properties": {"const": {"$ref": "http://example.com", "$id": "x"}},
        }
    }
    args = {
        "$ref": "http://example.com",
        "$id": "x",
        "pattern": "(?=a)",
        "properties": {"$ref": "http://example.com", "$id": "x"},
    }
    assert snapshot(compile_schema(schema), args).args == args


class PanicException(BaseException):
    """What a panic of a Rust library looks like from Python."""


class Failing:
    """A validator that fails as the library could."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def is_valid(self, args: object) -> bool:
        raise self.error


@pytest.mark.parametrize("error", [PanicException("boom"), ValueError("boom"), TypeError("boom")])
def test_a_validator_that_fails_refuses_the_arguments(error: BaseException) -> None:
    """A panic of the library is no Exception, and must not pass a call or end the program."""
    compiled = replace(compile_schema({"properties": {"a": {}}}), validator=Failing(error))
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compiled, {"a": 1})
    assert caught.value.detail == "value"
    assert caught.value.__context__ is None


def test_a_validator_that_is_interrupted_passes_the_interrupt_on() -> None:
    """Only a panic is turned into a refusal."""
    compiled = replace(compile_schema({}), validator=Failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        snapshot(compiled, {})


@pytest.mark.parametrize("error", [PanicException("boom"), ValueError("boom")])
def test_a_schema_that_makes_the_library_fail_is_invalid(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Also by a panic."""
    import jsonschema_rs

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(jsonschema_rs, "Draft202012Validator", fail)
    assert refusal({}) == "invalid"


def test_compiling_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a panic is turned into a refusal."""
    import jsonschema_rs

    def fail(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jsonschema_rs, "Draft202012Validator", fail)
    with pytest.raises(KeyboardInterrupt):
        compile_schema({})


def test_a_schema_is_measured_by_its_encoded_size() -> None:
    """Escapes make it longer than its characters."""
    assert refusal({"title": "\x01" * 60_000}) == "size"


@pytest.mark.parametrize("error", [PanicException("boom"), ValueError("boom"), TypeError("boom")])
def test_a_default_whose_check_fails_is_not_filled_in(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Whatever the library does with a foreign schema, the call goes on without the default."""
    import jsonschema_rs

    def registry(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(jsonschema_rs, "Registry", registry)
    schema = {"properties": {"n": {"default": 1}}}
    assert snapshot(compile_schema(schema), {}).args == {}


def test_an_interrupt_while_a_default_is_checked_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no defect of a schema."""
    import jsonschema_rs

    def registry(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jsonschema_rs, "Registry", registry)
    with pytest.raises(KeyboardInterrupt):
        compile_schema({"properties": {"n": {"default": 1}}})

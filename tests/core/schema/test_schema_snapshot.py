"""Properties of every snapshot, and callers that change their arguments meanwhile."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.schema.compiled import CompiledSchema, compile_schema
from guardrail.core.schema.json_copy import clone
from guardrail.core.schema.snapshot import Snapshot, snapshot
from guardrail.errors import ArgumentsError, SchemaError

DETAILS = {
    "not_object",
    "unknown_argument",
    "missing",
    "type",
    "value",
    "nan",
    "surrogate",
    "integer_range",
    "depth",
    "nodes",
    "size",
    "cyclic",
    "key",
    "not_json",
    "unstable",
    "model",
}

texts = st.text(st.characters(exclude_categories=("Cs",)))
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
json_objects = st.dictionaries(texts, json_values, max_size=5)
anything = st.recursive(
    leaves
    | st.binary()
    | st.floats()
    | st.integers()
    | st.text(st.characters())
    | st.complex_numbers()
    | st.datetimes()
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def containers(value: Any) -> set[int]:
    """Return the identities of all containers in a value."""
    if isinstance(value, dict):
        return {id(value)}.union(*(containers(item) for item in value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*(containers(item) for item in value))
    return set()


def same(first: Any, second: Any) -> bool:
    """Equal in value and in type: 1, 1.0 and True are three things."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def attempt(schema: CompiledSchema | None, args: Any) -> Snapshot | ArgumentsError:
    """Return the snapshot or the refusal."""
    try:
        return snapshot(schema, args)
    except ArgumentsError as error:
        return error


@given(json_objects)
def test_a_snapshot_equals_plain_json_and_shares_no_container(args: dict[str, Any]) -> None:
    """In value and in type; the bytes decode to the same; a clone shares nothing either."""
    taken = snapshot(None, args)
    assert same(taken.args, args)
    assert same(json.loads(taken.encoded), args)
    copied = clone(taken.args)
    assert same(copied, args)
    assert not containers(args) & containers(taken.args)
    assert not containers(copied) & (containers(args) | containers(taken.args))


@given(st.dictionaries(st.text(st.characters()) | st.none(), anything, max_size=4) | anything)
def test_a_snapshot_raises_nothing_but_an_arguments_error(args: Any) -> None:
    """Whatever is passed; and what is accepted is JSON."""
    taken = attempt(None, args)
    if isinstance(taken, ArgumentsError):
        assert taken.detail in DETAILS
        assert taken.__context__ is None
        assert taken.__cause__ is None
    else:
        assert json.loads(taken.encoded) == taken.args


schemas = st.recursive(
    st.sampled_from([{}, True, False, {"type": "integer"}, {"type": "string", "default": "d"}])
    | st.builds(lambda n: {"$ref": f"#/$defs/{n}"}, st.sampled_from("abz"))
    | st.builds(lambda p: {"pattern": p}, st.text(max_size=6)),
    lambda inner: st.one_of(
        st.builds(lambda s: {"properties": s}, st.dictionaries(st.sampled_from("abc"), inner)),
        st.builds(lambda s: {"anyOf": s}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda s: {"allOf": s}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda s: {"items": s}, inner),
        st.builds(lambda s: {"not": s}, inner),
        st.builds(lambda s: {"additionalProperties": s}, inner),
        st.builds(lambda s: {"unevaluatedProperties": s}, inner),
        st.builds(lambda s, t: {"if": s, "then": t}, inner, inner),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["properties", "$defs", "allOf", "type", "$ref", "required", "default"]),
        schemas
        | st.dictionaries(st.sampled_from("abc"), schemas)
        | st.lists(schemas, max_size=3)
        | json_values,
        max_size=4,
    ),
    st.dictionaries(st.sampled_from("abcd"), json_values, max_size=4),
)
def test_any_schema_is_refused_or_usable(schema: dict[str, Any], args: dict[str, Any]) -> None:
    """No schema raises anything but SchemaError, and no call under it anything but
    ArgumentsError.
    """
    try:
        compiled = compile_schema(schema)
    except SchemaError:
        return
    taken = attempt(compiled, args)
    if isinstance(taken, ArgumentsError):
        assert taken.detail in DETAILS
    else:
        assert compiled.validator.is_valid(taken.args)
        assert args.keys() <= taken.args.keys()


def test_a_caller_that_changes_its_objects_meanwhile_changes_no_snapshot() -> None:
    """Another thread adds, removes and nests without end: each snapshot is one JSON value, or
    refused.
    """
    args: dict[str, Any] = {"list": [{"n": 0}], "map": {}, "text": "x"}
    stop = threading.Event()

    def disturb() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            args["map"][f"k{number % 50}"] = number
            args["map"].pop(f"k{(number + 25) % 50}", None)
            args["list"].append({"n": number})
            if len(args["list"]) > 40:
                del args["list"][:20]
            args["text"] = [args["map"]] if number % 2 else object()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=disturb)
    thread.start()
    outcomes = set()
    try:
        for _ in range(3_000):
            taken = attempt(None, args)
            if isinstance(taken, ArgumentsError):
                outcomes.add(taken.detail)
            else:
                outcomes.add("taken")
                assert json.loads(taken.encoded) == taken.args
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert outcomes <= {"taken", "not_json", "unstable"}
    assert "taken" in outcomes


def test_an_object_that_grows_while_it_is_copied_is_refused() -> None:
    """Detail `unstable`: half of one state and half of another is no snapshot."""
    # A trace function runs between two lines of the copy, as another thread could, but each time at
    # the same place.
    args: dict[str, Any] = {f"k{n}": n for n in range(5)}
    done: list[bool] = []

    def tracer(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_name == "_object" and not done and frame.f_locals.get("key") == "k2":
            args["late"] = 1
            done.append(True)
        return tracer

    detail = "taken"
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        snapshot(None, args)
    except ArgumentsError as error:
        detail = error.detail
    finally:
        sys.settrace(before)
    assert done
    assert detail == "unstable"

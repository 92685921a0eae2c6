"""Where a schema's marks are found, and what is done with schemas that are odd, broken or too
large.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.core.redaction.session_memory import Memory
from guardrail.errors import RedactionError
from tests.support.redaction import REDACTOR, is_secret, redactor, token, view

MARK = {"writeOnly": True}


def _shown(args: dict[str, Any], schema: dict[str, Any]) -> Any:
    return view(args, schema=schema).value


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"$ref": "#/allOf/1"}}, "allOf": [{}, MARK]},
        {"properties": {"x": {"$ref": "#/$defs/a%20b"}}, "$defs": {"a b": MARK}},
        {"properties": {"x": {"$ref": "#/$defs/a~1b~0"}}, "$defs": {"a/b~": MARK}},
        {"properties": {"x": {"$dynamicRef": "#s"}}, "$defs": {"S": {"$dynamicAnchor": "s", **MARK}}},
        {"properties": {"x": {"$ref": "#s"}}, "anyOf": [{"$anchor": "t"}, {"$anchor": "s", **MARK}]},
        {"properties": {"x": {"x-guardrail": "secret"}}},
        {"properties": {"x": {"x-guardrail": {"class": "secret"}}}},
        {"patternProperties": {"^x$": MARK}},
        {"patternProperties": {"x$": MARK}},
        {"patternProperties": {"": MARK}},
        {"unevaluatedProperties": MARK},
        {"dependencies": {"x": {"properties": {"x": MARK}}, "y": ["x"]}},
        {"dependentSchemas": {"y": {"properties": {"x": MARK}}}},
        {"not": {"properties": {"x": MARK}}},
        {"if": {}, "then": {"not": {"not": {"properties": {"x": MARK}}}}},
        {"$recursiveRef": "#/$defs/a", "$defs": {"a": {"properties": {"x": MARK}}}},
    ],
)  # fmt: skip
def test_every_way_to_reach_a_mark_is_followed(schema: dict[str, Any]) -> None:
    """References by pointer, anchor and percent-encoding; simple patterns; what is left over."""
    assert is_secret(_shown({"x": "value"}, schema)["x"])


def test_a_reference_to_the_whole_schema_is_followed() -> None:
    """A tree of nodes is marked at every depth, and only where it says so."""
    schema = {"properties": {"x": {"$ref": "#"}, "y": MARK}}
    shown = _shown({"x": {"x": {"y": "value", "z": "plain"}}}, schema)
    assert is_secret(shown["x"]["x"]["y"])
    assert shown["x"]["x"]["z"] == "plain"


@pytest.mark.parametrize(
    "reference",
    [
        "#/allOf/9", "#/allOf/²", "#/allOf/٣", "#/allOf/-1", "#/allOf/" + "9" * 5_000, "#/allOf/one", "#/title/x", "#/title", "#nowhere", "#/$defs/none",
        "other.json", 7, None, ["#"],
    ],
)  # fmt: skip
def test_a_reference_to_nothing_counts_as_a_mark(reference: Any) -> None:
    """What can't be found could have said anything; asking for it raises nothing."""
    schema = {
        "title": "text",
        "allOf": [{}],
        "properties": {"x": {"$ref": reference}, "y": MARK, "z": {"$ref": "#elsewhere"}},
    }
    shown = _shown({"x": "value", "z": "other"}, schema)
    assert shown["x"] == token("marked", "value")
    assert shown["z"] == token("marked", "other")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"x-guardrail": False}, "y": MARK}},
        {"properties": {"x": {"x-guardrail": None}, "y": MARK}},
        {"properties": {"x": True, "y": MARK}},
        {"properties": {7: MARK, "y": MARK}, "patternProperties": {7: MARK}},
        {"patternProperties": {"^y$": MARK, "^ab": MARK, "cd$": MARK, "ef": MARK}},
        {"properties": {"x": {"writeOnly": False, "format": "email"}, "y": MARK}},
        {"properties": ["x", MARK], "anyOf": "x", "dependentSchemas": [MARK], "writeOnly": None},
    ],
)
def test_what_is_not_marked_stays_readable(schema: dict[str, Any]) -> None:
    """Marks that are switched off, other patterns, and keywords of the wrong type mark nothing."""
    assert _shown({"x": "value"}, schema) == {"x": "value"}


def test_lists_of_schemas_hold_for_their_places() -> None:
    """The older form of prefixItems, what comes after it, and contains."""
    schema = {
        "properties": {
            "a": {"items": [MARK, {}], "additionalItems": {"x-guardrail": "health"}},
            "b": {"contains": MARK},
            "c": {"prefixItems": [{}], "unevaluatedItems": MARK},
            "d": {"items": MARK},
        }
    }
    shown = _shown({"a": ["p", "q", "r", "s"], "b": ["p"], "c": ["p"], "d": ["p", "q"]}, schema)
    assert is_secret(shown["a"][0])
    assert shown["a"][2:] == [token("health", "r"), token("health", "s")]
    for name in "bcd":
        assert all(is_secret(item) for item in shown[name])


def test_a_mark_on_property_names_holds_for_keys() -> None:
    """Keys are the data there; values stay."""
    schema = {"properties": {"m": {"propertyNames": {"x-guardrail": "health"}}}}
    shown = view({"m": {"influenza": 1, "cold": "x"}}, schema=schema)
    assert shown.value == {"m": {token("health", "influenza"): 1, token("health", "cold"): "x"}}
    assert "influenza" not in str(shown.removed)
    plain = {"properties": {"m": {"propertyNames": {"maxLength": 9}, "additionalProperties": MARK}}}
    assert list(_shown({"m": {"cold": "x"}}, plain)["m"]) != ["x"]
    assert _shown({"m": {"a": 1}}, {"properties": {"m": {"propertyNames": True}, "n": MARK}}) == {
        "m": {"a": 1}
    }


def test_a_schema_deeper_than_is_looked_at_is_taken_for_marked_where_it_says_so() -> None:
    """No mark is missed for its depth, and an anchor too deep to be found counts as a mark."""
    inner: dict[str, Any] = {"$anchor": "deep", "title": "x"}
    for _ in range(80):
        inner = {"not": inner}
    assert _shown({"x": "value"}, {"properties": {"x": {}}, "not": inner}) == {"x": "value"}
    schema = {"properties": {"x": {"$ref": "#deep"}}, "not": inner}
    assert _shown({"x": "value"}, schema)["x"] == token("marked", "value")


def test_a_schema_with_too_many_alternatives_is_refused() -> None:
    """The call is denied then: nothing says what its arguments are."""
    with pytest.raises(RedactionError) as caught:
        view({"x": 1}, schema={"allOf": [{"title": str(index)} for index in range(500)], **MARK})
    assert caught.value.code == "redaction.schema"


def test_a_schema_with_too_many_places_is_refused() -> None:
    """Bounded memory for one tool, whatever its schema."""
    schema = {"properties": {f"f{index}": {"writeOnly": True} for index in range(4_200)}}
    with pytest.raises(RedactionError) as caught:
        view({f"f{index}": 1 for index in range(4_200)}, schema=schema)
    assert caught.value.code == "redaction.schema"


def test_keys_beyond_the_cache_are_marked_all_the_same() -> None:
    """What a pattern marks it marks for any number of keys."""
    schema = {"patternProperties": {"^f": {"x-guardrail": "health"}}}
    args = {f"f{index}": f"value {index}" for index in range(4_300)}
    inspection = redactor().inspect(args, schema=schema, declared=True, memory=_memory())
    assert len(inspection._removed) == 4_300


def _memory() -> Any:
    from guardrail.core.redaction.session_memory import Memory

    return Memory()


@pytest.mark.parametrize("where", ["properties", "additionalProperties"])
def test_a_mark_on_what_a_string_holds_as_json_is_followed(where: str) -> None:
    """``contentSchema`` says what stands in the text; what it does not mark stays readable, and
    other strings too.
    """
    inside = {"properties": {"zz": MARK}}
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": inside}
    schema = {"properties": {"body": text}} if where == "properties" else {where: text}
    bodies = [json.dumps({"zz": "words", "n": [1]}) for _ in range(2)]
    shown = _shown({"body": bodies[0], "other": "plain"}, schema)
    assert is_secret(json.loads(shown["body"])["zz"])
    assert json.loads(shown["body"])["n"] == [1]
    assert shown["other"] == "plain"
    whole = {"properties": {"body": {"contentSchema": MARK}, "none": {"contentSchema": True}}}
    args = {"body": bodies[0], "none": bodies[1]}
    shown = _shown(args, whole)
    assert "words" not in shown["body"]
    assert shown["none"] == bodies[1]
    # The node of the text is kept for the next one.
    listed = {"properties": {"l": {"items": text}, "free": {"type": "string"}}}
    shown = _shown({"l": bodies, "free": bodies[0]}, listed)
    assert shown["free"] == bodies[0]
    assert not any("words" in body for body in shown["l"])


def test_what_a_session_knows_strikes_no_name_and_no_constant_of_the_schema() -> None:
    """However improbable: they are no news to who reads the schema. Elsewhere the same value
    goes.
    """
    name, constant, fixed, needed = "k9x-va1ue", "m0de-4-x9z", "v3ry-f1xed-1", "n33ded-0ne"
    schema: dict[str, Any] = {
        "properties": {
            name: {"type": "integer"},
            "mode": {"enum": [constant, 7]},
            "kind": {"const": fixed},
            "list": {"items": [{"properties": {"deep": {"enum": "none"}}}]},
        },
        "required": [needed],
        "dependencies": {"mode": [name]},
    }
    memory = Memory()
    for value in (name, constant, fixed, needed):
        memory.remember(value, "secret")
    args = {name: 1, "mode": constant, "kind": fixed, needed: 2, "note": f"it is {constant}"}
    shown = view(args, schema=schema, memory=memory)
    assert {key: shown.value[key] for key in args if key != "note"} == {  # type: ignore[index]
        key: args[key] for key in args if key != "note"
    }
    assert constant not in shown.value["note"]  # type: ignore[index]
    leaves = [name, constant, *(member for member in shown.value.values() if type(member) is str)]  # type: ignore[attr-defined]
    assert REDACTOR.gate(leaves, memory, schema=schema) is None
    assert REDACTOR.gate(leaves, memory) == "secret"
    # Nor does a pointer of the policy that makes another value known.
    tightened = view(args | {"x": "other-va1ue-9x"}, "/x", schema=schema, memory=memory).value
    assert tightened[name] == 1  # type: ignore[index]
    assert tightened["mode"] == constant  # type: ignore[index]


def test_a_constant_of_the_schema_is_never_remembered() -> None:
    """Neither below a mark nor where a key calls it secret."""
    constant = "m0de-4-x9z"
    for mark in ({"x-guardrail": "health"}, {"writeOnly": True}):
        memory = Memory()
        schema = {"properties": {"mode": {"enum": [constant], **mark}}}
        shown = view({"mode": constant}, schema=schema, memory=memory)
        assert constant not in str(shown.value)
        assert len(memory) == 0


def test_names_below_the_depth_that_is_looked_at_are_no_names_of_the_schema() -> None:
    """Reading a schema ends."""
    deep: Any = {"properties": {"d33p-n4me-1": {}}}
    for _ in range(80):
        deep = {"items": [deep]}
    memory = Memory()
    memory.remember("d33p-n4me-1", "name")
    assert view({"d33p-n4me-1": 1}, schema=deep, memory=memory).changed

"""Tool schemas that are accepted, and the arguments that fit them."""

from __future__ import annotations

import copy
import enum
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Mapping
from typing import Any

import pytest

from guardrail.core.log.record import dumps
from guardrail.core.schema.compiled import Checker, UnknownArguments, compile_schema
from guardrail.core.schema.cost_limits import SchemaLimits
from guardrail.core.schema.declared import declared_pointer
from guardrail.core.schema.json_copy import ArgumentLimits
from guardrail.core.schema.snapshot import copy_json, snapshot
from guardrail.errors import ArgumentsError, SchemaError

TRANSFER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "to": {"type": "string"},
        "amount": {"type": "integer", "minimum": 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "options": {
            "type": "object",
            "properties": {"urgent": {"type": "boolean", "default": False}},
        },
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["to", "amount"],
}


REFUSE = UnknownArguments.REFUSE


def why(
    schema: Mapping[str, Any] | None,
    args: object,
    unknown: UnknownArguments = UnknownArguments.ACCEPT,
) -> tuple[str, str]:
    """Return detail and pointer of the refusal."""
    with pytest.raises(ArgumentsError) as caught:
        snapshot(None if schema is None else compile_schema(schema, unknown=unknown), args)
    assert caught.value.code == f"arguments.{caught.value.detail}"
    assert caught.value.__context__ is None
    return caught.value.detail, caught.value.pointer


def test_a_snapshot_holds_what_was_passed_and_its_canonical_bytes() -> None:
    """Nothing is coerced, and the bytes are those of the copy."""
    args = {"to": "b", "amount": 5, "tags": ("x", "y")}
    taken = snapshot(compile_schema(TRANSFER), args)
    assert taken.args == {"to": "b", "amount": 5, "tags": ["x", "y"]}
    assert taken.encoded == b'{"amount":5,"tags":["x","y"],"to":"b"}'


def test_the_digest_is_that_of_the_schema_as_given() -> None:
    """Closing the top level changes the private copy, not the digest, and never the caller's
    schema.
    """
    given = copy.deepcopy(TRANSFER)
    compiled = compile_schema(given, unknown=REFUSE)
    assert given == TRANSFER
    assert compiled.schema["additionalProperties"] is False
    assert compile_schema(given).schema == TRANSFER
    reordered = dict(reversed(list(TRANSFER.items())))
    assert compile_schema(reordered).digest == compiled.digest
    assert compile_schema({**TRANSFER, "title": "t"}).digest != compiled.digest


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"to": "b", "amount": "5"}, ("type", "/amount")),
        ({"to": "b", "amount": True}, ("type", "/amount")),
        ({"to": "b", "amount": 0}, ("value", "/amount")),
        ({"to": "b"}, ("missing", "/amount")),
        ({"to": "b", "amount": 1, "note": 3}, ("type", "/note")),
        ({"to": "b", "amount": 1, "tags": ["a", 2]}, ("type", "/tags/1")),
        ({"to": "b", "amount": 1, "sk-live-secret": 1}, ("unknown_argument", "")),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    args: dict[str, Any], expected: tuple[str, str]
) -> None:
    """A plain schema coerces nothing, and the pointer names declared properties only."""
    assert why(TRANSFER, args, REFUSE) == expected


def test_defaults_are_filled_in_nested_objects_and_arrays_before_validation() -> None:
    """A required property with a default is not missing, and an object that is missing stays so."""
    schema = {
        "$defs": {"item": {"properties": {"n": {"type": "integer", "default": 1}}}},
        "properties": {
            "mode": {"type": "string", "default": "safe"},
            "inner": {"properties": {"list": {"default": [{"a": []}]}}},
            "items": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/item"}]}},
            "absent": {"properties": {"x": {"default": 1}}},
        },
        "required": ["mode"],
    }
    compiled = compile_schema(schema)
    taken = snapshot(compiled, {"inner": {}, "items": [{}, {"n": 7}]})
    assert taken.args == {
        "mode": "safe",
        "inner": {"list": [{"a": []}]},
        "items": [{"n": 1}, {"n": 7}],
    }
    taken.args["inner"]["list"][0]["a"].append("changed")  # type: ignore[index, call-overload, union-attr]
    assert snapshot(compiled, {"inner": {}}).args["inner"] == {"list": [{"a": []}]}


def test_defaults_come_from_every_part_that_applies() -> None:
    """One property, and one kind of item, may be described in several parts of an allOf."""
    schema = {
        "allOf": [
            {
                "properties": {
                    "o": {"properties": {"a": {"default": 1}}},
                    "l": {"allOf": [{"items": {"properties": {"x": {"default": 1}}}}]},
                }
            },
            {
                "properties": {
                    "o": {"properties": {"b": {"default": 2}}},
                    "l": {"items": {"properties": {"y": {"default": 2}}}},
                }
            },
        ]
    }
    taken = snapshot(compile_schema(schema), {"o": {}, "l": [{}]})
    assert taken.args == {"o": {"a": 1, "b": 2}, "l": [{"x": 1, "y": 2}]}


@pytest.mark.parametrize(
    ("schema", "filled"),
    [
        ({"properties": {"n": {"type": "integer", "default": "five"}}}, {}),
        ({"properties": {"n": {"type": "string", "default": None}}}, {}),
        ({"properties": {"n": {"enum": ["a"], "default": "b"}, "m": {"default": 1}}}, {"m": 1}),
        (
            {"properties": {"a b/c%~": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"default": 4}}},
            {"a b/c%~": 4},
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "properties": {"n": {"$ref": "#/definitions/x"}},
                "definitions": {"x": {"type": "integer", "default": "x"}},
            },
            {},
        ),
        # A container is judged with the defaults below it, of which only those that fit are filled
        # in.
        (
            {
                "properties": {
                    "o": {
                        "default": {},
                        "required": ["a"],
                        "properties": {
                            "a": {"type": "integer", "default": 3},
                            "b": {"type": "integer", "default": "3"},
                        },
                    }
                }
            },
            {"o": {"a": 3}},
        ),
        (
            {
                "properties": {
                    "o": {
                        "default": {},
                        "required": ["b"],
                        "properties": {"b": {"type": "integer", "default": "3"}},
                    }
                }
            },
            {},
        ),
        (
            {
                "properties": {
                    "l": {
                        "default": [{}],
                        "items": {"required": ["n"], "properties": {"n": {"default": 1}}},
                    }
                }
            },
            {"l": [{"n": 1}]},
        ),
        (
            {"properties": {"n": {"type": "string", "default": "a" * 1_000_001}}},
            {"n": "a" * 1_000_001},
        ),
    ],
)
def test_a_default_that_does_not_fit_its_place_is_not_filled_in(
    schema: dict[str, Any], filled: dict[str, Any]
) -> None:
    """A call without the argument is judged as such, and not denied for what the server wrote in
    its schema.
    """
    limits = SchemaLimits(size=2_000_000)
    assert snapshot(compile_schema(schema, limits), {}).args == filled


def test_properties_of_null_count_as_absent_at_every_level() -> None:
    """Servers in languages whose empty list is null send them."""
    schema = {"properties": None, "required": None, "allOf": [{"properties": None}]}
    assert snapshot(compile_schema(schema), {"a": 1}).args == {"a": 1}
    nested = {"properties": {"o": {"properties": None, "required": ["x"]}}}
    assert why(nested, {"o": {}}) == ("missing", "/o")
    with pytest.raises(SchemaError):
        compile_schema({"type": None})


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "integer"}, "5", "(/n: expected integer)"),
        ({"type": ["integer", "null"]}, "5", "(/n: expected integer or null)"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", "(/n: expected integer or null)"),
        (
            {"oneOf": [{"type": "string"}, {"anyOf": [{"type": "null"}]}]},
            1,
            "expected null or string",
        ),
        (
            {"anyOf": [{"minimum": 9}, {"multipleOf": 7}]},
            1,
            "(/n: expected one of the forms that the schema lists)",
        ),
        ({"anyOf": [{"minimum": 9}, {"type": "null"}]}, 1, "(/n: expected at least 9)"),
        (
            {"anyOf": [{"properties": {"k": {"type": "integer"}}}, {"type": "null"}]},
            {"k": "s"},
            "(/n/k: expected integer)",
        ),
        (
            {"oneOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]},
            ["s"],
            "(/n/0: expected integer)",
        ),
        (
            {"anyOf": [{"type": "object", "required": ["k"]}, {"type": "string"}]},
            {"j": 1},
            "a required argument is missing (/n)",
        ),
        (
            {"anyOf": [{"properties": {"k": {"type": k}}} for k in ("integer", "null")]},
            {"k": "s"},
            "(/n: expected one of the forms that the schema lists)",
        ),
        ({"oneOf": [{"minimum": 1}, {"maximum": 9}]}, 5, "expected exactly one of the forms"),
        ({"maximum": 9}, 10, "(/n: expected at most 9)"),
        ({"multipleOf": 3}, 10, "(/n: expected a multiple of 3)"),
        ({"minLength": 3}, "ab", "(/n: expected at least 3 characters)"),
        ({"enum": ["b"]}, "a", "one of the values that the schema lists"),
        ({"pattern": "^b$"}, "a", "text that matches the schema's pattern"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "does not accept (/n: expected other"),
        ({"dependencies": {"a": ["b"]}}, {"a": 1}, "is missing (/n)"),
        ({"contains": {"type": "null"}, "items": {"const": 2}}, [1], "expected"),
    ],
)
def test_a_refusal_says_what_is_expected_and_never_the_value(
    schema: dict[str, Any], value: object, words: str
) -> None:
    """The model that sent the call reads it, and can correct itself."""
    with pytest.raises(ArgumentsError) as caught:
        snapshot(
            compile_schema({"properties": {"n": schema}, "$defs": {"no": False}}), {"n": value}
        )
    assert words in caught.value.message


def test_a_refused_unknown_argument_is_answered_with_the_declared_names() -> None:
    """The unknown name itself may be a secret; of the declared ones only what can be shown is
    listed.
    """
    schema = {
        "properties": {"city": {}, "to\x1b[2J": {}, "x" * 65: {}},
        "additionalProperties": False,
    }
    for given, unknown in ((schema, UnknownArguments.ACCEPT), ({**schema, "allOf": [{}]}, REFUSE)):
        with pytest.raises(ArgumentsError) as caught:
            snapshot(compile_schema(given, unknown=unknown), {"sk-live-secret": 1})
        assert caught.value.message.endswith("(declared: city)")
    many = {"properties": {f"a{n:02}": {} for n in range(20)}}
    draft7 = {"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [many]}
    with pytest.raises(ArgumentsError, match=r"declared: a00, .*, a11, \.\.\.\)"):
        snapshot(compile_schema(draft7, unknown=REFUSE), {"sk-live-secret": 1})
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compile_schema({"additionalProperties": False}), {"sk-live-secret": 1})
    assert caught.value.message == "an argument that the tool does not declare"


def test_defaults_of_branches_are_left_alone() -> None:
    """What stands in anyOf may not apply."""
    schema = {"anyOf": [{"properties": {"a": {"default": 1}}}, {"properties": {"b": {}}}]}
    assert snapshot(compile_schema(schema), {"b": 2}).args == {"b": 2}


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        ({"properties": {"a": {}}, "additionalProperties": True}, True),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}, True),
        ({"properties": {"a": {}}, "patternProperties": {"^x-": {"type": "integer"}}}, True),
        ({"properties": {"a": {}}, "patternProperties": {"^y-": {}}}, False),
        ({"properties": {"a": {}}}, False),
        ({}, False),
        ({"$ref": "#/$defs/o", "$defs": {"o": {"properties": {"a": {}}}}}, False),
        ({"allOf": [{"properties": {"x-1": {}}}]}, True),
        ({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, False),
        ({"properties": {"a": {"$ref": "#"}}}, False),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "$ref": "#/definitions/o",
                "definitions": {"o": {"properties": {"a": {}}}},
                "additionalProperties": True,
            },
            True,
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "$ref": "#/definitions/o",
                "definitions": {"o": {"properties": {"a": {}}}},
                "additionalProperties": False,
            },
            False,
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "allOf": [{"properties": {"x-1": {}}}],
            },
            True,
        ),
    ],
)
def test_unknown_arguments_are_refused_on_demand_unless_the_schema_says_otherwise(
    schema: dict[str, Any], accepted: bool
) -> None:
    """In every draft, through references and branches."""
    if accepted:
        assert snapshot(compile_schema(schema, unknown=REFUSE), {"x-1": 1}).args == {"x-1": 1}
    else:
        assert why(schema, {"x-1": 1}, REFUSE) == ("unknown_argument", "")


def test_no_value_goes_unchecked_through_a_branch_that_did_not_match() -> None:
    """A name that only the other branch declares is refused, and not passed on unvalidated."""
    schema = {
        "anyOf": [
            {"properties": {"a": {"type": "integer"}}},
            {"properties": {"b": {"type": "integer"}}},
        ]
    }
    assert why(schema, {"b": "text"}, REFUSE) == ("unknown_argument", "")


def test_a_tree_that_refers_to_its_root_stays_open_below() -> None:
    """Closing the top level must not close every node of a recursive schema."""
    schema = {"properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}}
    args = {"kids": [{"kids": [], "extra": 1}]}
    assert snapshot(compile_schema(schema, unknown=REFUSE), args).args == args
    assert why(schema, {"extra": 1}, REFUSE) == ("unknown_argument", "")


def test_unknown_arguments_are_accepted_as_json_schema_says() -> None:
    """``{"type": "object"}`` describes any object; only the schema's own keywords refuse more."""
    for schema in (
        {"type": "object"},
        {"properties": {"a": {"type": "integer"}}},
        {"$ref": "#/$defs/o", "$defs": {"o": {}}},
    ):
        assert snapshot(compile_schema(schema), {"x-1": 1}).args == {"x-1": 1}
    assert (
        why({"properties": {"a": {}}, "additionalProperties": False}, {"x-1": 1})[0]
        == "unknown_argument"
    )
    assert why({"unevaluatedProperties": False}, {"x-1": 1})[0] == "unknown_argument"
    assert why({"additionalProperties": {"type": "string"}}, {"x-1": 1}) == ("type", "")


@pytest.mark.parametrize(
    ("uri", "keyword"),
    [
        ("http://json-schema.org/draft-07/schema#", "definitions"),
        ("http://json-schema.org/draft-07/schema", "definitions"),
        ("https://json-schema.org/draft/2019-09/schema", "$defs"),
        ("https://json-schema.org/draft/2020-12/schema", "$defs"),
    ],
)
def test_three_drafts_are_understood(uri: str, keyword: str) -> None:
    """With an identifier at the top level, and local references."""
    schema = {
        "$schema": uri,
        "$id": "https://example.com/tool",
        "type": ["object", "null"],
        keyword: {"n": {"type": "integer"}},
        "properties": {"n": {"$ref": f"#/{keyword}/n"}},
    }
    assert snapshot(compile_schema(schema), {"n": 1}).args == {"n": 1}
    assert why(schema, {"n": "1"}) == ("type", "/n")


def test_formats_are_annotations() -> None:
    """A format is never asserted: it differs between implementations, and some are costly."""
    schema = {"properties": {"m": {"type": "string", "format": "email"}}}
    assert snapshot(compile_schema(schema), {"m": "no mail"}).args == {"m": "no mail"}


def test_a_schema_that_a_model_checks_is_described_and_not_run() -> None:
    """Patterns of Python's own engine are fine there."""
    schema = {"properties": {"a": {"type": "string", "pattern": "(?=a)a"}}}
    compiled = compile_schema(schema, checker=Checker.MODEL)
    assert compiled.validator is None
    assert snapshot(compiled, {"a": 5}).args == {"a": 5}
    assert compiled.limits == ArgumentLimits()


class Colour(enum.StrEnum):
    """Text with a class of its own."""

    RED = "red"


class Level(enum.IntEnum):
    """A number with a class of its own."""

    HIGH = 3


class Sly(str):
    """Text whose methods lie."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class Half(float):
    """A float with a class of its own."""

    __slots__ = ()


def test_subclasses_of_plain_types_lose_their_class_without_running_their_code() -> None:
    """What policy sees is the value itself."""
    args = {
        "c": Colour.RED,
        "l": Level.HIGH,
        "s": Sly("real"),
        "h": Half(0.5),
        Colour.RED: OrderedDict(a=1),
        "d": defaultdict(list, b=[Sly("in")]),
    }
    taken = snapshot(None, args).args
    assert taken == {
        "c": "red",
        "l": 3,
        "s": "real",
        "h": 0.5,
        "red": {"a": 1},
        "d": {"b": ["in"]},
    }
    assert {type(value) for value in taken.values()} == {str, int, float, dict}
    assert type(taken["d"]["b"][0]) is str  # type: ignore[index, call-overload]
    assert all(type(key) is str for key in taken)


class Liar:
    """Says that it is a text."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # type: ignore[override]
        return str


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the plain one is what programs pass


@pytest.mark.parametrize(
    "value",
    [b"x", bytearray(b"x"), {1}, frozenset(), object(), Liar(), 1j, range(3), Pair(1, 2), print],
    ids=lambda value: type(value).__name__,
)
def test_what_json_does_not_have_is_refused(value: object) -> None:
    """No object of the caller reaches policy, record or body."""
    assert why(None, {"a": [value]}) == ("not_json", "")
    assert why({"properties": {"a": {}}}, {"a": [value]}) == ("not_json", "/a/0")


@pytest.mark.parametrize("args", [None, [], "{}", 5, {1, 2}, Pair(1, 2)])
def test_arguments_that_are_no_object_are_refused(args: object) -> None:
    """Also with no schema at all."""
    assert why(None, args) == ("not_object", "")
    assert why(TRANSFER, args) == ("not_object", "")


class Twin(str):
    """Two of them are two keys, though they hold the same text."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@pytest.mark.parametrize("args", [{1: 1}, {None: 1}, {("a",): 1}, {Twin("a"): 1, Twin("a"): 2}])
def test_keys_that_are_not_distinct_texts_are_refused(args: dict[Any, Any]) -> None:
    """JSON has no other keys, and converting them could hide one."""
    assert why(None, args) == ("key", "")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), Half("nan")])
def test_nan_and_infinity_are_refused(number: float) -> None:
    """JSON has no form for them."""
    assert why(None, {"a": number}) == ("nan", "")
    assert why(None, {"a": [number]}) == ("nan", "")


def test_integers_beyond_64_bits_are_refused_unless_allowed() -> None:
    """The embedded engine would make floats of them; a server engine may allow them later."""
    inside = {"a": -(2**63), "b": 2**64 - 1}
    assert snapshot(None, inside).args == inside
    for number in (-(2**63) - 1, 2**64, 10**4000):
        assert why(None, {"a": number}) == ("integer_range", "")
        assert why(None, {"a": [number]}) == ("integer_range", "")
    wide = ArgumentLimits(lowest=-(10**40), highest=10**40)
    taken = snapshot(None, {"a": 10**30}, wide)
    assert taken.args == {"a": 10**30}
    assert taken.encoded == b'{"a":1%s}' % (b"0" * 30)


def test_lone_surrogates_are_refused_as_value_and_as_key() -> None:
    """They are no Unicode text and no UTF-8 holds them."""
    schema = {"properties": {"a": {"properties": {"b": {}}}, "l": {}}}
    assert why(schema, {"a": {"b": "x\ud800"}}) == ("surrogate", "/a/b")
    assert why(schema, {"l": [0, "\udfff"]}) == ("surrogate", "/l/1")
    assert why(schema, {"l": [[0], {}, "\udfff"]}) == ("surrogate", "/l/2")
    assert why(schema, {"a": {"\ud800": 1}}) == ("surrogate", "/a")


def test_large_deep_and_many_are_refused() -> None:
    """10 MB texts, depth 10,000 and a million values end in an error, not in memory."""
    assert why(None, {"a": "x" * 10_000_000}) == ("size", "")
    assert why(None, {"x" * 10_000_000: 1}) == ("size", "")
    assert why(None, {"a": ["x" * 1_000_000] * 1000}) == ("size", "")
    assert why(None, {"a": [0] * 1_000_000}) == ("nodes", "")
    assert why(None, dict.fromkeys(map(str, range(20_000)))) == ("nodes", "")
    # Control characters grow sixfold when they are escaped.
    assert why(None, {"a": "\x01" * 1_000_000}) == ("size", "")
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert why(None, {"a": deep}) == ("depth", "")
    wide: list[Any] = []
    for _ in range(40):
        wide = [wide, wide]
    assert why(None, {"a": wide})[0] == "nodes"


def test_the_depth_limit_counts_containers() -> None:
    """64 containers inside each other are fine, 65 are not."""
    nested: Any = 1
    for _ in range(63):
        nested = [nested]
    assert snapshot(None, {"a": nested}).args == {"a": nested}
    assert why(None, {"a": [nested]}) == ("depth", "")


def test_objects_that_contain_themselves_are_refused_as_cyclic() -> None:
    """Through lists and objects, directly and at a distance."""
    circle: dict[str, Any] = {"a": []}
    circle["a"].append({"b": circle})
    assert why(None, circle)[0] == "cyclic"
    loop: list[Any] = []
    loop.append(loop)
    assert why(None, {"a": loop})[0] == "cyclic"


def test_a_shared_container_is_copied_twice() -> None:
    """The same list at two places is no circle, and the copy does not share it."""
    shared = [1]
    taken = snapshot(None, {"a": shared, "b": shared}).args
    assert taken == {"a": [1], "b": [1]}
    assert taken["a"] is not taken["b"]


def test_no_error_names_a_key_or_a_value_of_the_caller() -> None:
    """Undeclared keys may be secrets: the pointer stops before them, in message, args and
    pickle.
    """
    secret = "hunter2-is-my-password"
    schema = {"properties": {"o": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    for args in (
        {secret: 1},
        {"o": {secret: "x"}},
        {"o": {secret: [secret]}},
        {"o": {secret: float("nan")}},
        {"o": {secret: "\ud800"}},
        {"o": secret},
    ):
        with pytest.raises(ArgumentsError) as caught:
            snapshot(compile_schema(schema, unknown=REFUSE), args)
        assert secret not in repr(vars(caught.value)) + str(caught.value) + repr(caught.value)
        assert caught.value.pointer in {"", "/o"}


def test_a_pointer_shows_declared_names_only_where_they_are_harmless() -> None:
    """A foreign schema may declare names with escape sequences, or endless ones."""
    schema = {"properties": {"a/b~c": {}, "\x1b[2J": {}, "n" * 65: {}}}
    assert declared_pointer(schema, ["a/b~c"]) == "/a~1b~0c"
    assert declared_pointer(schema, ["\x1b[2J"]) == ""
    assert declared_pointer(schema, ["n" * 65]) == ""
    assert declared_pointer(None, [3, "x"]) == "/3"
    nested = {"properties": {"a": {"$ref": "#"}}}
    assert declared_pointer(nested, ["a"] * 100) == "/a" * 16


def test_a_pointer_follows_branches_tuples_and_references() -> None:
    """Wherever a name may be declared."""
    schema = {
        "$defs": {"d": {"oneOf": [{"properties": {"x": {}}}, {"if": {"properties": {"y": {}}}}]}},
        "properties": {
            "t": {"prefixItems": [{"properties": {"p": {}}}], "items": {"$ref": "#/$defs/d"}},
            "u": {
                "items": [{"properties": {"q": {}}}],
                "additionalItems": {"properties": {"r": {}}},
            },
            "w": {"dependentSchemas": {"k": {"properties": {"z": {}}}}},
        },
    }
    for path in (
        ["t", 0, "p"],
        ["t", 1, "x"],
        ["t", 1, "y"],
        ["u", 0, "q"],
        ["u", 1, "r"],
        ["w", "z"],
    ):
        assert declared_pointer(schema, path) == "".join(f"/{step}" for step in path)
    assert declared_pointer(schema, ["t", 0, "x"]) == "/t/0"


def test_copy_json_copies_any_json_value() -> None:
    """Also texts, numbers and lists, and it says what it refuses."""
    assert [copy_json(value) for value in ("a", 1, 1.5, None, True, [1], (2,))] == [
        "a",
        1,
        1.5,
        None,
        True,
        [1],
        [2],
    ]
    with pytest.raises(ArgumentsError) as caught:
        copy_json([{"a": {1}}])
    assert (caught.value.detail, caught.value.pointer) == ("not_json", "/0")
    with pytest.raises(ArgumentsError) as caught:
        copy_json("x" * 2_000_000)
    assert caught.value.detail == "size"


def test_a_small_stack_is_no_crash() -> None:
    """A caller that is itself near the recursion limit gets a refusal."""
    nested: Any = 1
    for _ in range(60):
        nested = [nested]
    details: list[str] = []

    def dive() -> None:
        try:
            snapshot(None, {"a": nested})
        except ArgumentsError as error:
            details.append(error.detail)
            return
        dive()

    dive()
    assert details == ["depth"]


def test_every_snapshot_is_what_the_record_module_writes() -> None:
    """One serializer for policy, commitment and record."""
    args = {"ü": "\u2028", "b": [1.0, -0.0, 1e300]}
    assert snapshot(None, args).encoded == dumps(args)


def test_subclasses_count_like_what_they_are() -> None:
    """The limits hold for them too."""

    class Big(int):
        """A number with a class of its own."""

    few = ArgumentLimits(string=10, size=20)
    for args, detail in (
        ({"a": Big(2**64)}, "integer_range"),
        ({"a": Sly("x" * 11)}, "size"),
        ({"a": [Sly("x" * 8)] * 3}, "size"),
        ({"a": ["x" * 8] * 3}, "size"),
        ({"a": ["x" * 11]}, "size"),
        ({"a": "x" * 9, "b": "x" * 9, "c": "x" * 9}, "size"),
        ({"a": [[], []]}, None),
    ):
        if detail is None:
            assert snapshot(None, args, few).args == args
            continue
        with pytest.raises(ArgumentsError) as caught:
            snapshot(None, args, few)
        assert caught.value.detail == detail


def test_a_reference_may_lead_into_a_list() -> None:
    """By index, with escapes in names."""
    schema = {
        "$defs": {"a/b~c d": {"type": "integer"}},
        "properties": {"n": {"$ref": "#/allOf/0"}, "m": {"$ref": "#/$defs/a~1b~0c%20d"}},
        "allOf": [{"type": ["integer", "object"]}],
    }
    compiled = compile_schema(schema)
    assert snapshot(compiled, {"n": 1, "m": 2}).args == {"n": 1, "m": 2}
    assert why(schema, {"n": "1"}) == ("type", "/n")
    assert why(schema, {"m": "1"}) == ("type", "/m")


def test_defaults_of_an_object_leave_a_list_in_its_place_alone() -> None:
    """Which place a value stands in decides, not what it is called."""
    schema = {"properties": {"o": {"properties": {"d": {"default": 1}}}}}
    assert snapshot(compile_schema(schema), {"o": [{}]}).args == {"o": [{}]}
    assert snapshot(compile_schema(schema), {"o": "text"}).args == {"o": "text"}
    nested = {"properties": {"l": {"items": {"items": {"properties": {"d": {"default": 1}}}}}}}
    assert snapshot(compile_schema(nested), {"l": [[{}], 5]}).args == {"l": [[{"d": 1}], 5]}


def test_recursive_schemas_fill_defaults_at_every_depth() -> None:
    """Through references to the root and to definitions, each read once."""
    schema = {
        "$defs": {"named": {"properties": {"name": {"default": "?"}}}},
        "allOf": [{"$ref": "#/$defs/named"}, {"$ref": "#/$defs/named"}],
        "properties": {
            "kids": {"type": "array", "items": {"$ref": "#"}},
            "first": {"$ref": "#"},
            "name": True,
        },
    }
    taken = snapshot(compile_schema(schema), {"kids": [{"kids": [{}]}], "first": {"name": "f"}})
    assert taken.args == {
        "name": "?",
        "kids": [{"name": "?", "kids": [{"name": "?"}]}],
        "first": {"name": "f"},
    }


def test_an_unknown_member_of_an_object_is_refused_at_its_place() -> None:
    """The declared names of the top level are no help there."""
    schema = {"properties": {"o": {"properties": {"a": {}}, "additionalProperties": False}}}
    with pytest.raises(ArgumentsError) as caught:
        snapshot(compile_schema(schema), {"o": {"sk-live-secret": 1}})
    assert caught.value.message == "an argument that the tool does not declare (/o)"

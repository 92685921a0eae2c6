"""Results and exceptions of classes that were made to get in the way."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.log.record import dumps
from guardrail.core.redaction.foreign import outweighs, plain
from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import REDACTOR, redactor, token


def _result(value: object, *, log_output: bool = True) -> dict[str, Any]:
    return REDACTOR.result(value, log_output=log_output, memory=Memory())


def _error(error: BaseException) -> dict[str, str]:
    return REDACTOR.error(error, Memory())


def _asked(*_: object, **__: object) -> Any:
    raise SystemExit("asked")


class Asking(type):
    """A metaclass that runs code when its classes are asked for their names."""

    __module__ = property(_asked)  # type: ignore[assignment]
    __mro__ = property(_asked)  # type: ignore[assignment]
    __name__ = property(_asked)  # type: ignore[assignment]


class Thing(metaclass=Asking):
    """A class of that kind."""


class Failure(Exception, metaclass=Asking):
    """An exception of that kind, which runs code when it is asked for its causes as well."""

    __cause__ = property(_asked)  # type: ignore[assignment]
    __context__ = property(_asked)  # type: ignore[assignment]
    __suppress_context__ = property(_asked)  # type: ignore[assignment]


def test_no_metaclass_is_asked() -> None:
    """Module, name and bases of a class come from the interpreter itself."""
    assert _result(Thing())["type"].endswith("Thing")
    assert _result({Thing: 1})["value"] == {"Asking": 1}
    shown = _error(Failure("plain"))
    assert (shown["class"].endswith("Failure"), shown["message"]) == (True, "plain")


def test_a_class_without_a_module_has_its_name() -> None:
    """Made by code that ran in no module, or with a module that is no text."""
    made: dict[str, Any] = {"__builtins__": __builtins__}
    exec("made = type('Made', (), {})", made)
    assert _result(made["made"]())["type"] == "Made"

    class Liar:
        __class__ = property(_asked)  # type: ignore[assignment]

    class Odd:
        """Its module is an object that lies."""

    Odd.__module__ = Liar()  # type: ignore[assignment]
    assert _result(Odd())["type"].endswith("Odd")
    assert _result(5)["type"] == "int"


def test_bytes_that_run_code_are_read_without_it() -> None:
    """What they hold is searched like any text."""

    class Octets(bytes):
        __getitem__ = __bytes__ = __len__ = __iter__ = _asked

    memory = Memory()
    shown = REDACTOR.result(Octets(b"password=hunt3r22"), log_output=True, memory=memory)
    assert b"hunt3r22" not in dumps(shown)
    assert memory.knows("hunt3r22") == "secret"
    assert _result(bytearray(b"bob@example.com"))["value"] == token("contact", "bob@example.com")


def test_an_object_whose_attributes_can_not_be_had_is_described_by_its_class() -> None:
    """None at all, a property that raises, or a dictionary that is none."""

    class Guarded:
        __dict__ = property(_asked)  # type: ignore[assignment]

    class Listed:
        __dict__ = property(lambda self: ["value-1"])  # type: ignore[assignment]

    for value in (object(), Guarded(), Listed(), Guarded):
        shown = _result(value)
        assert shown["value"] is None
        assert shown["type"]


def test_a_result_without_bytes_of_its_own_has_no_size() -> None:
    """Lone surrogates, foreign members, and what is too large to be written within a moment."""

    class Box(dict[str, object]):
        items = keys = values = __iter__ = _asked

    big = [["x" * 9_000_000]]
    for value, items in (({"a": "\ud800"}, 1), ([object()], 1), ([Box(a=1)], 1), (big, 1)):
        shown = _result(value, log_output=False)
        assert (shown["bytes"], shown["token"], shown["items"]) == (None, None, items)


def test_no_more_of_a_result_is_searched_than_the_bounds_allow() -> None:
    """Its beginning is looked at, in objects as in lists, and what lies beyond is not recorded."""
    own = redactor(result=60, nodes=8)
    for value in (
        {f"k{index}": "x" * 10 for index in range(50)},
        ["x" * 10] * 50,
        {f"k{index}": index for index in range(50)},
        list(range(50)),
        {"k": dict.fromkeys(range(50), "x")},
    ):
        shown = own.result(value, log_output=True, memory=Memory())
        assert len(dumps(shown)) < 300
        taken = plain(value, nodes=8, chars=60, searched=10)
        assert len(taken if len(taken) > 1 else taken["k"]) <= 8  # type: ignore[arg-type,index,call-overload]


def test_keys_of_any_type_are_shown_as_text() -> None:
    """Numbers as they are, others by their class, subclasses of str by what they hold."""

    class Key(str):
        __str__ = __repr__ = _asked

    shown = _result({1: "a", Key("k"): "b", (2, 3): "c", None: "e", 10**1_000: "f"})
    assert shown["value"]["k"] == "b"
    assert {"tuple", "NoneType"} <= shown["value"].keys()
    assert shown["value"]["1"] == "a"


def test_only_causes_that_python_would_show_are_recorded() -> None:
    """A context counts unless it was suppressed; chains and cycles end."""
    outer = ValueError("outer-word")
    outer.__context__ = KeyError("inner-word")
    assert _error(outer)["message"] == "outer-word; caused by KeyError: 'inner-word'"
    outer.__suppress_context__ = True
    assert _error(outer)["message"] == "outer-word"
    first = error = ValueError("0")
    for index in range(1, 20):
        error.__context__ = ValueError(str(index))
        error = error.__context__  # type: ignore[assignment]
    assert _error(first)["message"].count("caused by") == 4


def test_str_of_an_exception_may_raise_anything() -> None:
    """Also what would end the program."""

    class Loud(Exception):
        __str__ = _asked

    assert _error(Loud("value-1"))["message"] == "(no message: str() failed)"
    assert _error(Exception())["message"] == ""


def test_validation_errors_of_others_show_no_details() -> None:
    """Their texts quote what did not fit."""
    import jsonschema_rs

    with pytest.raises(jsonschema_rs.ValidationError) as caught:
        jsonschema_rs.validate({"type": "integer"}, "va1ue-0ne")
    assert _error(caught.value)["message"] == "a value does not fit the schema (details not shown)"


def _pretender(errors: Any) -> BaseException:
    kind = type("ValidationError", (Exception,), {"__module__": "pydantic_like", "errors": errors})
    return kind("va1ue-0ne")


def test_ctrl_c_while_a_foreign_value_is_examined_is_raised() -> None:
    """Any other exception of its class only means that nothing of it is shown."""

    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    class Interrupting:
        __dict__ = property(interrupt)  # type: ignore[assignment]

    with pytest.raises(KeyboardInterrupt):
        _result(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        _error(_pretender(interrupt))


def test_a_class_that_only_looks_like_pydantics_shows_no_details() -> None:
    """It has no list of errors, raises when asked for one, or gives one that is none."""

    class Endless(list[Any]):
        __len__ = _asked

    unknown = "a value does not fit the model (details not shown)"
    for errors in (None, _asked, lambda self, **_: 5, lambda self, **_: Endless()):
        assert _error(_pretender(errors))["message"] == unknown
    odd = [{"loc": 5, "type": "int"}, "no mapping", {"type": None}]
    assert (
        _error(_pretender(lambda self, **_: odd))["message"]
        == "3 values do not fit: ? (int), ? (None)"
    )
    nameless = type("ValidationError", (Exception,), {"__module__": 5})
    assert "va1ue-0ne" not in _error(nameless("va1ue-0ne"))["message"]


class _Held:
    def __init__(self, content: object) -> None:
        self.content = content


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "large"),
    [
        (None, False),
        (True, False),
        (12, False),
        ("a" * 500, False),
        ("a" * 1_000, True),
        (b"a" * 1_000, True),
        ([1, 2.5, None, "text"], False),
        ([0] * 100, True),
        ([["a" * 200]] * 10, True),
        ({"a" * 1_000: 1}, True),
        ({"a": {"b": ("c", False)}}, False),
        (_Held("a"), False),
        (_Held(["a" * 1_000]), True),
        (_Held, False),
        (object(), False),
        (_Text("a"), True),
        ({1, 2}, True),
    ],
)
def test_a_result_is_weighed_without_running_its_code(value: object, large: bool) -> None:
    """A subclass of what JSON has would have to be read: it counts as large."""
    assert outweighs(value, 900) is large

"""What a model or a program gets wrong is named, with the tool; refused calls are recorded, and the
next call works.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from guardrail import ConfigError, UsageError
from guardrail.core.log.record import Draft
from guardrail.integrations.openai import ContentParts
from tests.support.adapters import Bench
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.toolboxes import CHAT, MESSAGES, RESPONSES, Api, asking, run_either, weather


def box_with_weather(bench: Bench, api: Api) -> tuple[Any, list[str]]:
    """Return a ToolBox and the cities that its tool was asked about."""
    runs: list[str] = []
    box = api.box(bench.guard)

    @box.tool(name="weather")
    def told(city: str, days: int = 1) -> str:
        runs.append(city)
        return f"sun in {city}"

    return box, runs


def next_call_works(bench: Bench, api: Api, box: Any, how: str) -> None:
    assert api.texts(run_either(box, api.ask(asking("Oslo")), how)) == ["sun in Oslo"]
    assert bench.outcomes[-1]["status"] == "ok"


@pytest.mark.parametrize("api", [CHAT, RESPONSES, MESSAGES], ids=lambda api: api.name)
def test_python_refuses_wrong_words_of_a_program_under_the_imported_name(
    bench: Bench, api: Api
) -> None:
    """A program imports ``ToolBox``: no class or function that it can't find is named."""
    box = api.box(bench.guard)
    for wrong, named in (
        (lambda: type(box)(bench.guard, wait=1), "ToolBox.__init__()"),
        (lambda: box.run(), "ToolBox.run()"),
        (lambda: box.tool(weather, colour=1), "tool()"),
        (lambda: box.tool(colour=1)(weather), "tool()"),
        (lambda: bench.guard.tool(colour=1), "tool()"),
    ):
        with pytest.raises(TypeError) as caught:
            wrong()
        assert str(caught.value).startswith(named)
    assert repr(box).startswith(f"<{type(box).__module__}.ToolBox object")
    assert importlib.import_module(type(box).__module__).ToolBox is type(box)


@pytest.mark.parametrize("api", [CHAT, RESPONSES, MESSAGES], ids=lambda api: api.name)
def test_a_lambda_needs_a_name(bench: Bench, api: Api) -> None:
    """No policy could name it otherwise."""
    box = api.box(bench.guard)
    with pytest.raises(UsageError, match="a lambda has no name that a policy could use") as caught:
        box.tool(lambda city: city)
    assert (caught.value.code, caught.value.hint[:10]) == ("usage.name", "pass name=")
    box.tool(lambda city: f"sun in {city}", name="weather")
    assert api.texts(box.run(api.ask(asking("Oslo")))) == ["sun in Oslo"]


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "an unknown tool",
    result="refused",
    note="`call.rejected`, reason `unknown_tool`",
)
@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "an unknown tool",
    result="refused",
    note="`call.rejected`, reason `unknown_tool`",
)
@pytest.mark.parametrize("name", ["nope", "Weather", "", "a\nb", "x" * 300, "bid\u202ei"])
def test_an_unknown_tool_is_refused_and_recorded(
    bench: Bench, api: Api, how: str, name: str
) -> None:
    """Also under a name that no record can hold; the model reads which tools there are."""
    box, runs = box_with_weather(bench, api)
    (told,) = api.told(run_either(box, api.ask(asking("Bern", name=name)), how))
    assert told.text == f"not run: {name[:64]}: there is no such tool; the tools are: weather"
    assert told.failed in (None, True)
    (rejected,) = bench.rejected
    assert (rejected["reason"], rejected["origin"]["call_id"]) == ("unknown_tool", "id0")
    recordable = name in {"nope", "Weather"}
    assert rejected["tool"]["name"] == (name if recordable else "(not a tool name)")
    assert bench.decisions == []
    assert runs == []
    next_call_works(bench, api, box, how)


async def test_a_refused_call_is_recorded_even_if_arun_is_cancelled_meanwhile(
    bench: Bench, api: Api
) -> None:
    """The cancellation is raised once the record is durable."""
    box, runs = box_with_weather(bench, api)
    response = api.ask(asking("Bern", name="nope"))
    submit = bench.ledger.submit
    held: list[tuple[Future[Any], Draft]] = []

    def hold(draft: Draft) -> Future[Any]:
        held.append((Future(), draft))
        return held[-1][0]

    bench.ledger.submit = hold  # type: ignore[method-assign]
    task = asyncio.ensure_future(box.arun(response))
    while not held:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    ((future, draft),) = held
    future.set_result(submit(draft).result())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each["reason"] for each in bench.rejected] == ["unknown_tool"]
    assert runs == []


TEXTS = {
    "not json": "city=Bern",
    "cut off": '{"city": "Bern',
    "trailing": '{"city": "Bern"} and so on',
    "two objects": '{"city": "Bern"}{"city": "Rome"}',
    "duplicate": '{"city": "Bern", "city": "Atlantis"}',
    "nested duplicate": '{"city": {"a": 1, "a": 2}}',
    "no object": '["Bern"]',
    "a string": '"Bern"',
    "null": "null",
    "nan": '{"city": "Bern", "days": NaN}',
    "deep": '{"city": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "huge": '{"city": "' + "x" * 1_100_000 + '"}',
    "huge number": '{"city": "Bern", "days": ' + "9" * 5000 + "}",
    "not declared": '{"city": "Bern", "hours": 2}',
    "wrong type": '{"city": 7}',
    "missing": "{}",
}


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "arguments that are not one JSON object, or do not match the schema",
    result="refused",
    note="denied, cause `arguments`",
)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)
def test_arguments_that_do_not_fit_are_denied(bench: Bench, api: Api, how: str, text: str) -> None:
    """The message names the tool, holds no value, and the denial is on record."""
    box, runs = box_with_weather(bench, api)
    turn = Turn(calls=[Call("weather", text), Call("weather", {"city": "Rome"})])
    denied, other = api.texts(run_either(box, api.ask(turn), how))
    assert denied.startswith("denied: ")
    assert "do not fit the tool's schema" not in denied  # each message says that in its own words
    assert any(word in denied for word in ("arguments", "JSON", "64 bits"))
    for value in ("Bern", "xxxx", "9999", "Atlantis"):
        assert value not in denied
    assert other == "sun in Rome"
    assert sorted(each["decision"]["cause"] for each in bench.decisions) == ["arguments", "policy"]
    assert runs == ["Rome"]
    next_call_works(bench, api, box, how)


@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "arguments that do not match the schema",
    result="refused",
    note="denied, cause `arguments`",
)
@pytest.mark.parametrize("given", [["Bern"], "Bern", 7, {"city": ["Bern"]}, {"hours": 2}, {}])
def test_arguments_of_a_tool_use_that_do_not_fit_are_denied(
    bench: Bench, how: str, given: Any
) -> None:
    """An Anthropic client parses the arguments itself, and takes what is no object as well."""
    box, runs = box_with_weather(bench, MESSAGES)
    turn = Turn(calls=[Call("weather", {}, extra={"input": given})])
    (told,) = (
        MESSAGES.told(run_either(box, MESSAGES.ask(turn), how))
        if not isinstance(given, str)
        else MESSAGES.told(run_either(box, _with_input(given), how))
    )
    assert told.failed is True
    assert "Bern" not in told.text
    assert [each["decision"]["cause"] for each in bench.decisions] == ["arguments"]
    assert runs == []
    next_call_works(bench, MESSAGES, box, how)


def _with_input(given: Any) -> Any:
    message = MESSAGES.ask(asking("Bern"))
    message.content[0].input = given
    return message


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "a second call with the same id",
    result="refused",
    note="`call.rejected`, reason `repeated_id`",
)
@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "a second call with the same id",
    result="refused",
    note="`call.rejected`, reason `repeated_id`",
)
def test_a_repeated_id_runs_once(bench: Bench, api: Api, how: str) -> None:
    """Two results with one id could not be told apart."""
    box, runs = box_with_weather(bench, api)
    turn = Turn(
        calls=[Call("weather", {"city": city}, id="same") for city in ("Bern", "Rome", "Oslo")]
    )
    first, second, third = api.texts(run_either(box, api.ask(turn), how))
    assert first == "sun in Bern"
    assert second == third == "not run: weather: another call has the same id"
    assert runs == ["Bern"]
    assert [each["reason"] for each in bench.rejected] == ["repeated_id"] * 2
    next_call_works(bench, api, box, how)


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "a call without an id",
    result="refused",
    note="`call.rejected`, reason `missing_id`",
)
@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "a call without an id",
    result="refused",
    note="`call.rejected`, reason `missing_id`",
)
def test_a_call_without_an_id_is_refused(bench: Bench, api: Api, how: str) -> None:
    """Its result could not be given back. Empty and missing ids count the same."""
    box, runs = box_with_weather(bench, api)
    field = "call_id" if api.name == "responses" else "id"
    calls = [
        Call("weather", {"city": "Bern"}, id=""),
        Call("weather", {"city": "Rome"}, extra={field: None}),
        Call("weather", {"city": "Oslo"}, id="id2"),
    ]
    texts = api.texts(run_either(box, api.ask(Turn(calls=calls)), how))
    assert texts == ["not run: weather: the call has no id"] * 2 + ["sun in Oslo"]
    assert runs == ["Oslo"]
    assert [each["reason"] for each in bench.rejected] == ["missing_id"] * 2
    assert [each["origin"]["call_id"] for each in bench.rejected] == [None, None]


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "calls in a response that was cut off",
    result="refused",
    note="`call.rejected`, reason `incomplete`",
)
@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "calls in a response that was cut off",
    result="refused",
    note="`call.rejected`, reason `incomplete`",
)
def test_calls_of_an_answer_that_was_cut_off_are_refused(bench: Bench, api: Api, how: str) -> None:
    """Its last call may be half a call that happens to parse."""
    box, runs = box_with_weather(bench, api)
    turn = Turn(
        calls=[Call("weather", {"city": "Bern"}), Call("weather", {"city": "Ber"})],
        finish=api.incomplete,
    )
    texts = api.texts(run_either(box, api.ask(turn), how))
    assert len(texts) == 2
    for text in texts:
        assert text.startswith("not run: weather: the response was truncated (")
        assert api.incomplete in text
    assert runs == []
    assert [each["reason"] for each in bench.rejected] == ["incomplete"] * 2
    next_call_works(bench, api, box, how)


def responses_of_others() -> dict[str, Callable[[Api], Any]]:
    def of_another_library(api: Api) -> Any:
        other = MESSAGES if api.adapter == "openai" else CHAT
        return other.ask(asking("Bern"))

    def raw(api: Api) -> Any:
        with ModelServer([asking("Bern")]) as server, api.client(server) as client:
            return api.resource(client).with_raw_response.create(**api.request)

    def stream(api: Api) -> Any:
        with ModelServer([asking("Bern")]) as server, api.client(server) as client:
            found = api.resource(client).create(**api.request, stream=True)
            found.close()
            return found

    return {
        "None": lambda _: None,
        "a dictionary": lambda api: api.ask(asking("Bern")).model_dump(),
        "a string": lambda _: "weather",
        "another library": of_another_library,
        "a raw response": raw,
        "a stream": stream,
    }


@pytest.mark.call_path(
    "OpenAI, ToolBox",
    "a raw response, a stream, a dictionary, a response from a different library",
    result="refused",
    note="`UsageError` says what to pass",
)
@pytest.mark.call_path(
    "Anthropic, ToolBox",
    "a raw response, a stream, a dictionary, a response from a different library",
    result="refused",
    note="`UsageError` says what to pass",
)
@pytest.mark.parametrize("made", responses_of_others().values(), ids=responses_of_others())
def test_what_is_no_response_is_named(
    bench: Bench, api: Api, how: str, made: Callable[[Api], Any]
) -> None:
    """With what was expected, and nothing is recorded or run."""
    box, runs = box_with_weather(bench, api)
    given = made(api)
    with pytest.raises(UsageError) as caught:
        run_either(box, given, how)
    assert f"from the {api.adapter} package" in str(caught.value)
    assert type(given).__qualname__ in str(caught.value)
    assert caught.value.code == "usage.response"
    assert "pass" in caught.value.hint
    if "Stream" in type(given).__name__:
        assert api.final in caught.value.hint
    assert bench.recorded == []
    assert runs == []


# -- registration ----------------------------------------------------------------------------------


class Unknown:
    """A type without a JSON Schema."""


def no_schema(thing: Unknown) -> None: ...
def variadic(*cities: str) -> None: ...
def keywords(**cities: str) -> None: ...
def positional(city: str, /) -> None: ...
def unresolved(city: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
def generator(city: str) -> Any:
    yield city


async def async_generator(city: str) -> Any:
    yield city


@pytest.mark.parametrize(
    "function",
    [no_schema, variadic, keywords, positional, unresolved, generator, async_generator],
)
def test_a_function_that_gives_no_tool_is_named(
    bench: Bench, api: Api, function: Callable[..., Any]
) -> None:
    """When it is registered, and the box stays as it was."""
    box = api.box(bench.guard)
    with pytest.raises(Exception, match=function.__name__) as caught:
        box.tool(function)
    assert str(getattr(caught.value, "code", "")).startswith(("usage.", "schema."))
    assert box.tools() == []


def test_two_tools_of_one_name_are_refused(bench: Bench, api: Api) -> None:
    """By the box, and by a guard that knows another tool of that name."""
    box = api.box(bench.guard)
    box.tool(weather)
    for given in ({}, {"server": "elsewhere"}):
        with pytest.raises(UsageError, match="weather: this ToolBox already has") as caught:
            box.tool(weather, **given)
        assert caught.value.code == "usage.tool_name"

    def other(city: int) -> None: ...

    with pytest.raises(ConfigError):
        api.box(bench.guard).tool(other, name="weather")
    assert len(box.tools()) == 1
    # Several boxes may share a tool.
    api.box(bench.guard).tool(weather)


@pytest.mark.parametrize("name", ["two words", "dot.ted", "ümlaut", "x" * 129, "<lambda>"])
def test_a_name_that_the_api_does_not_accept_is_refused(bench: Bench, api: Api, name: str) -> None:
    """Here, and not by the provider at the first request."""
    with pytest.raises(UsageError, match="the API does not accept this name for a tool") as caught:
        api.box(bench.guard).tool(weather, name=name)
    assert name in str(caught.value)


def test_a_method_is_registered_with_its_object(bench: Bench, api: Api, how: str) -> None:
    """A method without its object is refused."""

    class Station:
        def __init__(self, sky: str) -> None:
            self.sky = sky

        def report(self, city: str) -> str:
            """Report."""
            return f"{self.sky} in {city}"

    box = api.box(bench.guard)
    with pytest.raises(UsageError, match="report: this is an unbound method"):
        box.tool(Station.report)

    class Governed:
        @bench.guard.tool
        def forecast(self, city: str) -> str:
            return f"snow in {city}"

    with pytest.raises(UsageError, match="forecast: this is an unbound method"):
        box.tool(Governed.forecast)
    box.tool(Governed().forecast)
    box.tool(Station("rain").report)
    for name, sky in (("report", "rain"), ("forecast", "snow")):
        response = api.ask(asking("Bern", name=name))
        assert api.texts(run_either(box, response, how)) == [f"{sky} in Bern"]


def test_the_registered_function_itself_is_governed(bench: Bench, api: Api) -> None:
    """A program that calls it goes through the guard as well."""
    box = api.box(bench.guard)
    governed = box.tool(weather)
    assert governed(city="Bern") == "sun in Bern"
    with pytest.raises(Exception, match="no_such_place"):
        governed(city="Atlantis")
    assert len(bench.decisions) == 2


def test_a_function_of_guard_tool_is_decided_once(bench: Bench, api: Api, how: str) -> None:
    """It is taken as it is, with the options that it has."""
    box = api.box(bench.guard)
    made = bench.guard.tool(labels=["read"], target=["/city"])(weather)
    with pytest.raises(UsageError, match=r"weather: guard\.tool has already registered this tool"):
        box.tool(made, labels=["write"])
    assert box.tool(made) is made
    assert api.texts(run_either(box, api.ask(asking("Bern")), how)) == ["sun in Bern"]
    (decision,) = bench.decisions
    assert decision["target"] == ["Bern"]
    assert decision["input"]["resource"]["properties"]["labels"] == ["read"]


def test_a_wrapper_of_a_governed_function_is_refused(bench: Bench, api: Api) -> None:
    """functools.wraps copies what marks a tool; each of its calls would be decided twice."""
    made = bench.guard.tool(weather)

    @functools.wraps(made)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return made(*args, **kwargs)

    with pytest.raises(UsageError, match="weather: this wraps a governed tool"):
        api.box(bench.guard).tool(wrapper)


def test_options_reach_the_policy_and_the_record(bench: Bench, api: Api) -> None:
    """As with guard.tool."""
    box = api.box(bench.guard)
    box.tool(
        weather, labels=["read"], target=["/city"], log_output=True, server="sky", description="D."
    )
    box.run(api.ask(asking("Bern")))
    (decision,) = bench.decisions
    assert decision["tool"]["server"] == "sky"
    assert decision["target"] == ["Bern"]
    assert bench.outcomes[0]["result"]["value"] == "sun in Bern"
    assert "D." in str(box.tools())


def test_content_parts_are_passed_on(bench: Bench, api: Api, how: str) -> None:
    """Only if the body says that it returns parts: a list of objects is a result like another."""
    parts = [{"type": "text", "text": "sun"}]
    box = api.box(bench.guard)
    box.tool(lambda: ContentParts(parts), name="as_parts")
    box.tool(lambda: parts, name="as_data")
    response = api.ask(Turn(calls=[Call("as_parts", {}), Call("as_data", {})]))
    assert api.texts(run_either(box, response, how)) == [parts, '[{"type":"text","text":"sun"}]']


def test_an_exception_whose_text_fails_is_told_by_its_class(bench: Bench, api: Api) -> None:
    """And one that has no text."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(city: str) -> None:
        raise Rude if city == "a" else KeyError

    box = api.box(bench.guard)
    box.tool(fail)
    response = api.ask(asking("a", "b", name="fail"))
    assert api.texts(box.run(response)) == ["failed: Rude", "failed: KeyError"]
    assert [each["status"] for each in bench.outcomes] == ["error", "error"]

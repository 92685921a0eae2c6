"""What a call comes to: refusals that the model can read, errors recorded as errors, results as
they were.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.types import Command

from guardrail import ApprovalRequired, Denied, ToolTimeoutError, UsageError
from guardrail.integrations.langchain import govern
from tests.support.langchain import RUNS, weather


def call(name: str, **args: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": "call-1", "name": name, "args": args}


def test_a_denied_tool_call_becomes_an_error_message_for_the_model(bench: Any) -> None:
    """With the public reason, and the sequence number beside it for the program."""
    result = govern(weather, bench.guard).invoke(call("weather", city="Atlantis"))
    assert isinstance(result, ToolMessage)
    assert (result.status, result.tool_call_id, result.name) == ("error", "call-1", "weather")
    assert result.content == "denied by policy: no_such_place"
    assert result.artifact == {"guardrail": {"seq": bench.decisions[0]["seq"]}}
    assert RUNS == []
    assert bench.outcomes == []


async def test_a_denied_tool_call_becomes_an_error_message_also_when_awaited(bench: Any) -> None:
    """As when it is not."""

    @tool
    async def aweather(city: str) -> str:
        """Tell the weather."""
        RUNS.append(city)
        return city

    result = await govern(aweather, bench.guard).ainvoke(call("aweather", city="Atlantis"))
    assert (result.status, result.content) == ("error", "denied by policy: no_such_place")
    with pytest.raises(Denied):
        await govern(aweather, bench.guard).ainvoke({"city": "Atlantis"})
    assert RUNS == []


def test_a_denial_is_raised_where_plain_arguments_were_given(bench: Any) -> None:
    """There is no message to put it into."""
    with pytest.raises(Denied) as caught:
        govern(weather, bench.guard).invoke({"city": "Atlantis"})
    assert caught.value.seq == bench.decisions[0]["seq"]
    assert RUNS == []


def test_a_call_that_needs_approval_says_so_and_does_not_run(bench: Any) -> None:
    """As an error message, or raised."""
    made = govern(weather, bench.guard)
    result = made.invoke(call("weather", city="Utopia"))
    assert result.status == "error"
    assert "a person must approve this call" in result.content
    assert result.artifact == {"guardrail": {"seq": bench.decisions[0]["seq"]}}
    with pytest.raises(ApprovalRequired):
        made.invoke({"city": "Utopia"})
    assert RUNS == []
    assert bench.outcomes == []


@pytest.mark.parametrize("flag", [True, "failed", lambda _: "failed"])
def test_the_framework_s_tool_error_handler_does_not_hide_a_denial(bench: Any, flag: Any) -> None:
    """handle_tool_error acts on ToolException alone, and a denial is none."""
    made = govern(weather.model_copy(update={"handle_tool_error": flag}), bench.guard)
    with pytest.raises(Denied):
        made.invoke({"city": "Atlantis"})


def test_content_and_artifact_come_back_as_they_were(bench: Any) -> None:
    """The pair is the body's result; the message is made of it as before."""

    @tool(response_format="content_and_artifact")
    def forecast(city: str) -> tuple[str, dict[str, int]]:
        """Tell the weather."""
        return f"sun in {city}", {"days": 3}

    result = govern(forecast, bench.guard).invoke(call("forecast", city="Bern"))
    assert (result.content, result.artifact, result.status) == (
        "sun in Bern",
        {"days": 3},
        "success",
    )
    assert [record["status"] for record in bench.outcomes] == ["ok"]


def test_a_message_with_status_error_is_recorded_as_an_error(bench: Any) -> None:
    """A tool that reports its failure did not succeed; what it returned still comes back."""

    @tool
    def broken(city: str) -> ToolMessage:
        """Report a failure."""
        return ToolMessage("no sensor", tool_call_id="call-1", status="error")

    result = govern(broken, bench.guard).invoke(call("broken", city="Bern"))
    assert (result.status, result.content) == ("error", "no sensor")
    assert [record["status"] for record in bench.outcomes] == ["error"]
    assert bench.outcomes[0]["error"]["message"] == "no sensor"


async def test_an_error_message_in_a_command_is_recorded_as_an_error(bench: Any) -> None:
    """Also inside a command or a list of them, and also awaited."""

    @tool
    async def handover(city: str) -> Any:
        """Report a failure in a command."""
        message = ToolMessage("no sensor", tool_call_id="call-1", status="error")
        return [Command(update={"messages": [message]})]

    result = await govern(handover, bench.guard).ainvoke(call("handover", city="Bern"))
    assert isinstance(result[0], Command)
    assert [record["status"] for record in bench.outcomes] == ["error"]


def test_a_good_command_is_recorded_as_ok(bench: Any) -> None:
    """A command is a result like any other."""

    @tool
    def handover(city: str) -> Command:
        """Hand over."""
        return Command(update={"messages": [ToolMessage("done", tool_call_id="call-1")]})

    assert isinstance(govern(handover, bench.guard).invoke(call("handover", city="Bern")), Command)
    assert [record["status"] for record in bench.outcomes] == ["ok"]


def test_an_exception_of_the_body_is_recorded_and_raised(bench: Any) -> None:
    """The framework gets the very exception."""

    @tool
    def failing(city: str) -> str:
        """Fail."""
        raise LookupError(f"no such city: {city}")

    with pytest.raises(LookupError, match="no such city: Bern"):
        govern(failing, bench.guard).invoke({"city": "Bern"})
    assert [record["status"] for record in bench.outcomes] == ["error"]
    assert bench.outcomes[0]["error"]["class"] == "LookupError"


def test_a_handled_tool_exception_is_recorded_as_an_error(bench: Any) -> None:
    """The framework turns it into text afterwards; the record keeps what happened."""

    @tool
    def failing(city: str) -> str:
        """Fail."""
        raise ToolException("no sensor")

    made = govern(failing.model_copy(update={"handle_tool_error": True}), bench.guard)
    assert made.invoke({"city": "Bern"}) == "no sensor"
    assert [record["status"] for record in bench.outcomes] == ["error"]


@pytest.mark.call_path(
    "LangChain",
    "arguments that do not match the schema",
    result="refused",
    note="`call.rejected`, reason `arguments`",
)
@pytest.mark.parametrize("handled", [False, True])
async def test_arguments_that_the_framework_refuses_are_recorded_as_rejected(
    bench: Any, handled: bool
) -> None:
    """Without a value, whether the framework raises or hides its refusal, and no body runs."""
    secret = "value-" + "z" * 12
    made = govern(weather.model_copy(update={"handle_validation_error": handled}), bench.guard)
    bad = call("weather", city={"value": secret})
    for _ in range(2):
        if handled:
            assert (await made.ainvoke(bad)).status == "error"
        else:
            with pytest.raises(ValueError, match="city"):
                made.invoke(bad)
    assert RUNS == []
    assert bench.decisions == []
    assert len(bench.rejected) == 2
    record = bench.rejected[0]
    assert record["reason"] == "arguments"
    assert record["tool"]["name"] == "weather"
    assert record["origin"]["call_id"] == "call-1"
    assert secret not in bench.text


async def test_a_refused_input_is_recorded_as_rejected_when_awaited(bench: Any) -> None:
    """arun writes the record without blocking the event loop's thread with it."""

    @tool
    async def aweather(city: str) -> str:
        """Tell the weather."""
        return city

    with pytest.raises(ValueError, match="city"):
        await govern(aweather, bench.guard).ainvoke(call("aweather"))
    assert [record["reason"] for record in bench.rejected] == ["arguments"]


def test_too_many_arguments_for_a_single_input_tool_are_rejected(bench: Any) -> None:
    """LangChain raises a ToolException before the body: not an error of the tool."""
    from langchain_core.tools import Tool

    made = govern(Tool(name="echo", description="Echo.", func=RUNS.append), bench.guard)
    with pytest.raises(ToolException):
        made.invoke({"a": "1", "b": "2"})
    assert [record["reason"] for record in bench.rejected] == ["input"]
    assert RUNS == []


def test_what_the_model_sees_of_a_tool_is_unchanged(bench: Any) -> None:
    """Name, description, schemas, flags: a model can't tell a governed tool from its original."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    original = weather.model_copy(
        update={"return_direct": True, "tags": ["a"], "metadata": {"b": 1}}
    )
    made = govern(original, bench.guard)
    assert convert_to_openai_tool(made) == convert_to_openai_tool(original)
    assert made.args == original.args
    assert (
        made.get_input_schema().model_json_schema()
        == original.get_input_schema().model_json_schema()
    )
    assert (made.return_direct, made.tags, made.metadata) == (True, ["a"], {"b": 1})
    assert json.loads(made.model_dump_json())["name"] == "weather"


def test_labels_target_and_log_output_reach_policy_and_record(bench: Any) -> None:
    """As guard.declare takes them."""
    made = govern(weather, bench.guard, labels=["read"], target=["/city"], log_output=True)
    made.invoke({"city": "Bern"})
    properties = bench.policy.inputs[0]["resource"]["properties"]
    assert properties["labels"] == ["read"]
    assert properties["target"] == ["Bern"]
    assert bench.decisions[0]["target"] == ["Bern"]
    assert "sun in Bern" in json.dumps(bench.outcomes[0]["result"])


def test_a_class_that_is_not_a_function_reports_as_before(bench: Any) -> None:
    """response_format of a class, with its own _run."""

    class Forecast(BaseTool):
        name: str = "forecast"
        description: str = "Tell the weather."
        response_format: Any = "content_and_artifact"

        def _run(self, city: str) -> tuple[str, list[int]]:
            return city, [1, 2]

    result = govern(Forecast(), bench.guard).invoke(call("forecast", city="Bern"))
    assert (result.content, result.artifact) == ("Bern", [1, 2])


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_timeout_becomes_an_error_message_for_the_model(bench: Any, awaited: bool) -> None:
    """It says that the tool may have had side effects; with plain arguments it is raised."""
    release = threading.Event()

    @tool
    def slow(city: str) -> str:
        """Tell the weather, some day."""
        release.wait()
        return city

    @tool
    async def aslow(city: str) -> str:
        """Tell the weather, some day."""
        await asyncio.Event().wait()
        return city

    governed = govern(aslow if awaited else slow, bench.guard, timeout=0.05)
    request = call(governed.name, city="Paris")
    result = await governed.ainvoke(request) if awaited else governed.invoke(request)
    assert isinstance(result, ToolMessage)
    state = "was cancelled" if awaited else "may still be running"
    assert (result.status, result.tool_call_id, result.artifact) == ("error", "call-1", None)
    assert result.content == (
        f"failed: ToolTimeoutError: {governed.name} timed out after 0.05 s and {state}: "
        "it may have had side effects"
    )
    (outcome,) = bench.outcomes
    assert (outcome["status"], outcome["error"]["class"]) == ("error", "timeout")
    with pytest.raises(ToolTimeoutError):
        await governed.ainvoke({"city": "Paris"})
    release.set()


def test_one_tool_is_not_governed_with_two_timeouts(bench: Any) -> None:
    """As with its other options."""
    governed = govern(weather, bench.guard, timeout=60)
    assert govern(governed, bench.guard, timeout=60) is governed
    with pytest.raises(UsageError):
        govern(governed, bench.guard, timeout=5)

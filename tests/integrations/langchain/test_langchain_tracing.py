"""LangSmith gets a tool's arguments before the guard does: the adapter says so, and the settings
that docs/integrations.md names keep them back.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client, tracing_context

from guardrail.integrations.langchain import GuardMiddleware, TracingWarning
from tests.support.langchain import RUNS
from tests.support.model_server import read_body

ROOT = Path(__file__).parents[3]
RAW = "Atlantis"
"""What the denied call asks about."""
ALLOWED = "Eldorado"
"""What another call asks about."""


LIMITS = {
    "use_multipart_endpoint": True,
    "size_limit": 100,
    "size_limit_bytes": 2**24,
    "scale_up_qsize_trigger": 1000,
    "scale_up_nthreads_limit": 2,
    "scale_down_nempty_trigger": 4,
}
"""What the service tells its clients about itself."""


class Service(ThreadingHTTPServer):
    """The service that traces are sent to, on this machine. It keeps what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def text(self) -> str:
        return b"\n".join(self.got).decode()

    def parts(self) -> list[tuple[str, str]]:
        """The name and the content of each part of what was sent."""
        return re.findall(r'name="([^"]+)".*?\r\n\r\n(.*?)\r\n--', self.text, re.DOTALL)


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self._answer({"version": "1", "batch_ingest_config": LIMITS, "instance_flags": {}})

    def do_POST(self) -> None:
        self.server.got.append(read_body(self))
        self._answer({})

    do_PATCH = do_POST  # noqa: N815 - the name that the server looks for

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep stderr clean."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


class Asking(GenericFakeChatModel):
    """A model whose own description does not hold what it will say."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


@tool
def forecast(city: str) -> str:
    """Tell the weather."""
    RUNS.append(city)
    return f"sun in {city}"


@tool
def failing(city: str) -> str:
    """Fail."""
    raise ValueError(f"no such city: {city}")


def agent(bench: Any, *, city: str = RAW, name: str = "forecast") -> Any:
    call = {"name": name, "args": {"city": city}, "id": "c1", "type": "tool_call"}
    said = iter([AIMessage("", tool_calls=[call]), AIMessage("done")])
    return create_agent(
        Asking(messages=said),
        tools=[forecast, failing],
        middleware=[GuardMiddleware(bench.guard)],
    )


def traced(bench: Any, service: Service, how: dict[str, Any], **which: Any) -> None:
    """Run an agent with tracing by a client that is made *how*."""
    client = Client(api_url=service.url, api_key="none", **how)
    try:
        with tracing_context(enabled=True, client=client):
            agent(bench, **which).invoke({"messages": [HumanMessage("go")]})
    finally:
        client.flush(60)


def masked(values: dict[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = json.loads(json.dumps(values).replace(RAW, "*").replace(ALLOWED, "*"))
    return text


MASKS = {
    "hidden": {"hide_inputs": True, "hide_outputs": True},
    "functions": {"hide_inputs": masked, "hide_outputs": masked},
    "anonymizer": {"anonymizer": masked},
}


@pytest.mark.call_path(
    "LangChain",
    "LangSmith's tracer, callback handlers",
    result="not governed",
    note="they get the arguments first; `TracingWarning` and `doctor` report LangSmith without a"
    " mask",
)
def test_the_arguments_of_a_denied_call_are_traced_and_the_adapter_says_so(
    bench: Any, service: Service
) -> None:
    with pytest.warns(TracingWarning, match="including those of denied calls") as told:
        traced(bench, service, {})
    assert len(told) == 1
    assert (RUNS, len(bench.decisions)) == ([], 1)
    kinds = {name.split(".")[-1] for name, content in service.parts() if RAW in content}
    assert kinds == {"inputs", "outputs"}
    # Once for each guard.
    traced(bench, service, {})


@pytest.mark.parametrize("how", MASKS)
def test_masked_arguments_are_not_traced(bench: Any, service: Service, how: str) -> None:
    """And nothing warns, because warnings are errors here."""
    traced(bench, service, MASKS[how])
    assert (RUNS, len(bench.decisions)) == ([], 1)
    assert "GuardMiddleware.wrap_tool_call" in service.text
    assert RAW not in service.text


@pytest.mark.parametrize("half", ["hide_inputs", "hide_outputs"])
def test_to_hide_inputs_or_outputs_alone_is_not_enough(
    bench: Any, service: Service, half: str
) -> None:
    """A call is an output of the model, and an input of the tool."""
    with pytest.warns(TracingWarning):
        traced(bench, service, {half: True})
    assert RAW in service.text


@pytest.mark.parametrize(("how", "seen"), [("hidden", True), ("anonymizer", False)])
def test_only_an_anonymizer_masks_the_text_of_an_error(
    bench: Any, service: Service, how: str, seen: bool
) -> None:
    with pytest.raises(ValueError, match="no such city"):
        traced(bench, service, MASKS[how], city=ALLOWED, name="failing")
    assert "no such city" in service.text
    assert (ALLOWED in service.text) is seen


def test_a_tracer_given_as_a_callback_is_noticed(bench: Any, service: Service) -> None:
    client = Client(api_url=service.url, api_key="none")
    tracer = LangChainTracer(client=client)
    with pytest.warns(TracingWarning):
        agent(bench).invoke({"messages": [HumanMessage("go")]}, {"callbacks": [tracer]})
    client.flush(60)
    assert RAW in service.text


def test_a_program_without_tracing_is_not_warned(bench: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent(bench).invoke({"messages": [HumanMessage("go")]})
    assert len(bench.decisions) == 1


def test_the_span_of_the_middleware_holds_no_arguments(bench: Any, service: Service) -> None:
    with pytest.warns(TracingWarning):
        traced(bench, service, {}, city="Bern")
    parts = dict(service.parts())
    spans = [
        name
        for name, content in parts.items()
        if '"name":"GuardMiddleware.wrap_tool_call"' in content
    ]
    assert spans
    assert RUNS == ["Bern"]
    for span in spans:
        for kind in ("inputs", "outputs"):
            assert "Bern" not in parts.get(f"{span}.{kind}", "")


PROGRAM = """
import warnings
warnings.simplefilter("always")
from langchain_core.tracers.langchain import wait_for_all_tracers
from tests.integrations.langchain.test_langchain_tracing import HumanMessage, agent
from tests.support.adapters import make_bench
agent(make_bench()).invoke({"messages": [HumanMessage("go")]})
wait_for_all_tracers()
"""


@pytest.mark.parametrize("hidden", ["false", "true"])
def test_the_variables_that_switch_tracing_on_and_mask_it_work(
    service: Service, hidden: str
) -> None:
    settings = {
        "LANGSMITH_TRACING": "true",
        "LANGSMITH_ENDPOINT": service.url,
        "LANGSMITH_API_KEY": "none",
        "LANGSMITH_HIDE_INPUTS": hidden,
        "LANGSMITH_HIDE_OUTPUTS": hidden,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GuardMiddleware.wrap_tool_call" in service.text
    assert (RAW in service.text) is (hidden == "false")
    assert ("TracingWarning" in done.stderr) is (hidden == "false")

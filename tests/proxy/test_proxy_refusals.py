"""Requests that a listener refuses are counted in the ledger, and can't fill it."""

from __future__ import annotations

import http.client
import json
import os
import threading
from pathlib import Path

import httpx2

from guardrail.config import ProxySettings
from guardrail.errors import LedgerError
from guardrail.proxy.embedded import EmbeddedProxy
from guardrail.proxy.listening import proxy_listener
from guardrail.proxy.notices import Notices
from guardrail.proxy.refusals import RefusedRequests
from guardrail.system.caller_tokens import add_token
from tests.support.adapters import Bench
from tests.support.waiting import until


def refused(bench: Bench) -> list[dict[str, object]]:
    return [each["detail"] for each in bench.ledger.of("admin.requests_refused")]


def test_refused_requests_are_counted_by_reason(bench: Bench) -> None:
    """One record for all of them, at the latest when the proxy stops."""
    settings = ProxySettings(listen="127.0.0.1:0")
    lines: list[str] = []
    listener = proxy_listener(bench.guard, "http://127.0.0.1:9/v1", settings, log=lines.append)
    told = set()
    with listener:
        for headers in [{"Host": "evil.example"}] * 20 + [{"Origin": "https://evil.example"}] * 3:
            line = http.client.HTTPConnection("127.0.0.1", listener.address.port)
            line.request("GET", "/v1/models?x=sk-secret", headers=headers)
            answer = line.getresponse()
            told.add(
                (
                    answer.status,
                    json.loads(answer.read())["error"]["message"].rpartition("add it to ")[2],
                )
            )
            line.close()
        line = http.client.HTTPConnection("127.0.0.1", listener.address.port)
        line.request("GET", "/v1/models")
        assert line.getresponse().status == 502
        line.close()
        assert refused(bench) == []
    (found,) = refused(bench)
    assert told == {(421, "[proxy] hosts"), (403, "[proxy] origins")}
    assert [line.partition(":")[0] for line in lines] == [
        *["a request was refused"] * 2,
        "a request failed",
    ]
    assert "can't be reached" in lines[2]
    assert found["reasons"] == {"host": 20, "origin": 3, "proxy.upstream_unreachable": 1}
    assert str(found["since"]).startswith("20")
    assert "evil" not in bench.text
    assert "sk-secret" not in bench.text


def test_a_program_s_requests_without_a_call_are_counted(bench: Bench) -> None:
    """No record of a call tells about them."""
    settings = ProxySettings()
    bodies = ['{"model": "m", "messages": []}', "{", '{"model": "m", "data_sources": [1]}']
    with EmbeddedProxy(bench.guard, settings, openai="http://127.0.0.1:9/v1") as proxy:
        url = proxy.environment({})["OPENAI_BASE_URL"]
        made = [httpx2.post(f"{url}/chat/completions", content=body) for body in bodies]
        made.append(httpx2.post(url.replace("/v1", "x/v1"), content="{}"))
    assert [each.status_code for each in made] == [502, 400, 400, 404]
    (found,) = refused(bench)
    assert found["reasons"] == {
        "proxy.upstream_unreachable": 1,
        "proxy.request": 1,
        "model_request.field": 1,
        "proxy.route": 1,
    }


def test_a_flood_leaves_one_record_in_each_interval() -> None:
    """Each of them has the number of requests since the one before."""
    written: list[int] = []
    again = threading.Event()

    def record(_: str, detail: object) -> None:
        written.append(detail["reasons"]["host"])  # type: ignore[index]
        again.set()

    counting = RefusedRequests(record, often_s=0.05)
    for _ in range(2):
        again.clear()
        for _ in range(5_000):
            counting.note("host")
        until(again.is_set, "the record of an interval")
    counting.close()
    counting.close()
    assert sum(written) == 10_000
    assert len(written) < 100


def test_a_child_counts_its_own_requests() -> None:
    """Those of its parent are in the parent's record, and its timer runs in the parent only."""
    written: list[int] = []
    counting = RefusedRequests(lambda _, detail: written.append(detail["reasons"]["host"]))
    counting.note("host")
    child = os.fork()
    if child == 0:
        counting.close()
        counting.note("host")
        counting.note("host")
        counting.close()
        os._exit(0 if written == [2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    counting.close()
    assert written == [1]


def test_a_ledger_that_can_not_be_written_stops_no_listener() -> None:
    def record(*_: object) -> None:
        raise LedgerError("the disk is full")

    counting = RefusedRequests(record)
    counting.note("host")
    counting.close()


def test_the_operator_gets_one_line_of_each_kind_in_a_minute() -> None:
    """The next one says how many were left out. A terminal that is gone stops no request."""
    lines: list[str] = []
    now = 0.0
    notices = Notices(lines.append, clock=lambda: now)
    for _ in range(3):
        notices.tell("host", "refused")
    notices.tell("origin", "refused, too")
    now = 61.0
    notices.tell("host", "refused")
    assert lines == ["refused", "refused, too", "refused (2 times more since the last such line)"]

    def gone(_: str) -> None:
        raise BrokenPipeError

    Notices(gone).tell("host", "refused")


def test_a_callers_file_that_can_not_be_used_any_more_is_no_fault_of_the_caller(
    bench: Bench, tmp_path: Path
) -> None:
    """The operator gets one line for each change, and the next request with a sound file works."""
    path, lines = tmp_path / "callers", list[str]()
    headers = {"x-guardrail-token": add_token(path, "ci")}
    settings = ProxySettings(listen="127.0.0.1:0", callers=path)
    listener = proxy_listener(bench.guard, "http://127.0.0.1:9/v1", settings, log=lines.append)
    found = []
    with listener:
        for mode in (0o666, 0o666, 0o600, 0o606):
            path.chmod(mode)
            line = http.client.HTTPConnection("127.0.0.1", listener.address.port)
            line.request("GET", "/v1/models", headers=headers)
            answer = line.getresponse()
            found.append((answer.status, answer.headers["x-should-retry"], answer.read().decode()))
            line.close()
    assert [each[:2] for each in found] == [(503, "false")] * 2 + [(502, None), (503, "false")]
    assert "can't use its file of callers" in found[0][2]
    assert "guardrail doctor" in found[0][2]
    problems = [line for line in lines if "others can change it" in line]
    assert len(problems) == 2
    assert f"chmod 600 {path}" in problems[0]

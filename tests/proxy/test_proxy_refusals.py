"""Requests that a listener refuses are counted in the ledger, and can't fill it."""

from __future__ import annotations

import http.client
import threading

from guardrail.config import ProxySettings
from guardrail.errors import LedgerError
from guardrail.proxy.listening import proxy_listener
from guardrail.proxy.refusals import RefusedRequests
from tests.support.adapters import Bench
from tests.support.waiting import until


def refused(bench: Bench) -> list[dict[str, object]]:
    return [each["detail"] for each in bench.ledger.of("admin.requests_refused")]


def test_refused_requests_are_counted_by_reason(bench: Bench) -> None:
    """One record for all of them, at the latest when the proxy stops."""
    settings = ProxySettings(listen="127.0.0.1:0")
    listener = proxy_listener(bench.guard, "http://127.0.0.1:9/v1", settings)
    with listener:
        for headers in [{"Host": "evil.example"}] * 20 + [{"Origin": "https://evil.example"}] * 3:
            line = http.client.HTTPConnection("127.0.0.1", listener.address.port)
            line.request("GET", "/v1/models?x=sk-secret", headers=headers)
            assert line.getresponse().status in {403, 421}
            line.close()
        assert refused(bench) == []
    (found,) = refused(bench)
    assert found["reasons"] == {"host": 20, "origin": 3}
    assert str(found["since"]).startswith("20")
    assert "evil" not in bench.text
    assert "sk-secret" not in bench.text


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


def test_a_ledger_that_can_not_be_written_stops_no_listener() -> None:
    def record(*_: object) -> None:
        raise LedgerError("the disk is full")

    counting = RefusedRequests(record)
    counting.note("host")
    counting.close()

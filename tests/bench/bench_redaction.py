"""Cost of redaction: inspection and view, the last gate, per detector. ``python -m
tests.bench.bench_redaction``

Prints p50 and p99 of wall time and the CPU time per call of one thread, hot. Nothing is asserted: a
number is judged by a person who knows the machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from guardrail.core.redaction.detectors.scan import scan
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.redaction.values import all_texts
from guardrail.keys.tenant_keys import TenantKeys
from tests.support.benchmarks import QUICK

SMALL: dict[str, object] = {
    "query": "status of orders in the north region",
    "limit": 20,
    "filters": {"status": "open", "region": "north"},
    "page": 1,
    "sort": "created",
    "include": ["items", "totals"],
}
LARGE: dict[str, object] = {
    "customer": {
        "first_name": "Maria",
        "last_name": "Fernandez",
        "email": "maria.f@example.org",
        "phone": "+49 30 12345678",
        "dob": "1984-03-12",
        "address": {"line1": "Hauptstrasse 12", "zip": "10115", "city": "Berlin"},
    },
    "auth": {"api_key": "tok-abcdef-123"},
    "card": {"number": "4111 1111 1111 1111"},
    "order": {
        "id": "ORD-2024-00017",
        "items": [
            {"sku": "A-1001", "title": "Wireless keyboard, German layout", "qty": 1, "price": 49.9},
            {"sku": "B-2002", "title": "USB-C cable two metres", "qty": 3, "price": 9.5},
        ],
        "note": (
            "Please leave the parcel with the neighbour on the second floor, ring twice, and call"
            " before noon."
        ),
    },
    "comment": (
        "Customer asked twice whether the invoice can be sent by post instead of electronically;"
        " agreed, no fee."
    ),
    "channel": "web",
    "priority": "normal",
    "tags": ["returning", "b2c", "newsletter"],
    "callback": "https://shop.example.com/webshop/orders?source=agent&lang=de",
}


def measure(name: str, work: Callable[[], object], rounds: int = 300 if QUICK else 3_000) -> None:
    """Print p50, p99 and CPU per call of *work*, in microseconds."""
    for _ in range(rounds // 10):
        work()
    walls: list[float] = []
    cpu = time.thread_time()
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        walls.append(time.perf_counter() - start)
    cpu = (time.thread_time() - cpu) / rounds
    walls.sort()
    print(
        f"{name:<44} p50 {walls[rounds // 2] * 1e6:7.1f}  p99"
        f" {walls[rounds * 99 // 100] * 1e6:7.1f}  CPU {cpu * 1e6:7.1f} us"
    )


def main() -> None:
    """Print the table."""
    keys = TenantKeys(b"\x07" * 32, "bench", "k1")
    redactor = Redactor(token=keys.token, mark=keys.mark)
    for name, args in (("small", SMALL), ("large", LARGE)):
        memory = Memory()

        def inspect(args: dict[str, object] = args, memory: Memory = memory) -> object:
            return redactor.inspect(args, schema=None, declared=True, memory=memory)

        def both(args: dict[str, object] = args, memory: Memory = memory) -> object:
            return redactor.inspect(args, schema=None, declared=True, memory=memory).view()

        view = redactor.inspect(args, schema=None, declared=True, memory=memory).view()
        leaves = list(all_texts(view.value))
        size = len(json.dumps(args))
        print(
            f"-- {name}: {size} bytes, {len(view.removed)} removals, {len(leaves)} strings in the"
            " view"
        )
        measure("inspect", inspect)
        measure("inspect and view", both)
        measure("gate", lambda leaves=leaves, memory=memory: redactor.gate(leaves, memory))  # type: ignore[misc]
    text = str(LARGE["comment"])
    print(f"-- text of {len(text)} characters")
    measure("scan", lambda: scan(text))
    measure("text", lambda: redactor.text(text, Memory()))
    measure("token", lambda: keys.token("contact", "maria.f@example.org"))


if __name__ == "__main__":
    main()

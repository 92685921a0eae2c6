"""A worker that misbehaves on demand, around the real one. The fault is named in the call's
arguments.
"""

from __future__ import annotations

import os
import re
import runpy
import sys
import time
from typing import Any

REAL = os.path.join(
    os.path.dirname(os.path.abspath(__file__)),
    "..",
    "..",
    "..",
    "guardrail",
    "policy",
    "embedded",
    "worker.py",
)


def main() -> None:
    """Serve like the real worker, but for requests that ask for a fault."""
    real = runpy.run_path(REAL, run_name="real_worker")
    answer, send = real["Server"].answer, real["send"]
    fault: list[bytes] = [b""]
    place = [0]

    def faulty_answer(server: Any, kind: bytes, body: bytes) -> tuple[bytes, bytes]:
        fault[0] = b""
        for name in (
            b"hang",
            b"exit",
            b"wrong_id",
            b"huge",
            b"garbage",
            b"kill",
            b"stall",
            b"slow",
            b"twice",
            b"cut",
            b"shut",
        ):
            if kind == b"D" and b'"fault": "' + name + b'"' in body:
                fault[0] = name
        found = re.search(rb'"at": (\d+)', body)
        place[0] = int(found[1]) if found else 0
        if fault[0] == b"hang":
            time.sleep(60)
        if fault[0] == b"slow":
            time.sleep(0.15)
        if fault[0] == b"shut":  # closes its output, but does not end
            os.close(1)
            time.sleep(60)
        if fault[0] == b"exit":
            os._exit(7)
        if fault[0] == b"kill":
            os.kill(os.getpid(), 9)
        result: tuple[bytes, bytes] = answer(server, kind, body)
        return result

    def faulty_send(rid: bytes, kind: bytes, body: bytes) -> None:
        if fault[0] == b"wrong_id":
            rid = b"x" * 16
        elif fault[0] == b"huge":
            os.write(1, (1 << 30).to_bytes(4, "big") + rid + kind)
            time.sleep(60)
        elif fault[0] == b"garbage":
            os.write(1, b"\0\0\0\1" + b"Warning: something\n" * 3)
            time.sleep(60)
        elif fault[0] == b"stall":
            os.write(1, b"\0\0")
            time.sleep(60)
        elif fault[0] == b"cut":  # dies after so many bytes of its answer
            os.write(1, (real["HEADER"].pack(17 + len(body), rid, kind) + body)[: place[0]])
            os._exit(7)
        elif fault[0] == b"twice":  # the second time after so many milliseconds
            send(rid, kind, body)
            time.sleep(place[0] / 1000)
        send(rid, kind, body)

    real["Server"].answer = faulty_answer
    real["serve"].__globals__["send"] = faulty_send
    real["main"](sys.argv)


main()

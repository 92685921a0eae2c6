"""A policy worker that breaks its protocol, or dies, in the way that the call asks for.

Started by the engine in place of its own worker. Allows where the call asks for nothing.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys

HEADER = struct.Struct(">I16sc")
ALLOWS = {
    "contract": "guardrail/1",
    "effect": "allow",
    "rules": [
        {
            "rule": "any",
            "message": "any",
            "severity": "info",
            "effect": "allow",
            "needs": [],
            "approvers": 1,
        }
    ],
    "redact": [],
    "labels": [],
    "obligations": [],
}


def send(rid: bytes, kind: bytes, body: bytes, *, length: int | None = None) -> None:
    data = HEADER.pack(17 + (len(body) if length is None else length), rid, kind) + body
    while data:
        data = data[os.write(1, data) :]


def decide(rid: bytes, how: str) -> None:
    if how == "undefined":
        send(rid, b"u", b"")
    elif how == "not_json":
        send(rid, b"r", b"{")
    elif how == "nan":
        send(rid, b"r", b'{"effect": NaN}')
    elif how == "wrong_id":
        send(os.urandom(16), b"r", json.dumps(ALLOWS).encode())
    elif how == "unknown_kind":
        send(rid, b"?", json.dumps(ALLOWS).encode())
    elif how == "too_large":
        send(rid, b"b", b"")
    elif how == "huge":
        send(rid, b"r", b'"' + b"x" * (2 << 20) + b'"')
    elif how == "announces_huge":
        send(rid, b"r", b"", length=1 << 30)
    elif how == "half":
        send(rid, b"r", json.dumps(ALLOWS).encode()[:20], length=400)
        os._exit(0)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exits":
        os._exit(7)
    elif how == "hangs":
        signal.pause()
    elif how == "twice":
        # An answer that nobody asked for, then the one that was: neither may answer a later call.
        send(rid, b"r", json.dumps(ALLOWS).encode())
        send(rid, b"r", json.dumps(ALLOWS).encode())
    elif how == "error":
        send(rid, b"e", b'{"error": "some trouble"}')
    else:
        send(rid, b"r", json.dumps(ALLOWS).encode())


def main() -> None:
    buffer = b""
    while chunk := os.read(0, 1 << 20):
        buffer += chunk
        while len(buffer) >= HEADER.size:
            length, rid, kind = HEADER.unpack_from(buffer)
            if len(buffer) < 4 + length:
                break
            body, buffer = buffer[HEADER.size : 4 + length], buffer[4 + length :]
            if kind == b"L":
                send(rid, b"k", b"")
            else:
                decide(rid, json.loads(body)["action"]["properties"]["args"].get("how", ""))


if __name__ == "__main__":
    sys.exit(main())

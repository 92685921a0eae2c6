"""An introspection endpoint (RFC 7662) on this machine: it authenticates its client, and knows
which tokens are revoked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

CLIENT = "guard:rail"
SECRET = "s3cr3t-of-guardrail/+%"


class IntrospectionServer:
    """The endpoint, which can be made to fail."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.revoked: set[str] = set()
        self.requests: list[str] = []
        """The tokens that were asked about."""
        self.refused = 0
        """Number of requests of an unknown client, or without the form of the RFC."""
        self.waiting = 0
        """Number of requests that are not answered yet."""
        self.status = 200
        self.more: dict[str, Any] = {}
        """Further members of an answer about an active token."""
        self.raw: bytes | None = None
        """The body of every answer, if it is not None."""
        self.hold = threading.Event()
        """Requests wait until this is set."""
        self.hold.set()


def table(server: IntrospectionServer | str, folder: Path, **more: object) -> dict[str, object]:
    """Return the settings for an endpoint, whose secret is in *folder*."""
    file = folder / "client-secret"
    if not file.exists():
        file.write_text(SECRET + "\n")
        file.chmod(0o600)
    url = server if isinstance(server, str) else server.url
    return {"url": url, "client_id": CLIENT, "secret_file": str(file), **more}


@contextmanager
def introspection_server() -> Iterator[IntrospectionServer]:
    """Serve the endpoint on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.waiting += 1
            served.hold.wait(30)
            served.waiting -= 1
            form = parse_qs(body.decode("ascii"), strict_parsing=True)
            kind, _, pair = self.headers.get("Authorization", "").partition(" ")
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            known = (kind, unquote_plus(name), unquote_plus(secret)) == ("Basic", CLIENT, SECRET)
            wanted = self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            if not known or not wanted or len(form.get("token", [])) != 1:
                served.refused += 1
                self.answer(401, b'{"error": "invalid_client"}')
                return
            token = form["token"][0]
            served.requests.append(token)
            said: dict[str, Any] = {"active": token not in served.revoked}
            if said["active"]:
                said.update(served.more)
            self.answer(
                served.status, json.dumps(said).encode() if served.raw is None else served.raw
            )

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have given up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = IntrospectionServer(f"http://127.0.0.1:{server.server_port}/introspect?tenant=1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        served.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()

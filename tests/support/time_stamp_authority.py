"""A time stamp authority on loopback, made with OpenSSL."""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_CONFIG = """
[tsa]
default_tsa = here
[here]
dir = {folder}
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/root.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[stamps]
extendedKeyUsage = critical,timeStamping
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
"""


class Authority:
    """Root, signing certificate and what they sign."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.root = folder / "root.pem"
        self.config = folder / "tsa.cnf"
        self.config.write_text(_CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self._run(
            "req",
            "-x509",
            *curve,
            "-keyout",
            "root.key",
            "-out",
            "root.pem",
            "-days",
            "3",
            "-subj",
            "/CN=root",
        )
        self._run("req", *curve, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa")
        self._run(
            *(
                "x509",
                "-req",
                "-in",
                "tsa.csr",
                "-CA",
                "root.pem",
                "-CAkey",
                "root.key",
                "-days",
                "3",
            ),
            *("-CAcreateserial", "-out", "tsa.pem", "-extfile", "tsa.cnf", "-extensions", "stamps"),
        )

    def _run(self, *arguments: str, data: bytes = b"") -> bytes:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, input=data, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stamp(self, query: bytes) -> bytes:
        """The answer to a query (both DER)."""
        (self.folder / "query").write_bytes(query)
        return self._run("ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf")

    def verifies(self, text: bytes, token: bytes) -> bool:
        """Whether OpenSSL itself takes *token* for a stamp of *text*."""
        (self.folder / "text").write_bytes(text)
        (self.folder / "token").write_bytes(token)
        done = subprocess.run(
            ["openssl", "ts", "-verify", "-data", "text", "-in", "token", "-CAfile", "root.pem"],
            cwd=self.folder,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


@contextlib.contextmanager
def serving(
    answer: Callable[[bytes], bytes], status: int = 200, kind: str = "application/timestamp-reply"
) -> Iterator[str]:
    """Answer queries on a free port of loopback; yields the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/stamp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

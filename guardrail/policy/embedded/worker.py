"""The child process that evaluates Rego.

``guardrail.policy.embedded.process`` runs it as a script. guardrail never imports it.

It starts without site-packages and imports nothing from guardrail, so that it is ready in about 20
ms. It serves one request at a time over its standard input and output. A frame consists of the
length of the remainder (4 bytes, big-endian), the request id (16 bytes), the kind (1 byte), and the
body. An answer repeats the id of its request. Bodies are JSON.

=====  ============================================================  ==========================
kind   body of the request                                           kind of the answer
=====  ============================================================  ==========================
``L``  load: ``{"modules": [[name, text]], "data": text,             ``k``, or ``e`` with the
       "canaries": [...], "warmup": input, "limit": seconds}``       canary that failed
``D``  decide: the policy input                                      ``r`` decision, ``u``
                                                                     undefined, ``e``, ``b``
``O``  offer a tool in a listing: the policy input                   as for ``D``
``P``  parse: ``{"name", "text"}``                                   ``r`` syntax tree, ``e``
``S``  set up a second engine, next to the serving one:              ``k``, ``e``
       ``{"modules", "data", "observe"}``
``W``  anything; asks for the texts that policies passed to          ``r`` list of texts
       ``guardrail_observe`` since the last ``W``
``Q``  query the second engine: ``{"rule" | "query", "input"}``      ``r``, ``u``, ``e``
``E``  echo: anything                                                ``r`` the same body
=====  ============================================================  ==========================

The body of ``e`` is ``{"error": text}``, the engine's message. ``b`` means that the answer is too
large.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Importing this module takes longer than everything else in this script.
    from typing import Any

MAX_REPLY = 1 << 20
"""Maximum size of a decision in bytes. The parent enforces it."""
MAX_TREE = 1 << 28
"""Maximum size of any other answer in bytes. A syntax tree is about 60 times as large as its
source.
"""
DECISION = "data.guardrail.main.decision"
LISTING = "data.guardrail.main.listing"
UNDEFINED = '"<undefined>"'
OBSERVE = "guardrail_observe"
"""A function that stores its only argument, a string. Defined only in engines for tests."""
MAX_OBSERVED = 1 << 26
"""Maximum number of stored characters. Further strings are dropped."""
PARENT_CHECK_MS = 5_000
SMALL, LARGE = 1 << 16, 1 << 20
"""Maximum number of bytes that are read at once: at the beginning of a request, and in its middle.
"""
HEADER = struct.Struct(">I16sc")
SUBSTITUTES = (
    "substitutes",
    "number_substitutes",
    "exact_arithmetic",
    "formatting",
    "text_substitutes",
    "unit_substitutes",
    "collection_substitutes",
    "network_substitutes",
    "identifier_substitutes",
    "digest_substitutes",
    "token_substitutes",
    "time_substitutes",
    "checked_patterns",
)
"""Modules in this folder that replace functions of the engine."""

read = os.read
write = os.write


def harden(memory: int, parent: int) -> None:
    """Limit the resources of this process, and make it exit when its parent does."""
    import resource

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Otherwise, a policy that prints could fill the file behind standard error, and the process
    # would be killed.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 1 << 16),
        (resource.RLIMIT_NOFILE, 16),
    ):
        hard = resource.getrlimit(limit)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))
    if os.getppid() != parent:
        os._exit(3)


def text_of(error: BaseException) -> str:
    """Return the engine's message without the stack trace."""
    return str(error).split("Stack backtrace", 1)[0].strip()[:4_000]


class Server:
    """Holds the engines and answers one request at a time."""

    def __init__(self, regorus: Any, substitutes: dict[str, Any], numbers: Any) -> None:
        self.regorus = regorus
        self.substitutes = substitutes
        self.numbers = numbers
        self.engine: Any = None
        self.scratch: Any = None
        # These pristine copies are never evaluated.
        self.untouched: Any = None
        self.untouched_scratch: Any = None
        self.observed: dict[str, None] = {}
        self.room = MAX_OBSERVED
        self.limit = 0.0

    def answer(self, kind: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Return the kind and body of the answer. Never raises, no matter what the engine does."""
        try:
            # This is the second line of defence: the kernel kills this process if the parent does
            # not.
            if self.limit:
                signal.setitimer(signal.ITIMER_REAL, self.limit)
            if kind == b"D":
                return self.evaluate(body, DECISION)
            if kind == b"O":
                return self.evaluate(body, LISTING)
            if kind == b"E":
                return b"r", body
            served: tuple[bytes, bytes] = getattr(self, "serve_" + kind.decode("ascii"))(body)
            return served
        except MemoryError:
            self.renew()
            return b"e", b'{"error":"memory"}'
        except BaseException as error:  # noqa: BLE001 - the engine's panics are not Exceptions
            import json

            self.renew()
            return b"e", json.dumps(
                {"error": text_of(error), "type": type(error).__name__}
            ).encode()
        finally:
            if self.limit:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def renew(self) -> None:
        """Replace an engine that may have failed. A failed evaluation leaves state behind that can
        prevent a deny rule from ever firing again.
        """
        if self.untouched is not None:
            self.engine = self.untouched.clone()
        if self.untouched_scratch is not None:
            self.scratch = self.untouched_scratch.clone()

    def evaluate(self, body: bytes, rule: str) -> tuple[bytes, bytes]:
        engine = self.engine
        self.numbers.set_input(body)
        try:
            engine.set_input_json(body.decode("utf-8"))
        except BaseException:  # noqa: BLE001 - the border
            # The message quotes the input.
            return b"e", b'{"error":"","type":"input"}'
        text = engine.eval_rule_as_json(rule)
        if text == UNDEFINED:
            return b"u", b""
        reply = text.encode("utf-8")
        if len(reply) > MAX_REPLY:
            return b"b", b""
        return b"r", reply

    def observe(self, text: str) -> str:
        """Store *text* if it is new. Texts are kept in order of arrival."""
        if text not in self.observed:
            self.room -= len(text)
            if self.room >= 0:
                self.observed[text] = None
        return ""

    def build(self, modules: list[list[str]], data: str | None, observe: bool = False) -> Any:
        engine = self.regorus.Engine()
        engine.set_policy_length_config(max_col=65_536, max_file_bytes=1 << 24, max_lines=1 << 20)
        for name, (arguments, function) in self.substitutes.items():
            engine.add_extension(name, arguments, function)
        if observe:
            engine.add_extension(OBSERVE, 1, self.observe)
        for name, text in modules:
            engine.add_policy(name, text)
        if data:
            engine.add_data_json(data)
        self.numbers.load([*(text for _, text in modules), data or ""])
        return engine

    def serve_L(self, body: bytes) -> tuple[bytes, bytes]:  # noqa: N802
        import json

        spec = json.loads(body)
        for canary in spec["canaries"]:
            problem = self.probe(canary)
            if problem:
                return b"e", json.dumps({"error": problem, "type": "canary"}).encode()
        self.untouched = self.build(spec["modules"], spec["data"])
        self.engine = self.untouched.clone()
        self.engine.set_input_json(spec["warmup"])
        self.engine.eval_rule_as_json(DECISION)
        self.limit = spec["limit"]
        return b"k", b""

    def probe(self, canary: dict[str, Any]) -> str | None:
        import json

        name: str = canary["name"]
        try:
            engine = self.build(canary["modules"], canary.get("data"))
            self.numbers.set_input(canary.get("input", "{}"))
            engine.set_input_json(canary.get("input", "{}"))
            got = engine.eval_rule_as_json(canary["rule"])
        except BaseException:  # noqa: BLE001 - the border
            return None if canary.get("raises") else name + ": raised"
        if canary.get("raises"):
            return name + ": did not raise"
        if got == UNDEFINED:
            return None if canary.get("undefined") else name + ": undefined"
        # Values are compared as text with sorted keys, because 1 == True in Python.
        same = json.dumps(json.loads(got), sort_keys=True) == json.dumps(
            canary.get("want"), sort_keys=True
        )
        return None if same and not canary.get("undefined") else name + ": another answer"

    def serve_P(self, body: bytes) -> tuple[bytes, bytes]:  # noqa: N802
        import json

        source = json.loads(body)
        engine = self.build([[source["name"], source["text"]]], None)
        return b"r", engine.get_ast_as_json().encode("utf-8")

    def serve_S(self, body: bytes) -> tuple[bytes, bytes]:  # noqa: N802
        import json

        spec = json.loads(body)
        self.scratch = self.untouched_scratch = None
        self.untouched_scratch = self.build(
            spec["modules"], spec["data"], bool(spec.get("observe"))
        )
        self.scratch = self.untouched_scratch.clone()
        return b"k", b""

    def serve_W(self, body: bytes) -> tuple[bytes, bytes]:  # noqa: N802
        import json

        del body
        kept = json.dumps(list(self.observed)).encode("ascii")
        self.observed, self.room = {}, MAX_OBSERVED
        return b"r", kept

    def serve_Q(self, body: bytes) -> tuple[bytes, bytes]:  # noqa: N802
        import json

        spec = json.loads(body)
        if spec.get("input") is not None:
            self.numbers.set_input(spec["input"])
            self.scratch.set_input_json(spec["input"])
        if "rule" in spec:
            text = self.scratch.eval_rule_as_json(spec["rule"])
            return (b"u", b"") if text == UNDEFINED else (b"r", text.encode("utf-8"))
        return b"r", self.scratch.eval_query_as_json(spec["query"]).encode("utf-8")


def send(rid: bytes, kind: bytes, body: bytes) -> None:
    """Write one complete frame."""
    if len(body) > MAX_TREE:
        kind, body = b"b", b""
    view = memoryview(HEADER.pack(17 + len(body), rid, kind) + body)
    while view:
        view = view[write(1, view) :]


def serve(server: Server, parent: int) -> None:
    """Answer requests until the parent closes the pipe or ends."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    buffer = b""
    while True:
        # A fork of the parent may keep the other end of the pipe open.
        while not poll.poll(PARENT_CHECK_MS):
            if os.getppid() != parent:
                return
        # Most requests are small. A larger buffer would be mapped and unmapped for each of them.
        chunk = read(0, LARGE if buffer else SMALL)
        if not chunk:
            return
        buffer += chunk
        start = 0
        while len(buffer) - start >= 21:
            length, rid, kind = HEADER.unpack_from(buffer, start)
            if len(buffer) - start < 4 + length:
                break
            body = buffer[start + 21 : start + 4 + length]
            start += 4 + length
            # The answer is sent before the next request is evaluated. If that request kills the
            # process, it alone is to blame.
            send(rid, *server.answer(kind, body))
        if start:
            buffer = buffer[start:]


def main(argv: list[str]) -> None:
    """Serve on the standard streams. Arguments: the engine's folder, the memory limit in bytes, and
    the parent's pid.
    """
    # This runs before the import, because the engine's allocator reserves 1 GiB of address space if
    # possible, even if a limit that is set later is lower.
    harden(int(argv[2]), int(argv[3]))
    folders = [argv[1], os.path.dirname(os.path.abspath(__file__))]
    sys.path += folders
    import importlib

    import number_substitutes  # type: ignore[import-not-found]  # found in its own folder
    import regorus

    modules = [importlib.import_module(name) for name in SUBSTITUTES]
    for folder in folders:
        sys.path.remove(folder)
    functions = {name: each for module in modules for name, each in module.SUBSTITUTES.items()}
    serve(Server(regorus, functions, number_substitutes.NUMBERS), int(argv[3]))


if __name__ == "__main__":
    main(sys.argv)

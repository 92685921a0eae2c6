"""``guardrail run``: a program whose model's calls are governed, and that notices nothing of it."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import ApprovalRequired, Guard
from guardrail.cli.commands.run import count_calls
from guardrail.config import Settings
from guardrail.system.os_user import user_name
from tests.support.approvals import BOB
from tests.support.command_line import Cli, Ran, command, environment
from tests.support.guards import records
from tests.support.model_server import Call, ModelServer, Turn
from tests.support.node import node_program
from tests.support.projects import new_project
from tests.support.waiting import until
from tests.support.wire import Wire

POLICY = """package guardrail.policy

allow contains "weather" if input.resource.id == "weather"
deny contains {"rule": "far", "message": "too far away"} if {
    input.action.properties.args.city == "Atlantis"
}
require_approval contains "dear" if input.resource.id == "book"
allow contains "book" if input.resource.id == "book"
"""
SETTINGS = '[ledger]\npath = "audit.db"\n\n[policy]\npath = "policies"\n\n[proxy]\n'
AGENT = """
import os, sys, openai
client = openai.OpenAI(api_key="sk-of-alice", max_retries=0)
message = client.chat.completions.create(
    model="scripted-1", messages=[{"role": "user", "content": "Sun?"}]
).choices[0].message
print([call.function.arguments for call in message.tool_calls or []])
print(message.refusal)
sys.exit(7)
"""
PLAIN = """
import http.client, json, os, sys
url = os.environ["{variable}"] + "{path}"
server, _, path = url.removeprefix("http://").partition("/")
client = http.client.HTTPConnection(server)
body = {{"model": "m", "max_tokens": 100, "messages": [{{"role": "user", "content": "Sun?"}}]}}
headers = {{"content-type": "application/json", "authorization": "Bearer sk-of-alice"}}
client.request("POST", "/" + path, json.dumps(body), headers)
answer = client.getresponse()
told = answer.read().decode()
sys.exit(7 if answer.status == 200 and json.loads(told) else told)
"""
ASK = PLAIN.format(variable="OPENAI_BASE_URL", path="/chat/completions")
"""A program with one request and no client, because importing a client takes most of a test."""
ASK_ANTHROPIC = PLAIN.format(variable="ANTHROPIC_BASE_URL", path="/v1/messages")
CALLS = [Call("weather", {"city": "Bern"}, "c1"), Call("weather", {"city": "Atlantis"}, "c2")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new_project(tmp_path / "project", SETTINGS + "approval_wait_s = 0\n", policy=POLICY)


@pytest.fixture
def upstream() -> Iterator[ModelServer]:
    with ModelServer([Turn("Let me see.", CALLS)], repeat=True) as server:
        yield server


def governed(
    project: Path,
    *program: str,
    options: tuple[str, ...] = (),
    stdin: bytes = b"",
    **variables: str,
) -> Ran:
    done = subprocess.run(
        command("run", *options, "--", *program),
        cwd=project,
        env=environment(variables),
        input=stdin,
        capture_output=True,
        timeout=300,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def python(source: str) -> tuple[str, str, str]:
    return sys.executable, "-c", source


def test_a_program_gets_decided_calls_only_and_its_exit_code_is_returned(
    project: Path, upstream: ModelServer
) -> None:
    """It is an official client with no settings of its own."""
    ran = governed(project, *python(AGENT), OPENAI_BASE_URL=upstream.openai)
    assert (ran.code, ran.out.splitlines()[0]) == (7, '[\'{"city": "Bern"}\']')
    assert "too far away" in ran.out
    assert ran.err.splitlines() == [
        "guardrail: 1 request: 2 calls, 1 denied",
        "look:  guardrail show last",
    ]
    decisions = records(project / "audit.db", "call.decision")
    assert [each["decision"]["effect"] for each in decisions] == ["allow", "deny"]
    for each in decisions:
        assert (each["enforcement"], each["origin"]["adapter"]) == ("release", "proxy")
        principal = each["principal"]
        assert (principal["id"], principal["assurance"]) == (user_name(), "asserted")
    assert upstream.requests[0].header("authorization") == "Bearer sk-of-alice"
    assert b"sk-of-alice" not in (project / "audit.db").read_bytes()


ANTHROPIC = """
import anthropic
client = anthropic.Anthropic(api_key="sk-of-alice", max_retries=0)
message = client.messages.create(
    model="scripted-1", max_tokens=100, messages=[{"role": "user", "content": "Sun?"}]
)
print([block.input for block in message.content if block.type == "tool_use"])
"""


def test_a_program_of_anthropics_client_is_governed(project: Path, upstream: ModelServer) -> None:
    ran = governed(project, *python(ANTHROPIC), ANTHROPIC_BASE_URL=upstream.anthropic)
    assert (ran.code, ran.out) == (0, "[{'city': 'Bern'}]\n"), ran.err
    assert "2 calls, 1 denied" in ran.err
    assert upstream.requests[0].header("authorization") == "Bearer sk-of-alice"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "way"),
    [
        ("openai", "chat-run-tools"),
        ("anthropic", "messages-run-tools"),
        ("ai", "responses-stream"),
        ("ai", "messages-stream"),
    ],
    ids=str,
)
def test_a_program_for_node_is_governed(project: Path, client: str, way: str) -> None:
    """It runs the tools itself, and reads the base URL from the environment."""
    argv, variables = node_program(client, way)
    with ModelServer([Turn(calls=CALLS), Turn("Sun.")]) as server:
        variables["OPENAI_BASE_URL"] = server.openai
        variables["ANTHROPIC_BASE_URL"] = server.anthropic
        variables |= {"OPENAI_API_KEY": "none", "ANTHROPIC_API_KEY": "none"}
        ran = governed(project, *argv, **variables)
    assert json.loads(ran.out)["ran"] == ["Bern"], ran.err
    assert "2 calls, 1 denied" in ran.err


@pytest.mark.parametrize("ending", ["", "/", "/v1"])
def test_anthropics_api_is_where_its_client_would_look(
    project: Path, upstream: ModelServer, ending: str
) -> None:
    """Behind a gateway, too: the client adds ``/v1``, unless the variable has it."""
    base = f"{upstream.url}/gateway{ending}"
    governed(project, *python(ASK_ANTHROPIC), ANTHROPIC_BASE_URL=base)
    assert [each.path for each in upstream.requests] == ["/gateway/v1/messages"]


def test_a_program_that_uses_the_proxy_of_its_environment_is_governed(
    project: Path, upstream: ModelServer
) -> None:
    """The proxy of an office does not get requests for this machine."""
    nowhere = "http://127.0.0.1:9"
    ran = governed(
        project,
        *python(AGENT),
        OPENAI_BASE_URL=upstream.openai,
        HTTP_PROXY=nowhere,
        http_proxy=nowhere,
        NO_PROXY="example.com",
    )
    assert (ran.code, "1 denied" in ran.err) == (7, True)


@pytest.mark.parametrize("how", ["variable", "old variable", "option", "settings"])
def test_the_upstream_is_the_one_that_the_program_would_use(
    project: Path, upstream: ModelServer, how: str
) -> None:
    options: tuple[str, ...] = ()
    variables = {}
    if how == "option":
        options = ("--upstream", upstream.openai)
        variables["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
    elif how == "settings":
        (project / "guardrail.toml").write_text(f'{SETTINGS}upstream = "{upstream.openai}"\n')
        # settings that were only found can't name the server that gets the keys
        ran = governed(project, *python(ASK))
        assert (ran.code, "--config" in ran.err) == (125, True)
        options = ("--config", "guardrail.toml")
    else:
        name = "OPENAI_BASE_URL" if how == "variable" else "OPENAI_API_BASE"
        variables[name] = upstream.openai
    ran = governed(project, *python(ASK), options=options, **variables)
    assert (ran.code, len(upstream.requests)) == (7, 1)


def test_a_program_that_asks_no_model_is_reported_as_not_governed(project: Path) -> None:
    ran = governed(project, "true")
    assert (ran.code, ran.out) == (0, "")
    assert "NOT GOVERNED" in ran.err
    assert not records(project / "audit.db", "call.decision")


def test_calls_that_wait_for_a_person_are_counted(project: Path) -> None:
    with ModelServer([Turn(calls=[Call("book", {"city": "Bern"}, "c1")])]) as server:
        ran = governed(project, *python(ASK), OPENAI_BASE_URL=server.openai)
    assert ran.err.splitlines() == [
        "guardrail: 1 request: 1 call, 0 denied, 1 waiting for approval",
        "look:  guardrail show last",
        "next:  guardrail approvals",
    ]


def test_a_call_that_was_held_until_its_approval_is_one_call(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has two decisions. A call that the model requests again is another one."""
    monkeypatch.chdir(project)
    approvals = "[approvals]\nunsafe_asserted_approvals = true\n"
    (project / "guardrail.toml").write_text(f"{SETTINGS}\n{approvals}")
    settings = Settings.chosen(project / "guardrail.toml")
    with Guard.open(settings) as guard, guard.session(principal="alice"):
        for call_id, again in (("c1", "c1"), ("c2", "c3")):
            with pytest.raises(ApprovalRequired) as waiting:
                guard.admit("book", {}, call_id=call_id)
            guard.approvals.approve(waiting.value.approval, BOB, "known")
            guard.admit("book", {}, call_id=again, approval=waiting.value.approval)
    counts = count_calls(settings, 0)
    assert (counts.calls, counts.denied, counts.rejected) == (3, 0, 0)


def test_why_says_how_to_accept_a_tool_that_nobody_accepted(project: Path, cli: Cli) -> None:
    """An `allow` rule alone would let a program send any schema."""
    tool = {"type": "function", "function": {"name": "find_order", "parameters": {}}}
    asking = ASK.replace('"m", ', f'"m", "tools": {[tool]}, ')
    with ModelServer([Turn(calls=[Call("find_order", {"number": 7})])]) as server:
        governed(project, *python(asking), OPENAI_BASE_URL=server.openai)
    told = " ".join(cli("why", "last", "--ledger", str(project / "audit.db")).out.split())
    assert "None of its `allow` rules applies to this call" in told
    assert "Next: Nobody has accepted this tool with this schema." in told
    assert "accept it: `guardrail proxy accept find_order`." in told


def test_an_upstream_that_is_no_api_is_in_the_summary(project: Path) -> None:
    """The ledger says why the program got an error."""
    page = Turn(wire=Wire(body=b"<html>", content_type="text/html"))
    with ModelServer([page]) as server:
        ran = governed(project, *python(ASK), OPENAI_BASE_URL=server.openai)
    assert (ran.code, "1 call, 0 denied, 1 rejected" in ran.err) == (1, True), ran.err
    assert "1 request failed: the upstream's response is neither JSON nor a stream" in ran.err
    (rejected,) = records(project / "audit.db", "call.rejected")
    assert rejected["reason"] == "proxy.upstream_type"


@pytest.mark.parametrize(
    ("client", "variable", "option"),
    [
        (ASK, "OPENAI_BASE_URL", "--upstream"),
        (ASK_ANTHROPIC, "ANTHROPIC_BASE_URL", "--anthropic-upstream"),
    ],
    ids=["openai", "anthropic"],
)
def test_an_upstream_that_does_not_answer_is_in_the_summary(
    project: Path, client: str, variable: str, option: str
) -> None:
    """The program may not show its error."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{unused.getsockname()[1]}"
        ran = governed(project, *python(client), options=(option, f"http://{name}"))
    problem = f"the upstream {name} can't be reached (connection refused)"
    assert problem in ran.err.split("guardrail: ")[0]
    assert ran.err.splitlines()[-3:] == [
        "guardrail: 1 request: 0 calls, 0 denied",
        f"guardrail: 1 request failed: {problem}",
        f"next:  check {option}, or {variable}",
    ]


def test_the_summary_says_how_many_requests_failed_and_why(project: Path) -> None:
    """The program may not show the errors."""
    twice = ASK.partition("answer = ")[0] + "client.getresponse().read()\n"
    twice += 'body["tool_source"] = [{}]\n'
    twice += 'client.request("POST", "/" + path, json.dumps(body), headers)\n'
    twice += "client.getresponse().read()\n"
    with ModelServer([Turn(status=401)]) as server:
        ran = governed(project, *python(twice), OPENAI_BASE_URL=server.openai)
    summary, failed, refused = ran.err.splitlines()
    assert summary == "guardrail: 2 requests: 0 calls, 0 denied"
    assert failed == "guardrail: 1 request failed: the upstream answered 401"
    assert refused.startswith("guardrail: 1 request refused: ")
    assert "tool_source" in refused


def test_the_operator_is_told_while_a_call_waits(project: Path) -> None:
    (project / "guardrail.toml").write_text(
        f"{SETTINGS}approval_wait_s = 1\n\n[approvals]\nunsafe_asserted_approvals = true\n"
    )
    with ModelServer([Turn(calls=[Call("book", {"city": "Bern"}, "c1")])]) as server:
        ran = governed(project, *python(ASK), OPENAI_BASE_URL=server.openai)
    assert ran.err.splitlines() == [
        "guardrail: book is waiting for approval (up to 1 s): guardrail approvals",
        "guardrail: 1 request: 1 call, 0 denied, 1 waiting for approval",
        "look:  guardrail show last",
        "next:  guardrail approvals",
    ]


def test_input_and_output_are_the_programs_own(project: Path) -> None:
    ran = governed(project, "sh", "-c", "cat; echo lost >&2", stdin=b"one\ntwo")
    assert (ran.code, ran.out) == (0, "one\ntwo")
    assert ran.err.startswith("lost\n")


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        (("sh", "-c", "exit 3"), 3, "ended with code 3 before it sent a request\n"),
        (("sh", "-c", "kill -9 $$"), 137, "ended with code 137 before it sent a request\n"),
        (("no-such-program",), 127, "no-such-program: No such file"),
        (("/etc/hostname",), 126, "Permission denied"),
    ],
    ids=["its own", "signal", "missing", "not executable"],
)
def test_the_exit_code_tells_how_the_program_ended(
    project: Path, program: tuple[str, ...], code: int, said: str
) -> None:
    if program[0].startswith("/"):
        (project / "data").write_text("no program")
        program = (str(project / "data"),)
    ran = governed(project, *program)
    assert (ran.code, said in ran.err) == (code, True), ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--no-such-option",), "No such option"),
        (("--config", "none.toml"), "no such file"),
        (("--upstream", "http://models.example.com/v1"), "https"),
        (("--upstream", "ftp://models.example.com"), "https"),
    ],
    ids=["option", "settings", "plain text", "scheme"],
)
def test_a_failure_of_its_own_is_125_and_starts_no_program(
    project: Path, options: tuple[str, ...], said: str
) -> None:
    ran = governed(project, "touch", "started", options=options)
    assert (ran.code, said in ran.err) == (125, True), ran.err
    assert not (project / "started").exists()


def test_without_a_program_it_fails(project: Path) -> None:
    done = subprocess.run(
        command("run"), cwd=project, env=environment(), capture_output=True, check=False
    )
    assert (done.returncode, b"Missing argument" in done.stderr) == (125, True)


def test_a_policy_that_does_not_load_starts_no_program(project: Path) -> None:
    (project / "policies" / "main.rego").write_text("package guardrail.policy\n\nallow :=")
    ran = governed(project, "touch", "started")
    assert ran.code == 125
    assert not (project / "started").exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signals_reach_the_program(project: Path, name: str) -> None:
    """It decides about its end itself, and the ledger is closed afterwards."""
    script = f"trap 'echo got; exit 5' {name[3:]}; echo ready; while :; do sleep 0.05; done"
    number = getattr(signal, name)
    # Under nohup, it is ignored, and programs that are started here would ignore it, too.
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
    with subprocess.Popen(
        command("run", "--", "sh", "-c", script),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        try:
            out, err = running.communicate(timeout=120)
        finally:
            running.kill()  # if it has not ended: the block would wait for it without a limit
    assert (running.returncode, out) == (5, "got\n"), err
    assert records(project / "audit.db", "admin.stop")


def test_a_signal_reaches_the_program_although_it_does_not_interrupt_the_wait(
    project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that arrives just before the wait begins does not interrupt it, nor does one that
    the system gives to another thread.
    """
    monkeypatch.chdir(project)
    (project / "program").write_text(
        "trap 'exit 5' USR1; echo $$ > pid; mv pid ready\n"
        "for _ in $(seq 400); do sleep 0.05; done; exit 9\n"
    )

    def send() -> None:
        until((project / "ready").exists)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sender.start()
    ran = cli("run", "--", "sh", "program")
    sender.join()
    assert ran.code == 5, ran.err


PROBE = """
import json, os, urllib.request, urllib.error
base = os.environ["OPENAI_BASE_URL"]
assert os.environ["OPENAI_API_BASE"] == base
root = base.removesuffix("/v1")
assert os.environ["ANTHROPIC_BASE_URL"] == os.environ["ANTHROPIC_API_URL"] == root
host, _, secret = root.removeprefix("http://").partition("/")

def status(url):
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

found = [status(f"http://{host}{path}") for path in (
    f"/{secret}/v1/models", "/v1/models", f"/{secret[:-1]}/v1/models", f"/{secret}x/v1/models",
    f"//{secret}/v1/models", "/",
)]
line = open(f"/proc/{os.getppid()}/cmdline", "rb").read().decode()
print(json.dumps({"found": found, "secret": secret, "line": line}))
"""


def test_the_address_has_a_secret_that_goes_nowhere_else(
    project: Path, upstream: ModelServer
) -> None:
    """Another program on this machine can't use the proxy, or learn its secret."""
    ran = governed(project, *python(PROBE), OPENAI_BASE_URL=upstream.openai)
    told: dict[str, Any] = json.loads(ran.out)
    assert told["found"] == [200, 404, 404, 404, 404, 404]
    secret = told["secret"]
    assert len(secret) >= 40
    assert secret not in told["line"]
    assert secret not in ran.err
    assert [each.path for each in upstream.requests] == ["/v1/models"]
    assert not any(secret in str(each.headers) for each in upstream.requests)
    for file in project.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    again = json.loads(governed(project, *python(PROBE), OPENAI_BASE_URL=upstream.openai).out)
    assert again["secret"] != secret


def test_clients_of_other_apis_are_named_before_the_program_starts(project: Path) -> None:
    ran = governed(project, "true", AZURE_OPENAI_ENDPOINT="https://x.example.com")
    assert ran.err.startswith("guardrail: AZURE_OPENAI_ENDPOINT is set")


SLOW_START = """
import subprocess, sys, time
start = subprocess.Popen.__init__
def slow(self, args, *more, **options):
    start(self, args, *more, **options)
    if args[0] == "sh":
        time.sleep(2)
subprocess.Popen.__init__ = slow
from guardrail.cli import main
main()
"""
"""The command line, which learns of a program two seconds after it has started."""


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True])
def test_ctrl_c_in_a_terminal_reaches_the_program_once(project: Path, *, early: bool) -> None:
    """The terminal sends it to both processes; guardrail does not send it again, even if it comes
    while the program starts.
    """
    script = (
        "trap 'echo got' INT; echo ready; n=0; while [ $n -lt 25 ]; do sleep 0.1; n=$((n+1)); done"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        argv = command("run", "--", "sh", "-c", script)
        if early:
            argv = [sys.executable, "-c", SLOW_START, *argv[argv.index("run") :]]
        os.execvpe(argv[0], argv, environment())
    seen = b""
    end = time.monotonic() + 120
    sent = False
    while time.monotonic() < end:
        try:
            piece = os.read(terminal, 1024)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        if b"ready" in seen and not sent:
            os.write(terminal, b"\x03")
            sent = True
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert seen.count(b"got") == 1

"""Bundles on real OPA servers: made, signed, served, rotated under load, refused; servers killed,
paused, misconfigured.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guardrail.authoring.bundle import make_bundle
from guardrail.core.decision import parse
from guardrail.core.types import EngineReply
from guardrail.errors import ConfigError, PolicyError, PolicyLoadError
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.engine import Engine
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.revision import Revision
from guardrail.policy.sources import load_policies
from tests.support.opa_server import (
    STARTER,
    BundleServer,
    Opa,
    bundle_file,
    certificates,
    engine,
    rsa_key,
    section,
    served,
)
from tests.support.waiting import until

LONG = 30.0


def policies(folder: Path, rule: str = "sample", more: str = "", **data: Any) -> Path:
    """Write a policy that allows the sample call with *rule*."""
    folder.mkdir(exist_ok=True)
    (folder / "p.rego").write_text(
        f'package guardrail.policy\n\nallow contains "{rule}" if input.resource.id =='
        f' "guardrail.sample"\n{more}\n'
    )
    (folder / "data.json").write_text(json.dumps(data))
    return folder


def ask(asked: Engine, document: str | None = None, shard: str = "t\0s\0x") -> EngineReply:
    body = (document or sample_input()).encode()
    return asked.decide(body, shard=shard, deadline=LONG).result(LONG)


def rule_of(reply: EngineReply) -> str:
    return parse(reply.document).rules[0].rule


def outcome(asked: Engine, *, deadline: float = 1.0) -> str:
    """Return what became of a call: the rule that decided, or cause and detail."""
    try:
        return rule_of(
            asked.decide(sample_input().encode(), shard="t\0s\0x", deadline=deadline).result(LONG)
        )
    except PolicyError as error:
        return f"{error.cause}/{error.detail}"


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]


# -- made
# --------------------------------------------------------------------------------------------------


def test_the_same_policies_give_the_same_bytes(tmp_path: Path) -> None:
    """Wherever they are, whenever they are bundled."""
    first = make_bundle([policies(tmp_path / "a", limit=1)])
    second = make_bundle([policies(tmp_path / "b", limit=1)])
    assert first.content == second.content
    other = make_bundle([policies(tmp_path / "b", limit=2)])
    assert other.revision != first.revision


def test_a_bundle_holds_policies_library_schema_and_mask_and_no_tests(tmp_path: Path) -> None:
    """What a server needs, under roots that nobody else can add to."""
    body = 'data.limits.x > 5; data.guardrail.lib.args.has("x")'
    folder = policies(tmp_path / "p", more=f'deny contains "d" if {{ {body} }}', other=1)
    (folder / "p_test.rego").write_text("package guardrail.policy_test\n\ntest_x if true\n")
    found = members(make_bundle([folder]).content)
    assert set(found) >= {
        "/.manifest",
        "/data.json",
        "/guardrail/main.rego",
        "/guardrail/policy/p.rego",
        "/lib/args.rego",
        "/schemas/guardrail_input.json",
        "/system/log/mask.rego",
    }
    assert not any("test" in name for name in found)
    manifest = json.loads(found["/.manifest"])
    assert manifest["roots"] == ["guardrail", "limits", "other", "system/log"]
    loaded = load_policies([folder])
    assert manifest["revision"] == f"{loaded.digest}.{loaded.data_digest}"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("x := http.send({})", "rego_type_error"),
        ("x := time.now_ns()", "rego_type_error"),
        ('x := rand.intn("a", 5)', "rego_type_error"),
        ("x := opa.runtime()", "rego_type_error"),
        ('x := uuid.rfc4122("a")', "rego_type_error"),
        ('x := net.lookup_ip_addr("a")', "rego_type_error"),
        ('x if print("a")', "print"),
        ("x := nothing(1)", "rego_type_error"),
        ("x := )", "rego_parse_error"),
    ],
)
def test_what_is_not_pure_is_not_bundled(
    opa_program: Path, tmp_path: Path, more: str, code: str
) -> None:
    """By the reference, with the shipped capabilities, and by the preflight where there is no opa:
    each with its line.
    """
    from guardrail.policy.opa.program import OpaProgram

    folder = policies(tmp_path / "p", more=more)
    with pytest.raises(PolicyLoadError) as caught:
        make_bundle([folder], opa=OpaProgram(opa_program))
    found = [(f.file, f.line, f.code) for f in caught.value.findings]
    assert (str(folder / "p.rego"), 4, code) in found
    with pytest.raises(PolicyLoadError):
        make_bundle([folder])


@pytest.mark.parametrize(
    "text",
    [
        "package other\n\nx := 1\n",
        "package guardrail.main\n\nx := 1\n",
        "package guardrail.lib.args\n\nx := 1\n",
        "package system.log\n\nmask := []\n",
        # Rego that the embedded engine does not parse.
        'package system.authz\n\nx := $"{1}"\n',
    ],
)
def test_packages_that_are_not_an_authors_are_not_bundled(
    opa_program: Path, tmp_path: Path, text: str
) -> None:
    """Whoever judges, also on demand."""
    from guardrail.policy.opa.program import OpaProgram

    folder = policies(tmp_path / "p")
    (folder / "other.rego").write_text(text)
    for opa in (None, OpaProgram(opa_program)):
        for unsafe in (False, True):
            with pytest.raises(PolicyLoadError):
                make_bundle([folder], opa=opa, unsafe_impure=unsafe)


def test_rego_that_only_opa_reads_can_be_bundled(opa_program: Path, tmp_path: Path) -> None:
    """The server engine serves what the embedded one refuses."""
    from guardrail.policy.opa.program import OpaProgram

    more = (
        'deny contains $"no {input.action.properties.args.x}" if'
        " input.action.properties.args.x\n\nignored := yaml.marshal({})"
    )
    folder = policies(tmp_path / "p", more=more)
    with pytest.raises(PolicyLoadError):
        make_bundle([folder])
    made = make_bundle([folder], opa=OpaProgram(opa_program))
    (tmp_path / "b.tar.gz").write_bytes(made.content)
    with (
        served(opa_program, tmp_path, "--bundle", str(tmp_path / "b.tar.gz")) as server,
        engine(server.url, folder) as connected,
    ):
        assert rule_of(ask(connected)) == "sample"
        assert rule_of(ask(connected, sample_input(args={"x": 5}))) == "no 5"


# -- served
# --------------------------------------------------------------------------------------------------


def test_both_engines_records_name_the_same_policies(starter: tuple[Opa, Path]) -> None:
    """Digest and data digest are those of the embedded engine; the revision holds both."""
    server, paths = starter
    embedded = EmbeddedEngine.load([paths], spare=False)
    embedded.close()
    with engine(server.url, paths) as connected:
        found = ask(connected).policy
        assert (found.digest, found.data) == (embedded.identity.digest, embedded.identity.data)
        assert found.revision == f"{found.digest}.{found.data}"
        assert found.engine == "opa"
        assert found.version.split(".")[0] == "1"
        assert connected.identity == found


def test_a_revision_that_names_only_policies_takes_them_with_any_data(
    starter: tuple[Opa, Path],
) -> None:
    """And one that names both takes no other data."""
    server, paths = starter
    digest = load_policies([paths]).digest
    with engine(server.url, revisions=(digest,)) as connected:
        assert ask(connected).policy.digest == digest
    with pytest.raises(PolicyError) as caught:
        OpaEngine.connect(
            section(server.url, revisions=(f"{digest}.{'0' * 64}",), start_limit_ms=1000)
        )
    assert (caught.value.cause, caught.value.detail) == ("revision", "unaccepted")


def test_a_server_with_other_policies_is_refused_at_start(
    starter: tuple[Opa, Path], tmp_path: Path
) -> None:
    """With the hint."""
    server, _ = starter
    local = load_policies([policies(tmp_path / "p")])
    with pytest.raises(PolicyError) as caught:
        OpaEngine.connect(section(server.url, start_limit_ms=1000), local=local)
    assert (caught.value.cause, caught.value.detail) == ("revision", "unaccepted")
    assert "guardrail policy bundle" in caught.value.hint


def test_another_contract_is_refused_at_start(opa_program: Path, tmp_path: Path) -> None:
    """A composition that guardrail did not write, under a revision that is taken."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "main.rego").write_text(
        'package guardrail.main\n\ndecision := {"contract": "guardrail/2", "effect": "allow",'
        ' "rules": [], "redact": [], "labels": [], "obligations": []}\n\nanswer := {"decision":'
        ' decision, "echo": input.echo}\n'
    )
    (tmp_path / "b" / ".manifest").write_text('{"revision": "r", "roots": ["guardrail"]}')
    with served(opa_program, tmp_path, "--bundle", str(tmp_path / "b")) as server:
        with engine_error(server.url, revisions=("r",)) as caught:
            pass
        assert (caught[0].cause, caught[0].detail) == ("revision", "contract")


@contextmanager
def engine_error(url: str, **settings: Any) -> Iterator[list[PolicyError]]:
    """Collect the error of an engine that is not to be connected once the server is up."""
    caught: list[PolicyError] = []

    def refused() -> bool:
        try:
            OpaEngine.connect(section(url, start_limit_ms=500, **settings)).close()
        except PolicyError as error:
            caught[:] = [error]
            return error.cause not in {"unreachable", "timeout"}
        return True

    until(refused)
    yield caught


def foreign(
    folder: Path, more: str = "", *, rule: str = "sample", revision: str = "release-7"
) -> Path:
    """Write a bundle that another tool made: composition and policies, under a revision of its
    own.
    """
    from guardrail.policy.opa.bundle import modules

    written = policies(folder.parent / "p", rule=rule, more=more)
    for name, content in modules(load_policies([written])).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = {"revision": revision, "roots": ["guardrail", "system/log"]}
    (folder / ".manifest").write_text(json.dumps(manifest))
    return folder


def test_a_foreign_revision_is_taken_and_names_no_digest(opa_program: Path, tmp_path: Path) -> None:
    """Its policies were found pure on the server itself, and nothing can be derived from them
    again.
    """
    bundle = foreign(tmp_path / "b", 'helper(x) := x + 1\n\nallow contains "two" if helper(1) == 2')
    with (
        served(opa_program, tmp_path, "--bundle", str(bundle)) as server,
        engine(server.url, revisions=("release-7",)) as connected,
    ):
        found = ask(connected).policy
        assert (found.digest, found.data, found.revision) == (None, None, "release-7")
        assert "unsafe" not in found.version


@pytest.mark.parametrize(
    "more",
    [
        'allow contains "t" if time.now_ns() > 0',
        (
            'allow contains "t" if { input.resource.id == "x"; http.send({"method": "GET", "url":'
            ' "http://127.0.0.1:9"}) }'
        ),
        "allow contains opa.runtime().env.HOME",
        (
            'allow contains "t" if { input.resource.id == "x"; io.jwt.decode_verify("a", {"secret":'
            ' "b"}) }'
        ),
        'allow contains "t" if { input.resource.id == "x"; print(input) }',
        'allow contains "t" if { some x in [1]; y := [z | z := rand.intn("a", x)]; count(y) == 1 }',
        (
            'f(_) := "x"\n\nallow contains "t" if { input.resource.id == "x"; f(1) with'
            " data.guardrail.policy.f as http.send }"
        ),
    ],
)
def test_a_foreign_bundle_that_is_not_pure_needs_the_switch(
    opa_program: Path, tmp_path: Path, more: str
) -> None:
    """Refused; with it taken, in plain sight, and nothing of it is reproducible."""
    bundle = foreign(tmp_path / "b", more)
    with served(opa_program, tmp_path, "--bundle", str(bundle)) as server:
        with engine_error(server.url, revisions=("release-7",)) as caught:
            pass
        assert (caught[0].cause, caught[0].detail) == ("revision", "impure")
        assert "unsafe_impure_policy" in caught[0].hint
        with engine(server.url, revisions=("release-7",), unsafe_impure_policy=True) as connected:
            found = connected.identity
            assert found.digest is None
            assert found.version.endswith(" unsafe_impure_policy")


def archive_of(folder: Path) -> bytes:
    """Pack a bundle that is a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    return stream.getvalue()


def test_new_policies_of_a_foreign_revision_decide_nothing_before_they_were_looked_at(
    opa_program: Path, tmp_path: Path
) -> None:
    """Rotated under load: what turns out not to be pure never decided a call, what is pure decides
    soon.
    """
    late = 'deny contains "late" if { input.resource.id == "x"; time.now_ns() > 0 }'
    made = {
        number: archive_of(
            foreign(tmp_path / number, more, rule=number, revision=f"release-{number}")
        )
        for number, more in (("7", ""), ("8", late), ("9", ""))
    }
    bundles = BundleServer()
    bundles.content = made["7"]
    with (
        served(opa_program, tmp_path, *bundles.arguments()) as server,
        engine(
            server.url, revisions=tuple(f"release-{n}" for n in made), watch_interval_ms=60_000
        ) as connected,
    ):
        load = Load(connected)
        try:
            until(lambda: load.seen["7"])
            bundles.content = made["8"]
            until(lambda: load.seen["revision/impure"] > 10)
            assert set(load.since()) <= {"7", "revision/unchecked", "revision/impure"}
            bundles.content = made["9"]
            until(lambda: load.seen["9"])
            assert set(load.since()) <= {"9", "revision/unchecked", "revision/impure"}
        finally:
            load.stop()
    bundles.close()


def test_an_impure_bundle_says_so_in_its_revision(opa_program: Path, tmp_path: Path) -> None:
    """Made on demand alone, and taken with the switch alone."""
    from guardrail.policy.opa.program import OpaProgram

    folder = policies(tmp_path / "p", more='deny contains "late" if time.now_ns() < 0')
    made = make_bundle([folder], opa=OpaProgram(opa_program), unsafe_impure=True)
    assert made.revision.startswith("impure-")
    revision = Revision.parse(made.revision)
    assert revision is not None
    assert not revision.pure
    (tmp_path / "b.tar.gz").write_bytes(made.content)
    with served(opa_program, tmp_path, "--bundle", str(tmp_path / "b.tar.gz")) as server:
        with engine_error(server.url, revisions=(made.revision,)) as caught:
            pass
        assert (caught[0].cause, caught[0].detail) == ("revision", "impure")
        with engine(server.url, revisions=(made.revision,), unsafe_impure_policy=True) as connected:
            assert ask(connected).policy.digest is None


def test_a_decision_has_the_servers_own_id_where_it_logs_decisions(
    opa_program: Path, tmp_path: Path
) -> None:
    """The way from a record to the server's log."""
    archive, _ = bundle_file(tmp_path / "b.tar.gz", [STARTER])
    arguments = ("--bundle", str(archive), "--set", "decision_logs.console=true")
    with (
        served(opa_program, tmp_path, *arguments) as server,
        engine(server.url, STARTER) as connected,
    ):
        reply = ask(connected)
        assert reply.decision_id
        until(lambda: reply.decision_id in server.log.read_text())


def test_a_decision_log_holds_nothing_of_a_call(opa_program: Path, tmp_path: Path) -> None:
    """Arguments, targets, identities, attributes, tool names, policy messages, failing builtins:
    none of it is written.
    """
    secret = "canary-" + "k7Q" * 6
    folder = policies(
        tmp_path / "p",
        more="""
deny contains sprintf("said %v", [input.action.properties.args.text]) if input.action.properties.args.text

redact contains sprintf("/%v", [input.action.properties.args.text]) if input.action.properties.args.text

deny contains "n" if to_number(input.action.properties.args.bad) > 5

redact contains count([1]) if to_number(input.action.properties.args.bad) > 5
""",
    )
    made = make_bundle([folder], opa=_program(opa_program))
    (tmp_path / "b.tar.gz").write_bytes(made.content)
    arguments = ("--bundle", str(tmp_path / "b.tar.gz"), "--set", "decision_logs.console=true")
    with (
        served(opa_program, tmp_path, *arguments) as server,
        engine(server.url, folder) as connected,
    ):
        document = json.loads(sample_input(f"tool {secret}", args={"text": secret, "x": [secret]}))
        document["subject"]["id"] = document["context"]["session"]["id"] = secret
        document["subject"]["properties"]["note"] = secret
        document["resource"]["properties"]["target"] = [secret]
        reply = ask(connected, json.dumps(document))
        assert secret in json.dumps(reply.document)
        with pytest.raises(PolicyError) as caught:
            ask(connected, sample_input(args={"bad": secret}))
        assert (caught.value.cause, caught.value.detail) == ("error", "evaluation")
        last = ask(connected)
        until(lambda: str(last.decision_id) in server.log.read_text())
        log = server.log.read_text()
        assert str(reply.decision_id) in log
        assert secret not in log
        assert "said" not in log
        entry = next(
            json.loads(line) for line in log.splitlines() if str(reply.decision_id) in line
        )
        assert entry["result"]["decision"]["effect"] == "deny"
        assert "/input" in entry["erased"]


def _program(path: Path) -> Any:
    from guardrail.policy.opa.program import OpaProgram

    return OpaProgram(path)


# -- over every kind of connection
# --------------------------------------------------------------------------------------


def test_decisions_over_a_unix_socket(
    opa_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Administration as well."""
    folder = tmp_path_factory.mktemp("u")
    archive, _ = bundle_file(folder / "b.tar.gz", [STARTER])
    address = f"unix://{folder}/opa.sock"
    with (
        served(opa_program, folder, "--bundle", str(archive), "--set", "status.console=true", address=address) as server,
        engine(server.url, STARTER) as connected,
    ):  # fmt: skip
        assert rule_of(ask(connected)) == "guardrail.no_allow"
        # A bundle from a file: there, and nothing that the status tells about.
        assert connected.finding.bundles == ()


def test_decisions_over_tls_with_client_certificate_and_token(
    opa_program: Path, tmp_path: Path
) -> None:
    """A server that asks for both; without either no call is admitted."""
    made = certificates(tmp_path / "c")
    token = tmp_path / "token"
    token.write_text("the-token\n")
    token.chmod(0o600)
    archive, _ = bundle_file(tmp_path / "b.tar.gz", [STARTER])
    (tmp_path / "authz.rego").write_text(
        'package system.authz\n\ndefault allow := false\n\nallow if input.identity == "the-token"\n'
    )
    arguments = [
        "--bundle", str(archive), str(tmp_path / "authz.rego"), "--authentication", "token", "--authorization", "basic",
        "--tls-cert-file", str(made.cert), "--tls-private-key-file", str(made.key),
    ]  # fmt: skip
    arguments = [arguments[0], arguments[1], "--bundle", str(_folder(tmp_path)), *arguments[3:]]
    with served(opa_program, tmp_path, *arguments) as server:
        url = server.url.replace("http:", "https:")
        with engine(url, STARTER, ca=made.ca, token_file=token, bundle=str(archive)) as connected:
            assert rule_of(ask(connected)) == "guardrail.no_allow"
            token.write_text("another\n")
            with pytest.raises(PolicyError) as caught:
                ask(connected)
            assert (caught.value.cause, caught.value.detail) == ("error", "unauthorized")
        with pytest.raises(PolicyError) as caught:
            OpaEngine.connect(section(url, ca=made.ca, revisions=("x",), start_limit_ms=1000))
        assert caught.value.detail == "unauthorized"
    with served(
        opa_program, tmp_path, "--bundle", str(archive), "--authentication", "tls",
        "--tls-cert-file", str(made.cert), "--tls-private-key-file", str(made.key), "--tls-ca-cert-file", str(made.ca),
    ) as server:  # fmt: skip
        url = server.url.replace("http:", "https:")
        with engine(url, STARTER, ca=made.ca, cert=made.cert, key=made.key) as connected:
            assert rule_of(ask(connected)) == "guardrail.no_allow"
        with pytest.raises(PolicyError) as caught:
            OpaEngine.connect(section(url, ca=made.ca, revisions=("x",), start_limit_ms=1000))
        assert caught.value.cause == "unreachable"


def _folder(tmp_path: Path) -> Path:
    """A bundle of its own for the server's authorization policy."""
    folder = tmp_path / "authz"
    folder.mkdir()
    (tmp_path / "authz.rego").rename(folder / "authz.rego")
    (folder / ".manifest").write_text('{"revision": "a", "roots": ["system/authz"]}')
    return folder


# -- rotated
# --------------------------------------------------------------------------------------------------


class Load:
    """Calls in several threads, and what became of them."""

    def __init__(self, asked: Engine, threads: int = 4) -> None:
        self.seen: Counter[str] = Counter()
        self._period = 0
        self._asked = asked
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            period = self._period
            found = outcome(self._asked)
            with self._lock:
                # A call that began before `since` may be answered by the bundle of that time.
                self.seen[found] += period == self._period

    def since(self) -> Counter[str]:
        """Return what was seen, and count only calls that begin from now on."""
        with self._lock:
            seen, self.seen = +self.seen, Counter()
            self._period += 1
        return seen

    def stop(self) -> None:
        self._stop.set()
        for running in self._running:
            running.result(LONG)
        self._pool.shutdown()


def test_a_signed_bundle_is_rotated_under_load_and_a_bad_one_changes_nothing(
    opa_program: Path, tmp_path: Path
) -> None:
    """Every call is decided by a revision that is taken; unsigned, wrongly signed, unknown
    revisions decide nothing.
    """
    key, public = rsa_key(tmp_path, "main")
    stranger, _ = rsa_key(tmp_path, "stranger")
    made = {}
    for name, signer in (
        ("one", key),
        ("two", key),
        ("unsigned", None),
        ("stranger", stranger),
        ("three", key),
    ):
        folder = policies(tmp_path / name, rule=name)
        path, revision = bundle_file(tmp_path / f"{name}.tgz", [folder], key=signer)
        made[name] = (path.read_bytes(), revision)
    taken = tuple(made[name][1] for name in ("one", "two", "unsigned", "stranger"))
    bundles = BundleServer()
    bundles.content = made["one"][0]
    with (
        served(opa_program, tmp_path, *bundles.arguments(key=public)) as server,
        engine(server.url, revisions=taken) as connected,
    ):
        load = Load(connected)
        try:
            until(lambda: load.seen["one"])
            bundles.content = made["two"][0]
            until(lambda: load.seen["two"])
            assert set(load.since()) == {"one", "two"}
            for bad in ("unsigned", "stranger"):
                bundles.content = made[bad][0]
                until(lambda: any(state.problem for state in connected.finding.bundles or ()))
                before = load.since()
                assert set(before) <= {"two", "one"}
                bundles.content = made["two"][0]
                until(lambda: not any(state.problem for state in connected.finding.bundles or ()))
            assert set(load.since()) == {"two"}
            # A good signature, and a revision that nobody said is to be taken.
            bundles.content = made["three"][0]
            until(lambda: load.seen["revision/unaccepted"])
            load.since()
            until(lambda: load.seen["revision/unaccepted"] > 10)
            assert set(load.since()) == {"revision/unaccepted"}
            bundles.content = made["two"][0]
            until(lambda: load.seen["two"])
            assert set(load.since()) == {"revision/unaccepted", "two"}
        finally:
            load.stop()
    bundles.close()


def test_a_server_that_is_killed_and_comes_back_decides_again(
    opa_program: Path, tmp_path: Path
) -> None:
    """Calls deny meanwhile, by their deadlines, and go on without anyone's help."""
    archive, _ = bundle_file(tmp_path / "b.tar.gz", [policies(tmp_path / "p")])
    with (
        served(opa_program, tmp_path, "--bundle", str(archive)) as server,
        engine(server.url, tmp_path / "p", breaker_reset_ms=100) as connected,
    ):
        load = Load(connected)
        try:
            for _ in range(2):
                until(lambda: load.seen["sample"])
                server.kill()
                load.since()
                until(lambda: load.seen["unreachable/breaker"])
                load.since()
                until(lambda: load.seen["unreachable/breaker"] > 5)
                assert {cause.split("/")[0] for cause in load.since()} == {"unreachable"}
                server.start()
                until(lambda: load.seen["sample"])
            server.pause()
            until(lambda: load.seen["timeout/reply"] + load.seen["timeout/breaker_open"])
            server.pause(go_on=True)
            load.since()
            until(lambda: load.seen["sample"])
        finally:
            load.stop()


def test_a_server_that_restarts_without_policies_decides_nothing(
    opa_program: Path, tmp_path: Path
) -> None:
    """Healthy, and with nothing in it: the calls are denied, until it has the right ones again."""
    archive, _ = bundle_file(tmp_path / "b.tar.gz", [policies(tmp_path / "p")])
    with (
        served(opa_program, tmp_path, "--bundle", str(archive)) as server,
        engine(server.url, tmp_path / "p", breaker_reset_ms=100) as connected,
    ):
        assert outcome(connected) == "sample"
        server.kill()
        with served(opa_program, tmp_path, address=server.address):
            until(lambda: outcome(connected) == "undefined/no_decision")
        server.start()
        until(lambda: outcome(connected) == "sample")


def test_signing_keys_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Readable by others, of another kind, no key at all."""
    from guardrail.errors import KeysError
    from guardrail.keys.bundle_key import bundle_signer

    key, public = rsa_key(tmp_path, "k")
    certificate_key = certificates(tmp_path / "c").key
    public.chmod(0o600)
    for path, algorithm in (
        (key, "ES256"),
        (certificate_key, "RS256"),
        (public, "RS256"),
        (key, "none"),
    ):
        with pytest.raises(KeysError):
            bundle_signer(path, algorithm)
    key.chmod(0o644)
    with pytest.raises(KeysError) as caught:
        bundle_signer(key, "RS256")
    assert caught.value.hint == f"chmod 600 {key}"


def test_an_es256_signature_is_taken_by_a_real_server(opa_program: Path, tmp_path: Path) -> None:
    """The other algorithm."""
    from cryptography.hazmat.primitives import serialization

    from guardrail.keys.bundle_key import bundle_signer
    from guardrail.policy.opa.bundle import BundleSigner

    key = certificates(tmp_path / "c").key
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    public = tmp_path / "public.pem"
    public.write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    folder = policies(
        tmp_path / "p",
        text="<&>\u2028 \u00e9 \U0001f600 \b\f\x7f",
        numbers=[1.5, -0.0, 1e300, 2**63],
    )
    made = make_bundle([folder], signer=BundleSigner("ES256", bundle_signer(key, "ES256")))
    (tmp_path / "b.tgz").write_bytes(made.content)
    with (
        served(
            opa_program, tmp_path, "--bundle", str(tmp_path / "b.tgz"), "--verification-key", str(public),
            "--signing-alg", "ES256",
        ) as server,
        engine(server.url, folder) as connected,
    ):  # fmt: skip
        assert outcome(connected) == "sample"


def test_the_configuration_that_the_docs_show_loads_a_signed_bundle(
    opa_program: Path, tmp_path: Path
) -> None:
    """As it stands there, but for the address and the key; a bundle that another key signed is not
    taken.
    """
    key, public = rsa_key(tmp_path, "main")
    stranger, _ = rsa_key(tmp_path, "stranger")
    docs = (Path(__file__).parents[3] / "docs" / "opa-server.md").read_text(encoding="utf-8")
    shown = docs.split("```yaml\n")[1].split("```")[0]
    begin, end = "      -----BEGIN PUBLIC KEY-----\n", "      -----END PUBLIC KEY-----\n"
    there = shown[shown.index(begin) : shown.index(end) + len(end)]
    mine = "".join(f"      {line}\n" for line in public.read_text().splitlines())
    folder = policies(tmp_path / "p", rule="documented")
    bundles = BundleServer()
    bundles.content = bundle_file(tmp_path / "a.tgz", [folder], key=key)[0].read_bytes()
    config = shown.replace(there, mine).replace(
        "https://bundles.example.com", f"http://127.0.0.1:{bundles.port}"
    )
    (tmp_path / "opa.yaml").write_text(
        config.replace(
            "min_delay_seconds: 10, max_delay_seconds: 30",
            "min_delay_seconds: 1, max_delay_seconds: 1",
        )
    )
    try:
        with (
            served(
                opa_program,
                tmp_path,
                "--config-file",
                str(tmp_path / "opa.yaml"),
                "--set",
                "status.console=true",
            ) as server,
            engine(server.url, folder) as connected,
        ):
            assert outcome(connected) == "documented"
            bundles.content = bundle_file(tmp_path / "b.tgz", [folder], key=stranger)[
                0
            ].read_bytes()
            until(lambda: any(state.problem for state in connected.finding.bundles or ()))
    finally:
        bundles.close()


def test_ten_megabytes_of_policy_data_are_refused(tmp_path: Path) -> None:
    """Before any server is asked."""
    folder = policies(tmp_path / "p", big="x" * (10 << 20))
    with pytest.raises(PolicyLoadError):
        make_bundle([folder])


def test_a_root_that_no_bundle_can_own_is_refused(tmp_path: Path) -> None:
    """A key with a slash would own something else."""
    with pytest.raises((PolicyLoadError, ConfigError)):
        make_bundle([policies(tmp_path / "p", **{"a/b": 1})])

"""``policy bundle``, ``policy push`` and ``doctor``, as a person uses them, against a real OPA."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guardrail.authoring.push import push
from guardrail.config import OpaSection
from guardrail.core.decision import parse
from guardrail.errors import ConfigError, PolicyError, PolicyLoadError
from guardrail.policy.embedded.rehearsal import sample_input
from tests.support.opa_server import STARTER, BundleServer, bundle_file, engine, rsa_key, served
from tests.support.waiting import until

POLICY = (
    'package guardrail.policy\n\nallow contains "sample" if input.resource.id =='
    ' "guardrail.sample"\n'
)


def run(*words: object, cwd: Path, opa: Path | None = None) -> tuple[int, str, str]:
    """Run the command line in *cwd*."""
    import os

    environment = {k: v for k, v in os.environ.items() if k != "GUARDRAIL_OPA"}
    environment |= {"NO_COLOR": "1", "PATH": os.path.dirname(sys.executable)}
    if opa is not None:
        environment["GUARDRAIL_OPA"] = str(opa)
    done = subprocess.run(
        [sys.executable, "-c", "from guardrail.cli import main; main()", *map(str, words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def project(folder: Path, text: str = POLICY, **opa: Any) -> Path:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "p.rego").write_text(text)
    lines = ['[policy]\npath = "policies"\nengine = "opa"\n[opa]']
    lines += [f"{key} = {json.dumps(value)}" for key, value in opa.items()]
    (folder / "guardrail.toml").write_text("\n".join(lines) + "\n")
    return folder


def test_a_bundle_is_written_signed_and_served(opa_program: Path, tmp_path: Path) -> None:
    """Whether or not there is an opa to judge the policies, the bytes are the same."""
    key, public = rsa_key(tmp_path, "k")
    project(tmp_path)
    words = ("policy", "bundle", "--signing-key", key, "--json", "-o")
    code, out, _ = run(*words, "a.tar.gz", cwd=tmp_path, opa=opa_program)
    first = json.loads(out)
    assert (code, first["judged_by"], first["signed"]) == (0, "opa", True)
    code, out, _ = run(*words, "b.tar.gz", cwd=tmp_path)
    assert (code, json.loads(out)["judged_by"]) == (0, "embedded")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    code, out, _ = run("policy", "check", "--json", cwd=tmp_path)
    assert first["revision"].startswith(json.loads(out)["digest"])
    arguments = ("--bundle", str(tmp_path / "a.tar.gz"), "--verification-key", str(public))
    with (
        served(opa_program, tmp_path, *arguments) as server,
        engine(server.url, tmp_path / "policies") as connected,
    ):
        assert connected.identity.revision == first["revision"]


def test_a_bundle_that_is_refused_says_where_and_writes_nothing(
    opa_program: Path, tmp_path: Path
) -> None:
    """File and line, exit 1; with the switch it is written, and says what it is."""
    project(tmp_path, POLICY + '\ndeny contains "late" if time.now_ns() < 0\n')
    (tmp_path / "old").write_text("old")
    code, out, _ = run("policy", "bundle", "-o", "old", cwd=tmp_path, opa=opa_program)
    assert code == 1
    assert "p.rego:5" in out
    assert "time.now_ns" in out
    assert (tmp_path / "old").read_text() == "old"
    code, out, _ = run("policy", "bundle", "-o", "new", "--unsafe-impure", cwd=tmp_path, opa=opa_program)  # fmt: skip
    assert code == 0
    assert "revision impure-" in out
    project(tmp_path)
    code, _, err = run("policy", "bundle", "-o", "x", "--signing-key", "none.pem", cwd=tmp_path)
    assert code == 3
    assert "none.pem" in err
    code, _, _ = run("policy", "bundle", "-o", "no/such/folder", cwd=tmp_path)
    assert code == 3


def test_policies_are_pushed_to_a_development_server(opa_program: Path, tmp_path: Path) -> None:
    """What was pushed decides, what is gone is removed, and a guard takes it with the switch
    alone.
    """
    folder = project(tmp_path / "p" if (tmp_path / "p").mkdir() is None else tmp_path)
    with served(opa_program, tmp_path) as server:
        until(lambda: pushed(folder, server.url))
        # One module leans on another, whichever comes first.
        (folder / "policies" / "a.rego").write_text(
            'package guardrail.policy\n\ndeny contains "big" if'
            " big(input.action.properties.args.n)\n"
        )
        (folder / "policies" / "z.rego").write_text(
            "package guardrail.policy\n\nbig(n) if {\n\tis_number(n)\n\tn > data.limits.n\n}\n"
        )
        (folder / "policies" / "data.json").write_text('{"limits": {"n": 5}}')
        code, out, _ = run("policy", "push", "--url", server.url, "--json", cwd=folder)
        assert code == 0
        assert "guardrail-push/guardrail/policy/z.rego" in json.loads(out)["stored"]
        with pytest.raises(PolicyError) as caught:
            refused_start(server.url, folder / "policies")
        assert (caught.value.cause, caught.value.detail) == ("revision", "none")
        with engine(server.url, unsafe_unpinned_policy=True) as connected:
            assert (connected.identity.digest, connected.identity.revision) == (None, None)
            assert connected.identity.version.endswith(" unsafe_unpinned_policy")

            def effect(n: int) -> str:
                document = sample_input(args={"n": n}).encode()
                reply = connected.decide(document, shard="a", deadline=30).result(30)
                return str(parse(reply.document).effect)

            assert (effect(6), effect(5)) == ("deny", "allow")
            for name in ("a.rego", "z.rego"):
                (folder / "policies" / name).unlink()
            code, out, _ = run("policy", "push", "--url", server.url, cwd=folder)
            assert (code, "2 removed" in out) == (0, True)
            assert effect(6) == "allow"
        (folder / "policies" / "a.rego").write_text("package guardrail.policy\n\nx := nothing(1)\n")
        code, out, _ = run("policy", "push", "--url", server.url, cwd=folder)
        assert code == 1
        assert "a.rego" in out


def refused_start(url: str, policies: Path) -> None:
    with engine(url, policies, start_limit_ms=1000):
        raise AssertionError


def pushed(folder: Path, url: str) -> bool:
    try:
        return bool(push([folder / "policies"], OpaSection(url=url)).stored)
    except PolicyLoadError:
        raise
    except PolicyError:
        # Not up yet.
        return False


def test_a_server_with_bundles_is_not_pushed_to(opa_program: Path, tmp_path: Path) -> None:
    """Bundles from elsewhere and from a file: refused, nothing stored, exit 3."""
    archive, _ = bundle_file(tmp_path / "b.tar.gz", [STARTER])
    bundles = BundleServer()
    bundles.content = archive.read_bytes()
    for arguments in (bundles.arguments(), ["--bundle", str(archive)]):
        with served(opa_program, tmp_path, *arguments) as server, engine(server.url, STARTER) as connected:  # fmt: skip
            before = connected.identity
            with pytest.raises(ConfigError) as caught:
                push([STARTER], OpaSection(url=server.url))
            assert "guardrail policy bundle" in caught.value.hint
            assert connected._inspector.inspect().identity == before
    bundles.close()


def test_doctor_says_what_a_server_serves_and_what_is_wrong(
    opa_program: Path, tmp_path: Path
) -> None:
    """Well, without its status, with other policies, and not there: each with what to do."""
    folder = project(tmp_path)
    archive, revision = bundle_file(tmp_path / "b.tar.gz", [folder / "policies"])

    def check() -> dict[str, Any]:
        _, out, _ = run("doctor", "--json", cwd=folder)
        return {item["name"]: item for item in json.loads(out)["checks"]}

    with served(opa_program, tmp_path, "--bundle", str(archive)) as server:
        project(tmp_path, url=server.url)
        found = check()["opa"]
        assert (found["state"], revision[:16] in found["found"]) == ("note", True)
        assert "status.console" in found["fix"]
        project(tmp_path, POLICY + "\n# another\n", url=server.url, start_limit_ms=500)
        found = check()["opa"]
        assert (found["state"], "revision" in found["found"]) == ("fail", True)
        assert "guardrail policy bundle" in found["fix"]
    with served(opa_program, tmp_path, "--bundle", str(archive), "--set", "status.console=true") as server:  # fmt: skip
        project(tmp_path, url=server.url)
        assert check()["opa"]["state"] == "ok"
    found = check()
    assert found["opa"]["state"] == "fail"
    assert "start the server, or correct [opa] url" in found["opa"]["fix"]
    project(tmp_path, url="http://user:pass@127.0.0.1")
    found = check()["opa"]
    assert (found["state"], "pass" in found["found"]) == ("fail", False)

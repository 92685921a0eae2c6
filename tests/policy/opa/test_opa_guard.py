"""P1 with the server engine: whatever the server does, no body runs without its well-formed allow,
and each denial is recorded.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardrail import Guard
from guardrail.approvals.request import Approver
from guardrail.config import Settings
from guardrail.core.log.record import decode
from guardrail.errors import ApprovalRequired, Denied, PolicyError
from guardrail.ledger.reader import LedgerReader
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.opa.reply import OpaReply
from guardrail.policy.opa.revision import RevisionAcceptance
from guardrail.review.verify import VerifyState, verify_ledger
from guardrail.testing import deny
from tests.policy.opa.test_opa_hostile import HOSTILE, LONG, SHORT
from tests.support.guards import OPEN, engine_of
from tests.support.opa_server import (
    REVISION,
    BundleServer,
    answer,
    bundle_file,
    fake,
    http_reply,
    served,
)
from tests.support.waiting import until


class Body:
    """A tool body that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, **_: Any) -> str:
        self.runs += 1
        return "done"


def settings(folder: Path, url: str, deadline_ms: int = 400, **opa: Any) -> Settings:
    opa = {"watch_interval_ms": 60_000, "breaker_failures": 1000, "start_limit_ms": 30_000} | opa
    return Settings().override(
        ledger={"path": folder / "audit.db"},
        policy={"engine": "opa", "deadline_ms": deadline_ms, "path": [folder / "policies"]},
        opa={"url": url, **opa},
        identity={"require": "any"},
    )


@contextmanager
def guarded(folder: Path, url: str, **options: Any) -> Iterator[Guard]:
    """Open a guard whose policies are on the server at *url*."""
    with Guard.open(settings(folder, url, **options)) as guard:
        guard.declare("send", schema=OPEN)
        yield guard


@pytest.mark.parametrize("document", [{"offered": True}, None, answer(), {}])
def test_a_server_without_an_answer_to_a_listing_hides_the_tools(
    tmp_path: Path, document: object
) -> None:
    """A bundle of an older guardrail has none."""
    with fake() as server:
        server.behave = lambda sock: sock.sendall(http_reply(orjson.dumps(document)))
        with guarded(tmp_path, server.url, revisions=[REVISION]) as guard:
            assert guard.listed(["send"]) == []
            with LedgerReader.open(tmp_path / "audit.db") as reader:
                records = [decode(line) for _, _, line in reader.lines()]
            assert records[-1]["type"] == "admin.listing_failed"


def decisions(folder: Path) -> list[dict[str, Any]]:
    with LedgerReader.open(folder / "audit.db") as reader:
        records = [decode(line) for _, _, line in reader.lines()]
    return [record for record in records if record["type"] == "call.decision"]


def call(guard: Guard, body: Body, **session: Any) -> Any:
    with guard.session(principal="alice", agent="bot", **session):
        return guard.call("send", {"text": "hello"}, body)


@pytest.mark.parametrize("limit", [SHORT, LONG])
def test_no_body_runs_whatever_a_lying_server_does(tmp_path: Path, limit: float) -> None:
    """Every behaviour of the hostile suite, one recorded denial each with its cause and detail; a
    good answer runs the body. Servers that miss the deadline get a short one.
    """
    body = Body()
    expected = []
    options = {"revisions": (REVISION,), "deadline_ms": 700 if limit == SHORT else 30_000}
    with fake() as server, guarded(tmp_path, server.url, **options) as guard:
        acts = [each[:3] for each in HOSTILE.values() if each[3] == limit]
        for index, (act, cause, detail) in enumerate(acts):
            until(lambda: engine_of(guard)._refusal is None)  # type: ignore[attr-defined]
            server.behave = lambda sock, act=act: act(sock, server)  # type: ignore[misc]
            with pytest.raises(Denied):
                call(guard, body, id=f"s{index}")
            expected.append(("deny", cause, detail))
        server.behave = lambda sock: sock.sendall(http_reply(orjson.dumps(answer(deny("no")))))
        with pytest.raises(Denied):
            call(guard, body)
        expected.append(("deny", "policy", ""))
        assert body.runs == 0
        server.behave = None
        until(lambda: engine_of(guard)._refusal is None)  # type: ignore[attr-defined]
        assert call(guard, body) == "done"
        assert body.runs == 1
    found = [
        (d["decision"]["effect"], d["decision"]["cause"], d["decision"]["detail"])
        for d in decisions(tmp_path)
    ]
    assert found == [*expected, ("allow", "policy", "")]
    assert verify_ledger(tmp_path / "audit.db").state is VerifyState.NOT_ANCHORED


async def test_a_hanging_reply_delays_none_of_64_concurrent_calls(tmp_path: Path) -> None:
    """On one event loop: the others end while it hangs."""
    body = Body()
    first = threading.Event()
    with fake() as server, guarded(tmp_path, server.url, deadline_ms=30_000, revisions=(REVISION,)) as guard:  # fmt: skip

        def hang_once(sock: Any) -> None:
            if not first.is_set():
                first.set()
                server.let_go.wait()
            sock.sendall(http_reply(orjson.dumps(answer())))

        server.behave = hang_once

        async def one(number: int) -> Any:
            async with guard.session(principal="alice", agent="bot", id=f"s{number}"):
                return await guard.acall("send", {}, body)

        hanging = asyncio.create_task(one(0))
        await asyncio.to_thread(first.wait)
        results = await asyncio.gather(*(one(number) for number in range(1, 65)))
        assert results == ["done"] * 64
        assert not hanging.done()
        server.let_go.set()
        assert await hanging == "done"


def test_a_server_killed_at_any_point_runs_nothing(tmp_path: Path) -> None:
    """The reply cut after each of its bytes in turn: a denial each, never an allow."""
    body = Body()
    good = http_reply(orjson.dumps(answer()))
    cuts = [*range(0, len(good) - 1, 9), len(good) - 1]
    with fake() as server, guarded(tmp_path, server.url, deadline_ms=5000, revisions=(REVISION,)) as guard:  # fmt: skip
        for cut in cuts:

            def act(sock: Any, cut: int = cut) -> None:
                sock.sendall(good[:cut])
                sock.shutdown(2)

            server.behave = act
            with pytest.raises(Denied) as caught:
                call(guard, body)
            assert caught.value.code in {"denied.unreachable", "denied.malformed"}
        assert body.runs == 0
        assert len(decisions(tmp_path)) == len(cuts)
        server.behave = None
        assert call(guard, body) == "done"


POLICY = """package guardrail.policy

allow contains "send" if input.resource.id == "send"

deny contains "secret" if input.action.properties.args.text == "secret"
"""


def test_a_real_server_decides_is_recorded_and_is_missed_when_it_is_gone(
    opa_program: Path, tmp_path: Path
) -> None:
    """Engine, version, digest and revision stand in the record; without the server calls are
    denied, and go on with it.
    """
    body = Body()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(POLICY)
    archive, revision = bundle_file(tmp_path / "b.tar.gz", [tmp_path / "policies"])
    with (
        served(opa_program, tmp_path, "--bundle", str(archive)) as server,
        guarded(tmp_path, server.url, breaker_reset_ms=50, start_limit_ms=3000) as guard,
    ):
        assert call(guard, body) == "done"
        with guard.session(principal="alice", agent="bot"), pytest.raises(Denied) as caught:
            guard.call("send", {"text": "secret"}, body)
        assert caught.value.code == "denied.policy"
        server.kill()
        with pytest.raises(Denied) as caught:
            call(guard, body)
        assert caught.value.code == "denied.unreachable"
        assert body.runs == 1
        # A reload looks at the server: what is not there is not loaded, and what was loaded stays.
        with pytest.raises(PolicyError):
            guard.reload()
        server.start()
        until(lambda: allowed(guard, body))
        guard.reload()
        assert call(guard, body) == "done"
    policy = decisions(tmp_path)[0]["policy"]
    assert policy["engine"] == "opa"
    assert policy["revision"] == revision
    assert f"{policy['digest']}.{policy['data']}" == revision


def allowed(guard: Guard, body: Body) -> bool:
    try:
        return bool(call(guard, body))
    except Denied:
        return False


def test_a_policy_that_changes_on_the_server_without_leave_stops_every_call(
    opa_program: Path, tmp_path: Path
) -> None:
    """A bundle that allows everything, put in place of the right one: not one body runs under
    it.
    """
    body = Body()
    for name, text in (("policies", POLICY), ("open", POLICY.replace("deny contains", "ignored contains"))):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.rego").write_text(text)
    bundles = BundleServer()
    path, _ = bundle_file(tmp_path / "right.tgz", [tmp_path / "policies"])
    bundles.content = path.read_bytes()
    with (
        served(opa_program, tmp_path, *bundles.arguments()) as server,
        guarded(tmp_path, server.url, deadline_ms=5000, watch_interval_ms=100) as guard,
    ):
        path, _ = bundle_file(tmp_path / "open.tgz", [tmp_path / "open"])
        bundles.content = path.read_bytes()
        with guard.session(principal="alice", agent="bot"):
            causes = set()

            def unaccepted() -> bool:
                with pytest.raises(Denied) as caught:
                    guard.call("send", {"text": "secret"}, body)
                causes.add(caught.value.code)
                return caught.value.code == "denied.revision"

            until(unaccepted)
        assert causes <= {"denied.policy", "denied.revision"}
        assert body.runs == 0
    bundles.close()


def test_a_revision_that_is_added_to_the_settings_is_taken_after_a_reload(
    opa_program: Path, tmp_path: Path
) -> None:
    """The roll-out that docs/opa-server.md describes: new revision on the guards, then bundle on
    the server, no restart.
    """
    body = Body()
    for name, text in (("old", POLICY), ("new", POLICY + '\ndeny contains "new" if false\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.rego").write_text(text)
    old, old_revision = bundle_file(tmp_path / "old.tgz", [tmp_path / "old"])
    new, new_revision = bundle_file(tmp_path / "new.tgz", [tmp_path / "new"])
    bundles = BundleServer()
    bundles.content = old.read_bytes()
    config = tmp_path / "guardrail.toml"

    def configure(server: str, *revisions: str) -> None:
        config.write_text(
            '[ledger]\npath = "audit.db"\n[policy]\nengine = "opa"\ndeadline_ms = 5000\n'
            f'[opa]\nurl = "{server}"\nwatch_interval_ms = 100\nrevisions = {list(revisions)}\n'
        )

    with served(opa_program, tmp_path, *bundles.arguments()) as server:
        configure(server.url, old_revision)
        with Guard.open(config) as guard:
            guard.declare("send", schema=OPEN)
            assert allowed(guard, body)
            configure(server.url, old_revision, new_revision)
            guard.reload()
            bundles.content = new.read_bytes()
            # Never refused on the way: both revisions are taken.
            until(lambda: call(guard, body) == "done" and _revision(tmp_path) == new_revision)
    bundles.close()


def test_a_revision_that_is_not_taken_is_named_with_those_that_are(
    opa_program: Path, tmp_path: Path
) -> None:
    """As far as they differ, policies and data; one that a server made up holds nothing that a
    terminal obeys.
    """
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "p.rego").write_text(POLICY)
    archive, served_one = bundle_file(tmp_path / "old.tgz", [tmp_path / "old"])
    policy, data = served_one.split(".")
    other = f"{policy}.{'0' * 64}"
    with served(opa_program, tmp_path, "--bundle", str(archive)) as server:
        section = settings(tmp_path, server.url).opa
        chosen = replace(section, revisions=(other, "release-7"), start_limit_ms=2_000)
        with pytest.raises(PolicyError) as refused:
            OpaEngine.connect(chosen)
    assert refused.value.detail == "unaccepted"
    assert (
        refused.value.message
        == f"the OPA server serves revision {policy[:8]}….{data[:8]}… of the policies, "
        f"but this guard accepts only {policy[:8]}….00000000…, release-7"
    )
    answer = OpaReply(
        version="1", revisions=(("b", "x\x1b[2J" + "y" * 90),), document={}, decision_id=None
    )
    with pytest.raises(PolicyError) as refused:
        RevisionAcceptance(["impure-" + served_one, "a", "b", "c"]).identity(answer)
    assert "\x1b" not in refused.value.message
    assert "y" * 60 not in refused.value.message
    assert refused.value.message.endswith("accepts only a, b, c, ...")


def _revision(folder: Path) -> object:
    return decisions(folder)[-1]["policy"]["revision"]


def test_a_forked_child_decides_on_connections_of_its_own() -> None:
    """Threads and sockets of the parent are not used; the parent goes on."""
    import pickle

    from guardrail.policy.embedded.rehearsal import sample_input
    from tests.support.opa_server import engine

    document = sample_input().replace('"someone"', '"alice"').encode()
    with fake() as server, engine(server.url, revisions=(REVISION,)) as connected:
        ask = lambda: connected.decide(document, shard="a", deadline=30).result(30).document
        before = ask()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, pickle.dumps(ask()))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            in_child = pickle.loads(stream.read())
        os.waitpid(pid, 0)
        assert before == in_child == ask()


ASKS = """package guardrail.policy

allow contains "send" if input.resource.id == "send"

require_approval contains "person" if input.resource.id == "send"
"""


def test_an_approval_counts_with_a_real_server_as_well(opa_program: Path, tmp_path: Path) -> None:
    """Asked, approved, decided again by the server with the approval in its input, and used
    once.
    """
    body = Body()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(ASKS)
    archive, _ = bundle_file(tmp_path / "b.tar.gz", [tmp_path / "policies"])
    with served(opa_program, tmp_path, "--bundle", str(archive)) as server:
        chosen = settings(tmp_path, server.url).override(
            approvals={"unsafe_asserted_approvals": True}
        )
        with Guard.open(chosen) as guard, guard.session(principal="alice", agent="bot"):
            guard.declare("send", schema=OPEN)
            with pytest.raises(ApprovalRequired) as asked:
                guard.call("send", {"text": "hello"}, body)
            id_ = str(asked.value.approval)
            guard.approvals.approve(id_, Approver("bob"), "known recipient")
            assert guard.call("send", {"text": "hello"}, body, approval=id_) == "done"
            with pytest.raises(Denied):
                guard.call("send", {"text": "hello"}, body, approval=id_)
    assert body.runs == 1
    used = decisions(tmp_path)[1]
    assert used["approval"]["id"] == id_
    assert used["reproducible"] is True

"""Selects the tools that are offered to a model: all except those that the policy hides.

A listing is not a decision: it grants nothing, and a call of a hidden tool is decided like any
other. The policy is queried once for each tool and subject. Its answers are cached for a while, as
long as policy, tool and subject stay the same.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from guardrail.call.caller import Callers
from guardrail.call.decision_record import Recorder
from guardrail.call.decision_writer import ENGINE_GRACE, shard_of
from guardrail.call.journal import Journal
from guardrail.call.scope import SessionScope
from guardrail.core.listing import parse_listing
from guardrail.core.log.record import dumps
from guardrail.core.policy_input import SessionInput, build, tool_input
from guardrail.core.types import EngineReply, PolicyIdentity, Session
from guardrail.errors import LedgerError, PolicyError
from guardrail.identity.session import SessionState
from guardrail.ledger.files import utc_timestamp
from guardrail.system.waiting import LARGE, Steps, Wait, Work
from guardrail.tools.tool import Tool

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine, PoliciesInUse

__all__ = ["Listings"]

KEPT_S = 60.0
"""Seconds for which an answer is kept. It is bounded because a rule may depend on the time."""
MOST_KEPT = 20_000
"""Maximum number of answers that are kept."""
LONGEST_S = 5.0
"""Maximum number of seconds for one list. After that, the policy is not queried about the remaining
tools.
"""
AT_ONCE = 16
"""Maximum number of simultaneous queries for one list."""
MOST_FAILURES = 3
"""Maximum number of failures for one list. After that, the policy is not queried about the
remaining tools.
"""
SILENT_S = 60.0
"""Seconds between two records of failures."""

_Key = tuple[str, PolicyIdentity, tuple[object, ...]]


class _Failure(NamedTuple):
    cause: str
    detail: str


class Listings:
    """Queries the policy about the tools to offer. Thread-safe."""

    def __init__(
        self,
        *,
        callers: Callers,
        policies: PoliciesInUse,
        recorder: Recorder,
        journal: Journal,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callers = callers
        self._policies = policies
        self._recorder = recorder
        self._journal = journal
        self._now = now
        self._lock = threading.Lock()
        self._answers: OrderedDict[_Key, tuple[bool, float]] = OrderedDict()
        self._silent_until = 0.0

    def steps(
        self, tools: Sequence[Tool], session: SessionScope | None, adapter: str
    ) -> Steps[list[Tool]]:
        """Return the tools that are offered, in their original order.

        A tool is hidden if the policy hides it. It is also hidden if the policy's answer is
        malformed or too late; ``admin.listing_failed`` then records why, at most once a minute.
        Raises ``UsageError`` if the session belongs to a different guard.
        """
        state = self._callers.find(session).state
        who = self._who(state)
        subject = _digest(who)
        engine = self._policies.engine
        offered: dict[int, bool] = {}
        asking: list[tuple[int, Tool]] = []
        for at, tool in enumerate(tools):
            known = self._known(_key(subject, tool, engine.identity))
            if known is None:
                asking.append((at, tool))
            else:
                offered[at] = known
        failures: list[_Failure] = []
        if asking:
            end = self._now() + LONGEST_S
            waiting = iter(asking)
            while batch := list(islice(waiting, AT_ONCE)):
                if len(failures) >= MOST_FAILURES or self._now() > end:
                    failures += [_Failure("timeout", "list")] * (len(batch) + len(list(waiting)))
                    break
                futures = self._asked(engine, batch, state.session, who, adapter)
                for (at, tool), future in zip(batch, futures, strict=True):
                    found = yield from self._answer(future)
                    if isinstance(found, _Failure):
                        failures.append(found)
                        continue
                    offered[at] = found[0]
                    self._keep(_key(subject, tool, found[1]), offered=found[0])
        if failures:
            yield Work(lambda: self._report(failures), LARGE + 1)  # it waits for the disk
        return [tool for at, tool in enumerate(tools) if offered.get(at)]

    def _who(self, state: SessionState) -> SessionInput:
        """Return the subject of the list, in the form that the policy sees. A list does not belong
        to a session: all sessions of the subject get the same list.
        """
        who = state.raw if self._recorder.raw_input else state.facts()
        return replace(who, session={"id": ""})

    def _asked(
        self,
        engine: Engine,
        batch: Sequence[tuple[int, Tool]],
        session: Session,
        who: SessionInput,
        adapter: str,
    ) -> list[Future[EngineReply]]:
        """Query the policy about each tool in *batch*."""
        time_, deadline = utc_timestamp(), self._policies.deadline
        zones = self._policies.zones.at(time_)
        futures: list[Future[EngineReply]] = []
        for _, tool in batch:
            document = _document(who, tool, time_, zones, adapter)
            try:
                where = shard_of(session, tool)
                futures.append(engine.listing(document, shard=where, deadline=deadline))
            except Exception as error:  # noqa: BLE001 - the policy boundary, as for a decision
                futures.append(Future())
                futures[-1].set_exception(error)
        return futures

    def _answer(self, future: Future[EngineReply]) -> Steps[tuple[bool, PolicyIdentity] | _Failure]:
        deadline = self._policies.deadline
        try:
            reply: EngineReply = yield Wait(future, deadline + ENGINE_GRACE)
        except PolicyError as error:
            return _Failure(error.cause, error.detail)
        except TimeoutError:
            return _Failure("timeout", "engine")
        except Exception:  # noqa: BLE001 - the policy boundary, as for a decision
            return _Failure("error", "engine")
        if reply.milliseconds > deadline * 1000:
            return _Failure("timeout", "deadline")
        answer = parse_listing(reply.document)
        if answer.problem:
            return _Failure("malformed", answer.problem)
        return answer.offered, reply.policy

    def _known(self, key: _Key) -> bool | None:
        with self._lock:
            found = self._answers.get(key)
            if found is None or found[1] < self._now():
                return None
            self._answers.move_to_end(key)
            return found[0]

    def _keep(self, key: _Key, *, offered: bool) -> None:
        with self._lock:
            self._answers[key] = offered, self._now() + KEPT_S
            self._answers.move_to_end(key)
            while len(self._answers) > MOST_KEPT:
                self._answers.popitem(last=False)

    def _report(self, failures: Sequence[_Failure]) -> None:
        """Record the first failure. If the ledger can't be written, calls are denied but listings
        are not.
        """
        with self._lock:
            now = self._now()
            if now < self._silent_until:
                return
            self._silent_until = now + SILENT_S
        first = failures[0]
        detail = {"cause": first.cause, "detail": first.detail, "hidden": len(failures)}
        try:
            self._journal.admin("listing_failed", detail)
        except LedgerError:
            with self._lock:
                self._silent_until = 0.0


def _digest(who: SessionInput) -> str:
    parts = dumps({"agent": who.agent, "delegation": who.delegation, "subject": who.subject})
    return hashlib.sha256(parts).hexdigest()


def _document(
    who: SessionInput, tool: Tool, time_: str, zones: Mapping[str, int], adapter: str
) -> bytes:
    schema = None if tool.schema is None else tool.schema.digest
    described = tool_input(
        declared=tool.declared, server=tool.server, schema_digest=schema, labels=tool.labels
    )
    return dumps(
        build(
            who,
            tool_name=tool.name,
            tool=described,
            target=[],
            amounts={},
            args={},
            arg_classes={},
            time=time_,
            zones=zones,
            adapter=adapter,
            action="tools/list",
        )
    )


def _key(subject: str, tool: Tool, policy: PolicyIdentity) -> _Key:
    schema = None if tool.schema is None else tool.schema.digest
    return subject, policy, (tool.name, tool.server, tool.declared, schema, tool.labels)

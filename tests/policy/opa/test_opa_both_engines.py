"""One contract, two engines: the embedded one answers like a real OPA, or refuses; it never allows
what OPA denies.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from guardrail.core.decision import parse
from guardrail.core.listing import parse_listing
from guardrail.core.types import Cause, Effect
from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.engine import Engine
from guardrail.policy.input_limits import MAX_INPUT
from guardrail.policy.opa.admin import OpaAdmin
from guardrail.policy.opa.bundle import names
from guardrail.policy.opa.reply import DECISION_PATH, OpaQuestion, read_answer
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.opa.transport import OpaConnection
from guardrail.policy.sources import installed_folder, load_policies
from tests.support.opa_server import STARTER, Opa, bundle_file, engine, section, served
from tests.support.waiting import PATIENCE, until

LONG = 30.0
EXAMPLES = int(os.environ.get("GUARDRAIL_FUZZ_EXAMPLES", "40"))

RULES = """package guardrail.policy

args := input.action.properties.args

allow contains "any" if input.resource.properties.declared

allow contains {"rule": "team", "message": sprintf("%v may", [who]), "severity": "low"} if {
	some who in input.subject.properties.roles
	who in data.team.roles
}

deny contains {"rule": "limit", "message": "over the limit", "severity": "high"} if {
	is_number(args.amount)
	args.amount > data.team.limit
}

deny contains "path" if {
	is_string(args.path)
	not below_srv
}

below_srv if startswith(args.path, "/srv/")

deny contains sprintf("blocked %v", [word]) if {
	some word in data.team.words
	is_string(args.text)
	contains(lower(args.text), word)
}

deny contains count([1, 2, 3, 4, 5]) if args.odd == "number"

require_approval contains {"rule": "many", "message": "many people", "needs": ["/to"], "approvers": 2} if {
	is_array(args.to)
	count(args.to) > 2
}

redact contains sprintf("/to/%v", [i]) if {
	is_array(args.to)
	some i, _ in args.to
}

redact contains "/card" if args.card

hide contains "h" if input.resource.id == "hidden"

obligation contains "o" if args.odd == "obligation"

label_free := {x | some x in input.resource.properties.labels}

deny contains "labelled" if "secret" in label_free
"""
DATA = {"team": {"limit": 100, "roles": ["admin", "clerk"], "words": ["bomb", "ß", "é"]}}


@pytest.fixture(scope="module")
def pair(
    opa_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Engine]]:
    """Both engines, with the same policies."""
    folder = tmp_path_factory.mktemp("both")
    paths = folder / "policies"
    paths.mkdir()
    (paths / "rules.rego").write_text(RULES)
    (paths / "data.json").write_text(json.dumps(DATA))
    archive, _ = bundle_file(folder / "b.tar.gz", [paths])
    embedded = EmbeddedEngine.load([paths], spare=False, eval_limit=5.0)
    try:
        with (
            served(opa_program, folder, "--bundle", str(archive)) as server,
            engine(server.url, paths) as connected,
        ):
            yield {"embedded": embedded, "opa": connected}
    finally:
        embedded.close()


@pytest.mark.parametrize("name", ["embedded", "opa"])
def test_both_engines_answer_which_tools_are_hidden(pair: dict[str, Engine], name: str) -> None:
    """A listing asks the hide rules, whatever the other rules say."""
    for tool, offered in [("hidden", False), ("send", True)]:
        question = sample_input(tool, name="tools/list").encode()
        future = pair[name].listing(question, shard="t\0s\0x", deadline=LONG)
        answer = future.result(LONG).document
        assert parse_listing(answer) == (offered, "")
        rules = answer["rules"] if isinstance(answer, dict) else None
        assert [rule["rule"] for rule in rules or []] == ([] if offered else ["h"])


def answered(asked: Engine, document: bytes) -> Any:
    """Return the document, or cause and detail where there is none."""
    try:
        return asked.decide(document, shard="t\0s\0x", deadline=LONG).result(LONG).document
    except PolicyError as error:
        return (error.cause, error.detail)


def generated(rng: random.Random) -> bytes:
    """Return one complete input."""
    values: list[Callable[[], object]] = [
        lambda: rng.randint(-5, 200),
        # No -0.0: beside it the embedded engine does not write 0 as text, and denies
        # (docs/writing-policies.md).
        lambda: rng.choice([0.5, 100.0, 100.5, 1e3, 2**53 + 1]),
        lambda: rng.choice(["/srv/a", "/etc/passwd", "A BOMB", "É", "STRASSE ß", "", "number", "obligation"]),
        lambda: rng.choice([None, True, False]),
        lambda: [rng.choice(["a@x", "b@y", 5, None]) for _ in range(rng.randint(0, 5))],
        lambda: {"nested": [1, {"deep": rng.random()}]},
    ]  # fmt: skip
    keys = rng.sample(
        ["amount", "path", "text", "to", "card", "odd", "x", "ключ"], rng.randint(0, 5)
    )
    people = ["a@x", "b@y", "c@z"] if rng.random() < 0.2 else []
    document = json.loads(
        sample_input(
            rng.choice(["send", "hidden", "gr\u00fc\u00df", "a b"]),
            declared=rng.random() < 0.8,
            args={key: rng.choice(values)() for key in keys},
        )
    )
    if people:
        document["action"]["properties"]["args"]["to"] = people
    document["subject"]["properties"]["roles"] = rng.sample(["admin", "clerk", "guest"], rng.randint(0, 2))  # fmt: skip
    document["resource"]["properties"]["labels"] = rng.sample(["secret", "read"], rng.randint(0, 1))
    if rng.random() < 0.2:
        document["context"]["approval"] = {"valid": rng.random() < 0.7, "rules": rng.choice([["many"], []])}  # fmt: skip
    return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode()


def test_five_hundred_generated_decisions_without_a_difference(pair: dict[str, Engine]) -> None:
    """Whole documents: effect, every rule and its message, pointers, order."""
    rng = random.Random(20)
    seen: Counter[str] = Counter()
    differences = []
    for _ in range(500):
        document = generated(rng)
        got = {name: answered(asked, document) for name, asked in pair.items()}
        if got["embedded"] != got["opa"]:
            differences.append((document, got))
        verdict = parse(got["opa"])
        seen[f"{verdict.effect}/{verdict.cause}"] += 1
    assert differences == []
    # A generator that never gets far compares nothing.
    assert min(seen[f"{effect}/policy"] for effect in Effect) > 10
    assert seen[f"{Effect.DENY}/{Cause.MALFORMED}"] + seen[f"{Effect.DENY}/{Cause.OBLIGATION}"] > 5


CONTRACT: dict[str, tuple[dict[str, object], str, str]] = {
    "a plain call": ({}, "allow", "policy"),
    "a denying rule": ({"amount": 500}, "deny", "policy"),
    "a person is needed": ({"to": ["a", "b", "c"]}, "require_approval", "policy"),
    "an entry that is a number": ({"odd": "number"}, "deny", "malformed"),
    "an obligation": ({"odd": "obligation"}, "deny", "obligation"),
}


@pytest.mark.parametrize("name", ["embedded", "opa"])
@pytest.mark.parametrize(("args", "effect", "cause"), CONTRACT.values(), ids=CONTRACT)
def test_the_contract_holds(
    pair: dict[str, Engine], name: str, args: dict[str, object], effect: str, cause: str
) -> None:
    """Allow, deny, approval, malformed, obligation: by either engine."""
    document = answered(pair[name], sample_input("send", args=args).encode())
    verdict = parse(document)
    assert (verdict.effect, verdict.cause) == (effect, cause)


@pytest.mark.parametrize("name", ["embedded", "opa"])
@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (b"{", "input"),
        (b"\xff", "input"),
        (b'{"a": "' + b"x" * MAX_INPUT + b'"}', "input_size"),
    ],
)
def test_an_input_that_is_none_is_a_failure(
    pair: dict[str, Engine], name: str, document: bytes, detail: str
) -> None:
    """Of the same cause and detail by either engine."""
    assert answered(pair[name], document) == ("error", detail)


@pytest.mark.parametrize("name", ["embedded", "opa"])
def test_an_engine_that_was_closed_is_unreachable(
    opa_program: Path, tmp_path: Path, name: str
) -> None:
    """And closing twice does nothing."""
    if name == "embedded":
        asked: Engine = EmbeddedEngine.load([STARTER], spare=False)
    else:
        archive, _ = bundle_file(tmp_path / "b.tar.gz", [STARTER])
        with (
            served(opa_program, tmp_path, "--bundle", str(archive)) as server,
            engine(server.url, STARTER) as connected,
        ):
            asked = connected
    asked.close()
    asked.close()
    assert answered(asked, sample_input().encode()) == ("unreachable", "closed")


# -- inputs and policies that nobody thought of
# -------------------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=("Cs",)), max_size=8) | st.sampled_from(["/srv/x", "bomb", "number"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "to"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=5 * EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    args=st.dictionaries(
        st.sampled_from(["amount", "path", "text", "to", "card", "odd"]), _JSON, max_size=5
    )
)
def test_any_arguments_get_the_same_answer(pair: dict[str, Engine], args: dict[str, Any]) -> None:
    """The same document; where one has none, the other allows nothing either."""
    document = sample_input("send", args=args).encode()
    embedded, opa = (answered(pair[name], document) for name in ("embedded", "opa"))
    if isinstance(embedded, tuple) or isinstance(opa, tuple):
        assert parse(embedded).effect is not Effect.ALLOW
        return
    assert embedded == opa


class Bench:
    """A real OPA whose policies are exchanged, and the embedded engine's workbench."""

    def __init__(self, server: Opa) -> None:
        self._server = server
        target = OpaTarget(section(server.url))
        self._admin = OpaAdmin(target, timeout=LONG)
        self._connection = OpaConnection(target)
        self._bench = Workbench(time_limit=LONG)
        self._author: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        until(self._up)
        # guardrail's own: twice, since some of them call each other.
        for name, source in names(load_policies([STARTER])):
            if source.installed:
                self._admin.put_policy(name, source.text)
        for name, source in names(load_policies([STARTER])):
            if source.installed:
                assert self._admin.put_policy(name, source.text) is None

    def _up(self) -> bool:
        try:
            return self._admin.healthy()
        except PolicyError:
            return False

    def close(self) -> None:
        self._admin.close()
        self._connection.close()
        self._bench.close()

    def opa(self, files: list[tuple[str, str]], data: dict[str, Any]) -> bool:
        """Serve *files* in that order. False where OPA refuses them."""
        while self._author:
            kept = {name for name in self._author if self._admin.delete_policy(name)}
            if len(kept) == len(self._author):
                # They need each other, so that none of them can go.
                self._server.kill()
                self._server.start()
                self._begin()
                kept = set()
            self._author = kept
        self._admin.put_data(["t"], data)
        waiting = files
        while waiting:
            left = [item for item in waiting if self._admin.put_policy(f"f/{item[0]}", item[1])]
            self._author |= {f"f/{item[0]}" for item in waiting if item not in left}
            if len(left) == len(waiting):
                return False
            waiting = left
        return True

    def opa_says(self, document: str) -> Any:
        import time

        asked = OpaQuestion.about(document.encode())
        try:
            reply = self._connection.ask(
                "POST", DECISION_PATH, asked.body, time.monotonic() + PATIENCE
            )
            return read_answer(reply, asked.echo).document
        except PolicyError as error:
            return (error.cause, error.detail)

    def embedded(
        self, folder: Path, order: Callable[[list[Any]], None], documents: list[str]
    ) -> list[Any] | None:
        """Return what the embedded engine answers, its modules loaded in an order of their own, or
        None where it refuses.
        """
        try:
            compiled = compile_policies(load_policies([folder]), self._bench)
        except PolicyLoadError:
            return None
        texts = compiled.texts
        order(texts)
        try:
            self._bench.load(texts, compiled.data)
        except EngineRefusal:
            return None
        return [self._embedded_says(document) for document in documents]

    def _embedded_says(self, document: str) -> Any:
        try:
            value = self._bench.rule("data.guardrail.main.decision", document)
        except EngineRefusal:
            return ("error", "evaluation")
        return ("undefined", "no_decision") if value is UNDEFINED else value


@pytest.fixture(scope="module")
def bench(opa_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with served(opa_program, folder) as server:
        both = Bench(server)
        yield both
        both.close()


_CONDITIONS = [
    "args.a == 1", "args.a > 1", "args.a < args.b", "args.b == null", "args.c", "not args.c", "not args.a == 1",
    'args.a != "x"', "is_number(args.a)", 'is_string(args.b)', "count(args.l) > 1",
    '"x" in args.l', "some v in args.l; v == 1", "every v in args.l { v == 1 }",
    'startswith(args.b, "x")', "h0", "not h0", "h1", "not h1", "f(args.a)",
    "f(args.a) == true", "args.a in data.t.list", "data.t.flag", "not data.t.missing",
    "data.guardrail.policy.sub.s", "not data.guardrail.policy.sub.s", "count(names) > 0", "count(names) == 0",
    '"n" in names', 'not "n" in names', "data.guardrail.policy.sub.g(args.a)",
    "object.get(args, \"a\", 0) == 1", "x := args.a; x == 1", "[x, y] = [args.a, args.b]; x == y", "args.a == args.a",
    "upper(args.b) == \"X\"", "args.l[0] == 1", "args.o.k == 1", "args[k] == 1",
    "walk(args, [p, v]); v == \"x\"; count(p) > 0", "args.b == \"\\u00e9\"", "max(args.l) == 1",
    "data.guardrail.policy.h0", "not data.guardrail.policy.h1", "count({v | some v in args.l}) == 1",
    "count([v | v := args.l[_]; v == 1]) == 1", "regex.match(\"^[a-z]+$\", args.b)", "1 == 1.0", "args.a == 1.0",
]  # fmt: skip
_REFUSED = [
    "not is_number(args.a)", 'not "x" in args.l', 'not startswith(args.b, "x")', "not f(args.a)", "to_number(args.b) > 0",
    "args.a / 0 > 1", "sum(args.l) > 1", "not args.a in data.t.list", "[p, v] := walk(args); v == 1",
]  # fmt: skip
"""What the preflight is there for: were one of these taken, the answers would differ."""
_HELPERS = [
    "h0 if {C}", "h1 if {C}", "f(x) if {{ x == 1 }}", "f(x) if {{ x == {{\"k\": 1}} }}", 'names contains "n" if {C}',
    'names contains args.b if {C}', "default h2 := false", "h2 if {C}",
]  # fmt: skip
_SUB = [
    "s if {C}",
    "g(x) if {{ x == 1 }}",
    "g(x) := false if {{ x == 2 }}",
    "s if data.guardrail.policy.h0",
]
_ARGS = "args := input.action.properties.args"


@st.composite
def policies(draw: st.DrawFn) -> list[str]:
    """Several modules of two packages, whose rules lean on each other."""
    refused = draw(st.sampled_from([False] * 7 + [True]))
    chosen = st.sampled_from(_CONDITIONS + (_REFUSED if refused else []))

    def body() -> str:
        return "{ " + "; ".join(draw(st.lists(chosen, min_size=1, max_size=2))) + " }"

    rules = [_ARGS]
    for kind in draw(st.lists(st.sampled_from(["allow", "allow", "deny", "deny", "require_approval"]), min_size=2, max_size=6)):  # fmt: skip
        rules.append(f'{kind} contains "{kind[0]}{len(rules)}" if {body()}')
    rules.append('allow contains "base" if input.resource.id == "send"')
    rules += [
        helper.replace("{C}", body()).replace("{{", "{").replace("}}", "}")
        for helper in draw(st.lists(st.sampled_from(_HELPERS), min_size=2, max_size=8, unique=True))
    ]
    for name in ("h0 if { args.z == 9 }", "h1 if { args.z == 9 }", "f(x) if { x == 99 }", "names contains \"z\" if { args.z == 9 }",):  # fmt: skip
        rules.append(name)
    split = draw(st.integers(1, 4))
    files = ["package guardrail.policy\n"] * split
    for rule in rules:
        index = draw(st.integers(0, split - 1))
        files[index] += f"\n{rule}\n"
    sub = [helper.replace("{C}", body()).replace("{{", "{").replace("}}", "}") for helper in draw(st.lists(st.sampled_from(_SUB), max_size=4, unique=True))]  # fmt: skip
    sub += ["s if { args.z == 9 }", "g(x) if { x == 99 }", _ARGS]
    files.append("package guardrail.policy.sub\n\n" + "\n\n".join(sub) + "\n")
    return files


_ATOM = st.sampled_from([0, 1, 1.0, 2, "x", "y", "n", "", "5", "é", None, True, False, [], [1], {"k": 1}])  # fmt: skip
_ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "a": _ATOM, "b": _ATOM, "c": st.sampled_from([True, False, None, 0]),
        "l": st.lists(_ATOM, max_size=3) | st.sampled_from(["x", {"k": 1}, None]),
        "o": st.sampled_from([{"k": 1}, {"k": 2}, [], None]),
    },
)  # fmt: skip


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # As it was found: each attempt at a smaller one compiles everything again.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    files=policies(),
    calls=st.lists(_ARGUMENTS, min_size=6, max_size=6),
    rng=st.randoms(use_true_random=False),
)
def compare_generated(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, files: list[str], calls: list[dict[str, Any]], rng: random.Random
) -> None:  # fmt: skip
    """In whatever files and load order: it refuses to load, fails, or gives OPA's own answer."""
    folder = tmp_path_factory.mktemp("fuzz")
    order = list(range(len(files)))
    rng.shuffle(order)
    named = [(f"{index}.rego", files[at]) for index, at in enumerate(order)]
    for name, text in named:
        (folder / name).write_text(text)
    data = {"list": [1, "x", None], "flag": True}
    (folder / "data.json").write_text(json.dumps({"t": data}))
    documents = [sample_input("send", args=args) for args in calls]
    embedded = bench.embedded(folder, rng.shuffle, documents)
    rng.shuffle(named)
    served_by_opa = bench.opa(named, data)
    if embedded is None:
        COUNTS["refused"] += 1
        return
    if not served_by_opa:
        # OPA's type checker takes more for a mistake; there is no answer to compare with.
        COUNTS["only embedded"] += 1
        return
    for document, mine in zip(documents, embedded, strict=True):
        theirs = bench.opa_says(document)
        COUNTS["compared"] += 1
        if isinstance(mine, tuple):
            COUNTS["failed"] += 1
            continue
        if parse(mine).effect is Effect.ALLOW:
            assert parse(theirs).effect is Effect.ALLOW, document
        if not isinstance(theirs, tuple):
            assert mine == theirs, document


COUNTS: Counter[str] = Counter()


def test_no_policy_makes_the_embedded_engine_allow_what_opa_denies(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of generated ones; and most of them are compared, because a preflight that refuses every
    policy would pass as well.
    """
    COUNTS.clear()
    compare_generated(bench=bench, tmp_path_factory=tmp_path_factory)
    assert COUNTS["compared"] - COUNTS["failed"] > COUNTS["refused"], dict(COUNTS)


def test_the_mask_and_schema_are_what_the_reference_takes(opa_program: Path) -> None:
    """And the shipped capabilities hold nothing that this OPA calls nondeterministic, or does not
    know.
    """
    import subprocess

    current = json.loads(subprocess.run([str(opa_program), "capabilities", "--current"], capture_output=True, check=True).stdout)  # fmt: skip
    known = {entry["name"]: entry for entry in current["builtins"]}
    shipped = json.loads((installed_folder() / "opa" / "capabilities.json").read_text())
    for entry in shipped["builtins"]:
        assert entry["name"] in known
        assert not known[entry["name"]].get("nondeterministic"), entry["name"]
    left_out = set(known) - {entry["name"] for entry in shipped["builtins"]}
    assert {"http.send", "opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122", "net.lookup_ip_addr", "print", "trace"} <= left_out  # fmt: skip

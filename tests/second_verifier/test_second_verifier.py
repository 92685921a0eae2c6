"""Two verifiers, in two languages, from one page: what one of them says of a log the other one says
as well.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from guardrail.core.log import fields
from guardrail.core.log.checkpoint import NoteSignature
from guardrail.core.log.record import Draft
from guardrail.ledger.reader import LedgerReader
from guardrail.review.verify import OutsideHead, verify_export
from guardrail.system.ids import new_ulid
from tests.support.command_line import command, environment
from tests.support.effort import effort
from tests.support.export_mutations import Base, change, vector
from tests.support.ledgers import (
    EPOCHS,
    KEYS,
    LOG,
    SIGNING,
    decision,
    head_at,
    make,
    note,
    reopen,
    whole_call,
)

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
CASES = json.loads((VECTORS / "expected.json").read_text())
Go = Callable[..., subprocess.CompletedProcess[str]]
Answer = tuple[str, int | None, int | None, int]
"""Verdict, first bad record, last covered record, exit code."""


class Second:
    """The verifier in Go, as one process that is asked again and again."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [str(program), "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, export: Path, head: Path | None, key: str | None) -> Answer:
        """Return what it says of an export."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(export, head or "", key or "", sep="\t", file=self._process.stdin, flush=True)
        said = json.loads(self._process.stdout.readline())
        return said["verdict"], said["first_bad"], said["last_covered"], said["exit"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Go:
    """Run Go in the verifier's folder, with nothing but its standard library."""
    found = shutil.which("go")
    if found is None:
        pytest.skip("no Go on PATH")
    alone = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    environment = {**os.environ, **alone, "CGO_ENABLED": "0"}
    if "HOME" not in environment:
        environment["GOCACHE"] = str(tmp_path_factory.mktemp("cache"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [found, *arguments]
        return subprocess.run(
            command, cwd=HERE, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def program(go: Go, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built."""
    built = tmp_path_factory.mktemp("go") / "second_verifier"
    # who owns the folder is no concern of the build
    done = go("build", "-buildvcs=false", "-o", str(built), ".")
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture(scope="session")
def second(program: Path) -> Iterator[Second]:
    """It is started once."""
    running = Second(program)
    yield running
    running.close()


def guardrail_says(export: Path, head: Path | None, key: str | None) -> Answer:
    """Return what the package's own verifier says of an export."""
    heads = [OutsideHead.parse("head", head.read_bytes())] if head is not None else []
    report = verify_export(export, key=key, heads=heads)
    return str(report.state), report.first_bad, report.anchored_to, report.exit_code


def files_of(case: dict[str, Any]) -> tuple[Path, Path | None, str | None]:
    """Return the export, the head and the key of a vector."""
    head = VECTORS / "heads" / f"{case['head']}.txt" if case["head"] else None
    return VECTORS / "exports" / f"{case['export']}.jsonl", head, case["key"]


def expected(case: dict[str, Any]) -> Answer:
    """Return what a vector says."""
    return case["verdict"], case["first_bad"], case["last_covered"], case["exit"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_second_verifier_says_what_the_vectors_say(
    second: Second, case: dict[str, Any]
) -> None:
    """Verdict, first bad record, last covered record, exit code."""
    assert second.ask(*files_of(case)) == expected(case)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_guardrail_says_what_the_vectors_say(case: dict[str, Any]) -> None:
    """So does the package's own verifier."""
    assert guardrail_says(*files_of(case)) == expected(case)


def test_the_second_verifier_is_a_program_of_its_own(program: Path, tmp_path: Path) -> None:
    """One JSON line and an exit code; 2 for wrong usage, 3 where a file can't be read."""
    log, head = VECTORS / "exports/log.jsonl", VECTORS / "heads/log.txt"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(log, "--head", head, "--key", CASES[0]["key"])
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "verdict": "anchored",
        "first_bad": None,
        "last_covered": 10,
        "records": 11,
        "exit": 0,
    }
    assert run(log).returncode == 5
    assert run(VECTORS / "exports/gap.jsonl").returncode == 1
    for arguments in ((), (log, log), (log, "--key", "AB"), (log, "--head")):
        assert run(*arguments).returncode == 2
    for arguments in ((tmp_path / "missing",), (log, "--head", tmp_path / "missing")):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (3, "")


def test_the_second_verifier_is_vetted_and_needs_no_module(go: Go) -> None:
    """Go's own checks find nothing, and its standard library is enough."""
    vetted = go("vet", "-buildvcs=false", ".")
    assert vetted.returncode == 0, vetted.stderr
    modules = go(
        "list", "-buildvcs=false", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "."
    )
    assert modules.stdout.split() == ["second_verifier"]


def export_of(db: Path) -> tuple[bytes, bytes]:
    """Return the lines of a ledger and the head over exactly these."""
    with LedgerReader.open(db) as reader, reader.snapshot() as view:
        lines = b"".join(line + b"\n" for _, _, line in view.lines())
        row = view.storage.head()
    assert row is not None
    return lines, row.note.encode()


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """A real log of two writers with keys of their own and one without, and every head on the
    way.
    """
    db = tmp_path_factory.mktemp("ledger") / "a.db"
    heads = []
    with make(db, signing=EPOCHS) as one:
        for _ in range(3):
            whole_call(one)
            heads.append(export_of(db)[1])
        with reopen(db, signing=EPOCHS) as two:
            for writer in (two, one, two):
                writer.append(decision(new_ulid(), writer.process, effect="deny"))
                heads.append(export_of(db)[1])
        whole_call(one)
    with reopen(db, signing=SIGNING) as three:
        three.append(note())
    lines, head = export_of(db)
    return lines, [*heads, head]


def test_a_real_ledger_is_covered_by_every_head_that_it_had(
    second: Second, ledger: tuple[bytes, list[bytes]], tmp_path: Path
) -> None:
    """By the log key and by epoch keys that overlap: none of its own heads is ever in doubt."""
    lines, heads = ledger
    (tmp_path / "log.jsonl").write_bytes(lines)
    assert lines.count(b"admin.key_rotated") == 4
    sizes = [int(head.split(b"\n")[1]) for head in heads]
    assert sizes == sorted(set(sizes))
    for size, head in zip(sizes, heads, strict=True):
        (tmp_path / "head").write_bytes(head)
        asked = tmp_path / "log.jsonl", tmp_path / "head", KEYS.public
        assert second.ask(*asked) == ("anchored", None, size - 1, 0)
        assert guardrail_says(*asked) == ("anchored", None, size - 1, 0)
    assert sizes[-1] == lines.count(b"\n")


RECOVERIES: list[dict[str, Any]] = [
    {"doubt": None, "lost": 0},
    {"doubt": {"first": 1, "last": 2}, "lost": 0},
    {"doubt": {"first": 0, "last": 4}},
    {"doubt": {"first": 0, "last": 5}},
    {"doubt": {"first": 3, "last": 2}},
    {"doubt": {"first": 1.0, "last": 2}},
    {"doubt": 7},
    {"doubt": None, "lost": 2},
    {"doubt": None, "lost": True},
    {"doubt": {"first": 4, "last": 4}, "lost": 1},
    {"head": "wrong"},
    {"head": None},
    {"head": "wrong", "doubt": None},
    {"action": "restart", "doubt": 7},
    {"doubt": None, "lost": 0, "loss": "unknown"},
    {},
]


BEGUN: list[dict[str, Any]] = [
    {"lost": 0, "loss": "none_known"},
    {"lost": 2, "loss": "none_known"},
    {"lost": 2, "loss": "at_least"},
    {"lost": 0, "loss": "unknown"},
    {"lost": 0, "loss": None, "doubt": {"first": 0, "last": 0}},
    {"lost": 0},
]


@pytest.mark.parametrize("detail", BEGUN, ids=json.dumps)
def test_both_say_the_same_of_a_log_that_a_recovery_began(
    second: Second, detail: dict[str, Any], tmp_path: Path
) -> None:
    """What was lost before it is a reservation, whatever head there is."""
    db = tmp_path / "a.db"
    about = {"action": "restart", **detail}
    with make(db, signing=SIGNING) as writer:
        record = fields.admin(LOG, "recovered", actor={}, where={}, detail=about)
        assert writer.append(Draft.build(record)).seq == 1
        writer.append(note())
    lines, _ = export_of(db)
    (tmp_path / "log.jsonl").write_bytes(lines)
    for size in (1, 3):
        (tmp_path / "head").write_text(str(head_at(db, size)))
        asked = tmp_path / "log.jsonl", tmp_path / "head", KEYS.public
        said = second.ask(*asked)
        assert said == guardrail_says(*asked)
        assert said[3] == (0 if detail == BEGUN[0] else 5) or size < 3


@pytest.mark.parametrize("detail", RECOVERIES, ids=json.dumps)
def test_both_say_the_same_of_a_recovery(
    second: Second, detail: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever its record says, and whether a head is from before it, over all of it, or from
    later.
    """
    db = tmp_path / "a.db"
    about = fields.admin(LOG, "recovered", actor={}, where={}, detail=detail)
    with make(db, signing=SIGNING) as writer:
        for _ in range(4):
            writer.append(note())
        assert writer.append(Draft.build(about)).seq == 5
        writer.append(note())
    lines, _ = export_of(db)
    (tmp_path / "log.jsonl").write_bytes(lines)
    for size in (1, 2, 3, 4, 5, 6, 7):
        (tmp_path / "head").write_text(str(head_at(db, size)))
        asked = tmp_path / "log.jsonl", tmp_path / "head", KEYS.public
        assert second.ask(*asked) == guardrail_says(*asked)


def test_what_the_commands_say_of_an_export_the_second_verifier_says_too(
    second: Second, tmp_path: Path
) -> None:
    """`guardrail export` with its head, and `guardrail verify` of the two files: whole, then
    changed.
    """
    with make(tmp_path / "a.db", signing=EPOCHS) as writer:
        whole_call(writer)
    export, head = tmp_path / "log.jsonl", tmp_path / "head"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*map(str, arguments)),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("export", "--ledger", "a.db", "--jsonl", "-o", export, "--head", head)
    assert done.returncode == 0, done.stderr
    last = export.read_bytes().count(b"\n") - 1
    for old, new, answer in (
        (b"", b"", ("anchored", None, last, 0)),
        (b'"effect":"allow"', b'"effect":"deny"', ("tampered", 3, None, 1)),
    ):
        export.write_bytes(export.read_bytes().replace(old, new))
        said = run(
            "verify", "--json", "--export", export, "--checkpoint", head, "--key", KEYS.public
        )
        document = json.loads(said.stdout)
        assert (document["state"], document["first_bad"], said.returncode) == (
            answer[0],
            answer[1],
            answer[3],
        )
        assert second.ask(export, head, KEYS.public) == answer


@pytest.fixture(scope="session")
def standalone() -> ModuleType:
    """The verifier of the vectors' folder."""
    path = VECTORS / "verify_standalone.py"
    spec = importlib.util.spec_from_file_location("verify_standalone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def signed_by_the_log(text: str) -> str:
    """Return the real ledger's log key's signature line under *text*."""
    key = SIGNING.log_key(LOG)
    return f"{NoteSignature(LOG, key.key.key_id, key.sign(text.encode()))}\n"


@pytest.fixture(scope="session")
def bases(ledger: tuple[bytes, list[bytes]]) -> list[Base]:
    """What is changed: vectors whose keys are all known, and a real log."""
    lines, heads = ledger
    real = Base(
        "real",
        tuple(lines.split(b"\n")[:-1]),
        tuple(heads),
        KEYS.public,
        LOG,
        (signed_by_the_log,),
    )
    return [
        vector(VECTORS, "log", "log", "log-first-five"),
        vector(VECTORS, "epochs", "epochs-a-8", "epochs-b-11", "epochs-c-13", "epochs-log-13"),
        vector(VECTORS, "pruned", "pruned-log", "pruned-b", "pruned-log-6", "pruned-log-4"),
        real,
    ]


CHANGED = effort(10_000, part=2_500)
"""How many changed exports the verifiers are compared on."""


def test_the_verifiers_agree_on_thousands_of_changed_exports(
    second: Second, standalone: ModuleType, bases: list[Base], tmp_path: Path
) -> None:
    """Whatever is done to lines, heads and keys: the same verdict, first bad record and last
    covered record.
    """
    rng = random.Random("changed exports")
    seen: Counter[tuple[str, bool, bool]] = Counter()
    export, head = tmp_path / "log.jsonl", tmp_path / "head"
    for number in range(CHANGED):
        changed = change(rng, rng.choice(bases))
        export.write_bytes(changed.export)
        if changed.head is not None:
            head.write_bytes(changed.head)
        given = head if changed.head is not None else None
        said = second.ask(export, given, changed.key)
        assert guardrail_says(export, given, changed.key) == said, number
        assert standalone.judge(changed.export, changed.head, changed.key)[:3] == said[:3], number
        verdict, first_bad, last_covered, _ = said
        seen[verdict, first_bad is not None, last_covered is not None] += 1
    # each way to be right or wrong occurred often enough that agreement means something
    least = Counter(dict.fromkeys({case["verdict"] for case in CASES}, CHANGED // 100))
    found: Counter[str] = Counter()
    for (verdict, _, _), count in seen.items():
        found[verdict] += count
    assert found >= least, found
    assert seen["tampered", True, True] >= CHANGED // 100, seen

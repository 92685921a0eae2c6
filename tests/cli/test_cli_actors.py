"""Who acts: every record of a command names the principal of its token, or the operating-system
user, and a token that is refused stops the command before it does anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.cli.acting import TOKEN_FILE
from guardrail.cli.entries import CommandActor
from guardrail.core.log.record import decode
from guardrail.identity import tokens as verifying
from guardrail.keys.log_key import Keys
from guardrail.ledger.reader import LedgerReader
from guardrail.system.os_user import user_name
from guardrail.wiring import suspending
from tests.cli.test_cli_access import ALL
from tests.support.canaries import appearances
from tests.support.command_line import Cli, command, environment
from tests.support.projects import ALLOW_ALL
from tests.support.tokens import AUDIENCE, ISSUER, jwk, key_set, segment, token

CAROL = "carol@example.com"

CHANGES: dict[str, list[str]] = {
    "suspend": ["agent:bot", "--reason", "x"],
    "resume": ["agent:bot"],
    "hold add": ["case-1", "--reason", "x"],
    "hold release": ["case-1", "--reason", "x"],
    "keys rotate": ["--reason", "x"],
    "keys retire": ["--reason", "x"],
    "seal": ["--reason", "x"],
    "archive": ["--reason", "x"],
    "retention run": [],
    "prune": ["--policy", "--reason", "x"],
    "policy reload": ["--wait", "0"],
    "anchor": [],
    "anchor move": ["old-heads", "--reason", "x"],
    "recover": ["--yes", "--reason", "x"],
    "tenants add": ["acme"],
    "tenants disable": ["acme", "--reason", "x"],
    "tenants enable": ["acme", "--reason", "x"],
}
"""Each command that changes a ledger, in an order in which each can succeed."""
READS: dict[str, list[str]] = {
    "sessions": [],
    "show": ["1"],
    "verify": [],
    "export": ["--jsonl", "-o", "out.jsonl"],
    "access": [],
    "suspensions": [],
    "doctor": [],
    "hold list": [],
    "keys": [],
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger and an issuer, which is the current one."""
    monkeypatch.delenv("GUARDRAIL_TOKEN_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(ALLOW_ALL)
    (tmp_path / "jwks.json").write_text(key_set(jwk()))
    (tmp_path / "other").mkdir()
    configure()
    Guard.open(tmp_path / "guardrail.toml").close()
    return tmp_path


def configure(identity: str = "", issuer: str = "", more: str = "") -> None:
    """Write the settings."""
    Path("guardrail.toml").write_text(
        '[ledger]\npath = "audit/ledger.db"\n[policy]\npath = "policies"\n'
        f'[anchors]\nfile = "other/heads"\nmemory = "other/memory"\n'
        f'[retention]\narchive = "other/archive"\n[identity]\n{identity}\n'
        f'[identity.issuers."{ISSUER}"]\njwks = "jwks.json"\naudience = "{AUDIENCE}"\n'
        f"{issuer}\n{more}"
    )


def token_file(text: str | None = None, *, mode: int = 0o600, **claims: Any) -> Path:
    """Write a token into a file and return it."""
    stated = {"sub": CAROL, "now": int(time.time()), **claims}
    path = Path("token").absolute()
    path.write_text((token(**stated) if text is None else text) + "\n")
    path.chmod(mode)
    return path


def line(name: str, words: list[str], *more: str | Path) -> list[str | Path]:
    """The command line of a command."""
    return [*name.split(), *words, *more]


def lines(path: str = "audit/ledger.db") -> list[dict[str, Any]]:
    """Every record of a log that names an actor."""
    if not Path(path).exists():
        return []
    with LedgerReader.open(Path(path)) as reader:
        found = [decode(text) for _, _, text in reader.lines()]
    return [record for record in found if record["type"].startswith(("admin.", "access."))]


def everything() -> dict[Path, bytes]:
    """The content of every file of the project, except locks."""
    return {
        path: path.read_bytes()
        for path in Path.cwd().rglob("*")
        if path.is_file() and path.suffix not in {".db-lock", ".db-shm"}
    }


def new_records() -> Iterator[list[dict[str, Any]]]:
    """Yield the records that were written since the last time."""
    seen: dict[str, int] = {}
    logs = ("audit/ledger.db", "audit/ledger.access.db", "tenants/acme/audit/ledger.db")
    while True:
        found = []
        for path in logs:
            each = lines(path)
            found += each[seen.get(path, 0) :]
            seen[path] = len(each)
        yield found


def test_every_command_whose_records_name_an_actor_takes_a_token() -> None:
    """Those that read or change a ledger, and no others."""
    takes = {name for name, (found, _) in ALL.items() if TOKEN_FILE in found.params}
    for name, (found, _) in ALL.items():
        assert sum(each.name == "token_file" for each in found.params) == (name in takes)
    changing = {name.removesuffix(" rotate").removesuffix(" retire") for name in CHANGES}
    assert {name.removesuffix(" move") for name in changing} | set(READS) < takes
    assert not takes & {"run", "init", "demo", "bench", "upgrade", "policy check", "tenants list"}


def test_every_record_of_every_command_names_the_verified_principal(
    cli: Cli, project: Path
) -> None:
    """Also the tokens' issuer, method and time, and the user; no byte of the token is written."""
    configure(issuer='tenant = "default"')
    file = token_file()
    written = new_records()
    next(written)
    types: set[str] = set()
    for name, words in (READS | CHANGES).items():
        if name == "anchor move":
            (project / "other" / "heads").rename(project / "old-heads")
        ran = cli(*line(name, words, "--token-file", file))
        assert ran.code in (0, 5), (name, ran.err)
        found = next(written)
        assert found, name
        for record in found:
            types.add(record["type"])
            actor = record["actor"]
            assert actor["id"] == CAROL, (name, record["type"])
            assert (actor["assurance"], actor["method"]) == ("verified", "oidc_jwt")
            assert (actor["issuer"], actor["type"]) == (ISSUER, "user")
            assert actor["authenticated_at"].endswith("Z")
            assert actor["os_user"] == user_name()
    assert {
        *("access.read", "admin.suspended", "admin.resumed", "admin.hold", "admin.sealed"),
        *("admin.archived", "admin.token_key_rotated", "admin.reload_requested"),
        *("admin.anchor_moved", "admin.tenant_disabled", "admin.tenant_enabled"),
        "admin.tenant_added",
    } <= types
    text = file.read_text().strip()
    file.unlink()
    for content in everything().values():
        assert not any(part.encode() in content for part in text.split("."))


def test_without_a_token_every_record_names_the_user_as_asserted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says about the user."""
    for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "mallory")
    cli("suspend", "agent:bot", "--reason", "x")
    cli("show", "1")
    suspended, read = lines()[-1], lines("audit/ledger.access.db")[-1]
    user = {"id": user_name(), "assurance": "asserted", "method": "os_user"}
    assert suspended["actor"] == user
    assert {name: read["actor"][name] for name in user} == user
    assert "verified" not in cli("access").out


def test_the_assurance_is_shown(cli: Cli) -> None:
    """By each command that shows who acted, in words and as JSON."""
    file = token_file()
    cli("suspend", "agent:bot", "--reason", "x", "--token-file", file)
    cli("suspend", "agent:other", "--reason", "x")
    cli("hold", "add", "case-1", "--reason", "x", "--token-file", file)
    suspensions = cli("suspensions").out
    assert f"{CAROL} (verified)" in suspensions
    assert f"{user_name()} (asserted)" in suspensions
    assert '"assurance":"verified"' in cli("suspensions", "--json").out.replace(" ", "")
    assert f"{CAROL} (verified)" in cli("hold", "list").out
    assert '"assurance":"verified"' in cli("hold", "list", "--json").out.replace(" ", "")
    assert f"{CAROL} (verified" in cli("access").out
    first, *_, last = json.loads(cli("access", "--json").out)["accesses"]
    who = ("user", "assurance", "method", "os_user")
    assert [first[name] for name in who] == [CAROL, "verified", "oidc_jwt", user_name()]
    assert [last[name] for name in who] == [user_name(), "asserted", "os_user", user_name()]
    number = next(record["seq"] for record in lines() if record["type"] == "admin.suspended")
    assert f"by {CAROL} (verified by oidc_jwt)" in cli("show", str(number)).out


UNSIGNED = ".".join(map(segment, ('{"alg":"none"}', "{}", "x")))
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1}, "has expired"),
    "future": ({"iat": int(time.time()) + 3600}, "not valid yet"),
    "for another audience": ({"aud": "x"}, "another audience"),
    "of an unknown issuer": ({"iss": "https://evil.example"}, "not configured"),
    "signed by another key": ({"number": 1}, "invalid signature"),
    "of an agent": ({"act": {"sub": "bot"}}, "acts for a person"),
    "unsigned": ({"text": UNSIGNED}, "token"),
    "no token": ({"text": "x" * 99}, "token"),
    "empty": ({"text": ""}, "token"),
    "huge": ({"text": "x" * 99_999}, "larger than"),
    "exposed": ({"mode": 0o640}, "others can read it"),
}


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize(
    "name", ["suspend", "hold add", "keys rotate", "tenants add", "show", "verify"]
)
def test_a_token_that_is_refused_stops_the_command_before_it_does_anything(
    cli: Cli, name: str, how: str
) -> None:
    """Nothing is written, not even to the access log, and the user is not named instead."""
    options, words = REFUSED[how]
    file = token_file(**options)
    before = everything()
    ran = cli(*line(name, {**CHANGES, **READS}[name], "--token-file", file))
    assert ran.code == 3, ran.err
    assert words in ran.err
    assert "next:" in ran.err or how in {"signed by another key", "no token", "empty", "future"}
    assert ran.out == ""
    assert everything() == before


def test_a_file_that_is_missing_is_refused_wherever_it_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable as well: it never means that the user acts."""
    before = everything()
    assert cli("show", "1", "--token-file", "gone").code == 3
    monkeypatch.setenv("GUARDRAIL_TOKEN_FILE", "gone")
    for name in ("show", "hold add"):
        ran = cli(*line(name, (READS | CHANGES)[name]))
        assert ran.code == 3
        assert "gone can't be read" in ran.err
    assert everything() == before


def test_the_variable_names_the_file_and_the_option_overrides_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty variable is none."""
    monkeypatch.setenv("GUARDRAIL_TOKEN_FILE", str(token_file()))
    assert cli("suspend", "agent:bot", "--reason", "x").code == 0
    assert lines()[-1]["actor"]["id"] == CAROL
    monkeypatch.setenv("GUARDRAIL_TOKEN_FILE", "gone")
    assert cli("resume", "agent:bot", "--token-file", "token").code == 0
    assert lines()[-1]["actor"]["id"] == CAROL
    monkeypatch.setenv("GUARDRAIL_TOKEN_FILE", "")
    assert cli("suspend", "agent:bot", "--reason", "x").code == 0
    assert lines()[-1]["actor"]["assurance"] == "asserted"


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in {"suspend", "anchor"}])
def test_a_change_needs_a_token_if_identities_must_be_verified(cli: Cli, name: str) -> None:
    """No file changes without one."""
    configure('require = "verified"')
    before = everything()
    ran = cli(*line(name, CHANGES[name]))
    assert ran.code == 3
    assert "accept only verified identities" in ran.err
    assert "--token-file FILE" in ran.err
    assert everything() == before


def test_reading_and_stopping_calls_need_no_token_even_then(cli: Cli) -> None:
    """Records say that the user was not verified; a dry run changes nothing."""
    configure('require = "verified"')
    for name, words in READS.items():
        assert cli(*line(name, words)).code in (0, 1, 5), name
    assert cli("retention", "run", "--dry-run").code in (0, 5)
    assert cli("suspend", "agent:bot", "--reason", "x").code == 0
    assert lines()[-1]["actor"]["assurance"] == "asserted"
    assert cli("resume", "agent:bot", "--token-file", token_file()).code == 0


@pytest.mark.parametrize("when", ["before the read is recorded", "before the change"])
def test_a_token_that_expires_while_the_command_runs_names_no_further_record(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Neither does the user."""
    late = [0]
    real = verifying.TokenVerifier

    def verifier(settings: Any) -> Any:
        made = real(settings, clock=lambda: time.time() + 1000 * late[0])
        if when == "before the read is recorded":
            check = made.verify

            def verify(*args: Any, **more: Any) -> Any:
                found = check(*args, **more)
                late[0] = 1
                return found

            made.verify = verify  # type: ignore[method-assign]
        return made

    opened = suspending.open_journal

    def later(*args: Any, **more: Any) -> Any:
        found = opened(*args, **more)
        late[0] = 1
        return found

    monkeypatch.setattr(verifying, "TokenVerifier", verifier)
    monkeypatch.setattr(suspending, "open_journal", later)
    count = len(lines())
    ran = cli("suspend", "agent:bot", "--reason", "x", "--token-file", token_file())
    assert ran.code == 3
    assert "has expired" in ran.err
    assert "get a new token" in ran.err
    assert len(lines()) == count
    reads = lines("audit/ledger.access.db")
    assert len(reads) == (when == "before the change")
    assert all(record["actor"]["id"] == CAROL for record in reads)


def test_tokens_of_another_tenant_are_refused(cli: Cli) -> None:
    """Each ledger has the people of its own tenant."""
    tables = "[tenants.acme]\n[tenants.globex]\n"
    configure(issuer='tenant_claim = "tid"', more=tables)
    file = token_file(tid="default")
    assert cli("suspend", "agent:bot", "--reason", "x", "--token-file", file).code == 0
    acme = token_file(tid="acme")
    before = everything()
    for words in (
        ["suspend", "agent:bot", "--reason", "x"],
        ["show", "1"],
        ["tenants", "disable", "acme", "--reason", "x"],
        ["show", "1", "--tenant", "globex"],
    ):
        ran = cli(*words, "--token-file", acme)
        assert ran.code == 3
        assert "another tenant than the ledger" in ran.err
        own = "use a token that belongs to tenant default" in ran.err
        assert own == (words[0] == "tenants")  # tenants has no --tenant
    assert everything() == before


def test_a_token_without_a_tenant_is_refused_if_there_are_several(cli: Cli) -> None:
    """Its holder could be a person of any of them."""
    configure(more="[tenants.acme]\n")
    ran = cli("show", "1", "--token-file", token_file())
    assert ran.code == 3
    assert "names no tenant" in ran.err


def test_an_id_that_must_not_be_in_the_clear_is_recorded_as_a_token(cli: Cli) -> None:
    """The same one as the principal's in the records of calls."""
    configure('principal_form = "token"')
    file = token_file()
    assert cli("suspend", "agent:bot", "--reason", "x", "--token-file", file).code == 0
    expected = Keys.load(Path("audit/ledger.keys")).tenant("default").token("principal", CAROL)
    for record in (lines()[-1], lines("audit/ledger.access.db")[-1]):
        assert (record["actor"]["id"], record["actor"]["form"]) == (expected, "token")
    file.unlink()
    for path, content in everything().items():
        assert appearances(CAROL, content) == [], path


@pytest.mark.parametrize("form", ["clear", "token"])
def test_commands_about_a_tenant_name_their_actor_as_its_ledger_does(
    cli: Cli, project: Path, form: str
) -> None:
    """With the form and the keys of that tenant, not with those of the command's own."""
    other = {"clear": "token", "token": "clear"}[form]
    tables = f'[tenants.acme]\n[tenants.acme.identity]\nprincipal_form = "{form}"\n'
    configure(f'principal_form = "{other}"', issuer='tenant = "default"')
    file = token_file()
    assert cli("tenants", "add", "new", "--token-file", file).code == 0
    configure(f'principal_form = "{other}"', issuer='tenant = "default"', more=tables)
    Guard.open(project / "guardrail.toml").of_tenant("acme").close()
    for name in ("disable", "enable"):
        ran = cli("tenants", name, "acme", "--reason", "x", "--token-file", file)
        assert ran.code == 0, ran.err
    path = "tenants/acme/audit/ledger"
    expected = Keys.load(Path(f"{path}.keys")).tenant("acme").token("principal", CAROL)
    for record in lines(f"{path}.db")[-2:]:
        assert record["type"].startswith("admin.tenant_")
        wanted = (CAROL, None) if form == "clear" else (expected, "token")
        assert (record["actor"]["id"], record["actor"].get("form")) == wanted
    (added,) = [
        record
        for record in lines("tenants/new/audit/ledger.db")
        if record["type"] == "admin.tenant_added"
    ]
    own = Keys.load(Path("tenants/new/audit/ledger.keys")).tenant("new").token("principal", CAROL)
    assert added["actor"]["id"] == (CAROL if other == "clear" else own)


def test_a_tenant_is_added_by_a_person_in_a_project_without_a_ledger(
    cli: Cli, project: Path
) -> None:
    """No key but those of the new ledger is needed."""
    configure('principal_form = "token"', issuer='tenant = "default"')
    shutil.rmtree(project / "audit")
    ran = cli("tenants", "add", "acme", "--token-file", token_file())
    assert ran.code == 0, ran.err
    assert not (project / "audit").exists()
    assert lines("tenants/acme/audit/ledger.db")[-1]["actor"]["form"] == "token"


def test_an_id_with_a_secret_is_recorded_as_a_token(cli: Cli) -> None:
    """As that of a caller is."""
    secret = "AKIA" + "Z7QX4MNB2WLKJH2Q"
    file = token_file(sub=secret)
    assert cli("suspend", "agent:bot", "--reason", "x", "--token-file", file).code == 0
    assert lines()[-1]["actor"]["form"] == "token"
    assert secret not in str(lines())


def test_commands_of_four_people_at_once_name_each_of_them(project: Path) -> None:
    """Each process has an actor of its own."""
    people = [f"person-{number}@example.com" for number in range(4)]
    running = []
    for number, person in enumerate(people):
        file = token_file(sub=person).rename(project / f"token-{number}")
        words = ("hold", "add", f"case-{number}", "--reason", "x", "--token-file", file)
        running.append(
            subprocess.Popen(
                command(*words), env=environment(), stderr=subprocess.PIPE, encoding="utf-8"
            )
        )
    codes = [(each.communicate()[1], each.returncode) for each in running]
    held = {
        record["detail"]["hold"]: record["actor"]
        for record in lines()
        if record["type"] == "admin.hold"
    }
    done = [number for number, (_, code) in enumerate(codes) if code == 0]
    assert done, codes
    assert {name: actor["id"] for name, actor in held.items()} == {
        f"case-{number}": people[number] for number in done
    }
    reads = {r["actor"]["id"] for r in lines("audit/ledger.access.db")}
    assert reads <= set(people)
    assert {actor["assurance"] for actor in held.values()} == {"verified"}


def test_the_records_of_a_guard_name_its_user_even_if_the_variable_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program does not act as the person who started it."""
    monkeypatch.setenv("GUARDRAIL_TOKEN_FILE", str(token_file()))
    Guard.open("guardrail.toml").close()
    assert {record["actor"]["assurance"] for record in lines()} == {"asserted"}
    assert os.environ["GUARDRAIL_TOKEN_FILE"]


def test_entries_that_change_a_ledger_say_so() -> None:
    """Each command of ``CHANGES``: a new one is an ``OPERATOR``, or safe without a token."""
    from guardrail.cli.app import LazyGroup
    from guardrail.cli.app import cli as commands

    def kinds(group: LazyGroup, *names: str) -> Iterator[tuple[str, CommandActor]]:
        import click

        for name, entry in group.entries.items():
            found = group.get_command(click.Context(group), name)
            if isinstance(found, LazyGroup):
                yield from kinds(found, *names, name)
            else:
                yield " ".join((*names, name)), entry.actor

    assert isinstance(commands, LazyGroup)
    operators = {
        name
        for name, kind in kinds(commands)
        if kind in (CommandActor.OPERATOR, CommandActor.TENANTS)
    }
    changing = {" ".join(name.split()[:2]) for name in CHANGES} - {"suspend"}
    short = {name if name in operators else name.split()[0] for name in changing}
    assert short == operators

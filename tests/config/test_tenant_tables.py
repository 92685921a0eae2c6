"""Tables of tenants: each starts from the other settings, and shares no file with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.config import Settings
from guardrail.config.log_names import new_log_name
from guardrail.errors import ConfigError


def load(folder: Path, text: str) -> Settings:
    """Read *text* as a guardrail.toml in *folder*."""
    path = folder / "guardrail.toml"
    path.write_text(text)
    return Settings.load(path, environment={})


def test_a_tenant_has_its_own_files_and_inherits_the_rest(tmp_path: Path) -> None:
    """Ledger, keys and access log are its own; other sections start from the settings outside."""
    made = load(
        tmp_path,
        '[ledger]\noutcome = "soon"\nlog = "shared"\n[keys]\nsigner = ["./sign"]\n'
        '[limits]\ncalls_per_minute = 7\n[retention]\narchive = "/archive"\n'
        "[tenants.acme]\n[tenants.globex.limits]\ncalls_per_minute = 9\n"
        '[tenants.globex.ledger]\npath = "g/ledger.db"\n[tenants.globex.keys]\n'
        'signer = ["./other"]\n',
    )
    acme, globex = made.of_tenant("acme"), made.of_tenant("globex")
    assert acme.ledger.path == tmp_path / "tenants/acme/audit/ledger.db"
    assert acme.key_path == tmp_path / "tenants/acme/audit/ledger.keys"
    assert acme.access_path == tmp_path / "tenants/acme/audit/ledger.access.db"
    assert acme.keys.signer == ()
    assert acme.ledger.log == ""
    assert acme.ledger.outcome == "soon"
    assert acme.retention.archive == Path("/archive/acme")
    assert acme.identity.tenant == "acme"
    assert (acme.limits.calls_per_minute, globex.limits.calls_per_minute) == (7, 9)
    assert globex.ledger.path == tmp_path / "g/ledger.db"
    assert globex.keys.signer == (str(tmp_path / "other"),)
    assert made.of_tenant("default") is made
    assert new_log_name(acme, "ab" * 32).endswith(f"/{tmp_path.name}.acme-abababab")


def test_the_environment_changes_only_the_settings_outside_the_tables(tmp_path: Path) -> None:
    """A variable with one path must not give two tenants the same ledger."""
    path = tmp_path / "guardrail.toml"
    path.write_text("[tenants.acme]\n")
    made = Settings.load(path, environment={"GUARDRAIL_LEDGER": "/other/ledger.db"})
    assert made.ledger.path == Path("/other/ledger.db")
    assert made.of_tenant("acme").ledger.path == tmp_path / "tenants/acme/audit/ledger.db"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tenants = 5\n", "[tenants] is not a table"),
        ("[tenants]\nacme = 5\n", "tenants.acme is not a table"),
        ("[tenants.Acme]\n", "'Acme' can't be the name of a tenant"),
        ('[tenants."a..b"]\n', "can't be the name"),
        ('[tenants."../x"]\n', "can't be the name"),
        (f"[tenants.{'a' * 65}]\n", "can't be the name"),
        ("[tenants.default]\n", "is the tenant in [identity] tenant"),
        ('[tenants.acme]\ndisabled = "yes"\n', "expected true or false"),
        ("[tenants.acme.ledgr]\n", "unknown section [tenants.acme.ledgr]"),
        ("[tenants.acme]\nledger = 5\n", "[tenants.acme.ledger] is not a table"),
        ("[tenants.acme.limits]\ncalls_per_minute = -1\n", "limits.calls_per_minute"),
        ("[tenants.acme.proxy]\n", "[tenants.acme.proxy] is not possible"),
        ('[tenants.acme.identity]\ntenant = "x"\n', "the table's name is the tenant's name"),
        (
            '[tenants.a.identity.issuers."https://a.example"]\naudience = "x"\n',
            "[tenants.a.identity.issuers] is not possible",
        ),
        ('[tenants.a.ledger]\npath = "audit/ledger.db"\n', "the same ledger"),
        (
            '[tenants.a.ledger]\npath = "x.db"\n[tenants.b.ledger]\npath = "sub/../x.db"\n',
            "'a' and 'b' have the same ledger",
        ),
        (
            '[tenants.a.keys]\npath = "k"\n[tenants.b.keys]\npath = "k"\n',
            "have the same key folder",
        ),
        (
            '[tenants.a.access]\npath = "x.db"\n[tenants.b.access]\npath = "x.db"\n',
            "have the same access log",
        ),
    ],
)
def test_tables_that_can_not_be_served_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """The error names the file and the table, and says what to do."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint


def test_a_link_does_not_hide_that_two_tenants_share_a_file(tmp_path: Path) -> None:
    """Files are compared by their real paths."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="the same ledger"):
        load(
            tmp_path,
            '[tenants.a.ledger]\npath = "real/l.db"\n[tenants.b.ledger]\npath = "link/l.db"\n',
        )


@pytest.mark.parametrize(
    "keys",
    [
        ("retention.segments", "retention.segments"),
        ("retention.archive", "retention.archive"),
        ("anchors.tsa_tokens", "anchors.tsa_tokens"),
        ("access.keys", "access.keys"),
        ("keys.path", "access.keys"),
        ("keys.path", "retention.segments"),
        ("ledger.path", "anchors.file"),
        ("access.path", "opa.token_file"),
        ("retention.archive", "policy.path"),
    ],
)
@pytest.mark.parametrize("link", ["", "folder", "file"])
def test_a_path_of_one_tenant_is_of_no_other(
    tmp_path: Path, keys: tuple[str, str], link: str
) -> None:
    """Whatever either uses it for, and also through a link of a folder or of the path itself."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").mkdir()
    paths = ["a/x", "a/x"]
    if link:
        (tmp_path / "other").symlink_to(tmp_path / ("a" if link == "folder" else "a/x"))
        paths[1] = "other/x" if link == "folder" else "other"
    text = ""
    for name, key, path in zip(("one", "two"), keys, paths, strict=True):
        section, _, last = key.partition(".")
        text += f'[tenants.{name}.{section}]\n{last} = "{path}"\n'
    with pytest.raises(ConfigError, match="tenants 'one' and 'two' have") as caught:
        load(tmp_path, text)
    assert caught.value.code == "config.tenant"


@pytest.mark.parametrize("link", ["hard", "symbolic"])
def test_a_key_that_is_a_link_to_another_tenants_is_refused(tmp_path: Path, link: str) -> None:
    """Two tenants with one key have the same tokens, although their key folders differ."""
    for name in ("one", "two"):
        (tmp_path / name / "l.keys").mkdir(parents=True)
    key, other = (tmp_path / name / "l.keys" / "tokens.key" for name in ("one", "two"))
    key.write_bytes(b"k" * 32)
    text = "".join(f'[tenants.{name}.ledger]\npath = "{name}/l.db"\n' for name in ("one", "two"))
    assert set(load(tmp_path, text).tenants) == {"one", "two"}
    if link == "hard":
        other.hardlink_to(key)
    else:
        other.symlink_to(key)
    with pytest.raises(ConfigError, match="the same key folder"):
        load(tmp_path, text)


def test_paths_that_are_only_read_may_be_the_same(tmp_path: Path) -> None:
    """And so may anchors, whose lines name their log."""
    text = "".join(
        f'[tenants.{name}.policy]\npath = "rules"\n[tenants.{name}.anchors]\nfile = "heads"\n'
        for name in ("one", "two")
    )
    assert set(load(tmp_path, text).tenants) == {"one", "two"}


def test_too_many_tenants_are_refused(tmp_path: Path) -> None:
    """A file has a limit, as every input does."""
    text = "".join(f"[tenants.t{number}]\n" for number in range(10_001))
    with pytest.raises(ConfigError, match="more than 10000"):
        load(tmp_path, text)


def test_an_unknown_tenant_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """At most eight names are listed."""
    made = load(tmp_path, "".join(f"[tenants.t{number}]\n" for number in range(12)))
    with pytest.raises(ConfigError) as caught:
        made.of_tenant("acme")
    assert "there is no tenant 'acme'; the tenants are default, t0, " in str(caught.value)
    assert "and others" in str(caught.value)
    assert caught.value.hint.endswith("guardrail tenants add acme")
    with pytest.raises(ConfigError) as caught:
        made.of_tenant("../x")
    assert caught.value.hint == "guardrail tenants list"

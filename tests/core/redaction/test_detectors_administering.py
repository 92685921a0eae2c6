"""Passwords that a command or statement takes as a plain word go; the words of prose stay."""

from __future__ import annotations

import time

import pytest

from guardrail.core.redaction.detectors.administering import administered
from tests.support.detectors import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "CONNECT TO db USER r USING Sommer2024", "conn sys/Sommer2024 as sysdba", "ACL SETUSER r on >Sommer2024 ~* +@all", "mysqladmin -u root password Sommer2024",
        "mysqladmin -u root old-password 'Sommer2024'", "net user bob Sommer2024 /add", "schtasks /create /u b /p Sommer2024", "schtasks /create /ru b /rp Sommer2024", "echo Sommer2024 | sudo -S ls",
        'echo -n "Sommer2024"|sudo -k -S ls', "echo 'Sommer2024' | passwd --stdin bob", "echo 'bob:Sommer2024' | sudo chpasswd", "echo Sommer2024 | kinit b", "vault login Sommer2024",
        "npm config set //r/:_authToken Sommer2024", "enable secret Sommer2024", "enable password 7 Sommer2024", "username bob password 0 Sommer2024", "username bob privilege 15 secret 5 Sommer2024",
    ],
)  # fmt: skip
def test_a_password_goes_whose_place_only_the_command_shows(text: str) -> None:
    """Databases, Windows, pipes, Vault, npm, routers: as a line of its own and within others."""
    assert "Sommer" not in without_secrets(text)
    assert "Sommer" not in without_secrets(f"first line\n{text}\nlast line")


@pytest.mark.parametrize(
    "text",
    [
        "net user growth was strong", "net user /domain", "enable password reset for all", "we enable secret scanning", "username and password are required", "echo hello | grep h",
        "echo $PW | sudo -S ls", "vault login -method=oidc", "vault login $VAULT_TOKEN", "ACL SETUSER r on ~* +@all", "connect to the user interface using React", "CONNECT TO db USER r USING ?",
        "enable secret $1", "mysqladmin status", "the user is using it", "echo done | tee x",
    ],
)  # fmt: skip
def test_prose_variables_and_other_commands_stay(text: str) -> None:
    """Nothing in them is a password."""
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "part",
    ["net user ", "echo a ", "acl setuser ", "mysqladmin ", "echo '", "schtasks /", "username a "],
)
def test_a_text_full_of_commands_is_read_in_reasonable_time(part: str) -> None:
    """No part of it is read again and again."""
    text = part * (16_384 // len(part))
    started = time.process_time()
    assert list(administered(text, text, ["pass"])) == []
    assert time.process_time() - started < 2

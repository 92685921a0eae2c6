"""Names, calls and variables of code are no secrets; whatever could be a password is one."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.detectors.scan import scan


def _secrets(text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in scan(text) if hit.cls == "secret"]


@pytest.mark.parametrize(
    "code",
    [
        "token = get_token()", "token = await client.get_token(5)", "password = getpass()", "password = input('Password: ')", "api_key = os.environ['API_KEY']",
        "TOKEN = r.json()['access']", "const apiKey = process.env.API_KEY;", "password = var.db_password", "token = $this->token", "acme_key = settings.acme_key_0123",
        "password = keyring.db_password", "f(token=token)", "connect(host, password=db_password)", "password=$DB_PASSWORD", "password = $dbPassword",
        'password: "${DB_PASSWORD}"', 'password: "{{ vault_password }}"', "token: '${{ secrets.TOKEN }}'", 'f"password={password}"', "password = '{password}'", 'api_key="<your-api-key>"',
        "set TOKEN=%API_TOKEN%", 'token="$(cat token.txt)"', "password: ********", 'curl -H "Authorization: Bearer $TOKEN" https://x.example',
        "'Authorization': f'Bearer {token}'", "{'Authorization': 'Bearer ' + token}", "Bearer $ACCESS_TOKEN", "mysql --password $DB_PASSWORD", "curl -u app:$PASSWORD x",
        "https://app:$PASSWORD@db.example/x", "PWD=/home/app/work", "OLDPWD=/srv", "self.token = token", "WHERE token = $1", "password = %s", "set TOKEN=%1", "token: !Ref ApiToken",
        "pass: op://vault/item/password", "api_key: env:API_KEY",
    ],
)  # fmt: skip
def test_code_stays_readable(code: str) -> None:
    """Calls, look-ups, names, variables, templates and placeholders."""
    assert _secrets(code) == []


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password=Summer(2024)", "Summer(2024)"),
        ("password=correct.horse.battery", "correct.horse.battery"),
        ("password = hunter2", "hunter2"),
        ("password=db_password", "db_password"),
        ("password=$ecret99", "$ecret99"),
        ("password='{hunter}'", "{hunter}"),
        ("password=a9.b8c7d6.e5", "a9.b8c7d6.e5"),
        ("password=hunter#x", "hunter#x"),
        ("password=%sx", "%sx"),
        ("password=$1x", "$1x"),
        ("password=!Reference", "!Reference"),
        ("password = 4711abc", "4711abc"),
        ("PWD=hunter2", "hunter2"),
        ("password=/home/x", "/home/x"),
        ("Authorization: Bearer hunter2", "Bearer hunter2"),
    ],
)
def test_what_could_be_a_password_goes(text: str, secret: str) -> None:
    """Without a sign of code."""
    assert secret in _secrets(text)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE USER 'reader'@'%' IDENTIFIED BY 'Sommer2024'", "CREATE USER reader IDENTIFIED WITH mysql_native_password BY 'Sommer2024'",
        'ALTER USER reader IDENTIFIED BY "Sommer2024"', "ALTER USER reader IDENTIFIED BY Sommer2024;", "CREATE ROLE reader LOGIN PASSWORD 'Sommer2024'",
        "CREATE USER reader WITH PASSWORD $$Sommer2024$$", "SET PASSWORD FOR reader 'Sommer2024'", "SELECT PASSWORD('Sommer2024')", "CREATE LOGIN x WITH PASSWORD N'Sommer2024'",
        "machine api.example.net login app password Sommer2024", "machine x\nlogin app\naccount a\npassword Sommer2024", "bindpw Sommer2024", "# redis\nrequirepass Sommer2024\nport 1",
        "user x\npassword Sommer2024\n",
    ],
)  # fmt: skip
def test_a_password_without_a_sign_before_it_goes(statement: str) -> None:
    """SQL, netrc, directives of configuration files."""
    assert [one.strip("$") for one in _secrets(statement)] == ["Sommer2024"]


@pytest.mark.parametrize(
    "text",
    ["ALTER USER reader IDENTIFIED BY '${PW}'", "bindpw $LDAP_PW", "password required", "the password\nusername x2345678\n", "passport 12345678", "It was identified by the team."],
)  # fmt: skip
def test_words_after_a_password_stay(text: str) -> None:
    """Variables, prose, other names."""
    assert _secrets(text) == []

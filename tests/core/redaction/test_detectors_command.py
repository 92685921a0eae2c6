"""Single-letter options are passwords to tools that are named, and to no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.detectors import without_secrets
from tests.support.redaction import view

SECRET = "Sommer2024"


# A command up to its password, and the rest of it.
_COMMANDS = [
    ("mysql -u root -p", " shop"), ("mariadb-dump --all -p", " > x.sql"), ("mysql -h db -p ", ""), ("psql -h db -U app -W ", ""), ("pg_dump -W", " shop"),
    ("redis-cli -h db -a ", " PING"), ("valkey-cli -a", ""), ("sshpass -p ", " ssh -p 2222 u@h"), ("sshpass -p", " ssh u@h"), ("ldapsearch -x -D cn=a -w ", " -b dc=x"),
    ("ldapsearch -xw ", ""), ("ldappasswd -s ", " cn=a"), ("docker login -u x -p ", " r.example"), ("helm registry login -u x -p ", " r.example"), ("7z a -p", " a.7z f"),
    ("rar a -hp", " a.rar f"), ("zip -P ", " a.zip f"), ("sqlcmd -S h -U sa -P ", ""), ("mongosh -u a -p ", " --quiet"), ("snmpwalk -v3 -u a -A ", " h"), ("plink -pw ", " h"),
    ("mosquitto_pub -u a -P ", " -t x"), ("openssl enc -k ", " -in x"), ("sudo -u app docker exec -i db mysqldump -p", " shop"), ("/usr/bin/redis-cli -a ", ""),
    ("C:\\tools\\mysql.exe -p", ""), ("cd x && mysql -p", " && ls"), ("mysql \\\n  -p", " \\\n  shop"), ("time -p mysql -p=", ""), ("keytool -list -storepass ", " -v"),
    ("curl -u bob:", " https://x.example"), ("curl -ubob:", ""), ("curl -sSu bob:", " https://x.example"), ("curl -U bob:", ""), ("http -a bob:", " x.example"), ("lftp -u bob,", " h"),
    ("smbclient //h/s -U bob%", ""), ("sqlplus -s scott/", "@orcl"), ("sqlplus scott/", ""), ("sqlldr userid=scott/", "@db control=l/x.ctl"),
    ("psexec \\\\h -u bob -p ", " cmd"), ("usermod -p ", " bob"), ("twine upload -p ", " d"), ("swaks -ap ", " x"), ("hey -a bob:", " x"), ("mysql\t-p", ""), ("sqlcl scott/", ""), ("impdp scott/", " full=y"), ("rdesktop /p:", " h"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), _COMMANDS)
def test_the_password_of_a_named_tool_goes(before: str, after: str) -> None:
    """The rest of the command stays."""
    left = without_secrets(f"{before}{SECRET}{after}")
    assert SECRET not in left
    assert after in left
    assert before.split(maxsplit=1)[0] in left


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([command for command in _COMMANDS if "\n" not in command[0] and "\\" not in command[0]]),
    st.sampled_from(
        ["{}", "run: {}\n", "# first\n{}\n", "(cd x; {})", "$({})", "`{}`", 'os.system("{}")', "run('{}', shell=True)", "I can't: {}", '{{"cmd": "{}"}}', '{{\\"cmd\\": \\"{}\\"}}']
    ),
    st.text("abcXYZ019.,_+%!^*@:=~-", min_size=1, max_size=12),
)  # fmt: skip
def test_a_password_goes_whatever_it_holds_and_wherever_the_command_stands(
    command: tuple[str, str], around: str, tail: str
) -> None:
    """In scripts, strings of code, JSON, and after an apostrophe."""
    if "scott" in command[0]:
        tail = tail.replace("@", "")  # which ends it there
    assert "Qz7" not in without_secrets(around.format(f"{command[0]}Qz7{tail}Qz7{command[1]}"))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([("mysql -p", " x"), ("redis-cli -a ", " PING"), ("curl -u bob:", " x"), ("zip -P ", " a")]),
    st.sampled_from(["'", '"']),
    st.text("abc 019;|&<>$#()", max_size=12),
)  # fmt: skip
def test_a_quoted_password_goes_whole(command: tuple[str, str], quote: str, body: str) -> None:
    """With blanks and with signs of the shell."""
    before, after = command
    before = before.replace("bob:", f"{quote}bob:") if "bob:" in before else before + quote
    assert "Qz7" not in without_secrets(f"{before}Qz7{body}Qz7{quote}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "cp -p Abc1 x", "git log -p Abc1", "ssh -p 2222 host9", "mkdir -p a/B1c", "docker run -p 80:80 Img1", "docker build -p Abc1", "docker run -d -p 27017:27017 --name mongo -p 27017:27017 mongo",
        "docker run --name mysql -p Abc1 x", "mysql -u root -p shop", "psql -U app -W shop", "psql -h Db1 -W -d Shop1", "mysql -P 3306 -h Db1", "mysql -p $PASS db", 'mysql -p"$PASS" db',
        'redis-cli -a "$REDIS_PW"', "mysql db | less -p Abc1", "redis-cli ping; cut -a Abc1", "sshpass -e ssh -p Abc1 h", "sqlplus / as sysdba", "sqlplus /nolog @scripts/Run1.sql",
        "sqlplus @a/B1.sql", "sqlplus scott/$PW@orcl", "curl -u $USER:$PASS x", "curl -u alice x", "ldapsearch -W -x", "a mysql dump - postponed", "7z x -p a.7z", "mysql --port -p", "redis-cli -x -a -n 1",
        "redis-cli -aPASSWORD", "mysql -p '' db", "mongo.example -p Abc1", "use mysql -", "'mysql', -p",
    ],
)  # fmt: skip
def test_the_same_letters_elsewhere_stay(text: str) -> None:
    """Ports, patches, databases, prompts, variables, and the options of other tools."""
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "args",
    [
        {"argv": ["mysql", "-p" + SECRET, "after"]},
        {"argv": ["redis-cli", "-a", SECRET, "after"]},
        {"argv": ["sudo", "/usr/bin/redis-cli", "-a", SECRET, 5, "after"]},
        {"argv": ["sh", "-c", f"redis-cli -a {SECRET} after"]},
        {"argv": ["sqlplus", f"scott/{SECRET}@db"], "x": "after"},
        {"command": "/opt/redis-cli", "args": ["-a", SECRET, "after"]},
        {"args": ["-p" + SECRET, "after"], "command": "mysql"},
        {"command": ["docker", "exec", "db", "mysql"], "args": ["-p" + SECRET], "x": "after"},
        {"exec": "env redis-cli", "args": ("-a", SECRET), "argv": ["-a", SECRET], "x": "after"},
        {"code": f'run(["redis-cli", "-h", host, "-a", "{SECRET}"]); after'},
        {"code": f'CMD ["mysql",\n  "-p{SECRET}", "after"]'},
        {"json": json.dumps({"argv": ["sshpass", "-p", SECRET, "ssh", "-p", "22", "after"]})},
    ],
)  # fmt: skip
def test_the_password_in_a_list_of_arguments_goes(args: dict[str, Any]) -> None:
    """The tool is named in the list, or in the field next to it, in any order."""
    shown = json.dumps(view(args).value)
    assert SECRET not in shown
    assert "after" in shown


@pytest.mark.parametrize(
    "args",
    [
        {"argv": ["cp", "-p", "Abc1"]},
        {"command": "git", "args": ["log", "-p", "Abc1"]},
        {"argv": ["docker", "run", "-p", "80:80", "mysql"]},
        {"command": "ls", "args": ["-wAbc1"], "n": 5},
        {"command": 5, "cmd": [7], "args": ["-aAbc1"]},
        {"command": "redis-cli", "tags": ["Abc1"]},
        {str(index): index for index in range(30)} | {"command": "redis-cli", "args": ["-a", "Ab1"]},
        {"argv": ["x " * 150, "-a", "Abc1"]},
        {"argv": ["mysql", "-v", "x " * 150]},
        {"args": ["-a", "Abc1"]},
    ],
)  # fmt: skip
def test_lists_of_other_tools_stay(args: dict[str, Any]) -> None:
    """And those that name none."""
    assert view(args).value == args

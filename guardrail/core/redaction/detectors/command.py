"""Finds passwords in single-letter options of known tools: in a command line, or in a list of
arguments.

``-p`` is a password for one tool, and a port or a patch for others, so an option counts only in
combination with a tool's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.spans import Hit

__all__ = ["commands", "has_option", "names_tool", "passwords", "tool_of"]


class _PasswordForm(StrEnum):
    """The position of a password relative to its option."""

    NEXT = "next"
    """The password is in the same word or in the next one."""
    SAME = "same"
    """The password is in the same word."""
    GUESS = "guess"
    """The password is in the same word, or perhaps in the next one.

    The next word can also be the name of a database or a file. It counts only if it is not a plain
    word.
    """
    PAIR = "pair"
    """The password follows a user's name and one of ``:%,``, in the same word or the next one."""


class _KnownTool(NamedTuple):
    options: dict[str, _PasswordForm]
    login: bool = False
    """True if the options have this meaning only after the word ``login``."""
    leads: bool = False
    """True if the first word that is not an option begins another command."""
    account: bool = False
    """True if the first word can be ``user/password``."""


def _tools(names: str, letters: str, takes: _PasswordForm, **more: bool) -> dict[str, _KnownTool]:
    return {
        name: _KnownTool(dict.fromkeys(letters.split(), takes), **more) for name in names.split()
    }


_SNMP = "snmpget snmpgetnext snmpset snmpwalk snmpbulkget snmpbulkwalk snmptrap snmpinform snmptable snmpstatus snmpdelta snmpdf snmptest"
_TOOLS: dict[str, _KnownTool] = {
    **_tools(
        "mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlsh mysqlpump mysqlslap mysqlbinlog mysqlrepair mysqlanalyze mysqloptimize mysqlhotcopy "
        "mysql_upgrade mysql_secure_installation mariadb mariadb-dump mariadb-admin mariadb-import mariadb-check mariadb-show mariadb-backup mariadb-binlog "
        "mariadb-upgrade mycli mydumper myloader xtrabackup innobackupex pt-query-digest pt-table-checksum pt-online-schema-change",
        "p", _PasswordForm.GUESS,
    ),
    **_tools("psql pg_dump pg_dumpall pg_restore pg_basebackup pg_isready createdb createuser dropdb dropuser vacuumdb reindexdb clusterdb pgbench pgcli", "W", _PasswordForm.GUESS),
    **_tools("mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat mongotop mongofiles cqlsh cypher-shell rabbitmqadmin hydra evil-winrm psexec psexec64 twine snowsql usermod useradd xfreerdp wlfreerdp sdl-freerdp", "p", _PasswordForm.NEXT),
    **_tools("nxc netexec crackmapexec yt-dlp youtube-dl rdesktop ncftp ncftpget ncftpput cbq couchbase-cli beeline racadm vncviewer wmic", "p", _PasswordForm.NEXT),
    **_tools("redis-cli redis-benchmark valkey-cli valkey-benchmark keydb-cli dragonfly-cli", "a", _PasswordForm.NEXT),
    **_tools("ldapsearch ldapmodify ldapadd ldapdelete ldapcompare ldapmodrdn ldapwhoami ldapexop ldapurl vsql", "w", _PasswordForm.NEXT),
    **_tools("ldappasswd", "w a s", _PasswordForm.NEXT),
    **_tools("sqlcmd osql isql bcp tsql fisql mosquitto_pub mosquitto_sub mosquitto_rr ipmitool ipmiconsole zip unzip zipcloak funzip", "P", _PasswordForm.NEXT),
    **_tools("7z 7za 7zr 7zz p7zip", "p", _PasswordForm.SAME),
    **_tools("rar unrar", "p hp", _PasswordForm.SAME),
    **_tools(_SNMP, "A X c", _PasswordForm.NEXT),
    **_tools("plink pscp psftp putty kitty nodetool", "pw", _PasswordForm.NEXT),
    **_tools("keytool jarsigner apksigner", "storepass keypass srcstorepass deststorepass srckeypass destkeypass", _PasswordForm.NEXT),
    **_tools("openssl", "k K", _PasswordForm.NEXT),
    **_tools("sshpass", "p", _PasswordForm.NEXT, leads=True),
    **_tools("docker podman buildah skopeo nerdctl helm oras oc az cf crane regctl singularity apptainer", "p", _PasswordForm.NEXT, login=True),
    **_tools("curl curlie", "u U E", _PasswordForm.PAIR),
    **_tools("swaks", "ap", _PasswordForm.NEXT),
    **_tools("httpie http https xh xhs hey", "a", _PasswordForm.PAIR),
    **_tools("ab", "A P", _PasswordForm.PAIR),
    **_tools("smbclient smbget smbmap rpcclient winexe nmblookup smbcacls smbcquotas smbtree", "U", _PasswordForm.PAIR),
    **_tools("lftp", "u", _PasswordForm.PAIR),
    **_tools("sqlplus sqlplus64 sqlldr sqlcl expdp impdp", "", _PasswordForm.SAME, account=True),
}  # fmt: skip

# Commands that take a tool's name as a value: "docker run --name mysql -p 3306:3306" does not call
# mysql.
_NAMING = frozenset(
    {"--name", "--hostname", "--network", "--net", "--link", "--network-alias", "--service", "--image", "--container", "--package"}
)  # fmt: skip
_PORTS = re.compile(r"(?:[\d.]{0,40}:)?\d{1,5}(?:-\d{1,5})?:\d{1,5}(?:-\d{1,5})?(?:/\w{3,4})?\Z")
_PLAIN_WORD = re.compile(r"[a-z]+(?:[_\-][a-z0-9]+)*\Z|[./~]|\d{1,5}\Z")
_PAIR = re.compile(r"[^\s:%,]{1,200}[:%,](?P<v>.{1,300})\Z", re.DOTALL)
_ACCOUNT = re.compile(
    r"(?:userid=)?[\"']?(?P<user>[\w$#.\-\[\]]{1,128})/(?P<v>\\?\"[^\"]{1,128}\"|[^\s\"'@/\\]{1,128})(?=@|[\"']?\Z)"
)
_BUNDLE = re.compile(r"-[A-Za-z]{1,6}\Z")
_PLACEHOLDERS = frozenset({"password", "none", "null", "true", "false", "-"})


def tool_of(word: str) -> str | None:
    """Return the name of the tool that *word* runs, if the tool's options are known."""
    if len(word) > 256:
        return None
    name = word.strip("\"'").replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
    return name if name in _TOOLS else None


def passwords(words: Sequence[str], tool: str | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield (index, start, end) for each password in the *words* of a command line; *tool* is the
    name of the tool if *words* do not begin with it.
    """
    state = _CommandState(tool)
    for index, word in enumerate(words):
        found = state.take(word, words[index - 1] if index else "")
        if found is not None:
            yield index, *found


class _CommandState:
    """The parser's state before one word in a command line."""

    __slots__ = ("logged", "pending", "tool")

    def __init__(self, tool: str | None) -> None:
        self.tool = None if tool is None else _TOOLS[tool]
        self.pending: _PasswordForm | None = None
        self.logged = False

    def take(self, word: str, before: str) -> tuple[int, int] | None:
        """Return the position of a password in *word*, or None."""
        pending, self.pending = self.pending, None
        if pending is not None and not (word[:1] == "-" and len(word) < 3):
            return _password(pending, word, 0, apart=True)
        name = tool_of(word)
        if name is not None and before not in _NAMING:
            self.tool, self.logged = _TOOLS[name], False
            return None
        tool = self.tool
        if tool is None:
            return None
        if word[:1] == "-" or word[:3] == "/p:":
            return self._option(tool, word)
        self.logged = self.logged or word == "login"
        if tool.leads:
            self.tool = None
        return _account(word) if tool.account and word[:1] not in {"@", "/"} else None

    def _option(self, tool: _KnownTool, word: str) -> tuple[int, int] | None:
        if word[:2] == "--" or (tool.login and not self.logged):
            return None
        for letters, takes in tool.options.items():
            size = len(letters) + 1
            if word[1:size] == letters and (size < 4 or len(word) == size):
                if len(word) > size:
                    return _password(takes, word, size, apart=False)
                self.pending = takes if takes is not _PasswordForm.SAME else None
                return None
            # Other flags can come before it in one word: curl -sSu user:password
            bundled = takes in {_PasswordForm.NEXT, _PasswordForm.PAIR} and size == 2
            if bundled and word[-1] == letters and _BUNDLE.match(word):
                self.pending = takes
                return None
        return None


def _password(
    takes: _PasswordForm, word: str, start: int, *, apart: bool
) -> tuple[int, int] | None:
    start += not apart and (word[start : start + 1] == "=" or word.startswith("/p:"))
    start, end = _unquoted(word, start)
    value = word[start:end]
    if takes is _PasswordForm.PAIR:
        pair = _PAIR.match(value)
        return None if pair is None or is_reference(pair.group("v")) else (start, end)
    if not value or is_reference(value) or value.lower() in _PLACEHOLDERS or _PORTS.match(value):
        return None
    if takes is _PasswordForm.GUESS and apart and _PLAIN_WORD.match(value):
        return None
    return start, end


def _unquoted(word: str, start: int) -> tuple[int, int]:
    end = len(word)
    skip = 2 if word.startswith(('\\"', "\\'"), start) else 1
    quote = word[start + skip - 1 : start + skip]
    if quote in {'"', "'"} and end - start >= 2 * skip and word.endswith(quote):
        return start + skip, end - skip
    return start, end


def _account(word: str) -> tuple[int, int] | None:
    """Return the position of the password in ``user/password@host``, the first word of a command
    line for one of Oracle's tools.
    """
    match = _ACCOUNT.match(word)
    if match is None or is_reference(match.group("v")):
        return None
    return match.span("v")


# --- command lines in a text ---

_NAME = re.compile(r"[A-Za-z0-9][\w\-]+")
_WORD = re.compile(
    r"(?:[^\s\"'`;|&<>\\\x00\x01]|\\[^\s\"'\x00]|&(?=\w)|\$\([^()\x00\n]{0,128}\)|\\?\"[^\"\n\x00\x01]{0,512}\"|\\?'[^'\n\x00\x01]{0,512}')+"
)
# A command line that is itself a string ends at its closing quote.
_WORD_IN = {
    '"': re.compile(r"(?:[^\s\"'`;|&<>\\\x00\x01]|\\[^\s\"'\x00]|&(?=\w)|'[^'\"\n\x00\x01]{0,512}'|\\\"[^\"\n\x00\x01\\]{0,512}\\\")+"),
    "'": re.compile(r"(?:[^\s\"'`;|&<>\\\x00\x01]|\\[^\s\"'\x00]|&(?=\w)|\"[^'\"\n\x00\x01]{0,512}\"|\\'[^'\n\x00\x01\\]{0,512}\\')+"),
}  # fmt: skip
_ITEM = re.compile(
    r"\s{0,32},?\s{0,32}[bfr]?(?:\\?\"(?P<two>[^\"\n\x00\x01]{0,512}?)\\?\"|\\?'(?P<one>[^'\n\x00\x01]{0,512}?)\\?'|(?P<bare>[\w.$()\[\]]{1,64}(?=\s{0,32},)))"
)
_BLANK = re.compile(r"(?:[ \t<>]|\\\r?\n)+")
_BEFORE = 256
_ENDS = frozenset(" \t\r\n\\\"'")


# The pattern begins with a single character, because a search for one is far faster than for two.
_DASHED = re.compile(r"-(?<=[ \"'\n\t<>]-)[a-z]")


def has_option(low: str) -> bool:
    """Return True if a lower-case text may contain an option, or a tool that takes an account.

    This check is cheap, because most texts contain neither.
    """
    if "-" in low and _DASHED.search(low) is not None:
        return True
    return "/" in low and ("sql" in low or "pdp" in low or "/p:" in low)


def names_tool(text: str) -> bool:
    """Return True if a word in *text* is the name of a tool whose options are known."""
    return not _TOOLS.keys().isdisjoint(_NAME.findall(text.lower()))


def commands(text: str, low: str) -> Iterator[Hit]:
    """Yield the passwords found in command lines in *text*. *low* is *text* in lower case."""
    done = 0
    for match in _NAME.finditer(low):
        if match.start() < done or match.group() not in _TOOLS:
            continue
        end = match.end() + 4 * low.startswith(".exe", match.end())
        if text[end : end + 1] not in _ENDS:
            continue
        spans = list(_spans(text, match.start(), end))
        # The words of a command are read once, including those of commands that it starts.
        done = spans[-1][1] if spans else end
        words = [text[start:stop] for start, stop in spans]
        for index, start, stop in passwords(words, match.group()):
            base = spans[index][0]
            yield Hit(base + start, base + stop, "secret", "command-option")


def _spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each word after the tool at *start*, up to *end*."""
    listed = _LISTED.match(text, end)
    if listed is not None:
        at = end + len(listed.group("quote"))
        item = _ITEM.match(text, at)
        while item is not None:
            yield item.span(item.lastgroup or 0)
            at = item.end()
            item = _ITEM.match(text, at)
        return
    around = _open_quote(text, start)
    pattern = _WORD if around is None else _WORD_IN[around]
    at = end
    while True:
        blank = _BLANK.match(text, at)
        if blank is not None:
            at = blank.end()
        word = pattern.match(text, at)
        if word is None:
            return
        yield word.span()
        at = word.end()


_LISTED = re.compile(r"(?P<quote>\\?[\"'])\s{0,32},")


def _open_quote(text: str, start: int) -> str | None:
    """Return the quote that was opened before *start* on the same line and not closed."""
    before = text[max(0, start - _BEFORE) : start]
    before = before[max(before.rfind("\n"), before.rfind("\x00")) + 1 :]
    if before.count('"') % 2:
        return '"'
    # An apostrophe does not open a quotation.
    return "'" if len(_OPENS.findall(before)) > len(_CLOSES.findall(before)) else None


_OPENS = re.compile(r"(?<!\w)'(?=[^\s',)\]])")
_CLOSES = re.compile(r"(?<=[^\s'(\[,])'(?!\w)")

"""Reads policies and data from files once, and computes their digests. Does not check the
policies.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.core.types import Json
from guardrail.core.words import counted
from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.data_merge import merge_data
from guardrail.policy.data_values import unsupported_value
from guardrail.policy.folder import PolicyFolder
from guardrail.policy.literal_times import malformed_arguments
from guardrail.policy.named_zones import named_zones
from guardrail.policy.source_bytes import to_bytes
from guardrail.policy.state_reads import StateReads, state_reads_in
from guardrail.policy.used_library import used_names
from guardrail.system.input_files import open_input
from guardrail.system.ownership import explain_error

__all__ = [
    "INSTALLED",
    "WHOLE_EXPONENT",
    "WITHOUT_EXPONENT",
    "ModuleSource",
    "PolicySet",
    "installed_folder",
    "installed_modules",
    "load_policies",
    "whole_exponent",
]

MAX_FILE = 256 * 1024
"""Maximum size of a module in bytes."""
MAX_DATA = 4 * 1024 * 1024
"""Maximum size of a data file in bytes."""
MAX_FILES = 500
_LOOKS_LIKE_DATA = (".json", ".yaml", ".yml", ".tar.gz")
"""Extensions of other files that OPA reads from a folder: data and bundles."""
MAX_REGO = 1024 * 1024
"""Maximum size of all modules and tests together in bytes: 20 s and 400 MB to check them."""
MAX_TOTAL = 16 * 1024 * 1024
"""Maximum size of all files together in bytes."""
_SMALLER_REGO = (
    "keep tables of values in data.json, which is loaded faster, and write one rule for all of them"
)
_SMALLER_DATA = (
    "keep only the data that policies compare with, and look up the rest before the call"
)
_LONGEST_ARRAY = 10_000_000
"""A number larger than the length of any array, because the sizes of data and calls are limited."""
WHOLE_EXPONENT = (
    "is a whole number with an exponent: the embedded engine accepts it as an array "
    "index, but OPA does not"
)
INSTALLED = "guardrail:"
"""Prefix of the keys of guardrail's own modules."""
WITHOUT_EXPONENT = "write the number without an exponent"


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """One module, as read from its file."""

    name: str
    """Path as specified by the caller, for use in findings."""
    key: str
    """Path relative to the policy folder, with ``/`` separators: the same on every machine.

    Used for the order of modules and for the digest.
    """
    text: str
    installed: bool = False
    """True if the module is part of guardrail's own composition and library."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies and data that decisions are based on, in memory.

    Later changes on disk have no effect.
    """

    modules: tuple[ModuleSource, ...]
    """The authors' modules and the installed ones, sorted by key."""
    tests: tuple[ModuleSource, ...]
    """Modules of files named ``*_test.rego``."""
    data: str
    """The data document: one JSON object."""
    digest: str
    """SHA-256 of the keys and bytes of ``modules``, 64 hex characters."""
    data_digest: str
    """SHA-256 of ``data``."""
    more_zones: tuple[str, ...] = ()
    """Time zones in the settings, whose offsets calls contain although no policy names them."""

    @property
    def zones(self) -> tuple[str, ...]:
        """Names of time zones in the modules, the data and the settings, sorted; see
        ``named_zones``.
        """
        texts = [source.text for source in self.modules if not source.installed]
        return tuple(sorted({*named_zones(texts, self.data), *self.more_zones}))

    @property
    def state_reads(self) -> StateReads:
        """The sections of the session state that the authors' modules read, directly or through
        ``guardrail.lib.session``: all of them if a module reads ``input`` or ``input.context`` as
        a whole. The other modules of guardrail's own library read none.
        """
        texts = (source.text for source in self.modules if not source.installed)
        return frozenset().union(
            *(read.sections for text in texts for read in state_reads_in(text))
        )


def installed_folder() -> Path:
    """Return the folder with guardrail's own policies: in the package, or beside it."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "_policies"
    return inside if inside.is_dir() else package.parent / "policies"


def load_policies(
    paths: Sequence[Path], *, data: Mapping[str, Json] | None = None, zones: Sequence[str] = ()
) -> PolicySet:
    """Read every module and ``data.json`` below *paths*, and add the installed composition and the
    modules of the library that they use.

    A folder is read like an OPA bundle: ``data.json`` in ``a/b`` is ``data.a.b``. Linked folders
    are followed. Names that begin with a dot are skipped, and a policy below such a name is
    rejected. *data* is merged at the root. *zones* are the time zones in the
    settings. Raises ``PolicyLoadError`` with all problems: files that are missing, unreadable, too
    large or not UTF-8, and conflicting data.
    """
    reader = _SourceReader()
    for path in paths:
        reader.add(Path(path))
    if data is not None:
        reader.merge(dict(data), (), "-")
    if not reader.modules and not reader.findings:
        where = str(paths[0]) if paths else "-"
        reader.refuse(
            where,
            "no-policies",
            "it contains no policy module",
            "guardrail init writes a starter policy",
        )
    own = [*_used_modules([source.text for source in [*reader.modules, *reader.tests]])]
    if reader.findings:
        raise PolicyLoadError(reader.findings)
    modules = tuple(sorted([*own, *reader.modules], key=lambda source: (source.key, source.text)))
    tests = tuple(sorted(reader.tests, key=lambda source: (source.key, source.text)))
    text = json.dumps(reader.data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return PolicySet(
        modules=modules,
        tests=tests,
        data=text,
        digest=hashlib.sha256(
            to_bytes((source.key, source.text) for source in modules)
        ).hexdigest(),
        data_digest=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        more_zones=tuple(zones),
    )


def installed_modules() -> Iterator[ModuleSource]:
    """Yield guardrail's own composition and library."""
    root = installed_folder()
    for folder in ("guardrail", "lib"):
        try:
            names = sorted(os.listdir(root / folder))
            files = [root / folder / name for name in names if name.endswith(".rego")]
            texts = {
                file.name: file.read_text("utf-8")
                for file in files
                if not file.name.endswith("_test.rego")
            }
        except (OSError, UnicodeDecodeError):
            texts = {}
        if not texts:
            finding = Finding(
                str(root / folder),
                0,
                "not-installed",
                "guardrail's own policies are missing, or can't be read",
                "reinstall guardrail",
            )
            raise PolicyLoadError([finding])
        for name, text in texts.items():
            key = f"{INSTALLED}{folder}/{name}"
            yield ModuleSource(name=key, key=key, text=text, installed=True)


def _used_modules(texts: Sequence[str]) -> Iterator[ModuleSource]:
    """Yield the composition, and the modules of the library that *texts* use."""
    own = [*installed_modules()]
    folder = f"{INSTALLED}lib/"
    library = {
        source.key.removeprefix(folder).removesuffix(".rego"): source.text
        for source in own
        if source.key.startswith(folder)
    }
    used = {f"{folder}{name}.rego" for name in used_names(library, texts)}
    for source in own:
        if source.key in used or not source.key.startswith(folder):
            yield source


class _SourceReader:
    """Collects the files and their problems."""

    def __init__(self) -> None:
        self.modules: list[ModuleSource] = []
        self.tests: list[ModuleSource] = []
        self.findings: list[Finding] = []
        self.data: dict[str, Json] = {}
        # The policies folder of a guardrail checkout contains these files. They have already been
        # loaded as guardrail's own.
        own = installed_folder()
        self._own = {os.path.realpath(own / name) for name in ("guardrail", "lib", "opa")}
        self._seen: set[tuple[str, object]] = set()
        self._total = 0
        self._rego = 0

    def refuse(self, file: str, code: str, message: str, hint: str = "", line: int = 0) -> None:
        self.findings.append(Finding(file, line, code, message, hint))

    def add(self, path: Path) -> None:
        """Read a file, or a folder and everything below it."""
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            self.refuse(str(path), "missing", "it does not exist")
            return
        except OSError as error:
            self._unreadable(path, error)
            return
        if not stat.S_ISDIR(mode):
            self._add_file(path, path.parent, named=True)
            return
        for file in PolicyFolder(path, self.refuse, self._own).files():
            self._add_file(file, path)

    def _unreadable(self, path: Path, error: OSError) -> None:
        why, way = explain_error(error, path)
        self.refuse(
            str(path),
            "unreadable",
            f"it can't be read ({why})",
            way or "give this user read permission, or move it out of the policy folder",
        )

    def _add_file(self, file: Path, root: Path, *, named: bool = False) -> None:
        relative = file.relative_to(root)
        if file.suffix == ".rego":
            self._add_module(file, relative.as_posix())
        elif file.name == "data.json" or (named and file.suffix == ".json"):
            self._add_data(file, relative.parent.parts)
        elif named or file.name in {"data.yaml", "data.yml"}:
            self.refuse(
                str(file),
                "format",
                "guardrail reads only .rego modules and data.json",
                "convert it to data.json",
            )
        elif file.name.lower().endswith(".rego"):
            self.refuse(
                str(file),
                "not-read",
                "guardrail reads modules only from files that end in .rego",
                "rename it",
            )
        elif file.name.lower().endswith(_LOOKS_LIKE_DATA):
            # If the file were silently skipped, every rule that reads it would be undefined.
            name = "/".join((*relative.parent.parts, file.stem))
            self.refuse(
                str(file),
                "not-read",
                (
                    "guardrail reads only .rego modules and data.json, so the "
                    f"policies would not see {file.name}"
                ),
                (
                    f"to provide data.{name.replace('/', '.')}, write {name}/data.json; "
                    "move other files out of the policy folder"
                ),
            )

    def _read_text(self, file: Path, limit: int, use: object) -> str | None:
        """Return the text of *file*, or None if the file has already been read for the same *use*
        or is rejected.
        """
        seen = (os.path.realpath(file), use)
        if seen in self._seen:
            return None
        self._seen.add(seen)
        if len(self._seen) > MAX_FILES:
            if len(self._seen) == MAX_FILES + 1:
                self.refuse(str(file), "too-many", f"the policies have more than {MAX_FILES} files")
            return None
        try:
            with open_input(file) as stream:
                raw = stream.read(limit + 1)
        except OSError as error:
            self._unreadable(file, error)
            return None
        if not self._fits(file, len(raw), limit):
            return None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(str(file), "encoding", "it is not UTF-8 text")
            return None
        return text.removeprefix("\ufeff")

    def _fits(self, file: Path, size: int, limit: int) -> bool:
        """Count *size* bytes of *file*. Refuse the file if it exceeds *limit*, and the first file
        with which all files exceed theirs.
        """
        rego = file.suffix == ".rego"
        hint = _SMALLER_REGO if rego else _SMALLER_DATA
        if size > limit:
            message = f"it is larger than {counted(limit, 'byte')}"
            self.refuse(str(file), "too-large", message, hint)
            return False
        before = (self._rego, self._total)
        self._rego += size if rego else 0
        self._total += size
        for known, count, most, noun in (
            (before[0], self._rego, MAX_REGO, "modules and tests"),
            (before[1], self._total, MAX_TOTAL, "files"),
        ):
            if known <= most < count:
                message = f"all {noun} together are larger than {counted(most, 'byte')}"
                self.refuse(str(file), "too-large", message, hint)
        return self._rego <= MAX_REGO and self._total <= MAX_TOTAL

    def _add_module(self, file: Path, key: str) -> None:
        test = file.name.endswith("_test.rego")
        text = self._read_text(file, MAX_FILE, "test" if test else "module")
        if text is not None:
            into = self.tests if test else self.modules
            if not test:
                self.findings += malformed_arguments(str(file), text)
            into.append(ModuleSource(name=str(file), key=key, text=text))

    def _add_data(self, file: Path, place: tuple[str, ...]) -> None:
        text = self._read_text(file, MAX_DATA, place)
        if text is None:
            return
        try:
            value = json.loads(
                text,
                parse_constant=_refuse_constant,
                parse_float=_parse_float,
                object_pairs_hook=_refuse_repeated_keys,
            )
        except _ExponentError as error:
            self.refuse(str(file), "exponent", f"{error} {WHOLE_EXPONENT}", WITHOUT_EXPONENT)
            return
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
            self.refuse(
                str(file), "data-json", "it is not valid JSON, or it repeats a key", line=line
            )
            return
        self.merge(value, place, str(file))

    def merge(self, value: Json, place: tuple[str, ...], file: str) -> None:
        """Insert *value* at *place* in the data document."""
        if not isinstance(value, dict):
            self.refuse(file, "data-object", "the data must be a JSON object")
            return
        problem = unsupported_value(value)
        if problem:
            self.refuse(file, *problem)
            return
        for name in reversed(place):
            value = {name: value}
        clash = merge_data(self.data, value, ())
        if clash is not None:
            self.refuse(
                file,
                "data-conflict",
                f"data.{'.'.join(clash)} is already set in another file",
            )


class _ExponentError(ValueError):
    """A whole number was written with an exponent."""


def _parse_float(written: str) -> float:
    if whole_exponent(written):
        raise _ExponentError(written)
    return float(written)


def whole_exponent(written: str) -> bool:
    """Return True if *written* is an integer with an exponent, which OPA does not accept as an
    array index. Numbers that exceed the length of any array in a policy, its data or a call are
    accepted (``n > 1e9``), because neither engine can use them as an index.
    """
    if "e" not in written.lower():
        return False
    value = float(written)
    return value.is_integer() and abs(value) < _LONGEST_ARRAY


def _refuse_constant(name: str) -> Json:
    raise ValueError(name)


def _refuse_repeated_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("repeated key")
    return result

"""Builds reproducible bundles for OPA servers, with a revision that identifies the policies.
Bundles can be signed.

A bundle contains the authors' modules and guardrail's composition and library, without tests; the
data document; the schema of the policy input; and the mask that removes callers' arguments from
OPA's decision log. Its roots are all paths that the modules define or read, so nothing else on the
server can add values below these paths.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from guardrail.core.decision import CONTRACT
from guardrail.core.types import Json
from guardrail.errors import ConfigError, Finding, PolicyLoadError
from guardrail.policy.input_schema import FOLDER, INPUT_SCHEMA, input_schema_path
from guardrail.policy.opa.revision import Revision
from guardrail.policy.sources import ModuleSource, PolicySet, installed_folder

__all__ = ["BundleSigner", "build", "canonical", "modules", "names", "roots"]

_MANIFEST = ".manifest"
_SIGNATURES = ".signatures.json"
_OWN_ROOTS = ("guardrail", "system/log")
_DATA_KEY = re.compile(r'\bdata(?:\.([A-Za-z_]\w*)|\[\s*"([^"\\]+)")')
_INSTALLED = "guardrail:"
"""Prefix of the keys of guardrail's own modules."""


@dataclass(frozen=True, slots=True)
class BundleSigner:
    """Key and algorithm for signing a bundle."""

    algorithm: str
    """Signing algorithm for the JSON Web Token: ``RS256`` or ``ES256``."""
    sign: Callable[[bytes], bytes]
    key_id: str = ""
    """Name of the key in OPA's configuration, or an empty string for the server's default key."""


def build(policies: PolicySet, revision: Revision, *, signer: BundleSigner | None = None) -> bytes:
    """Return the bundle as a gzipped tar archive.

    Raises ``PolicyLoadError`` if two files would have the same name.
    """
    files = modules(policies)
    files["data.json"] = canonical(json.loads(policies.data))
    manifest: dict[str, Json] = {
        "metadata": {"guardrail": {"contract": CONTRACT}},
        "rego_version": 1,
        "revision": str(revision),
        "roots": list(roots(policies)),
    }
    files[_MANIFEST] = canonical(manifest)
    if signer is not None:
        files[_SIGNATURES] = _signatures(files, signer)
    return _archive(files)


def roots(policies: PolicySet) -> tuple[str, ...]:
    """Return the roots of the bundle: guardrail's packages, every key in the data, and the keys
    that modules read.

    Raises ``PolicyLoadError`` for a key that can't be a root.
    """
    keys = set(json.loads(policies.data))
    for source in policies.modules:
        # Names in comments and strings count too, because it is harmless to own more keys than
        # necessary.
        keys.update(dotted or quoted for dotted, quoted in _DATA_KEY.findall(source.text))
    for key in keys:
        if not key or "/" in key:
            finding = Finding(
                "data.json",
                0,
                "data-key",
                (
                    "the data has a top-level key that is empty or contains a slash, "
                    "which a bundle can't own"
                ),
            )
            raise PolicyLoadError([finding])
    return tuple(sorted({*_OWN_ROOTS, *(keys - {"guardrail", "system"})}))


def canonical(value: Json) -> bytes:
    """Return *value* as JSON in the form that OPA hashes, so that the file's hash equals the hash
    that OPA computes.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode("utf-8")


def names(policies: PolicySet) -> Iterator[tuple[str, ModuleSource]]:
    """Yield every module with its path in the bundle.

    Raises ``PolicyLoadError`` if two modules would have the same path.
    """
    seen: set[str] = set()
    for source in policies.modules:
        name = (
            source.key.removeprefix(_INSTALLED)
            if source.installed
            else f"guardrail/policy/{source.key}"
        )
        if name in seen:
            finding = Finding(
                source.name,
                0,
                "bundle-name",
                "two modules have the same path relative to their policy folders",
            )
            raise PolicyLoadError([finding])
        seen.add(name)
        yield name, source


def modules(policies: PolicySet) -> dict[str, bytes]:
    """Return the files of a bundle, keyed by path, without the data and the manifest."""
    files = {name: source.text.encode("utf-8") for name, source in names(policies)}
    own = installed_folder() / "opa"
    files["system/log/mask.rego"] = (own / "system_log.rego").read_bytes()
    # OPA does not load this file. Authors can use it to check the bundle's policies against the
    # schema.
    schema = json.loads(input_schema_path().read_bytes())
    files[f"{FOLDER}/{INPUT_SCHEMA}.json"] = canonical(schema)
    return files


def _signatures(files: dict[str, bytes], signer: BundleSigner) -> bytes:
    listed = [
        {"algorithm": "SHA-256", "hash": hashlib.sha256(content).hexdigest(), "name": name}
        for name, content in sorted(files.items())
    ]
    header = {"alg": signer.algorithm, "typ": "JWT"}
    payload: dict[str, object] = {"files": listed}
    if signer.key_id:
        header["kid"] = payload["keyid"] = signer.key_id
    signed = b".".join(
        _base64url(json.dumps(part, sort_keys=True).encode()) for part in (header, payload)
    )
    token = signed + b"." + _base64url(signer.sign(signed))
    return json.dumps({"signatures": [token.decode("ascii")]}).encode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, 0
            try:
                archive.addfile(entry, io.BytesIO(content))
            except ValueError:
                raise ConfigError(
                    "a policy's path is too long for a bundle", code="config.bundle_path"
                ) from None
    return gzip.compress(stream.getvalue(), mtime=0)

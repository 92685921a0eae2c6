"""Implements ``guardrail policy bundle`` and ``guardrail policy push``, which deliver policies to
an OPA server.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.app import Exit
from guardrail.cli.commands.policy import PATHS, policy_paths, print_untested
from guardrail.cli.commands.policy_check import find_program
from guardrail.cli.findings import print_findings
from guardrail.cli.options import config_option, json_option, settings_of
from guardrail.cli.output import Style, data, emit_json, paint, remark
from guardrail.core.words import counted
from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.review.terminal import one_line
from guardrail.system.disk import save_file

if TYPE_CHECKING:
    from guardrail.policy.opa.bundle import BundleSigner

__all__ = ["bundle", "push"]

_JUDGES = {
    "opa": "by opa check --strict, with the shipped capabilities",
    "embedded": "by the embedded engine's preflight (no opa program found)",
    "nobody": "not checked: the policies may depend on more than their input",
}


@click.command(short_help="Build a bundle for OPA servers.")
@PATHS
@config_option
@json_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Output file; an existing file is replaced atomically.",
)
@click.option(
    "--signing-key",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    metavar="PEM",
    help="Private key that signs the bundle; its file must have mode 0600.",
)
@click.option(
    "--signing-alg",
    type=click.Choice(["RS256", "ES256"]),
    default="RS256",
    show_default=True,
    help="Signature algorithm.",
)
@click.option("--key-id", default="", metavar="NAME", help="Name of the key on the server.")
@click.option(
    "--unsafe-impure",
    is_flag=True,
    help="Also bundle policies that may depend on more than their input.",
)
def bundle(
    *,
    paths: Sequence[Path],
    config: Path | None,
    as_json: bool,
    output: Path,
    signing_key: Path | None,
    signing_alg: str,
    key_id: str,
    unsafe_impure: bool,
) -> int:
    """Build a bundle of the policies below PATH (default: those in the settings) and guardrail's
    own, without tests.

    The bundle's revision contains the digests of the policies and their data, as records do. The
    same policies always produce the same bytes. The command does not run the policies' tests: use
    `guardrail policy test` for that. Exit code 0: the bundle was written; 1: the policies are
    refused; 3: they could not be read.
    """
    from guardrail.authoring.bundle import make_bundle

    try:
        made = make_bundle(
            policy_paths(paths, config),
            opa=find_program(paths, config),
            signer=_signer(signing_key, signing_alg, key_id),
            unsafe_impure=unsafe_impure,
        )
    except PolicyLoadError as error:
        return _print_refused(error, as_json=as_json)
    replaced = os.path.lexists(output)
    save_file(output, made.content)
    if as_json:
        emit_json(
            {
                "exit": int(Exit.YES),
                "file": str(output),
                "bytes": len(made.content),
                "revision": made.revision,
                "judged_by": made.judge.value,
                "signed": made.signed,
                "tests": made.tests,
                "replaced": replaced,
                "findings": [],
            }
        )
        return Exit.YES
    state = "signed" if made.signed else "not signed"
    data(
        f"{paint('OK', Style.GOOD)}  {one_line(str(output))}, {counted(made.files, 'module')},"
        f" {state}" + (", replacing the existing file" if replaced else "")
    )
    data(f"revision {made.revision}")
    if made.tests:
        print_untested(made.tests)
    remark(f"Checked {_JUDGES[made.judge.value]}.")
    return Exit.YES


def _signer(path: Path | None, algorithm: str, key_id: str) -> BundleSigner | None:
    if path is None:
        return None
    from guardrail.keys.bundle_key import bundle_signer
    from guardrail.policy.opa.bundle import BundleSigner

    return BundleSigner(algorithm, bundle_signer(path, algorithm), key_id)


@click.command(short_help="Upload the policies to a development server.")
@PATHS
@config_option
@json_option
@click.option("--url", metavar="URL", help="URL of the server. Default: [opa] url in the settings.")
def push(paths: Sequence[Path], config: Path | None, as_json: bool, url: str | None) -> int:
    """Upload the policies below PATH (default: those in the settings), their data and guardrail's
    own policies to an OPA server.

    Use this command only for development. It uploads modules one by one, not atomically. The
    server's responses then do not contain a revision, so a guard accepts them only with [opa]
    unsafe_unpinned_policy. The command does not upload to a server that has bundles. Exit code 0:
    the policies were stored; 1: they were refused; 3: the server could not be reached.
    """
    from guardrail.authoring.push import push as send
    from guardrail.policy.opa.target import UNREACHABLE

    section = settings_of(config).trusted_opa
    if url is not None:
        section = replace(section, url=url)
    try:
        pushed = send(policy_paths(paths, config), section)
    except PolicyLoadError as error:
        return _print_refused(error, as_json=as_json)
    except PolicyError as error:
        if error.hint == UNREACHABLE:
            error.hint = f"start the OPA server, or correct [opa] url or --url: {section.url}"
        raise
    if as_json:
        emit_json(
            {
                "exit": int(Exit.YES),
                "stored": list(pushed.stored),
                "removed": list(pushed.removed),
                "others": list(pushed.others),
                "tests": pushed.tests,
                "findings": [],
            }
        )
        return Exit.YES
    data(
        f"{paint('OK', Style.GOOD)}  {counted(len(pushed.stored), 'module')} stored,"
        f" {len(pushed.removed)} removed"
    )
    if pushed.tests:
        print_untested(pushed.tests)
    for name in pushed.others:
        remark(f"The server also has this module, whose rules also apply: {one_line(name)}")
    return Exit.YES


def _print_refused(error: PolicyLoadError, *, as_json: bool) -> int:
    if as_json:
        findings = [
            {"file": f.file, "line": f.line, "code": f.code, "message": f.message, "hint": f.hint}
            for f in error.findings
        ]
        emit_json({"exit": int(Exit.NO), "findings": findings})
    else:
        print_findings(error.findings, Style.BAD)
        data(f"{paint('REFUSED', Style.BAD)}  {counted(len(error.findings), 'finding')}")
    return Exit.NO

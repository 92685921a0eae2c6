"""Implements ``guardrail proxy``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guardrail.cli.app import Exit, LazyGroup
from guardrail.cli.entries import CommandEntry, CommandReads
from guardrail.cli.missing import server_packages
from guardrail.cli.options import config_option, settings_of
from guardrail.cli.output import data, remark
from guardrail.errors import ConfigError, UsageError
from guardrail.review.terminal import clip, one_line

if TYPE_CHECKING:
    from guardrail.config import IdentitySettings, ProxySettings

__all__ = ["proxy", "token"]

_HERE = "guardrail.cli.commands.proxy"
_NAME = 20
"""Maximum width of a caller's name in the proxy's startup messages, in columns."""
_ISSUER = 40
"""Maximum width of an issuer there."""


@click.group(
    cls=LazyGroup,
    entries={
        "accept": CommandEntry(
            "guardrail.cli.commands.proxy_accept",
            "accept",
            "Accept the tools in programs' requests.",
            reads=CommandReads.NO_RECORDS,
        ),
        "token": CommandEntry(
            _HERE, "token", "Create a token for a caller.", reads=CommandReads.NO_RECORDS
        ),
    },
    invoke_without_command=True,
    short_help="Govern the tool calls of programs that use a model's API.",
)
@config_option
@click.option(
    "--upstream",
    "upstream",
    metavar="URL",
    help=(
        "URL of the model's API: https, or http to loopback. Default: [proxy] upstream, if "
        "--config specifies the settings file."
    ),
)
@click.option(
    "--listen",
    "listen",
    metavar="ADDRESS:PORT",
    help="Address to listen on; port 0 selects a free port. Default: [proxy] listen.",
)
@click.pass_context
def proxy(
    ctx: click.Context, *, config: Path | None, upstream: str | None, listen: str | None
) -> int | None:
    """Serve a model's API until SIGTERM or Ctrl-C. Each tool call in the model's responses is
    decided and recorded before a program receives it.

    The command prints the base URLs that programs must use instead of the API's own. Programs keep
    their API keys, and the proxy sends these keys only to the upstream. Requests in progress have
    [proxy] stop_s seconds to finish; a second signal stops them immediately.
    """
    if ctx.invoked_subcommand is not None:
        if upstream or listen or config:
            raise UsageError(
                "the proxy's own options do not apply to this command",
                hint=(
                    "put the command's own options after its name:"
                    f" guardrail proxy {ctx.invoked_subcommand} --help"
                ),
            )
        return None
    return _serve(config, upstream, listen)


def _serve(config: Path | None, upstream: str | None, listen: str | None) -> int:
    from guardrail.guard import Guard

    with server_packages():
        from guardrail.proxy.listening import client_urls, listener_rules, proxy_listener
        from guardrail.proxy.seen_tools import SeenTools, seen_path
        from guardrail.proxy.verified_callers import check_token_header
        from guardrail.system.asgi_server import require_server

        require_server()
    settings = settings_of(config)
    target = upstream or settings.trusted_proxy.upstream
    if not target:
        raise UsageError(
            "the proxy needs the URL of the model's API",
            hint="guardrail proxy --upstream URL, for example https://api.openai.com/v1; or set"
            " [proxy] upstream, and run guardrail proxy --config FILE",
        )
    chosen = settings.proxy if listen is None else replace(settings.proxy, listen=listen)
    identity = settings.identity
    # These raise an error before a guard is started.
    listener_rules(chosen, verified=identity.require == "verified")
    check_token_header(chosen, verifies=bool(identity.issuers))
    with Guard.open(settings) as guard:
        listener = proxy_listener(
            guard,
            target,
            chosen,
            seen=SeenTools(seen_path(settings.ledger.path)),
            log=lambda line: remark(f"guardrail: {one_line(line)}"),
        )

        def ready() -> None:
            for name, url in client_urls(listener, chosen).items():
                data(f"{name}={url}")
            sys.stdout.flush()
            remark(f"upstream: {one_line(target)}")
            for line in _callers(chosen, identity):
                remark(f"callers:  {line}")
            remark("governing; Ctrl-C stops")

        listener.run(ready)
    return Exit.YES


def _callers(settings: ProxySettings, identity: IdentitySettings) -> Iterator[str]:
    """Yield short lines that say which callers a proxy serves, and how it identifies them."""
    from guardrail.system.caller_tokens import TOKEN_HEADER, CallerTokens

    if identity.issuers:
        issuers = _first([each.issuer for each in identity.issuers], most=_ISSUER)
        yield f"with a token of {issuers} in the header {settings.token_header}"
    if identity.require == "verified":
        return
    if settings.callers is not None:
        names = CallerTokens(settings.callers).names
        yield f"{_first(names)} (tokens in the header {TOKEN_HEADER})"
    if settings.peers:
        yield f"named by {_first(settings.peers)} in the header {settings.identity_header}"
    if settings.callers is None and not settings.peers:
        yield "the users of this machine"


def _first(names: Sequence[str], most: int = _NAME) -> str:
    """Return the first name, shortened if it is long, and the number of remaining names."""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{clip(one_line(names[0]), most)}{more}" if names else "nobody"


@click.command(short_help="Create a token for a caller.")
@config_option
@click.option(
    "--callers",
    "callers",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Callers file, which stores the tokens' digests. Default: [proxy] callers.",
)
@click.argument("name", metavar="NAME")
def token(*, config: Path | None, callers: Path | None, name: str) -> int:
    """Create a random token for the caller NAME, print it, and add its digest to the callers file.

    The token itself is not stored. A running proxy that uses the callers file accepts the token
    immediately.
    """
    from guardrail.system.caller_tokens import TOKEN_HEADER, add_token

    path = callers or settings_of(config).proxy.callers
    if path is None:
        raise ConfigError(
            "no callers file is set",
            code="callers.missing",
            hint=f'set callers = "callers" in [proxy], or run:'
            f" guardrail proxy token {name} --callers FILE",
        )
    data(add_token(path, name))
    remark(f"added  {one_line(str(path))}")
    remark(f"next:  the caller sends the token in the header {TOKEN_HEADER}")
    return Exit.YES

"""Settings as one frozen object, made from guardrail.toml, the environment and the program's
arguments.

Unknown keys, values of the wrong type and values out of range are rejected. Relative paths in a
file are relative to that file.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from guardrail.config.file import find, is_named, read_settings
from guardrail.config.identity_section import IdentitySettings
from guardrail.config.parsing import ENVIRONMENT, apply
from guardrail.config.proxy_section import ProxySettings
from guardrail.config.sections import (
    AccessSettings,
    AnchorSettings,
    ApprovalSettings,
    KeySettings,
    LedgerSection,
    LimitSettings,
    OpaSection,
    PolicySettings,
    RedactionSettings,
    RetentionSettings,
    ReviewSettings,
    ToolSettings,
)
from guardrail.config.tenants import TENANT_NAME, tenants_in
from guardrail.core.log.record import dumps
from guardrail.errors import ConfigError

__all__ = ["CommitmentKeys", "KeyedDigest", "Settings", "access_rule"]

_MOST_NAMED = 8
"""Number of tenants that an error lists."""
_ONLY_FOUND = "were found in this folder or a parent folder, but not specified"


class KeyedDigest(Protocol):
    """A digest that can't be computed without a key."""

    def hexdigest(self) -> str:
        """Return the digest as hex digits."""


class CommitmentKeys(Protocol):
    """Makes digests that are keyed with a log's keys. ``guardrail.keys.tenant_keys.TenantKeys``
    implements it.
    """

    def commitment(self, parts: Iterable[bytes]) -> KeyedDigest:
        """Return the digest of *parts*."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, by section. Every field has a default."""

    ledger: LedgerSection = field(default_factory=LedgerSection)
    keys: KeySettings = field(default_factory=KeySettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    opa: OpaSection = field(default_factory=OpaSection)
    redaction: RedactionSettings = field(default_factory=RedactionSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    tools: ToolSettings = field(default_factory=ToolSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    review: ReviewSettings = field(default_factory=ReviewSettings)
    proxy: ProxySettings = field(default_factory=ProxySettings)
    source: Path | None = None
    """The file that was read, or None."""
    distrust: str = ""
    """The reason that the file may neither start commands nor send secrets to a server, or an empty
    string if it may.
    """
    tenants: Mapping[str, Settings] = field(default_factory=dict, compare=False, repr=False)
    """The settings of each tenant that has a table ``[tenants.NAME]``, complete, by its name."""
    tenant_table: str = ""
    """The name of the tenant whose table these settings come from, or an empty string."""
    disabled: bool = False
    """True if the tenant's table disables it: its calls are denied."""
    overridden: frozenset[tuple[str, str]] = field(default=frozenset(), compare=False, repr=False)
    """Section and key of each setting that the environment or the program set. A reload keeps
    these.
    """

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        named: bool = True,
        tenant: str | None = None,
    ) -> Settings:
        """Read *path*, or no file if it is None, and then apply the environment. If *tenant* is not
        None, return the settings of that tenant.

        If *named* is False, guardrail found the file, and the user did not specify it, so it can't
        start a command (``require_trust``). Raises ``ConfigError`` if the file is unreadable, owned
        by a different user or not TOML, and for an unknown section or key, a wrong type, or a value
        out of range.
        """
        environment = os.environ if environment is None else environment
        settings = cls() if path is None else _from_file(path, named=named)
        for variable, (section, key) in ENVIRONMENT.items():
            value = environment.get(variable)
            if value:
                parts: list[str] = (
                    value.split(os.pathsep) if key == "path" and section == "policy" else [value]
                )
                raw = {section: {key: parts if len(parts) > 1 else parts[0]}}
                settings = _overridden(settings, raw, variable)
        return settings if tenant is None else settings.of_tenant(tenant)

    @classmethod
    def chosen(
        cls,
        config: Path | None,
        *,
        tenant: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Settings:
        """Return the settings in *config* or, if it is None, in the file that ``find`` returns, as
        commands do. If *tenant* is not None, return those of that tenant. See ``load``.
        """
        path = find(environment=environment) if config is None else config
        named = config is not None or is_named(environment)
        return cls.load(path, environment=environment, named=named, tenant=tenant)

    def of_tenant(self, name: str) -> Settings:
        """Return the settings of the tenant *name*: those in its table, or these if they are for
        that tenant. Raises ``ConfigError`` if there is no such tenant.

        Environment variables apply only to the settings outside the tables.
        """
        if name == self.identity.tenant:
            return self
        found = self.tenants.get(name)
        if found is not None:
            return found
        known = sorted({self.identity.tenant, *self.tenants})
        listed = ", ".join(known[:_MOST_NAMED]) + (" and others" if known[_MOST_NAMED:] else "")
        raise ConfigError(
            f"there is no tenant {name!r}; the tenants are {listed}",
            code="config.tenant",
            hint=f"correct the name, or add the tenant: guardrail tenants add {shlex.quote(name)}"
            if TENANT_NAME.match(name)
            else "guardrail tenants list",
        )

    def require_trust(self, what: str) -> None:
        """Raise ``ConfigError`` unless the settings file is trusted. *what* names the settings
        that would be used, such as a command or a secret.
        """
        if self.distrust:
            raise ConfigError(
                f"{what} is ignored, because the settings in {self.source} {self.distrust}",
                code="config.distrust",
                hint=(
                    f"read the file, then add --config {self.source} to the command, or set "
                    "GUARDRAIL_CONFIG to this path"
                    if self.only_found
                    else f"read the file, then run: chmod o-w {self.source}"
                ),
            )

    @property
    def only_found(self) -> bool:
        """True if the file would be trusted if the user specified it."""
        return self.distrust == _ONLY_FOUND

    @property
    def only_tenant(self) -> str | None:
        """The tenant whose calls the ledger contains, or None if several can share it because no
        tenant has a table.
        """
        return self.identity.tenant if self.tenants or self.tenant_table else None

    @property
    def trusted_opa(self) -> OpaSection:
        """Return ``[opa]``, to connect to its server. Raises ``ConfigError`` if the section sets
        secrets that must not be sent to the server.
        """
        if self.opa.token_file or self.opa.key:
            self.require_trust("[opa] token_file, cert or key")
        if self.opa.program:
            self.require_trust("[opa] program")
        return self.opa

    @property
    def trusted_proxy(self) -> ProxySettings:
        """Return ``[proxy]``, to start the proxy. Raises ``ConfigError`` if the section sets a
        server to which the callers' keys must not be sent.
        """
        if self.proxy.upstream:
            self.require_trust("[proxy] upstream")
        return self.proxy

    @property
    def key_path(self) -> Path:
        """The folder of the log's keys: from the settings, or next to the ledger (``ledger.db`` ->
        ``ledger.keys``).
        """
        return (
            self.keys.path if self.keys.path is not None else self.ledger.path.with_suffix(".keys")
        )

    @property
    def access_path(self) -> Path:
        """The path of the access log, which records who reads the ledger: from the settings, or
        next to the ledger (``ledger.db`` -> ``ledger.access.db``).
        """
        return (
            self.access.path
            if self.access.path is not None
            else Path(os.path.realpath(self.ledger.path)).with_suffix(".access.db")
        )

    @property
    def access_key_path(self) -> Path:
        """The folder of the access log's keys: from the settings, or next to the access log
        (``ledger.access.db`` -> ``ledger.access.keys``).
        """
        return (
            self.access.keys
            if self.access.keys is not None
            else self.access_path.with_suffix(".keys")
        )

    @property
    def segments_path(self) -> Path:
        """The folder of the segments' copies: from the settings, or next to the ledger
        (``ledger.db`` -> ``ledger.db-segments``).
        """
        ledger = self.ledger.path
        return self.retention.segments or ledger.with_name(ledger.name + "-segments")

    @property
    def timestamps_path(self) -> Path:
        """The file of the timestamps: from the settings, or next to the ledger (``ledger.db`` ->
        ``ledger.db-timestamps``).
        """
        ledger = self.ledger.path
        return self.anchors.tsa_tokens or ledger.with_name(ledger.name + "-timestamps")

    def digest(self, keys: CommitmentKeys) -> str:
        """Return the digest (hex) of the settings that govern calls: everything except paths and
        names.

        It is keyed with the *keys* of a log, because records show all values except the sensitive
        ones: without a key, these could be found by trying candidates.
        """
        return keys.commitment([b"settings", dumps(self.governed())]).hexdigest()

    def governed(self) -> dict[str, dict[str, Any]]:
        """Return the settings that govern calls, by section and key."""
        governed: dict[str, dict[str, Any]] = {
            "policy": {
                name: getattr(self.policy, name)
                for name in (
                    "engine",
                    "input",
                    "deadline_ms",
                    "eval_limit_ms",
                    "workers",
                    "memory_mb",
                )
            },
            "ledger": {
                "append_deadline_ms": self.ledger.append_deadline_ms,
                "sweep_interval_s": self.ledger.sweep_interval_s,
            },
            "redaction": {"profile": self.redaction.profile},
            "identity": {
                "tenant": self.identity.tenant,
                "principal_form": self.identity.principal_form,
                "require": self.identity.require,
            },
            "approvals": {
                item.name: getattr(self.approvals, item.name) for item in fields(self.approvals)
            },
        }
        # These are included only if they are set, so that all other digests stay the same.
        if not self.policy.keep_data:
            governed["policy"]["keep_data"] = False
        if self.policy.cross_check:
            governed["policy"]["cross_check"] = True
        if self.policy.time_zones:
            governed["policy"]["time_zones"] = sorted(self.policy.time_zones)
        if self.ledger.outcome != "before_release":
            governed["ledger"]["outcome"] = self.ledger.outcome
        if self.redaction != RedactionSettings():
            governed["redaction"]["keys"] = dict(self.redaction.keys)
            governed["redaction"]["patterns"] = dict(self.redaction.patterns)
        if self.limits.calls_per_minute != LimitSettings().calls_per_minute:
            governed["limits"] = {"calls_per_minute": self.limits.calls_per_minute}
        if self.limits.tenant_calls:
            governed.setdefault("limits", {})["tenant_calls"] = self.limits.tenant_calls
        if self.limits.ledger_mb:
            governed.setdefault("limits", {})["ledger_mb"] = self.limits.ledger_mb
        if self.identity.issuers:
            governed["identity"] |= _governed_issuers(self.identity)
        if self.tools != ToolSettings():
            governed["tools"] = {"unknown_arguments": self.tools.unknown_arguments}
        if self.anchors.max_lag_s or self.anchors.max_lag_records:
            governed["anchors"] = {
                "max_lag_s": self.anchors.max_lag_s,
                "max_lag_records": self.anchors.max_lag_records,
            }
        governed.update(_governed_proxy(self.proxy))
        governed.update(_governed_opa(self))
        return governed

    def override(self, **sections: Mapping[str, object]) -> Settings:
        """Return a copy with some values replaced: ``override(policy={"workers": 2})``. The values
        are checked like those of a file.
        """
        return _overridden(self, sections, "argument")


def _governed_issuers(identity: IdentitySettings) -> dict[str, Any]:
    return {
        "leeway_s": identity.leeway_s,
        "jwks_refresh_s": identity.jwks_refresh_s,
        "jwks_max_age_s": identity.jwks_max_age_s,
        "issuers": [each.governed() for each in identity.issuers],
    }


def _governed_opa(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings in ``[opa]``, or nothing with the embedded engine."""
    if settings.policy.engine != "opa":
        return {}
    names = (
        "revisions",
        "bundle",
        "connections",
        "watch_interval_ms",
        "breaker_failures",
        "breaker_reset_ms",
        "unsafe_impure_policy",
        "unsafe_unpinned_policy",
    )
    return {"opa": {name: getattr(settings.opa, name) for name in names}}


def access_rule(ledger: Path) -> AccessSettings | None:
    """Return ``[access]`` from the settings in the folder of *ledger*, or in a parent folder, if
    they are for that ledger, otherwise None.

    If the settings belong to the ledger's owner and not to this user, only ``required`` applies,
    because it can only make reading stricter.
    """
    path = find(ledger.parent, environment={})
    if path is None:
        return None
    try:
        own = os.stat(path).st_uid in (0, os.geteuid())
        made = _from_file(path, named=False, owners=(os.stat(ledger).st_uid,))
    except (OSError, ConfigError):
        return None
    for each in (made, *made.tenants.values()):
        if str(ledger) in {os.path.realpath(path) for path in (each.ledger.path, each.access_path)}:
            return each.access if own else AccessSettings(required=each.access.required)
    return None


def _overridden(
    settings: Settings, sections: Mapping[str, Mapping[str, object]], where: str
) -> Settings:
    changed = {(section, key) for section, values in sections.items() for key in values}
    made = apply(settings, sections, Path.cwd(), where)
    return replace(made, overridden=settings.overridden | changed)


def _from_file(path: Path, *, named: bool, owners: Collection[int] = ()) -> Settings:
    file = read_settings(path, owners)
    folder = file.path.parent
    defaults = Settings()
    local_defaults = replace(
        defaults,
        ledger=replace(defaults.ledger, path=folder / defaults.ledger.path),
        policy=replace(defaults.policy, path=tuple(folder / item for item in defaults.policy.path)),
        proxy=replace(defaults.proxy, tools=folder / defaults.proxy.tools),
    )
    raw = {name: values for name, values in file.raw.items() if name != "tenants"}
    made = apply(local_defaults, raw, folder, str(path))
    distrust = "" if named else _ONLY_FOUND
    if file.writable:
        distrust = "can be changed by every user"
    made = replace(made, source=file.path, distrust=distrust)
    if "tenants" not in file.raw:
        return made
    return replace(made, tenants=tenants_in(made, file.raw["tenants"], folder, str(path)))


def _governed_proxy(proxy: ProxySettings) -> dict[str, Any]:
    """Return the settings of the proxy that determine which calls are released. The result is empty
    if none of them is set, so that all other digests stay the same.
    """
    usual = ProxySettings()
    names = ("peers", "identity_header", "hosted_tools", "approval_wait_s", "outcome_wait_s")
    found: dict[str, Any] = {}
    if any(getattr(proxy, name) != getattr(usual, name) for name in names):
        found["proxy"] = {name: getattr(proxy, name) for name in names}
    if proxy.token_header != usual.token_header:
        found["proxy_token"] = {"token_header": proxy.token_header}
    if proxy.agent_token_header != usual.agent_token_header:
        found["proxy_agent_token"] = {"agent_token_header": proxy.agent_token_header}
    if proxy.allow_fields:
        found["proxy_fields"] = {"allow_fields": proxy.allow_fields}
    return found

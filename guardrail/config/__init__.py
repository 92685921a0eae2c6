"""Settings as one frozen object, made from guardrail.toml, the environment and the program's
arguments.
"""

from __future__ import annotations

from guardrail.config.file import FILE_NAME, find
from guardrail.config.identity_section import IdentitySettings
from guardrail.config.issuers import IssuerSettings
from guardrail.config.parsing import ENVIRONMENT, NO_SECTIONS
from guardrail.config.proxy_section import ProxySettings
from guardrail.config.sections import (
    DEFAULT_LEDGER,
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
    is_default_place,
)
from guardrail.config.settings import Settings, access_rule

__all__ = [
    "DEFAULT_LEDGER",
    "ENVIRONMENT",
    "FILE_NAME",
    "NO_SECTIONS",
    "AccessSettings",
    "AnchorSettings",
    "ApprovalSettings",
    "IdentitySettings",
    "IssuerSettings",
    "KeySettings",
    "LedgerSection",
    "LimitSettings",
    "OpaSection",
    "PolicySettings",
    "ProxySettings",
    "RedactionSettings",
    "RetentionSettings",
    "ReviewSettings",
    "Settings",
    "access_rule",
    "find",
    "is_default_place",
]

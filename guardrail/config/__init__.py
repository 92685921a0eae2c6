"""Settings: one frozen object from guardrail.toml, the environment and what the program passes."""

from __future__ import annotations

from guardrail.config.settings import (
    ENVIRONMENT,
    FILE_NAME,
    NO_SECTIONS,
    AccessSettings,
    AnchorSettings,
    ApprovalSettings,
    IdentitySettings,
    KeySettings,
    LedgerSection,
    LimitSettings,
    OpaSection,
    PolicySettings,
    RedactionSettings,
    RetentionSettings,
    Settings,
    access_rule,
    find,
)

__all__ = [
    "ENVIRONMENT",
    "FILE_NAME",
    "NO_SECTIONS",
    "AccessSettings",
    "AnchorSettings",
    "ApprovalSettings",
    "IdentitySettings",
    "KeySettings",
    "LedgerSection",
    "LimitSettings",
    "OpaSection",
    "PolicySettings",
    "RedactionSettings",
    "RetentionSettings",
    "Settings",
    "access_rule",
    "find",
]

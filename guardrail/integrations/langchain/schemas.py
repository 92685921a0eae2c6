"""Derives the schema of a governed tool from the tool's own schema by adding or removing fields."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

__all__ = ["extended", "without"]


def extended(schema: Any, more: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return *schema* with the fields *more* added. The values of *more* are pairs of annotation
    and default.
    """
    from pydantic import BaseModel, ConfigDict, RootModel, create_model

    # LangChain converts a JSON Schema to a model of a single value, which has no fields.
    bases = () if issubclass(schema, RootModel) else (schema,)
    body = {"model_config": ConfigDict(arbitrary_types_allowed=True), "__module__": __name__}
    base: Any = type(schema.__name__, bases or (BaseModel,), body)
    fields: dict[str, Any] = dict(more)
    return create_model(schema.__name__, __base__=base, **fields)


@functools.lru_cache(maxsize=256)
def without(schema: Any, names: frozenset[str]) -> Any:
    """Return *schema* without the fields in *names*."""
    from pydantic import ConfigDict, create_model

    kept: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in schema.model_fields.items()
        if name not in names
    }
    config = ConfigDict(arbitrary_types_allowed=True)
    return create_model(schema.__name__, __config__=config, __doc__=schema.__doc__, **kept)

"""If an error concerns a path that came from an environment variable, adds the variable's name to
the message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from guardrail.config import ENVIRONMENT
from guardrail.errors import GuardrailError

__all__ = ["naming_its_source", "with_source"]

_CONFIG = "GUARDRAIL_CONFIG"


def with_source(message: str, environment: Mapping[str, str] | None = None) -> str:
    """Return *message* with the name of the environment variable that set a path in it, unless
    *message* already contains such a name.
    """
    environment = os.environ if environment is None else environment
    for variable in (_CONFIG, *ENVIRONMENT):
        value = environment.get(variable, "")
        # Only one of these variables can contain several paths. A path that contains the separator
        # matches as a whole.
        for path in filter(None, {value, *value.split(os.pathsep)}):
            forms = {os.path.abspath(path), os.path.realpath(path)}
            if os.sep in path or "." in path:  # a shorter value could be any word
                forms.add(path)
            if variable not in message and any(_names(message, form) for form in forms):
                return f"{message} (set by {variable})"
    return message


def _names(message: str, path: str) -> bool:
    return re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w/-])", message) is not None


@contextmanager
def naming_its_source() -> Generator[None]:
    """If an error raised inside the block concerns a path from an environment variable, add the
    variable's name to the message.
    """
    try:
        yield
    except GuardrailError as error:
        message = with_source(error.message)
        if message != error.message:
            error.message, error.args = message, (message,)
        raise

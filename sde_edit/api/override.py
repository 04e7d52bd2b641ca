"""How a value is written in an override, `key=value` in Hydra's grammar."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

# Texts that need no quotes: they cannot be read as a number, a list or an interpolation.
_PLAIN = re.compile(r"\.{0,2}/?[A-Za-z_][\w./:-]*( [\w./-]+)*", re.ASCII)
_WORDS = {"null", "true", "false", "nan", "inf"}


def override(key: str, value: object) -> str:
    """`key=value`, which reads back as the same value."""
    return f"{key}={format_override(value)}"


def format_override(value: Any) -> str:
    """A value in the syntax of overrides; a text is quoted where it could be read otherwise."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else quoted(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{format_override(own)}' for key, own in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(map(format_override, value))}]"
    return json.dumps(value)


def quoted(text: str) -> str:
    """The text in double quotes; a backslash is special only before a quote."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    trailing = re.search(r"\\*\Z", escaped)
    return f'"{escaped}{trailing[0] if trailing else ""}"'


def as_typed(key: str, text: str) -> str:
    """The override that gives this text, quoted for Hydra and for the shell."""
    return shlex.quote(f"{key}={quoted(text)}")

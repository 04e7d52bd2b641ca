"""Overrides `key=value` in Hydra's grammar: read, checked and expanded.

A text on the command line is text: `${...}` in it is not substituted. It must be quoted, as all
that the grammar gives a meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from sde_edit.api.override import as_typed, override
from sde_edit.errors import UserError, shown
from sde_edit.imaging.names import is_unicode
from sde_edit.report.selection import Setting

_MOST = 10_000  # values of one sweep


def read(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed. `+key` and `++key` mean `key`; `key_or_group` is without them.

    Raises UserError, with the right way to write it, for an override that cannot be read.
    """
    return [_read(line) for line in overrides]


@lru_cache(maxsize=4096)  # the combinations of a sweep share most of theirs
def _read(line: str) -> Override:
    if not is_unicode(line):
        raise UserError(f"{shown(line)}: is not UTF-8. Rename what it names")
    found = _parse(line)
    if found is None:
        raise UserError(_remedy(line))
    if found.is_delete():
        raise UserError(f"{line}: a setting cannot be removed, only given another value")
    if found.package is not None:
        raise UserError(f"{line}: a key has no '@'")
    if any("${" in text for text in _unquoted(found._value)):
        raise UserError(_remedy(line))
    return found


def _parse(line: str) -> Override | None:
    """None for what the grammar does not know."""
    try:
        (found,) = OverridesParser.create().parse_overrides([line])
    except (HydraException, ValueError, ArithmeticError, RecursionError):
        return None
    return found


def _remedy(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals or _parse(override(key, "x")) is None:
        return f"{line!r}: an override must be KEY=VALUE, such as steps=50"
    if value.startswith("~/") and not key.endswith("prompt"):  # a path
        return f'{line}: the shell leaves this ~ as it is; give "{key}=$HOME{value[1:]}"'
    return (
        f"{key}: {value} has characters with a meaning of their own. To give it as text, quote it "
        f"once for the override and once for the shell: {as_typed(key, value)}"
    )


def _unquoted(value: Any) -> Iterator[str]:
    """The texts without quotes anywhere in a parsed value."""
    if isinstance(value, ChoiceSweep):
        value = value.list
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _unquoted(part)
    elif isinstance(value, str) and not isinstance(value, QuotedString):
        yield value


def keyed(overrides: Sequence[str], prefixes: str | tuple[str, ...]) -> list[str]:
    """The overrides whose key begins with one of the prefixes."""
    found = [given for given in read(overrides) if given.key_or_group.startswith(prefixes)]
    return [str(given.input_line) for given in found]


# ------------------------------------------------------------------ sweeps
def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """All combinations of swept values: `steps=25,50 sampler=ode,sde` gives four."""
    combinations: list[tuple[str, ...]] = [()]
    for given in read(overrides):
        if given.is_sweep_override():
            values = [f"{given.key_or_group}={value}" for value in swept_values(given)]
        else:
            values = [str(given.input_line)]
        combinations = [(*done, value) for done in combinations for value in values]
    return combinations


def swept_values(given: Override) -> list[str]:
    """The values of a sweep, as texts. Raises UserError for a sweep without values."""
    try:
        values = list(islice(given.sweep_string_iterator(), _MOST + 1))
    except (HydraException, ValueError, ArithmeticError) as error:
        raise UserError(f"{given.input_line}: must list its values: {_LISTED}") from error
    if not 1 <= len(values) <= _MOST:
        raise UserError(f"{given.input_line}: must have 1 to {_MOST} values: {_LISTED}")
    return values


_LISTED = "KEY=A,B or KEY=range(START,STOP,STEP)"


def refuse_swept(given: Sequence[Override]) -> None:
    """Raises UserError for an override with several values."""
    if swept := [str(one.input_line) for one in given if one.is_sweep_override()]:
        quotes = [as_typed(*line.split("=", 1)) for line in swept]
        raise UserError(
            f"one value each, please: {', '.join(swept)}. "
            f"As text with its commas: {' '.join(quotes)}"
        )


def sweep(key: str, values: Sequence[Setting]) -> str:
    """`key=a,b`, which `expand` takes apart again."""
    return ",".join([override(key, values[0]), *(override("", v)[1:] for v in values[1:])])

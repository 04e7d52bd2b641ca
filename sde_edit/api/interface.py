"""What the base classes of plug-ins check when a plug-in is imported."""

from __future__ import annotations

import difflib
import inspect
from typing import Any


def refuse_unknown_names(cls: type[Any], base: type[Any]) -> None:
    """Raise TypeError, with the nearest name that exists, for a public name unknown to `base`.

    Without this check a misspelt method or constant would be ignored, and the default of `base`
    used in its place. Settings, which are annotated fields of `cls`, may have any name.
    """
    annotations = inspect.get_annotations(cls)
    settings = {name for name, kind in annotations.items() if "ClassVar" not in str(kind)}
    known = {*dir(base), *inspect.get_annotations(base)}
    for name in sorted({*vars(cls), *annotations} - settings - known):
        if not name.startswith("_"):
            raise TypeError(
                f"{cls.__name__}.{name}: {base.__name__} has no such member."
                f"{_nearest(name, known)} A helper must be private or a function."
            )


def _nearest(name: str, known: set[str]) -> str:
    public = sorted(word for word in known if not word.startswith("_"))
    close = difflib.get_close_matches(name, public, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""

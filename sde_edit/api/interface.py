"""What the base classes of plug-ins check when a plug-in is imported."""

from __future__ import annotations

import difflib
from typing import Any


def refuse_unknown_names(cls: type[Any]) -> None:
    """Raise TypeError for a public method or constant of `cls` that its base classes do not know.

    Without this check a misspelt method or constant would be ignored, and the default of the base
    class used in its place. Settings, which are annotated fields, may have any name.
    """
    known = {name for base in cls.__mro__[1:] for name in _public_names(base)}
    for name in _public_names(cls) - _settings(cls) - known:
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "If it is a helper, call it _" + name
        raise TypeError(f"{cls.__qualname__}.{name}: no base class has this name. {hint}")


def _public_names(cls: type[Any]) -> set[str]:
    names = [*vars(cls), *_annotations(cls)]
    return {name for name in names if not name.startswith("_")}


def _settings(cls: type[Any]) -> set[str]:
    return {name for name, kind in _annotations(cls).items() if "ClassVar" not in str(kind)}


def _annotations(cls: type[Any]) -> dict[str, Any]:
    """Those in the body of the class alone, as strings or types."""
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found

"""Plug-ins are found by file name: `sde_edit/samplers/sde.py` is the sampler of kind `sde`.

A plug-in file defines one class marked by `@plugin`: a frozen dataclass whose fields are the
settings that its YAML may give. Listing reads file names and docstrings and imports nothing, so
that `sde-edit list` stays fast.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sde_edit.errors import UserError

GROUPS = (
    *("tasks", "samplers", "models", "datasets", "metrics"),
    *("tables", "figures", "launchers"),
)


_ROOT = Path(__file__).parent
_PLACE = {"tables": "report.tables", "figures": "report.figures", "launchers": "engine.launchers"}
T = TypeVar("T")


def strict(cls: type[T]) -> type[T]:
    """Mark a dataclass of settings: unknown ones are refused, none are coerced."""
    cls.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
    return cls


def plugin(cls: type[T]) -> type[T]:
    """Mark the class of a plug-in file, whose fields are settings as in `strict`."""
    cls.__plugin__ = True  # type: ignore[attr-defined]
    return strict(cls)


def conf_dir() -> Path:
    """The YAML groups: inside the installed package, or beside it in a checkout."""
    return _ROOT / "conf" if (_ROOT / "conf").is_dir() else _ROOT.parent / "conf"


def names(group: str) -> list[str]:
    """The names that a YAML group offers."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def groups() -> list[str]:
    """The YAML groups."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())


def listing(group: str) -> dict[str, str]:
    """Name -> one line on it: the YAML's leading comment, else its plug-in's first line."""
    return {name: _describe(group, name) for name in names(group)}


def _describe(group: str, name: str) -> str:
    text = (conf_dir() / group / f"{name}.yaml").read_text()
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    if words := [line for line in comments if not line.startswith("@package")]:
        return words[0]
    kind = re.search(r"^kind: *(\w+)", text, re.MULTILINE)
    package = {"data": "datasets"}.get(group, f"{group}s")
    return kinds(package).get(kind.group(1), "") if kind and package in GROUPS else ""


def kinds(group: str) -> dict[str, str]:
    """Kind -> first line of its file's docstring."""
    files = sorted((_ROOT / _PLACE.get(group, group).replace(".", "/")).glob("[!_]*.py"))
    return {file.stem: _first_line(file) for file in files}


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]


def suggest(word: str, known: list[str]) -> str:
    """' Did you mean X?' and the known words: the tail of an error about a name."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."


def plugin_class(group: str, kind: str) -> type[Any]:
    """The class of a kind. Raises UserError with the nearest name if there is none."""
    if kind not in kinds(group):
        raise UserError(f"no {group[:-1]} {kind!r}.{suggest(kind, list(kinds(group)))}")
    module = import_module(f"sde_edit.{_PLACE.get(group, group)}.{kind}")
    classes = [
        value
        for value in vars(module).values()
        if "__plugin__" in getattr(value, "__dict__", {}) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define exactly one @plugin class")
    found: type[Any] = classes[0]
    return found


def build(group: str, kind: str, params: Mapping[str, Any]) -> Any:
    """The plug-in of a kind with its settings. Raises UserError naming a wrong key or value."""
    return settings(plugin_class(group, kind), params, of=f"{group[:-1]} {kind!r}")


def settings(cls: type[T], params: Mapping[str, Any], *, of: str) -> T:
    """A dataclass marked by `strict`, from a YAML's values. Raises UserError naming a wrong key or
    value of what `of` names."""
    try:
        return TypeAdapter(cls).validate_json(json.dumps(dict(params)))
    except ValidationError as error:
        fields = list(cls.__dataclass_fields__)  # type: ignore[attr-defined]
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            tail = suggest(key, fields) if problem["type"] == "unexpected_keyword_argument" else ""
            lines.append(f"{key}: {problem['msg']}.{tail}")
        raise UserError(f"{of}: " + " ".join(lines)) from None

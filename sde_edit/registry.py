"""Plug-ins are found by file name: `sde_edit/samplers/sde.py` is the sampler of kind `sde`.

A plug-in file defines one class marked with `@plugin`: a frozen dataclass whose fields are the
settings that its YAML may give. Listing plug-ins reads file names and docstrings but imports
nothing, so that `sde-edit list` stays fast.
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

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.errors import UserError

GROUPS = (
    *("tasks", "samplers", "models", "datasets", "metrics"),
    *("tables", "figures", "launchers"),
)

_ROOT = Path(__file__).parent
_PLACE = {"tables": "report.tables", "figures": "report.figures", "launchers": "engine.launchers"}
T = TypeVar("T")


def strict(cls: type[T]) -> type[T]:
    """Decorator for a dataclass of settings: refuse unknown fields and convert no types."""
    cls.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
    return cls


def plugin(cls: type[T]) -> type[T]:
    """Decorator for the class of a plug-in file; its fields are settings as in `strict`."""
    cls.__plugin__ = True  # type: ignore[attr-defined]
    return strict(cls)


def conf_dir() -> Path:
    """The folder of the YAML groups: inside the installed package, or beside it in a checkout."""
    return _ROOT / "conf" if (_ROOT / "conf").is_dir() else _ROOT.parent / "conf"


def names(group: str) -> list[str]:
    """The names in a YAML group."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def groups() -> list[str]:
    """The YAML groups."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())


def listing(group: str) -> dict[str, str]:
    """Name -> its description: the YAML's leading comment, else the plug-in's first line."""
    return {name: _describe(group, name) for name in names(group)}


def _describe(group: str, name: str) -> str:
    text = (conf_dir() / group / f"{name}.yaml").read_text()
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    if words := [line for line in comments if not line.startswith("@package")]:
        return words[0]
    kind = re.search(r"^kind: *(\w+)", text, re.MULTILINE)
    package = _plugin_group(group)
    return _first_line(_package(package) / f"{kind[1]}.py") if kind and package in GROUPS else ""


def citations(group: str) -> dict[str, Citation]:
    """Name -> the paper that describes it: the YAML's `cites`, else its plug-in's citation.

    Names that no paper describes are left out. Like `listing`, this reads files and imports nothing
    but the papers.
    """
    found = {name: _citation(group, name) for name in names(group)}
    return {name: citation for name, citation in found.items() if citation}


def _citation(group: str, name: str) -> Citation | None:
    text = (conf_dir() / group / f"{name}.yaml").read_text()
    if key := re.search(r"^cites: *(\w+)", text, re.MULTILINE):
        paper: Citation = getattr(papers, key[1].upper())
        return paper
    kind = re.search(r"^kind: *(\w+)", text, re.MULTILINE)
    package = _plugin_group(group)
    return _cited_in(_package(package) / f"{kind[1]}.py") if kind and package in GROUPS else None


def _cited_in(file: Path) -> Citation | None:
    """What the class in a plug-in file assigns to `citation`: one of `papers`, or its own."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.AnnAssign(
                target=ast.Name(id="citation"), value=ast.Attribute(value=ast.Name(id="papers"))
            ):
                found: Citation = getattr(papers, node.value.attr)  # type: ignore[union-attr]
                return found
            case ast.AnnAssign(target=ast.Name(id="citation"), value=ast.Call(keywords=given)):
                return Citation(**{k.arg: ast.literal_eval(k.value) for k in given if k.arg})
    return None


def _plugin_group(group: str) -> str:
    return {"data": "datasets"}.get(group, f"{group}s")


def kinds(group: str) -> dict[str, str]:
    """Kind -> first line of its file's docstring. It reads all plug-in files of the group."""
    return {file.stem: _first_line(file) for file in _plugin_files(group)}


def _plugin_files(group: str) -> list[Path]:
    return sorted(_package(group).glob("[!_]*.py"))


def _package(group: str) -> Path:
    return _ROOT / _PLACE.get(group, group).replace(".", "/")


def _first_line(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]


def suggest(word: str, known: list[str]) -> str:
    """The end of an error about a name: ' Did you mean X?' and the known names."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."


def plugin_class(group: str, kind: str) -> type[Any]:
    """The plug-in class of a kind. Raises UserError with the nearest name if there is none."""
    is_name = kind.isidentifier() and not kind.startswith("_")
    if not (is_name and (_package(group) / f"{kind}.py").is_file()):
        known = [file.stem for file in _plugin_files(group)]
        raise UserError(f"no {group[:-1]} {kind!r}.{suggest(kind, known)}")
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
    """Build a plug-in from its settings. Raises UserError naming a wrong key or value."""
    return settings(plugin_class(group, kind), params, of=f"{group[:-1]} {kind!r}")


def settings(cls: type[T], params: Mapping[str, Any], *, of: str) -> T:
    """Build a `strict` dataclass from the values of a YAML file.

    of: what the settings belong to, for the message. Raises UserError naming a wrong key or value.
    """
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

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
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.override import as_typed, format_override
from sde_edit.errors import UserError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

GROUPS = (
    *("tasks", "samplers", "models", "datasets", "metrics"),
    *("tables", "figures", "launchers"),
)

_ROOT = Path(__file__).parent
_PLACE = {"tables": "report.tables", "figures": "report.figures", "launchers": "engine.launchers"}
T = TypeVar("T")

# Types of settings.
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]  # a path "" would be the current folder

# Metadata {"identity": ...} of a setting: False keeps it out of run ids, and this one its default.
UNLESS_DEFAULT = "unless default"


def strict(cls: type[T]) -> type[T]:
    """Decorator for a dataclass of settings: refuse unknown fields and convert no types."""
    rules = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    cls.__pydantic_config__ = rules  # type: ignore[attr-defined]
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
    package = plugin_group(group)
    return _first_line(_package(package) / f"{kind[1]}.py") if kind and package else ""


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
    package = plugin_group(group)
    return _cited_in(_package(package) / f"{kind[1]}.py") if kind and package else None


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


def plugin_group(group: str) -> str | None:
    """The plug-ins that a YAML group configures; None for a group of plain values."""
    package = {"data": "datasets"}.get(group, f"{group}s")
    return package if package in GROUPS else None


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


def build(group: str, kind: str, params: Mapping[str, Any], *, under: str | None = None) -> Any:
    """Build a plug-in from its settings. Raises UserError naming a wrong key or value.

    under: as in `settings`.
    """
    cls = plugin_class(group, kind)
    return settings(cls, params, of=f"{group[:-1]} {kind!r}", under=under)


def settings(cls: type[T], params: Mapping[str, Any], *, of: str, under: str | None = None) -> T:
    """Build a `strict` dataclass from values of a YAML file or of overrides.

    of: what the settings belong to, for the message. under: the prefix of their keys in overrides;
    None for settings that no override gives. Raises UserError naming a wrong key or value.
    """
    try:
        return TypeAdapter(cls).validate_json(json.dumps(dict(params)))
    except ValidationError as error:
        lines = [_problem(problem, cls, under) for problem in error.errors(include_url=False)]
        raise UserError(f"{of}: " + " ".join(lines)) from None


def _problem(problem: ErrorDetails, cls: type[Any], under: str | None) -> str:
    """What is wrong with one key, and what is allowed."""
    own, kind, value = ".".join(map(str, problem["loc"])), problem["type"], problem["input"]
    key = (under or "") + own
    if kind == "unexpected_keyword_argument":
        return f"{key}: {problem['msg']}.{suggest(own, [field.name for field in fields(cls)])}"
    if kind in ("missing", "missing_argument"):
        return f"{key}: must be given."
    allowed = _allowed(kind, problem.get("ctx", {}))
    said = f"must be {allowed}" if allowed else problem["msg"]
    quote = kind == "string_type" and value is not None
    hint = _as_text(key, value) if quote and under is not None else ""
    return f"{key}={_shown(value)}: {said}.{hint}"


def _allowed(kind: str, limits: Mapping[str, Any]) -> str | None:
    """What a value must be, for the common kinds of pydantic's errors."""
    return {
        **dict.fromkeys(("int_type", "int_from_float", "int_parsing"), "a whole number"),
        **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a finite number"),
        **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
        "string_type": "text",
        "string_too_short": "more than an empty text",
        "greater_than": f"above {limits.get('gt')}",
        "less_than": f"below {limits.get('lt')}",
        "greater_than_equal": f"at least {limits.get('ge')}",
        "less_than_equal": f"at most {limits.get('le')}",
        "literal_error": limits.get("expected"),
    }.get(kind)


def _as_text(key: str, value: Any) -> str:
    return f" To give it as text: {as_typed(key, _shown(value))}"


def _shown(value: Any) -> str:
    """The value as it is written in overrides."""
    return value if isinstance(value, str) else format_override(value)

"""Plug-ins are found by file name: `samplers/sde.py` in one of the places is the sampler `sde`.

A plug-in file defines one class marked with `@plugin`: a frozen dataclass whose fields are the
settings that its YAML may give. Listing plug-ins reads file names and docstrings but imports
nothing, so that `sde-edit list` stays fast.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import traceback
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sde_edit.api import papers
from sde_edit.api.citation import Citation
from sde_edit.api.override import as_typed, format_override
from sde_edit.errors import UserError
from sde_edit.places import GROUPS, own, places

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
    """The folder of this package's YAML groups."""
    return own().conf


def names(group: str) -> list[str]:
    """The names in a YAML group."""
    return sorted(configs(group))


def configs(group: str) -> dict[str, Path]:
    """Name -> file, of the YAML group in all places."""
    return {name: file for place in places() for name, file in place.configs(group).items()}


@cache
def groups() -> tuple[str, ...]:
    """The YAML groups."""
    return tuple(sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir()))


def listing(group: str) -> dict[str, str]:
    """Name -> its description: the YAML's leading comment, else the plug-in's first line."""
    return {name: _describe(group, file) for name, file in sorted(configs(group).items())}


def _describe(group: str, config: Path) -> str:
    comments = [line.lstrip("# ") for line in _text(config).splitlines() if line.startswith("#")]
    if words := [line for line in comments if not line.startswith("@package")]:
        return words[0]
    file = _plugin_of(group, config)
    return _first_line(file) if file else ""


def citations(group: str) -> dict[str, Citation]:
    """Name -> the paper that describes it: the YAML's `cites`, else its plug-in's citation.

    Names that no paper describes are left out. Like `listing`, this reads files and imports nothing
    but the papers.
    """
    found = {name: _citation(group, file) for name, file in sorted(configs(group).items())}
    return {name: citation for name, citation in found.items() if citation}


def _citation(group: str, config: Path) -> Citation | None:
    if key := re.search(r"^cites: *(\w+)", _text(config), re.MULTILINE):
        return _paper(key[1].upper(), config)
    file = _plugin_of(group, config)
    return _cited_in(file) if file else None


def _cited_in(file: Path) -> Citation | None:
    """What the class in a plug-in file assigns to `citation`: one of `papers`, or its own."""
    for node in ast.walk(_parsed(file)):
        match node:
            case ast.AnnAssign(
                target=ast.Name(id="citation"),
                value=ast.Attribute(value=ast.Name(id="papers"), attr=name),
            ):
                return _paper(name, file)
            case ast.AnnAssign(target=ast.Name(id="citation"), value=ast.Call(keywords=given)):
                return _own_paper(given, file)
    return None


def _paper(name: str, file: Path) -> Citation:
    if not isinstance(found := getattr(papers, name, None), Citation):
        raise UserError(f"{file}: sde_edit/api/papers.py has no paper {name}")
    return found


def _own_paper(given: list[ast.keyword], file: Path) -> Citation:
    try:
        return Citation(**{k.arg: ast.literal_eval(k.value) for k in given if k.arg})
    except (TypeError, ValueError) as error:
        raise UserError(f"{file}: its citation is not written in plain values: {error}") from error


def plugin_group(group: str) -> str | None:
    """The plug-ins that a YAML group configures; None for a group of plain values."""
    package = {"data": "datasets"}.get(group, f"{group}s")
    return package if package in GROUPS else None


def _plugin_of(group: str, config: Path) -> Path | None:
    """The file of the plug-in that a YAML names; None for a group without plug-ins."""
    package = plugin_group(group)
    kind = re.search(r"^kind: *(\w+)", _text(config), re.MULTILINE)
    if not package or not kind:
        return None
    known = _kind_files(package)
    if kind[1] not in known:
        raise UserError(f"{config}: no {group} kind {kind[1]!r}.{suggest(kind[1], sorted(known))}")
    return known[kind[1]]


def kinds(group: str) -> dict[str, str]:
    """Kind -> first line of its file's docstring. It reads all plug-in files of the group."""
    return {kind: _first_line(file) for kind, file in sorted(_kind_files(group).items())}


def _kind_files(group: str) -> dict[str, Path]:
    return {kind: file for place in places() for kind, file in place.kinds(group).items()}


def _first_line(file: Path) -> str:
    return (ast.get_docstring(_parsed(file)) or "").split("\n")[0]


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(_text(file))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: is no Python: {error}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from error


def suggest(word: str, known: list[str]) -> str:
    """The end of an error about a name: ' Did you mean X?' and the known names."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{hint} Known: {', '.join(known)}."


def plugin_class(group: str, kind: str) -> type[Any]:
    """The plug-in class of a kind. Raises UserError with the nearest name if there is none, and
    with the file if it is not of this package and cannot be imported."""
    for place in places():
        if kind in place.kinds(group):
            name = place.module(group, kind)
            module = (
                import_module(name) if place == own() else _imported(name, place.kinds(group)[kind])
            )
            return _only_class(module)
    raise UserError(f"no {group[:-1]} {kind!r}.{suggest(str(kind), sorted(_kind_files(group)))}")


def _imported(name: str, file: Path) -> ModuleType:
    """The module of a plug-in from outside, whose author needs the line at fault, not our stack."""
    try:
        return import_module(name)
    except Exception as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)
        ]
        where = f"{file}, line {lines[-1]}" if lines else str(file)
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error


def _only_class(module: ModuleType) -> type[Any]:
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and "__plugin__" in vars(value)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise UserError(
            f"{module.__file__}: must define one class marked @plugin, has {len(classes)}"
        )
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
        built: T = _adapter(cls).validate_json(json.dumps(dict(params)))  # type: ignore[arg-type]
        return built
    except ValidationError as error:
        lines = [_problem(problem, cls, under) for problem in error.errors(include_url=False)]
        raise UserError(f"{of}: " + " ".join(lines)) from None


@cache
def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


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

"""`sde-edit show`: the settings of a choice, and where the values of a config come from."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from sde_edit.api.override import format_override
from sde_edit.config import RUN_KEYS, RUN_TYPES, Run, compose_config, defaults_of, group_file
from sde_edit.errors import UserError
from sde_edit.overrides import read
from sde_edit.registry import (
    citations,
    conf_dir,
    configs,
    groups,
    listing,
    plugin_class,
    plugin_group,
    suggest,
)
from sde_edit.report.claims import Claim

_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_NOT_SETTINGS = ("name", "kind", "cites", "defaults")
_WHOLE_CONFIG = (
    "claim",
    "experiment",
    "metric",
    "table",
)  # their keys are no overrides of the group


@dataclass(frozen=True)
class SettingHelp:
    """One setting of a choice; `default` and `type` as they are written in overrides."""

    key: str
    default: str
    type: str
    meaning: str


@dataclass(frozen=True)
class ChoiceHelp:
    """A choice such as task=drag: its description, its settings, and its plug-in's docstring."""

    group: str
    name: str
    description: str
    settings: Sequence[SettingHelp]
    details: str
    citation: str


# ------------------------------------------------------------------ one choice
def describe_choice(group: str, name: str, overrides: Sequence[str] = ()) -> ChoiceHelp:
    """The help of conf/<group>/<name>.yaml. Raises UserError with the nearest name.

    overrides: the other choices, on which defaults of a task depend.
    """
    if group not in groups():
        raise UserError(f"no group {group!r}.{suggest(group, list(groups()))}")
    raw = group_file(group, name)
    cls = _plugin(group, raw)
    paper = citations(group).get(name)
    return ChoiceHelp(
        group,
        name,
        listing(group)[name],
        list(_settings(group, name, raw, cls, overrides)),
        _details(cls),
        str(paper) if paper else "",
    )


def describe_run(keys: Sequence[str], overrides: Sequence[str]) -> list[SettingHelp]:
    """The help of keys of conf/config.yaml that are in no group, such as `steps`, with the defaults
    that these overrides give."""
    values, comments = defaults_of(keys, overrides), _comments(conf_dir() / "config.yaml")
    types = get_type_hints(Run, include_extras=True)
    return [SettingHelp(k, _written(values[k]), type_words(types[k]), comments[k]) for k in keys]


def _plugin(group: str, raw: Mapping[str, Any]) -> type[Any] | None:
    """The class whose fields are the settings; None for groups of plain values."""
    if group == "claim":
        return Claim
    package = plugin_group(group)
    return plugin_class(package, raw["kind"]) if package and "kind" in raw else None


def _settings(
    group: str,
    name: str,
    raw: Mapping[str, Any],
    cls: type[Any] | None,
    overrides: Sequence[str],
) -> Iterator[SettingHelp]:
    comments = _comments(configs(group)[name])
    declaring = [one for one in (RUN_TYPES.get(group), cls) if one]
    hints = {k: v for one in declaring for k, v in get_type_hints(one, include_extras=True).items()}
    own = {f.name: f for f in dataclasses.fields(cls)} if cls else {}
    documented = _documented(cls, list(own)) if cls else {}
    for key in dict.fromkeys([*raw, *own]):
        if key in _NOT_SETTINGS:
            continue
        value = raw[key] if key in raw else _default(own[key])
        meaning = comments.get(key) or documented.get(key) or RUN_KEYS.get(group, {}).get(key, "")
        if group == "task" and isinstance(value, str) and "${" in value:
            value = defaults_of([f"task.{key}"], [*overrides, f"task={name}"]).get(f"task.{key}")
            meaning += "" if overrides else ". Shown for the default model and data"
        kind = type_words(hints[key]) if key in hints else _kind_of(value)
        yield SettingHelp(_prefixed(group, key), _written(value), kind, meaning)


def _prefixed(group: str, key: str) -> str:
    """The key of the override that sets it. Presets and hardware give keys of the whole config."""
    return key if group in _WHOLE_CONFIG else f"{group}.{key}"


def _default(setting: dataclasses.Field[Any]) -> Any:
    if setting.default is not dataclasses.MISSING:
        return setting.default
    if setting.default_factory is not dataclasses.MISSING:
        return setting.default_factory()
    return "???"


def _written(value: Any) -> str:
    if value == "???":
        return "(must be given)"
    return value if isinstance(value, str) and value else format_override(value)


def _kind_of(value: Any) -> str:
    """The type of a value for which no plug-in declares one."""
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(
        type(value), "list" if isinstance(value, list) else ""
    )


def type_words(hint: Any) -> str:
    """A type of a setting in words, such as `whole number, at least 1, or null`."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *limits = get_args(hint)
        return ", ".join([type_words(inner), *_limits(limits)])
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(part) for part in get_args(hint))
    if origin is Literal:
        return " | ".join(map(str, get_args(hint)))
    words = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "true or false",
        types.NoneType: "null",
    }
    if hint in words:
        return words[hint]
    mapping = origin in (dict, Mapping) or dataclasses.is_dataclass(hint)
    return "mapping" if mapping else "list"


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    for part in (own for field in metadata for own in getattr(field, "metadata", [field])):
        for name, words in _LIMITS.items():
            if hasattr(part, name):
                yield f"{words} {getattr(part, name)}"
        if getattr(part, "min_length", 0):
            yield "not empty"


def _comments(file: Path) -> dict[str, str]:
    """The comments behind the keys of a YAML file, with the comment lines that continue them."""
    found: dict[str, str] = {}
    key = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if given := re.match(r"(\w+):.*?\s#\s*(.*)$", line):
            key, found[given[1]] = given[1], given[2]
        elif key and (more := re.match(r"\s+#\s*(.*)$", line)):
            found[key] += " " + more[1]
        else:
            key = ""
    return found


def _documented(cls: type[Any], keys: Sequence[str]) -> dict[str, str]:
    """What the docstring says of settings: `key: text` or `key    text`, to the next of them."""
    found: dict[str, str] = {}
    current: list[str] = []
    for line in (getdoc(cls) or "").splitlines():
        given = re.match(r"((?:\w+, )*\w+)(?:(?::\s|\s{2,})\s*(\S.*))?$", line)
        named = [key for key in given[1].split(", ") if key in keys] if given else []
        if given and named:
            current = named
            found |= dict.fromkeys(named, given[2] or "")
        elif current and line.strip():
            found |= {key: f"{found[key]} {line.strip()}".strip() for key in current}
        else:
            current = []
    return found


def _details(cls: type[Any] | None) -> str:
    """The docstring, unless it is the one that every dataclass has."""
    text = getdoc(cls) or "" if cls else ""
    return "" if cls and text.startswith(f"{cls.__name__}(") else text


def in_words(choice: ChoiceHelp) -> str:
    """The help as text for a terminal."""
    head = f"{choice.group}={choice.name}: {choice.description}".rstrip(": ")
    lines = [head, *([choice.citation] if choice.citation else [])]
    for setting in choice.settings:
        kind = f"  ({setting.type})" if setting.type else ""
        lines += ["", f"  {setting.key}={setting.default}{kind}"]
        lines += [f"      {line}" for line in wrap(setting.meaning, 90)]
    if choice.details:
        lines += ["", *choice.details.splitlines()]
    return "\n".join(lines)


# ------------------------------------------------------------------ the whole config
@dataclass(frozen=True)
class Value:
    """A value of the composed config. source: what set it."""

    key: str
    value: str
    source: str


def composed_values(overrides: Sequence[str]) -> list[Value]:
    """Every value of the config that these overrides give. Raises UserError for wrong ones."""
    config = compose_config(overrides)
    given = {one.key_or_group for one in read(overrides)}
    chosen = _choices(overrides)
    preset = chosen.get("experiment")
    of_preset = set(_keys(group_file("experiment", preset))) if preset else set()
    values = []
    for key in _keys(config):
        value = _at(config, key)
        if any(key == one or key.startswith(f"{one}.") for one in given - set(groups())):
            source = "command line"
        elif key in of_preset:
            source = f"experiment={preset}"
        else:
            group = key.partition(".")[0]
            source = f"conf/{group}/{chosen[group]}.yaml" if group in chosen else "conf/config.yaml"
        values.append(Value(key, _written(value), source))
    return values


def _keys(config: Mapping[str, Any], under: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{under}{key}.")
        else:
            yield f"{under}{key}"


def _at(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def _choices(overrides: Sequence[str]) -> dict[str, str]:
    """Group -> the name that is chosen: by an override, by the preset, or by conf/config.yaml."""
    chosen = _defaults_of(OmegaConf.load(conf_dir() / "config.yaml"))
    typed = {one.key_or_group: str(one.value()) for one in read(overrides)}
    preset = typed.get("experiment", "None")
    if preset != "None":
        chosen |= _defaults_of(OmegaConf.load(configs("experiment")[preset]))
    chosen |= {group: name for group, name in typed.items() if group in groups()}
    return {group: name for group, name in chosen.items() if name != "None"}


def _defaults_of(config: Any) -> dict[str, str]:
    """The choices in Hydra's list of defaults."""
    entries = [entry for entry in config.get("defaults", []) if not isinstance(entry, str)]
    return {
        str(group).removeprefix("override /"): str(name)
        for entry in entries
        for group, name in entry.items()
    }

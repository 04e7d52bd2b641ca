"""Turns overrides into a composed config and a frozen spec. The only module that imports hydra.

The YAML of a group holds `name` (label in tables), `kind` (plug-in), the settings of the plug-in,
and for `model` and `data` a few keys that concern the run and not the plug-in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sde_edit.api.dataset import Dataset
from sde_edit.api.experiment import Experiment, Settings
from sde_edit.api.launcher import Launcher
from sde_edit.api.metric import NamedMetric
from sde_edit.api.sampler import ExternalOutputs
from sde_edit.api.spec import ComponentSpec, RunSpec, dtype_name
from sde_edit.api.task import Task
from sde_edit.errors import UserError
from sde_edit.imaging.subset import Subset
from sde_edit.registry import build, conf_dir, names, suggest
from sde_edit.report.selection import Setting, format_override

# Keys of a group's YAML that are not settings of its plug-in.
_RUN_KEYS = {
    "model": {"dtype", "batch_size", "plain_guidance"},
    "data": {"limit", "prompt", "metrics"},
}


_GROUPS = {"task": "tasks", "sampler": "samplers", "model": "models", "data": "datasets"}
_PACKAGES = _GROUPS | {"launcher": "launchers"}


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved config of one set of overrides. Raises UserError for an unknown key or name."""
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("config", overrides=list(overrides))
        if missing := sorted(OmegaConf.missing_keys(config)):
            example = " ".join(f"{key}=..." for key in missing)
            raise UserError(f"config: {', '.join(missing)} must be given: {example}")
        resolved: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"config: {error}") from error
    return resolved


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(f"config: {error}") from error


def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """All combinations of swept values: `steps=25,50 sampler=ode,sde` gives four."""
    combinations: list[tuple[str, ...]] = [()]
    for override in _parse(overrides):
        if override.is_sweep_override():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            values = [str(override.input_line)]
        combinations = [(*done, value) for done in combinations for value in values]
    return combinations


def with_values(overrides: Sequence[str], key: str, values: Sequence[Setting]) -> tuple[str, ...]:
    """The overrides with `key` swept over the values, in place of the value it has there."""
    rest = [str(o.input_line) for o in _parse(overrides) if o.get_key_element() != key]
    return (*rest, f"{key}={','.join(map(_quoted, values))}")


def parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """Key -> value of overrides without sweeps. Raises UserError for a swept value."""
    read = _parse(overrides)
    if swept := [o.input_line for o in read if o.is_sweep_override()]:
        raise UserError(f"one value each, please: {', '.join(str(line) for line in swept)}")
    values: dict[str, Any] = _full_dtypes({o.key_or_group: o.value() for o in read})
    return values


def experiment(overrides: Sequence[str]) -> Experiment:
    """Compose, validate and freeze an experiment. Raises UserError before any expensive work."""
    config = compose_config(overrides)
    plugins = {group: _build(group, config[group]) for group in _GROUPS}
    metrics = tuple(metric(name) for name in config["metrics"] or ())
    settings = _settings(config)
    if isinstance(plugins["sampler"], ExternalOutputs):
        dataset = _with_outputs(plugins["sampler"], plugins["data"], settings.limit)
        excluded = len(plugins["data"].ids()) - len(dataset.ids())
        spec = _external_spec(config, plugins, dataset)
    else:
        _check_way_back(config, plugins)
        _check_sampler(config, plugins["task"])
        dataset, excluded, spec = plugins["data"], 0, _spec(config, plugins)
    return Experiment(
        spec=spec,
        task=plugins["task"],
        sampler=plugins["sampler"],
        source=plugins["model"],
        dataset=dataset,
        metrics=metrics,
        settings=settings,
        overrides=tuple(overrides),
        excluded=excluded,
    )


def _spec(config: Mapping[str, Any], plugins: Mapping[str, Any]) -> RunSpec:
    return RunSpec(
        **{group: _component(group, config[group], plugins[group]) for group in _GROUPS},
        steps=config["steps"],
        spacing=config["grid"]["spacing"],
        last_sigma=config["grid"]["last_sigma"],
        dtype=dtype_name(str(config["dtype"])),
        seed=config["seed"],
    )


def _external_spec(
    config: Mapping[str, Any], plugins: Mapping[str, Any], dataset: Dataset
) -> RunSpec:
    """The spec of external outputs. It leaves out the network, the steps and the task's settings,
    which did not influence the images; the weights need not exist.
    """
    task, sampler = config["task"], _component("sampler", config["sampler"], plugins["sampler"])
    return RunSpec(
        task=ComponentSpec(task["name"], task["kind"], 0),
        sampler=replace(sampler, digest=plugins["sampler"].digest(dataset.ids())),
        model=ComponentSpec("none", "", 0),
        data=_component("data", config["data"], plugins["data"]),
        steps=0,
        spacing="",
        last_sigma="",
        dtype="",
        seed=0,
    )


def _with_outputs(outputs: ExternalOutputs, dataset: Dataset, limit: int | None) -> Dataset:
    """The data set without the examples that have no output."""
    ids = dataset.ids()
    available = outputs.available(ids, limit)
    return dataset if len(available) == len(ids) else Subset(dataset, tuple(available))


def _check_way_back(config: Mapping[str, Any], plugins: Mapping[str, Any]) -> None:
    if plugins["task"].inverts and plugins["sampler"].inversion == "none":
        task, sampler = config["task"]["name"], config["sampler"]["name"]
        raise UserError(
            f"task={task} goes from the image to noise and back, and sampler={sampler} has no way "
            "to noise: use ode, sde, bdia or edict"
        )


def _check_sampler(config: Mapping[str, Any], task: Task) -> None:
    kinds, sampler = task.samplers, config["sampler"]
    if kinds and sampler["kind"] not in kinds:
        raise UserError(
            f"task={config['task']['name']} does not work with sampler={sampler['name']}: "
            f"use sampler={' or '.join(kinds)}"
        )


def metric(name: str) -> NamedMetric:
    """The metric of conf/metric/<name>.yaml. Raises UserError with the nearest name."""
    raw = group_file("metric", name)
    plugin = build("metrics", raw["kind"], plugin_settings("metric", raw))
    return NamedMetric(_component("metric", raw, plugin), plugin)


def group_file(group: str, name: str) -> dict[str, Any]:
    """conf/<group>/<name>.yaml, not composed. Raises UserError with the nearest name."""
    file = conf_dir() / group / f"{name}.yaml"
    if name not in names(group):
        raise UserError(f"no {group} {name!r}.{suggest(name, names(group))}")
    raw: dict[str, Any] = _full_dtypes(OmegaConf.to_container(OmegaConf.load(file)))
    return raw


def _full_dtypes(value: Any, key: str = "") -> Any:
    """The config with every dtype named as in specs, so that a table's bf16 matches its runs."""
    if isinstance(value, dict):
        return {inner: _full_dtypes(own, inner) for inner, own in value.items()}
    if isinstance(value, list):
        return [_full_dtypes(own, key) for own in value]
    return dtype_name(value) if key == "dtype" and isinstance(value, str) else value


def launcher(overrides: Sequence[str]) -> Launcher:
    """The launcher that the overrides choose; local workers by default."""
    raw = compose_config([o for o in overrides if o.startswith("launcher")])["launcher"]
    built: Launcher = _build("launcher", raw)
    return built


def sweep_overrides(
    overrides: Sequence[str],
) -> tuple[list[tuple[str, ...]], dict[str, dict[str, Any]]]:
    """The combinations of a sweep, and name -> config of the tables that it names.

    `table=table2` stands for the grid of that table; without it the overrides are the grid.
    Overrides of the launcher are ignored.
    """
    read = [o for o in _parse(overrides) if not o.get_key_element().startswith("launcher")]
    rest = [str(o.input_line) for o in read if o.get_key_element() != "table"]
    named = [o for o in read if o.get_key_element() == "table"]
    if not named:
        return expand(rest), {}
    combinations: list[tuple[str, ...]] = []
    tables: dict[str, dict[str, Any]] = {}
    for choice in named:
        values = choice.sweep_string_iterator() if choice.is_sweep_override() else [choice.value()]
        for name in map(str, values):
            tables[name], own = table_config(name, rest)
            if "runs" not in tables[name]:
                raise UserError(f"{name} needs no runs: sde-edit table {name}")
            for grid in table_grids(tables[name]):
                combinations += expand([*grid, *own])
    return combinations, tables


def table_config(name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The config of a table with overrides applied, and the overrides that do not concern it.

    An override applies to the table's grid and to arms that set the same key. Raises UserError for
    a key in which the arms differ.
    """
    config, rest = group_file("table", name), []
    arms = [arm["set"] for arm in config.get("arms", ())]
    for override in _parse(overrides):
        key = override.get_key_element()
        own = [arm for arm in arms if key in arm]
        if any(arm[key] != own[0][key] for arm in own):
            raise UserError(f"{override.input_line}: {key} tells the arms of {name} apart")
        swept = override.is_sweep_override()
        values = list(override.sweep_iterator()) if swept else [override.value()]
        asked = [grid for grid in (config.get("runs", {}), *own) if key in grid]
        for grid in asked:
            grid[key] = _full_dtypes(values, key)
        if not asked:
            rest.append(str(override.input_line))
    return config, rest


def table_grids(config: Mapping[str, Any]) -> list[list[str]]:
    """The grid of each arm of a table as overrides, swept values comma-separated."""
    arms = [arm["set"] for arm in config["arms"]]
    also = [f"{key}={format_override(value)}" for key, value in config.get("also", {}).items()]
    return [[*_as_overrides(config["runs"] | arm), *also] for arm in arms]


def _as_overrides(grid: Mapping[str, Any]) -> list[str]:
    swept = {key: v if isinstance(v, list) else [v] for key, v in grid.items()}
    return [f"{key}={','.join(map(_quoted, values))}" for key, values in swept.items()]


def _quoted(value: Setting) -> str:
    """A value in override syntax; unquoted braces as in {target} would be a dictionary."""
    plain = not isinstance(value, str) or re.fullmatch(r"[\w./:-]*", value)
    return str(format_override(value)) if plain else override("", str(value))[1:]


def override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, with any characters in a text."""
    if isinstance(value, str):
        escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)  # a backslash counts before a quote only
        trailing = re.search(r"\\*\Z", escaped)
        return f'{key}="{escaped}{trailing[0] if trailing else ""}"'
    return f"{key}={json.dumps(value)}"


def data_set(overrides: Sequence[str]) -> tuple[str, Dataset]:
    """Name and data set, for `data status`."""
    raw = compose_config(overrides)["data"]
    return raw["name"], _build("data", raw)


def chosen_data(overrides: Sequence[str]) -> tuple[ComponentSpec, Dataset]:
    """The data set and its spec. Raises UserError if it is not on this machine."""
    raw = compose_config(overrides)["data"]
    dataset = _build("data", raw)
    return _component("data", raw, dataset), dataset


def results_dir(overrides: Sequence[str]) -> Path:
    return Path(compose_config(overrides)["paths"]["results"])


def plugin_settings(group: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What of a YAML's values are settings of its plug-in."""
    others = {"name", "kind", "cites"} | _RUN_KEYS.get(group, set())
    return {key: value for key, value in raw.items() if key not in others}


def _build(group: str, raw: Mapping[str, Any]) -> Any:
    return build(_PACKAGES[group], raw["kind"], plugin_settings(group, raw))


def _component(group: str, raw: Mapping[str, Any], plugin: Any) -> ComponentSpec:
    """The spec of a plug-in: all settings that influence the images.

    Paths do not; the digest of the files does.
    """
    params = {
        f.name: getattr(plugin, f.name) for f in fields(plugin) if f.metadata.get("identity", True)
    }
    digest = plugin.digest() if group in ("model", "data") else ""
    return ComponentSpec(raw["name"], raw["kind"], plugin.version, params, digest)


def _settings(config: Mapping[str, Any]) -> Settings:
    hardware, limit = config["hardware"], config["data"].get("limit")
    numbers = {"data.limit": limit, "hardware.batch_size": hardware["batch_size"]}
    numbers |= {"steps": config["steps"], "shards": config["shards"]}
    for key, value in numbers.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UserError(f"{key}={value}: must be a whole number of at least 1")
    if not 0 <= config["shard"] < config["shards"]:
        raise UserError(
            f"shard={config['shard']}: must be from 0 to shards-1={config['shards'] - 1}"
        )
    return Settings(
        results=Path(config["paths"]["results"]),
        cache=Path(config["paths"]["cache"]),
        limit=limit,
        device=hardware["device"],
        compile=hardware["compile"],
        batch_size=hardware["batch_size"],
        loaders=hardware["loaders"],
        threads=hardware["threads"],
        shard=config["shard"],
        shards=config["shards"],
        wandb=config["wandb"],
    )

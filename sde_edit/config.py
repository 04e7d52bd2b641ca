"""Hydra at the edge: overrides -> composed config -> frozen spec. The only importer of hydra.

A group's YAML holds `name` (label in tables), `kind` (plug-in), the plug-in's own settings, and
for `model` and `data` a few keys that are about this run rather than about the plug-in.
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
from sde_edit.api.sampler import MadeElsewhere
from sde_edit.api.spec import Choice, RunSpec
from sde_edit.api.task import Task
from sde_edit.errors import UserError
from sde_edit.imaging.subset import Subset
from sde_edit.registry import build, conf_dir, names, suggest
from sde_edit.report.selection import Setting, literal

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
    """Every combination of swept values: `steps=25,50 sampler=ode,sde` gives four."""
    combinations: list[tuple[str, ...]] = [()]
    for override in _parse(overrides):
        if override.is_sweep_override():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            values = [str(override.input_line)]
        combinations = [(*done, value) for done in combinations for value in values]
    return combinations


def parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """Key -> value of overrides that give one value each. Raises UserError otherwise."""
    read = _parse(overrides)
    if swept := [o.input_line for o in read if o.is_sweep_override()]:
        raise UserError(f"one value each, please: {', '.join(str(line) for line in swept)}")
    return {o.key_or_group: o.value() for o in read}


def experiment(overrides: Sequence[str]) -> Experiment:
    """Compose, validate and freeze. Raises UserError before anything heavy is done."""
    config = compose_config(overrides)
    plugins = {group: _build(group, config[group]) for group in _GROUPS}
    metrics = tuple(metric(name) for name in config["metrics"] or ())
    settings = _settings(config)
    if isinstance(plugins["sampler"], MadeElsewhere):
        dataset = _with_images(plugins["sampler"], plugins["data"], settings.limit)
        left_out = len(plugins["data"].ids()) - len(dataset.ids())
        spec = _spec_elsewhere(config, plugins, dataset)
    else:
        _check_way_back(config, plugins)
        _check_sampler(config, plugins["task"])
        dataset, left_out, spec = plugins["data"], 0, _spec(config, plugins)
    return Experiment(
        spec=spec,
        task=plugins["task"],
        sampler=plugins["sampler"],
        source=plugins["model"],
        dataset=dataset,
        metrics=metrics,
        settings=settings,
        overrides=tuple(overrides),
        left_out=left_out,
    )


def _spec(config: Mapping[str, Any], plugins: Mapping[str, Any]) -> RunSpec:
    return RunSpec(
        **{group: _choice(group, config[group], plugins[group]) for group in _GROUPS},
        steps=config["steps"],
        spacing=config["grid"]["spacing"],
        last_sigma=config["grid"]["last_sigma"],
        dtype=config["dtype"],
        seed=config["seed"],
    )


def _spec_elsewhere(
    config: Mapping[str, Any], plugins: Mapping[str, Any], dataset: Dataset
) -> RunSpec:
    """What the overrides say of network, steps and the task's settings had no part in the images,
    so it is not said of them. The weights need not be there.
    """
    task, sampler = config["task"], _choice("sampler", config["sampler"], plugins["sampler"])
    return RunSpec(
        task=Choice(task["name"], task["kind"], 0),
        sampler=replace(sampler, digest=plugins["sampler"].digest(dataset.ids())),
        model=Choice("none", "", 0),
        data=_choice("data", config["data"], plugins["data"]),
        steps=0,
        spacing="",
        last_sigma="",
        dtype="",
        seed=0,
    )


def _with_images(images: MadeElsewhere, dataset: Dataset, limit: int | None) -> Dataset:
    """The data set, or what is left of it if examples without an image are left out."""
    ids = dataset.ids()
    there = images.there(ids, limit)
    return dataset if len(there) == len(ids) else Subset(dataset, tuple(there))


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
    plugin = build("metrics", raw["kind"], _plugin_settings("metric", raw))
    return NamedMetric(_choice("metric", raw, plugin), plugin)


def group_file(group: str, name: str) -> dict[str, Any]:
    """conf/<group>/<name>.yaml as it stands. Raises UserError with the nearest name."""
    file = conf_dir() / group / f"{name}.yaml"
    if not file.is_file():
        raise UserError(f"no {group} {name!r}.{suggest(name, names(group))}")
    raw: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(file))  # type: ignore[assignment]
    return raw


def launcher(overrides: Sequence[str]) -> Launcher:
    """The launcher that the overrides choose; local workers if none."""
    raw = compose_config([o for o in overrides if o.startswith("launcher")])["launcher"]
    built: Launcher = _build("launcher", raw)
    return built


def sweep_overrides(
    overrides: Sequence[str],
) -> tuple[list[tuple[str, ...]], dict[str, dict[str, Any]]]:
    """The combinations of a sweep, and table -> its config, for the tables asked for.

    `table=table2` stands for the grid of that table; without it the overrides are the grid. What
    concerns the launcher is left out.
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
    """conf/table/<name>.yaml with the overrides of its own grid applied, and those of its arms'
    settings to the arms that name the key; the other overrides.

    Raises UserError for a key that tells the arms apart.
    """
    config, rest = group_file("table", name), []
    arms = [arm["set"] for arm in config.get("arms", ()) if isinstance(arm, Mapping)]
    for override in _parse(overrides):
        key = override.get_key_element()
        own = [arm for arm in arms if key in arm]
        if any(arm[key] != own[0][key] for arm in own):
            raise UserError(f"{override.input_line}: {key} tells the arms of {name} apart")
        swept = override.is_sweep_override()
        values = list(override.sweep_iterator()) if swept else [override.value()]
        asked = [grid for grid in (config.get("runs", {}), *own) if key in grid]
        for grid in asked:
            grid[key] = values
        if not asked:
            rest.append(str(override.input_line))
    return config, rest


def table_grids(config: Mapping[str, Any]) -> list[list[str]]:
    """The grids of a table as overrides, swept values comma-separated: one, or one for each arm
    that has settings of its own."""
    arms = [arm["set"] for arm in config["arms"] if isinstance(arm, Mapping)]
    also = [f"{key}={literal(value)}" for key, value in config.get("also", {}).items()]
    return [[*_as_overrides(config["runs"] | arm), *also] for arm in arms or [{}]]


def _as_overrides(grid: Mapping[str, Any]) -> list[str]:
    swept = {key: v if isinstance(v, list) else [v] for key, v in grid.items()}
    return [f"{key}={','.join(map(_quoted, values))}" for key, values in swept.items()]


def _quoted(value: Setting) -> str:
    """As an override writes it; braces as in {target} would be a dictionary."""
    plain = not isinstance(value, str) or re.fullmatch(r"[\w./:-]*", value)
    return str(literal(value)) if plain else override("", str(value))[1:]


def override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, whatever characters a text has."""
    if isinstance(value, str):
        escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)  # a backslash counts before a quote only
        trailing = re.search(r"\\*$", escaped)
        return f'{key}="{escaped}{trailing[0] if trailing else ""}"'
    return f"{key}={json.dumps(value)}"


def data_set(overrides: Sequence[str]) -> tuple[str, Dataset]:
    """Name and data set alone, for `data status`."""
    raw = compose_config(overrides)["data"]
    return raw["name"], _build("data", raw)


def chosen_data(overrides: Sequence[str]) -> tuple[Choice, Dataset]:
    """The data set alone, and what identifies it. Raises UserError if it is not there."""
    raw = compose_config(overrides)["data"]
    dataset = _build("data", raw)
    return _choice("data", raw, dataset), dataset


def results_dir(overrides: Sequence[str]) -> Path:
    return Path(compose_config(overrides)["paths"]["results"])


def _plugin_settings(group: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if k not in {"name", "kind"} | _RUN_KEYS.get(group, set())}


def _build(group: str, raw: Mapping[str, Any]) -> Any:
    return build(_PACKAGES[group], raw["kind"], _plugin_settings(group, raw))


def _choice(group: str, raw: Mapping[str, Any], plugin: Any) -> Choice:
    """Every setting that decides the images; where files lie does not, their digest does."""
    params = {
        f.name: getattr(plugin, f.name) for f in fields(plugin) if f.metadata.get("identity", True)
    }
    digest = plugin.digest() if group in ("model", "data") else ""
    return Choice(raw["name"], raw["kind"], plugin.version, params, digest)


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

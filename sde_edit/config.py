"""Turns overrides into a composed config and a frozen spec. Hydra is used here and in `overrides`.

The YAML of a group holds `name` (label in tables), `kind` (plug-in), the settings of the plug-in,
and for `model` and `data` a few keys that concern the run and not the plug-in.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import Field as Setting
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException
from pydantic import Field
from yaml import YAMLError  # type: ignore[import-untyped]

from sde_edit.api.dataset import Dataset
from sde_edit.api.experiment import Experiment, Settings
from sde_edit.api.launcher import Launcher
from sde_edit.api.metric import NamedMetric
from sde_edit.api.override import as_typed, format_override, override
from sde_edit.api.sampler import ExternalOutputs
from sde_edit.api.spec import ComponentSpec, RunSpec, dtype_name
from sde_edit.diffusion.schedule import LastSigma, Spacing
from sde_edit.errors import UserError
from sde_edit.imaging.subset import Subset
from sde_edit.overrides import expand, keyed, read, refuse_swept, sweep, swept_values
from sde_edit.places import Place, is_in_use, places, use_folder
from sde_edit.registry import (
    UNLESS_DEFAULT,
    Count,
    Natural,
    Text,
    build,
    configs,
    groups,
    names,
    plugin_class,
    settings,
    strict,
    suggest,
)
from sde_edit.report.selection import COMPONENT_ATTRS
from sde_edit.store.files import canonical

# Keys of a group's YAML that are not settings of its plug-in, and what they mean.
RUN_KEYS = {
    "model": {
        "dtype": "number format of the network, unless `dtype` is given; auto: by the device",
        "batch_size": "images per batch, unless `hardware.batch_size` is given",
        "plain_guidance": "guidance that means none: 0 or 1",
        "guidance": "task -> its default of task.guidance; other tasks have that of the paper",
    },
    "data": {
        "limit": "number of examples, the first ones; null: all",
        "prompt": "prompt for tasks that take theirs from the data, such as inpaint",
        "metrics": "metrics to measure, unless `metrics` is given",
    },
}

AUTO_DTYPE = "auto"  # of a model's YAML: by the device
_GROUPS = {"task": "tasks", "sampler": "samplers", "model": "models", "data": "datasets"}
_PACKAGES = _GROUPS | {"launcher": "launchers"}
Threads = Annotated[int, Field(ge=1, le=1024)]


# ------------------------------------------------------------------ plug-ins from outside
def use_plugins(overrides: Sequence[str]) -> None:
    """Find the plug-ins of the folder that `plugins=DIR` names, until this process ends.

    Its code runs when a plug-in is used, so call it only with what the user gave, never with what
    was read from a file. Raises UserError for a folder that cannot be used.
    """
    for given in read(overrides):
        if given.key_or_group == "plugins":
            refuse_swept([given])
            folder = given.value()
            if folder is not None and not isinstance(folder, str):
                raise UserError(f"{given.input_line}: must be a folder")
            if folder is not None:
                use_folder(Path(folder))


def _check_in_use(folder: Any) -> None:
    """Raises UserError for plug-ins that a stored run names and the user does not."""
    if isinstance(folder, str) and not is_in_use(Path(folder)):
        raise UserError(
            f"plugins={folder}: the run was made with the plug-ins of this folder, whose code is "
            f"run only if you name it: add {as_typed('plugins', folder)}"
        )


# ------------------------------------------------------------------ compose
def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved config of one set of overrides.

    Raises UserError for an unknown key, name or preset, and for a value that no run could have.
    """
    config = _unresolved_config(overrides)
    if missing := sorted(key for key, value in _leaves(_as_dict(config)) if value == "???"):
        example = " ".join(f"{key}=..." for key in missing)
        raise UserError(f"config: {', '.join(missing)} must be given: {example}")
    resolved = _as_dict(config, resolve=True)
    resolved["metrics"] = _listed(resolved["metrics"])
    _check_finite(resolved)
    _check_run(resolved)
    _check_in_use(resolved["plugins"])
    return resolved


def defaults_of(keys: Iterable[str], overrides: Sequence[str]) -> dict[str, Any]:
    """Key -> value in the config of these overrides, of which others may still be missing.

    Without the keys that the config lacks, or that must be given.
    """
    config = _unresolved_config(overrides)
    found = {key: OmegaConf.select(config, key, default=_ABSENT) for key in keys}
    return {key: value for key, value in found.items() if value is not _ABSENT}


_ABSENT = object()


def _unresolved_config(overrides: Sequence[str]) -> DictConfig:
    """The config of one set of overrides, with interpolations and missing values as written."""
    given = read(overrides)
    refuse_swept(given)
    for one in given:
        if one.key_or_group == "plugins":
            _check_in_use(one.value())
    choices = [_choice(one) for one in given if one.key_or_group in _choosable()]
    tree = _composed(places(), *choices)
    config = deepcopy(_as_config(places(), *choices))
    for one in given:
        if one.key_or_group not in _choosable():
            _check_key(one, tree)
            _refuse_kind(one)
            _set(config, one)
    return config


@cache
def _as_config(where: tuple[Place, ...], *choices: str) -> DictConfig:
    return OmegaConf.create(_composed(where, *choices))


@cache
def _composed(where: tuple[Place, ...], *choices: str) -> dict[str, Any]:
    """The YAML of these choices, put together; interpolations are as they are written."""
    first, *others = where
    search = override("hydra.searchpath", [f"file://{place.conf}" for place in others])
    try:
        with initialize_config_dir(str(first.conf), version_base="1.3"):
            return _as_dict(compose("config", overrides=[search, *choices]))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"config: {error}") from error


def _choosable() -> list[str]:
    """The groups of which the config has one choice."""
    return [group for group in groups() if group not in ("claim", "metric", "table")]


def _choice(given: Override) -> str:
    """`group=name`. Raises UserError with the nearest name for a name that is not there."""
    group, value = given.key_or_group, given.value()
    if value is None and group == "experiment":
        return f"{group}=null"
    if str(value) not in names(group):
        raise UserError(f"no {group} {str(value)!r}.{suggest(str(value), names(group))}")
    return f"{group}={value}"


def _set(config: DictConfig, given: Override) -> None:
    try:
        OmegaConf.update(config, given.key_or_group, _literal(given.value()), merge=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{given.input_line}: {error}") from error


def _literal(value: Any) -> Any:
    """The value with every text escaped, so that OmegaConf substitutes nothing in it."""
    if isinstance(value, dict):
        return {key: _literal(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_literal(own) for own in value]
    escape = r"\1\1\\${"  # a backslash counts only before an interpolation
    return re.sub(r"(\\*)\$\{", escape, value) if isinstance(value, str) else value


def _as_dict(config: DictConfig, *, resolve: bool = False) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(config, resolve=resolve)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"config: {_unresolved(config, error)}") from error


def _unresolved(config: DictConfig, error: OmegaConfBaseException) -> str:
    """The message; for a value that another choice does not give, the key to set instead."""
    key = error.full_key
    if not isinstance(error, InterpolationKeyError) or not key:
        return str(error)
    written = OmegaConf.to_container(config, resolve=False)
    for part in key.split("."):
        written = written[part]  # type: ignore[index,call-overload]
    return f"{key}={written} is not known with these choices; give {key}=..."


def _listed(names: Any) -> Any:
    """`metrics=psnr` and `metrics=null` as lists."""
    if names is None:
        return []
    return [names] if isinstance(names, str) else names


# ------------------------------------------------------------------ keys
def _check_key(given: Override, tree: Mapping[str, Any]) -> None:
    """Raises UserError with the nearest key for a key that the config does not have.

    An empty mapping, such as task.reweight, takes any key.
    """
    node: Any = tree
    parts = given.key_or_group.split(".")
    for depth, part in enumerate(parts):
        where = ".".join(parts[:depth])
        if not isinstance(node, Mapping):
            raise UserError(f"{given.input_line}: {where} has no settings of its own")
        if depth and not node:
            return
        if part not in node:
            if where in _PACKAGES and part in _fields(where, node):
                return
            raise UserError(f"{given.input_line}: {_no_setting(parts, depth, node, tree)}")
        node = node[part]


def _refuse_kind(given: Override) -> None:
    """Raises UserError for the kind of a plug-in: another one has other settings, and a name of its
    own in tables."""
    group, _, key = given.key_or_group.partition(".")
    if group in _PACKAGES and key == "kind":
        raise UserError(
            f"{given.input_line}: a plug-in is chosen with all its settings, by its name. Choose "
            f"{group}=NAME, with one of {', '.join(names(group))}"
        )


def _no_setting(
    parts: Sequence[str], depth: int, node: Mapping[str, Any], tree: Mapping[str, Any]
) -> str:
    part, where = parts[depth], ".".join(parts[:depth])
    more = _fields(where, node) if depth else _choosable()
    known = sorted({*node, *more} - {"kind", "cites"})
    if not depth and (elsewhere := [f"{k}.{part}" for k, own in tree.items() if _has(own, part)]):
        return f"no setting {part!r}. Did you mean {elsewhere[0]!r}? Known: {', '.join(known)}."
    return f"{where or 'the config'} has no setting {part!r}.{suggest(part, known)}"


def _has(node: Any, part: str) -> bool:
    return isinstance(node, Mapping) and part in node


def _fields(group: str, raw: Mapping[str, Any]) -> list[str]:
    """The settings of a group's plug-in; its YAML need not give all of them."""
    if group not in _PACKAGES:
        return []
    return [own.name for own in fields(plugin_class(_PACKAGES[group], raw["kind"]))]


@cache
def _every_key(where: tuple[Place, ...]) -> dict[str, Any]:
    """A config with the keys of every choice of every group in these places."""
    tree = dict(_composed(where))
    for group in _PACKAGES:
        for name in names(group):
            raw = group_file(group, name)
            tree[group] = {**dict.fromkeys(_fields(group, raw)), **raw, **tree[group]}
        tree[group] |= dict.fromkeys(("version", "digest"))
    return tree


def check_known(overrides: Sequence[str]) -> None:
    """Raises UserError with the nearest key for a key that no run has, whatever its plug-ins.

    The key may be one that is no override, such as model.digest.
    """
    for one in read(overrides):
        if one.key_or_group not in _choosable():
            _check_key(one, _every_key(places()))
        elif not one.is_sweep_override():
            _choice(one)


# ------------------------------------------------------------------ values
@strict
@dataclass(frozen=True)
class _Grid:
    spacing: Spacing
    last_sigma: LastSigma


@strict
@dataclass(frozen=True)
class _Hardware:
    device: Text
    batch_size: Count
    loaders: Threads
    threads: Threads | None
    compile: bool


@strict
@dataclass(frozen=True)
class _Paths:
    data: Text
    results: Text
    cache: Text


@strict
@dataclass(frozen=True)
class _Wandb:
    mode: Literal["online", "offline", "disabled"]
    project: Text


@strict
@dataclass(frozen=True)
class _ModelRun:
    name: Text
    kind: Text
    dtype: Text
    batch_size: Count
    plain_guidance: float | None = None
    guidance: dict[str, float] = field(default_factory=dict)


@strict
@dataclass(frozen=True)
class _DataRun:
    name: Text
    kind: Text
    metrics: list[Text] | Text | None
    prompt: str
    limit: Count | None


@strict
@dataclass(frozen=True)
class _Named:
    name: Text
    kind: Text


@strict
@dataclass(frozen=True)
class Run:
    """All of a config but the settings of its plug-ins."""

    task: _Named
    sampler: _Named
    model: _ModelRun
    data: _DataRun
    launcher: _Named
    hardware: _Hardware
    wandb: _Wandb
    paths: _Paths
    grid: _Grid
    steps: Count
    dtype: Text
    seed: int
    metrics: list[Text]
    shard: Natural
    shards: Count
    plugins: Text | None


# What declares the types of a group's keys that are not settings of a plug-in.
RUN_TYPES: Mapping[str, type[Any]] = {
    "model": _ModelRun,
    "data": _DataRun,
    "hardware": _Hardware,
    "paths": _Paths,
    "wandb": _Wandb,
}


def _check_run(config: Mapping[str, Any]) -> None:
    """Raises UserError naming a key that has a value of the wrong type or out of range."""
    for key, dtype in (("model.dtype", config["model"]["dtype"]), ("dtype", config["dtype"])):
        if dtype != AUTO_DTYPE:
            dtype_name(str(dtype), key=key, also=[AUTO_DTYPE])
    own = {
        group: {
            key: value
            for key, value in config[group].items()
            if key not in plugin_settings(group, config[group]) and key != "cites"
        }
        for group in _PACKAGES
    }
    settings(Run, {**config, **own}, of="config", under="")


def _check_finite(config: Mapping[str, Any]) -> None:
    """Raises UserError naming a key whose value is NaN or infinite."""
    for key, value in _leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key}={value}: must be a finite number")


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Key and value of everything that is neither a mapping nor a list."""
    if isinstance(value, Mapping):
        parts = {f"{key}.{inner}" if key else str(inner): own for inner, own in value.items()}
    elif isinstance(value, list):
        parts = {f"{key}[{i}]": own for i, own in enumerate(value)}
    else:
        yield key, value
        return
    for inner, own in parts.items():
        yield from _leaves(own, inner)


# ------------------------------------------------------------------ experiments
def experiment(overrides: Sequence[str], *, on_gpu: bool | None = None) -> Experiment:
    """Compose, validate and freeze an experiment. Raises UserError before any expensive work.

    on_gpu: whether `dtype=auto` is for a GPU if hardware.device=auto; None: as this machine is.
    The dtype that it stands for is among the overrides of the experiment, so that they give the
    same run on any machine.
    """
    config = compose_config(overrides)
    if config["dtype"] == AUTO_DTYPE:
        dtype = _auto_dtype(config["hardware"]["device"], on_gpu)
        config["dtype"] = dtype
        overrides = [*(o for o in overrides if o != f"dtype={AUTO_DTYPE}"), f"dtype={dtype}"]
    plugins = {group: _build(group, config[group]) for group in _GROUPS}
    metrics = tuple(metric(name) for name in config["metrics"])
    settings = _settings(config)
    if isinstance(plugins["sampler"], ExternalOutputs):
        dataset = _with_outputs(plugins["sampler"], plugins["data"], settings.limit)
        excluded = len(plugins["data"].ids()) - len(dataset.ids())
        spec = _external_spec(config, plugins, dataset)
    else:
        _check_way_back(config, plugins)
        _check_end(config, plugins)
        _check_sampler(config, plugins)
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


def _auto_dtype(device: str, on_gpu: bool | None) -> str:
    """The dtype of a network on this device. Half precision is slow on a CPU, up to 24 times."""
    if device != "auto":
        on_gpu = str(device).startswith("cuda")
    elif on_gpu is None:
        from sde_edit.engine.attempt import pick_device

        on_gpu = pick_device(device).startswith("cuda")
    return "float16" if on_gpu else "float32"


def _spec(config: Mapping[str, Any], plugins: Mapping[str, Any]) -> RunSpec:
    return RunSpec(
        **{group: _component(group, config[group], plugins[group]) for group in _GROUPS},
        steps=config["steps"],
        spacing=config["grid"]["spacing"],
        last_sigma=config["grid"]["last_sigma"],
        dtype=dtype_name(config["dtype"]),
        seed=config["seed"],
        defaults=_left_out(plugins),
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
        defaults=_left_out({key: plugins[key] for key in ("sampler", "data")}),
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
            f"to noise: use {', '.join(_inverting())}"
        )


def _inverting() -> list[str]:
    """The samplers that move to noise and back."""
    kinds = {name: group_file("sampler", name)["kind"] for name in names("sampler")}
    classes = {name: plugin_class("samplers", kind) for name, kind in kinds.items()}
    inverts = {n: getattr(cls, "inversion", "none") != "none" for n, cls in classes.items()}
    return [n for n, cls in classes.items() if inverts[n] and cls.evaluations_per_step]


def _check_end(config: Mapping[str, Any], plugins: Mapping[str, Any]) -> None:
    """Raises UserError for an end of the grid that does not fit the task or the sampler."""
    last_sigma, inverts = config["grid"]["last_sigma"], plugins["task"].inverts
    if last_sigma == "one_step_in" and not inverts:
        raise UserError(
            f"grid.last_sigma=one_step_in is for tasks that encode an image, and task="
            f"{config['task']['name']} would end with noise: use sigma_min or zero"
        )
    if last_sigma == "zero" and inverts and not plugins["sampler"].encodes_noiseless:
        raise UserError(
            f"grid.last_sigma=zero places the image at alpha = 1, where sigma is 0, and the way to "
            f"noise of sampler={config['sampler']['name']} divides by sigma: use "
            "grid.last_sigma=sigma_min, or another sampler, such as ode or sde"
        )


def _check_sampler(config: Mapping[str, Any], plugins: Mapping[str, Any]) -> None:
    task, kinds, sampler = plugins["task"], plugins["task"].samplers, config["sampler"]
    name = f"task={config['task']['name']}"
    if kinds and sampler["kind"] not in kinds:
        raise UserError(
            f"{name} does not work with sampler={sampler['name']}: use sampler={' or '.join(kinds)}"
        )
    try:
        plugins["sampler"].check(
            inverts=task.inverts,
            follows_source=task.follows_source,
            edits_states=task.edits_states,
        )
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def metric(name: str) -> NamedMetric:
    """The metric of conf/metric/<name>.yaml. Raises UserError with the nearest name."""
    raw = group_file("metric", name)
    plugin = build("metrics", raw["kind"], plugin_settings("metric", raw))
    return NamedMetric(_component("metric", raw, plugin), plugin)


def group_file(group: str, name: str) -> dict[str, Any]:
    """conf/<group>/<name>.yaml, not composed.

    Raises UserError with the nearest name, and with the file if it is no YAML mapping.
    """
    files = configs(group)
    if name not in files:
        raise UserError(f"no {group} {name!r}.{suggest(name, sorted(files))}")
    raw = deepcopy(_loaded(files[name]))
    return raw if raw.get("dtype") == AUTO_DTYPE else dict(_full_dtypes(raw))


@cache
def _loaded(file: Path) -> dict[str, Any]:
    try:
        raw: Any = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, OmegaConfBaseException, OSError) as error:
        raise UserError(f"{file}: is no YAML: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{file}: must hold `key: value` lines")
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
    built: Launcher = _build("launcher", compose_config(keyed(overrides, "launcher"))["launcher"])
    return built


def sweep_overrides(
    overrides: Sequence[str],
) -> tuple[list[tuple[str, ...]], dict[str, dict[str, Any]]]:
    """The combinations of a sweep, and name -> config of the tables that it names.

    `table=table2` stands for the grid of that table; without it the overrides are the grid. With
    `setting=paper` the table's `paper_runs` come before the other overrides. Overrides of the
    launcher are ignored.
    """
    launchers = keyed(overrides, "launcher")
    given = [one for one in read(overrides) if one.input_line not in launchers]
    rest = [str(one.input_line) for one in given if one.key_or_group not in ("table", "setting")]
    named = [one for one in given if one.key_or_group == "table"]
    in_paper = _in_paper([one for one in given if one.key_or_group == "setting"])
    if not named:
        if in_paper:
            raise UserError("setting=paper is for tables: name them, as in table=table2")
        return expand(rest), {}
    combinations: list[tuple[str, ...]] = []
    tables: dict[str, dict[str, Any]] = {}
    for choice in named:
        values = swept_values(choice) if choice.is_sweep_override() else [choice.value()]
        for name in map(str, values):
            first = paper_runs(name) if in_paper else []
            tables[name], own = table_config(name, [*first, *rest])
            if "runs" not in tables[name]:
                raise UserError(f"{name} needs no runs: sde-edit table {name}")
            for grid in table_grids(tables[name]):
                combinations += expand([*grid, *own])
    return combinations, tables


def _in_paper(given: Sequence[Override]) -> bool:
    """Whether `setting=paper` is given. Raises UserError for another setting."""
    if other := [one for one in given if one.input_line != "setting=paper"]:
        raise UserError(f"{other[0].input_line}: the only setting is paper")
    return bool(given)


def paper_runs(name: str) -> list[str]:
    """The overrides that make a table with the model and the data of its paper.

    Raises UserError if the table names none.
    """
    if found := group_file("table", name).get("paper_runs"):
        return list(found)
    raise UserError(f"setting=paper: conf/table/{name}.yaml has no paper_runs")


def table_config(name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The config of a table with overrides applied, and the overrides that do not concern it.

    A setting that only some arms give has in each other arm the default of that arm's runs, with
    these overrides. Arms that are then alike, because a model's default is the value that another
    arm gives, are one arm. An override applies to the table's grid and to arms that set the same
    key. Raises UserError for a key in which the arms differ.
    """
    config, rest = group_file("table", name), []
    if "arms" in config:
        config = _without_twins({**config, "arms": _with_defaults(config, overrides)})
    arms = [arm["set"] for arm in config.get("arms", ())]
    for given in read(overrides):
        key = given.key_or_group
        own = [arm for arm in arms if key in arm]
        values = dict.fromkeys(format_override(arm[key]) for arm in own)
        if len(values) > 1:
            raise UserError(
                f"{given.input_line}: {key} tells the arms of {name} apart, which have "
                f"{', '.join(values)}: leave it out, or name the model of the runs too, if its "
                "default makes them alike. For arms with other values make a table of your own "
                f"from conf/table/{name}.yaml"
            )
        asked = [grid for grid in (config.get("runs", {}), *own) if key in grid]
        for grid in asked:
            grid[key] = _values(given)
        if not asked:
            rest.append(str(given.input_line))
    return config, rest


def _with_defaults(config: Mapping[str, Any], overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The arms of a table, each with its own default of every setting that only others give."""
    arms = config["arms"]
    keys = dict.fromkeys(key for arm in arms for key in arm["set"] if _is_setting(key))
    given = [one for one in read(overrides) if one.key_or_group not in keys]
    given = [one for one in given if not _only_selects(one)]
    return [{**arm, "set": arm["set"] | _defaults_of(arm, keys, config, given)} for arm in arms]


def _is_setting(key: str) -> bool:
    """Whether a key is a setting of a plug-in that images depend on."""
    group, dot, _ = key.partition(".")
    return bool(dot) and group in _GROUPS


def _only_selects(given: Override) -> bool:
    """Whether an override has no place in the config of one run: a sweep over a setting, or what
    only a stored spec has."""
    key = given.key_or_group
    return key.rpartition(".")[2] in COMPONENT_ATTRS or (
        given.is_sweep_override() and key not in _choosable()
    )


def _defaults_of(
    arm: Mapping[str, Any],
    keys: Iterable[str],
    config: Mapping[str, Any],
    given: Sequence[Override],
) -> dict[str, Any]:
    """Key -> default, for the keys that an arm's runs have and that the table leaves open."""
    grid = config["runs"] | arm["set"]
    lacking = [key for key in keys if key not in grid]
    if not lacking:
        return {}
    swept = {key for key in config["runs"] if key not in arm["set"]}
    grid |= {one.key_or_group: _values(one) for one in given if one.key_or_group in swept}
    others = [str(one.input_line) for one in given if one.key_or_group not in grid]
    first = [override(key, v[0] if isinstance(v, list) else v) for key, v in grid.items()]
    return defaults_of(lacking, [*others, *first])


def _without_twins(config: dict[str, Any]) -> dict[str, Any]:
    """The table without arms that show the same as an earlier one, which stands for them.

    It is compared with all that it and they were to be compared with. Arms that keep different ones
    of the same candidates are not the same.
    """
    first: dict[str, str] = {}
    stands = {
        arm["label"]: first.setdefault(canonical([arm["set"], arm.get("keep")]), arm["label"])
        for arm in config["arms"]
    }

    def kept(label: str) -> str:
        return stands.get(label, label)

    def rivals(arm: Mapping[str, Any]) -> list[str]:
        given = arm.get("against") or config.get("baseline") or []
        return list(map(kept, [given] if isinstance(given, str) else given))

    arms = []
    for arm in config["arms"]:
        same = [other for other in config["arms"] if kept(other["label"]) == arm["label"]]
        if not same:
            continue
        merged = arm | {"stands_for": [other["label"] for other in same if other is not arm]}
        if "same_as" in arm:
            merged["same_as"] = kept(arm["same_as"])
        if "against" in arm or (len(same) > 1 and arm["label"] != config.get("baseline")):
            asked = dict.fromkeys(chain.from_iterable(map(rivals, same)))
            merged["against"] = [label for label in asked if label != arm["label"]]
        arms.append(merged)
    if drawn := (config.get("figure") or {}).get("arms"):
        shown = list(dict.fromkeys(map(kept, drawn)))
        config = {**config, "figure": {**config["figure"], "arms": shown}}
    return {**config, "arms": arms}


def _values(given: Override) -> list[Any]:
    """The values of an override, one or several; dtypes are named as in specs."""
    values = [given.value()]
    if given.is_sweep_override():
        values = [one.value() for value in swept_values(given) for one in read([f"x={value}"])]
    named: list[Any] = _full_dtypes(values, given.key_or_group)
    return named


def values_of(line: str) -> list[Any]:
    """The values that `key=a,b` lists, as specs have them. Raises UserError."""
    (given,) = read([line])
    return _values(given)


def table_grids(config: Mapping[str, Any]) -> list[list[str]]:
    """The grid of each arm of a table as overrides, swept values comma-separated."""
    arms = [arm["set"] for arm in config["arms"]]
    also = [override(key, value) for key, value in config.get("also", {}).items()]
    return [[*_as_overrides(config["runs"] | arm), *also] for arm in arms]


def _as_overrides(grid: Mapping[str, Any]) -> list[str]:
    return [sweep(key, v if isinstance(v, list) else [v]) for key, v in grid.items()]


def parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """Key -> value of overrides without sweeps. Raises UserError for a swept value."""
    given = read(overrides)
    refuse_swept(given)
    values: dict[str, Any] = _full_dtypes({one.key_or_group: one.value() for one in given})
    return values


def data_set(overrides: Sequence[str]) -> tuple[str, Dataset]:
    """Name and data set, for `data status`."""
    raw = compose_config(overrides)["data"]
    return raw["name"], _build("data", raw)


def chosen_data(overrides: Sequence[str]) -> tuple[ComponentSpec, Dataset]:
    """The data set and its spec. Raises UserError if it is not on this machine."""
    raw = compose_config(overrides)["data"]
    dataset = _build("data", raw)
    return _component("data", raw, dataset), dataset


@dataclass(frozen=True)
class Scoring:
    """What scores the images of a run: its data set with the spec of that, metrics, settings."""

    data: ComponentSpec
    dataset: Dataset
    metrics: tuple[NamedMetric, ...]
    settings: Settings


def scoring(overrides: Sequence[str]) -> Scoring:
    """What scores runs. Raises UserError if the data set is not on this machine."""
    config = compose_config(overrides)
    data, dataset = chosen_data(overrides)
    metrics = tuple(metric(name) for name in config["metrics"])
    return Scoring(data, dataset, metrics, _settings(config))


def results_dir(overrides: Sequence[str]) -> Path:
    return Path(compose_config(overrides)["paths"]["results"])


def command_on(results: Path, *words: str) -> str:
    """`sde-edit` with these words, as a remedy to copy; it names a results folder other than the
    default."""
    where = [] if results.resolve() == results_dir([]).resolve() else [f"paths.results={results}"]
    return shlex.join(["sde-edit", *words, *where])


def plugin_settings(group: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What of a YAML's values are settings of its plug-in."""
    others = {"name", "kind", "cites"} | RUN_KEYS.get(group, {}).keys()
    return {key: value for key, value in raw.items() if key not in others}


def _build(group: str, raw: Mapping[str, Any]) -> Any:
    return build(_PACKAGES[group], raw["kind"], plugin_settings(group, raw), under=f"{group}.")


def _component(group: str, raw: Mapping[str, Any], plugin: Any) -> ComponentSpec:
    """The spec of a plug-in: all settings that influence the images.

    Paths do not; the digest of the files does.
    """
    given = {f: getattr(plugin, f.name) for f in fields(plugin)}
    params = {f.name: value for f, value in given.items() if _identifies(f, value)}
    digest = plugin.digest() if group in ("model", "data") else ""
    return ComponentSpec(raw["name"], raw["kind"], plugin.version, params, digest)


def _left_out(plugins: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group -> the settings of its plug-in that the run id leaves out at their defaults."""
    own = {
        group: {
            f.name: getattr(plugin, f.name)
            for f in fields(plugin)
            if f.metadata.get("identity") == UNLESS_DEFAULT
            and not _identifies(f, getattr(plugin, f.name))
        }
        for group, plugin in plugins.items()
    }
    return {group: values for group, values in own.items() if values}


def _identifies(setting: Setting[Any], value: Any) -> bool:
    """Whether a setting of this value is part of the run id."""
    identity = setting.metadata.get("identity", True)
    return value != setting.default if identity == UNLESS_DEFAULT else bool(identity)


def _settings(config: Mapping[str, Any]) -> Settings:
    hardware = config["hardware"]
    if not 0 <= config["shard"] < config["shards"]:
        raise UserError(
            f"shard={config['shard']}: must be from 0 to shards-1={config['shards'] - 1}"
        )
    return Settings(
        results=Path(config["paths"]["results"]),
        cache=Path(config["paths"]["cache"]),
        limit=config["data"]["limit"],
        device=hardware["device"],
        compile=hardware["compile"],
        batch_size=hardware["batch_size"],
        loaders=hardware["loaders"],
        threads=hardware["threads"],
        shard=config["shard"],
        shards=config["shards"],
        wandb=config["wandb"],
    )

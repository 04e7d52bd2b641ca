"""Writes tables, figures and contact sheets of finished runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit import registry
from sde_edit.api.dataset import HasStatistics
from sde_edit.commands.contact_sheets import rendered_sheets
from sde_edit.commands.run import finished_run
from sde_edit.config import (
    check_known,
    chosen_data,
    compose_config,
    experiment,
    group_file,
    parsed,
    results_dir,
    table_config,
    values_of,
)
from sde_edit.errors import UserError
from sde_edit.overrides import expand, keyed, read
from sde_edit.registry import names, suggest
from sde_edit.report.contact_sheet import runs_sheet, save_sheet
from sde_edit.report.formats import (
    from_json,
    lost_cells,
    markdown,
    rendered,
    rendered_figure,
    write,
)
from sde_edit.report.summary import summary_table
from sde_edit.report.table import Table, figure_name, transposed
from sde_edit.store.files import DamagedFileError, child, read_regular, short_digest, write_together
from sde_edit.store.runs import Run, RunStore, log_damage
from sde_edit.theory import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sde_edit.api.spec import ComponentSpec

# Overrides of where or how much to run; they do not select runs.
_NOT_IDENTITY = (
    *("paths.", "hardware", "data.limit", "shard", "wandb", "launcher", "metrics", "model.path"),
    "plugins",
)


def stored_table(name: str, results: Path) -> Table | None:
    """The table that was written into the results folder; None if it was not.

    Raises DamagedFileError for a file that holds no table.
    """
    file = child(results / "tables", f"{name}.json")
    try:
        return from_json(read_regular(file).decode())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedFileError(
            f"{file}: holds no table. `sde-edit table` writes it again"
        ) from error


def made_table(name: str, overrides: Sequence[str]) -> Table:
    """The table of finished runs, not written; overrides as in `publish_table`."""
    config, rest = _narrowed(name, overrides)
    if "runs" not in config:
        return _composition(name, config, rest)
    return build_table(config, RunStore(results_dir(keyed(rest, "paths."))).runs())


def _narrowed(name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The config of a table that selects the runs of the overrides, and the other overrides."""
    config, rest = table_config(name, overrides)
    check_known(rest)
    if "runs" in config:
        config["where"] = {**(config.get("where") or {}), **_chosen(rest)} or None
    return config, rest


def publish_table(name: str, overrides: Sequence[str], *, force: bool = False) -> list[Path]:
    """Write a table and its figure.

    force: replace one that rests on more. overrides: choose among runs, as `dtype=bfloat16` does;
    for a table without runs, choose the data set.
    """
    config, rest = _narrowed(name, overrides)
    results = results_dir(keyed(rest, "paths."))
    if "runs" not in config:
        return write(_composition(name, config, rest), results / "tables")
    return publish_runs(name, config, RunStore(results).runs(), results, force=force)


def _composition(name: str, config: Mapping[str, Any], overrides: Sequence[str]) -> Table:
    """The table of the contents of a data set: the config's own or that of the overrides.

    Raises UserError for an override without effect, and if the data set is missing or does not
    count its contents.
    """
    where = keyed(overrides, ("paths.", "plugins"))
    limit = keyed(overrides, "data.limit")
    about = [o for o in keyed(overrides, "data") if o not in limit]
    if idle := [o for o in overrides if o not in (*where, *about)]:
        raise UserError(
            f"{idle[0]}: {name} counts a whole data set; give data=... and its settings"
        )
    own = [] if "data" in parsed(about) else [f"data={config['data']}"]
    data, dataset = chosen_data([*own, *about, *where])
    if not isinstance(dataset, HasStatistics):
        raise UserError(
            f"data={data.name} does not say what it is made of; the data sets of drags do"
        )
    return build_composition(config, data, dataset.statistics())


def publish_runs(
    name: str,
    config: Mapping[str, Any],
    runs: Sequence[Run],
    results: Path,
    *,
    force: bool = False,
) -> list[Path]:
    """Write the table, figure and contact sheets of a config, from those `runs` that it selects.

    All files are replaced or none. Raises UserError if the table that is there rests on more
    images or runs, unless `force` is given.
    """
    log_damage(runs)
    table = build_table(config, runs)
    if not force:
        _refuse_loss(table, results / "tables")
    files = rendered(table, results / "tables")
    figure = build_figure(config, table)
    if figure is not None:
        files |= rendered_figure(figure, figure_name(config, name), results / "figures")
    files |= rendered_sheets(name, config, table, runs, results)
    write_together(files)
    return list(files)


def _refuse_loss(table: Table, folder: Path) -> None:
    file = child(folder, f"{table.name}.json")
    if lost := lost_cells(table, file):
        raise UserError(
            f"{file} has {len(lost)} cells that rest on more images or runs than there are now, "
            f"such as {lost[0]}. Finish the runs with `sde-edit sweep table={table.name}`, give "
            "another paths.results=DIR, or replace the table with --force"
        )


def publish_figure(name: str, overrides: Sequence[str]) -> list[Path]:
    """Write results/figures/<name>.{png,svg} of a figure that needs no runs.

    Raises UserError for an unknown name and for an override without effect.
    """
    drawers = figures()
    if name in names("table"):
        raise UserError(f"{name} is made of runs: sde-edit sweep table={name}")
    if name not in drawers:
        raise UserError(f"no figure {name!r}.{suggest(name, list(drawers))}")
    if idle := [o for o in overrides if o not in keyed(overrides, "paths.")]:
        raise UserError(f"{idle[0]}: {name} has no settings; only paths.results=DIR is for figures")
    return drawers[name](results_dir(overrides))


def _chosen(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of runs to select; an experiment preset stands for its model and data."""
    other = keyed(overrides, _NOT_IDENTITY)
    chosen = parsed([o for o in overrides if o not in other])
    if preset := chosen.pop("experiment", None):
        config = compose_config([f"experiment={preset}"])
        chosen = {"model": config["model"]["name"], "data": config["data"]["name"], **chosen}
    return chosen


def settings_of_runs(filters: Sequence[str]) -> dict[str, list[Any]]:
    """Key -> allowed values, of overrides that say which runs are wanted: `steps=25,50`.

    Raises UserError for an unknown key and for one that says nothing of a run, such as paths.data.
    """
    check_known(filters)
    if idle := keyed(filters, _NOT_IDENTITY):
        raise UserError(f"{idle[0]}: it is no property of a run, so it selects none")
    given = read(filters)
    swept = {one.key_or_group: values_of(one) for one in given if one.is_sweep_override()}
    single = _chosen([str(one.input_line) for one in given if not one.is_sweep_override()])
    return {key: [value] for key, value in single.items()} | swept


def publish_summary(overrides: Sequence[str]) -> tuple[str, Path]:
    """A Markdown table of the runs of the overrides, and the path of their contact sheet."""
    experiments = [experiment(combination) for combination in expand(overrides)]
    first, runs = experiments[0], [finished_run(one) for one in experiments]
    log_damage(runs)
    table = summary_table(runs)
    labels = [row.label for row in table.blocks[0].rows]
    name = _file_name("summary", first.spec.task.name, first.spec.model.name, *labels)
    path = first.settings.results / "figures" / f"{name}.png"
    named = dict(zip(labels, runs, strict=True))
    save_sheet(runs_sheet(named, first.dataset, hidden=first.task.uses_mask), path)
    return markdown(transposed(table)), path


def _file_name(*parts: str) -> str:
    """The joined parts; a name beyond 120 characters is cut and gets a digest."""
    name = re.sub(r"[^\w.=-]+", "-", "__".join(parts))
    return name if len(name) <= 120 else f"{name[:110]}-{short_digest(name, 8)}"


def build_table(config: Mapping[str, Any], runs: Sequence[Run]) -> Table:
    """The table of a `conf/table/*.yaml`. Raises UserError for a wrong setting or unfit runs."""
    others = ("kind", "figure", "sheet", "failures")
    params = {key: value for key, value in config.items() if key not in others}
    if config.get("column") == "nfe":
        params["arms"] = [_with_evaluations(arm, config["runs"]) for arm in config["arms"]]
    table: Table = registry.build("tables", config["kind"], params).build(runs)
    return table


def _with_evaluations(arm: Mapping[str, Any], runs: Mapping[str, Any]) -> dict[str, Any]:
    """An arm with the evaluations per step of its sampler, which a report cannot load.

    External images count as one evaluation per step. Raises UserError without a sampler.
    """
    chosen = {**runs, **arm["set"]}.get("sampler")
    if chosen is None:
        raise UserError(f"arm {arm['label']!r}: NFE goes across, so it must give `sampler`")
    name = chosen[0] if isinstance(chosen, list) else chosen
    sampler = registry.plugin_class("samplers", group_file("sampler", name)["kind"])
    return {**arm, "evaluations": getattr(sampler, "evaluations_per_step", 1)}


def build_composition(
    config: Mapping[str, Any], data: ComponentSpec, counts: Mapping[str, Mapping[str, int]]
) -> Table:
    """The table of a `conf/table/*.yaml` without runs, from the counts of a data set."""
    params = {key: value for key, value in config.items() if key != "kind"}
    table: Table = registry.build("tables", config["kind"], params).build(data, counts)
    return table


def build_figure(config: Mapping[str, Any], table: Table) -> Figure | None:
    """The figure under `figure:` in a table's config, or None. See `figure_name` for its files."""
    settings = {k: v for k, v in (config.get("figure") or {}).items() if k != "name"}
    if not settings:
        return None
    figure: Figure = registry.build("figures", settings.pop("kind"), settings).draw(table)
    return figure

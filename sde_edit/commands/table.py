"""Finished runs -> tables, figures and contact sheets on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit import registry
from sde_edit.api.dataset import Composed
from sde_edit.commands.contact_sheets import write_sheets
from sde_edit.commands.run import finished_run
from sde_edit.config import (
    chosen_data,
    compose_config,
    expand,
    experiment,
    parsed,
    results_dir,
    table_config,
)
from sde_edit.errors import UserError
from sde_edit.registry import names, suggest
from sde_edit.report.contact_sheet import runs_sheet, save_sheet
from sde_edit.report.formats import markdown, write, write_figure
from sde_edit.report.summary import summary_table
from sde_edit.report.table import Table, figure_name, transposed
from sde_edit.store.files import short_digest
from sde_edit.store.runs import Run, RunStore
from sde_edit.theory import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sde_edit.api.spec import ComponentSpec

# Overrides that say where or how much to run; they do not choose among runs.
_NOT_IDENTITY = (
    *("paths.", "hardware", "data.limit", "shard", "wandb", "launcher", "metrics", "model.path"),
)


def publish_table(name: str, overrides: Sequence[str]) -> list[Path]:
    """Write the table and its figure; overrides choose among runs, as `dtype=bfloat16` does, or
    the data set that a table without runs is of.
    """
    config, rest = table_config(name, overrides)
    if "runs" not in config:
        return publish_composition(name, config, rest)
    results = results_dir([o for o in rest if o.startswith("paths.")])
    config["where"] = {**(config.get("where") or {}), **_chosen(rest)} or None
    return publish_runs(name, config, RunStore(results).runs(), results)


def publish_composition(
    name: str, config: Mapping[str, Any], overrides: Sequence[str]
) -> list[Path]:
    """Write the table of what a data set is made of, the config's own or that of the overrides.

    Raises UserError for an override that would have no effect, and if the data set is not there or
    does not say what it is made of.
    """
    where = [o for o in overrides if o.startswith("paths.")]
    about = [o for o in overrides if o.startswith(("data=", "data.")) and "data.limit" not in o]
    if idle := [o for o in overrides if o not in (*where, *about)]:
        raise UserError(
            f"{idle[0]}: {name} counts a whole data set; give data=... and its settings"
        )
    own = [] if any(o.startswith("data=") for o in about) else [f"data={config['data']}"]
    data, dataset = chosen_data([*own, *about, *where])
    if not isinstance(dataset, Composed):
        raise UserError(
            f"data={data.name} does not say what it is made of; the data sets of drags do"
        )
    table = build_composition(config, data, dataset.composition())
    return write(table, results_dir(where) / "tables")


def publish_runs(
    name: str, config: Mapping[str, Any], runs: Sequence[Run], results: Path
) -> list[Path]:
    """Write the table of a config, its figure and its contact sheets, made of those of the runs
    that it asks for."""
    table = build_table(config, runs)
    paths = write(table, results / "tables")
    figure = build_figure(config, table)
    if figure is not None:
        paths += write_figure(figure, figure_name(config, name), results / "figures")
    return paths + write_sheets(name, config, table, runs, results)


def publish_figure(name: str, overrides: Sequence[str]) -> list[Path]:
    """Write results/figures/<name>.{png,svg} of a figure that is computed, not made of runs.

    Raises UserError for an unknown name, and for an override that would have no effect.
    """
    drawers = figures()
    if name in names("table"):
        raise UserError(f"{name} is made of runs: sde-edit sweep table={name}")
    if name not in drawers:
        raise UserError(f"no figure {name!r}.{suggest(name, list(drawers))}")
    if idle := [o for o in overrides if not o.startswith("paths.")]:
        raise UserError(f"{idle[0]}: {name} has no settings; only paths.results=DIR is for figures")
    return drawers[name](results_dir(overrides))


def _chosen(overrides: Sequence[str]) -> dict[str, Any]:
    """What the overrides ask of a run; an experiment preset stands for its model and data."""
    chosen = parsed([o for o in overrides if not o.startswith(_NOT_IDENTITY)])
    if preset := chosen.pop("experiment", None):
        config = compose_config([f"experiment={preset}"])
        chosen = {"model": config["model"]["name"], "data": config["data"]["name"], **chosen}
    return chosen


def publish_summary(overrides: Sequence[str]) -> tuple[str, Path]:
    """A Markdown table of the runs that the overrides name, and their contact sheet."""
    experiments = [experiment(combination) for combination in expand(overrides)]
    first, runs = experiments[0], [finished_run(one) for one in experiments]
    table = summary_table(runs)
    labels = [row.label for row in table.blocks[0].rows]
    name = _file_name("summary", first.spec.task.name, first.spec.model.name, *labels)
    path = first.settings.results / "figures" / f"{name}.png"
    named = dict(zip(labels, runs, strict=True))
    save_sheet(runs_sheet(named, first.dataset, hidden=first.task.uses_mask), path)
    return markdown(transposed(table)), path


def _file_name(*parts: str) -> str:
    """The parts joined; a digest of what is beyond 120 characters."""
    name = re.sub(r"[^\w.=-]+", "-", "__".join(parts))
    return name if len(name) <= 120 else f"{name[:110]}-{short_digest(name, 8)}"


def build_table(config: Mapping[str, Any], runs: Sequence[Run]) -> Table:
    """The table of a `conf/table/*.yaml`. Raises UserError for a wrong setting or unfit runs."""
    others = ("kind", "figure", "sheet", "failures")
    params = {key: value for key, value in config.items() if key not in others}
    table: Table = registry.build("tables", config["kind"], params).build(runs)
    return table


def build_composition(
    config: Mapping[str, Any], data: ComponentSpec, counts: Mapping[str, Mapping[str, int]]
) -> Table:
    """The table of a `conf/table/*.yaml` that has no runs, of what a data set is made of."""
    params = {key: value for key, value in config.items() if key != "kind"}
    table: Table = registry.build("tables", config["kind"], params).build(data, counts)
    return table


def build_figure(config: Mapping[str, Any], table: Table) -> Figure | None:
    """The figure that a table's config asks for under `figure:`; None if it asks for none.

    `name` there is that of its files (see `figure_name`).
    """
    settings = {k: v for k, v in (config.get("figure") or {}).items() if k != "name"}
    if not settings:
        return None
    figure: Figure = registry.build("figures", settings.pop("kind"), settings).draw(table)
    return figure

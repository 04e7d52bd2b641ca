"""Writes tables, figures and contact sheets of finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sde_edit import registry
from sde_edit.api.dataset import HasStatistics
from sde_edit.commands.contact_sheets import rendered_sheets
from sde_edit.config import (
    check_known,
    chosen_data,
    command_on,
    compose_config,
    group_file,
    parsed,
    results_dir,
    table_config,
)
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.registry import names, suggest
from sde_edit.report.excerpt import EVERYTHING, Excerpt
from sde_edit.report.formats import (
    from_json,
    lost_cells,
    rendered,
    rendered_figure,
    rendered_to_read,
)
from sde_edit.report.table import Table, figure_name, tally
from sde_edit.store.files import (
    DamagedFileError,
    child,
    read_regular,
    write_together,
)
from sde_edit.store.runs import Run, RunStore, log_damage
from sde_edit.theory import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sde_edit.api.spec import ComponentSpec

# Overrides of where or how much to run; they do not select runs.
_NOT_IDENTITY = (
    *("paths.", "hardware", "data.limit", "shard", "wandb", "launcher", "metrics", "model.path"),
    *("plugins", "model.guidance"),
)


def stored_table(name: str, results: Path) -> Table | None:
    """The table that was written into the results folder; None if it was not.

    Raises UserError for a file that holds no table, or another one.
    """
    file = child(results / "tables", f"{name}.json")
    try:
        table = from_json(read_regular(file).decode())
    except FileNotFoundError:
        return None
    except (DamagedFileError, ValueError) as error:
        again = command_on(results, "table", name)
        raise UserError(f"{file} holds no table. Write it with `{again}`") from error
    if table.name != name:
        raise UserError(f"{file} holds the table {table.name!r}, not {name!r}")
    return table


def tally_of(name: str, overrides: Sequence[str]) -> str:
    """How many comparisons of the written table are decided; "" if it makes none, or is so old that
    it does not say."""
    table = stored_table(name, results_dir(keyed(overrides, "paths.")))
    return tally(table) if table else ""


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


def publish_table(
    name: str, overrides: Sequence[str], *, force: bool = False, excerpt: Excerpt = EVERYTHING
) -> list[Path]:
    """Write a table and its figure.

    force: replace one that rests on more. excerpt: what its LaTeX shows. overrides: choose among
    runs, as `dtype=bfloat16` does; for a table without runs, choose the data set.
    """
    config, rest = _narrowed(name, overrides)
    results = results_dir(keyed(rest, "paths."))
    if "runs" not in config:
        files = rendered(_composition(name, config, rest), results / "tables", excerpt)
        write_together(files)
        return list(files)
    return publish_runs(
        name, config, RunStore(results).runs(), results, force=force, excerpt=excerpt
    )


def publish_again(name: str, overrides: Sequence[str], excerpt: Excerpt) -> list[Path]:
    """Write what is read of a table, and its figure, from the JSON of the table: without its runs.

    Raises UserError if there is no such file or it holds another table, and for an override.
    """
    config, rest = table_config(name, overrides)
    if idle := [o for o in rest if o not in keyed(rest, "paths.")]:
        raise UserError(f"{idle[0]}: --from-json takes the table as it is; leave this out")
    results = results_dir(keyed(rest, "paths."))
    table = stored_table(name, results)
    if table is None:
        file = child(results / "tables", f"{name}.json")
        again = command_on(results, "table", name)
        raise UserError(f"{file} is not there. Write it with `{again}`")
    files = rendered_to_read(table, results / "tables", excerpt)
    files |= _rendered_figure(name, _drawing_its_arms(config, table), table, results)
    write_together(files)
    return list(files)


def _drawing_its_arms(config: Mapping[str, Any], table: Table) -> Mapping[str, Any]:
    """The config whose figure draws those of its arms that a stored table has: for another model,
    two arms may have been one."""
    figure = config.get("figure") or {}
    if "arms" not in figure:
        return config
    there = {row.label for block in table.blocks for row in block.rows}
    arms = [label for label in figure["arms"] if label in there]
    return {**config, "figure": {**figure, "arms": arms}}


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
    excerpt: Excerpt = EVERYTHING,
) -> list[Path]:
    """Write the table, figure and contact sheets of a config, from those `runs` that it selects.

    All files are replaced or none. Raises UserError if the table that is there rests on more
    images or runs, unless `force` is given.
    """
    log_damage(runs)
    table = build_table(config, runs)
    if not force:
        refuse_loss(table, results / "tables")
    files = rendered(table, results / "tables", excerpt)
    files |= _rendered_figure(name, config, table, results)
    files |= rendered_sheets(name, config, table, runs, results)
    write_together(files)
    return list(files)


def _rendered_figure(
    name: str, config: Mapping[str, Any], table: Table, results: Path
) -> dict[Path, bytes]:
    figure = build_figure(config, table)
    if figure is None:
        return {}
    return rendered_figure(figure, figure_name(config, name), results / "figures")


def refuse_loss(table: Table, folder: Path) -> None:
    """Raises UserError if the table that is in the folder rests on more images or runs."""
    file = child(folder, f"{table.name}.json")
    if lost := lost_cells(table, file):
        sweep = command_on(folder.parent, "sweep", f"table={table.name}")
        raise UserError(
            f"{file} has {len(lost)} cells that would rest on fewer images or runs, such as "
            f"{lost[0]}. Finish the runs with `{sweep}`, choose another paths.results=DIR, or "
            "replace the table with --force"
        )


def publish_figure(name: str, overrides: Sequence[str]) -> list[Path]:
    """Write results/figures/<name>.{png,svg,pdf} of a figure that needs no runs.

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


def build_table(config: Mapping[str, Any], runs: Sequence[Run]) -> Table:
    """The table of a `conf/table/*.yaml`. Raises UserError for a wrong setting or unfit runs."""
    others = ("kind", "figure", "sheet", "failures", "paper_runs")
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

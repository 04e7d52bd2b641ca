"""Writes the report of a results folder.

    <results>/report/
        index.html            claims, tables, figures, runs
        runs.html             every run, and its examples
        tables/<name>.html    a table, and the examples behind its cells
        assets/               style sheets and scripts
        data/                 what the pages load when it is asked for
        pictures/             what the data sets hold: sources, truths, masks
        thumbnails/           of outputs that are heavy to load

Outputs and figures stay where they are: pages lead to ../runs and ../figures. A page opened from a
file may not fetch, so data are scripts that call `report.put`. The same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sde_edit.commands.choice import Choice, choose
from sde_edit.commands.claims import judged_claims, warn_of_misfits
from sde_edit.config import check_known, results_dir
from sde_edit.errors import UserError
from sde_edit.overrides import keyed
from sde_edit.report.claim_forms import Judged
from sde_edit.report.leaderboard import leaderboard_table
from sde_edit.report.table import Table
from sde_edit.store.runs import RunStore
from sde_edit.web.pages import STATIC, environment
from sde_edit.web.report.collect import (
    ShownRun,
    by_data,
    examples_record,
    log,
    run_record,
    shown_runs,
    sizes_in,
    stored_tables,
)
from sde_edit.web.report.folder import Folder
from sde_edit.web.report.pictures import make_thumbnails
from sde_edit.web.report.views import (
    FigureView,
    TableView,
    claim_views,
    counted_verdicts,
    figure_views,
    run_states,
    run_views,
    runs_record,
    table_record,
    table_view,
)

_VIEWER = ("state", "compare", "picture", "list", "stage", "viewer")
_SCRIPTS = {  # of each kind of page, in the order in which they build on each other
    "index": ("data", "notes", "overview"),
    "runs": ("data", "notes", "overview", *_VIEWER),
    "table": ("data", "notes", *_VIEWER),
    "row": ("data", "picture", "row"),
}
_STYLES = ("icon.svg", "style.css", "report.css")


def _rendered(template: str, **values: Any) -> str:
    """A template of the report, filled."""
    return environment().get_template(f"report/{template}.html").render(**values)


def _write_page(folder: Folder, name: str, template: str, **values: Any) -> None:
    """Write a page. `root` is the way from it to the folder of the report."""
    root = "../" * name.count("/")
    shared = {"root": root, "static": f"{root}assets", "scripts": _SCRIPTS[template]}
    folder.write(name, _rendered(template, **shared, **values))


def write_report(overrides: Sequence[str]) -> Path:
    """Write the report of a results folder; returns the path of its index.

    overrides: paths.results=DIR, paths.data=DIR if data sets have moved, and plugins=DIR. Raises
    UserError for others, for a folder that is not there, and for an output that cannot be read.
    """
    _check(overrides)
    results = results_dir(overrides)
    RunStore.there(results)
    choice = choose(keyed(overrides, "paths.results"), may_be_none=True)
    runs, tables = shown_runs(choice.listings), stored_tables(results)
    folder = Folder(results / "report")
    _copy_assets(folder)
    _put_runs(folder, runs, overrides)
    figures = figure_views(results)
    views = [_write_table(folder, table, runs, figures) for table in tables]
    _write_runs(folder, choice, runs)
    _write_page(folder, "row.html", "row")
    shown = {"tables": views, "figures": figures, "runs": len(choice.listings)}
    _write_page(folder, "index.html", "index", **shown, **_claims(tables, overrides))
    folder.remove_others()
    return folder.path / "index.html"


def _check(overrides: Sequence[str]) -> None:
    check_known(overrides)
    if idle := [o for o in overrides if o not in keyed(overrides, ("paths.", "plugins"))]:
        raise UserError(
            f"{idle[0]}: a report shows what is stored; it takes paths.*=DIR and plugins=DIR alone"
        )


def _copy_assets(folder: Folder) -> None:
    scripts = sorted({f"report/{name}.js" for names in _SCRIPTS.values() for name in names})
    for name in (*_STYLES, *scripts):
        folder.write(f"assets/{name}", (STATIC / name).read_text(encoding="utf-8"))


def _put_runs(folder: Folder, runs: Sequence[ShownRun], overrides: Sequence[str]) -> None:
    """Write what the viewer reads of runs and of their examples, and their thumbnails."""
    for key, group in by_data(runs).items():
        examples = examples_record(group, overrides, folder)
        folder.put(f"examples/{key}", examples)
        sizes = sizes_in(examples)
        for run in group:
            folder.put(f"runs/{run.id}", run_record(run, sizes, folder))
    make_thumbnails(folder, (one for run in runs for one in run.thumbnails()))


def _write_table(
    folder: Folder, table: Table, runs: Sequence[ShownRun], figures: Sequence[FigureView]
) -> TableView:
    """Write the page of a table, and the table alone for the overview."""
    here = {run.id: run.data for run in runs}
    view, key = table_view(table, here), f"pages/tables/{table.name}"
    own = [one for one in figures if f"{one.name}-".startswith(f"{table.name}-")]
    folder.put(key, table_record(table, here))
    folder.put(f"overview/tables/{table.name}", _rendered("_table", table=view, page=view.page))
    shown = {"table": view, "page": "", "key": key, "figures": own}
    _write_page(folder, f"tables/{table.name}.html", "table", **shown)
    return view


def _write_runs(folder: Folder, choice: Choice, runs: Sequence[ShownRun]) -> None:
    """Write the page of all runs, and their list alone for the overview."""
    record = runs_record(runs, choice.metrics)
    board = leaderboard_table(choice.listings, choice.metrics)
    shown = {"board": board, "runs": run_views(board, run_states(record))}
    folder.put("pages/runs", record)
    folder.put("overview/runs", _rendered("_runs", page="runs.html", **shown))
    _write_page(folder, "runs.html", "runs", key="pages/runs", page="", **shown)


def _claims(tables: Sequence[Table], overrides: Sequence[str]) -> dict[str, Any]:
    """What the overview shows of claims: by topic those that are tested, and the others."""
    claims = claim_views(_judged(overrides), [table.name for table in tables])
    tested = [one for one in claims if one.tested]
    return {
        "topics": [(topic, [*group]) for topic, group in groupby(tested, lambda one: one.topic)],
        "untested": [one for one in claims if not one.tested],
        "verdicts": counted_verdicts(tested),
    }


def _judged(overrides: Sequence[str]) -> Sequence[Judged]:
    """The claims, with a warning for each that does not fit its table; none if a claim is wrong."""
    try:
        judged = judged_claims(overrides, ())
    except UserError as error:
        log.warning("the report shows no claims: %s", error)
        return ()
    warn_of_misfits(judged)
    return judged

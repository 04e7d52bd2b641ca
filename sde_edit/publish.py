"""Finished runs -> tables, figures and contact sheets on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from sde_edit.config import compose_config, expand, experiment, parsed, results_dir, table_config
from sde_edit.contact import runs_sheet, save_sheet
from sde_edit.launch import finished_run
from sde_edit.report import build_figure, build_table, markdown, transposed, write, write_figure
from sde_edit.store import Run, RunStore
from sde_edit.summary import summary_table

# Overrides that say where or how much to run; they do not choose among runs.
_NOT_IDENTITY = (
    *("paths.", "hardware", "data.limit", "shard", "wandb", "launcher", "metrics", "model.path"),
)


def publish_table(name: str, overrides: Sequence[str]) -> list[Path]:
    """Write the table and its figure; overrides choose among runs, as `dtype=bfloat16` does."""
    config, rest = table_config(name, overrides)
    results = results_dir([o for o in rest if o.startswith("paths.")])
    config["where"] = {**(config.get("where") or {}), **_chosen(rest)} or None
    return publish_runs(name, config, RunStore(results).runs(), results)


def publish_runs(
    name: str, config: Mapping[str, Any], runs: Sequence[Run], results: Path
) -> list[Path]:
    """Write the table of a config and its figure, made of those of the runs that it asks for."""
    table = build_table(config, runs)
    paths = write(table, results / "tables")
    figure = build_figure(config, table)
    if figure is not None:
        paths += write_figure(figure, name, results / "figures")
    return paths


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
    save_sheet(runs_sheet(dict(zip(labels, runs, strict=True)), first.dataset), path)
    return markdown(transposed(table)), path


def _file_name(*parts: str) -> str:
    """The parts joined; a digest of what is beyond 120 characters."""
    name = re.sub(r"[^\w.=-]+", "-", "__".join(parts))
    return name if len(name) <= 120 else f"{name[:110]}-{sha256(name.encode()).hexdigest()[:8]}"

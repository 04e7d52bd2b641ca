"""Runs of Table 2, made up, and its config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import yaml

from sde_edit.api.spec import RunSpec
from sde_edit.report.table import Cell, Table
from sde_edit.store.runs import Run
from tests.builders import ROOT, add_images, make_spec

CONF = ROOT / "conf" / "table"
N = 8


def inpaint_spec(
    sampler: str = "ode",
    masks: str = "small",
    steps: int = 25,
    *,
    guidance: float = 7.5,
    model: str = "shapes",
    data: str = "shapes",
    seed: int = 0,
) -> RunSpec:
    """The spec of an inpainting run with these masks."""
    return make_spec(
        sampler,
        steps,
        task_params={"guidance": guidance, "prompt": "a scene"},
        data_params={"masks": masks},
        model=model,
        data=data,
        spacing="leading",
        seed=seed,
    )


def add_numbered(run: Run, n: int, of: int = N, *, first: int = 0, seal: bool = True) -> None:
    """Give the run `n` images, numbered from `first`."""
    add_images(run, [f"{i:03d}" for i in range(first, first + n)], of=of, seal=seal)


VALUES = {
    (sampler, masks, steps): 10.0 + 5 * (masks == "large") - steps / 50 - (sampler == "sde") * gain
    for (masks, steps), gain in zip(
        product(("small", "large"), (25, 50, 100)), (1.0, 0.8, 0.7, 0.5, 0.0, -0.5), strict=True
    )
    for sampler in ("ode", "sde")
}


Fill = Callable[..., dict[tuple[str, str, int], Run]]


def config(name: str = "table2", **changes: Any) -> dict[str, Any]:
    """The config of a table, with the first pair of its arms, with keys replaced."""
    raw: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    own = [remark for remark in raw["remarks"] if "guidance" not in remark]
    return raw | {"arms": raw["arms"][:2], "remarks": own} | changes


def row_of(table: Table, block: str, label: str) -> Mapping[str, Cell]:
    """The cells of one row by the heading of their column."""
    rows = [r for b in table.blocks if b.title == block for r in b.rows if r.label == label]
    assert len(rows) == 1
    return {c.heading: cell for c, cell in zip(table.columns, rows[0].cells, strict=True)}

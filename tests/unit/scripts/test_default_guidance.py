"""The embedded model's default guidance is what the committed tables of guidance say."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sde_edit.config import compose_config
from sde_edit.errors import UserError
from sde_edit.registry import names
from sde_edit.report.formats import to_json
from sde_edit.report.table import Block, Cell, Column, Row, Table
from tests.builders import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "default_guidance.py"))
best: Callable[[Table], float] = SCRIPT["best_guidance"]
measured: Callable[[Path], dict[str, float]] = SCRIPT["measured"]
GUIDANCE = ("1.0", "2.0", "7.5")


def default_of(task: str) -> float:
    found: float = compose_config([f"task={task}", "model=shapes"])["task"]["guidance"]
    return found


def disagreeing(tables: Path) -> dict[str, tuple[float, float]]:
    """Task -> its default and the measured one, where they differ."""
    both = {task: (default_of(task), found) for task, found in measured(tables).items()}
    return {task: pair for task, pair in both.items() if pair[0] != pair[1]}


def table(
    *blocks: Block, columns: tuple[Column, ...] = tuple(Column("", g) for g in GUIDANCE)
) -> Table:
    return Table("guidance-inpaint", "T", "guidance", columns, blocks)


def block(title: str, ode: tuple[float | None, ...], *, higher: bool = False) -> Block:
    """The SDE is best where the ODE is worst, so that it shows if it had a say."""
    rows = (
        Row("ODE", "arm", tuple(map(Cell, ode))),
        Row("SDE", "arm", tuple(Cell(None if v is None else -v) for v in ode)),
        Row("SDE − ODE", "difference", tuple(Cell() for _ in ode)),
    )
    return Block(title, rows, higher)


def test_the_defaults_are_those_of_the_committed_tables() -> None:
    assert disagreeing(ROOT / "results" / "tables") == {}, "python scripts/default_guidance.py"


def test_a_table_that_says_otherwise_is_found(tmp_path: Path) -> None:
    other = next(g for g in (1.0, 2.0) if g != default_of("inpaint"))
    errors = tuple(0.1 if float(g) == other else 0.2 for g in GUIDANCE)
    (tmp_path / "guidance-inpaint.json").write_text(to_json(table(block("truth_error", errors))))
    assert disagreeing(tmp_path) == {"inpaint": (default_of("inpaint"), other)}


def test_the_first_score_of_the_rule_decides_by_the_ode_alone() -> None:
    error, psnr = block("truth_error", (3.0, 1.0, 2.0)), block("psnr", (9.0, 1.0, 2.0), higher=True)
    assert best(table(psnr, error)) == 2.0
    assert best(table(psnr)) == 1.0
    assert best(table(block("attributes", (0.1, 0.2, 0.9), higher=True))) == 7.5
    assert best(table(block("truth_error", (1.0, 1.0, 2.0)))) == 1.0  # of equal ones the smallest


def test_groups_of_columns_count_alike() -> None:
    columns = tuple(Column(group, g) for group in ("small masks", "large masks") for g in GUIDANCE)
    both = block("truth_error", (1.0, 2.0, 9.0, 9.0, 3.0, 1.0))
    assert best(table(both, columns=columns)) == 2.0


def test_an_unfinished_table_decides_nothing() -> None:
    with pytest.raises(UserError, match=r"ODE at 2\.0 is missing.*sweep table=guidance-inpaint"):
        best(table(block("truth_error", (1.0, None, 2.0))))
    with pytest.raises(UserError, match="has none of truth_error"):
        best(table(block("ssim", (1.0, 1.0, 2.0), higher=True)))


def test_every_table_of_guidance_has_a_default_to_write() -> None:
    """Writing changes the values alone, in a line of the YAML for each task."""
    tasks = {name.removeprefix("guidance-") for name in names("table") if "guidance-" in name}
    assert tasks == set(compose_config([])["model"]["guidance"])
    text = (ROOT / "conf" / "model" / "shapes.yaml").read_text()
    write: Callable[[str, Any], str] = SCRIPT["with_defaults"]
    changed = write(text, dict.fromkeys(tasks, 1.25))
    assert changed.count(": 1.25\n") == len(tasks)
    assert write(changed, {task: default_of(task) for task in tasks}) == text
    with pytest.raises(UserError, match="no line of edict"):
        write(text, {"edict": 1.0})

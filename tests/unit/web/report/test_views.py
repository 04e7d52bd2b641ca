"""Tables as the report shows them."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs

from sde_edit.report.table import MINUS, Block, Cell, Column, Row, Table
from sde_edit.web.report.views import table_record, table_view

HERE = {"a1": "data", "a2": "data", "b1": "data"}


def cell(*runs: str, **fields: object) -> Cell:
    made = Cell(1.0, 0.5, 1.5, n=8, of=8, runs=runs, decimals=2)
    return replace(made, **fields)  # type: ignore[arg-type]


def table(*columns: Column) -> Table:
    """A row of an arm with two seeds, of an arm with one, and of their difference."""
    across = [*columns]
    rows = (
        Row("A", "arm", tuple(cell("a1", "a2") for _ in across)),
        Row("B", "arm", tuple(cell("b1") for _ in across)),
        Row(f"A {MINUS} B", "difference",
            tuple(cell("a1", "a2", "b1", verdict="better", p=0.01, adjusted=0.04) for _ in across)),
    )  # fmt: skip
    blocks = (Block("psnr", rows, True, convention="in dB"), Block("ssim", rows, True))
    return Table("t", "", "steps", tuple(across), blocks)


TWO = table(Column("small", "25"), Column("small", "50"))


def state(view_cell: object) -> dict[str, list[str]]:
    return parse_qs(view_cell.state)  # type: ignore[attr-defined]


def test_cell_leads_to_its_runs_column_and_metric():
    arm, _, difference = table_view(TWO, HERE).blocks[1].rows
    assert state(arm.cells[1]) == {"c": ["1"], "a": ["a1"], "m": ["ssim"]}
    assert state(difference.cells[0]) == {"c": ["0"], "a": ["a1"], "b": ["b1"], "m": ["ssim"]}


def test_cell_of_a_pivoted_table_leads_to_the_metric_of_its_column():
    (arms, differences) = table_view(table(Column("", "25")), HERE).blocks
    assert state(arms.rows[0].cells[1]) == {"c": ["0"], "a": ["a1"], "m": ["ssim"]}
    assert state(differences.rows[0].cells[0])["m"] == ["psnr"]


def test_note_says_what_a_number_rests_on():
    difference = table_view(TWO, HERE).blocks[0].rows[2].cells[0]
    assert difference.note.splitlines() == [
        "n = 8",
        "A is better; p = 0.01 alone, 0.04 over its family",
        "in dB",
        "runs a1, a2, b1",
    ]
    assert (difference.value, difference.interval) == ("1.00", "[0.50, 1.50]")


def test_cell_without_its_runs_leads_nowhere_and_says_so():
    view = table_view(TWO, {"b1": "data"})
    arm, other, _ = view.blocks[0].rows
    assert arm.cells[0].state == ""
    assert "Its images are not here" in arm.cells[0].note
    assert state(other.cells[0])["a"] == ["b1"]
    assert view.absent == 4


def test_groups_span_their_columns():
    columns = (Column("small", "25"), Column("small", "50"), Column("large", "25"))
    assert table_view(table(*columns), HERE).groups == (("small", 2), ("large", 1))
    assert table_view(table(Column("", "25"), Column("", "50")), HERE).groups == ()


def test_viewer_knows_the_runs_of_each_column_and_numbers_those_of_one_arm():
    record = table_record(TWO, HERE)
    assert [(one["column"], one["run"], one["label"]) for one in record["entries"]] == [
        (0, "a1", "A, run 1 of 2"), (0, "a2", "A, run 2 of 2"), (0, "b1", "B"),
        (1, "a1", "A, run 1 of 2"), (1, "a2", "A, run 2 of 2"), (1, "b1", "B"),
    ]  # fmt: skip
    assert record["columns"] == ["small, 25", "small, 50"]
    assert [one["label"] for one in record["metrics"]] == ["PSNR", "SSIM"]
